"""`dvs-transfer analyse ...` and `few-shot`: what a trained network does, from its run folder."""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any

import typer

from ...stages.analysis.config import (
    ActivityConfig,
    AlignmentConfig,
    AnalysisConfig,
    EmbeddingConfig,
    FewShotConfig,
    GradCamConfig,
    LandscapeConfig,
    RecordingsConfig,
)
from ..printing import show, to_document
from .common import CONFIG, JSON, Given, Settings, command

analyse_app = typer.Typer(help="Look into a trained network.", no_args_is_help=True, rich_markup_mode=None)

Run = Annotated[Path, typer.Argument(help="Run folder.")]
Restart = Annotated[bool, typer.Option("--restart", help="Measure again, even if nothing has changed.")]


def _declare(name: str, config: type[AnalysisConfig], example: str) -> None:
    """The command `analyse NAME`, with an option for each field of its configuration, which also describes it."""

    def analysis(given: Given, run: Run, restart: Restart = False, **options: Any) -> None:
        _show(given, [to_document(_analyse(name, run, restart, options))])

    text = f"{cleandoc(config.__doc__ or '')}\n\nExample: dvs-transfer analyse {name} runs/demo-0123456789ab {example}"
    analysis.__doc__ = text.rstrip()
    command(analyse_app, JSON, name=name, models=(config,))(analysis)


_declare("activity", ActivityConfig, "")
_declare("alignment", AlignmentConfig, "--checkpoint last")
_declare("embedding", EmbeddingConfig, "--split test")
_declare("grad-cam", GradCamConfig, "--num-recordings 12 --target label")
_declare("landscape", LandscapeConfig, "--points-2d 31")


@command(analyse_app, CONFIG, JSON, name="all", models=(RecordingsConfig,))
def all_analyses(
    given: Given,
    run: Annotated[Path | None, typer.Argument(help="Run folder; by default the configuration's.")] = None,
    restart: Restart = False,
    **options: Any,
) -> None:
    """All of these analyses but few-shot; options that are not given have each one's own defaults.

    Example: dvs-transfer analyse all runs/demo-0123456789ab
    """
    from ..analysis import analyses_of
    from ..experiment import run_folder

    folder = run or run_folder(given.load(), Settings.workspace)
    made = [_analyse(name, folder, restart, options) for name in analyses_of(folder)]
    _show(given, [to_document(entry) for entry in made])


def few_shot(
    given: Given,
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    restart: Restart = False,
    **options: Any,
) -> None:
    """Accuracy in N-way k-shot episodes, by the nearest class mean of trained features; kept in the run's folder.

    Example: dvs-transfer few-shot runs/demo-0123456789ab --ways 5 --shots 1 --shots 5
    """
    reports = {run: _analyse("few-shot", run, restart, options).report for run in runs}
    given.show(reports, text=_print_few_shot)


_help = cleandoc(str(few_shot.__doc__)).replace("dvs-transfer few-shot", "dvs-transfer analyse few-shot")
command(analyse_app, JSON, name="few-shot", models=(FewShotConfig,), text=_help)(few_shot)


def _print_few_shot(reports: dict[Path, Any]) -> None:
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


def _analyse(name: str, run: Path, restart: bool, options: dict[str, Any]) -> Any:
    from ..analysis import analyse

    return analyse(run, name, restart=restart, progress=Settings.reporter.progress, **options)


def _show(given: Given, results: list[dict[str, Any]]) -> None:
    """JSON: everything (by name where there are several). Text: the numbers, without tables."""
    if given.as_json:
        named = {entry["report"]["analysis"]: entry for entry in results}
        return show(results[0] if len(results) == 1 else named, True)
    for entry in results:
        report = entry.pop("report")
        numbers = {key: value for key, value in report.items() if not isinstance(value, dict | list) and value != ""}
        name = numbers.pop("analysis")
        show({**numbers, **entry}, False, name)
