"""What a person reads of results: few lines, right numbers, nothing that says nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dvs_transfer.pipeline import summaries
from dvs_transfer.pipeline.progress import describe_speed, describe_training
from dvs_transfer.stages.evaluation.results import ClassAccuracy, EvaluationReport, LastEpoch
from dvs_transfer.stages.pairing.export import ExportReport
from dvs_transfer.stages.runs.origin import Origin
from dvs_transfer.stages.training.progress import TrainingProgress, TrainingReport


def evaluation(**values: object) -> EvaluationReport:
    given = {
        "top1": 0.25,
        "top5": 0.75,
        "mean_class_accuracy": 0.24,
        "top1_interval": (0.2, 0.3),
        "mean_class_accuracy_interval": (0.1, 0.4),
        "num_resamples": 10,
        "calibration_error": 0.1,
        "top1_after_step": (0.2,),
        "last": LastEpoch(top1=0.5, top5=0.9, mean_class_accuracy=0.4, top1_interval=(0.4, 0.6)),
        "split": "test",
        "num_samples": 40,
        "num_classes": 9,
        "protocol": "disjoint",
        "photos_in_reach": "none",
        "split_digest": "0" * 64,
        "checkpoint": "best",
        "epoch": 3,
        "selection": "validation",
        "epoch_choice": "",
        "train_labels": 16,
        "selection_labels": 99,
        "validation_per_class": 30,
        "method": "x",
        "weights_digest": "",
        "recordings_digest": "",
        "classes": [
            ClassAccuracy(name=name, num_samples=5 * (name != "novel"), accuracy=0.2) for name in (*"abcdefgh", "novel")
        ],
        "confusion": (),
    }
    return EvaluationReport.model_validate(given | values)


def test_an_evaluation_is_three_lines() -> None:
    assert summaries.of_evaluation(Path("runs/a"), evaluation()) == [
        "test: top-1 25.0 % [20.0, 30.0] of 40 recordings, 12.5 % by guessing",
        "  classes' mean 24.0 %, top-5 75.0 %; x, 16 labels, epoch 3, photos in reach: none",
        "  runs/a",
    ]


@pytest.mark.parametrize("origin", ["demo", "simulated"])
def test_an_evaluation_says_that_recordings_are_simulated(origin: Origin) -> None:
    told, *_ = summaries.of_evaluation(Path("a"), evaluation(), origin)
    assert told.endswith("of 40 simulated recordings, 12.5 % by guessing")


def test_the_last_epoch_is_told_where_few_recordings_chose_the_best() -> None:
    told, more, _ = summaries.of_evaluation(Path("a"), evaluation(validation_per_class=4))
    assert told.startswith("test: top-1 50.0 % [40.0, 60.0]")
    assert "last epoch" in more


def test_two_classes_have_no_top5_and_a_handful_of_recordings_is_marked() -> None:
    classes = [ClassAccuracy(name=name, num_samples=count, accuracy=0.2) for name, count in (("a", 3), ("b", 4))]
    told, more, _ = summaries.of_evaluation(Path("a"), evaluation(num_classes=2, num_samples=7, classes=classes))
    assert "top-5" not in more
    assert told.endswith("50.0 % by guessing; so few recordings that the interval is rough")


def training(**changes: Any) -> TrainingReport:
    report = TrainingReport(
        epochs=30,
        resumed_after=0,
        resumed_steps=0,
        best_epoch=7,
        best_accuracy=0.5,
        last_accuracy=0.4,
        selection_split="validation",
        selection="validation",
        num_parameters=1,
        num_recordings=20,
        num_images=240,
        protocol="disjoint",
        photos_in_reach="none",
        split_digest="",
        data_placement="device",
        device="cpu",
        seconds=12.3,
    )
    return replace(report, **changes)


def test_training_is_two_lines() -> None:
    assert summaries.of_training(Path("runs/a"), training()) == [
        "trained: 30 epochs, 20 labelled recordings and 240 photos, 12 s on cpu; validation accuracy 40.0 %, "
        "best 50.0 % in epoch 7",
        "  runs/a",
    ]


def test_a_training_that_selects_nothing_has_no_best_epoch() -> None:
    """Its last epoch is kept as `best`; another one was better, or not: that was not asked."""
    told, _ = summaries.of_training(Path("a"), training(selection="last", best_epoch=30, best_accuracy=0.4))
    assert told.endswith("; validation accuracy 40.0 % after the last epoch")


@pytest.mark.parametrize(
    ("resumed", "says"),
    [
        (
            {"resumed_after": 9},
            "30 epochs (went on after 9){taught}, 12 s since then on",
        ),
        (
            {"resumed_steps": 5},
            "30 epochs (went on after 0){taught}, 12 s since then on",
        ),
        ({"resumed_after": 30}, "30 epochs (complete before){taught}; validation"),
    ],
)
def test_seconds_are_of_what_was_done_now(resumed: dict[str, int], says: str) -> None:
    told, _ = summaries.of_training(Path("a"), training(**resumed))
    taught = ", 20 labelled recordings and 240 photos"
    assert told.startswith(f"trained: {says.format(taught=taught)} ")


@pytest.mark.parametrize(("selection", "weights"), [("last", "last epoch's"), ("validation", "best"), (None, "best")])
def test_weights_of_an_analysis_are_named_by_how_they_were_chosen(selection: str | None, weights: str) -> None:
    told = {"num_recordings": 6, "split": "test", "checkpoint": "best", "epoch": 4, "picture": "a.png"}
    lines = summaries.of_analysis("x", {**told, "selection": selection})
    assert lines == [f"x: 6 test recordings, {weights} weights (epoch 4)", "  a.png"]


@pytest.mark.parametrize("seconds_left", [1.0, 35_999.0, 36_000.0, 360_000.0])
def test_a_line_of_progress_fits_80_columns(seconds_left: float) -> None:
    at = TrainingProgress(
        epoch=160,
        num_epochs=160,
        step=40,
        num_steps=40,
        loss=12.345,
        loss_static=1,
        loss_event=1,
        loss_alignment=1,
        grad_norm=1,
        train_accuracy=1,
        w_t=None,
        learning_rate=1,
        sliding_probability=1,
        pairs_per_s=1234,
        data_share=0,
        seconds_left=seconds_left,
        selection_split="validation",
        ends_epoch=True,
        selection_accuracy=1.0,
    )
    assert len(f"{describe_training(at)}  {describe_speed(at)}") <= 80


def test_an_exported_split_says_how_it_is_used() -> None:
    report = ExportReport(
        path=Path("s.csv"),
        protocol="disjoint",
        split_digest="0" * 64,
        num_train=1200,
        num_validation=0,
        num_test=30,
        num_novel=4,
        settings="validation = 0",
    )
    assert summaries.of_split(report) == [
        "split: 1,200 train, 0 validate, 30 test, 4 of novel classes (disjoint)",
        "  s.csv",
        "to use it: pairing.split_file = s.csv, with validation = 0",
    ]
