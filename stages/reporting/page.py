"""The report: reads what runs left, describes it section by section, and renders one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ...cache import durable
from ...cache.schema import timestamp
from ..analysis.catalogue import ANALYSES
from ..evaluation.compare import ComparisonReport
from ..evaluation.config import EvaluatedSplit
from ..evaluation.results import MIN_SELECTING
from .facts import describe_analyses, describe_setup, find_cautions
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
    environment.filters |= {
        "number": lambda value: "-" if value is None else f"{value:.4g}",  # as the command line prints it
        "percent": lambda share: "-" if share is None else f"{100 * share:.1f} %",
        "duration": format_duration,
        "day_and_time": lambda iso: iso.replace("T", " ").removesuffix("+00:00"),
    }
    splits = list(records[0].evaluated)
    groups = group_runs(records, comparisons[splits[0]] if comparisons else None)
    page = environment.get_template("page.html").render(
        title=f"Run {records[0].name}" if len(records) == 1 else f"{len(records)} runs, {len(groups)} settings",
        several=len(records) > 1,
        made=timestamp(),
        version=version("dvs-transfer"),
        groups=groups,
        cautions=find_cautions(groups),
        setup=describe_setup(groups),
        min_selecting=MIN_SELECTING,
        results=[describe_results(groups, split, comparisons.get(split)) for split in splits],
        few_shot=ANALYSES["few-shot"],
        few_shots=[
            (label, run.analyses["few-shot"][0]) for label, run in labelled(groups) if "few-shot" in run.analyses
        ],
        curves=draw_curves(groups),
        analyses=describe_analyses(groups),
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


def format_duration(seconds: float | None) -> str:
    """In hours, minutes and seconds; None: of what has not ended."""
    if seconds is None:
        return "not ended"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
