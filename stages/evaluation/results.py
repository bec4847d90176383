"""What an evaluation leaves in a run's folder: `evaluation-<split>.json` and `predictions-<split>.csv`.

These are of the newest evaluation. The one before it stays beside them where it was asked for otherwise, under a name
that says how.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from ...cache import durable
from ...cache.documents import read_document
from ...cache.errors import TrainingError, command_line
from ...cache.pairs import Reach, has_groups
from ..runs.checkpoint import CheckpointName, changed_weights, weights_digest
from .config import WAYS, EvaluateConfig, EvaluatedSplit, Heads, Precision
from .predictions import Predictions

# A `best` epoch that fewer validation recordings of a class chose is as much luck as choice: `last` is shown first.
MIN_SELECTING = 10

# Intervals over fewer recordings are marked. The bootstrap knows no value that it did not see: of 20 to 30 recordings
# its 95 % interval holds a true share between 50 and 90 % as rarely as 81 times of 100, of 60 at least 90 times, of 120
# at least 91.
MIN_RECORDINGS = 30
MIN_OF_CLASS = 5  # recordings: intervals over classes of fewer are marked, as those over few recordings are

MAX_TOP5_CLASSES = 5  # so many classes are all among the best five

# Fields of the report that are tables: in the file, too large for a terminal.
TABLES = {"classes", "confusion"}


class Accuracies(BaseModel, frozen=True):
    """Shares in [0, 1]."""

    top1: float = Field(description="recordings whose best score is their class")
    top5: float = Field(description="recordings whose class is among the best 5 (or all, of fewer than 5 classes)")
    mean_class_accuracy: float = Field(description="mean of the classes' own top-1, over the classes in the split")


class ClassAccuracy(BaseModel, frozen=True):
    """One class of a split."""

    name: str
    num_samples: int = Field(description="its recordings in the split (the support)")
    accuracy: float | None = Field(description="share of them named rightly, in [0, 1]; none: no recordings")


class LastEpoch(Accuracies):
    """Of the last epoch's weights. Intervals as in `EvaluationReport`; none in an earlier version's file."""

    top1_interval: tuple[float, float] | None = None
    mean_class_accuracy_interval: tuple[float, float] | None = None


class EvaluationReport(Accuracies):
    """Accuracies on a split, and what they are to be judged by. Intervals: (low, high), 95 %, see `statistics`."""

    top1_interval: tuple[float, float] = Field(description="percentile bootstrap over recordings")
    mean_class_accuracy_interval: tuple[float, float] = Field(description="the same, resampled within each class")
    num_resamples: int = Field(description="of the bootstrap")
    calibration_error: float = Field(description="expected calibration error, 15 bins, softmax of the mean logits")
    top1_after_step: tuple[float, ...] = Field(description="(T,) top-1 of the mean logits of steps 1 to t")
    last: LastEpoch | None = Field(description="of the last epoch's weights, whichever checkpoint is evaluated")
    split: EvaluatedSplit
    num_samples: int
    num_groups: int | None = Field(
        None, description="that these are pieces or members of, which intervals resample whole; none: each stands alone"
    )
    num_classes: int
    protocol: str = Field(description="what the weights were trained under; unknown for imported ones")
    photos_in_reach: Reach = Field(
        description="whether photos of held-out recordings were among what taught the weights: none was, some were, or "
        "it is not known"
    )
    split_digest: str
    checkpoint: CheckpointName
    epoch: int = Field(description="epochs that the weights were trained")
    selection: str = Field(description="how the `best` epoch was chosen")
    epoch_choice: str = Field(description="how the evaluated epoch was chosen, in words")
    unfinished: str = Field("", description="such as '25 of 40 epochs' where training was stopped; empty: it was not")
    train_labels: int | None = Field(None, description="labelled recordings that trained; none: not known")
    selection_labels: int | None = Field(
        None, description="labelled recordings that chose the `best` epoch: 0 where nothing did; none: not known"
    )
    unlabelled_recordings: int | None = Field(
        None, description="of the training split, to draw from without their labels; none: not known"
    )
    unlabelled_use: str = Field("", description="what these were for; empty: none taught, or not known")
    validation_per_class: int | None = Field(
        None, description="fewest validation recordings of a class that trains; none: not known"
    )
    method: str
    weights_digest: str = Field(description="of the checkpoint's file")
    last_weights_digest: str | None = Field(
        None, description="of the last epoch's file; none: the run has none, or an earlier version evaluated it"
    )
    precision: Precision = Field("float32", description="of convolutions in this evaluation")
    heads: Heads = Field("event", description="that named the recordings in this evaluation")
    shifts: int = Field(0, description="pixels that the views of a recording were moved by; 0: one view, as it is")
    adapt: bool = Field(False, description="whether statistics were those of recordings without labels (AdaBN)")
    recordings_digest: str = Field(description="of the evaluated recordings' ids and raw contents")
    classes: tuple[ClassAccuracy, ...] = Field(description="in label order")
    confusion: tuple[tuple[int, ...], ...] = Field(description="recordings by class (row) and predicted class (column)")

    @property
    def num_classes_there(self) -> int:
        """The classes that the recordings are of: novel ones, and others without a recording in the split, are not."""
        return sum(entry.num_samples > 0 for entry in self.classes)

    @property
    def has_few_recordings(self) -> bool:
        """Whether its intervals are rough."""
        return (self.num_groups or self.num_samples) < MIN_RECORDINGS

    @property
    def in_groups(self) -> str:
        """Words to be put behind how many recordings they are."""
        return f" in {self.num_groups:,} groups" if self.num_groups else ""

    @property
    def tells_top5(self) -> bool:
        return self.num_classes > MAX_TOP5_CLASSES

    @property
    def which_epoch(self) -> str:
        """The evaluated weights' epoch in words; weights that do not say which have 0."""
        if self.holds("last"):
            return "last epoch"
        return f"epoch {self.epoch}" if self.epoch else "epoch not known"

    @property
    def leads_with_last(self) -> bool:
        """Whether the last epoch's result is to be shown first: too few validation recordings, or others, chose `best`.

        How many they were is not known of an earlier version's evaluation: they may have been few.
        """
        enough = self.validation_per_class is not None and self.validation_per_class >= MIN_SELECTING
        return self.last is not None and not (self.selection == "validation" and enough)

    @property
    def first(self) -> EvaluationReport | LastEpoch:
        """The accuracies to be shown first."""
        return self.last if self.last is not None and self.leads_with_last else self

    @property
    def first_epoch(self) -> str:
        """Whose these are, in words."""
        return "last epoch" if isinstance(self.first, LastEpoch) else self.which_epoch

    @property
    def way(self) -> str:
        """How the network was asked, in words: what has to be the same of results that are compared."""
        return describe_way(self)

    @property
    def unusual_way(self) -> str:
        """The way, where it was chosen; else ""."""
        return "" if self.way == DEFAULT_WAY else self.way

    @property
    def scores(self) -> str:
        """What of the network's answers are its probabilities, in words."""
        return (
            "mean over the views of the softmax of their mean logits" if self.shifts else "softmax of the mean logits"
        )

    @property
    def unlabelled(self) -> str:
        """The recordings that taught without their labels, in words; "" where there were none, or none are known."""
        return f"drawn from {self.unlabelled_recordings:,} for {self.unlabelled_use}" if self.unlabelled_use else ""

    @property
    def weights(self) -> dict[CheckpointName, str | None]:
        """The digest of each file of weights that gave this, as far as it is known."""
        return {"last": self.last_weights_digest, self.checkpoint: self.weights_digest}

    def at(self, checkpoint: CheckpointName) -> Accuracies | None:
        """The accuracies of one checkpoint; None where they are not in this evaluation."""
        if self.holds(checkpoint):
            return self
        return self.last if checkpoint == "last" else None

    def holds(self, checkpoint: CheckpointName) -> bool:
        """Whether the evaluated weights are this checkpoint's; where nothing is selected, both are the same."""
        return checkpoint == self.checkpoint or self.selection == "last"


def find_few(report: EvaluationReport, shown: Accuracies | None) -> dict[str, bool]:
    """By metric, whether the interval over recordings is of so few, or of none that varies, that it is too narrow.

    shown: of the checkpoint whose intervals these are.
    """
    of_class = [entry.num_samples for entry in report.classes if entry.num_samples]
    few = report.has_few_recordings
    found = {"top1": few, "top5": False, "mean_class_accuracy": few or min(of_class) < MIN_OF_CLASS}
    intervals = {name: getattr(shown, f"{name}_interval", None) for name in found}
    constant = {name for name, bounds in intervals.items() if bounds is not None and bounds[0] == bounds[1]}
    return {name: is_few or name in constant for name, is_few in found.items()}


@dataclass(frozen=True)
class Outcome:
    """What an evaluation says, in all and of each recording."""

    report: EvaluationReport
    predictions: Predictions

    def correct_at(self, checkpoint: CheckpointName) -> NDArray[np.bool_] | None:
        """(n,) whether a checkpoint named each recording rightly; None where that is not known."""
        return self.predictions.correct if self.report.holds(checkpoint) else self.predictions.correct_last


def describe_way(settings: EvaluateConfig | EvaluationReport) -> str:
    heads = "event head" if settings.heads == "event" else "mean of both heads where two were trained"
    views = f", mean of 5 views (0 and ±{settings.shifts} pixels along x and y)" if settings.shifts else ""
    statistics = ", statistics of unlabelled recordings" if settings.adapt else ""
    return f"{settings.precision}, {heads}{views}{statistics}"


DEFAULT_WAY = describe_way(EvaluateConfig())


def evaluation_path(run_folder: Path, name: str) -> Path:
    """name: the split, or how an evaluation that is not the newest was asked for."""
    return run_folder / f"evaluation-{name}.json"


def predictions_path(run_folder: Path, name: str) -> Path:
    return run_folder / f"predictions-{name}.csv"


def _name_of(asked: EvaluateConfig | EvaluationReport) -> str:
    """By all that makes an evaluation another one."""
    ways = [str(value) for way in WAYS if (value := getattr(asked, way)) is not False]
    return "-".join([asked.split, asked.checkpoint, *ways])


def write_results(run_folder: Path, report: EvaluationReport, predictions: Predictions) -> None:
    """As the newest evaluation of its split. One that is there and was asked for otherwise is set aside first."""
    with suppress(TrainingError):
        before = read_evaluation(run_folder, report.split)
        if (name := _name_of(before)) != _name_of(report):
            _write(run_folder, name, before, read_predictions(run_folder, before))
    _write(run_folder, report.split, report, predictions)


def _write(run_folder: Path, name: str, report: EvaluationReport, predictions: Predictions) -> None:
    durable.write_bytes(predictions_path(run_folder, name), predictions.as_csv().encode())
    durable.write_json(evaluation_path(run_folder, name), report.model_dump(mode="json"))


def read_evaluation(run_folder: Path, split: str) -> EvaluationReport:
    """The newest evaluation on `split`. Raises TrainingError: none there, damaged, or an earlier version's."""
    path = evaluation_path(run_folder, split)
    again = evaluate_again(run_folder, split)
    try:
        report = EvaluationReport.model_validate_json(read_document(path))
    except FileNotFoundError:
        raise TrainingError(f"{path}: not evaluated yet; {again.removesuffix(' again')}") from None
    except ValidationError as error:
        problems = error.errors()
        missing = {str(problem["loc"][-1]) for problem in problems if problem["type"] == "missing"}
        if len(missing) == len(problems) and not missing & Accuracies.model_fields.keys():
            raise TrainingError(
                f"{path}: an earlier version wrote it, without {', '.join(sorted(missing))}; {again}"
            ) from None
        raise TrainingError(f"{path}: damaged ({problems[0]['msg']}); {again}") from None
    if report.num_groups is None and has_groups(report.protocol):
        raise TrainingError(
            f"{path}: an earlier version wrote it, whose intervals take members of one group for independent; {again}"
        )
    return report


def read_outcome(run_folder: Path, split: str) -> Outcome:
    """The newest evaluation on `split`, and its predictions.

    Raises TrainingError: as `read_evaluation` and `read_predictions`, or the run has other weights now.
    """
    report = read_evaluation(run_folder, split)
    changed = changed_weights(run_folder, report.weights)
    if changed is not None:
        raise TrainingError(
            f"{evaluation_path(run_folder, split)}: of other weights than {changed.name} holds now, or an earlier "
            f"version's; {evaluate_again(run_folder, split)}"
        )
    return Outcome(report, read_predictions(run_folder, report))


def evaluate_again(run_folder: Path, split: str) -> str:
    """What to do about an evaluation that does not count, for a message."""
    return f"run `{command_line('evaluate', run_folder, '--split', split)}` again"


def current_evaluation(run_folder: Path, config: EvaluateConfig) -> Outcome | None:
    """What `config` would give; None unless it is there, whole and of the weights as they are now.

    Its figures of the last epoch count too: that epoch's weights go on where `best` stays.
    Raises TrainingError: no weights.
    """
    digest = weights_digest(run_folder, config.checkpoint)
    for name in (config.split, _name_of(config)):
        with suppress(TrainingError):
            report = read_evaluation(run_folder, name)
            found = Outcome(report, read_predictions(run_folder, report, name))
            # Where the last epoch is the best one both files are the same: digests do not tell which was asked for.
            same = report.weights_digest == digest and report.holds(config.checkpoint)
            same = same and all(getattr(report, way) == getattr(config, way) for way in WAYS)
            if same and changed_weights(run_folder, report.weights) is None:
                return found
    return None


def read_predictions(run_folder: Path, report: EvaluationReport, name: str | None = None) -> Predictions:
    """The predictions that `report` counts, of the newest evaluation or of the one of this name.

    Raises TrainingError: none there, damaged, or another evaluation's.
    """
    path = predictions_path(run_folder, name or report.split)
    text = read_document(path).decode(errors="replace") if path.is_file() else ""
    predictions = Predictions.from_csv(text)
    if predictions is not None:
        names, right = [entry.name for entry in report.classes], predictions.correct_last
        counted = {(names[i], names[j]): n for i, row in enumerate(report.confusion) for j, n in enumerate(row) if n}
        fits = Counter(zip(predictions.classes, predictions.predicted, strict=True)) == counted
        if right is not None:  # this share of it, up to rounding
            fits = fits and report.last is not None and abs(right.mean() - report.last.top1) * len(right) < 0.5
        if fits and (predictions.groups is None or len(set(predictions.groups)) == report.num_groups):
            return predictions
    raise TrainingError(
        f"{path}: does not hold the {report.num_samples} predictions that evaluation-{report.split}.json counts; "
        f"{evaluate_again(run_folder, report.split)}"
    )
