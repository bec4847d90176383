"""The report's first sentence, and how its numbers, intervals and axes are written."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from finished_run import MakeRun
from html_page import Page
from tiny import merged

from dvs_transfer.pipeline.results import report
from dvs_transfer.stages.evaluation.results import MIN_RECORDINGS, ClassAccuracy, LastEpoch, find_few
from dvs_transfer.stages.evaluation.statistics import Interval, bootstrap_interval
from dvs_transfer.stages.reporting.figures import Line, line_chart, whole_ticks
from dvs_transfer.stages.reporting.page import number_formats


def read(run: Path) -> Page:
    return Page(report([run], run / "report.html").page.read_text())


def test_the_result_comes_first_with_what_guessing_gives(make_run: MakeRun) -> None:
    interval = {"top1_interval": (0.61239, 0.95)}
    words = " ".join(read(make_run(**interval)).text.partition("Results")[0].split())
    assert (
        "Run run 83.3 % top-1 on 12 test recordings of 3 classes (95 % interval over recordings 61.2 to 95.0 %, of so "
        "few that it is too narrow). Guessing: 33.3 %. Method transfer, 240 labelled recordings; the weights of the "
        "best epoch (epoch 2). One run, held against none" in words
    )


CAMERA = {"on_threshold": 0.3, "seed": 1}
SACCADES, DRIFT = ({"encoding": "saccade", "saccade": {"motion": motion}} for motion in ("saccades", "drift"))


def reconfigured(run: Path, **sections: Any) -> Path:
    """The run with other sections in its `config.json`. recordings: what it says of these beside its configuration."""
    document = json.loads((run / "config.json").read_text())
    beside = {"recordings": sections.pop("recordings")} if "recordings" in sections else {}
    document = merged(document, beside, experiment=sections)
    (run / "config.json").write_text(json.dumps(document))
    return run


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"demo": {"out": "demo"}}, "drawn shapes before a simulated camera."),
        (
            {"demo": {"out": "demo"}, "train": DRIFT},
            "drawn shapes before a simulated camera, which is not the one that photos are shown with.",
        ),
        ({"demo": {"out": "demo"}, "train": {**DRIFT, "method": "events"}}, "drawn shapes before a simulated camera."),
        (
            {"simulate": CAMERA, "train": SACCADES},
            "photos before a simulated camera, which moves as the one that photos are shown with.",
        ),
        (
            {"simulate": CAMERA, "images": {"recorded": {**CAMERA, "seed": 2}}, "train": {"encoding": "recorded"}},
            "photos before a simulated camera, which is like the one that photos are shown with.",
        ),
        (
            {"simulate": CAMERA, "images": {"recorded": CAMERA}, "train": {"encoding": "recorded"}},
            "photos before a simulated camera, which is the one that photos are shown with.",
        ),
        (
            {"simulate": CAMERA, "images": {"recorded": {**CAMERA, "blur_px": 2}}, "train": {"encoding": "recorded"}},
            "photos before a simulated camera, which has the sensor of the one that photos are shown with.",
        ),
        (
            {
                "simulate": CAMERA,
                "images": {"recorded": {**CAMERA, "seed": 2, "blur_px": 2}},
                "train": {"encoding": "recorded"},
            },
            "photos before a simulated camera, which is not the one that photos are shown with.",
        ),
        ({"recordings": "simulated"}, "photos before a simulated camera."),
        ({"recordings": "demo"}, "drawn shapes before a simulated camera."),
    ],
)
def test_recordings_that_are_simulated_are_called_so(sections: dict[str, Any], says: str, make_run: MakeRun) -> None:
    text = " ".join(read(reconfigured(make_run(), **sections)).text.split())
    opening = text.partition("Results")[0]
    assert f"Guessing: 33.3 %. The recordings are simulated: {says} Method transfer" in opening
    assert "toy-events (simulated) " in text


def test_photos_that_were_not_shown_did_not_teach(make_run: MakeRun) -> None:
    text = " ".join(read(reconfigured(make_run(), train={"method": "events"})).text.split())
    assert "toy-events without images" in text
    assert "of which none was shown" in text


@pytest.mark.parametrize("sections", [{}, {"images": {"recorded": CAMERA}, "train": {"encoding": "recorded"}}])
def test_real_recordings_are_not_called_simulated(sections: dict[str, Any], make_run: MakeRun) -> None:
    """Nor are they where a simulated camera shows the photos."""
    text = read(reconfigured(make_run(), **sections)).text
    assert "recordings are simulated" not in text
    assert "(simulated)" not in text


def test_a_class_that_is_frequent_can_be_guessed(make_run: MakeRun) -> None:
    counts = {"ant": 7, "bee": 4, "cat": 1}
    classes = [ClassAccuracy(name=name, num_samples=count, accuracy=1.0) for name, count in counts.items()]
    words = " ".join(read(make_run(classes=classes)).text.split())
    assert "Guessing: 33.3 %; always the most frequent class: 58.3 %." in words
    classes += [ClassAccuracy(name="novel", num_samples=0, accuracy=None)] * 7
    more = " ".join(read(make_run("more", classes=classes, num_classes=10)).text.split())
    assert "12 test recordings of 3 classes" in more
    assert "Guessing: 33.3 %;" in more


@pytest.mark.parametrize(
    ("counts", "right", "few"),
    [
        ((15, 15), (14, 13), (False, False)),
        ((15, 14), (14, 12), (True, True)),
        ((95, 5, 0), (90, 3, 0), (False, False)),
        ((96, 4), (90, 3), (False, True)),
        ((50, 50), (50, 50), (True, True)),  # the bootstrap's intervals have no width
        ((50, 50), (0, 50), (False, True)),  # nor has the one within classes
        ((50, 50), (49, 50), (False, False)),
    ],
)
def test_intervals_of_a_handful_are_marked(
    counts: tuple[int, ...], right: tuple[int, ...], few: tuple[bool, bool], make_run: MakeRun
) -> None:
    """By the intervals of the checkpoint that is shown, whatever another one's are."""
    classes = [ClassAccuracy(name="x", num_samples=count, accuracy=None) for count in counts]
    labels = np.repeat(np.arange(len(counts)), counts)
    correct = np.concatenate([np.arange(count) < ok for count, ok in zip(counts, right, strict=True)])
    shown = LastEpoch(
        top1=0.5,
        top5=1,
        mean_class_accuracy=0.5,
        top1_interval=astuple(bootstrap_interval(correct)),
        mean_class_accuracy_interval=astuple(bootstrap_interval(correct, labels)),
    )
    made: Any = SimpleNamespace(classes=classes, has_few_recordings=sum(counts) < MIN_RECORDINGS)
    found = find_few(made, shown)
    assert (found["top1"], found["mean_class_accuracy"], found["top5"]) == (*few, False)
    text = read(make_run()).text
    assert text.count("few]") == 2  # of 12 recordings: top-1 and the mean of the classes
    assert "few: an interval over fewer than 30 recordings, or over classes of which one has fewer than 5" in text


@pytest.mark.parametrize(("num_classes", "has_top5"), [(3, False), (5, False), (6, True)])
def test_few_classes_have_no_top5(num_classes: int, has_top5: bool, make_run: MakeRun) -> None:
    page = read(make_run(class_names=("ant", "bee", "cat", "dog", "eel", "fox")[:num_classes]))
    assert ("top-5" in page.text) == has_top5


def test_one_recording_more_is_seen_in_every_number() -> None:
    for count, shown, difference in ((999, "12.3 %", "+12.3"), (1000, "12.35 %", "+12.35")):
        formats = number_formats(count)
        assert formats["percent"](0.123456) == shown
        assert formats["points"](0.123456) == difference
    formats = number_formats(10)
    assert formats["interval"]((0.1, 0.25)) == formats["interval"](Interval(0.1, 0.25)) == "10.0 to 25.0 %"
    assert formats["interval_of_points"](Interval(-0.25, -1e-9)) == "-25.0 to -0.0", (
        "a verdict goes by its side of zero"
    )
    assert formats["interval_of_points"](Interval(-0.0, 1e-9)) == "+0.0 to +0.0"


@pytest.mark.parametrize("last", [*range(1, 30), 60, 99, 100, 101, 160, 200, 4321])
def test_the_axis_of_epochs_ends_at_the_last_one(last: int) -> None:
    ticks = whole_ticks(last)
    assert (ticks[0], ticks[-1]) == (1, last)
    assert len(ticks) <= 8
    gaps = np.diff(ticks)
    assert last == 1 or gaps.min() >= gaps.max() / 3
    figure = line_chart("x", "epoch", [Line([0.5] * last), Line([0.5])])
    (axis,) = figure.axes
    assert axis.get_xlim() == pytest.approx((1, last))
