"""What a source's ids say of its recordings: the makers' part, and what they were cut out of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import SourceError
from ...cache.store import FrameStore
from ..sources import EventReader, Reader, rules_of

IntArray = NDArray[np.int64]


def reader_of(events: FrameStore, on_message: Callable[[str], None] = lambda message: None) -> type[Reader]:
    """The reader that the recordings' ids come from. on_message: gets the warning that it is not found."""
    name = str(events.attributes.config.get("source", ""))
    try:
        return rules_of(name) if name else EventReader
    except SourceError as error:
        on_message(f"warning: parts and groups of recordings are taken as their ids show them, since {error}")
        return EventReader


def source_groups(reader: type[Reader], sample_ids: Sequence[str]) -> list[str]:
    """(N,) what each recording was cut out of: its own id where it is a recording of its own."""
    return [reader.group_of(sample_id) for sample_id in sample_ids]


def number_groups(names: Sequence[str]) -> IntArray:
    """(N,) the same number for the same name, counted as they come."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
