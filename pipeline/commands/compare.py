"""`dvs-transfer compare`: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..printing import show
from .common import Json, Override, Settings

if TYPE_CHECKING:
    from ...stages.evaluation.compare import ComparisonReport
    from ...stages.evaluation.statistics import MeanAndStd, PairedDifference


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders: some methods, each with the same seeds.")],
    baseline: Annotated[Path | None, typer.Option(help="The run whose method the others are held against.")] = None,
    split: Annotated[Literal["validation", "test"], typer.Option(help="Recordings to compare on.")] = "test",
    checkpoint: Annotated[
        Literal["best", "last"], typer.Option(help="Weights: of the chosen epoch or the last.")
    ] = "best",
    across_protocols: Annotated[
        bool, typer.Option("--across-protocols", help="Allow runs of other protocols, to study leakage.")
    ] = False,
    override: Override = [],
    as_json: Json = False,
) -> None:
    """Mean and deviation of methods over their seeds, and paired tests between them on the same recordings.

    Runs whose settings differ in the seed alone are one method; what was not evaluated yet is evaluated first.

    Example: dvs-transfer compare runs/demo-0123456789ab runs/demo-ba9876543210 --baseline runs/demo-ba9876543210
    """
    from ..results import compare_runs

    report = compare_runs(
        runs,
        baseline=baseline,
        split=split,
        checkpoint=checkpoint,
        across_protocols=across_protocols,
        overrides=override,
        on_message=Settings.reporter.say,
    )
    if as_json:
        return show(report, as_json)
    _print(report)


def _print(report: ComparisonReport) -> None:
    of = f"{report.num_samples:,} {report.split} recordings of {report.num_classes} classes"
    print(f"compared on {of}, {report.checkpoint} checkpoints (mean ± standard deviation over seeds, %)")
    for result in report.methods:
        seeds = ", ".join(map(str, result.seeds))
        data = f"protocol {result.protocol}, photos in reach: {result.photos_in_reach}"
        print(f"{result.method}  ({data}, n = {len(result.runs)}, seeds {seeds})")
        for field in ("top1", "top5", "mean_class_accuracy"):
            print(f"  {field.replace('_', ' '):<22} {_mean(getattr(result, field))}")
    for difference in report.differences:
        print(f"{difference.method}  minus  {difference.baseline}")
        for field in ("top1", "mean_class_accuracy"):
            print(f"  {field.replace('_', ' '):<22} {_difference(getattr(difference, field))}")
        tests = ", ".join(f"{test.p:.3g} ({test.only_a}:{test.only_b})" for test in difference.mcnemar)
        print(f"  {'McNemar p of each seed':<22} {tests}")
    for note in report.notes:
        print(f"note: {note}")


def _mean(value: MeanAndStd) -> str:
    return f"{100 * value.mean:.2f}" + ("" if value.std is None else f" ± {100 * value.std:.2f}")


def _difference(value: PairedDifference) -> str:
    low, high = 100 * value.low, 100 * value.high
    return f"{100 * value.difference:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}, p {value.p:.3g}"
