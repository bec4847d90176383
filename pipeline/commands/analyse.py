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
from ..options import options_from
from ..printing import show, to_document
from .common import DEFAULT_CONFIG, Config, Json, Override, Settings, load

analyse_app = typer.Typer(help="Look into a trained network.", no_args_is_help=True, rich_markup_mode=None)

Run = Annotated[Path, typer.Argument(help="Run folder.")]
Restart = Annotated[bool, typer.Option("--restart", help="Measure again, even if nothing has changed.")]


def _add(name: str, config: type[AnalysisConfig], example: str) -> None:
    """The command `analyse NAME`, with an option for each field of its configuration, which also describes it."""
    text = f"{config.__doc__}\n\nExample: dvs-transfer analyse {name} runs/demo-0123456789ab {example}"

    @analyse_app.command(name, help=text.rstrip())
    @options_from(config)
    def command(run: Run, restart: Restart = False, as_json: Json = False, **options: Any) -> None:
        _show([to_document(_analyse(name, config, run, restart, options))], as_json)


_add("activity", ActivityConfig, "")
_add("alignment", AlignmentConfig, "--checkpoint last")
_add("embedding", EmbeddingConfig, "--split test")
_add("grad-cam", GradCamConfig, "--num-recordings 12 --target label")
_add("landscape", LandscapeConfig, "--points-2d 31")


@analyse_app.command("all")
@options_from(RecordingsConfig)
def all_analyses(
    run: Annotated[Path | None, typer.Argument(help="Run folder; by default the configuration's.")] = None,
    restart: Restart = False,
    config: Config = DEFAULT_CONFIG,
    override: Override = [],
    as_json: Json = False,
    **options: Any,
) -> None:
    """All of these analyses but few-shot; options that are not given have each one's own defaults.

    Example: dvs-transfer analyse all runs/demo-0123456789ab
    """
    from ...stages.analysis.catalogue import ANALYSES
    from ..analysis import analyses_of
    from ..experiment import run_folder

    folder = run or run_folder(load(config, override), Settings.workspace)
    made = [_analyse(name, ANALYSES[name].config, folder, restart, options) for name in analyses_of(folder)]
    _show(to_document(made), as_json)


@options_from(FewShotConfig)
def few_shot(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    restart: Restart = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Accuracy in N-way k-shot episodes, by the nearest class mean of trained features; kept in the run's folder.

    Example: dvs-transfer few-shot runs/demo-0123456789ab --ways 5 --shots 1 --shots 5
    """
    reports = {run: _analyse("few-shot", FewShotConfig, run, restart, options).report for run in runs}
    if as_json:
        return show(reports, True)
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


_help = str(few_shot.__doc__).replace("dvs-transfer few-shot", "dvs-transfer analyse few-shot")
analyse_app.command("few-shot", help=cleandoc(_help))(few_shot)


def _analyse(name: str, kind: type[AnalysisConfig], run: Path, restart: bool, options: dict[str, Any]) -> Any:
    from ..analysis import analyse
    from ..config import build

    return analyse(name, build(kind, **options), run, restart=restart, progress=Settings.reporter.progress)


def _show(results: list[dict[str, Any]], as_json: bool) -> None:
    """JSON: everything (a list where there are several). Text: the numbers, without tables."""
    if as_json:
        return show(
            results[0] if len(results) == 1 else {entry["report"]["analysis"]: entry for entry in results}, True
        )
    for entry in results:
        report = entry.pop("report")
        numbers = {key: value for key, value in report.items() if not isinstance(value, dict | list) and value != ""}
        name = numbers.pop("analysis")
        show({**numbers, **entry}, False, name)
