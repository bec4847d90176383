"""A run on one page: its learning curves, its results, and recordings that it named rightly and wrongly."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ..cache import durable
from ..cache.errors import TrainingError
from ..cache.paired import PairedCache
from ..cache.pairs import Split
from .evaluation.evaluate import PREDICTION_COLUMNS, EvaluationReport
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
    evaluations = [_read_evaluation(path) for path in sorted(folder.glob("evaluation-*.json"))]
    metrics = read_metrics(folder)
    if not metrics and not _is_imported(evaluations):
        raise TrainingError(f"{folder}: no finished epoch here (no metrics.jsonl); train with `dvs-transfer train`")
    out.mkdir(exist_ok=True)
    curves = draw_curves(metrics, out / "curves.png") if metrics else None
    drawn = [draw_predictions(folder, open_split(result["split"]), out) for result in evaluations]
    page = out / "report.md"
    durable.write_bytes(page, _page(folder, metrics, evaluations).encode())
    return ReportFiles(page, curves, drawn[-1] if drawn else None)


def _is_imported(evaluations: list[dict[str, Any]]) -> bool:
    return any(result["method"] == "imported" for result in evaluations)


def _read_evaluation(path: Path) -> dict[str, Any]:
    try:
        return EvaluationReport.model_validate_json(path.read_bytes()).model_dump()
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise TrainingError(f"{path}: damaged ({problem}); run `dvs-transfer evaluate` again") from None


def _read_predictions(path: Path, sample_ids: Sequence[str]) -> list[dict[str, str]]:
    """What was said of each recording of a split. Raises TrainingError unless it is of just these recordings."""
    lines = path.read_bytes().decode(errors="replace").splitlines()
    rows = [dict(zip(PREDICTION_COLUMNS, row, strict=False)) for row in csv.reader(lines)]
    if [row.get("sample_id") for row in rows[1:]] != list(sample_ids) or any(len(row) < 3 for row in rows):
        raise TrainingError(
            f"{path}: does not hold a prediction for each of the split's {len(sample_ids)} recordings; "
            "run `dvs-transfer evaluate` again"
        )
    return rows[1:]


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


def draw_predictions(folder: Path, split: PairedCache, out: Path) -> Path:
    """Some recordings of the split, wrongly named ones first, beside their image: what the network saw and said."""
    rows = _read_predictions(folder / f"predictions-{split.split}.csv", split.sample_ids)
    wrong = [row for row in rows if row["predicted"] != row["class"]]
    right = [row for row in rows if row["predicted"] == row["class"]]
    chosen = [*_spread(wrong, MAX_DRAWN // 2), *_spread(right, MAX_DRAWN - min(len(wrong), MAX_DRAWN // 2))]
    position = {sample_id: index for index, sample_id in enumerate(split.sample_ids)}
    indices = np.array([position[row["sample_id"]] for row in chosen])
    batch = split.read(indices)
    images = split.pairs.images.read("images", split.image_rows[indices])
    samples = [
        PreviewSample(
            f"{row['sample_id']}: {'right' if row['predicted'] == row['class'] else 'said ' + row['predicted']}",
            frames=batch["events"][index].numpy(),
            image=images[index],
            value=batch["value"][index].numpy(),
        )
        for index, row in enumerate(chosen)
    ]
    path = out / f"predictions-{split.split}.png"
    draw_to(path, samples)
    return path


def _spread(rows: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    """At most `count` rows, spread over all of them."""
    return [rows[index] for index in np.unique(np.linspace(0, len(rows) - 1, count).astype(int))] if rows else []


def _page(folder: Path, metrics: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> str:
    imported = _is_imported(evaluations)
    origin = "Imported weights" if imported else f"{len(metrics)} epochs"
    lines = [f"# Run {folder.name}", "", f"{origin}. Settings: `../config.json`.", ""]
    for result in evaluations:
        if result["leaky"]:
            taught = "evaluated recordings or photos of them" if imported else "photos of evaluated recordings"
            lines += [f"**Leaky protocol: {taught} may have taught the network.**", ""]
        lines += ["| | |", "|---|---|"]
        lines += [f"| {key.replace('_', ' ')} | {_cell(value)} |" for key, value in result.items()]
        lines += ["", f"![predictions](predictions-{result['split']}.png)", ""]
    if metrics:
        lines += ["![learning curves](curves.png)", ""]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
