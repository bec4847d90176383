"""The report: reads what runs left, describes it section by section, and renders one HTML file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...cache import durable
from ...cache.schema import timestamp
from ..analysis.catalogue import ANALYSES
from ..evaluation.compare import ComparisonReport
from ..evaluation.config import EvaluatedSplit
from ..evaluation.results import MIN_OF_CLASS, MIN_RECORDINGS, MIN_SELECTING, find_few
from ..evaluation.statistics import MIN_DRAWS, Interval
from ..runs.origin import describe_origin
from .facts import describe_analyses, describe_setup, find_cautions, weights_of
from .figures import draw_curves
from .records import RunRecord, group_runs, labelled
from .results import describe_results

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class ReportFiles:
    """The page, and what it shows. num_analyses: results of analyses, of all runs together."""

    page: Path
    num_bytes: int
    num_runs: int
    splits: tuple[EvaluatedSplit, ...]
    num_analyses: int


def write_page(
    records: Sequence[RunRecord], comparisons: Mapping[EvaluatedSplit, ComparisonReport], out: Path
) -> ReportFiles:
    """Write the report of one run, or of several that were compared on each split they are read for, to `out`.

    comparisons: none for one run. Raises OSError: `out` cannot be written.
    """
    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    splits = list(records[0].evaluated)
    environment.filters |= number_formats(records[0].first.report.num_samples) | {
        "p_value": lambda p: "-" if p is None else f"{p:.2g}",
        "duration": format_duration,
        "day_and_time": lambda iso: iso.replace("T", " ").removesuffix("+00:00"),
    }
    groups = group_runs(records, comparisons[splits[0]] if comparisons else None)
    page = environment.get_template("page.html").render(
        title=f"Run {records[0].name}" if len(records) == 1 else f"{len(records)} runs, {len(groups)} settings",
        several=len(records) > 1,
        made=timestamp(),
        version=version("dvs-transfer"),
        groups=groups,
        origin=describe_origin(record.document for record in records),
        cautions=find_cautions(groups),
        setup=describe_setup(groups),
        min_selecting=MIN_SELECTING,
        min_draws=MIN_DRAWS,
        min_recordings=MIN_RECORDINGS,
        min_of_class=MIN_OF_CLASS,
        find_few=find_few,
        results=[describe_results(groups, split, comparisons.get(split)) for split in splits],
        few_shot=ANALYSES["few-shot"],
        few_shots=[
            (label, report, weights_of(run, report))
            for label, run in labelled(groups)
            if (report := run.analyses.get("few-shot", (None,))[0])
        ],
        curves=draw_curves(groups),
        losses_differ=len({_loss_of(run) for _, run in labelled(groups) if run.metrics}) > 1,
        analyses=describe_analyses(groups),
        has_images=records[0].first.split.has_images,
    )
    content = page.encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(out, content)
    return ReportFiles(
        page=out,
        num_bytes=len(content),
        num_runs=len(records),
        splits=tuple(splits),
        num_analyses=sum(len(record.analyses) for record in records),
    )


def _loss_of(run: RunRecord) -> str:
    """What makes a run's losses comparable with another's."""
    train = run.settings.get("train") or {}
    return json.dumps([train.get(key) for key in ("method", "options", "loss")], sort_keys=True)


def number_formats(num_recordings: int) -> dict[str, Callable[[Any], str]]:
    """How shares, differences of shares, and intervals of both are written: in per cent and points, with so many
    decimals that one recording more is seen."""
    decimals = 1 if num_recordings < 1000 else 2

    def ends(bounds: Interval | tuple[float, float]) -> tuple[float, float]:
        return (bounds.low, bounds.high) if isinstance(bounds, Interval) else bounds

    def points(difference: float) -> str:
        return f"{round(100 * difference, decimals) + 0.0:+.{decimals}f}"  # no -0.0

    def bound(difference: float) -> str:
        """With its side of zero, which a verdict goes by: -0.0 is below it."""
        return f"{100 * difference + 0.0:+.{decimals}f}"

    return {
        # A sentence begins with a capital, but for one that begins with a key or a path.
        "sentence": lambda text: text if {".", "=", "/"} & set(text.split()[0]) else text[0].upper() + text[1:],
        "percent": lambda share: "-" if share is None else f"{100 * share:.{decimals}f} %",
        "points": points,
        "interval": lambda bounds: "{:.{d}f} to {:.{d}f} %".format(*(100 * end for end in ends(bounds)), d=decimals),
        "interval_of_points": lambda bounds: " to ".join(map(bound, ends(bounds))),
    }


def format_duration(seconds: float | None) -> str:
    """In hours, minutes and seconds; None: of what has not ended."""
    if seconds is None:
        return "not ended"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
