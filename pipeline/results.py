"""Results of runs from their folders: analyses with their pictures, runs side by side, and the report of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache.documents import flatten
from ..cache.errors import ConfigError, TrainingError
from ..cache.paired import PairedCache
from ..cache.pairs import PairDescription, PairStore
from ..cache.places import place
from ..cache.store import read_attributes
from ..stages.analysis import style
from ..stages.analysis.catalogue import ANALYSES
from ..stages.analysis.results import AnalysisReport, Progress, no_progress, result_path
from ..stages.evaluation import compare
from ..stages.evaluation.config import WAYS, EvaluatedSplit
from ..stages.evaluation.results import Outcome, current_evaluation, read_outcome, read_predictions
from ..stages.preview import Named
from ..stages.reporting.page import ReportFiles, write_page
from ..stages.reporting.records import RunRecord, evaluated_splits, read_record
from ..stages.runs.checkpoint import CheckpointName
from ..stages.runs.folder import read_run
from ..stages.training.config import NEUTRAL_TRAIN_FIELDS
from .config import ExperimentConfig, build, validate
from .experiment import evaluate, evaluation_of_run, open_splits_of
from .workspace import AnyRoot, Workspace

# What of a run's configuration makes another method of it. Data are compared by content, the seeds are what repeats.
_METHOD_SECTIONS = {"images", "frames", "pairing", "model", "train"}
# Settings that not all methods have (and code, of which earlier versions kept nothing): of those that do it is told.
_OF_SOME = ("images.", "train.saccade.", "code.")
_NO_METHOD = {f"train.{field}" for field in NEUTRAL_TRAIN_FIELDS} | {"train.seed", "pairing.subset_seed"}

_PATHS: Any = {"images": {"raw"}, "pairing": {"split_file": {"files"}}}  # files count by their content


def compare_runs(
    runs: Sequence[str | Path],
    *,
    baseline: str | Path | None = None,
    split: EvaluatedSplit = "test",
    checkpoint: CheckpointName = "best",
    across_protocols: bool = False,
    overrides: Iterable[str] = (),
    on_message: Callable[[str], None] = lambda message: None,
) -> compare.ComparisonReport:
    """Mean and standard deviation of each method over its draws, and paired tests against the baseline's method.

    Runs whose settings differ in `train.seed` and `pairing.subset_seed` alone are one method, each a draw of it. With
    the checkpoint `best` the last epoch's weights are compared beside it. baseline: one of the runs; by default the
    first. A run without a current evaluation on `split` is evaluated first.
    Methods are compared over the draws that both have. Raises TrainingError, naming both, for runs that cannot be
    compared: the same run or draw twice, other classes, recordings, data, or (without `across_protocols`) protocols.
    StoreError: the cache is gone of a run that is to be evaluated, or of draws of labels, of which it tells whether
    their data are the same.
    """
    found, seen = [_read(Path(run)) for run in runs], dict[Path, Path]()
    if not found:
        raise TrainingError("no runs to compare; name their folders")
    for run in found:
        if (earlier := seen.setdefault(run.folder.resolve(), run.folder)) is not run.folder:
            raise TrainingError(f"{earlier} and {run.folder} are the same run; name each run once")
    methods = _methods(found)
    _check_draws(methods)
    base = Path(runs[0] if baseline is None else baseline)
    named = [name for name, members in methods.items() for run in members if run.folder.resolve() == base.resolve()]
    if not named:
        raise TrainingError(f"{base}: the baseline is not one of the runs to compare: {_listed(found)}")
    asked: dict[str, Any] = {"split": split, "checkpoint": checkpoint}
    evaluations = {
        run.folder: current_evaluation(run.folder, evaluation_of_run(run.folder, overrides, **asked)) for run in found
    }  # of all of them first: a run without weights is refused before another is evaluated

    def evaluated(run: _Run) -> compare.EvaluatedRun:
        found = evaluations[run.folder]
        if found is None:
            on_message(f"evaluates {run.folder} on its {split} recordings")
            report = evaluate(run.folder, overrides=overrides, **asked)
            found = Outcome(report, read_predictions(run.folder, report))
        return compare.EvaluatedRun(found.report, found.predictions, run.folder, run.seed, run.subset_seed)

    members = {name: [evaluated(run) for run in members] for name, members in methods.items()}
    return compare.run(members, named[0], across_protocols=across_protocols)


def config_of_run(folder: Path) -> ExperimentConfig:
    """A run's own configuration. Raises TrainingError (no such run), ConfigError (imported weights have none)."""
    return validate(ExperimentConfig, read_run(folder).get("experiment") or {}, str(folder), "run's configuration")


@dataclass(frozen=True)
class _Run:
    """settings: what makes the method, with keys as in "train.epochs", and digests of code that is not this package's;
    none, and no seed, for imported weights.
    """

    folder: Path
    pairs: Path
    settings: Mapping[str, Any]
    seed: int | None
    subset_seed: int | None = None

    @property
    def order(self) -> tuple[int, int]:
        """Among a method's draws."""
        return self.seed or 0, -1 if self.subset_seed is None else self.subset_seed


def _read(folder: Path) -> _Run:
    document = read_run(folder)
    pairs = place(str(document["pairs"]))
    if "imported" in document:
        return _Run(folder, pairs, {}, None)
    config = validate(ExperimentConfig, document.get("experiment", {}), str(folder / "config.json"))
    code = flatten({"code": document.get("code", {})})
    document = config.model_dump(mode="json", include=_METHOD_SECTIONS, exclude=_PATHS, context={"whole": True})
    settings = flatten(document, keep_empty=True)
    is_unused = {
        "train.saccade.": config.train.encoding != "saccade",
        "images.recorded": config.train.encoding != "recorded",
        "images.": config.train.method == "events",
    }
    unused = tuple(start for start, holds in is_unused.items() if holds)
    own = {
        key: value
        for key, value in settings.items()
        if key not in _NO_METHOD and (key, value) != ("train.options", {}) and not key.startswith(unused)
    }
    return _Run(folder, pairs, own | code, config.train.seed, config.pairing.subset_seed)


def _methods(runs: Sequence[_Run]) -> dict[str, list[_Run]]:
    """Runs by method, in the order of their draws. A method is named by the settings that the others have otherwise."""
    kinds = [run.settings for run in runs if run.settings]
    keys = dict.fromkeys(key for kind in kinds for key in kind)

    def differs(key: str) -> bool:
        # A camera is told from other cameras; that the others have none, `train.encoding` says, and `train.method` that
        # they are shown no images.
        values = [kind.get(key) for kind in kinds if key in kind or not key.startswith(_OF_SOME)]
        return any(value != values[0] for value in values)

    differing = [key for key in keys if differs(key)] or ["train.method"]
    methods: dict[str, list[_Run]] = {}
    for run in runs:
        own = {key: run.settings.get(key) for key in differing if key in run.settings} or dict.fromkeys(differing)
        texts = (f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in own.items())
        methods.setdefault(", ".join(texts) if run.settings else f"imported {run.folder}", []).append(run)
    return {name: sorted(members, key=lambda run: run.order) for name, members in methods.items()}


def _check_draws(methods: Mapping[str, Sequence[_Run]]) -> None:
    """A method has one run of each draw, and its runs have the same data."""
    for members in methods.values():
        with_subset: dict[int | None, _Run] = {}
        with_draw: dict[tuple[int | None, int | None], _Run] = {}
        for run in members:
            _check_same_data(with_subset.setdefault(run.subset_seed, run), run)
            _check_same_data(members[0], run)
            other = with_draw.setdefault((run.seed, run.subset_seed), run)
            if run is not other:
                which = f"seed {run.seed}" + ("" if run.subset_seed is None else f" with subset_seed {run.subset_seed}")
                raise TrainingError(
                    f"{other.folder} and {run.folder} have the same settings and {which}; name one of them"
                )


def _check_same_data(first: _Run, second: _Run) -> None:
    """Runs of one method have one pair store, or with other `subset_seed`s pair stores of the same two stores."""
    if first.pairs.name == second.pairs.name:
        return
    what, stores = "data", (first.pairs.name, second.pairs.name)
    if first.subset_seed != second.subset_seed:
        a, b = (PairDescription.model_validate(read_attributes(run.pairs).config) for run in (first, second))
        photos = ("images", a.images, b.images), ("recordings of the images", a.recorded, b.recorded)
        for told, one, other in (("recordings", a.events, b.events), *photos):
            if one != other:
                what, stores = told, (one.name if one else "none", other.name if other else "none")
                break
        else:
            return
    raise TrainingError(
        f"{first.folder} and {second.folder} have the same settings and other {what} ({stores[0]} and {stores[1]}); "
        "compare runs on the same data"
    )


def _listed(runs: Sequence[_Run]) -> str:
    return ", ".join(str(run.folder) for run in runs)


def report(runs: str | Path | Sequence[str | Path], out: str | Path | None = None, root: AnyRoot = None) -> ReportFiles:
    """Write an HTML page of one or several evaluated runs to `out`: by default into the only one's folder, or runs/.

    Several runs are compared on the splits that all were evaluated on, with the first one's method as the baseline.
    Raises TrainingError: no such run, one without results, files that are damaged, runs that cannot be compared;
    StoreError: the cache of a run is gone or damaged; ConfigError: `out` is named as another kind of file.
    """
    folders = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    if not folders:
        raise TrainingError("no runs to report of")
    beside = folders[0] / "report" if len(folders) == 1 else Workspace.at(root).runs
    out = Path(out or beside / "report.html")
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{out}: reports are written as HTML; give a name that ends in .html")
    documents = [read_run(folder) for folder in folders]
    splits = evaluated_splits(folders)
    records = [
        read_record(folder, document, open_splits_of(folder), splits)
        for folder, document in zip(folders, documents, strict=True)
    ]
    comparisons = {} if len(folders) == 1 else {split: _compare(records, split) for split in splits}
    return write_page(records, comparisons, out)


def _compare(records: Sequence[RunRecord], split: EvaluatedSplit) -> compare.ComparisonReport:
    first, *others = ((record.folder, record.evaluated[split].report) for record in records)
    for folder, other in others:
        for key in ("checkpoint", *WAYS):
            asked = getattr(first[1], key), getattr(other, key)
            is_same = asked[0] == asked[1] or (
                key == "checkpoint" and (first[1].holds(asked[1]) or other.holds(asked[0]))
            )
            if not is_same:
                raise TrainingError(
                    f"{first[0]} was evaluated with {key} = {asked[0]}, {folder} with {asked[1]}; run "
                    f"`dvs-transfer evaluate` for both with the same evaluate.{key}"
                )
    ways = [f"evaluate.{way}={getattr(first[1], way)}".lower() for way in WAYS]  # true and false as TOML has them
    folders = [record.folder for record in records]
    reports = [record.evaluated[split].report for record in records]
    checkpoint: CheckpointName = "best" if all(report.holds("best") for report in reports) else "last"
    return compare_runs(folders, split=split, checkpoint=checkpoint, across_protocols=True, overrides=ways)


@dataclass(frozen=True)
class AnalysisFiles:
    """What an analysis found, and where that and its picture lie. arrays, picture: None where it has none."""

    report: AnalysisReport
    result: Path
    arrays: Path | None
    picture: Path | None


def analyses_of(folder: Path) -> list[str]:
    """The names of "all analyses" of the run in `folder`: those with a picture. Raises as `analyse` does."""
    split = open_splits_of(folder)("test")
    network = read_run(folder).get("experiment", {}).get("model", {}).get("name")
    return [name for name, analysis in ANALYSES.items() if analysis.suits(split, network)]


def analyse(
    run: str | Path, name: str, *, restart: bool = False, progress: Progress = no_progress, **options: Any
) -> AnalysisFiles:
    """Run the analysis `name` on the run in a folder, or take what it left; draw it where it is not drawn yet.

    restart: measure again, even if nothing has changed.  options: fields of the analysis' configuration, None for the
    default. Raises ConfigError: no such analysis or option. TrainingError: no such run. StoreError: its cache is gone.
    """
    if name not in ANALYSES:
        raise ConfigError(f"{name}: no such analysis; there are {', '.join(ANALYSES)}")
    analysis, folder = ANALYSES[name], Path(run)
    config = build(analysis.config, **options)
    report: Any = analysis.run(config, open_splits_of(folder), folder, restart=restart, progress=progress)
    picture = result_path(folder, name, ".png")
    if analysis.draw is not None and not picture.exists():
        style.save(analysis.draw(*analysis.read(folder)), picture)
    return AnalysisFiles(
        report=report,
        result=result_path(folder, name),
        arrays=result_path(folder, name, ".npz") if report.arrays else None,
        picture=None if analysis.draw is None else picture,
    )


def named_by(run: str | Path, store: str | Path) -> Named:
    """What a run named the recordings of a pair store, by the newest evaluation of each split.

    Raises TrainingError: no such run, none of its results, or results of other weights than it has, or of other
    recordings than the store's; StoreError: no pair store.
    """
    folder, pairs, classes, weights = Path(run), PairStore(store), dict[str, str](), dict[str, None]()
    read_run(folder)
    for split in evaluated_splits([folder]):
        outcome = read_outcome(folder, split)
        report, predictions = outcome.report, outcome.predictions
        if PairedCache(pairs, split).recordings_digest != report.recordings_digest:
            raise TrainingError(
                f"{folder}: was evaluated on other {split} recordings than {store} has; give the run's own pair store, "
                f"{read_run(folder)['pairs']}"
            )
        classes |= dict(zip(predictions.sample_ids, predictions.predicted, strict=True))
        asked = f", {report.unusual_way}" if report.unusual_way else ""
        epoch = report.which_epoch if report.epoch and not report.holds("last") else f"the {report.which_epoch}"
        weights[f"the weights of {epoch}{asked}"] = None
    return Named(folder.resolve().name, classes, " and ".join(weights))
