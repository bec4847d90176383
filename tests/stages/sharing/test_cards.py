"""Metadata of any kind are front matter that a reader finds the end of, and reads as it was."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from evaluations import evaluation_of
from hypothesis import given
from hypothesis import strategies as st

from dvs_transfer.stages.evaluation.predictions import Predictions
from dvs_transfer.stages.evaluation.results import EvaluationReport, LastEpoch
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.runs.checkpoint import CheckpointInfo
from dvs_transfer.stages.sharing.cards import card, table
from dvs_transfer.stages.sharing.licences import metadata, title_and_licence
from dvs_transfer.stages.sharing.run_card import run_card

PLAIN = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
KEYS = st.text()
VALUES: Any = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_metadata_come_back_from_a_parser(document: dict[str, Any]) -> None:
    text = card(document, "Text\n\n---\n")
    assert text.startswith("---\n")
    front = text[4:].partition("\n---\n")[0]
    assert yaml.safe_load(front) == document
    assert text.endswith("\n---\n\nText\n\n---\n")


def test_a_table_s_cells_hold_no_borders() -> None:
    assert table([("a", "x|y\nz")]).splitlines() == ["| | |", "|---|---|", "| a | x\\|y z |"]


def test_licences() -> None:
    assert title_and_licence("caltech101")[1] == "CC BY 4.0"
    assert title_and_licence("nowhere.here:Reader") == ("nowhere.here:Reader", "not known")
    assert metadata(["CC BY 4.0", "CC BY 4.0"], None) == {"license": "cc-by-4.0"}
    assert metadata(["none is stated"], None) == {"license": "other", "license_name": "none is stated"}
    assert metadata(["MIT", "CC BY 4.0"], None) == {"license": "other", "license_name": "CC BY 4.0; MIT"}
    assert metadata(["MIT"], "cc0-1.0") == {"license": "cc0-1.0"}
    assert metadata([], None) == {"license": "unknown"}


CLASSES = (*"abcdefg", "novel")
LAST = LastEpoch(
    top1=0.31, top5=0.71, mean_class_accuracy=0.41, top1_interval=(0.3, 0.32), mean_class_accuracy_interval=(0.4, 0.42)
)
BEST_METRICS = [("accuracy", 0.33, [0.2, 0.4]), ("balanced_accuracy", 0.43, [0.1, 0.5]), ("top_5_accuracy", 0.73, None)]
LAST_METRICS = [
    ("accuracy", 0.31, [0.3, 0.32]),
    ("balanced_accuracy", 0.41, [0.4, 0.42]),
    ("top_5_accuracy", 0.71, None),
]


def card_of(
    document: dict[str, Any] | None = None, method: str = "transfer", **changes: Any
) -> tuple[list[tuple[str, str, float, Any]], dict[str, Any], str]:
    """Metrics of the model index (type, name, value, interval), what they are over, and the text.

    document: of the run's `config.json`.
    """
    best = {"top1": 0.33, "top5": 0.73, "mean_class_accuracy": 0.43}
    intervals = {"top1_interval": (0.2, 0.4), "mean_class_accuracy_interval": (0.1, 0.5)}
    predictions = Predictions(*(tuple("abcdefg" * 5) for _ in range(3)))
    made = evaluation_of(predictions, CLASSES, **{**best, **intervals, "last": LAST, "epoch": 2, **changes})
    info = CheckpointInfo(
        model=ModelConfig(),
        method=method,
        class_names=CLASSES,
        num_steps=3,
        size=24,
        epoch=2,
        selection="validation",
        accuracy=None,
        protocol="disjoint",
        split_digest="",
        cache_fingerprint="",
    )
    text = run_card("one", document or {}, "pairs.zarr", info, [EvaluationReport.model_validate(made)], None)
    (result,) = yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"]
    told = [(each["type"], each["name"], each["value"], each["args"].get("interval_95")) for each in result["metrics"]]
    return told, result["dataset"]["args"], text


def named(title: str, metrics: list[tuple[str, float, Any]]) -> list[tuple[str, str, float, Any]]:
    names = ("top-1", "mean of the classes' top-1", "top-5")
    return [(kind, f"{name}, {title}", *rest) for name, (kind, *rest) in zip(names, metrics, strict=True)]


@pytest.mark.parametrize(("method", "shown"), [("transfer", ["nmnist", "mnist"]), ("events", ["nmnist"])])
def test_photos_that_taught_nothing_are_not_named(method: str, shown: list[str]) -> None:
    sections = {"events": {"source": "nmnist"}, "images": {"source": "mnist"}, "train": {"method": method}}
    text = card_of({"experiment": sections})[2]
    assert yaml.safe_load(text.split("---\n")[1])["datasets"] == shown


def test_each_number_of_a_card_stands_with_its_interval_and_its_epoch() -> None:
    best, last = named("epoch 2", BEST_METRICS), named("last epoch", LAST_METRICS)
    assert card_of(validation_per_class=10)[0] == best + last
    told, over, text = card_of(validation_per_class=9)  # as much luck as choice
    assert told == last + best
    assert (over["num_recordings"], over["num_classes"]) == (35, 7)  # none is of the novel class
    for row in (
        "| top-1, last epoch | 31.0 % [30.0, 32.0] |",
        "| mean of the classes' top-1, epoch 2 | 43.0 % [10.0, 50.0] |",
        "| top-5, epoch 2 | 73.0 % |",
        "| by guessing | 14.3 % |",
        "| recordings | 35 of 7 classes |",
        "| calibration error, epoch 2 | 0.250 |",
    ):
        assert row in text.splitlines()
    assert card_of(selection="last")[0] == named("last epoch", BEST_METRICS)


def test_a_card_says_that_training_was_stopped_and_which_intervals_are_too_narrow() -> None:
    told, _, text = card_of(unfinished="3 of 30 epochs", top1_interval=(0.33, 0.33), selection="last", last=None)
    assert told[0] == ("accuracy", "top-1, last epoch", 0.33, [0.33, 0.33])
    assert text.count("interval_is_too_narrow: true") == 1
    assert "| top-1, last epoch | 33.0 % [33.0, 33.0], too narrow |" in text.splitlines()
    assert "; training was stopped after 3 of 30 epochs |" in text
    assert text.count("stopped_after: 3 of 30 epochs") == 3
    assert "stopped" not in card_of()[2]


def test_a_card_of_imported_weights_names_no_data_that_taught() -> None:
    text = card_of(method="imported")[2]
    assert "Its weights were imported, and not taught by dvs-transfer." in text
    assert "## Evaluated on" in text
    assert "rained" not in text.replace("dvs-transfer", "")


def test_a_card_says_that_recordings_are_simulated() -> None:
    sentence = "**The recordings are simulated: drawn shapes before a simulated camera.**"
    assert sentence in card_of({"experiment": {"demo": {"out": "demo"}}})[2].splitlines()
    assert "are simulated" not in card_of({"experiment": {"demo": None, "simulate": None}})[2]


def test_a_card_names_no_epoch_of_weights_that_do_not_say() -> None:
    told, _, text = card_of(epoch=0, selection="unknown", last=None)
    assert told == named("epoch not known", BEST_METRICS)
    assert "epoch 0" not in text
