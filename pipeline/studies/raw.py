"""Raw results: a row for each finished cell of a study, as CSV: to be kept, joined with others' and drawn."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from ...cache.documents import Frozen, read_document
from ...cache.errors import ConfigError
from ...cache.pairs import Reach
from ...stages.evaluation.results import Outcome
from ...stages.runs.history import read_history
from ..workspace import Workspace
from .cells import find_run, read_result
from .study import Cell, Row, Study

MAKE = "`dvs-transfer study table FILE --format raw --out RESULTS.csv` writes them"

_EMPTY_IS_NONE = BeforeValidator(lambda value: None if value == "" else value)
Count = Annotated[Annotated[int, Field(ge=0)] | None, _EMPTY_IS_NONE]
Share = Annotated[Annotated[float, Field(ge=0, le=1)] | None, _EMPTY_IS_NONE]


class RawResult(Frozen):
    """One cell. Shares in [0, 1], as its evaluation holds them; None, in CSV empty: not known, or no such checkpoint.

    The fields are the columns, in this order; `labels` is a column for each axis.
    """

    study: str = Field(description="the study's title")
    data: Literal["real", "simulated", "demo"] = Field(description="where the recordings come from")
    labels: dict[str, str] = Field(min_length=1, description="of the row, by axis")
    seed: int = Field(description="of the draw: train.seed")
    subset_seed: Count = Field(description="what drew the labelled recordings; empty: the split's seed, or all train")
    run: str = Field(description="name of the run's folder: rows that share it are of one training")
    split: Literal["test", "validation"] = Field(description="what was evaluated")
    way: str = Field(description="how the network was asked: precision, heads, views, statistics")
    num_recordings: int = Field(gt=0, description="evaluated recordings")
    recordings_digest: str = Field(description="of the evaluated recordings' ids and raw contents")
    split_digest: str = Field(description="of the whole split: another one for other labelled recordings")
    top1_last: Share = Field(description="top-1 of the last epoch's weights")
    top5_last: Share = Field(description="top-5 of these")
    mean_class_accuracy_last: Share = Field(description="mean of the classes' own top-1, of these")
    top1_best: Share = Field(description="top-1 of the best epoch's weights")
    top5_best: Share = Field(description="top-5 of these")
    mean_class_accuracy_best: Share = Field(description="mean of the classes' own top-1, of these")
    selection: str = Field(description="how the best epoch was chosen; last: it is the last one")
    train_labels: Count = Field(description="labelled recordings that trained, of all classes")
    selection_labels: Count = Field(description="labelled recordings that chose the best epoch, beside them")
    steps: Count = Field(description="optimiser steps")
    photos_in_reach: Reach = Field(description="photos of held-out recordings in training: none, some, unknown")
    device: str = Field(description="processor or GPU that trained")
    seconds: Count = Field(
        description="of training, with work done again after a stop, and the teaching of a teacher; "
        "empty: a process was killed"
    )
    trained: str = Field(description="day on which training ended, UTC")
    version: str = Field(description="of dvs-transfer, that trained")


_FIELDS = tuple(RawResult.model_fields)
_BEFORE_AXES, _BEHIND_AXES = _FIELDS[: _FIELDS.index("labels")], _FIELDS[_FIELDS.index("labels") + 1 :]


def find_results(study: Study, workspace: Workspace) -> list[RawResult]:
    """Of the cells that are done, row by row in the study's order, each row's in that of its seeds."""
    results = []
    for row in study.rows:
        for cell in row.cells:
            folder = find_run(cell.config, workspace)
            outcome = read_result(cell.config, folder)
            if folder is not None and outcome is not None:
                results.append(_result(study, row, cell, folder, outcome))
    return results


def _result(study: Study, row: Row, cell: Cell, folder: Path, outcome: Outcome) -> RawResult:
    report, train, history = outcome.report, cell.config.train, read_history(folder)
    accuracies = {
        f"{metric}_{name}": getattr(at, metric, None)
        for name, at in (("last", report.at("last")), ("best", report.at("best")))
        for metric in ("top1", "top5", "mean_class_accuracy")
    }
    epoch_steps = train.epoch_steps
    if epoch_steps is None and report.train_labels:
        epoch_steps = report.train_labels // min(train.batch_size, report.train_labels)  # as `train` makes it fit
    seconds = [period.seconds for period in history]
    known = [value for value in seconds if value is not None]
    return RawResult(
        study=study.file.title,
        data=study.file.data,
        labels=dict(row.labels),
        seed=cell.seed,
        subset_seed=cell.config.pairing.subset_seed,
        run=folder.name,
        split=report.split,
        way=report.way,
        num_recordings=report.num_samples,
        recordings_digest=report.recordings_digest,
        split_digest=report.split_digest,
        **accuracies,
        selection=report.selection,
        train_labels=report.train_labels,
        selection_labels=report.selection_labels,
        steps=None if epoch_steps is None else epoch_steps * train.epochs,
        photos_in_reach=report.photos_in_reach,
        device=_all_of(period.device for period in history),
        seconds=round(sum(known)) if known and len(known) == len(seconds) else None,
        trained=next((period.ended[:10] for period in reversed(history) if period.ended), ""),
        version=_all_of(period.versions.get("dvs-transfer", "") for period in history),
    )


def _all_of(names: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(filter(None, names)))


def to_csv(results: Sequence[RawResult], axes: Iterable[str]) -> str:
    """A line of columns, then one for each cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_BEFORE_AXES, *axes, *_BEHIND_AXES])
    for result in results:
        before, behind = ([getattr(result, name) for name in names] for names in (_BEFORE_AXES, _BEHIND_AXES))
        writer.writerow([*before, *result.labels.values(), *behind])
    return out.getvalue()


def read_results(path: Path) -> list[RawResult]:
    """What `to_csv` wrote. Raises ConfigError: no such file, or another one; with the line that is wrong."""
    try:
        text = read_document(path).decode()
        header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; {MAKE}") from None
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"{path}: not raw results of a study ({error}); {MAKE}") from None
    axes = header[len(_BEFORE_AXES) : -len(_BEHIND_AXES)]
    if not axes or header != [*_BEFORE_AXES, *axes, *_BEHIND_AXES]:
        raise ConfigError(
            f"{path}: not raw results of a study: expected the columns {', '.join(_BEFORE_AXES)}, those of the axes, "
            f"{', '.join(_BEHIND_AXES)}; found {', '.join(header)}; {MAKE}"
        )
    if not lines:
        raise ConfigError(f"{path}: no results; `dvs-transfer study run FILE` trains the cells, then {MAKE}")
    return [_read_line(path, number, header, line) for number, line in enumerate(lines, 2)]


def _read_line(path: Path, number: int, header: list[str], line: list[str]) -> RawResult:
    if len(line) != len(header):
        raise ConfigError(f"{path}: line {number}: expected {len(header)} values, found {len(line)}; {MAKE}")
    axes = slice(len(_BEFORE_AXES), -len(_BEHIND_AXES))
    values: dict[str, Any] = dict(zip(_BEFORE_AXES, line, strict=False))
    values |= {"labels": dict(zip(header[axes], line[axes], strict=True))}
    values |= zip(_BEHIND_AXES, line[axes.stop :], strict=True)
    try:
        return RawResult.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path}: line {number}: {name}: {first['msg']} (found {first['input']!r})") from None
