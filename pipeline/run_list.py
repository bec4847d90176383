"""The runs in a folder, as one line each: what was trained on what, how good it is, when, how large."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final

from ..cache.errors import DvsTransferError
from ..cache.pairs import Reach
from ..stages.evaluation.config import EVALUATED_SPLITS
from ..stages.evaluation.results import DEFAULT_WAY, EvaluationReport, evaluation_path, read_evaluation
from ..stages.runs.checkpoint import changed_weights, weights_path
from ..stages.runs.folder import read_run
from ..stages.runs.metrics import metrics_path, read_metrics
from ..stages.runs.origin import origin_of
from .studies.formats import MARKS


@dataclass(frozen=True)
class ListedRun:
    """A run. labels: labelled recordings that trained it. split, way, accuracy, interval: top-1 in [0, 1] and 95 % of
    the newest evaluation, on test recordings where there is one, of the epoch that goes first, and how the network was
    asked; None: not evaluated, or with other weights than there are now.

    when: ISO 8601, UTC, of the newest file. state: "evaluated", "trained 3 of 30 epochs", "imported, not evaluated
    yet", or why it cannot be read.
    """

    name: str
    path: Path
    state: str
    when: str
    num_bytes: int
    data: str = ""
    method: str = ""
    labels: int | None = None
    seed: int | None = None
    split: str | None = None
    way: str | None = None
    photos_in_reach: Reach | None = None
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    num_recordings: int | None = None


def list_runs(folder: Path, wanted: str = "", by: str = "when") -> list[ListedRun]:
    """The runs in a folder, ordered; those whose name, data or method hold the text `wanted`."""
    found = [_read(path) for path in sorted(folder.glob("*/")) if (path / "config.json").is_file()]
    kept = [run for run in found if wanted.lower() in f"{run.name} {run.data} {run.method}".lower()]
    keys = {
        "when": lambda run: run.when,
        "accuracy": lambda run: -1.0 if run.accuracy is None else run.accuracy,
        "labels": lambda run: -1 if run.labels is None else run.labels,
        "size": lambda run: run.num_bytes,
        "seed": lambda run: -1 if run.seed is None else run.seed,
    }
    return sorted(kept, key=keys.get(by, lambda run: getattr(run, by)), reverse=by in ("when", "accuracy", "size"))


def _read(path: Path) -> ListedRun:
    files = []
    for file in path.rglob("*"):
        with suppress(FileNotFoundError):  # a temporary file of a run that is being trained
            files.append(file.stat())
    files = [found for found in files if S_ISREG(found.st_mode)]
    newest = max((found.st_mtime for found in files), default=0.0)
    about: dict[str, Any] = {
        "name": path.name,
        "path": path,
        "when": datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds"),
        "num_bytes": sum(found.st_size for found in files),
    }
    try:
        return ListedRun(**about, **_facts(path))
    except DvsTransferError as error:
        return ListedRun(**about, state=str(error))


def _facts(path: Path) -> dict[str, Any]:
    document = read_run(path)
    experiment = document.get("experiment") or {}
    sections = [experiment.get(name) or {} for name in ("events", "images", "train")]
    events, images, train = sections
    method = str(train.get("method", "imported"))
    shown = method if method == "events" or "encoding" not in train else f"{method}, {train['encoding']}"
    simulated = " (simulated)" if origin_of(document) else ""
    sources = [str(section["source"]) for section in (events, images) if "source" in section]  # none: imported weights
    facts: dict[str, Any] = {
        "data": (" + ".join(sources) + simulated).strip(),
        "method": shown,
        "seed": train.get("seed"),
    }
    for split in EVALUATED_SPLITS:
        if evaluation_path(path, split).is_file():
            report = read_evaluation(path, split)
            if _is_older(evaluation_path(path, split), report):
                state = f"evaluated on {split} recordings before it was trained further; evaluate again"
                return facts | {"state": state, "labels": report.train_labels}
            return facts | {
                "state": "evaluated" + (f", stopped after {report.unfinished}" if report.unfinished else ""),
                "labels": report.train_labels,
                "split": split,
                "way": report.way,
                "photos_in_reach": report.photos_in_reach,
                "accuracy": report.first.top1,
                "interval": report.first.top1_interval,
                "num_recordings": report.num_samples,
            }
    if "imported" in document:
        return facts | {"state": "imported, not evaluated yet"}
    has_some = metrics_path(path).is_file() and metrics_path(path).stat().st_size  # none in the first epoch
    return facts | {
        "state": f"trained {len(read_metrics(path)) if has_some else 0} of {train.get('epochs', '?')} epochs"
    }


def _is_older(evaluation: Path, report: EvaluationReport) -> bool:
    """Whether an evaluation is of other weights than there are now. Those from before it began are not read."""
    written = evaluation.stat().st_mtime  # that of a copy of older weights may be earlier; when it came is not
    known = {name: digest for name, digest in report.weights.items() if digest is not None}
    paths = [weights_path(evaluation.parent, name) for name in known]
    is_later = any(path.is_file() and path.stat().st_ctime > written for path in paths)
    return is_later and changed_weights(evaluation.parent, known) is not None


# The columns before the name, each with whether it stands at the right, and which go first where there is no room: a
# name mostly tells method and seed.
_COLUMNS: Final = {
    **{"top-1": True, "95 %": False, "of": True, "labels": True, "seed": True},
    **{"method": False, "data": False, "when": False, "MB": True},
}
_FIRST_TO_GO: Final = ("data", "MB", "method", "when", "seed", "labels", "of", "95 %")


def as_table(runs: Sequence[ListedRun], width: int | None = None) -> list[str]:
    """A line of text for each run, below a heading; where it has a state to tell, maybe in a second line.

    width: columns of text there is room for, as far as names let it; None: any number.
    """
    rows = [{name: name for name in _COLUMNS}, *(_cells(run) for run in runs)]
    ends = ["name", *(f"{run.name}{'' if run.state == 'evaluated' else f'  ({run.state})'}" for run in runs)]
    widths = {name: max(len(row[name]) for row in rows) for name in _COLUMNS}
    left = math.inf if width is None else width
    longest = max(len(name) for name in ("name", *(run.name for run in runs)))
    for name in _FIRST_TO_GO:
        if sum(widths.values()) + 2 * len(widths) + longest > left:
            del widths[name]
    lines = []
    for row, end in zip(rows, ends, strict=True):
        cells = (row[name].rjust(of) if _COLUMNS[name] else row[name].ljust(of) for name, of in widths.items())
        line = "  ".join([*cells, end])
        lines += [line] if len(line) <= left else line.replace("  (", "\n  (", 1).split("\n")
    return lines


def _unusual(run: ListedRun) -> str:
    """How the network was asked, where that was chosen, and whether photos of these recordings taught it."""
    asked = "" if run.way in (None, DEFAULT_WAY) else f", {run.way}"
    return asked + ("" if run.photos_in_reach is None else MARKS.get(run.photos_in_reach, ""))


def _cells(run: ListedRun) -> dict[str, str]:
    return {
        "top-1": "" if run.accuracy is None else f"{100 * run.accuracy:.1f} %",
        "95 %": "" if run.interval is None else f"[{100 * run.interval[0]:.1f}, {100 * run.interval[1]:.1f}]",
        "of": "" if run.num_recordings is None else f"{run.num_recordings:,} {run.split}{_unusual(run)}",
        "labels": "" if run.labels is None else str(run.labels),
        "seed": "" if run.seed is None else str(run.seed),
        "method": run.method,
        "data": run.data,
        "when": run.when[:16].replace("T", " "),
        "MB": f"{run.num_bytes / 1e6:,.1f}",
    }
