"""`dvs-transfer predict`: the classes of recordings that nobody labelled."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...cache.errors import DvsTransferError
from .common import Given

if TYPE_CHECKING:
    from ...stages.prediction import PredictionReport

COLUMNS = ("file", "step", "rank", "predicted", "probability")


def predict(
    given: Given,
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    files: Annotated[list[Path], typer.Argument(help="Recordings, or folders of them.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to name, the most probable ones.")] = 1,
    steps: Annotated[bool, typer.Option("--steps", help="Also what it said after each time step.")] = False,
    source: Annotated[str | None, typer.Option(help="Whose files they are, if not the run's; folder: any.")] = None,
    checkpoint: Annotated[Literal["best", "last"] | None, typer.Option(help="Weights, if not the run's.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N, if not the run's.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a table as CSV.")] = False,
) -> None:
    """Name recordings that nobody labelled, with a probability (not calibrated); exit code 1 when one is broken.

    Example: dvs-transfer predict runs/demo-0123456789ab cup.bin recordings/ --top 3
    """
    from ..api import predict

    if as_csv and given.as_json:
        raise typer.BadParameter("--csv and --json: choose one")
    report = predict(run, files, top=top, source=source, checkpoint=checkpoint, device=device, overrides=given.override)
    rows = _rows(report, steps)

    def tell(_: object) -> None:
        if as_csv:
            csv.writer(sys.stdout, lineterminator="\n").writerows([COLUMNS, *rows])
            return
        for file, step, _rank, predicted, probability in rows:
            print(f"{file}  {f'step {step}  ' if steps else ''}{predicted} {probability:.3f}")

    given.show(report, text=tell)
    for problem in report.refused.values():
        print(f"error: {problem}", file=sys.stderr)
    if report.refused:
        how = f"read as files of the source {report.source}; --source folder reads any format"
        print(f"{len(report.refused):,} files could not be {how}", file=sys.stderr)
        raise typer.Exit(DvsTransferError.exit_code)


def _rows(report: PredictionReport, steps: bool) -> Iterator[tuple[str, int, int, str, float]]:
    """One for each file, step (the last is of the whole recording) and class."""
    for prediction in report.predictions:
        *before, _ = prediction.after_step
        for step, guess in enumerate(before if steps else (), 1):
            yield prediction.file, step, 1, guess.predicted, guess.probability
        for rank, guess in enumerate(prediction.best, 1):
            yield prediction.file, len(prediction.after_step), rank, guess.predicted, guess.probability
