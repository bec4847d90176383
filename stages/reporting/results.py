"""How right the runs are: accuracies, side by side and after each step, what was taken for what, and samples."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import nlargest
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from ..evaluation.compare import CheckpointDifference, ComparisonReport, Verdict, shown_checkpoints
from ..evaluation.config import EvaluatedSplit
from ..evaluation.results import EvaluationReport
from ..preview import PreviewSample, pictures_of
from ..runs.checkpoint import CheckpointName
from .figures import line_chart, lines_of_runs, to_svg
from .records import Group, labelled

MAX_PAIRS = 10
MAX_SAMPLES = 4  # of each kind
MAX_LABEL = 20  # characters
ROWS_IN_TABLE = 34

METRICS = {"top1": "top-1", "top5": "top-5", "mean_class_accuracy": "mean per-class accuracy"}

# Up to this many classes the cells of a matrix are large enough for numbers.
MAX_NUMBERED = 20


def describe_results(
    groups: Sequence[Group], split: EvaluatedSplit, comparison: ComparisonReport | None
) -> dict[str, Any]:
    """Everything that is shown of one split that all runs were evaluated on.

    checkpoints: those that are shown, the one to go by first. evaluated: in words, whose weights gave what is known of
    one checkpoint alone: confusion, classes, samples, steps. way: how the networks were asked, the same of all; "" for
    the usual one. scores: see `EvaluationReport`. chance: accuracy of guesses among the num_classes classes
    that the recordings are of, most_frequent: of naming each recording as the class that has most. epoch_choice,
    labels: None where the runs differ. summary: over a group's draws; None for the only run.
    """
    reports = [record.evaluated[split].report for _, record in labelled(groups)]
    first, num_recordings = reports[0], reports[0].num_samples
    summaries = [None] if comparison is None else comparison.methods
    differences = [] if comparison is None else _name_differences(groups, comparison)
    evaluated = _name_weights(reports)
    choices = {report.epoch_choice for report in reports}
    labels = {(report.train_labels, report.selection_labels) for report in reports}
    return {
        "split": split,
        "checkpoints": shown_checkpoints(reports),
        "evaluated": evaluated,
        "way": first.unusual_way,
        "scores": first.scores,
        "unfinished": first.unfinished if len(reports) == 1 else "",  # of several a note tells it
        "recordings": f"{num_recordings:,} {split} recordings{first.in_groups}",
        "num_classes": first.num_classes_there,
        "chance": 1 / first.num_classes_there,
        "most_frequent": max(entry.num_samples for entry in first.classes) / num_recordings,
        "num_resamples": first.num_resamples,
        "metrics": {name: title for name, title in METRICS.items() if name != "top5" or first.tells_top5},
        "few_recordings": first.has_few_recordings,
        "epoch_choice": choices.pop() if len(choices) == 1 else None,
        "labels": labels.pop() if len(labels) == 1 else None,
        "groups": [
            {
                "group": group,
                "runs": [(label, of.evaluated[split].report) for label, of in labelled([group])],
                "summary": summary,
            }
            for group, summary in zip(groups, summaries, strict=True)
        ],
        "comparison": comparison,
        "differences": differences,
        "has_intervals": any(found.top1.draws for of in differences for found in of.found.values()),
        "anytime": _draw_anytime(groups, split, evaluated),
        "confusions": [confusion_of(group, split) for group in groups],
        "classes": class_tables(groups, split),
        "samples": choose_samples(groups, split),
    }


class NamedDifference(NamedTuple):
    """letter: of the method that is held against the baseline. found: by checkpoint, those that both methods have."""

    letter: str
    baseline: str
    verdict: Verdict | None
    found: Mapping[CheckpointName, CheckpointDifference]

    @property
    def name(self) -> str:
        return f"{self.letter} - {self.baseline}"


def _name_differences(groups: Sequence[Group], comparison: ComparisonReport) -> list[NamedDifference]:
    letters = {group.name: group.letter for group in groups}
    return [
        NamedDifference(letters[of.method], letters[of.baseline], of.verdict, of.checkpoints)
        for of in comparison.differences
    ]


def _name_weights(reports: Sequence[EvaluationReport]) -> str:
    """The evaluated checkpoint, the same of all runs, and its epochs."""
    name = "last" if all(report.holds("last") for report in reports) else reports[0].checkpoint
    epochs = sorted({report.epoch for report in reports})
    if not epochs[0]:  # of weights that do not say
        return f"the {name} weights"
    return f"the {name} weights of epoch {epochs[0]}" + ("" if len(epochs) == 1 else f" to {epochs[-1]}")


def _draw_anytime(groups: Sequence[Group], split: EvaluatedSplit, evaluated: str) -> Markup:
    """Top-1 of the mean logits of the steps so far."""
    lines = lines_of_runs(
        (index, group.letter, record.evaluated[split].report.top1_after_step)
        for index, group in enumerate(groups)
        for record in group.runs
    )
    figure = line_chart(f"top-1 after each time step ({split})", "time steps seen", lines, is_share=True)
    listed = "; ".join(
        f"{label}: " + ", ".join(f"{value:.4g}" for value in record.evaluated[split].report.top1_after_step)
        for label, record in labelled(groups)
    )
    return to_svg(figure, f"anytime-{split}", f"Top-1 after each time step, of {evaluated}. {listed}")


@dataclass(frozen=True)
class Cell:
    """Recordings of one class (row) that were named as one (column). share: of the class's, in [0, 1]."""

    row: int
    column: int
    count: int
    share: float


@dataclass(frozen=True)
class Confusion:
    """counts (C, C): recordings by class and predicted class, all runs of a group together."""

    class_names: tuple[str, ...]
    counts: NDArray[np.int64]
    num_runs: int

    @cached_property
    def cells(self) -> list[Cell]:
        """Those that are not empty, row by row."""
        totals = self.counts.sum(1)
        return [
            Cell(row, column, int(self.counts[row, column]), float(self.counts[row, column] / totals[row]))
            for row, column in np.argwhere(self.counts).tolist()
        ]

    @property
    def most_confused(self) -> list[Cell]:
        """The largest cells beside the diagonal, at most `MAX_PAIRS`; equal ones in label order."""
        wrong = [cell for cell in self.cells if cell.row != cell.column]
        return nlargest(MAX_PAIRS, wrong, key=lambda cell: cell.count)

    @property
    def labels(self) -> list[str]:
        return [name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 2] + ".." for name in self.class_names]

    @property
    def is_numbered(self) -> bool:
        return len(self.class_names) <= MAX_NUMBERED

    @property
    def size(self) -> dict[str, int]:
        """Pixels: of a cell, a letter, the room for labels (a letter is about 0.6 of its height wide), all cells."""
        cell, font = (32, 11) if self.is_numbered else (10, 9)
        margin = max(60, round(0.6 * font * max(map(len, self.labels))) + 24)  # "class" fits beside the columns' names
        return {"cell": cell, "font": font, "margin": margin, "side": cell * len(self.class_names)}


def confusion_of(group: Group, split: EvaluatedSplit) -> Confusion:
    reports = [record.evaluated[split].report for record in group.runs]
    counts = np.sum([report.confusion for report in reports], axis=0)
    return Confusion(tuple(entry.name for entry in reports[0].classes), counts, len(reports))


class ClassRow(NamedTuple):
    """A class with its accuracy in each group, mean of the runs; None: no recordings."""

    name: str
    num_samples: int
    accuracies: tuple[float | None, ...]


def class_tables(groups: Sequence[Group], split: EvaluatedSplit) -> list[list[ClassRow]]:
    """Every class, in label order, in tables of about equal length."""
    of_runs = [[record.evaluated[split].report.classes for record in group.runs] for group in groups]
    rows = []
    for label, entry in enumerate(of_runs[0][0]):
        accuracies = [[classes[label].accuracy for classes in of_group] for of_group in of_runs]
        known = [[value for value in values if value is not None] for values in accuracies]
        means = tuple(float(np.mean(values)) if values else None for values in known)
        rows.append(ClassRow(entry.name, entry.num_samples, means))
    length = -(-len(rows) // -(-len(rows) // ROWS_IN_TABLE))
    return [rows[first : first + length] for first in range(0, len(rows), length)]


def choose_samples(groups: Sequence[Group], split: EvaluatedSplit) -> list[tuple[str, list[dict[str, Any]]]]:
    """Some recordings that were named wrongly, named rightly by some runs, and named rightly; kinds that exist."""
    runs = [record.evaluated[split] for _, record in labelled(groups)]
    num_right = np.sum([evaluated.predictions.correct for evaluated in runs], axis=0)
    alone = len(runs) == 1
    kinds = {
        "Named wrongly" + ("" if alone else " by all runs"): num_right == 0,
        "Named rightly by some runs": (num_right > 0) & (num_right < len(runs)),
        "Named rightly" + ("" if alone else " by all runs"): num_right == len(runs),
    }
    found = {title: np.flatnonzero(chosen) for title, chosen in kinds.items() if chosen.any()}
    places = {title: np.unique(np.linspace(0, len(of) - 1, MAX_SAMPLES).astype(int)) for title, of in found.items()}
    return [(title, _samples(groups, split, of[places[title]])) for title, of in found.items()]


def _samples(groups: Sequence[Group], split: EvaluatedSplit, positions: NDArray[np.intp]) -> list[dict[str, Any]]:
    """verdict: what was said of it, in words. pictures: captions, PNGs as data URIs, and whether they show events."""
    shown = groups[0].runs[0].evaluated[split]
    batch = shown.split.read(positions)
    images = shown.split.read_images(positions) if shown.split.has_images else None

    def pictures(row: int) -> list[tuple[str, str, bool]]:
        frames = batch["events"][row].numpy()
        image, value = (None, None) if images is None else (images[row], batch["value"][row].numpy())
        drawn = pictures_of(PreviewSample("", frames=frames, image=image, value=value))
        return [(caption, png_uri(of), number < len(frames)) for number, (caption, of) in enumerate(drawn)]

    named = shown.predictions
    return [
        {"sample_id": named.sample_ids[place], "class_name": named.classes[place], "pictures": pictures(row)}
        | {"verdict": _verdict(groups, split, place)}
        for row, place in enumerate(positions.tolist())
    ]


def _verdict(groups: Sequence[Group], split: EvaluatedSplit, position: int) -> str:
    """`named anchor`, or with several runs what each group's runs said."""
    said = []
    for group in groups:
        names = Counter(record.evaluated[split].predictions.predicted[position] for record in group.runs)
        if not group.letter:
            return f"named {next(iter(names))}"
        listed = ", ".join(
            name if count == len(group.runs) else f"{name} ({count})" for name, count in names.most_common()
        )
        said.append(f"{group.letter} {listed}")
    return "named by " + "; ".join(said)


def png_uri(picture: NDArray[Any]) -> str:
    """A picture (H, W, 3) or (H, W), in [0, 1] or uint8, as a PNG in a data URI."""
    pixels = picture if picture.dtype == np.uint8 else np.uint8(np.round(picture.clip(0, 1) * 255))
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
