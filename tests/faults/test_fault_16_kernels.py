"""Fault 16: kernels that count wrongly, whichever form a recording comes in; more of it lies in tests/stages/frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from fault_injection import Effort, Tally
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import as_events, as_records, event_lists

from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources.base import EventStream, Recording

from naive import Event, bilinear, bounding_box, count

SENSOR = (9, 7)
MODES = ("time", "count", "window", "exact")


def as_stream(events: list[Event]) -> EventStream:
    """In pieces of seven."""
    return EventStream(lambda: (as_events(events[i : i + 7]) for i in range(0, len(events), 7)), SENSOR)


FORMS: dict[str, Callable[[list[Event]], Recording]] = {
    "records": as_records,
    "events": as_events,
    "stream": as_stream,
}
recordings = event_lists(times=("short", "usual", "records"))
forms = st.sampled_from(sorted(FORMS))


Check = Callable[[tuple[Any, ...]], None]


def try_often(effort: Effort, tally: Tally, *arguments: st.SearchStrategy[Any]) -> Callable[[Check], None]:
    """Run a check on examples of its arguments: 40, or with `--long` 5,000."""
    often = settings(max_examples=effort(40, 5000), deadline=None, database=None)

    def run(check: Check) -> None:
        def counted(values: tuple[Any, ...]) -> None:
            with tally.attempt():
                check(values)

        often(given(st.tuples(*arguments))(counted))()

    return run


def test_counts_are_those_of_the_naive_twin(effort: Effort, tally: Tally) -> None:
    @try_often(effort, tally, recordings, forms, st.sampled_from(MODES), st.integers(1, 12))
    def check(values: tuple[list[Event], str, str, int]) -> None:
        events, form, mode, num_bins = values
        window_us = 3_000 if mode == "window" else None
        config = FramesConfig(mode=mode, num_bins=num_bins, window_us=window_us, resize="none", dtype="uint16")
        frames = make_frames(FORMS[form](events), config, SENSOR)
        box = bounding_box(events)
        expected, num_dropped = count(events, mode, num_bins, window_us, box, (box[3], box[2]))
        np.testing.assert_array_equal(frames.data[:, :, : box[3], : box[2]], expected)
        assert frames.data.sum() == expected.sum()
        assert frames.num_dropped == num_dropped


def test_resized_frames_are_those_of_the_naive_twin(effort: Effort, tally: Tally) -> None:
    @try_often(effort, tally, recordings, forms, st.integers(1, 12))
    def check(values: tuple[list[Event], str, int]) -> None:
        events, form, size = values
        config = FramesConfig(num_bins=2, size=size, dtype="float32", mode="exact")
        frames = make_frames(FORMS[form](events), config, SENSOR).data
        box = bounding_box(events)
        counts, _ = count(events, "exact", 2, None, box, (box[3], box[2]))
        for k, channel in np.ndindex(2, 2):
            expected = bilinear(counts[k, channel], size)
            np.testing.assert_allclose(frames[k, channel], expected, rtol=0, atol=1e-4 * max(1, counts.max()))


def test_frames_of_a_concatenation_are_the_sum_of_frames(effort: Effort, tally: Tally) -> None:
    usual = event_lists(times=("usual",))

    @try_often(effort, tally, usual, usual, forms)
    def check(values: tuple[list[Event], list[Event], str]) -> None:
        first, second, form = values
        start, end = (0, 0, 0, 0), (8, 6, 300_000, 1)  # the same first and last event everywhere: the same edges
        config = FramesConfig(crop=False, resize="none", dtype="uint16")

        def frames(events: list[Event]) -> Any:
            return make_frames(FORMS[form]([start, *events, end]), config, SENSOR).data.astype(int)

        both = sorted(first + second, key=lambda event: event[2])
        np.testing.assert_array_equal(frames(both), frames(first) + frames(second) - frames([]))


def test_exact_mode_conserves_every_event(effort: Effort, tally: Tally) -> None:
    @try_often(effort, tally, recordings, forms, st.integers(1, 12), st.integers(1, 12), st.booleans())
    def check(values: tuple[list[Event], str, int, int, bool]) -> None:
        events, form, num_bins, size, crop = values
        config = FramesConfig(mode="exact", num_bins=num_bins, resize="sum", size=size, crop=crop, dtype="uint16")
        frames = make_frames(FORMS[form](events), config, SENSOR)
        assert frames.num_dropped == 0
        assert frames.data.sum() == len(events)
