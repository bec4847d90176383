"""`dvs-transfer study ...`: many runs that one file describes, their table, their raw results and pictures of these."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ... import pipeline
from ...cache import durable
from ...cache.errors import DvsTransferError
from .common import JSON, OVERRIDE, Given, Settings, command

study_app = typer.Typer(
    help="Train and evaluate many runs that one file describes.", no_args_is_help=True, rich_markup_mode=None
)
StudyFile = Annotated[Path, typer.Argument(help="Study file (TOML), for example configs/studies/demo-ablation.toml.")]


class MetricName(StrEnum):  # typer knows no list of Literal
    TOP1 = "top1"
    MEAN_CLASS_ACCURACY = "mean_class_accuracy"


@command(study_app, OVERRIDE, JSON, name="run")
def run_study(
    given: Given,
    file: StudyFile,
    parallel: Annotated[int, typer.Option(min=0, help="Cells at a time, where memory has room; 0: by cores.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads of a cell; 0: cores, shared out among all cells.")] = 0,
    scheduler: Annotated[str, typer.Option(help="processes, or a dask cluster's tcp://host:port.")] = "processes",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file, and say what is to do.")] = False,
) -> None:
    """Train and evaluate every cell of a study that is not there yet; exit code 1 when one failed.

    Example: dvs-transfer study run configs/studies/demo-ablation.toml
    """
    study = pipeline.study.load_study(file, given.override)
    if dry_run:
        return _list_cells(given, study)
    how: dict[str, Any] = {"parallel": parallel, "threads": threads, "scheduler": scheduler}
    outcomes = pipeline.running.run(study, Settings.workspace, Settings.reporter, **how)
    failed = [outcome for outcome in outcomes if outcome.state in ("failed", "stopped")]

    def tell(outcomes: Any) -> None:
        print(f"{len(outcomes) - len(failed)} of {len(outcomes)} cells are done")
        for reason in dict.fromkeys((outcome.state, outcome.message) for outcome in failed):
            names = [outcome.name for outcome in failed if (outcome.state, outcome.message) == reason]
            print(f"  {'; '.join(names)}: {reason[0]}: {reason[1]}")

    given.show(outcomes, text=tell)
    if failed:
        raise typer.Exit(DvsTransferError.exit_code)
    given.next("study", "table", file)


@command(study_app, OVERRIDE, JSON, name="ls")
def list_study(given: Given, file: StudyFile) -> None:
    """List a study's cells: done, running, begun or missing.

    Example: dvs-transfer study ls configs/studies/demo-ablation.toml
    """
    _list_cells(given, pipeline.study.load_study(file, given.override))


def _list_cells(given: Given, study: Any) -> None:
    def tell(states: Any) -> None:
        for state in states:
            where = f"  {state.folder}" if state.epochs else ""
            print(f"{state.state:<8} {state.epochs:>4} of {state.num_epochs} epochs  {state.name}{where}")
        counts = Counter(state.state for state in states)
        found = ", ".join(f"{counts[name]} {name}" for name in ("done", "running", "begun", "missing") if counts[name])
        print(f"{len(states)} cells on {len(pipeline.running.cells_by_data(study.cells))} pair stores: {found}")

    given.show([pipeline.cells.status_of(cell, Settings.workspace) for cell in study.cells], text=tell)


@command(study_app, OVERRIDE, JSON, name="table")
def show_table(
    given: Given,
    file: StudyFile,
    style: Annotated[
        Literal["markdown", "csv", "latex", "raw"],
        typer.Option("--format", help="How the table is written; raw: as CSV, a row for each finished cell."),
    ] = "markdown",
    metric: Annotated[list[MetricName], typer.Option(help="Accuracies to show; by default the file's.")] = [],
    out: Annotated[Path | None, typer.Option(help="Write to this file instead.")] = None,
) -> None:
    """Show a study's results: mean and standard deviation over draws, differences with their intervals.

    Example: dvs-transfer study table configs/studies/demo-ablation.toml --format latex
    """
    if given.as_json and (out is not None or style in ("csv", "latex")):
        raise typer.BadParameter("--json prints the figures, and goes with neither --out nor a format but raw")
    if style == "raw" and metric:
        raise typer.BadParameter("--metric: raw results hold every one")
    study = pipeline.study.load_study(file, given.override)
    found: Any
    if style == "raw":
        found = pipeline.raw.find_results(study, Settings.workspace)
    else:
        found = pipeline.table.make_table(study, Settings.workspace, [name.value for name in metric])

    def tell(found: Any) -> None:
        if style == "raw":
            text = pipeline.raw.to_csv(found, study.file.axis)
        else:
            text = getattr(pipeline.formats, f"to_{style}")(found)
        if out is None:
            print(text, end="")
        else:
            durable.write_bytes(out, text.encode())
            print(out)

    given.show(found, text=tell)


@command(study_app, JSON)
def plot(
    given: Given,
    files: Annotated[list[Path], typer.Argument(help="Raw results (`study table --format raw`).")],
    x: Annotated[str, typer.Option("--x", help="Axis to draw over: by the first number in its labels.")],
    out: Annotated[Path, typer.Option(help="Picture to write (PNG).")],
    line: Annotated[list[str], typer.Option(help="Line to show, by name; by default all.")] = [],
    xlabel: Annotated[str | None, typer.Option(help="Title of the horizontal axis.")] = None,
    title: Annotated[str | None, typer.Option(help="Title; by default the studies'.")] = None,
) -> None:
    """Draw top-1 over the numbers in an axis' labels: a line for each row, means and 95 % intervals over draws.

    Example: dvs-transfer study plot docs/results/nmnist-few-labels.csv --x labels --out few-labels.png
    """
    given.show(pipeline.plot.plot(files, x, out, line, xlabel, title), text=lambda report: print(report.path))
