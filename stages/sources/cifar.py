"""CIFAR-10: 60,000 colour photos of 32 x 32 pixels in ten classes (Krizhevsky 2009), in its Python version; and
CIFAR10-DVS: 10,000 of them, moved on a monitor before a DVS128 camera (Li et al. 2017).

`cifar-10-batches-py/data_batch_1` to `_5` and `test_batch` are pickled dictionaries: `data`, uint8 of shape (10,000,
3,072), a row for each photo: 1,024 values of red, then of green, then of blue, each in the order of a text; `labels`, a
list of 0 to 9.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from ...cache.errors import SourceError
from .base import Events, EventStream, Sample, UInt8Array
from .formats.isolated import LocalFile, ask
from .random_access import RandomAccess, as_access
from .reader import EventReader, ImageReader, Listing
from .tree import find_folder, open_place

CLASS_NAMES: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE: Final = 32  # pixels
_FOLDER: Final = "cifar-10-batches-py"
_BATCHES: Final = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}


class Cifar10(ImageReader):
    """Ids count from 1 in the published order, through all batches: "<class>/train-00001", "<class>/test-00001".

    The pixels stay in memory, 184 MB for the whole data set.
    """

    name = "cifar10"
    title = "CIFAR-10"
    origin = "https://www.cs.toronto.edu/~kriz/cifar.html (`dvs-transfer download cifar10`)"
    licence = "none is stated"
    layout = "cifar-10-batches-py/data_batch_1 to data_batch_5, test_batch or all, or cifar-10-python.tar.gz with them"
    num_samples = 60_000
    num_classes = 10

    def list_samples(self) -> Listing:
        start = open_place(self.path)
        place = (find_folder(start, _FOLDER, ("cifar-10-python.tar.gz",)) or [start])[-1]
        self._pixels: dict[str, UInt8Array] = {}
        samples: list[Sample] = []
        for part, names in _BATCHES.items():
            missing = [name for name in names if not place.exists(name)]
            if len(missing) == len(names):
                continue
            if missing:
                raise SourceError(f"{place}: does not hold {', '.join(missing)}; fetch the data set again")
            number = 0
            for name in names:
                content = place.tree.open(place.join(name))
                pixels, labels = read_batch(content)
                for row, label in enumerate(labels):
                    number += 1
                    sample_id = f"{CLASS_NAMES[label]}/{part}-{number:05d}"
                    samples.append(Sample(sample_id, label, f"{content.location}, image {row + 1}"))
                    self._pixels[sample_id] = pixels[row]
        return CLASS_NAMES, samples

    @classmethod
    def part_of(cls, sample_id: str) -> str:
        part = sample_id.rpartition("/")[2].partition("-")[0]
        return part if part in _BATCHES else ""

    def read_bytes(self, sample: Sample) -> bytes:
        return self._pixels[sample.sample_id].tobytes()

    def decode(self, sample: Sample, data: bytes) -> UInt8Array:
        return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(3, SIDE, SIDE).transpose(1, 2, 0))


def read_batch(content: RandomAccess) -> tuple[UInt8Array, list[int]]:
    """The pixels, (N, 3072) uint8, and the labels of a batch, unpickled in a process of its own (`formats.child`).

    Raises SourceError; executes nothing of the file.
    """
    location = content.location
    file = LocalFile(content)
    _, batch = ask({"reader": "cifar", "path": str(file.path)}, location)
    pixels, labels = batch["data"], batch["labels"]
    if pixels.shape != (labels.size, 3 * SIDE * SIDE) or labels.ndim != 1 or labels.dtype.kind != "i":
        raise SourceError(
            f"{location}: expected `data` of shape (N, {3 * SIDE * SIDE}) and N whole `labels`, found {pixels.shape} "
            f"and {labels.shape} of {labels.dtype}; fetch it again"
        )
    for row in np.flatnonzero((labels < 0) | (labels >= len(CLASS_NAMES))):
        raise SourceError(f"{location}: label {labels[row]} of image {row + 1}, expected 0 to 9; fetch it again")
    return pixels, labels.tolist()


class Cifar10Dvs(EventReader):
    """Recordings of 128 x 128 pixels and 1.15 to 1.46 s. Ids are "<class>/cifar10_<class>_<number>", numbers from 0.

    Which photo a recording shows is not known, so the ids are nobody's in the source `cifar10`.
    """

    name = "cifar10dvs"
    title = "CIFAR10-DVS"
    origin = "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671 (`dvs-transfer download cifar10dvs`)"
    licence = "as its page at figshare says"
    layout = "<class>/cifar10_<class>_<number>.aedat for the ten classes of CIFAR-10, or <class>.zip of each"
    num_samples = 10_000
    num_classes = 10
    sensor_size: ClassVar[tuple[int, int]] = (128, 128)
    suffixes = (".aedat",)
    access = "large"

    def list_samples(self) -> Listing:
        start = open_place(self.path)
        samples: list[Sample] = []
        for label, name in enumerate(CLASS_NAMES):
            places = find_folder(start, name, (f"{name}.zip",))
            if not places:
                raise self.wrong_layout(start)
            self.searched += (places[-1],)
            samples += self.add_class(name, label, places[-1])
        return CLASS_NAMES, samples

    def decode(self, sample: Sample, data: bytes | RandomAccess) -> Events | EventStream:
        """The events as SpikingJelly reads them (spikingjelly/datasets/cifar10_dvs.py): x and y of jAER swapped.

        Without that, pictures lie on their side. Polarity is jAER's, as in `dat2mat.m`, the reader that the data set's
        description names. tonic's `read_dvs_128` turns the picture by 180 degrees more and swaps the polarities.
        """
        from .formats.words import aedat2  # imports numba, which takes a second
        from .formats.words.stream import open_words

        content = as_access(data, sample.location)
        recording = open_words(content, aedat2.words_of(content, "dvs128"))
        if isinstance(recording, Events):
            return _turned(recording)
        return EventStream(lambda: map(_turned, recording.pieces()))


def _turned(events: Events) -> Events:
    return Events(events.y, events.x, events.t, events.p)
