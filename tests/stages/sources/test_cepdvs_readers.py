from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from recordings import judged

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.frames.binning import Frames, make_frames
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources import Events, open_source
from dvs_transfer.stages.sources.cepdvs import parse_path_file

CLASSES = ["trees", "fish", "fish", "large_man-made_outdoor_things", *["fish"] * 7]
HEADER = "index path size date class"


def path_file(classes: list[str]) -> bytes:
    return "\n".join([HEADER, *(f"{i} img/{i}.jpg 32 2020 {name} more" for i, name in enumerate(classes))]).encode()


def variables(n: int = 5) -> dict[str, Any]:
    t = 1000 + 10 * np.arange(n)
    return {"x": np.arange(n) + 1, "y": np.arange(n) + 2, "ts": t, "p": np.where(t % 20, 1, -1)}


@pytest.fixture
def root(tmp_path: Path, make: Any) -> Path:
    image = make.image(Image.new("RGB", (32, 24), (0, 99, 0)))
    files = {"pathFile.csv": path_file(CLASSES)}
    for number in range(len(CLASSES)):
        mat = make.mat73 if number % 2 else make.mat5
        files[f"data/MAT/img/{number}.mat"] = mat({name: v.reshape(-1, 1) for name, v in variables().items()})
        files[f"data/img/{number}.jpg"] = image
    return make.files(tmp_path / "CEP-DVS", files)


def test_recordings_and_images_have_the_same_ids_and_labels(root: Path) -> None:
    recordings, images = open_source("cepdvs", root), open_source("cepdvs-images", root)
    assert recordings.class_names == images.class_names == ("fish", "large_man-made_outdoor_things", "trees")
    ids = [sample.sample_id for sample in recordings.samples]
    assert ids == [sample.sample_id for sample in images.samples]
    assert ids == [f"fish/{i}" for i in ("1", "10", "2", "4", "5", "6", "7", "8", "9")] + [
        "large_man-made_outdoor_things/3",
        "trees/0",
    ]
    assert [sample.label for sample in recordings.samples] == [0] * 9 + [1, 2]


def test_both_mat_versions_decode_to_the_same_events(root: Path) -> None:
    source = pickle.loads(pickle.dumps(open_source("cepdvs", root)))
    for sample in source.samples:
        events = judged(source.decode(sample, source.read_bytes(sample)))
        assert events.x.tolist() == [1, 2, 3, 4, 5]
        assert events.t.tolist() == [1000, 1010, 1020, 1030, 1040]
        assert events.p.tolist() == [0, 1, 0, 1, 0]
        assert (events.x.dtype, events.t.dtype, events.p.dtype) == (np.uint16, np.int64, np.uint8)


def test_an_image_is_rgb(root: Path) -> None:
    source = open_source("cepdvs-images", root)
    image = source.decode(source.samples[0], source.read_bytes(source.samples[0]))
    assert (image.shape, image.dtype) == ((24, 32, 3), np.uint8)


def test_an_archive_is_read_in_place(root: Path, make: Any, tmp_path: Path) -> None:
    files = {f"CEP-DVS/{p.relative_to(root)}": p.read_bytes() for p in root.rglob("*") if p.is_file()}
    archive = make.files(tmp_path, {"cep.zip": make.zip(files)}) / "cep.zip"
    assert len(open_source("cepdvs", archive).samples) == len(CLASSES)


def test_a_missing_recording_is_listed_and_fails_when_read(root: Path) -> None:
    (root / "data/MAT/img/2.mat").unlink()
    source = open_source("cepdvs", root)
    (sample,) = (sample for sample in source.samples if sample.sample_id == "fish/2")
    with pytest.raises(SourceError, match=r"2\.mat: cannot be read"):
        source.read_bytes(sample)


@pytest.mark.parametrize("name", ["11.mat", "readme.mat", "-1.mat"])
def test_a_recording_without_a_line_is_refused(root: Path, name: str) -> None:
    (root / "data/MAT/img" / name).write_bytes(b"")
    with pytest.raises(SourceError, match=rf"{name}: no label: .*describes the samples 0 to 10"):
        open_source("cepdvs", root)


def test_two_files_of_one_number_are_refused(root: Path) -> None:
    (root / "data/MAT/img/02.mat").write_bytes(b"")
    with pytest.raises(SourceError, match="the same number"):
        open_source("cepdvs", root)


@pytest.mark.parametrize("line", ["", "1 a b c", "1 a b c fi/sh", "1 a b c fish,", "1 a b c \N{SNOWMAN}"])
def test_a_line_without_a_class_is_named(line: str) -> None:
    text = f"{HEADER}\n0 a b c fish\n{line}\n2 a b c fish\n"
    with pytest.raises(SourceError, match=r"line 3 \(sample 1\) has no class name as its fifth word"):
        parse_path_file(text.encode(), "pathFile.csv")


@pytest.mark.parametrize("data", [b"", b"header\n", b"header\n\xff\xfe a b c d"])
def test_a_path_file_without_samples_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError, match=r"pathFile\.csv: "):
        parse_path_file(data, "pathFile.csv")


def test_a_byte_order_mark_and_windows_line_ends_are_fine() -> None:
    assert parse_path_file(b"\xef\xbb\xbfh\r\n0 a b c fish\r\n1 a b c trees\r\n\r\n", "csv") == ["fish", "trees"]


# Events ---------------------------------------------------------------------------------------------------------------

SHAPES: list[Callable[[Any], Any]] = [
    lambda v: v,
    lambda v: v.reshape(1, -1),
    lambda v: v.reshape(-1, 1).astype(np.float64),
    lambda v: v.reshape(-1, 1).astype(np.int32),
]


def read(tmp_path: Path, make: Any, columns: dict[str, Any]) -> tuple[Events, Frames]:
    """The frames of a recording with these columns, which is the only one."""
    files = {"pathFile.csv": path_file(["fish"]), "data/MAT/img/0.mat": make.mat5(columns)}
    source = open_source("cepdvs", make.files(tmp_path, files))
    (sample,) = source.samples
    events = source.decode(sample, source.read_content(sample))
    assert isinstance(events, Events)
    frames = make_frames(events, FramesConfig(num_bins=2), source.sensor_size, sample.location)
    return judged(events, source.sensor_size, sample.location), frames


@pytest.mark.parametrize("stored", SHAPES)
def test_every_way_to_store_a_vector(stored: Callable[[Any], Any], tmp_path: Path, make: Any) -> None:
    events, _ = read(tmp_path, make, {name: stored(values) for name, values in variables().items()})
    assert events.y.tolist() == [2, 3, 4, 5, 6]
    assert events.t[0] == 1000


@pytest.mark.parametrize(
    ("polarity", "expected"), [([0, 1, 1, 0, 1], [0, 1, 1, 0, 1]), ([1] * 5, [1] * 5), ([-1] * 5, [0] * 5)]
)
def test_polarity_of_zeros_and_ones_and_of_one_kind(
    polarity: list[int], expected: list[int], tmp_path: Path, make: Any
) -> None:
    events, _ = read(tmp_path, make, variables() | {"p": np.array(polarity)})
    assert events.p.tolist() == expected


@pytest.mark.parametrize(
    ("name", "values", "problem"),
    [
        ("x", [1, 2, np.nan, 4, 5], r"event 2 has x=nan"),
        ("ts", [0, 0.1, 0.2, 0.3, 0.4], r"event 1 has t=0\.1, expected a whole number"),
        ("ts", [1, 2, 3, 2, 5], "backwards at event 3: 2 us after 3 us"),
        (
            "ts",
            np.array([1, 2, 3, 4, 1 << 63], dtype=np.uint64),
            "event 4 has t=9223372036854775808, expected a whole number from -9",
        ),
        ("ts", [1, 2, 3, 4, np.inf], "event 4 has t=inf"),
        ("x", [1, -1, 3, 4, 5], "event 1 has x=-1, expected a whole number from 0"),
        ("x", [1, 1280, 3, 4, 5], "event 1 has x=1280, expected a whole number from 0 to 1279"),
        ("y", [1, 2, 3, 4, 960], "event 4 has y=960, expected a whole number from 0 to 959"),
        ("p", [1, -1, 2, 1, 1], "event 2 has p=2"),
        ("p", [1, -1, 0, 1, 1], "event 2 has p=0 where others have -1"),
        ("p", [1, 1], "different lengths"),
        ("x", np.ones((5, 5)), r"x has the shape 5 x 5"),
        ("x", np.ones(5, dtype=complex), "x is no array of real numbers"),
        ("x", np.array(3), "different lengths"),
    ],
)
def test_damage_is_named_by_variable_and_event(name: str, values: Any, problem: str, tmp_path: Path, make: Any) -> None:
    with pytest.raises(SourceError, match=rf"0\.mat: .*{problem}"):
        read(tmp_path, make, variables() | {name: np.asarray(values)})


def test_no_events_are_refused(tmp_path: Path, make: Any) -> None:
    with pytest.raises(SourceError, match="no event in it"):
        read(tmp_path, make, {name: values[:0] for name, values in variables().items()})


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(*(st.integers(0, 300),) * 2, st.integers(-(1 << 40), 1 << 40), st.sampled_from((-1, 1))), min_size=1
    )
)
def test_events_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, make: Any, rows: list[tuple[int, int, int, int]]
) -> None:
    rows.sort(key=lambda row: row[2])
    x, y, t, p = np.array(rows, dtype=np.float64).T
    events, _ = read(tmp_path_factory.mktemp("cep"), make, {"x": x, "y": y, "ts": t, "p": p})
    assert list(zip(events.x.tolist(), events.y.tolist(), events.t.tolist(), strict=True)) == [row[:3] for row in rows]
    assert events.p.tolist() == [int(row[3] == 1) for row in rows]
