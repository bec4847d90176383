"""`dvs-transfer compare`: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .common import Given, Settings

if TYPE_CHECKING:
    from ...stages.evaluation.compare import ComparisonReport, MethodResult
    from ...stages.evaluation.statistics import Interval, MeanAndStd, PairedDifference

DASH = "-"


def compare(
    given: Given,
    runs: Annotated[list[Path], typer.Argument(help="Run folders: some methods, each with the same draws.")],
    baseline: Annotated[Path | None, typer.Option(help="The run whose method the others are held against.")] = None,
    split: Annotated[Literal["validation", "test"], typer.Option(help="Recordings to compare on.")] = "test",
    checkpoint: Annotated[
        Literal["best", "last"], typer.Option(help="Weights: of the chosen epoch and the last, or the last alone.")
    ] = "best",
    across_protocols: Annotated[
        bool, typer.Option("--across-protocols", help="Allow runs of other protocols, to study leakage.")
    ] = False,
) -> None:
    """Mean and deviation of methods over their draws, and paired tests between them on the same recordings.

    Runs whose settings differ in train.seed and pairing.subset_seed alone are one method; what was not evaluated yet
    is evaluated first.

    Example: dvs-transfer compare runs/demo-0123456789ab runs/demo-ba9876543210 --baseline runs/demo-ba9876543210
    """
    from ..results import compare_runs

    report = compare_runs(
        runs,
        baseline=baseline,
        split=split,
        checkpoint=checkpoint,
        across_protocols=across_protocols,
        overrides=given.override,
        on_message=Settings.reporter.say,
    )
    given.show(report, text=_print)


def _print(report: ComparisonReport) -> None:
    of = f"{report.num_samples:,} {report.split} recordings of {report.num_classes} classes"
    print(f"compared on {of} (mean ± standard deviation over draws [95 % interval of the mean], %)")
    for result in report.methods:
        data = f"protocol {result.protocol}, photos in reach: {result.photos_in_reach}"
        print(f"{result.method}  ({data}, n = {len(result.runs)}, {_draws(result)}; {_seen(result)})")
        for checkpoint, accuracies in result.accuracies.items():
            for field, of_draws in accuracies.items():
                _line(field, checkpoint, _mean(of_draws))
    for difference in report.differences:
        print(f"{difference.method}  minus  {difference.baseline}: {difference.verdict or DASH}")
        for checkpoint, found in difference.checkpoints.items():
            for field in ("top1", "mean_class_accuracy"):
                _line(field, checkpoint, _difference(getattr(found, field)))
            tests = ", ".join(f"{test.p:.3g} ({test.only_a}:{test.only_b})" for test in found.mcnemar)
            _line("McNemar_p_of_each_draw", checkpoint, tests or DASH)
    for note in report.notes:
        print(f"note: {note}")


def _line(name: str, checkpoint: str, text: str) -> None:
    print(f"  {name.replace('_', ' ') + ', ' + checkpoint:<29} {text}")


def _draws(result: MethodResult) -> str:
    seeds = f"seeds {', '.join(map(str, result.seeds))}"
    own = any(subset is not None for subset in result.subset_seeds)
    return seeds + (f", labels drawn with {', '.join(map(str, result.subset_seeds))}" if own else "")


def _seen(result: MethodResult) -> str:
    if result.train_labels is None or result.selection_labels is None:
        return "labels seen: not known"
    chose = f" + {result.selection_labels:,} that chose best" if result.selection_labels else ""
    return f"labels seen: {result.train_labels:,}{chose}"


def _mean(value: MeanAndStd) -> str:
    spread = "" if value.std is None else f" ± {100 * value.std:.2f}"
    return f"{100 * value.mean:.2f}{spread} [{_interval(value.interval)}]"


def _difference(value: PairedDifference) -> str:
    p = DASH if value.p is None else f"{value.p:.3g}"
    return (
        f"{100 * value.difference:+.2f} points, 95 % interval over draws {_interval(value.draws, '+')} (p {p}), "
        f"over recordings {_interval(value.recordings, '+')}"
    )


def _interval(interval: Interval | None, sign: str = "") -> str:
    return DASH if interval is None else f"{100 * interval.low:{sign}.2f} to {100 * interval.high:{sign}.2f}"
