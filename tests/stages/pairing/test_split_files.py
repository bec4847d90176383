"""Files that list which recording is in which part: their forms, their mistakes, what they are to a pair store."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photo_stores import ids, write_store
from pydantic import ValidationError

from dvs_transfer import PairedCache
from dvs_transfer.cache.errors import StoreError
from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages import pairing, pairing_config
from dvs_transfer.stages.pairing import PairingReport, export, lists
from dvs_transfer.stages.pairing_config import PairingConfig, SplitFile

CLASSES = ("cat", "dog")
STEMS = [f"image_{number:04d}" for number in range(1, 11)]
NAMES = ids(CLASSES, STEMS)
PARTS = {name: "test" if name.endswith(("1", "2", "3")) else "train" for name in NAMES}
Pair = Callable[..., PairingReport]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def pair(tmp_path: Path, said: list[str]) -> Pair:
    """Pairs 20 recordings and their photos, as those of N-Caltech101 and Caltech101."""
    events = write_store(tmp_path / "cache", "events", NAMES, "ncaltech101")
    images = write_store(tmp_path / "cache", "images", NAMES, "caltech101")

    def run(split_file: Any, with_images: bool = True, **config: Any) -> PairingReport:
        settings = PairingConfig.model_validate({"split_file": split_file, "validation": 0, **config})
        return pairing.run(settings, events, images if with_images else None, events.parent, said.append)

    return run


def write(path: Path, lines: Sequence[str], ending: str = "\n") -> Path:
    path.write_bytes((ending.join(lines) + ending).encode())
    return path


def listed(parts: Mapping[str, str], between: str = ",", form: str = "{}") -> list[str]:
    return [f"{form.format(name)}{between}{part}" for name, part in parts.items()]


def published(folder: Path, parts: Mapping[str, str] = PARTS) -> dict[str, str]:
    """One file for each part, in the form of the public photo-disjoint lists of N-Caltech101."""
    files = {}
    for part in sorted(set(parts.values())):
        lines = [f"N_Caltech101/{name}.bin\tCaltech-101/{name}.jpg" for name, of in parts.items() if of == part]
        files[part] = str(write(folder / f"{part}.txt", lines))
    return files


def parts_of(path: Path) -> dict[str, str]:
    return {
        name: part
        for part in ("train", "validation", "test", "novel")
        for name in PairedCache.open(path, part).sample_ids  # type: ignore[arg-type]
    }


@pytest.mark.parametrize(
    "lines",
    [
        listed(PARTS),
        listed(PARTS, "\t", "N_Caltech101/{}.bin"),
        listed(PARTS, "; ", "/data/somewhere/{}.bin"),
        ["sample,part", *listed(PARTS)],
        ["\ufeffPart;subject;Sample", "", *(f"{part};7;{name}" for name, part in PARTS.items())],
        [f'"{name}","{part.upper()}"' for name, part in PARTS.items()],
    ],
    ids=["plain", "paths", "spaces", "header", "byte order mark", "quoted"],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_form_says_the_same(lines: list[str], ending: str, pair: Pair, tmp_path: Path, said: list[str]) -> None:
    report = pair(write(tmp_path / "list.txt", lines, ending))
    assert parts_of(report.path) == PARTS
    assert (report.num_train, report.num_test, report.num_unused, said) == (14, 6, 0, [])


def test_the_published_photo_disjoint_lists(pair: Pair, tmp_path: Path) -> None:
    files = published(tmp_path)
    report = pair(files)
    assert parts_of(report.path) == PARTS
    digest = SplitFile.model_validate(files).digest[:8]
    assert report.protocol == f"disjoint, split of test.txt and train.txt ({digest})"
    assert (report.photos_in_reach, report.num_pool) == ("none", 14)
    assert PairStore(report.path).protocol == report.protocol


def test_validation_comes_out_of_the_listed_training_part(pair: Pair, tmp_path: Path) -> None:
    report = pair(published(tmp_path), validation=0.3)
    found = parts_of(report.path)
    assert {name for name, part in found.items() if part == "test"} == {
        n for n, part in PARTS.items() if part == "test"
    }
    assert (report.num_validation, report.num_train) == (4, 10)
    own = {**PARTS, "cat/image_0004": "validation"}
    report = pair(published(tmp_path, own), validation=0.3)
    assert parts_of(report.path) == own, "the list's own validation part is the only one"


def test_what_is_not_listed_is_in_no_split_and_nothing_is_learned_of_it(
    pair: Pair, tmp_path: Path, said: list[str]
) -> None:
    parts = {name: part for name, part in PARTS.items() if name not in ("cat/image_0009", "dog/image_0001")}
    path = write(tmp_path / "list.csv", listed(parts))
    report = pair(path, train_per_class=2)
    digest = SplitFile.model_validate(path).digest[:8]
    assert said == [f"list.csv ({digest}): 2 of 20 recordings are not listed, and in no split"]
    assert report.num_unused == 2 + (13 - 4)
    pairs = PairStore(report.path)
    learned = {str(pairs.events.sample_id[row]) for row in pairs.open_rows()}
    assert learned == {name for name, part in parts.items() if part == "train"}


def test_novel_classes_keep_out_of_a_list(tmp_path: Path) -> None:
    names = ids(("cat", "dog", "eel"), STEMS)
    events = write_store(tmp_path, "events", names)
    parts = {name: "novel" if name == "eel/image_0001" else "test" if name.endswith("2") else "train" for name in names}
    path = write(tmp_path / "list.csv", listed(parts))
    config = {"split_file": path, "validation": 0}
    found = parts_of(
        pairing.run(PairingConfig(**config, novel_classes=("eel",)), events, None, tmp_path).path  # type: ignore[arg-type]
    )
    assert found == {name: "novel" if name.startswith("eel") else part for name, part in parts.items()}
    with pytest.raises(StoreError, match=r"list\.csv, line 21: eel/image_0001: is in the part novel, and its class"):
        pairing.run(PairingConfig(**config), events, None, tmp_path)  # type: ignore[arg-type]


def test_content_decides_and_not_the_place(pair: Pair, tmp_path: Path) -> None:
    first = write(tmp_path / "list.csv", listed(PARTS))
    report = pair(first)
    (tmp_path / "elsewhere").mkdir()
    moved = first.rename(tmp_path / "elsewhere" / "renamed.csv")
    assert pair(moved).path == report.path
    assert len(list((tmp_path / "cache").glob("*+*.zarr"))) == 1
    write(moved, listed({**PARTS, "cat/image_0001": "train"}))
    changed = pair(moved)
    assert changed.path != report.path
    assert changed.split_digest != report.split_digest
    document = PairStore(report.path).description.pairing["split_file"]
    assert document == {"digest": SplitFile.model_validate(write(first, listed(PARTS))).digest}


def test_a_file_that_changed_since_the_configuration_was_read_is_refused(pair: Pair, tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", listed(PARTS))
    config = PairingConfig.model_validate({"split_file": path})
    again = PairingConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
    assert again.split_file is not None
    write(path, listed({**PARTS, "cat/image_0001": "train"}))
    with pytest.raises(StoreError, match=r"list\.csv: changed meanwhile"):
        again.split_file.read()
    path.unlink()
    with pytest.raises(StoreError, match="No such file"):
        again.split_file.read()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["cat/image_0001,train", "cat/lost,test"], r"line 2: 'cat/lost' is no recording of ncaltech101-.*like cat/im"),
        (
            ["cat/image_0001,train", "", "x/cat/image_0001.bin,test"],
            r"line 3: cat/image_0001 is listed already \(.*ne 1",
        ),
        (
            ["cat/image_0001,train", "cat/image_0002,dev"],
            "line 2: unknown part 'dev'; the parts are train, validation, t",
        ),
        (["cat/image_0001,train", "cat/image_0002,"], "line 2: unknown part ''"),
        (["cat/image_0001,train", "cat/image_0002"], "line 2: 1 columns, expected 2"),
        (["cat/image_0001", "cat/image_0002"], r"line 1: 1 columns, expected 2 \(sample, part\)"),
        (["cat/image_0001,train,7"], r"line 1: 3 columns, expected 2 .*name further columns in a first line"),
        (["sample,subject", "cat/image_0001,7"], "line 1: no column is called part; the columns are sample, subject"),
        (["sample,part,part", "cat/image_0001,train,test"], "line 1: several columns are called part"),
        (["sample,part,x", "cat/image_0001,train"], "line 2: 2 columns, expected 3"),
        (["cat/image_0001,train"], r"list\.csv: no recording is in the part test"),
        (["cat/image_0001,test"], r"list\.csv: no recording is in the part train"),
        (["", " "], r"list\.csv: lists no recording"),
        (['cat/image_0001,"' + 200_000 * "x" + '"'], "line 1: cannot be read"),
    ],
)
def test_a_mistake_in_a_list_is_named_by_its_line(lines: list[str], says: str, pair: Pair, tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", lines)
    with pytest.raises(StoreError, match=says) as found:
        pair(path)
    assert str(found.value).startswith(str(path))
    assert not list((tmp_path / "cache").glob("*+*"))


def test_a_mistake_between_the_files_of_parts_is_named(pair: Pair, tmp_path: Path) -> None:
    files = published(tmp_path)
    with Path(files["test"]).open("a") as file:
        file.write("N_Caltech101/cat/image_0009.bin\tCaltech-101/cat/image_0009.jpg\n")
    says = (
        r"test\.txt, line 7: cat/image_0009 is listed already \(.*train\.txt, line 6\)|train\.txt, line 6: cat/im.* 7\)"
    )
    with pytest.raises(StoreError, match=says):
        pair(files)
    write(Path(files["test"]), [])
    with pytest.raises(StoreError, match=r"test\.txt: lists no recording of the part test"):
        pair(files)
    write(Path(files["test"]), ["sample,part", "cat/image_0001,train"])
    with pytest.raises(StoreError, match=r"test\.txt, line 2: says the part train, in the file of the part test"):
        pair(files)


@pytest.mark.parametrize(
    ("photo", "says"),
    [
        (
            "Caltech-101/cat/image_0002.jpg",
            "'Caltech-101/cat/image_0002.jpg' is not the photo of cat/image_0001; that ",
        ),
        ("Caltech-101/cat/image_0099.jpg", "is not the photo of cat/image_0001; that is cat/image_0001"),
    ],
)
def test_a_photo_that_is_another_recording_s_is_refused(photo: str, says: str, pair: Pair, tmp_path: Path) -> None:
    files = published(tmp_path)
    path = Path(files["test"])
    path.write_text(path.read_text().replace("Caltech-101/cat/image_0001.jpg", photo))
    with pytest.raises(StoreError, match=rf"test\.txt, line 1: .*{says}"):
        pair(files)
    train = Path(files["train"])
    train.write_text("".join(f"{line.split(chr(9))[0]}\n" for line in train.read_text().splitlines()))
    with pytest.raises(StoreError, match=rf"test\.txt, line 1: .*{says}"):
        pair(files)  # photos that one of the files names alone
    assert pair(files, with_images=False).num_test == 6, "nothing is known of photos there"


def test_groups_are_a_column(pair: Pair, tmp_path: Path) -> None:
    rows = [(name, part, f"s{int(name[-2:]) if part == 'train' else 0}") for name, part in PARTS.items()]
    path = write(tmp_path / "list.csv", ["sample,part,Subject", *(",".join(row) for row in rows)])
    report = pair(path, group="subject", validation=0.2)
    digest = SplitFile.model_validate(path).digest[:8]
    assert report.protocol == f"disjoint, split of list.csv ({digest}), groups by subject"
    sides = {name: part for name, part in parts_of(report.path).items() if part != "test"}
    of_subject = {(subject, sides[name]) for name, _, subject in rows if name in sides}
    assert len(of_subject) == len({subject for subject, _ in of_subject}), "no subject is on two sides"
    assert {side for _, side in of_subject} == {"train", "validation"}


def test_a_group_on_two_sides_is_named_by_both_lines(pair: Pair, tmp_path: Path) -> None:
    header, rows = (
        "sample,part,subject",
        [f"{name},{part},s{number}" for number, (name, part) in enumerate(PARTS.items())],
    )
    rows[4] = rows[4].replace("s4", "s0")
    path = write(tmp_path / "list.csv", [header, *rows])
    says = (
        r"list\.csv, line 6: cat/image_0005 is in the part train, and of the same group \(s0\) as .*list\.csv, line 2: "
        "cat/image_0001, which is in the part test: a group stays on one side"
    )
    with pytest.raises(StoreError, match=says):
        pair(path, group="subject")
    rows[7] = rows[7].replace("s7", "")
    with pytest.raises(StoreError, match=r"list\.csv, line 9: names no subject, by which pairing\.group"):
        pair(write(path, [header, *rows]), group="subject")
    with pytest.raises(
        StoreError, match=r"group = 'user': finds nothing in the id cat/image_0001, and no column of li"
    ):
        pair(path, group="user")
    with pytest.raises(StoreError, match=r"group = '\(': is no regular expression .* and no column of list\.csv"):
        pair(path, group="(")


def test_what_is_no_list_is_refused_when_the_configuration_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"cat/a,train\n\xff\xfe\n")
    refused: dict[Any, str] = {
        path: r"list\.csv, line 2: not UTF-8",
        tmp_path / "gone.csv": "No such file",
        tmp_path: "Is a directory",
    }
    for value, says in refused.items():
        with pytest.raises(ValidationError, match=says):
            PairingConfig.model_validate({"split_file": value})
    for table, says in (
        ({"dev": "a"}, "found the part dev"),
        ({}, "expected a path"),
        ({"test": 3}, "expected a path"),
    ):
        with pytest.raises(ValidationError, match=says):
            PairingConfig.model_validate({"split_file": table})
    monkeypatch.setattr(pairing_config, "MAX_SPLIT_BYTES", 10)
    with pytest.raises(ValidationError, match="more than 10 bytes"):
        PairingConfig.model_validate({"split_file": write(path, listed(PARTS))})
    monkeypatch.undo()
    with pytest.raises(ValidationError, match="both say which recordings train"):
        PairingConfig.model_validate({"split": "official", "split_file": path})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cat/a.b", 0),
        ("x/y/cat/a.b.bin", 0),
        ("cat/a.b.bin", 0),
        ("cat/a", None),
        ("cat/a.b.", 0),
        ("x/dog/train/b.dat", 1),
        ("train/b", None),
        ("a.b", None),
        ("", None),
    ],
)
def test_paths_that_end_in_an_id(text: str, found: int | None) -> None:
    assert lists.find_row(text, {"cat/a.b": 0, "dog/train/b": 1}) == found


@pytest.mark.parametrize("ending", ["v1", "V12", "1", "05", "5s", "2b"])
def test_a_version_or_a_number_is_no_ending(ending: str) -> None:
    """Else a recording that is in no store, such as one that was left out as damaged, would be another one."""
    rows = {"mug/rec": 0}
    for text in (f"mug/rec.{ending}", f"data/mug/rec.{ending}"):
        assert lists.find_row(text, rows) is None
        assert lists.find_row(f"{text}.aedat", rows) is None
        assert lists.find_row(text, {**rows, f"mug/rec.{ending}": 1}) == 1
        assert lists.find_row(f"{text}.aedat", {**rows, f"mug/rec.{ending}": 1}) == 1


@pytest.mark.parametrize("ending", ["bin", "aedat4", "h5", "es", "v2e", "events", "JPG", "gz", "x", "mp4", "ünï"])
def test_any_other_ending_is_dropped(ending: str) -> None:
    """A folder's recordings may have any, as may those of a reader of one's own."""
    assert lists.find_row(f"data/mug/rec.{ending}", {"mug/rec": 0}) == 0
    assert lists.find_row(f"mug/rec.txt.{ending}", {"mug/rec.txt": 0, "mug/rec": 1}) == 0


TEXTS = st.lists(
    st.lists(st.sampled_from([*NAMES[:6], "sample", "part", "train", "test", '"', "\0", "é", ""]), max_size=4).flatmap(
        lambda cells: st.sampled_from(",;\t").map(lambda sign: sign.join(cells))
    )
    | st.text(max_size=20),
    max_size=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=TEXTS, is_of_one_part=st.booleans())
def test_any_text_is_a_list_or_refused(lines: list[str], is_of_one_part: bool, tmp_path: Path) -> None:
    (events,) = list(tmp_path.glob("*.zarr")) or [write_store(tmp_path, "events", NAMES)]
    path = tmp_path / "any.txt"
    path.write_text("\n".join(lines), errors="replace")
    file = SplitFile.model_validate({"train": path} if is_of_one_part else path)
    with suppress(StoreError):
        found = lists.read_lists(file, FrameStore(events))
        assert found.entries
        assert set(found.parts(len(NAMES)).tolist()) >= {0, 2}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"validation": 0},
        {"seed": 4, "train_share": 0.4, "pool_share": 0.5},
        {"group": r"\d$", "protocol": "unrestricted"},
        {"novel_classes": ("eel",)},
    ],
)
def test_an_exported_split_is_the_same_split(config: dict[str, Any], tmp_path: Path) -> None:
    names = ids(("a, b", "dog", "eel"), STEMS)
    stores = [write_store(tmp_path, kind, names) for kind in ("events", "images")]
    made = pairing.run(PairingConfig(**config), *stores, tmp_path)
    report = export.run(made.path, tmp_path / "new" / "split.csv")
    assert (report.split_digest, report.protocol) == (made.split_digest, made.protocol)
    counts = (report.num_train, report.num_validation, report.num_test, report.num_novel)
    assert counts == (made.num_train, made.num_validation, made.num_test, made.num_novel)
    with report.path.open(newline="") as file:
        assert {row["sample"]: row["part"] for row in csv.DictReader(file)} == parts_of(made.path)
    others = {"validation": 0} if not made.num_validation else {}
    kept = {key: value for key, value in config.items() if key not in ("train_share", "group", "validation")}
    again = pairing.run(PairingConfig(split_file=str(report.path), **kept, **others), *stores, tmp_path)  # type: ignore[arg-type]
    assert again.split_digest == made.split_digest
    told = dict(pair.split(" = ") for pair in report.settings.split(", ") if pair != "none")
    assert set(told) == {*kept, *others}
    np.testing.assert_array_equal(
        PairStore(again.path).store.column("pool_rows"), PairStore(made.path).store.column("pool_rows")
    )
