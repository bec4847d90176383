"""Folders for a hub: what lies in them, what their cards say, and when none is made."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import refuse, succeed

from dvs_transfer.cache.errors import ConfigError, StoreError, TrainingError
from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.cache.store import FrameStore, list_stores
from dvs_transfer.cache.verify import verify_store
from dvs_transfer.pipeline.config import ExperimentConfig, validate
from dvs_transfer.stages.evaluation.results import ClassAccuracy, read_evaluation
from dvs_transfer.stages.runs.checkpoint import read_info, weights_path
from dvs_transfer.stages.sharing.cards import repository_name
from dvs_transfer.stages.sharing.export import export
from dvs_transfer.stages.sharing.manifest import read_manifest, verify
from dvs_transfer.stages.sharing.run_card import data_sets, run_card

RUN_FILES = {
    *("config.json", "metrics.jsonl", "stints.json", "checkpoints/best.safetensors", "checkpoints/last.safetensors"),
    *(
        f"{what}-{split}.{suffix}"
        for split in ("test", "validation")
        for what, suffix in (("evaluation", "json"), ("predictions", "csv"))
    ),
}


def front_matter(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    return document


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_run_s_folder_holds_weights_results_and_digests(shared_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "for-others"
    report = export(shared_run, folder)
    assert files_in(folder) == {*RUN_FILES, "README.md", "manifest.json"}
    assert (report.kind, report.num_files) == ("run", len(RUN_FILES))
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    assert set(listed) == RUN_FILES
    for name, file in listed.items():
        content = (folder / name).read_bytes()
        assert file == {"num_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert report.num_bytes == sum(file["num_bytes"] for file in listed.values())
    for name in RUN_FILES - {"config.json"}:
        assert (folder / name).read_bytes() == (shared_run / name).read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_the_settings_are_the_run_s_without_its_machine_s_folders(shared_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(shared_run, run)
    document = json.loads((run / "config.json").read_text())
    document["experiment"]["events"]["raw"] = "/home/somebody/secret/events"
    document["experiment"]["pairing"]["group"] = r"/(.*)/w\d+"  # a pattern, and no path
    (run / "config.json").write_text(json.dumps(document))
    export(run, tmp_path / "out")
    text = (tmp_path / "out" / "config.json").read_text()
    assert str(tmp_path) not in text
    assert "secret" not in text
    shared = json.loads(text)
    assert shared["pairs"] == f"data/cache/{Path(document['pairs']).name}"
    assert shared["experiment"]["events"]["raw"] == "events"
    assert shared["experiment"]["pairing"] == document["experiment"]["pairing"]
    assert shared["experiment"]["train"] == document["experiment"]["train"]
    validate(ExperimentConfig, shared["experiment"], "shared")


def test_the_card_s_numbers_are_the_evaluation_s(shared_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    export(shared_run, folder, "cc-by-4.0")
    metadata, text = front_matter(folder), (folder / "README.md").read_text()
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["library_name"] == "dvs-transfer"
    assert metadata["datasets"] == ["ncaltech101", "caltech101"]
    (model,) = metadata["model-index"]
    assert model["name"] == "one"
    assert [result["dataset"]["split"] for result in model["results"]] == ["test", "validation"]
    for result in model["results"]:
        report = read_evaluation(shared_run, result["dataset"]["split"])
        assert report.last is not None
        told = {metric["name"]: (metric["value"], metric["args"]["interval_95"]) for metric in result["metrics"]}
        of_last, mean = report.last, "mean of the classes' top-1"
        assert told["top-1, last epoch"] == (of_last.top1, list(of_last.top1_interval or ()))
        assert told[f"{mean}, last epoch"][0] == of_last.mean_class_accuracy
        if not report.holds("last"):
            assert told[f"top-1, epoch {report.epoch}"] == (report.top1, list(report.top1_interval))
            assert next(iter(told)) == "top-1, last epoch"  # so few validation recordings chose the other
        assert result["dataset"]["args"] == {
            "split_digest": report.split_digest,
            "protocol": report.protocol,
            "photos_in_reach": report.photos_in_reach,
            "num_recordings": report.num_samples,
            "num_classes": report.num_classes_there,
            "asked": "float32, event head",
        }
        low, high = (100 * bound for bound in report.top1_interval)
        assert f"{100 * report.top1:.1f} % [{low:.1f}, {high:.1f}], too narrow" in text
        assert f"`{report.split_digest}`" in text
        assert f"| recordings | {report.num_samples:,} of {report.num_classes_there:,} classes |" in text
        assert f"| labels seen | {report.train_labels:,}" in text
    assert "licence of the raw data: CC BY 4.0" in text


def test_guesses_are_among_the_classes_that_there_are_recordings_of(shared_run: Path) -> None:
    report = read_evaluation(shared_run, "test")
    classes = tuple(ClassAccuracy(name=name, num_samples=20, accuracy=0.5) for name in "abc")
    absent = ClassAccuracy(name="novel", num_samples=0, accuracy=None)
    report = report.model_copy(update={"classes": (*classes, absent), "num_classes": 4, "num_samples": 60})
    text = run_card("x", {}, "pairs", read_info(weights_path(shared_run, report.checkpoint)), [report], None)
    assert "| by guessing | 33.3 % |" in text
    assert "| recordings | 60 of 3 classes |" in text


def test_a_card_does_not_pass_drawn_data_for_published_ones() -> None:
    published = {"events": {"source": "ncaltech101"}, "images": {"source": "caltech101"}}
    assert [(one.source, one.licence) for one in data_sets(published)] == [
        ("ncaltech101", "CC BY 4.0"),
        ("caltech101", "CC BY 4.0"),
    ]
    drawn = data_sets({**published, "demo": {"out": "demo"}})
    assert [(one.source, one.licence) for one in drawn] == [("demo-ncaltech101", None), ("demo-caltech101", None)]
    simulated = data_sets({**published, "simulate": {"sensor_width": 64}})
    assert [one.source for one in simulated] == ["simulated-ncaltech101", "caltech101"]
    for origin in ("demo", "simulated"):  # as raw data that another configuration made
        made = data_sets({"experiment": published, "recordings": origin})
        assert [one.source for one in made] == [f"{origin}-ncaltech101", "caltech101"]
    assert data_sets({"events": {"source": "ncaltech101"}, "images": None, "simulate": None, "demo": None})
    assert data_sets({}) == []


def test_stores_are_shared_with_those_that_they_join(shared_pairs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    report = export(shared_pairs, folder)
    pairs = PairStore(shared_pairs)
    assert report.kind == "stores"
    assert {path.name for path in list_stores(folder)} == {path.name for path in list_stores(shared_pairs.parent)}
    for store in list_stores(folder):
        assert verify_store(store).is_whole
        assert FrameStore(store).attributes == FrameStore(shared_pairs.parent / store.name).attributes
    assert PairStore(folder / shared_pairs.name).protocol == pairs.protocol
    chunk = next(path for path in folder.rglob("*") if path.is_file() and path.parent.name != folder.name)
    assert chunk.stat().st_nlink >= 2 or folder.stat().st_dev != shared_pairs.stat().st_dev
    metadata, text = front_matter(folder), (folder / "README.md").read_text()
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["size_categories"] == ["n<1K"]
    assert pairs.images is not None
    for fact in (
        f"| split digest | `{pairs.description.split_digest}` |",
        f"| protocol | {pairs.protocol} |",
        f"| test recordings | {len(pairs.rows_of('test')):,} |",
        f"| photos that teach | {len(pairs.store.column('pool_rows')):,} |",
        f"| fingerprint | `{pairs.images.attributes.fingerprint}` |",
        f"| samples | {len(pairs.events):,} |",
        "| licence of that | CC BY 4.0 |",
        "| frames.num_bins | `3` |",
    ):
        assert fact in text, fact
    assert (pairs.images.path / "zarr.json").is_file()
    shutil.rmtree(folder)  # of links: the cache stays
    assert verify_store(shared_pairs).is_whole


def test_one_store_alone(shared_pairs: Path, tmp_path: Path) -> None:
    events = PairStore(shared_pairs).events.path
    export(events, tmp_path / "frames")
    assert [path.name for path in list_stores(tmp_path / "frames")] == [events.name]
    verify(tmp_path / "frames", read_manifest(tmp_path / "frames"))


def test_nothing_is_shared_of_a_damaged_store(shared_pairs: Path, tmp_path: Path) -> None:
    """Its copy would be digested as it is, and pass for whole wherever it is fetched."""
    own = tmp_path / "own.zarr"
    shutil.copytree(PairStore(shared_pairs).events.path, own)
    shard = next(path for path in (own / "frames" / "c").rglob("*") if path.is_file())
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(StoreError, match=r"frames/c/.*: digest .* nothing is shared of a damaged store"):
        export(own, tmp_path / "frames")
    assert not (tmp_path / "frames").exists()


def test_repositories_are_named_as_hubs_take_it() -> None:
    names = {"ncaltech101+caltech101-8299": "ncaltech101-caltech101-8299"}
    names |= {"-for  others (2)": "for-others-2", "a_b.c": "a_b.c"}
    assert {name: repository_name(name) for name in names} == names


def test_results_of_other_weights_are_refused(shared_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(shared_run, run)
    (run / "checkpoints" / "last.safetensors").write_bytes(
        (run / "checkpoints" / "best.safetensors").read_bytes() + b" "
    )
    with pytest.raises(TrainingError, match=r"test\.json: of other weights than last\.safetensors holds now"):
        export(run, tmp_path / "out")
    (run / "checkpoints" / "last.safetensors").unlink()  # of which the card would tell
    with pytest.raises(TrainingError, match=r"last\.safetensors: no such checkpoint"):
        export(run, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(("name", "is_current"), [("evaluation-test.json", True), ("last.safetensors", False)])
def test_a_run_that_changes_while_it_is_copied(
    name: str, is_current: bool, shared_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card has the numbers of the evaluation that lies beside it; results of other weights are never exported."""
    run, plainly = tmp_path / "run", shutil.copyfile
    shutil.copytree(shared_run, run)

    def copy(source: Path, target: Path) -> Any:
        if source == run / name:
            document = json.loads(source.read_text())
            source.write_text(json.dumps(document | {"calibration_error": 0.375}))
        elif source.name == name:
            source.write_bytes(source.read_bytes() + b" ")
        return plainly(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy)
    if is_current:
        export(run, tmp_path / "out")
        assert "| 0.375 |" in (tmp_path / "out" / "README.md").read_text()
        assert '"calibration_error": 0.375' in (tmp_path / "out" / name).read_text()
    else:
        with pytest.raises(TrainingError, match="was trained or evaluated while it was copied; export it again"):
            export(run, tmp_path / "out")
        assert not list(tmp_path.glob("out*"))


def test_imported_weights_are_shared_without_a_last_epoch(shared_run: Path, tmp_path: Path) -> None:
    succeed("export", shared_run, "--to", "nir", tmp_path / "x.nir")
    (pairs,) = (shared_run.parents[1] / "data" / "cache").glob("*+*.zarr")
    run = tmp_path / "runs" / "imported"
    succeed("import-checkpoint", tmp_path / "x.nir", "--pairs", pairs, "--out", run)
    succeed("--quiet", "evaluate", run, "--split", "test")
    export(run, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "Its weights were imported" in text


def test_what_cannot_be_shared_is_refused(shared_run: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(shared_run, bare, ignore=shutil.ignore_patterns("evaluation-*"))
    with pytest.raises(TrainingError, match="no results for the card; run `dvs-transfer evaluate"):
        export(bare, tmp_path / "out")
    with pytest.raises(ConfigError, match="neither a run's folder"):
        export(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(ConfigError, match="is there already"):
        export(shared_run, bare)
    assert {path.name for path in tmp_path.iterdir()} == {"bare"}


@pytest.mark.parametrize(
    "name",
    [
        "../out.json",
        "/etc/x.json",
        "a/../../b.json",
        "./a.json",
        "a.py",
        "model.bin",
        "a.pkl",
        "README.md",
        ".cache/a.json",
        "a\\b.json",
        "a//b.json",
        "",
    ],
)
def test_a_manifest_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    entry = {"num_bytes": 0, "sha256": "0" * 64}
    document = {"version": 1, "kind": "run", "name": "x", "files": {name: entry}}
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(StoreError, match="nothing of it is taken"):
        read_manifest(tmp_path)
    document["files"] = {f"a.zarr/{name}": entry}
    document["kind"] = "stores"
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    if name != ".cache/a.json":
        with pytest.raises(StoreError, match="nothing of it is taken"):
            read_manifest(tmp_path)


def test_a_file_that_changed_is_named(shared_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    export(shared_run, folder)
    verify(folder, read_manifest(folder))
    (folder / "README.md").write_text("edited")
    verify(folder, read_manifest(folder))
    path = folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(StoreError, match=r"metrics\.jsonl missing or other than"):
        verify(folder, read_manifest(folder))


def test_the_command(shared_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = succeed("export", shared_run, "--to", "hub", "--licence", "mit")
    assert "licence: mit" in told.out
    assert "next: dvs-transfer hub push hub/one USER/one" in told.out
    assert (tmp_path / "hub" / "one" / "README.md").is_file()
    told = succeed("export", shared_run, "for others")
    assert told.out.endswith("next: dvs-transfer hub push 'for others' USER/for-others\n")
    refuse("export", shared_run, code=2, says=["hub/one: is there already"])
    refuse("export", shared_run, "--to", "nowhere", code=2, says=["'nowhere' is not one of 'nir', 'hub'"])
