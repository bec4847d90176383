"""`dvs-transfer export`: what others can read, of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ... import pipeline
from .. import summaries
from .common import Given

Checkpoint = Literal["best", "last"]


def to_nir(run: Path, out: Path, checkpoint: Checkpoint | None) -> Any:
    from ...stages.runs import nir_export
    from ...stages.runs.checkpoint import weights_path

    chosen = pipeline.experiment.evaluation_of_run(run, checkpoint=checkpoint).checkpoint
    return nir_export.export(weights_path(run, chosen), out)


# For each `--to`: what writes it, and the summary of what was written.
TARGETS: dict[str, tuple[Callable[[Path, Path, Checkpoint | None], Any], Callable[[Any], list[str]]]] = {
    "nir": (to_nir, summaries.of_nir),
}


def export(
    given: Given,
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path, typer.Argument(help="File to write.")],
    to: Annotated[Literal["nir"], typer.Option(help="nir: a graph that other frameworks run, see docs/exchange.md.")],
    checkpoint: Annotated[Checkpoint | None, typer.Option(help="Weights, if not the run's.")] = None,
) -> None:
    """Write a trained network in a form that others read.

    Example: dvs-transfer export runs/demo-0123456789ab --to nir demo.nir
    """
    write, summary = TARGETS[to]
    given.show(write(run, out, checkpoint), "exported", summary=summary)
