"""Each kind of split from raw data to results: converted, paired, trained, evaluated, and named wherever it shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import refuse, succeed
from html_page import Page
from raw_data import CLASSES, PER_CLASS, write_raw_data
from tiny import RAW, write_config

from dvs_transfer import PairedCache
from dvs_transfer.pipeline.results import compare_runs
from dvs_transfer.stages.pairing_config import SplitFile

DRAWN = ("pairing.train=0.8", "pairing.test=0.1")
OWN = (
    *("events.source=folder", "events.raw=parts/events", "images.source=image-folder", "images.raw=parts/images"),
    "frames.resize=bilinear",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with N-Caltech101-like data, the same below folders of parts, and lists."""
    root = tmp_path_factory.mktemp("root")
    raw = write_raw_data(root / "data" / "raw")
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for at in CLASSES:
        for number in range(1, PER_CLASS + 1):
            part, stem = "test" if number > 5 else "train", f"image_{number:04d}"
            lists[part].append(f"N_Caltech101/{at}/{stem}.bin\tCaltech-101/{at}/{stem}.jpg\n")
            for kind, inside, ending in (
                ("events", "events/Caltech101", ".bin"),
                ("images", "images/101_ObjectCategories", ".jpg"),
            ):
                folder = raw / "parts" / kind / part / at
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(raw / inside / at / f"{stem}{ending}", folder)
    for part, lines in lists.items():
        (root / f"{part}.txt").write_text("".join(lines))
    write_config(root, RAW, train={"batch_size": 4})
    return root


@pytest.fixture(scope="module")
def drawn(root: Path) -> tuple[dict[str, Any], Path]:
    """What the default split was paired to, and its run."""
    return goes_through(root, (), "disjoint")


@pytest.fixture(scope="module")
def exported(root: Path, drawn: tuple[dict[str, Any], Path]) -> Path:
    """The same split as a list."""
    path, (made, _) = root / "exported.csv", drawn
    report = succeed("split", "export", made["path"], "--out", path, "--json").document
    assert (report["split_digest"], report["num_test"], report["settings"]) == (made["split_digest"], 2, "none")
    return path


def run(root: Path, command: str, *arguments: str | Path, sets: tuple[str, ...] = ()) -> Any:
    options = [part for each in sets for part in ("--set", each)]
    config = ["--config", root / "tiny.toml"] if command in ("preprocess", "train") else []
    return succeed("--quiet", "--root", root, command, *arguments, *config, *options, "--json").document


def goes_through(root: Path, sets: tuple[str, ...], protocol: str) -> tuple[dict[str, Any], Path]:
    """Preprocess, train, evaluate, report, audit; what was paired, and the run."""
    made = run(root, "preprocess", sets=sets)["pairs"]
    trained = run(root, "train", sets=sets)
    evaluated = run(root, "evaluate", trained["run"])
    audited = run(root, "audit", made["path"], "--out", root / "audit.png")
    assert {of["protocol"] for of in (made, trained, evaluated, audited)} == {protocol}
    assert evaluated["num_samples"] == made["num_test"] > 0
    assert {of["split_digest"] for of in (made, trained, evaluated)} == {made["split_digest"]}
    assert [split["num_in_reach"] for split in audited["splits"]] == [0] * len(audited["splits"])
    page = Page(Path(run(root, "report", trained["run"])["page"]).read_text())
    assert protocol in page.text
    assert protocol in succeed("audit", made["path"], "--out", root / "audit.png").out
    return made, Path(trained["run"])


def recordings_of_test(pairs: dict[str, Any]) -> set[str]:
    return set(PairedCache.open(pairs["path"], "test").sample_ids)


def test_the_official_split_of_class_folders_below_parts(root: Path) -> None:
    says = ["train = 0.6 and test = 0.2: means nothing where split = official", "--set pairing.train=0.8"]
    options = [part for each in (*OWN, "pairing.split=official") for part in ("--set", each)]
    refuse("--root", root, "preprocess", "--config", root / "tiny.toml", *options, code=2, says=says)
    made, _ = goes_through(root, (*OWN, *DRAWN, "pairing.split=official"), "disjoint, official split")
    assert recordings_of_test(made) == {f"{at}/test/image_{number:04d}" for at in CLASSES for number in (6, 7)}
    assert (made["num_train"], made["num_validation"], made["num_pool"]) == (8, 2, 8)
    assert made["photos_in_reach"] == "none"


def test_the_public_lists_and_a_move_of_them(root: Path, tmp_path: Path) -> None:
    files = {part: root / f"{part}.txt" for part in ("train", "test")}

    def sets(folder: Path) -> tuple[str, ...]:
        return (*DRAWN, *(f"pairing.split_file.{part}={json.dumps(str(folder / f'{part}.txt'))}" for part in files))

    digest = SplitFile.model_validate(files).digest[:8]
    protocol = f"disjoint, split of train.txt and test.txt ({digest})"
    made, trained = goes_through(root, sets(root), protocol)
    assert recordings_of_test(made) == {f"{at}/image_{number:04d}" for at in CLASSES for number in (6, 7)}
    document = json.loads((trained / "config.json").read_text())["experiment"]["pairing"]["split_file"]
    assert document["digest"][:8] == digest
    for file in files.values():
        file.rename(tmp_path / file.name)
    try:
        again = run(root, "train", sets=sets(tmp_path))
        assert (again["run"], again["resumed_after"]) == (str(trained), 2), "found without preprocessing anew"
        assert run(root, "preprocess", sets=sets(tmp_path))["pairs"]["path"] == made["path"]
        run(root, "evaluate", trained)
    finally:
        for file in files.values():
            (tmp_path / file.name).rename(file)
    changed = tmp_path / "train.txt"
    changed.write_text("".join(files["train"].read_text().splitlines(keepends=True)[1:]))
    shutil.copy(files["test"], tmp_path)
    options = [part for each in sets(tmp_path) for part in ("--set", each)]
    says = ["no data for this configuration"]
    refuse("--root", root, "train", "--config", root / "tiny.toml", *options, code=1, says=says)
    assert run(root, "preprocess", sets=sets(tmp_path))["pairs"]["path"] != made["path"]


def test_groups_by_a_pattern(root: Path) -> None:
    pattern = r"image_\d+"  # of both classes
    made, _ = goes_through(root, (f"pairing.group={pattern}",), f"disjoint, groups by {pattern}")
    sides = {
        part: [name.partition("/") for name in PairedCache.open(made["path"], part).sample_ids]  # type: ignore[arg-type]
        for part in ("train", "validation", "test")
    }
    numbers = {part: {number for *_, number in of} for part, of in sides.items()}
    assert [len(of) for of in numbers.values()] == [5, 1, 1]
    assert len(set.union(*numbers.values())) == PER_CLASS
    assert all(len(of) == len(CLASSES) * len(numbers[part]) for part, of in sides.items())


def test_an_exported_split_is_another_protocol_of_the_same_recordings(
    root: Path, drawn: tuple[dict[str, Any], Path], exported: Path
) -> None:
    made, first = drawn
    digest = SplitFile.model_validate(exported).digest[:8]
    protocol = f"disjoint, split of exported.csv ({digest})"
    given, second = goes_through(root, (*DRAWN, f"pairing.split_file={exported}"), protocol)
    assert given["split_digest"] == made["split_digest"]
    assert recordings_of_test(given) == recordings_of_test(made)
    says = [f"was trained under the protocol disjoint, {second} under {protocol}", "--across-protocols"]
    refuse("--quiet", "--root", root, "compare", first, second, code=1, says=says)
    compared = compare_runs([first, second], across_protocols=True)
    assert [of.protocol for of in compared.methods] == ["disjoint", protocol]
    assert any(note.startswith("runs of different protocols: disjoint, disjoint, split of") for note in compared.notes)


def test_pair_takes_them_too(root: Path, exported: Path) -> None:
    stores = sorted((root / "data" / "cache").glob("*caltech101-????????????.zarr"))
    events, images = (next(at for at in stores if at.name.startswith(name)) for name in ("ncaltech101-", "caltech101-"))
    report = succeed("pair", events, images, "--split-file", exported, "--json").document
    assert report["protocol"].startswith("disjoint, split of exported.csv (")
    refuse("pair", events, "--split", "official", code=1, says=["of ncaltech101 no official parts are known"])
    text = succeed("pair", events, "--group", "image_000.").out
    assert "disjoint, groups by image_000." in text


STUDY = """
title = "Splits"
base = "tiny.toml"
data = "real"
seeds = [0]
set = { train.method = "events" }

[[axis.split]]
label = "drawn"

[[axis.split]]
label = "listed"
set = { pairing.split_file = "LIST", pairing.train = 0.8, pairing.test = 0.1 }
"""


def test_a_study_says_which_split_a_row_has(root: Path, exported: Path) -> None:
    path = root / "study.toml"
    path.write_text(STUDY.replace("LIST", str(exported)))
    succeed("--quiet", "--root", root, "study", "run", path)
    table = succeed("--quiet", "--root", root, "study", "table", path).out
    digest = SplitFile.model_validate(exported).digest[:8]
    assert "Protocol: disjoint (drawn)." in table
    assert f"Protocol: disjoint, split of exported.csv ({digest}) (listed)." in table
