"""`dvs-transfer analyse ...`: what a trained network does, from its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ...stages.analysis.config import (
    ActivityConfig,
    AlignmentConfig,
    AnalysisConfig,
    EmbeddingConfig,
    GradCamConfig,
    LandscapeConfig,
)
from ..options import options_from
from ..printing import show, to_document
from .common import DEFAULT_CONFIG, Config, Json, Override, Settings, load

analyse_app = typer.Typer(help="Look into a trained network.", no_args_is_help=True, rich_markup_mode=None)

Run = Annotated[Path, typer.Argument(help="Run folder.")]
Restart = Annotated[bool, typer.Option("--restart", help="Measure again, even if nothing has changed.")]


@analyse_app.command()
@options_from(ActivityConfig)
def activity(run: Run, restart: Restart = False, as_json: Json = False, **options: Any) -> None:
    """Firing rates of each layer and time step, synaptic operations, and an estimate of energy beside an ANN's.

    Example: dvs-transfer analyse activity runs/demo-0123456789ab
    """
    _show([_analyse("activity", run, restart, options)], as_json)


@analyse_app.command()
@options_from(AlignmentConfig)
def alignment(run: Run, restart: Restart = False, as_json: Json = False, **options: Any) -> None:
    """CKA between recordings and images in each layer, before and after training; w_t and sliding over the epochs.

    Example: dvs-transfer analyse alignment runs/demo-0123456789ab --checkpoint last
    """
    _show([_analyse("alignment", run, restart, options)], as_json)


@analyse_app.command()
@options_from(EmbeddingConfig)
def embedding(run: Run, restart: Restart = False, as_json: Json = False, **options: Any) -> None:
    """t-SNE of the aligned features of recordings and images.

    Example: dvs-transfer analyse embedding runs/demo-0123456789ab --split test
    """
    _show([_analyse("embedding", run, restart, options)], as_json)


@analyse_app.command("grad-cam")
@options_from(GradCamConfig)
def grad_cam(run: Run, restart: Restart = False, as_json: Json = False, **options: Any) -> None:
    """Where in recordings and their photos the network sees the class, at each time step.

    Example: dvs-transfer analyse grad-cam runs/demo-0123456789ab --num-recordings 12 --target label
    """
    _show([_analyse("grad-cam", run, restart, options)], as_json)


@analyse_app.command()
@options_from(LandscapeConfig)
def landscape(run: Run, restart: Restart = False, as_json: Json = False, **options: Any) -> None:
    """The loss around the trained weights, on a line and on a square; goes on where it was interrupted.

    Example: dvs-transfer analyse landscape runs/demo-0123456789ab --points-2d 31
    """
    _show([_analyse("landscape", run, restart, options)], as_json)


@analyse_app.command("all")
@options_from(AnalysisConfig)
def all_analyses(
    run: Annotated[Path | None, typer.Argument(help="Run folder; by default the configuration's.")] = None,
    restart: Restart = False,
    config: Config = DEFAULT_CONFIG,
    override: Override = [],
    as_json: Json = False,
    **options: Any,
) -> None:
    """All of these analyses; options that are not given have each one's own defaults.

    Example: dvs-transfer analyse all runs/demo-0123456789ab
    """
    from ..analysis import analyses_of
    from ..experiment import run_folder

    folder = run or run_folder(load(config, override), Settings.workspace)
    _show(
        [_analyse(name, folder, restart, options) for name in analyses_of(folder)],
        as_json,
    )


def _analyse(name: str, run: Path, restart: bool, options: dict[str, Any]) -> Any:
    from ..analysis import analyse

    return to_document(analyse(run, name, restart=restart, progress=Settings.reporter.progress, **options))


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
