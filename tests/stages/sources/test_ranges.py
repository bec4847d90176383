"""What columns hold, seen by a decoder part by part: the same as in one look, and of no other arrays."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import as_events, event_lists
from word_files import FORMATS, SIZE

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages.frames.checked import CheckedEvents
from dvs_transfer.stages.sources.base import Events
from dvs_transfer.stages.sources.formats.recordings import open_recording
from dvs_transfer.stages.sources.formats.words import stream
from dvs_transfer.stages.sources.random_access import InMemory
from dvs_transfer.stages.sources.ranges import Look


@settings(deadline=None)
@given(event_lists(times=("short", "huge", "negative")), st.booleans(), st.lists(st.integers(0, 60), max_size=4))
def test_looks_at_parts(events: list, shuffled: bool, edges: list[int]) -> None:
    if shuffled:
        events = events[1:] + events[:1]
    columns = as_events(events)
    look = Look()
    places = [0, *sorted(edges), len(events)]
    for start, stop in pairwise(places):
        look.at(*(getattr(columns, name)[start:stop] for name in "xytp"))
    x, y, t, p = zip(*events, strict=True)
    assert look.ranges() == (min(x), max(x), min(y), max(y), min(p), max(p), list(t) == sorted(t))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("block_bytes", [80, 1 << 17])
def test_every_decoder_looks_at_all_of_its_events(name: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_BLOCK_BYTES", block_bytes)
    given_format = FORMATS[name]
    polarities = [1] * 40 if "colour" in name else [number % 2 for number in range(40)]
    rows = [(3 + number % 7, 5 + number % 11, 100 * number, p) for number, p in enumerate(polarities)]
    found = open_recording(InMemory(given_format.write(rows), "a"), "")
    assert isinstance(found, Events)
    assert found.ranges == (3, 9, 5, 15, min(polarities), 1, True)
    fresh = replace(found)
    assert fresh.ranges is None
    first, second = (CheckedEvents(events, SIZE, "a") for events in (found, fresh))
    assert (first.extent, first.first_us, first.last_us) == (second.extent, second.first_us, second.last_us)
    assert first.has_signs == second.has_signs


def test_what_was_looked_at_cannot_change() -> None:
    """Else kernels would write beside their frames."""
    events = open_recording(InMemory(FORMATS["dat2"].write([(1, 2, 3, 1), (4, 5, 6, 0)]), "a"), "")
    assert isinstance(events, Events)
    for name in "xytp":
        with pytest.raises(ValueError, match="read-only"):
            getattr(events, name)[:] = 0
    moved = replace(events, x=events.x + np.uint16(1300))
    with pytest.raises(SourceError, match="event 0 has x=1301"):
        CheckedEvents(moved, (1280, 960), "a")
