"""`dvs-transfer analyse ...`: what a trained network does, from its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ...stages.analysis.config import (
    ActivityConfig,
    AlignmentConfig,
    AnalysisConfig,
    EmbeddingConfig,
    GradCamConfig,
    LandscapeConfig,
)
from ..printing import show, to_document
from .common import CONFIG, JSON, Given, Settings, command

analyse_app = typer.Typer(help="Look into a trained network.", no_args_is_help=True, rich_markup_mode=None)

Run = Annotated[Path, typer.Argument(help="Run folder.")]
Restart = Annotated[bool, typer.Option("--restart", help="Measure again, even if nothing has changed.")]
_COMMANDS: Final[tuple[tuple[str, type[AnalysisConfig], str, str], ...]] = (  # and the example's options
    (
        "activity",
        ActivityConfig,
        "Firing rates of each layer and time step, synaptic operations, and an estimate of energy beside an ANN's.",
        "",
    ),
    (
        "alignment",
        AlignmentConfig,
        "CKA between recordings and images in each layer, before and after training; w_t and sliding over the epochs.",
        " --checkpoint last",
    ),
    ("embedding", EmbeddingConfig, "t-SNE of the aligned features of recordings and images.", " --split test"),
    (
        "grad-cam",
        GradCamConfig,
        "Where in recordings and their photos the network sees the class, at each time step.",
        " --num-recordings 12 --target label",
    ),
    (
        "landscape",
        LandscapeConfig,
        "The loss around the trained weights, on a line and on a square; goes on where it was interrupted.",
        " --points-2d 31",
    ),
)


def _declare(name: str, config: type[AnalysisConfig], text: str, example: str) -> None:
    def analysis(given: Given, run: Run, restart: Restart = False, **options: Any) -> None:
        _show(given, [_analyse(name, config, run, restart, options)])

    analysis.__doc__ = f"{text}\n\nExample: dvs-transfer analyse {name} runs/demo-0123456789ab{example}"
    command(analyse_app, JSON, name=name, models=(config,))(analysis)


for declared in _COMMANDS:
    _declare(*declared)


@command(analyse_app, CONFIG, JSON, name="all", models=(AnalysisConfig,))
def all_analyses(
    given: Given,
    run: Annotated[Path | None, typer.Argument(help="Run folder; by default the configuration's.")] = None,
    restart: Restart = False,
    **options: Any,
) -> None:
    """All of these analyses; options that are not given have each one's own defaults.

    Example: dvs-transfer analyse all runs/demo-0123456789ab
    """
    from ..analysis import analyses_of
    from ..experiment import run_folder

    folder = run or run_folder(given.load(), Settings.workspace)
    named = analyses_of(folder)
    _show(given, [_analyse(name, kind, folder, restart, options) for name, kind, *_ in _COMMANDS if name in named])


def _analyse(name: str, kind: type[AnalysisConfig], run: Path, restart: bool, options: dict[str, Any]) -> Any:
    from ..analysis import analyse
    from ..config import build

    config = build(kind, **options)
    return to_document(analyse(name, config, run, restart=restart, progress=Settings.reporter.progress))


def _show(given: Given, results: list[dict[str, Any]]) -> None:
    """JSON: everything (by name where there are several). Text: the numbers, without tables."""
    if given.as_json:
        named = {entry["report"]["analysis"]: entry for entry in results}
        return show(results[0] if len(results) == 1 else named, True)
    for entry in results:
        report = entry.pop("report")
        numbers = {key: value for key, value in report.items() if not isinstance(value, dict | list) and value != ""}
        show({**numbers, **entry}, False, numbers.pop("analysis"))
