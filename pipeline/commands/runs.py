"""`dvs-transfer analyse ...`, `few-shot`, `compare` and `predict`: runs, and what trained networks do."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ... import pipeline
from ...cache.errors import DvsTransferError, TrainingError
from ...stages.analysis import config as configs
from .. import summaries
from ..progress import to_document
from .common import CONFIG, JSON, Given, Settings, command

if TYPE_CHECKING:
    from ...stages.evaluation.compare import ComparisonReport
    from ...stages.evaluation.statistics import Interval
    from ...stages.prediction import PredictionReport

DASH = "-"
ORDERS = ("when", "name", "accuracy", "labels", "size", "method", "seed")
_MOST_TOLD = 10  # files that cannot be read
COLUMNS = ("file", "step", "rank", "predicted", "probability")

analyse_app = typer.Typer(help="Look into a trained network.", no_args_is_help=True, rich_markup_mode=None)

runs_app = typer.Typer(help="Look after trained networks.", no_args_is_help=True, rich_markup_mode=None)

Run = Annotated[Path, typer.Argument(help="Run folder.")]
Restart = Annotated[bool, typer.Option("--restart", help="Measure again, even if nothing has changed.")]


def _declare(name: str, config: type[configs.AnalysisConfig], example: str) -> None:
    """The command `analyse NAME`, with an option for each field of its configuration, which also describes it."""

    def analysis(given: Given, run: Run, restart: Restart = False, **options: Any) -> None:
        _show(given, [to_document(_analyse(name, run, restart, options))])

    text = f"{cleandoc(config.__doc__ or '')}\n\nExample: dvs-transfer analyse {name} runs/demo-0123456789ab {example}"
    analysis.__doc__ = text.rstrip()
    command(analyse_app, JSON, name=name, models=(config,))(analysis)


_declare("activity", configs.ActivityConfig, "")
_declare("alignment", configs.AlignmentConfig, "--checkpoint last")
_declare("embedding", configs.EmbeddingConfig, "--split test")
_declare("grad-cam", configs.GradCamConfig, "--num-recordings 12 --target label")
_declare("landscape", configs.LandscapeConfig, "--points-2d 31")


@command(analyse_app, CONFIG, JSON, name="all", models=(configs.RecordingsConfig,))
def all_analyses(
    given: Given,
    run: Annotated[Path | None, typer.Argument(help="Run folder; by default the configuration's.")] = None,
    restart: Restart = False,
    **options: Any,
) -> None:
    """All of these analyses but few-shot; options that are not given have each one's own defaults.

    One that the run's data do not allow is left out, and it is said why.

    Example: dvs-transfer analyse all runs/demo-0123456789ab
    """
    if run is not None:
        given.check(evaluates=False)
    folder = run or pipeline.experiment.run_folder(given.load(), Settings.workspace)
    made, left_out = [], {}
    for name in pipeline.results.analyses_of(folder):
        try:
            made.append(_analyse(name, folder, restart, options))
        except TrainingError as error:
            left_out[name] = error
            print(f"left out: {name}: {error}", file=sys.stderr)
    if not made:
        raise next(iter(left_out.values()))
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

    def tell(reports: dict[Path, Any]) -> None:
        from ...stages.analysis.results import name_weights

        for run, report in reports.items():
            weights = name_weights(report.checkpoint, report.selection)
            print(
                f"{run}: {report.episodes:,} episodes each, {report.queries} queries a class, {report.distance} "
                f"distance, {weights} (epoch {report.epoch}), photos in reach: "
                f"{report.photos_in_reach}{report.note and f'; mind: {report.note}'}"
            )
            for result in report.results:
                low, high = (100 * bound for bound in result.interval)
                print(
                    f"  {result.classes} classes, {result.way}-way {result.shot}-shot  {100 * result.accuracy:6.2f} % "
                    f"[{low:.2f}, {high:.2f}]  of {result.num_classes} classes"
                )

    given.show({run: _analyse("few-shot", run, restart, options).report for run in runs}, text=tell)


_help = cleandoc(str(few_shot.__doc__)).replace("dvs-transfer few-shot", "dvs-transfer analyse few-shot")
command(analyse_app, JSON, name="few-shot", models=(configs.FewShotConfig,), text=_help)(few_shot)


def _analyse(name: str, run: Path, restart: bool, options: dict[str, Any]) -> Any:
    return pipeline.results.analyse(run, name, restart=restart, progress=Settings.reporter.progress, **options)


def _show(given: Given, results: list[dict[str, Any]]) -> None:
    """JSON: everything (by name where there are several). Text: the numbers, without tables."""
    if given.as_json:
        named = {entry["report"]["analysis"]: entry for entry in results}
        return given.show(results[0] if len(results) == 1 else named)
    for entry in results:
        report = entry.pop("report")
        numbers = {key: value for key, value in report.items() if not isinstance(value, dict | list) and value != ""}
        name = numbers.pop("analysis")
        given.show({**numbers, **entry}, name, summary=partial(summaries.of_analysis, name))


@command(runs_app, JSON, name="ls")
def list_runs(
    given: Given,
    wanted: Annotated[str, typer.Argument(help="Part of a name, of the data or of the method; left out: all.")] = "",
    by: Annotated[str, typer.Option("--sort", help=f"One of {', '.join(ORDERS)}.")] = "when",
) -> None:
    """List runs: accuracy with interval, labels, seed, method, data, when, size, name.

    Columns for which a terminal has no room are left out.

    Example: dvs-transfer runs ls nmnist --sort accuracy
    """
    from .. import run_list

    if by not in ORDERS:
        raise typer.BadParameter(f"{by}: expected one of {', '.join(ORDERS)}", param_hint="--sort")
    found = run_list.list_runs(Settings.workspace.runs, wanted, by)
    such = f' with "{wanted}" in name, data or method' if wanted else ""
    count = f"{len(found)} run{'s' if len(found) != 1 else ''}{such} in {Settings.workspace.runs}"
    # Of the terminal or $COLUMNS; a file or a pipe has room for all.
    width = shutil.get_terminal_size((0, 0)).columns or None
    given.show(found, text=lambda runs: print(*(run_list.as_table(runs, width) if runs else []), count, sep="\n"))


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
    given.check()
    for key in ("split", "checkpoint"):
        if any(each.partition("=")[0].strip() == f"evaluate.{key}" for each in given.override):
            raise typer.BadParameter(f"--set evaluate.{key}: say --{key}")
    report = pipeline.results.compare_runs(
        runs,
        baseline=baseline,
        split=split,
        checkpoint=checkpoint,
        across_protocols=across_protocols,
        overrides=given.override,
        on_message=Settings.reporter.say,
    )
    given.show(report, text=print_comparison)


def print_comparison(report: ComparisonReport) -> None:
    of = f"{report.num_samples:,} {report.split} recordings of {report.num_classes} classes"
    print(f"compared on {of} (mean ± standard deviation over draws [95 % interval of the mean], %)")
    for result in report.methods:
        data = f"protocol {result.protocol}, photos in reach: {result.photos_in_reach}"
        draws = f"seeds {', '.join(map(str, result.seeds))}"
        if any(subset is not None for subset in result.subset_seeds):
            draws += f", labels drawn with {', '.join(map(str, result.subset_seeds))}"
        seen = "not known"
        if result.train_labels is not None and result.selection_labels is not None:
            chose = f" + {result.selection_labels:,} that chose best" if result.selection_labels else ""
            seen = f"{result.train_labels:,}{chose}"
        print(f"{result.method}  ({data}, n = {len(result.runs)}, {draws}; labels seen: {seen})")
        for checkpoint, accuracies in result.accuracies.items():
            for field, mean in accuracies.items():
                spread = "" if mean.std is None else f" ± {100 * mean.std:.2f}"
                _line(field, checkpoint, f"{100 * mean.mean:.2f}{spread} [{_interval(mean.interval)}]")
    for difference in report.differences:
        print(f"{difference.method}  minus  {difference.baseline}: {difference.verdict or DASH}")
        for checkpoint, found in difference.checkpoints.items():
            for field, by in (("top1", found.top1), ("mean_class_accuracy", found.mean_class_accuracy)):
                p = DASH if by.p is None else f"{by.p:.3g}"
                draws = f"95 % interval over draws {_interval(by.draws, '+')} (p {p})"
                recordings = f"over recordings {_interval(by.recordings, '+')}"
                _line(field, checkpoint, f"{100 * by.difference:+.2f} points, {draws}, {recordings}")
            tests = ", ".join(f"{test.p:.3g} ({test.only_a}:{test.only_b})" for test in found.mcnemar)
            _line("McNemar_p_of_each_draw", checkpoint, tests or DASH)
    for note in report.notes:
        print(f"note: {note}")


def _line(name: str, checkpoint: str, text: str) -> None:
    print(f"  {name.replace('_', ' ') + ', ' + checkpoint:<29} {text}")


def _interval(interval: Interval | None, sign: str = "") -> str:
    return DASH if interval is None else f"{100 * interval.low:{sign}.2f} to {100 * interval.high:{sign}.2f}"


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
    if as_csv and given.as_json:
        raise typer.BadParameter("--csv and --json: choose one")
    options = {"checkpoint": checkpoint, "device": device}
    given.check()
    report = pipeline.api.predict(run, files, top=top, source=source, overrides=given.override, **options)
    rows = _rows(report, steps)

    def tell(_: object) -> None:
        if as_csv:
            csv.writer(sys.stdout, lineterminator="\n").writerows([COLUMNS, *rows])
            return
        for file, step, _rank, predicted, probability in rows:
            print(f"{file}  {f'step {step}  ' if steps else ''}{predicted} {probability:.3f}")

    given.show(report, text=tell)
    for problem in list(report.refused.values())[:_MOST_TOLD]:
        print(f"error: {problem}", file=sys.stderr)
    if report.refused:
        any_format = "" if report.source == "folder" else "; --source folder reads any format"
        how = f"read as files of the source {report.source}{any_format}"
        number = f"{len(report.refused):,} file{'s' if len(report.refused) > 1 else ''}"
        more = f" (the first {_MOST_TOLD} above, all with --json)" if len(report.refused) > _MOST_TOLD else ""
        print(f"{number} could not be {how}{more}", file=sys.stderr)
        raise typer.Exit(DvsTransferError.exit_code)


def _rows(report: PredictionReport, steps: bool) -> Iterator[tuple[str, int, int, str, float]]:
    """One for each file, step (the last is of the whole recording) and class."""
    for prediction in report.predictions:
        *before, _ = prediction.after_step
        for step, guess in enumerate(before if steps else (), 1):
            yield prediction.file, step, 1, guess.predicted, guess.probability
        for rank, guess in enumerate(prediction.best, 1):
            yield prediction.file, len(prediction.after_step), rank, guess.predicted, guess.probability
