"""Which pictures the samples of a source show, and how their names tell it.

A table beside the readers, so that a word more in it makes no converted store stale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_NUMBER: Final = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Scenes:
    """collection: of the pictures that a source's samples are, or are recordings of.

    name: which of its class's pictures the sample of a stem shows, the same for picture and recording; None where the
    stem does not tell.
    """

    collection: str
    name: Callable[[str], str | None]


def plain_name(stem: str) -> str:
    """The stem without what differs from one numbering to another: capitals, leading zeros ("Image_001": image_1)."""
    return _NUMBER.sub(lambda number: number[0].lstrip("0") or "0", stem.casefold())


def last_number(stem: str) -> str | None:
    """The last number in the stem ("image_0042": 42), None where it has none."""
    numbers = _NUMBER.findall(stem)
    return numbers[-1].lstrip("0") or "0" if numbers else None


def not_known(stem: str) -> None:
    """The stem does not tell."""


SCENES: Final[Mapping[str, Scenes]] = MappingProxyType(
    {
        "ncaltech101": Scenes("Caltech101", last_number),
        "caltech101": Scenes("Caltech101", last_number),
        "cepdvs": Scenes("CEP-DVS", last_number),
        "cepdvs-images": Scenes("CEP-DVS", last_number),
        "nmnist": Scenes("MNIST", plain_name),  # "train-00042": MNIST's two parts are both counted from 1
        "mnist": Scenes("MNIST", plain_name),
        "nomniglot": Scenes("Omniglot", last_number),
        "omniglot": Scenes("Omniglot", last_number),
        "omniglot-strokes": Scenes("Omniglot", last_number),
        "cifar10dvs": Scenes("CIFAR-10", not_known),  # its description does not say which photo a recording is of
        "cifar10": Scenes("CIFAR-10", plain_name),
    }
)
"""By the name of the source. Those that are not in it, tonic's and a user's own, show what is not known."""
