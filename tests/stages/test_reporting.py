"""A run's page: made of what the run left, and of nothing that is damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluations import evaluation_of
from PIL import Image

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.cache.paired import PairedCache
from dvs_transfer.cache.pairs import Split
from dvs_transfer.stages import pairing, reporting
from dvs_transfer.stages.evaluation.results import Predictions, write_results
from dvs_transfer.stages.pairing_config import PairingConfig

from stores import build_store

OpenSplit = Callable[[Split], PairedCache]


@pytest.fixture
def open_split(tmp_path: Path) -> OpenSplit:
    stores = build_store(tmp_path, "events"), build_store(tmp_path, "images")
    pairs = pairing.run(PairingConfig(train=0.4, validation=0.2, test=0.4), *stores, tmp_path).path
    return lambda split: PairedCache.open(pairs, split)


def write_evaluation(run: Path, split: PairedCache, protocol: str = "disjoint") -> None:
    """Of a network that says "ant" to every recording."""
    names = tuple(split.class_names[label] for label in split.event_labels)
    predictions = Predictions(split.sample_ids, names, ("ant",) * len(split))
    write_results(run, evaluation_of(predictions, split.class_names, split=split.split, protocol=protocol), predictions)


@pytest.fixture
def run(tmp_path: Path, open_split: OpenSplit) -> Path:
    """A run of three epochs, evaluated on the test split."""
    folder = tmp_path / "run"
    folder.mkdir()
    metrics = [
        {"epoch": epoch, "loss": 3.0 / epoch, "train_accuracy": 0.5, "validation_accuracy": None}
        | {"sliding_probability": epoch / 3}
        for epoch in (1, 2, 3)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    write_evaluation(folder, open_split("test"))
    return folder


def test_the_page_shows_curves_results_and_recordings(run: Path, open_split: OpenSplit) -> None:
    files = reporting.run(run, open_split)
    page = files.page.read_text()
    assert page.startswith("# Run run\n\n3 epochs.")
    assert "| top1 | 0.3333 |" in page
    assert "Leaky" not in page
    assert files.curves == run / "report" / "curves.png"
    assert files.predictions == run / "report" / "predictions-test.png"
    for picture in (files.curves, files.predictions):
        assert f"({picture.name})" in page
        with Image.open(picture) as image:
            image.load()


def test_every_evaluated_split_is_on_the_page(run: Path, open_split: OpenSplit) -> None:
    write_evaluation(run, open_split("validation"))
    page = reporting.run(run, open_split).page.read_text()
    assert "(predictions-test.png)" in page
    assert "(predictions-validation.png)" in page


def test_results_of_the_leaky_protocol_are_labelled(run: Path, open_split: OpenSplit) -> None:
    write_evaluation(run, open_split("test"), protocol="unrestricted")
    assert "**Leaky protocol" in reporting.run(run, open_split).page.read_text()


def test_a_run_that_was_not_evaluated_has_curves_alone(run: Path, open_split: OpenSplit) -> None:
    (run / "evaluation-test.json").unlink()
    files = reporting.run(run, open_split)
    assert files.predictions is None
    assert "curves.png" in files.page.read_text()


@pytest.mark.parametrize("content", [None, b""])
def test_a_run_without_a_finished_epoch(content: bytes | None, run: Path, open_split: OpenSplit) -> None:
    (run / "metrics.jsonl").unlink()
    if content is not None:
        (run / "metrics.jsonl").write_bytes(content)
    else:
        (run / "evaluation-test.json").unlink()  # with one it would be a run of imported weights
    with pytest.raises(TrainingError, match=r"run: no finished epoch here .* with `dvs-transfer train`"):
        reporting.run(run, open_split)
    assert not (run / "report").exists()


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluation-test.json", "predictions-test.csv"])
@pytest.mark.parametrize("damage", ["cut", "garbled", "not text", "other", "half"])
def test_damaged_files_are_named(name: str, damage: str, run: Path, open_split: OpenSplit) -> None:
    path = run / name
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-9],
        "garbled": b"garbled\n",
        "not text": b"\xff\xfe\x00\n",
        "other": b"{}\n",
        "half": b"\n".join(whole.splitlines()[1::2]),
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(TrainingError, match=rf"{path.name}: .*`dvs-transfer (train|evaluate)"):
        reporting.run(run, open_split)


def test_predictions_of_another_split_are_refused(run: Path, open_split: OpenSplit) -> None:
    write_evaluation(run, open_split("validation"))
    shutil.copy(run / "predictions-validation.csv", run / "predictions-test.csv")
    with pytest.raises(TrainingError, match=r"predictions-test\.csv: does not hold the .* predictions that"):
        reporting.run(run, open_split)


def test_an_evaluation_of_other_recordings_is_refused(run: Path, open_split: OpenSplit) -> None:
    path = run / "predictions-test.csv"
    path.write_text(path.read_text().replace("image_", "other_"))
    with pytest.raises(TrainingError, match="does not hold a prediction for each of the split's"):
        reporting.run(run, open_split)


def test_an_evaluation_of_an_earlier_version_says_so(run: Path, open_split: OpenSplit) -> None:
    path = run / "evaluation-test.json"
    old = json.loads(path.read_text())
    del old["classes"], old["confusion"]
    path.write_text(json.dumps(old))
    with pytest.raises(TrainingError, match=r"without classes, confusion; run `dvs-transfer evaluate .* again"):
        reporting.run(run, open_split)
