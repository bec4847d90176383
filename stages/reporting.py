"""A run on one page: its learning curves, its results, and recordings that it named rightly and wrongly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cache import durable
from ..cache.errors import TrainingError
from ..cache.paired import PairedCache
from ..cache.pairs import SPLIT_CODES, Split
from .evaluation.results import (
    TABLES,
    EvaluationReport,
    evaluation_path,
    predictions_path,
    read_evaluation,
    read_predictions,
)
from .preview import PreviewSample, draw_to
from .training.metrics import read_metrics

MAX_DRAWN = 8

OpenSplit = Callable[[Split], PairedCache]


@dataclass(frozen=True)
class ReportFiles:
    """The page and its pictures. curves: None for imported weights. predictions: None while nothing was evaluated."""

    page: Path
    curves: Path | None
    predictions: Path | None


def run(folder: Path, open_split: OpenSplit) -> ReportFiles:
    """Write `report/` into the run's folder: `report.md` with `curves.png` and, per evaluated split, pictures.

    Raises TrainingError when the run has no metrics yet, or what it left is damaged. Imported weights have no metrics.
    """
    out = folder / "report"
    evaluated = [split for split in SPLIT_CODES if evaluation_path(folder, split).is_file()]
    evaluations = [read_evaluation(folder, split) for split in evaluated]
    metrics = read_metrics(folder)
    if not metrics and not _is_imported(evaluations):
        raise TrainingError(f"{folder}: no finished epoch here (no metrics.jsonl); train with `dvs-transfer train`")
    out.mkdir(exist_ok=True)
    curves = draw_curves(metrics, out / "curves.png") if metrics else None
    drawn = [draw_predictions(folder, result, open_split, out) for result in evaluations]
    page = out / "report.md"
    durable.write_bytes(page, _page(folder, metrics, evaluations).encode())
    return ReportFiles(page, curves, drawn[-1] if drawn else None)


def _is_imported(evaluations: list[EvaluationReport]) -> bool:
    return any(result.method == "imported" for result in evaluations)


def draw_curves(metrics: list[dict[str, Any]], path: Path) -> Path:
    """Loss parts, accuracies and the sliding probability over the epochs, to a PNG."""
    from matplotlib.figure import Figure

    epochs = [record["epoch"] for record in metrics]
    panels = {
        "loss": [key for key in metrics[-1] if key.startswith("loss")],
        "accuracy": [key for key in metrics[-1] if key.endswith("accuracy")],
        "sliding probability": ["sliding_probability"],
    }
    figure = Figure(figsize=(10, 3), layout="constrained")
    for axis, (title, keys) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for key in keys:
            axis.plot(epochs, [np.nan if record.get(key) is None else record[key] for record in metrics], label=key)
        axis.set(title=title, xlabel="epoch")
        axis.legend(fontsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    return path


def draw_predictions(folder: Path, result: EvaluationReport, open_split: OpenSplit, out: Path) -> Path:
    """Some recordings of the split, wrongly named ones first, beside their image: what the network saw and said.

    Raises TrainingError when the predictions are not of just the split's recordings.
    """
    predictions, split = read_predictions(folder, result), open_split(result.split)
    if predictions.sample_ids != split.sample_ids:
        raise TrainingError(
            f"{predictions_path(folder, result.split)}: does not hold a prediction for each of the split's "
            f"{len(split)} recordings; run `dvs-transfer evaluate {folder} --split {result.split}` again"
        )
    wrong, right = np.flatnonzero(~predictions.correct), np.flatnonzero(predictions.correct)
    num_wrong = min(len(wrong), MAX_DRAWN // 2)
    indices = np.concatenate([_spread(wrong, num_wrong), _spread(right, MAX_DRAWN - num_wrong)])
    batch = split.read(indices)
    images = split.pairs.images.read("images", split.image_rows[indices])
    samples = [
        PreviewSample(
            f"{split.sample_ids[row]}: {'right' if predictions.correct[row] else 'said ' + predictions.predicted[row]}",
            frames=batch["events"][index].numpy(),
            image=images[index],
            value=batch["value"][index].numpy(),
        )
        for index, row in enumerate(indices)
    ]
    path = out / f"predictions-{split.split}.png"
    draw_to(path, samples)
    return path


def _spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of rows (n,), spread over all of them."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))] if len(rows) else rows


def _page(folder: Path, metrics: list[dict[str, Any]], evaluations: list[EvaluationReport]) -> str:
    imported = _is_imported(evaluations)
    origin = "Imported weights" if imported else f"{len(metrics)} epochs"
    lines = [f"# Run {folder.name}", "", f"{origin}. Settings: `../config.json`.", ""]
    for result in evaluations:
        if result.leaky:
            taught = "evaluated recordings or photos of them" if imported else "photos of evaluated recordings"
            lines += [f"**Leaky protocol: {taught} may have taught the network.**", ""]
        lines += ["| | |", "|---|---|"]
        lines += [
            f"| {key.replace('_', ' ')} | {_cell(value)} |" for key, value in result.model_dump(exclude=TABLES).items()
        ]
        lines += ["", f"![predictions](predictions-{result.split}.png)", ""]
    if metrics:
        lines += ["![learning curves](curves.png)", ""]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
