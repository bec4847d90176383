"""`dvs-transfer predict`: the classes of recordings that nobody labelled."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...cache.errors import DvsTransferError
from ..printing import show
from .common import Json, Override

if TYPE_CHECKING:
    from ...stages.prediction import PredictionReport


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    files: Annotated[list[Path], typer.Argument(help="Recordings, or folders of them.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to name, the most probable ones.")] = 1,
    steps: Annotated[
        bool, typer.Option("--steps", help="Also after each time step, of the logits until then.")
    ] = False,
    source: Annotated[
        str | None, typer.Option(help="Whose reader reads them; by default the run's. folder: any format.")
    ] = None,
    checkpoint: Annotated[
        Literal["best", "last"] | None, typer.Option(help="Weights; by default as the run's configuration says.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N; by default the run's.")] = None,
    override: Override = [],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a table as CSV.")] = False,
    as_json: Json = False,
) -> None:
    """Name recordings that nobody labelled, with a probability (not calibrated); exit code 1 when one is broken.

    Example: dvs-transfer predict runs/demo-0123456789ab cup.bin recordings/ --top 3
    """
    from ..api import predict

    if as_csv and as_json:
        raise typer.BadParameter("--csv and --json: choose one")
    report = predict(run, files, top=top, source=source, checkpoint=checkpoint, device=device, overrides=override)
    if as_json:
        show(report, as_json)
    else:
        _print(report, steps, as_csv)
    for problem in report.refused.values():
        print(f"error: {problem}", file=sys.stderr)
    if report.refused:
        other = (
            "" if report.source == "folder" else f"; they were read as {report.source}'s, any format: --source folder"
        )
        print(f"{len(report.refused):,} files could not be read{other}", file=sys.stderr)
        raise typer.Exit(DvsTransferError.exit_code)


def _print(report: PredictionReport, steps: bool, as_csv: bool) -> None:
    """A line for each file, or a row for each file, step (the last is of the whole recording) and class."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if as_csv:
        writer.writerow(("file", "step", "rank", "predicted", "probability"))
    for prediction in report.predictions:
        *before, _ = prediction.after_step
        guesses = [(step, (guess,)) for step, guess in enumerate(before, 1) if steps]
        for step, named in [*guesses, (len(prediction.after_step), prediction.best)]:
            if as_csv:
                rows = enumerate(named, 1)
                writer.writerows((prediction.file, step, rank, of.predicted, of.probability) for rank, of in rows)
            else:
                found = ", ".join(f"{guess.predicted} {guess.probability:.3f}" for guess in named)
                print(f"{prediction.file}  {f'step {step}  ' if steps else ''}{found}")
