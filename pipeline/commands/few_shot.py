"""`dvs-transfer few-shot`: N classes told apart by k recordings of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...stages.evaluation.few_shot_config import FewShotConfig
from .common import Given

if TYPE_CHECKING:
    from ...stages.evaluation.few_shot import FewShotReport


def few_shot(given: Given, runs: Annotated[list[Path], typer.Argument(help="Run folders.")], **options: Any) -> None:
    """Accuracy in N-way k-shot episodes, by the nearest class mean of trained features; kept in the run's folder.

    Example: dvs-transfer few-shot runs/demo-0123456789ab --ways 5 --shots 1 --shots 5
    """
    from ..config import build
    from ..results import measure_few_shot

    config = build(FewShotConfig, **options)
    given.show({run: measure_few_shot(run, config) for run in runs}, text=_print)


def _print(reports: dict[Path, FewShotReport]) -> None:
    for run, report in reports.items():
        print(
            f"{run}: {report.episodes:,} episodes each, {report.queries} queries a class, {report.distance} distance, "
            f"{report.checkpoint} weights (epoch {report.epoch}), photos in reach: {report.photos_in_reach}"
        )
        for result in report.results:
            low, high = (100 * bound for bound in result.interval)
            print(
                f"  {result.classes} classes, {result.way}-way {result.shot}-shot  {100 * result.accuracy:6.2f} % "
                f"[{low:.2f}, {high:.2f}]  of {result.num_classes} classes"
            )
