"""Long recordings cut into pieces: every layout, windows, ids, and what is told of tables that are wrong."""

from __future__ import annotations

import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from long_recordings import GESTURES, write, write_classes, write_gestures, write_table
from own_recordings import WRITERS, make_events
from recordings import judged

from dvs_transfer.cache.errors import ConfigError, SourceError
from dvs_transfer.stages.sources import open_source, segment_tables
from dvs_transfer.stages.sources.base import Events, Windows
from dvs_transfer.stages.sources.formats import columns
from dvs_transfer.stages.sources.reader import Reader
from dvs_transfer.stages.sources.segments import Segments

ID = re.compile(r"(.*)@(-?\d+)\+(\d+)us")
STOPPED = ("prophesee.hdf5", "columns.h5", "seven.mat")  # as group.h5; a decoder that is stopped takes a second
WINDOWS = Windows(every_us=100_000, length_us=50_000)


def open_segments(path: Path, windows: Windows | None = None, **options: Any) -> Reader:
    return open_source("segments", path, windows=windows, **options)


def assert_pieces(source: Reader, made: dict[str, Events]) -> None:
    """Each sample is the slice of its recording that its id names, and its metadata say so."""
    for sample in source.samples:
        found = ID.fullmatch(sample.sample_id)
        assert found
        start, end = int(found[2]), int(found[2]) + int(found[3])
        assert source.metadata(sample) == {"start_us": start, "end_us": end}
        whole = made[source.group_of(sample.sample_id).removeprefix("train/").removeprefix("test/")]
        piece = source.decode(sample, source.read_content(sample))
        assert isinstance(piece, Events)
        inside = (whole.t >= start) & (whole.t < end)
        assert inside.any()
        for name in "xytp":
            np.testing.assert_array_equal(getattr(piece, name), getattr(whole, name)[inside])


# Layouts -------------------------------------------------------------------------------------------------------------


def test_a_table(tmp_path: Path) -> None:
    made = write_table(
        tmp_path,
        "walk;25000;0;test;two.csv;kept by Ada",
        "run;100000;25000;;a/one.npz;",
        "",
        'walk;300000;200000;"";a/one.npz;',
        header="Label;end_us;start_us;part;file;remark",
    )
    source = open_segments(tmp_path)
    assert source.class_names == ("run", "walk")
    ids = ["run/a/one@0000025000+75000us", "walk/a/one@0000200000+100000us", "walk/test/two@0000000000+25000us"]
    assert [sample.sample_id for sample in source.samples] == ids
    assert [source.part_of(sample_id) for sample_id in ids] == ["", "", "test"]
    assert [source.group_of(sample_id) for sample_id in ids] == ["a/one", "a/one", "test/two"]
    assert source.samples[0].location == f"{tmp_path}/a/one.npz, 25000 to 100000 us ({tmp_path}/segments.csv: line 3)"
    assert_pieces(source, made)
    assert source.ignored_files().num_unexpected == 0
    assert not source.remarks


@pytest.mark.parametrize(
    ("start", "unit", "expected"),
    [
        ("0.025", "start [s],end [s]", 25_000),
        ("25", "startTime_msec,endTime_msec", 25_000),
        ("25000", "START(us),End (us)", 25_000),
        ("24999001", "start_ns,end_ns", 25_000),  # no event of whole us is between
        ("-1e-6", "start_s,end_s", -1),
    ],
)
def test_units_of_times(start: str, unit: str, expected: int, tmp_path: Path) -> None:
    write_table(tmp_path, f"two.csv,{start},60000000,walk", header=f"file,{unit},label")
    (sample,) = open_segments(tmp_path).samples
    assert sample.sample_id.startswith(f"walk/two@{expected:010}+")


def test_dvs128_gesture_as_published(tmp_path: Path) -> None:
    made = write_gestures(tmp_path)
    source = open_segments(tmp_path)
    assert source.class_names == ("hand_clapping", "right_hand_wave", "other_gestures")  # by number
    assert len(source.samples) == 2 * len(GESTURES)
    assert source.samples[0].sample_id == "hand_clapping/test/user02_fluorescent@0000020000+60000us"
    assert {source.group_of(sample.sample_id) for sample in source.samples} == {
        "train/user01_fluorescent",
        "test/user02_fluorescent",
    }
    assert [source.part_of(sample.sample_id) for sample in source.samples] == ["test"] * 2 + ["train"] * 2 + [
        *("test", "train", "test", "train")
    ]
    assert_pieces(source, made)
    assert source.ignored_files().num_unexpected == 0


def test_dvs128_gesture_in_its_archive_and_without_names(tmp_path: Path) -> None:
    made = write_gestures(tmp_path / "raw")
    archive = Path(
        shutil.make_archive(str(tmp_path / "download" / "DvsGesture"), "gztar", tmp_path / "raw", "DvsGesture")
    )
    source = open_segments(archive)
    assert source.class_names == ("1", "2", "11")
    assert_pieces(source, made)
    shutil.copy(tmp_path / "raw" / "gesture_mapping.csv", archive.parent)
    beside = open_segments(archive.parent)
    assert beside.class_names == ("hand_clapping", "right_hand_wave", "other_gestures")
    assert_pieces(beside, made)
    without_lists = tmp_path / "raw" / "DvsGesture"
    (without_lists / "trials_to_test.txt").unlink()
    (without_lists / "trials_to_train.txt").unlink()
    ids = [sample.sample_id for sample in open_segments(without_lists).samples]
    assert ids[0] == "1/user01_fluorescent@0000020000+60000us"


def test_published_tables_that_overlap_are_told(tmp_path: Path) -> None:
    write_gestures(tmp_path, 1, [(1, 20_000, 80_000), (2, 79_000, 90_000)])
    source = open_segments(tmp_path)
    assert len(source.samples) == 2
    assert source.remarks == (
        "1 segments begin before another one of their recording ends, so that events are in both: "
        f"{tmp_path}/DvsGesture/user01_fluorescent_labels.csv: line 3 and line 2",
    )


def test_class_folders_in_windows(tmp_path: Path) -> None:
    made = write_classes(tmp_path)
    source = open_segments(tmp_path, WINDOWS)
    assert source.class_names == ("box", "mug")
    first = {name: int(events.t[0]) for name, events in made.items()}
    expected = [
        f"{name.partition('/')[0]}/{name}@{start + number * 100_000:010}+50000us"
        for name, start in first.items()
        for number in range(3)
    ]
    assert [sample.sample_id for sample in source.samples] == expected
    assert [source.group_of(name) for name in expected] == [name for name in made for _ in range(3)]
    assert [source.part_of(name) for name in expected] == [""] * len(expected)
    assert_pieces(source, made)
    assert not source.remarks


@pytest.mark.parametrize("scheduled", ["here", "in a worker"])
def test_a_worker_cuts_as_the_main_process_does(scheduled: str, tmp_path: Path) -> None:
    made = write_classes(tmp_path)
    source = open_segments(tmp_path, WINDOWS)
    if scheduled == "in a worker":
        source = pickle.loads(pickle.dumps(source))
    assert_pieces(source, made)
    write(tmp_path / "box" / "box_1.aedat", 5, "jaer.aedat", 1000)
    sample = source.samples[0]
    with pytest.raises(SourceError, match=r"box_1.aedat.*: changed since its times were looked up; run the command ag"):
        source.decode(sample, source.read_content(sample))


def test_a_recording_that_is_replaced_between_two_pieces(tmp_path: Path) -> None:
    """The first piece, opened before, is refused; the second one is of the file that is there, as its digest is."""
    write_table(tmp_path, "a/one.npz,0,100000,walk", "a/one.npz,100000,200000,walk")
    source = open_segments(tmp_path)
    first, second = source.samples
    before = source.read_content(first)
    whole = write(tmp_path / "new.npz", 9, "columns.npz", 3000)
    (tmp_path / "new.npz").replace(tmp_path / "a" / "one.npz")
    for read in (source.digest_of, source.decode):
        with pytest.raises(SourceError, match=r"one\.npz: changed while it was read"):
            read(first, before)
    data = source.read_content(second)
    assert source.digest_of(second, data) == open_segments(tmp_path).digest_of(second, data)
    piece = source.decode(second, data)
    assert isinstance(piece, Events)
    np.testing.assert_array_equal(piece.t, whole.t[(whole.t >= 100_000) & (whole.t < 200_000)])


def test_a_worker_that_finds_other_files_says_so(tmp_path: Path) -> None:
    write_table(tmp_path / "table", "two.csv,0,9,walk")
    write_classes(tmp_path / "classes")
    arguments = [
        open_segments(tmp_path / name, windows).arguments() for name, windows in (("table", None), ("classes", WINDOWS))
    ]
    (tmp_path / "table" / "segments.csv").write_text("file,start_us,end_us,label\ntwo.csv,0,10,walk\n")
    write(tmp_path / "classes" / "box" / "a_first.npz", 7, "columns.npz")
    for found in arguments:
        with pytest.raises(SourceError, match=r"tables or recordings changed while they were read; run the command ag"):
            Segments(*found)


def test_ids_do_not_depend_on_what_else_is_there(tmp_path: Path) -> None:
    write_classes(tmp_path)
    before = [sample.sample_id for sample in open_segments(tmp_path, WINDOWS).samples]
    write(tmp_path / "box" / "a_first.npz", 7, "columns.npz")
    after = [sample.sample_id for sample in open_segments(tmp_path, WINDOWS).samples]
    assert [name for name in after if "a_first" not in name] == before


@pytest.mark.parametrize("num_held", [1 << 22, 1000], ids=["held", "in pieces"])
def test_every_format(num_held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the classes, so that no piece follows the one before it in its recording."""
    monkeypatch.setattr(columns, "HELD_EVENTS", num_held)
    names = [name for name in WRITERS if num_held > 1000 or name not in STOPPED]
    made = {f"{number}_{name}": write(tmp_path / f"{number}_{name}", number, name) for number, name in enumerate(names)}
    lines = [f"{name},{start},{start + 60_000},{start}" for name in made for start in (0, 120_000, 60_000)]
    (tmp_path / "segments.csv").write_text("\n".join(("file,start_us,end_us,label", *lines)))
    source = open_segments(tmp_path)
    assert source.class_names == ("0", "60000", "120000")
    for sample in source.samples:
        found = ID.fullmatch(sample.sample_id)
        assert found
        whole = next(events for name, events in made.items() if name.startswith(source.group_of(sample.sample_id)))
        inside = (whole.t >= int(found[2])) & (whole.t < int(found[2]) + 60_000)
        piece = judged(source.decode(sample, source.read_content(sample)))
        for name in "xytp":
            np.testing.assert_array_equal(getattr(piece, name), getattr(whole, name)[inside], sample.location)


# Windows -------------------------------------------------------------------------------------------------------------


def test_windows_of_segments_begin_with_them_and_the_last_ones_are_told(tmp_path: Path) -> None:
    made = write_table(tmp_path, "two.csv,1000,130000,walk", "a/one.npz,0,40000,run")
    source = open_segments(tmp_path, Windows(every_us=25_000, length_us=50_000))
    starts = [(int(found[2]), int(found[3])) for s in source.samples if (found := ID.fullmatch(s.sample_id))]
    assert starts == [(1000 + 25_000 * k, 50_000) for k in range(4)]  # the next ends at 151,000
    assert_pieces(source, made)
    assert source.remarks == (
        "4 windows that would go beyond the end of their segment or recording were left out, of 8; shorter than one "
        f"window: {tmp_path}/segments.csv: line 3",
    )


def test_a_window_may_end_with_the_last_event(tmp_path: Path) -> None:
    """A recording lasts from its first event to its last one, both in it."""
    events = make_events()
    lasts_us = int(events.t[-1] - events.t[0]) + 1
    (tmp_path / "a").mkdir()
    WRITERS["columns.npz"](tmp_path / "a" / "one.npz", events)
    source = open_segments(tmp_path, Windows(every_us=1, length_us=lasts_us))
    assert len(source.samples) == 1
    assert_pieces(source, {"a/one": events})
    with pytest.raises(SourceError, match=rf"no segment or recording lasts {lasts_us + 1} us \(a/one.npz\)"):
        open_segments(tmp_path, Windows(every_us=1, length_us=lasts_us + 1))


def test_a_recording_that_cannot_be_read_is_one_broken_sample(tmp_path: Path) -> None:
    write_classes(tmp_path)
    (tmp_path / "box" / "broken.aedat").write_bytes(b"nothing\0known")
    (tmp_path / "mug" / "empty.csv").write_text("# t x y p\n")
    opened = open_segments(tmp_path, WINDOWS)
    for source in (opened, pickle.loads(pickle.dumps(opened))):
        broken = {sample.sample_id: sample for sample in source.samples if "@" not in sample.sample_id}
        assert list(broken) == ["box/box/broken", "mug/mug/empty"]
        assert source.group_of("box/box/broken") == "box/broken"
        says = {"box/box/broken": "broken.aedat: is of no known format", "mug/mug/empty": "empty.csv: "}
        for name, problem in says.items():
            assert source.metadata(broken[name]) == {}
            with pytest.raises(SourceError, match=problem):
                source.decode(broken[name], source.read_content(broken[name]))


def test_windows_are_for_this_source_and_needed_for_class_folders(tmp_path: Path) -> None:
    write_classes(tmp_path)
    with pytest.raises(
        SourceError, match=r"holds folders of recordings and no segments.csv; say how they are cut, frames"
    ):
        open_segments(tmp_path)
    with pytest.raises(
        ConfigError, match=r"frames.windows: is for the source segments; folder is not cut, leave it out"
    ):
        open_source("folder", tmp_path, windows=WINDOWS)


# What is wrong -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["two.csv,5,4,walk"], "line 2: ends at 4, not after its start at 5"),
        (["two.csv,5,5,walk"], "line 2: ends at 5, not after its start at 5"),
        (
            ["two.csv,0,9,walk", "two.csv,8,12,run"],
            "line 3: begins at 8 us, before the segment of .*line 2 ends at 9 us",
        ),
        (
            ["two.csv,0,90,a", "two.csv,5,9,b", "two.csv,20,30,c"],
            "line 3: begins at 5 us, before .*line 2 ends at 90 us",
        ),
        (
            ["two.csv,8,12,run", "", "two.csv,0,9,walk"],
            "line 2: begins at 8 us, before the segment of .*line 4 ends at 9",
        ),
        (["two.csv,0,9,walk", "a/one.npz,0,9,run", "two.csv,0,9,walk"], "line 4: lists the segment of .*line 2 again"),
        (["three.csv,0,9,walk"], "line 2: .*/three.csv is not there; fetch it, or mend the line"),
        (["../two.csv,0,9,walk"], r"line 2: .*/../two.csv is not there"),
        (["two.csv,zero,9,walk"], "line 2: start 'zero' is no time in us; expected a number"),
        (["two.csv,0,1e300,walk"], "line 2: end '1e300' is no time in us"),
        (["two.csv,0,1e9999999999,walk"], "line 2: end '1e9999999999' is no time in us"),
        (["two.csv,nan,9,walk"], "line 2: start 'nan' is no time in us"),
        (["two.csv,0,9"], "line 2: 3 values, expected 4 as in the line before all"),
        (["two.csv,0,9,"], "line 2: '' is no name of a class"),
        (["two.csv,0,9,a/b"], "line 2: 'a/b' is no name of a class"),
        ([], "segments.csv: has no line after the one with the columns' names"),
    ],
)
def test_a_line_that_is_wrong_is_named(lines: list[str], says: str, tmp_path: Path) -> None:
    write_table(tmp_path, *lines)
    with pytest.raises(SourceError, match=f"segments.csv: {says}" if says.startswith("line") else says):
        open_segments(tmp_path)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (
            "file,start,end_us,label",
            "line 1: the column 'start' states no unit; call it start_us, start_ms, start_s or s",
        ),
        ("file,start_us,stop_us,label", r"line 1: no column end \(found file, start_us, stop_us, label\)"),
        ("start_us,end_us,label,note", "line 1: no column file"),
        ("file,start_us,start_s,label", "line 1: 'start_s' and 'start_us' are both a column start; leave one"),
    ],
)
def test_a_header_that_is_wrong_is_named(header: str, says: str, tmp_path: Path) -> None:
    write_table(tmp_path, "two.csv,0,9,walk", header=header)
    with pytest.raises(SourceError, match=f"segments.csv: {says}"):
        open_segments(tmp_path)


def test_parts_that_are_wrong(tmp_path: Path) -> None:
    header = "file,start_us,end_us,label,part"
    write_table(tmp_path, "two.csv,0,9,walk,exam", header=header)
    with pytest.raises(SourceError, match=r"line 2: part 'exam', expected train, validation, test or nothing"):
        open_segments(tmp_path)
    write_table(tmp_path, "two.csv,0,9,walk,train", "two.csv,9,12,walk,test", header=header)
    with pytest.raises(
        SourceError, match=r"line 3: is of part 'test', .*line 2 of part 'train'; all pieces .* \(two.csv\)"
    ):
        open_segments(tmp_path)


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    write_table(tmp_path)
    for content, says in (
        (b"", "is empty"),
        (b"\xff\xfe", "byte 0 is no UTF-8 text"),
        (b"a" * 200_000, "line 1: field "),
    ):
        (tmp_path / "segments.csv").write_bytes(content)
        with pytest.raises(SourceError, match=f"segments.csv: {says}"):
            open_segments(tmp_path)


def test_more_segments_or_windows_than_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_tables, "MAX_SEGMENTS", 2)
    write_table(tmp_path, *(f"two.csv,{start},{start + 1},walk" for start in range(3)))
    with pytest.raises(SourceError, match=r"segments.csv: line 4: more than 2 segments"):
        open_segments(tmp_path)
    write_table(tmp_path, "two.csv,0,9,walk")
    with pytest.raises(SourceError, match=r"line 2, 0 to 9 us: with it, more than 2 windows of frames.windows"):
        open_segments(tmp_path, Windows(every_us=1, length_us=5))


def test_gestures_that_are_wrong(tmp_path: Path) -> None:
    write_gestures(tmp_path, 1, [(1, 0, 9), (12, 9, 20)])
    folder = tmp_path / "DvsGesture"
    table = folder / "user01_fluorescent_labels.csv"
    with pytest.raises(
        SourceError, match=r"labels.csv: line 3: class '12' has no name in the mapping, which has 1 to 11"
    ):
        open_segments(tmp_path)
    table.write_text("class,startTime_usec,endTime_usec\n1,0,9\n1,0,9\n")
    with pytest.raises(SourceError, match=r"line 3: lists the segment of .*line 2 again"):
        open_segments(tmp_path)
    (tmp_path / "gesture_mapping.csv").write_text("action,label\nwave,1\nclap,1\n")
    table.write_text("class,startTime_usec,endTime_usec\n1,0,9\n")
    with pytest.raises(
        SourceError, match=r"gesture_mapping.csv: line 3: clap, 1: the name or the number is there alre"
    ):
        open_segments(tmp_path)
    (folder / "trials_to_test.txt").write_text("\nuser01_fluorescent.aedat\n")
    with pytest.raises(
        SourceError, match=r"trials_to_test.txt: line 2: user01_fluorescent.aedat is listed as train, too"
    ):
        open_segments(tmp_path)
    (folder / "user01_fluorescent.aedat").unlink()
    with pytest.raises(
        SourceError, match=r"labels.csv: expected one recording beside it, user01_fluorescent.<ending>, f"
    ):
        open_segments(tmp_path)


def test_folders_that_are_wrong(tmp_path: Path) -> None:
    write(tmp_path / "box" / "one.npz", 0, "columns.npz")
    write(tmp_path / "box" / "one.csv", 0, "plain.csv")
    with pytest.raises(SourceError, match=r"one.npz: is called as box/one.csv but for the ending; rename one of them"):
        open_segments(tmp_path, WINDOWS)
    (tmp_path / "box" / "one.csv").unlink()
    (tmp_path / "mug").mkdir()
    with pytest.raises(SourceError, match=r"mug: holds no recording"):
        open_segments(tmp_path, WINDOWS)
    (tmp_path / "mug").rmdir()
    write(tmp_path / "test" / "two.npz", 0, "columns.npz")
    with pytest.raises(SourceError, match=r"test: a class cannot be called as a part of a data set"):
        open_segments(tmp_path, WINDOWS)
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "one.npz").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"flat: expected segments.csv and recordings.*found one.npz"):
        open_segments(tmp_path / "flat", WINDOWS)
