"""`dvs-transfer experiment ...`: many runs from one file, and their table."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ...cache import durable
from ...cache.errors import DvsTransferError
from ..printing import show
from .common import Json, Override, Settings

experiment_app = typer.Typer(
    help="Train and evaluate many runs that one file describes.", no_args_is_help=True, rich_markup_mode=None
)
File = Annotated[
    Path, typer.Argument(help="Experiment file (TOML), for example configs/experiments/demo-ablation.toml.")
]


class TableFormat(StrEnum):
    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"


class MetricName(StrEnum):
    TOP1 = "top1"
    MEAN_CLASS_ACCURACY = "mean_class_accuracy"


@experiment_app.command("run")
def experiment_run(
    file: File,
    override: Override = [],
    parallel: Annotated[int, typer.Option(min=0, help="Cells at a time, where memory has room; 0: by cores.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads of a cell; 0: cores, shared out among all cells.")] = 0,
    scheduler: Annotated[str, typer.Option(help="processes, or a dask cluster's tcp://host:port.")] = "processes",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file, and say what is to do.")] = False,
    as_json: Json = False,
) -> None:
    """Train and evaluate every cell of an experiment that is not there yet; exit code 1 when one failed.

    Example: dvs-transfer experiment run configs/experiments/demo-ablation.toml
    """
    from ..experiments import runner
    from ..experiments.cells import load_experiment

    experiment = load_experiment(file, override)
    if dry_run:
        return _list(experiment, as_json)
    settings = runner.RunnerConfig(parallel, threads, scheduler)
    outcomes = runner.run(experiment, Settings.workspace, settings, Settings.reporter)
    failed = [outcome for outcome in outcomes if outcome.state in ("failed", "stopped")]
    if as_json:
        show(outcomes, as_json)
    else:
        print(f"{len(outcomes) - len(failed)} of {len(outcomes)} cells are done")
        for reason in dict.fromkeys((outcome.state, outcome.message) for outcome in failed):
            names = [outcome.name for outcome in failed if (outcome.state, outcome.message) == reason]
            print(f"  {'; '.join(names)}: {reason[0]}: {reason[1]}")
    if failed:
        raise typer.Exit(DvsTransferError.exit_code)


@experiment_app.command("ls")
def experiment_list(file: File, override: Override = [], as_json: Json = False) -> None:
    """List an experiment's cells: done, running, begun or missing.

    Example: dvs-transfer experiment ls configs/experiments/demo-ablation.toml
    """
    from ..experiments.cells import load_experiment

    _list(load_experiment(file, override), as_json)


def _list(experiment: Any, as_json: bool) -> None:
    from ..experiments.runner import cells_by_data
    from ..experiments.state import status_of

    states = [status_of(cell.name, cell.config, Settings.workspace) for cell in experiment.cells]
    if as_json:
        return show(states, as_json)
    for state in states:
        where = f"  {state.folder}" if state.epochs else ""
        print(f"{state.state:<8} {state.epochs:>4} of {state.num_epochs} epochs  {state.name}{where}")
    counts = {name: sum(state.state == name for state in states) for name in ("done", "running", "begun", "missing")}
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    print(f"{len(states)} cells on {len(cells_by_data(experiment.cells))} pair stores: {found}")


@experiment_app.command("table")
def experiment_table(
    file: File,
    override: Override = [],
    style: Annotated[TableFormat, typer.Option("--format", help="How the table is written.")] = TableFormat.MARKDOWN,
    metric: Annotated[list[MetricName], typer.Option(help="Accuracies to show; by default the file's.")] = [],
    out: Annotated[Path | None, typer.Option(help="Write to this file instead.")] = None,
    as_json: Json = False,
) -> None:
    """Show an experiment's results: mean and standard deviation over draws, differences with their intervals.

    Example: dvs-transfer experiment table configs/experiments/demo-ablation.toml --format latex
    """
    from ..experiments import formats
    from ..experiments.cells import load_experiment
    from ..experiments.table import make_table

    table = make_table(load_experiment(file, override), Settings.workspace, [name.value for name in metric])
    if as_json:
        return show(table, as_json)
    write = {"markdown": formats.to_markdown, "csv": formats.to_csv, "latex": formats.to_latex}[style.value]
    text = write(table)
    if out is None:
        print(text, end="")
    else:
        durable.write_bytes(out, text.encode())
        print(out)
