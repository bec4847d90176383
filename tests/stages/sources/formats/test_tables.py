"""Columns without names: (n, 4) tables and text, told apart by their values, or as the user says; never silently."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import permutations
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import refuse, succeed
from hypothesis import given, settings
from hypothesis import strategies as st
from own_recordings import SENSOR, make_events, told
from recordings import as_events, event_lists, judged

from dvs_transfer.cache.errors import ConfigError, SourceError
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.conversion.run import ConversionReport
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.prediction import Recipe, _read
from dvs_transfer.stages.sources import open_files, open_source
from dvs_transfer.stages.sources.base import Events, EventStream
from dvs_transfer.stages.sources.formats import columnar, columns, isolated
from dvs_transfer.stages.sources.formats.columns import join, tell_apart
from dvs_transfer.stages.sources.formats.recordings import open_recording
from dvs_transfer.stages.sources.random_access import FileBytes

from naive import Event

ORDERS = ["".join(order) for order in permutations("xytp")]
TOLD = [order for order in ORDERS if order.index("x") < order.index("y")]


def table(events: Events, order: str, dtype: Any = np.int64, signs: bool = False, seconds: bool = False) -> Any:
    values = {
        "x": events.x,
        "y": events.y,
        "t": events.t * 1e-6 if seconds else events.t,
        "p": events.p * 2.0 - 1 if signs else events.p,
    }
    return np.stack([values[name].astype(dtype) for name in order], axis=1)


def _npy(path: Path, values: Any) -> None:
    np.save(path, np.ascontiguousarray(values))


def _fortran(path: Path, values: Any) -> None:
    np.save(path, np.asfortranarray(values))


def _npz(path: Path, values: Any) -> None:
    np.savez_compressed(path, arr_0=values)


def _hdf5(path: Path, values: Any) -> None:
    """As v2e writes it, which adds frames beside it."""
    with h5py.File(path, "w") as file:
        events = file.create_dataset("events", (0, 4), values.dtype, maxshape=(None, 4), compression="gzip")
        events.resize(len(values), axis=0)
        events[:] = values
        file.create_dataset("frame", data=np.zeros((2, 5, 7), np.uint8))
        file.create_dataset("frame_idx", data=np.zeros((2, 4), np.uint64))


def _text(path: Path, values: Any) -> None:
    np.savetxt(path, values, fmt="%d" if values.dtype.kind == "i" else "%.9g", delimiter=",")


FILES: dict[str, Callable[[Path, Any], None]] = {
    "c.npy": _npy,
    "fortran.npy": _fortran,
    "a.npz": _npz,
    "v2e.h5": _hdf5,
    "a.csv": _text,
}


def read(path: Path, order: str = "auto") -> Events:
    recording = open_recording(FileBytes(path), path.suffix, columns=order)
    assert isinstance(recording, Events)
    return recording


def assert_same(found: Events, expected: Events) -> None:
    checked = judged(found)
    for name in "xytp":
        np.testing.assert_array_equal(getattr(checked, name), getattr(expected, name).astype(np.int64), err_msg=name)


# What is read ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", TOLD)
@pytest.mark.parametrize("name", FILES)
def test_every_order_is_told_by_the_values(name: str, order: str, tmp_path: Path) -> None:
    events = make_events(500)
    FILES[name](tmp_path / name, table(events, order))
    found = read(tmp_path / name)
    assert_same(found, events)
    is_usual = name == "a.csv" and order == "txyp"  # text has an order of its own
    assert (told(found), found.guessed_unit) == (None if is_usual else order, "us")


@pytest.mark.parametrize("name", FILES)
def test_every_order_can_be_said(name: str, tmp_path: Path) -> None:
    """Also where x comes after y, or where the values would say another one."""
    events = make_events(500)
    for order in ("pytx", "ytxp"):
        FILES[name](tmp_path / name, table(events, order))
        found = read(tmp_path / name, order)
        assert_same(found, events)
        assert found.assumed == ""


@pytest.mark.parametrize("name", ["c.npy", "fortran.npy", "a.npz", "v2e.h5", "a.csv"])
def test_seconds_in_single_precision(name: str, tmp_path: Path) -> None:
    """x, y, t in s, p in -1, 1 as float32: EST's N-Caltech101 and N-CARS."""
    events = make_events(3000)
    values = table(events, "xytp", np.float32, signs=True, seconds=True)
    FILES[name](tmp_path / name, values)
    found = read(tmp_path / name)
    assert (told(found), found.guessed_unit) == ("xytp", "s")
    checked = judged(found)
    assert checked.t.tolist() == [round(float(t) * 1e6) for t in values[:, 2]]
    assert np.abs(checked.t - events.t).max() <= 1
    np.testing.assert_array_equal(checked.p, events.p)
    np.testing.assert_array_equal(checked.x, events.x)


def test_times_of_two_cameras_since_1970_in_groups(tmp_path: Path) -> None:
    """MVSEC: davis/left/events as float64; the first of the tables with this name, and none of the others."""
    events = make_events(300)
    values = table(events, "xytp", np.float64, signs=True, seconds=True)
    values[:, 2] += 1_506_117_893
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["davis/left/pose"] = np.eye(4)
        file["davis/left/events"] = values
        file["davis/right/events"] = values[::2]
    found = judged(read(tmp_path / "a.hdf5"))
    assert len(found) == 300
    assert np.abs(np.diff(found.t) - np.diff(events.t)).max() <= 1


def test_long_tables_are_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "HELD_EVENTS", 5000)
    monkeypatch.setattr(isolated, "PIECE_EVENTS", 1500)
    monkeypatch.setattr(columnar, "PIECE_EVENTS", 1500)
    monkeypatch.setattr(columnar, "_TEXT_BLOCK_BYTES", 50_000)
    events = make_events(8000)
    for name, write in FILES.items():
        write(tmp_path / name, table(events, "xypt"))
        stream = open_recording(FileBytes(tmp_path / name), Path(name).suffix)
        assert isinstance(stream, EventStream)
        assert (told(stream), stream.guessed_unit) == ("xypt", "us")
        for _ in range(2):
            assert_same(join(stream.pieces()), events)


@pytest.mark.parametrize("name", FILES)
def test_a_beginning_without_fractions_does_not_make_seconds_microseconds(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first piece of one whole second, as of events that a driver gives one time: what follows is not rounded."""
    monkeypatch.setattr(isolated, "PIECE_EVENTS", 1500)
    monkeypatch.setattr(columnar, "PIECE_EVENTS", 1500)
    monkeypatch.setattr(columnar, "_TEXT_BLOCK_BYTES", 10_000)
    monkeypatch.setitem(FILES, "a.csv", lambda path, values: np.savetxt(path, values, "%.6f", ","))
    values = table(make_events(4000), "xytp", np.float64, seconds=True)
    values[:, 2] += 4
    values[:1500, 2] = 4
    FILES[name](tmp_path / name, values)
    with pytest.raises(SourceError, match=rf"{name}: its times are whole numbers at first.*--time-unit s"):
        read(tmp_path / name, "xytp")
    found = open_recording(FileBytes(tmp_path / name), Path(name).suffix, "s", columns="xytp")
    assert isinstance(found, Events)
    np.testing.assert_array_equal(judged(found).t, np.rint(values[:, 2] * 1e6))


def test_a_table_of_one_event(tmp_path: Path) -> None:
    """Is no column of four values."""
    for name in FILES:
        FILES[name](tmp_path / name, np.array([[3, 2, 500_000, 1]]))
        found = read(tmp_path / name)
        assert [getattr(found, column).tolist() for column in "xytp"] == [[3], [2], [500_000], [1]]


# What is refused ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(event_lists(times=("short", "usual", "negative"), sensor_size=(9, 7)), st.sampled_from(TOLD))
def test_values_never_say_another_order(events: list[Event], order: str) -> None:
    """Of any recording in order they say its own order, or nothing."""
    held = as_events(events)
    values = [getattr(held, name).astype(np.int64) for name in order]
    with suppress(SourceError):
        assert tell_apart(values, "", "a.npy") == (order, True)


@pytest.mark.parametrize(
    ("rows", "order"),
    [
        ([[1, 5, 100, 0], [3, 2, 2000, 1]], "xytp"),  # no coordinate is 2000
        ([[1, 5, 0.25, -1], [3, 2, 0.5, 1]], "xytp"),  # nor a fraction
        ([[1, 9, 100, 1], [3, 2, 200, 1]], None),  # x and t both rise
        ([[5, 9, 100, 1], [3, 2, 200, 1]], None),  # just the third does; it may be a coordinate that rows are sorted by
        ([[5, 9, 100, 1], [3, 2, 1280, 1]], "xytp"),
        ([[5, 9, 5000, 1], [3, 2, 4000, 1]], "xytp"),  # no order but this one: the time runs backwards
        ([[1, 0, 5000, 1], [0, 1, 6000, 0]], None),  # three polarities
        ([[5, 9, 5000, 2], [3, 2, 6000, 1]], None),  # none
        ([[5, -9, 5000, 0], [3, 2, 6000, 1]], None),
        ([[5, 2000, 5000, 0], [3, 2, 6000, 1]], None),  # two times
    ],
)
def test_what_the_values_tell(rows: Any, order: str | None, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array(rows))
    if order:
        assert told(read(tmp_path / "a.npy")) == order
        return
    with pytest.raises(SourceError, match=r"a\.npy: its columns have no names.*\(--columns xytp\)") as caught:
        read(tmp_path / "a.npy")
    assert "fetch it again" not in str(caught.value)
    assert len(read(tmp_path / "a.npy", "xytp")) == len(rows)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 5)), r"of shape \(3, 5\); expected numbers of shape \(n,\) or \(n, 4\)"),
        (np.zeros(7), r"expected the fields x, y, t and p, or a table of shape \(n, 4\), found 7 values of float64"),
        (np.zeros((3, 4), "U3"), "columns of <U3, expected numbers"),
        (np.zeros((0, 4)), "no event in it"),
    ],
)
def test_arrays_that_are_no_table(values: Any, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(SourceError, match=message):
        judged(read(tmp_path / "a.npy"))


def test_npz_with_other_arrays_beside_the_events(tmp_path: Path) -> None:
    events = make_events(100)
    np.savez(tmp_path / "a.npz", label=np.array(3), events=table(events, "xytp"))
    assert_same(read(tmp_path / "a.npz"), events)
    np.savez(tmp_path / "a.npz", label=np.array(3), recording=table(events, "xytp"))
    with pytest.raises(SourceError, match="expected the arrays x, y, t and p, found label, recording"):
        read(tmp_path / "a.npz")


def test_a_table_that_is_cut_off(tmp_path: Path) -> None:
    for name in ("c.npy", "fortran.npy"):
        FILES[name](tmp_path / name, table(make_events(100), "xytp"))
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-8])
        with pytest.raises(SourceError, match="announces 400 values of 8 bytes, 3192 bytes are there"):
            read(tmp_path / name)


def test_hdf5_with_several_tables(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["one"], file["two"] = np.zeros((3, 4)), np.zeros((3, 4))
    with pytest.raises(SourceError, match=r"a\.h5: 2 tables of four columns \(/one, /two\); keep") as caught:
        read(tmp_path / "a.h5")
    assert "fetch it again" not in str(caught.value)
    events = make_events(100)
    with h5py.File(tmp_path / "data.hdf5", "w") as file:  # MVSEC: no other table in the file
        file["davis/left/events"], file["davis/right/events"] = table(events, "xytp"), np.zeros((3, 4))
    assert_same(read(tmp_path / "data.hdf5"), events)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(SourceError, match=r"b\.h5: no group with the datasets x, y, t and p, no dataset") as caught:
        read(tmp_path / "b.h5")
    assert "fetch it again" not in str(caught.value)


@pytest.mark.parametrize("name", ["c.npy", "v2e.h5", "a.npz"])
def test_a_table_that_is_sorted_by_a_coordinate_is_refused_or_read_right(name: str, tmp_path: Path) -> None:
    """Where its times are below the largest coordinate, the sorted column looks like the one of the times."""
    events = make_events(500)
    for limit in (1_000, 300_000):
        values = table(events, "xytp")
        values[:, 2] = np.random.default_rng(1).integers(0, limit, 500)
        values = values[np.argsort(values[:, 0], kind="stable")]
        FILES[name](tmp_path / name, values)
        if limit > 1280:
            assert told(read(tmp_path / name)) == "xytp"
            continue
        with pytest.raises(SourceError, match=r"may be x, y, t, p or x, t, y, p or t, x, y, p: say .* frames\.columns"):
            read(tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name, "xytp").t, values[:, 2])


# The option -----------------------------------------------------------------------------------------------------------


def convert(raw: Path, **frames: Any) -> ConversionReport:
    settings = FramesConfig(resize="sum", **frames)
    return conversion.run(ConvertConfig(source="folder", raw=raw, out=raw.parent, frames=settings))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two tables whose columns are not said, one recording whose are."""
    (tmp_path / "raw" / "a").mkdir(parents=True)
    events = make_events()
    _npy(tmp_path / "raw" / "a" / "1.npy", table(events, "xytp"))
    _hdf5(tmp_path / "raw" / "a" / "2.h5", table(events, "txyp", np.uint32))
    np.savez(tmp_path / "raw" / "a" / "3.npz", x=events.x, y=events.y, t=events.t, p=events.p)
    return tmp_path / "raw"


def test_a_guess_is_told_with_how_to_say_it(raw: Path) -> None:
    report = convert(raw)
    assert report.quarantined == {}
    first, second = report.warnings
    assert first.startswith("each of 1 recordings (a/2) names no columns, which by their values are t, x, y, p; say")
    assert second == (
        "each of 1 recordings (a/1) names no columns, which by their values are x, y, t, p; say so, where it is "
        'right: frames.columns = "xytp" (--set frames.columns=xytp; convert: --columns xytp); their times: whole '
        "numbers taken for us"
    )
    assert [bool(text) for text in FrameStore(report.path).column("assumed")] == [True, True, False]
    assert convert(raw).warnings == report.warnings  # also of a store that is there


def test_what_is_said_is_not_told_and_gives_the_same(raw: Path) -> None:
    (raw / "a" / "2.h5").unlink()
    guessed, said = convert(raw), convert(raw, columns="xytp")
    assert guessed.path != said.path
    assert said.warnings == ()
    stores = [FrameStore(report.path) for report in (guessed, said)]
    first, second = (store.read("frames", np.arange(2)) for store in stores)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[0], first[1])
    assert "assumed/zarr.json" not in stores[1].attributes.files


def test_the_command_has_the_option(raw: Path) -> None:
    (raw / "a" / "2.h5").unlink()
    told = succeed("convert", "folder", raw, "--out", raw.parent, "--resize", "sum", "--columns", "xytp", "--json")
    assert told.document["warnings"] == []
    refuse("convert", "folder", raw, "--columns", "xyt", code=2, says=["columns 'xyt': name x, y, t and p"])


def test_columns_of_a_source_that_names_its_own_are_refused(raw: Path) -> None:
    with pytest.raises(ConfigError, match="columns = xytp: is for the source folder; nmnist states its columns"):
        open_source("nmnist", raw, columns="xytp")


def test_a_prediction_reads_the_columns_of_its_recipe_or_tells(raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = raw / "a" / "1.npy"
    _npy(path, table(make_events(), "ytxp"))
    frames = FramesConfig(resize="none", sensor_size=SENSOR, columns="ytxp")
    ((_, found),) = _read(open_files("folder", [path], columns="ytxp"), Recipe("folder", frames, SENSOR), {})
    assert found.shape == (10, 2, *SENSOR[::-1])
    assert not caplog.messages
    _npy(path, table(make_events(), "xytp"))
    ((_, guessed),) = _read(open_files("folder", [path]), Recipe("folder", frames, SENSOR), {})
    np.testing.assert_array_equal(guessed, found)
    assert caplog.messages[0].startswith(f"{path}: names no columns, which by their values are x, y, t, p")


def test_documents_of_before_are_what_they_were() -> None:
    assert not {"columns", "order"} & FramesConfig().model_dump().keys()
    assert FramesConfig(columns="xytp", order="sort").model_dump()["columns"] == "xytp"


def test_an_order_that_is_usual_is_told_where_another_one_fits() -> None:
    """Rows of x, y, t, p whose x stays and whose t is below 1280: as t, x, y, p they would do, too."""
    for t in ([100, 200, 300], [300, 100, 200]):  # also where rows are sorted by x
        doubtful = [np.array(column) for column in ([3, 3, 3], [7, 5, 9], t, [0, 1, 1])]
        assert tell_apart(doubtful, "txyp", "a.txt") == ("txyp", False)
    clear = [np.array(column) for column in ([100, 2000, 3000], [7, 5, 9], [3, 9, 4], [0, 1, 1])]
    assert tell_apart(clear, "txyp", "a.txt") == ("txyp", True)
