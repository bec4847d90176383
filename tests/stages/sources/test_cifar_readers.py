"""CIFAR10-DVS and CIFAR-10: every published form, ids that are nobody's photo, and pickles that nobody executes."""

from __future__ import annotations

import contextlib
import pickle
import pickletools
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_data import CLASSES, HEADER, aedat2, batch, dvs128, random_pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import judged

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.sources import open_source
from dvs_transfer.stages.sources.cifar import read_batch
from dvs_transfer.stages.sources.formats import child
from dvs_transfer.stages.sources.random_access import InMemory

RECORDING = aedat2([(dvs128(0, 5, 0), 3), (dvs128(127, 100, 1), 9)])


# CIFAR10-DVS ----------------------------------------------------------------------------------------------------------


def recordings(numbers: tuple[int, ...] = (0, 10, 9)) -> dict[str, bytes]:
    return {f"{name}/cifar10_{name}_{number}.aedat": RECORDING for name in CLASSES for number in numbers}


def zips(make: Any) -> dict[str, bytes]:
    files = recordings()
    return {
        f"{name}.zip": make.zip({file: data for file, data in files.items() if file.startswith(f"{name}/")})
        for name in CLASSES
    }


@pytest.mark.parametrize("form", ["folders", "zips", "mixed", "in a folder"])
def test_recordings_of_every_published_form(tmp_path: Path, make: Any, form: str) -> None:
    files = recordings() if form != "zips" else zips(make)
    if form == "mixed":
        files = {file: data for file, data in files.items() if file[0] != "b"} | {"bird.zip": zips(make)["bird.zip"]}
    if form == "in a folder":
        files = {f"CIFAR10DVS/{file}": data for file, data in files.items()}
    source = open_source("cifar10dvs", make.files(tmp_path, files))
    assert source.class_names == CLASSES
    assert len(source.samples) == 30
    first = source.samples[0]
    assert (first.sample_id, first.label) == ("airplane/cifar10_airplane_0", 0)
    events = judged(source.decode(first, source.read_bytes(first)))
    # as SpikingJelly: x = 127 - (address >> 8 & 127), y = 127 - (address >> 1 & 127), p = 1 - (address & 1)
    assert [values.tolist() for values in (events.x, events.y, events.t, events.p)] == [
        *([122, 27], [127, 0], [3, 9], [1, 0])
    ]


def test_a_class_that_is_missing_or_empty(tmp_path: Path, make: Any) -> None:
    files = {file: data for file, data in recordings().items() if not file.startswith("ship/")}
    with pytest.raises(SourceError, match=r"expected <class>/.*; found airplane/, automobile/"):
        open_source("cifar10dvs", make.files(tmp_path, files))
    make.files(tmp_path, {"ship/cifar10_ship_0.aedat4": b""})
    with pytest.raises(SourceError, match=r"ship: holds no sample of class ship \(found cifar10_ship_0\.aedat4\)"):
        open_source("cifar10dvs", tmp_path)


def test_a_broken_recording_is_named(tmp_path: Path, make: Any) -> None:
    source = open_source("cifar10dvs", make.files(tmp_path, recordings()))
    with pytest.raises(SourceError, match=r"cifar10_airplane_0\.aedat: 13 bytes after byte \d+ are not a whole"):
        source.decode(source.samples[0], RECORDING[:-3])
    with pytest.raises(SourceError, match="recorded by"):
        source.decode(source.samples[0], aedat2([(0, 1)], HEADER + b"# AEChip: a.Cochlea64\r\n"))


# CIFAR-10 -------------------------------------------------------------------------------------------------------------

PIXELS = random_pixels(3)


def batches() -> dict[str, bytes]:
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    return {f"cifar-10-batches-py/{name}": batch(random_pixels(2, seed), [9, 0]) for seed, name in enumerate(names)}


@pytest.mark.parametrize("form", ["folder", "the folder itself", "archive", "a folder with the archive"])
def test_photos_of_every_published_form(tmp_path: Path, make: Any, form: str) -> None:
    make.files(tmp_path, {"cifar-10-python.tar.gz": make.tar(batches())} if "archive" in form else batches())
    inside = {"the folder itself": "cifar-10-batches-py", "archive": "cifar-10-python.tar.gz"}.get(form, ".")
    source = open_source("cifar10", tmp_path / inside)
    assert source.class_names == CLASSES
    assert [sample.sample_id for sample in source.samples] == [
        *("airplane/test-00002", *(f"airplane/train-{number:05d}" for number in (2, 4, 6, 8, 10))),
        *("truck/test-00001", *(f"truck/train-{number:05d}" for number in (1, 3, 5, 7, 9))),
    ]
    sample = source.samples[2]  # the second photo of data_batch_2
    image = source.decode(sample, source.read_bytes(sample))
    assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
    values = random_pixels(2, 1)[1]
    for channel in range(3):
        for row in (0, 31):
            first = 1024 * channel + 32 * row
            np.testing.assert_array_equal(image[row, :, channel], values[first : first + 32])


def test_one_part_alone_and_one_without_a_batch(tmp_path: Path, make: Any) -> None:
    files = batches()
    make.files(tmp_path / "a", {name: data for name, data in files.items() if name.endswith("test_batch")})
    assert [s.sample_id for s in open_source("cifar10", tmp_path / "a").samples] == [
        *("airplane/test-00002", "truck/test-00001")
    ]
    del files["cifar-10-batches-py/data_batch_3"]
    with pytest.raises(SourceError, match="does not hold data_batch_3; fetch"):
        open_source("cifar10", make.files(tmp_path / "b", files))


def test_no_photo_has_the_id_of_a_recording(tmp_path: Path, make: Any) -> None:
    """Which photo a recording shows is not published."""
    events = open_source("cifar10dvs", make.files(tmp_path / "a", recordings()))
    images = open_source("cifar10", make.files(tmp_path / "b", batches()))
    assert not {sample.sample_id for sample in events.samples} & {sample.sample_id for sample in images.samples}


@pytest.mark.parametrize("order", [b"\x89", b"\x88"])
def test_a_batch_is_what_the_standard_library_unpickles(order: bytes) -> None:
    data = batch(PIXELS, [3, 1, 4]).replace(b"K\x00tb\x89", b"K\x00tb" + order)  # False: last index fastest
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy.core of numpy 1
        expected = pickle.loads(data, encoding="bytes")
    pixels, labels = read(data)
    np.testing.assert_array_equal(pixels, expected[b"data"])
    assert labels == expected[b"labels"] == [3, 1, 4]


def read(data: bytes) -> tuple[np.ndarray, list[int]]:
    return read_batch(InMemory(data, "a"))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (batch(PIXELS, [3, 1, 10]), r"label 10 of image 3, expected 0 to 9"),
        (
            batch(PIXELS, [3, 1]),
            r"expected `data` of shape \(N, 3072\) and N whole `labels`, found \(3, 3072\) and \(2,\)",
        ),
        (batch(PIXELS[:, :3000], [3, 1, 4]), r"expected `data` of shape \(N, 3072\) .*found \(3, 3000\)"),
        (
            re.sub(rb"\]q.\(K\x03e", b"K\x03", batch(PIXELS[:1], [3]), count=1, flags=re.DOTALL),
            r"N whole `labels`, found \(1, 3072\) and \(\)",
        ),
        (pickle.dumps({"labels": [1]}, 2), "KeyError: 'data'"),
        (batch(PIXELS, [3, 1, 4])[:-1], "UnpicklingError|EOFError"),
        (batch(PIXELS, [3, 1, 4]).replace(b"U\x02u1", b"U\x02O8"), "data are of the type 'O8'"),
        (batch(PIXELS, [3, 1, 4]).replace(b"M\x00\x0c", b"M\x00\x0d"), "cannot reshape"),
        (pickle.dumps([1], 2), "TypeError"),
        (b"", "EOFError"),
    ],
)
def test_damaged_batches_are_named(data: bytes, problem: str) -> None:
    with pytest.raises(SourceError, match=rf"^a: .*({problem})"):
        read(data)


class Malicious:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self._path), "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_code_is_refused_and_did_not_run(tmp_path: Path, make: Any, protocol: int) -> None:
    victim = tmp_path / "victim"
    data = pickle.dumps({"labels": [0], "data": Malicious(victim)}, protocol)
    pickle.loads(data)["data"].close()
    assert victim.exists()  # it is dangerous
    victim.unlink()
    with pytest.raises(SourceError, match="Nothing in the file was executed"):
        open_source("cifar10", make.files(tmp_path, {"cifar-10-batches-py/test_batch": data}))
    assert not victim.exists()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
CALLED = b"cnumpy\nndarray\n(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftR"  # an array of 2^62 values, were it numpy's


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        (b"cos\nsystem\nU\x02id\x85R.", "it names os.system"),
        (b"(U\x02idios\nsystem\n.", "it names os.system"),
        (b"cbuiltins\neval\nU\x01a\x85R.", "it names builtins.eval"),
        (b"cnumpy\nload\nU\x01a\x85R.", "it names numpy.load"),
        (CALLED + b".", "TypeError"),
        (b"}U\x04data" + CALLED + b"s.", "AttributeError"),
        (b"}U\x04data" + ARRAY + b"s.", "AttributeError"),
        (b"}U\x04data" + ARRAY + b"(K\x01K\x02\x85NNU\x01atbs.", "AttributeError"),
        (b"}h\x05.", "UnpicklingError|KeyError"),
        (b"t.", "UnpicklingError|IndexError"),
        (b"\x80\x02}\x8a\xff.", "UnpicklingError|EOFError"),
        (b"}r\xff\xff\xff\x7f.", "MemoryError"),  # a memo of 2^31 entries
        (b"T\xff\xff\xff\x7fabc.", "UnpicklingError|MemoryError|EOFError"),
    ],
)
def test_programs_that_the_published_files_do_not_hold(program: bytes, problem: str) -> None:
    with pytest.raises(SourceError, match=rf"^a: .*({problem}).*Nothing in the file was executed"):
        read(program)


VALID = batch(random_pixels(1)[:, :8], [1])
OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from([*OPCODES, b"\x00", b"\x01", b"a\n", b"1\n"]), max_size=30), st.integers(0, len(VALID)))
def test_any_program_is_followed_or_refused(
    tmp_path_factory: pytest.TempPathFactory, program: list[bytes], at: int
) -> None:
    """In this process, which no instruction of a few bytes harms."""
    path = tmp_path_factory.getbasetemp() / "batch"
    for data in (b"".join(program), VALID[:at] + b"".join(program[:2]) + VALID[at + 1 :]):
        path.write_bytes(data)
        with contextlib.suppress(ValueError):
            _, (columns,) = child.read_cifar(str(path))
            assert columns["data"].dtype == np.uint8
