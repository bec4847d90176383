"""CIFAR10-DVS: 10,000 photos of CIFAR-10, moved on a monitor before a DVS128 camera (Li et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from .base import Events, EventStream, Sample
from .cifar10 import CLASS_NAMES
from .formats.aedat2 import aedat2_pieces
from .formats.pieces import Pieces, hold_short
from .layout import Place, find_folder, open_place
from .random_access import RandomAccess, as_access
from .reader import FileReader


class Cifar10Dvs(FileReader):
    """Recordings of 128 x 128 pixels and 1.15 to 1.46 s. Ids are "<class>/cifar10_<class>_<number>", numbers from 0.

    Which photo a recording shows is not known, so the ids are nobody's in the source `cifar10`.
    """

    name = "cifar10dvs"
    kind = "events"
    title = "CIFAR10-DVS"
    origin = "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671 (`dvs-transfer download cifar10dvs`)"
    licence = "as its page at figshare says"
    layout = "<class>/cifar10_<class>_<number>.aedat for the ten classes of CIFAR-10, or <class>.zip of each"
    num_samples = 10_000
    num_classes = 10
    sensor_size: ClassVar[tuple[int, int]] = (128, 128)

    def _index(self) -> tuple[tuple[str, ...], tuple[Sample, ...]]:
        start = open_place(self.path)
        samples: list[Sample] = []
        self._places: list[Place] = []
        for label, name in enumerate(CLASS_NAMES):
            way = find_folder(start, name, (f"{name}.zip",))
            if not way:
                raise self.wrong_layout(start)
            self._places.append(way[-1])
            files = [file for file in way[-1].children()[1] if file.endswith(".aedat")]
            samples += self._add_class(name, label, way[-1], files)
        return CLASS_NAMES, tuple(samples)

    def _searched_places(self) -> Iterable[Place]:
        return self._places

    def decode(self, sample: Sample, data: bytes | RandomAccess) -> Events | EventStream:
        """The events as SpikingJelly reads them (spikingjelly/datasets/cifar10_dvs.py): x and y of jAER swapped.

        Without that, pictures lie on their side. Polarity is jAER's, as in `dat2mat.m`, the reader that the data set's
        description names. tonic's `read_dvs_128` turns the picture by 180 degrees more and swaps the polarities.
        """
        return hold_short(partial(_turned_pieces, as_access(data, sample.location)), sample.location)


def _turned_pieces(content: RandomAccess) -> Pieces:
    _, pieces = aedat2_pieces(content.read_at, content.size, content.location)
    return None, (Events(events.y, events.x, events.t, events.p) for events in pieces)
