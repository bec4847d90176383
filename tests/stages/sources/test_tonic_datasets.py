"""tonic's data sets as sources: what tonic decodes, under stable ids, and never a download."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import scipy.io
from own_recordings import WRITERS, make_events
from recordings import judged

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages import process_main
from dvs_transfer.stages.sources import Events, Reader, find_source, open_source, tonic_datasets
from dvs_transfer.stages.sources.formats import child
from dvs_transfer.stages.sources.formats.isolated import DECODERS

RECORDS = [(1, 2, 3, 1), (33, 30, 40_000, 0)]


PATCHED = """
from importlib.util import module_from_spec, spec_from_file_location
import os
import numpy as np
spec = spec_from_file_location("child", {script!r})
child = module_from_spec(spec)
spec.loader.exec_module(child)
NMNIST = child.tonic_datasets().NMNIST
listed, read = NMNIST.__init__, NMNIST.__getitem__
{code}
READERS, LIBRARIES = child.READERS, child.LIBRARIES
"""


@pytest.fixture
def in_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Runs code in every child that is started from now on, before its first request."""
    script, patched_script = str(child.__file__), tmp_path / "patched.py"

    def patch(code: str) -> None:
        patched_script.write_text(PATCHED.format(script=script, code=code))
        DECODERS.end()

    with monkeypatch.context() as patched:
        patched.setattr(child, "__file__", str(patched_script))
        yield patch
    DECODERS.end()


def decoders() -> list[psutil.Process]:
    """The decoding processes that are left when the idle ones are ended."""
    DECODERS.end()
    return [process for process in psutil.Process().children() if process_main.__file__ in process.cmdline()]


@pytest.fixture
def nmnist(tmp_path: Path, make: Any) -> Path:
    names = ("Train/0/00021.bin", "Train/0/00002.bin", "Train/7/00016.bin", "Test/7/00001.bin")
    return make.files(tmp_path, {f"NMNIST/{name}": make.records(RECORDS) for name in names})


def decoded(source: Reader, number: int) -> Events:
    sample = source.samples[number]
    return judged(source.decode(sample, source.read_bytes(sample)), source.sensor_size, sample.location)


def test_recordings_are_listed_by_label_part_and_path(nmnist: Path) -> None:
    source = open_source("tonic:NMNIST", nmnist)
    assert (source.kind, source.class_names, source.sensor_size) == ("events", ("0", "7"), (34, 34))
    assert [(s.sample_id, s.label, source.metadata(s)["file"]) for s in source.samples] == [
        ("0/tonic-train-00001", 0, "Train/0/00002.bin"),
        ("0/tonic-train-00002", 0, "Train/0/00021.bin"),
        ("7/tonic-test-00001", 1, "Test/7/00001.bin"),
        ("7/tonic-train-00001", 1, "Train/7/00016.bin"),
    ]
    assert source.samples[0].location == str(nmnist / "NMNIST" / "Train" / "0" / "00002.bin")
    events = decoded(source, 0)
    assert [values.tolist() for values in (events.x, events.y, events.t, events.p)] == [
        *([1, 33], [2, 30], [3, 40_000], [1, 0])
    ]
    assert [values.dtype for values in (events.x, events.t, events.p)] == [np.uint16, np.int64, np.uint8]
    assert source.samples == open_source("tonic:NMNIST", nmnist / "NMNIST").samples


def test_cifar10dvs_as_tonic_converted_it(tmp_path: Path) -> None:
    """AEDAT 4, as its published conversion is, which the source cifar10dvs does not read."""
    events = make_events(500)
    for name in ("bird", "truck"):
        (tmp_path / "CIFAR10DVS" / name).mkdir(parents=True)
        WRITERS["a.aedat4"](tmp_path / "CIFAR10DVS" / name / "cifar10_0.aedat4", events)
    source = open_source("tonic:CIFAR10DVS", tmp_path)
    assert (source.class_names, source.sensor_size) == (("2", "9"), (128, 128))
    for number in range(2):
        for column in "xytp":
            np.testing.assert_array_equal(getattr(decoded(source, number), column), getattr(events, column))


def test_what_tonic_could_not_hold_is_refused_with_a_way_out(nmnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source("tonic:NMNIST", nmnist)
    monkeypatch.setattr(tonic_datasets, "MAX_EVENTS", 1)
    with pytest.raises(SourceError, match=r"00002\.bin: 2 events; .*up to 1: convert it as `folder`"):
        source.read_bytes(source.samples[0])
    monkeypatch.setattr(tonic_datasets, "MAX_FILE_BYTES", 9)
    with pytest.raises(SourceError, match=r"00002\.bin: 10 bytes; .*up to 9: convert it as `folder`"):
        source.read_bytes(source.samples[0])


def test_pieces_are_put_together(nmnist: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [(i % 34, i % 33, i, i % 2) for i in range(1000)]
    (nmnist / "NMNIST" / "Train" / "0" / "00002.bin").write_bytes(make.records(records))
    monkeypatch.setattr(tonic_datasets, "PIECE_EVENTS", 300)
    events = decoded(open_source("tonic:NMNIST", nmnist), 0)
    assert [*zip(events.x, events.y, events.t, events.p, strict=True)] == records


def test_a_reader_is_opened_again_in_another_process(nmnist: Path) -> None:
    source = open_source("tonic:NMNIST", nmnist)
    again = pickle.loads(pickle.dumps(source))
    assert again is pickle.loads(pickle.dumps(source)) is pickle.loads(pickle.dumps(again))
    assert again is not pickle.loads(pickle.dumps(open_source("tonic:NMNIST", nmnist)))  # another command's
    assert again.samples == source.samples
    assert again.read_bytes(again.samples[0]) == source.read_bytes(source.samples[0])


def test_the_order_of_a_folder_s_listing_changes_nothing(nmnist: Path, in_child: Callable[[str], None]) -> None:
    in_child("")
    before = open_source("tonic:NMNIST", nmnist)
    content = before.read_bytes(before.samples[3])
    in_child("""
def reversed_listing(self, *arguments, **options):
    listed(self, *arguments, **options)
    self.data, self.targets = self.data[::-1], self.targets[::-1]
NMNIST.__init__ = reversed_listing
""")
    assert open_source("tonic:NMNIST", nmnist).samples == before.samples
    assert before.read_bytes(before.samples[3]) == content  # by a child that lists otherwise than the one before


def test_a_folder_that_changes_is_no_other_recording(nmnist: Path, make: Any) -> None:
    source = open_source("tonic:NMNIST", nmnist)
    make.files(nmnist, {"NMNIST/Train/0/00001.bin": make.records(RECORDS)})
    DECODERS.end()
    with pytest.raises(SourceError, match=r"00002\.bin: its folder changed while it was read"):
        source.read_bytes(source.samples[0])
    assert len(open_source("tonic:NMNIST", nmnist).samples) == 5


def test_letters_in_mat_files(tmp_path: Path) -> None:
    folder = tmp_path / "ASLDVS" / "Yin Bi's" / "c"
    folder.mkdir(parents=True)
    columns = {"ts": [[5], [9]], "x": [[239], [0]], "y": [[0], [179]], "pol": [[1], [0]]}
    scipy.io.savemat(folder / "c_0001.mat", columns)
    source = open_source("tonic:ASLDVS", tmp_path)
    assert (source.class_names, source.samples[0].sample_id) == (("2",), "2/tonic-all-00001")
    events = decoded(source, 0)
    assert (events.x.tolist(), events.y.tolist(), events.t.tolist()) == ([239, 0], [179, 0], [5, 9])


def test_a_class_that_lists_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tonic holds them all from the opening on."""
    folder = tmp_path / "POKERDVS" / "pips_train" / "he"
    folder.mkdir(parents=True)
    np.save(folder / "a.npy", np.array([[5, 1, 2, 1], [9, 3, 4, 0]]))
    source = open_source("tonic:POKERDVS", tmp_path)
    (sample,) = source.samples
    assert (sample.sample_id, source.metadata(sample)) == ("1/tonic-train-00001", {})
    assert sample.location == f"{tmp_path / 'POKERDVS'}, train sample 0"
    events = decoded(source, 0)
    assert (events.x.tolist(), events.y.tolist(), events.t.tolist()) == ([1, 3], [2, 4], [5, 9])
    monkeypatch.setattr(tonic_datasets, "MAX_EVENTS", 1)
    with pytest.raises(SourceError, match="train sample 0: 2 events; "):
        source.read_bytes(sample)
    with (folder / "b.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": (1 << 40, 4)})
    with pytest.raises(SourceError, match=r"POKERDVS, train part, by tonic: cannot be decoded \("):
        open_source("tonic:POKERDVS", tmp_path)


def test_class_names_of_text_and_a_sensor_of_any_size(tmp_path: Path, make: Any) -> None:
    files = {f"NCALTECH101/{name}/image_0001.bin": make.records(RECORDS) for name in ("ant", "Motorbikes")}
    source = open_source("tonic:NCALTECH101", make.files(tmp_path, files))
    assert (source.class_names, source.sensor_size) == (("Motorbikes", "ant"), (1280, 960))
    assert decoded(source, 1).x.tolist() == [0, 32]  # as tonic moves them


def test_times_in_milliseconds_are_tonic_s_to_convert(tmp_path: Path) -> None:
    folder = tmp_path / "DVSGesture" / "ibmGestureTrain" / "user01_fluorescent"
    folder.mkdir(parents=True)
    for label in (10, 9):
        np.save(folder / f"{label}.npy", np.array([[1.0, 2, 1, 7], [3, 4, 0, 8]]))
    source = open_source("tonic:DVSGesture", tmp_path)
    assert source.class_names == ("9", "10")
    assert decoded(source, 0).t.tolist() == [7_000, 8_000]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("NONSENSE", r"tonic [\d.]+ has no data set of that name; its data sets of event recordings are ASLDVS, "),
        ("SHD", r"its sensor size is \(700, 1, 1\), not that of a camera"),
        ("SMNIST", "its sensor size is not known"),
        ("DAVISDATA", "it opens with save_to, recording, not with a folder alone"),
        ("__doc__", "has no data set of that name"),
    ],
)
def test_what_is_no_set_of_labelled_recordings(tmp_path: Path, name: str, problem: str) -> None:
    with pytest.raises(SourceError, match=f"tonic:{name}: .*{problem}"):
        open_source(f"tonic:{name}", tmp_path)


def test_targets_that_are_no_labels(tmp_path: Path, make: Any) -> None:
    make.files(tmp_path, {"ThreeET_Eyetracking/train_files.txt": b"a\nb\n"})
    with pytest.raises(SourceError, match="its targets are no class labels"):
        open_source("tonic:ThreeET_Eyetracking", tmp_path)
    (tmp_path / "VPR").mkdir()
    with pytest.raises(SourceError, match="its targets are no class labels"):
        open_source("tonic:VPR", tmp_path)


def test_data_that_are_not_there_are_not_fetched(tmp_path: Path, make: Any) -> None:
    with pytest.raises(SourceError, match="nowhere: does not exist or is no folder"):
        open_source("tonic:NMNIST", tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"expected FOLDER or FOLDER/NMNIST .*; found nothing.*save_to='FOLDER'"):
        open_source("tonic:NMNIST", tmp_path)
    (tmp_path / "NMNIST").mkdir()
    with pytest.raises(SourceError, match="found nothing"):
        open_source("tonic:NMNIST", tmp_path)
    make.files(tmp_path, {"DVSLip/DVS-Lip/test/ant.txt": b""})
    with pytest.raises(SourceError, match=r"DVSLip, test part, by tonic: cannot be decoded \(ValueError"):
        open_source("tonic:DVSLip", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["DVSLip", "NMNIST"]


def test_no_class_downloads_in_the_child(nmnist: Path) -> None:
    dataset, _ = child.open_tonic(str(nmnist / "NMNIST"), "train", 0)
    with pytest.raises(RuntimeError, match="NMNIST wants to download; fetch it with tonic"):
        dataset.download()


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        ([], "no event in it"),
        ([(34, 0, 1, 1)], "event 0 has x=34, expected a whole number from 0 to 33"),
        ([(1, 0, 1, 1), (1, 40, 1, 1)], "event 1 has y=40"),
        ([(1, 0, 9, 1), (1, 4, 8, 1)], "time runs backwards at event 1: 8 us after 9 us"),
    ],
)
def test_broken_recordings_are_named(nmnist: Path, make: Any, records: Any, problem: str) -> None:
    (nmnist / "NMNIST" / "Train" / "0" / "00002.bin").write_bytes(make.records(records))
    with pytest.raises(SourceError, match=rf"00002\.bin: {problem}"):
        decoded(open_source("tonic:NMNIST", nmnist), 0)


def test_a_file_that_tonic_cannot_read_is_named(nmnist: Path, make: Any) -> None:
    source = open_source("tonic:NMNIST", nmnist)
    file = nmnist / "NMNIST" / "Train" / "0" / "00002.bin"
    file.write_bytes(make.records([*RECORDS, RECORDS[1]])[:-2])
    with pytest.raises(SourceError, match=r"00002\.bin: cannot be decoded \(ValueError"):
        source.read_bytes(source.samples[0])
    file.unlink()
    with pytest.raises(SourceError, match=r"00002\.bin: cannot be decoded \(FileNotFoundError"):
        source.read_bytes(source.samples[0])


def test_the_child_does_without_torch(nmnist: Path, in_child: Callable[[str], None]) -> None:
    """Which may take more address space than a child has."""
    in_child("import sys; NMNIST.__getitem__ = lambda self, index: (np.zeros(1, self.dtype), 'torch' in sys.modules)")
    source = open_source("tonic:NMNIST", nmnist)
    with pytest.raises(SourceError, match="its target is False"):
        source.read_bytes(source.samples[0])


def test_a_recording_that_hangs_tonic_costs_itself(nmnist: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """tonic adds to all times after an overflow, for each overflow."""
    (nmnist / "NMNIST" / "Train" / "0" / "00002.bin").write_bytes(make.records([(0, 240, 0, 0)]) * 1_000_000)
    source = open_source("tonic:NMNIST", nmnist)
    monkeypatch.setattr(process_main, "SILENCE_S", 1.0)
    with pytest.raises(SourceError, match=r"00002\.bin: its decoder was silent for 1 s"):
        source.read_bytes(source.samples[0])
    monkeypatch.undo()
    assert len(DECODERS._idle) == 0
    assert len(decoded(source, 1)) == 2
    assert decoders() == []


def test_a_recording_that_crashes_tonic_costs_itself(nmnist: Path, in_child: Callable[[str], None]) -> None:
    in_child("""
def crash(self, index):
    if self.data[index].endswith("00002.bin"):
        os.abort()
    print("a library that talks")
    return read(self, index)
NMNIST.__getitem__ = crash
""")
    source = open_source("tonic:NMNIST", nmnist)
    with pytest.raises(SourceError, match=r"00002\.bin: its decoder was ended by signal 6"):
        source.read_bytes(source.samples[0])
    assert len(decoded(source, 1)) == 2
    assert decoders() == []


def test_memory_of_one_s_own_that_runs_out_is_no_fault_of_the_recording(
    nmnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*arguments: Any) -> None:
        raise MemoryError

    source = open_source("tonic:NMNIST", nmnist)
    monkeypatch.setattr(np, "empty", no_memory)
    with pytest.raises(MemoryError):
        source.read_bytes(source.samples[0])


def test_a_target_that_is_not_the_label(nmnist: Path, in_child: Callable[[str], None]) -> None:
    in_child("NMNIST.__getitem__ = lambda self, index: (np.zeros(1, self.dtype), {'a': 1})")
    source = open_source("tonic:NMNIST", nmnist)
    with pytest.raises(SourceError, match=r"its target is \{'a': 1\}, which is no class label"):
        source.read_bytes(source.samples[0])


@pytest.mark.parametrize(
    ("field", "kind", "value", "problem"),
    [
        ("p", "i8", 2, "event 0 has p=2"),
        ("x", "i8", -1, "event 0 has x=-1"),
        ("t", "f8", 0.5, r"expected whole numbers in x, y, t \(us\) and p, found t of type float64"),
        ("t", "M8[us]", 0, "expected whole numbers"),
        ("t", "O", 0, "cannot be decoded"),
    ],
)
def test_values_that_no_event_has(
    nmnist: Path, in_child: Callable[[str], None], field: str, kind: str, value: Any, problem: str
) -> None:
    in_child(f"""
events = np.zeros(1, [(name, "{kind}" if name == "{field}" else "i8") for name in "xytp"])
events["{field}"] = {value}
NMNIST.__getitem__ = lambda self, index: (events, self.targets[index])
""")
    with pytest.raises(SourceError, match=problem):
        decoded(open_source("tonic:NMNIST", nmnist), 0)


def test_no_source_of_images() -> None:
    with pytest.raises(SourceError, match="no source of images is called 'tonic:NMNIST'; there are caltech101"):
        find_source("tonic:NMNIST", "images")
