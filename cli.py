"""The command `dvs-transfer`: options become configuration and one call, results are printed, errors are messages."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from . import pipeline
from .benchmarks.commands import bench_app
from .cache.errors import DvsTransferError, is_out_of_memory
from .cache.places import CACHE_VARIABLE, ROOT_VARIABLE
from .pipeline import summaries
from .pipeline.commands.common import (
    CONFIG,
    JSON,
    OVERRIDE,
    TASKS,
    Given,
    InOrder,
    Settings,
    command,
    store_argument,
    store_option,
    with_options,
)
from .pipeline.commands.configs import config_app
from .pipeline.commands.data import audit, cache_app, calibrate, preview, split_app
from .pipeline.commands.export import export, hub_app
from .pipeline.commands.raw import demo, download, simulate, sources
from .pipeline.commands.runs import analyse_app, compare, few_shot, predict, print_comparison, runs_app
from .pipeline.commands.studies import study_app
from .pipeline.progress import Reporter, to_document
from .pipeline.workspace import Workspace
from .stages.analysis.config import FewShotConfig
from .stages.conversion.config import ConversionOptions
from .stages.frames.spec import FramesConfig, ImagesConfig
from .stages.pairing_config import PairingConfig

EXIT_INTERRUPTED = 130

# Threads of torch's OpenMP (GNU's) wait for each other in a loop of 300,000 turns, milliseconds: beside other work,
# which has the core that is waited for, training crawls. A shorter loop still spans the gaps within a step.
SPIN_COUNT = "10000"


class Commands(InOrder):
    order = (
        *("config", "doctor", "sources", "download", "demo", "simulate", "preprocess", "convert", "pair", "split"),
        *("preview", "audit", "calibrate", "train", "evaluate", "compare", "report", "analyse", "few-shot", "predict"),
        *("import-checkpoint", "export", "hub", "runs", "study", "cache", "bench"),
    )


app = typer.Typer(
    name="dvs-transfer",
    cls=Commands,
    help="From raw event recordings and static images to a trained spiking network.\n\n"
    "Start with: dvs-transfer preprocess && dvs-transfer train && dvs-transfer evaluate\n\n"
    "The options below may also stand after the command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(config_app, name="config")
app.add_typer(analyse_app, name="analyse")
app.add_typer(cache_app, name="cache")
app.add_typer(runs_app, name="runs")
app.add_typer(bench_app, name="bench")
app.add_typer(split_app, name="split")
app.add_typer(hub_app, name="hub")
command(app, JSON)(export)
command(app, OVERRIDE, TASKS, JSON)(simulate)
command(app, OVERRIDE, TASKS, JSON)(demo)
command(app, JSON)(download)
command(app, JSON)(sources)
command(app, JSON)(audit)
command(app, OVERRIDE, JSON)(calibrate)
command(app, OVERRIDE, JSON)(compare)
app.add_typer(study_app, name="study")
app.add_typer(study_app, name="experiment", hidden=True)  # its name before
command(app, JSON, models=(FewShotConfig,))(few_shot)
command(app, OVERRIDE, JSON)(predict)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"dvs-transfer {version('dvs-transfer')}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    root: Annotated[Path | None, typer.Option(envvar=ROOT_VARIABLE, help="Folder of data/ and runs/.")] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            envvar=CACHE_VARIABLE,
            help='Folder of the stores, or an address ("s3://bucket/caches"); by default data/cache below the root.',
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors and results alone.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also tell settings and tasks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options for every command."""
    given = [str(context.get_parameter_source(key)).endswith("COMMANDLINE") for key in ("root", "cache")]
    Settings.root, Settings.cache = root if given[0] else None, cache if given[1] else None
    Settings.workspace = Workspace.at(root, cache)
    Settings.reporter, Settings.given = Reporter(verbosity=0 if quiet else 2 if verbose else 1), None


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 1 (the input's or environment's fault), 2 (usage), 130 or 143."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # read when torch is imported
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    try:
        app(arguments, prog_name="dvs-transfer")
    except SystemExit as left:
        if left.code == EXIT_INTERRUPTED:
            print("interrupted; run the same command again", file=sys.stderr)
        return int(left.code or 0)
    except DvsTransferError as error:
        print(f"error: {with_options(str(error))}", file=sys.stderr)
        return error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        what = str(error).split("\n")[0]
        print(f"error: not enough memory ({what}); use fewer workers or a smaller train.batch_size", file=sys.stderr)
        return DvsTransferError.exit_code
    except OSError as error:
        hint = "; free some space, the same command goes on where it stopped" if error.errno == errno.ENOSPC else ""
        print(f"error: {error.filename or 'input/output'}: {error.strerror or error}{hint}", file=sys.stderr)
        return DvsTransferError.exit_code
    return 0


def runs_of(config: Any) -> list[Path]:
    """The folder of a configuration's run, and of its baseline's where it has one."""
    return [pipeline.experiment.run_folder(each, Settings.workspace) for each in config.with_baseline()]


def _show_with_baseline(given: Given, shown: list[tuple[dict[str, Any], list[str]]], title: str) -> None:
    """A run's document and summary, and its baseline's, if there is one: as JSON below "baseline"."""
    (document, lines), *baseline = shown
    if given.as_json:
        given.show(document | ({"baseline": baseline[0][0]} if baseline else {}))
        return
    given.show(document, title, summary=partial(_kept, lines))
    for other, (first, *rest) in baseline:
        given.show(other, f"{title} (baseline)", summary=partial(_kept, [f"baseline, {first}", *rest]))


def _kept(lines: list[str], _: Any) -> list[str]:
    return lines


@command(app, CONFIG, TASKS, JSON)
def preprocess(given: Given) -> None:
    """Convert and pair everything that a configuration names; what is up to date is not done again.

    Example: dvs-transfer preprocess --config configs/ncaltech101.toml --workers 8
    """

    def tell(report: Any) -> None:
        for title in ("demo", "simulated", "events", "images", "recorded", "pairs"):
            if getattr(report, title) is not None:
                given.show(getattr(report, title), title)
        print(f"picture of some pairs: {report.picture}")

    say = Settings.reporter.say
    report = pipeline.experiment.preprocess(given.load(), Settings.workspace, given.runner(), say)
    given.show(report, text=tell, summary=summaries.of_preprocess)
    given.next("train")


@command(app, CONFIG, JSON)
def train(
    given: Given,
    run: Annotated[Path | None, typer.Option(help="Run folder, by default named by the settings.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Begins the run folder's name, in place of the file's `name`.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Delete what the run has so far, and start anew.")] = False,
) -> None:
    """Train the network of a configuration; an interrupted run goes on where it stopped. Also under torchrun.

    Example: dvs-transfer train --set train.epochs=20
    """
    if name:
        given = replace(given, override=[*given.override, f"name={json.dumps(name)}"])  # hints repeat it
    # A folder of one's own is for one run.
    say, trained = Settings.reporter.say, []
    configs = given.load_with(run).with_baseline()[: None if run is None else 1]
    if change := pipeline.experiment.find_change(configs[0], Settings.workspace):
        say(change)
    for config in configs:
        with Settings.reporter.training() as on_progress:
            folder, report = pipeline.experiment.train(config, Settings.workspace, run, restart, on_progress, say)
        if report is not None:
            trained.append(({"run": folder, **to_document(report)}, summaries.of_training(folder, report)))
    if trained:
        _show_with_baseline(given, trained, "trained")
        given.next_of("evaluate", run)


@command(app, CONFIG, JSON)
def evaluate(
    given: Given,
    run: Annotated[Path | None, typer.Argument(help="Run folder; by default the configuration's.")] = None,
    split: Annotated[str | None, typer.Option(help="validation or test; by default the configuration's.")] = None,
    save_logits: Annotated[Path | None, typer.Option(help="Also write the logits of each step to this .npz.")] = None,
) -> None:
    """Measure a trained network on recordings that it was not trained on.

    Example: dvs-transfer evaluate --split validation
    """
    from .stages.evaluation.results import TABLES

    more = [f'evaluate.split="{split}"'] if split else []
    if run is None:
        config = given.load(*more)
        runs, settings = runs_of(config), config.evaluate
    else:
        given.check()
        runs, settings = [run], pipeline.experiment.evaluation_of_run(run, [*given.override, *more])
    evaluated, hidden = [], None if given.as_json else TABLES
    for number, folder in enumerate(runs):
        report = pipeline.experiment.evaluate(folder, settings, save_logits=None if number else save_logits)
        document = {"run": folder, **report.model_dump(mode="json", exclude=hidden)}
        evaluated.append((document, summaries.of_evaluation(folder, report, pipeline.experiment.origin_of_run(folder))))
    _show_with_baseline(given, evaluated, "evaluated")
    if len(runs) > 1 and not given.as_json:
        # Of what was evaluated now, however a run's own settings say it.
        same = settings.model_dump(mode="json", exclude={"split", "checkpoint"}, context={"whole": True})
        overrides = [f"evaluate.{key}={json.dumps(value)}" for key, value in same.items()]
        same_way = {"split": settings.split, "checkpoint": settings.checkpoint, "overrides": overrides}
        compared = pipeline.results.compare_runs(runs, baseline=runs[1], **same_way)
        given.show(compared, text=print_comparison, summary=summaries.of_comparison)
    given.next_of("report", run)


@command(app, CONFIG, JSON)
def import_checkpoint(
    given: Given,
    file: Annotated[
        Path, typer.Argument(help="A checkpoint that the method's authors published (.pth.tar), or a NIR graph (.nir).")
    ],
    out: Annotated[Path, typer.Option(help="Run folder to make.")],
    pairs: Annotated[Path | None, store_option("Pair store to evaluate on; or name a configuration.")] = None,
) -> None:
    """Make a run of published weights or of a NIR graph, for `evaluate`; nothing in the file is executed.

    Example: dvs-transfer import-checkpoint model_best.pth.tar --out runs/released --config configs/ncaltech101.toml
    """
    store = pairs or pipeline.experiment.find_pairs(given.load(), Settings.workspace)
    report = pipeline.experiment.import_checkpoint(file, store, out)
    given.show(report, "imported", summary=summaries.of_import)
    given.next_of("evaluate", out)


@command(app, CONFIG, JSON)
def report(
    given: Given,
    runs: Annotated[list[Path] | None, typer.Argument(help="Run folders; by default the configuration's.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write; by default in the run's folder, or for several in runs/.")
    ] = None,
) -> None:
    """Write one HTML page of evaluated runs, side by side where there are several: what was run and what came out.

    Example: dvs-transfer report runs/demo-0123456789ab runs/demo-ba9876543210 --out comparison.html
    """
    if runs:
        given.check(evaluates=False)
    else:
        runs = runs_of(given.load())
        out = out or runs[0] / "report" / "report.html"
        runs.reverse()  # the first one is what others are held against
    written = pipeline.results.report(runs, out, Settings.workspace)
    given.show(written, "report", summary=summaries.of_report)


@command(app, TASKS, JSON, models=(FramesConfig, ImagesConfig, ConversionOptions))
def convert(
    given: Given,
    source: Annotated[str, typer.Argument(help="A name from `dvs-transfer sources`, or `module:Reader`.")],
    raw: Annotated[Path, typer.Argument(help="Folder or archive with the raw data.")],
    out: Annotated[Path | None, store_option("Folder or address that gets the store; by default data/cache.")] = None,
    **options: Any,
) -> None:
    """Convert one raw data set into a store; options left out have the defaults of the configuration file.

    Example: dvs-transfer convert ncaltech101 ~/N-Caltech101 --num-bins 10 --size 48
    """
    from .stages.plugins import look_in

    look_in(Path.cwd())  # for a reader of one's own
    root, runner = Settings.workspace, given.runner()
    report = pipeline.api.convert(source, raw, out, root=root, map_tasks=runner, **options)
    given.show(report, "converted", summary=summaries.of_conversion)


@command(app, JSON, models=(PairingConfig,))
def pair(
    given: Given,
    events: Annotated[Path, store_argument("Store of recordings.")],
    images: Annotated[Path | None, store_argument("Store of images; left out: recordings alone.")] = None,
    **options: Any,
) -> None:
    """Align recordings with photos and split them; writes a pair store beside the two stores.

    Example: dvs-transfer pair data/cache/nmnist-0123456789ab.zarr data/cache/mnist-0123456789ab.zarr --seed 1
    """
    from .stages.plugins import look_in

    look_in(Path.cwd())  # for a reader of one's own, which knows the ids
    report = pipeline.api.pair(events, images, on_message=Settings.reporter.say, **options)
    given.show(report, "paired", summary=summaries.of_pairs)


command(app)(preview)


@command(app, CONFIG, JSON)
def doctor(given: Given) -> None:
    """Show versions, devices, threads, free disk and memory, which raw data sets are there, what a configuration lacks.

    Example: dvs-transfer doctor --config configs/nmnist.toml
    """
    facts = pipeline.doctor.examine(Settings.workspace)
    if given.names_config:
        facts["configuration"] = pipeline.doctor.examine_configuration(given.load(), Settings.workspace)
    given.show(facts, "this machine")
