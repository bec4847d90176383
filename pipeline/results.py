"""Results of runs from their folders: one run's evaluation, and several runs side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache.errors import TrainingError
from ..cache.pairs import PairDescription
from ..cache.store import read_attributes
from ..stages.evaluation.compare import ComparisonReport, EvaluatedRun
from ..stages.evaluation.compare import run as compare
from ..stages.evaluation.config import EvaluatedSplit
from ..stages.evaluation.results import current_evaluation, read_predictions
from ..stages.runs.checkpoint import CheckpointName
from ..stages.training.config import NEUTRAL_TRAIN_FIELDS
from .config import validate_config
from .experiment import evaluate, evaluation_of_run, read_run

# What of a run's configuration makes another method of it. Data are compared by content, the seeds are what repeats.
_METHOD_SECTIONS = {"frames", "pairing", "model", "train"}
_NO_METHOD = {f"train.{field}" for field in NEUTRAL_TRAIN_FIELDS} | {"train.seed", "pairing.subset_seed"}


def compare_runs(
    runs: Sequence[str | Path],
    *,
    baseline: str | Path | None = None,
    split: EvaluatedSplit = "test",
    checkpoint: CheckpointName = "best",
    across_protocols: bool = False,
    overrides: Iterable[str] = (),
    on_message: Callable[[str], None] = lambda message: None,
) -> ComparisonReport:
    """Mean and standard deviation of each method over its draws, and paired tests against the baseline's method.

    Runs whose settings differ in `train.seed` and `pairing.subset_seed` alone are one method, each a draw of it. With
    the checkpoint `best` the last epoch's weights are compared beside it. baseline: one of the runs; by default the
    first. A run without a current evaluation on `split` is evaluated first.
    Raises TrainingError, naming both, for runs that cannot be compared: the same run or draw twice, other draws,
    classes, recordings, data, or (without `across_protocols`) protocols. StoreError: the cache is gone of a run
    that is to be evaluated, or of draws of labels, of which it tells whether their data are the same.
    """
    found = [_read(Path(run)) for run in runs]
    _check_once(found)
    methods = _methods(found)
    _check_draws(methods)
    base = Path(runs[0] if baseline is None else baseline)
    named = [name for name, members in methods.items() for run in members if run.folder.resolve() == base.resolve()]
    if not named:
        raise TrainingError(f"{base}: the baseline is not one of the runs to compare: {_listed(found)}")
    evaluations = {
        run.folder: current_evaluation(
            run.folder, evaluation_of_run(run.folder, overrides, split=split, checkpoint=checkpoint)
        )
        for run in found
    }  # of all of them first: a run without weights is refused before another is evaluated

    def evaluated(run: _Run) -> EvaluatedRun:
        report = evaluations[run.folder]
        if report is None:
            on_message(f"evaluates {run.folder} on its {split} recordings")
            report = evaluate(run.folder, split=split, checkpoint=checkpoint, overrides=overrides)
        return EvaluatedRun(report, read_predictions(run.folder, report), run.folder, run.seed, run.subset_seed)

    members = {name: [evaluated(run) for run in members] for name, members in methods.items()}
    return compare(members, named[0], across_protocols=across_protocols)


@dataclass(frozen=True)
class _Run:
    """settings: what makes the method, with keys as in "train.epochs"; none, and no seed, for imported weights."""

    folder: Path
    pairs: Path
    settings: Mapping[str, Any]
    seed: int | None
    subset_seed: int | None = None

    @property
    def draw(self) -> tuple[int | None, int | None]:
        return self.seed, self.subset_seed


def _read(folder: Path) -> _Run:
    document = read_run(folder)
    pairs = Path(str(document["pairs"]))
    if "imported" in document:
        return _Run(folder, pairs, {}, None)
    config = validate_config(document.get("experiment", {}), str(folder / "config.json"))
    settings = dict(_flatten(config.model_dump(mode="json", include=_METHOD_SECTIONS)))
    return _Run(
        folder,
        pairs,
        {key: value for key, value in settings.items() if key not in _NO_METHOD},
        config.train.seed,
        config.pairing.subset_seed,
    )


def _flatten(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping) and value:  # an empty one is a value: another's may hold something
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _methods(runs: Sequence[_Run]) -> dict[str, list[_Run]]:
    """Runs by method, in the order of their draws. A method is named by the settings that the others have otherwise."""
    kinds = [run.settings for run in runs if run.settings]
    keys = dict.fromkeys(key for kind in kinds for key in kind)
    differing = [key for key in keys if any(kind.get(key) != kinds[0].get(key) for kind in kinds)] or ["train.method"]
    methods: dict[str, list[_Run]] = {}
    for run in runs:
        if run.settings:
            own = [key for key in differing if key in run.settings] or differing
            name = ", ".join(f"{key}={_text(run.settings.get(key))}" for key in own)
        else:
            name = f"imported {run.folder}"
        methods.setdefault(name, []).append(run)
    return {name: sorted(members, key=_draw_order) for name, members in methods.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _check_once(runs: Sequence[_Run]) -> None:
    if not runs:
        raise TrainingError("no runs to compare; name their folders")
    seen: dict[Path, Path] = {}
    for run in runs:
        earlier = seen.setdefault(run.folder.resolve(), run.folder)
        if earlier is not run.folder:
            raise TrainingError(f"{earlier} and {run.folder} are the same run; name each run once")


def _check_draws(methods: Mapping[str, Sequence[_Run]]) -> None:
    """A pair of runs has one draw, but for a lone run of each method; a method's runs have the same data."""
    for members in methods.values():
        with_subset: dict[int | None, _Run] = {}
        with_draw: dict[tuple[int | None, int | None], _Run] = {}
        for run in members:
            _check_same_data(with_subset.setdefault(run.subset_seed, run), run)
            _check_same_data(members[0], run)
            other = with_draw.setdefault(run.draw, run)
            if run is not other:
                raise TrainingError(
                    f"{other.folder} and {run.folder} have the same settings and {_name(run)}; name one of them"
                )
    (first, members), *others = methods.items()
    for name, runs in others:
        alone = len(members) == len(runs) == 1
        if not alone and [run.draw for run in runs] != [run.draw for run in members]:
            raise TrainingError(
                f"the methods have other seeds: {first} has {_seeds(members)}; {name} has {_seeds(runs)}. Paired tests "
                "need runs of the same seeds: train the missing ones, or leave runs out"
            )


def _check_same_data(first: _Run, second: _Run) -> None:
    """Runs of one method have one pair store, or with other `subset_seed`s pair stores of the same two stores."""
    if first.pairs.name == second.pairs.name:
        return
    what, stores = "data", (first.pairs.name, second.pairs.name)
    if first.subset_seed != second.subset_seed:
        a, b = (PairDescription.model_validate(read_attributes(run.pairs).config) for run in (first, second))
        if a.events != b.events:
            what, stores = "recordings", (a.events.name, b.events.name)
        elif a.images != b.images:
            what, stores = "images", (a.images.name if a.images else "none", b.images.name if b.images else "none")
        else:
            return
    raise TrainingError(
        f"{first.folder} and {second.folder} have the same settings and other {what} ({stores[0]} and {stores[1]}); "
        "compare runs on the same data"
    )


def _draw_order(run: _Run) -> tuple[int, int]:
    return run.seed or 0, -1 if run.subset_seed is None else run.subset_seed


def _name(run: _Run) -> str:
    return f"seed {run.seed}" + ("" if run.subset_seed is None else f" with subset_seed {run.subset_seed}")


def _seeds(runs: Sequence[_Run]) -> str:
    subsets = [run.subset_seed for run in runs]
    own = "" if subsets == [None] * len(runs) else f" with subset_seed {', '.join(map(str, subsets))}"
    return f"{len(runs)} ({', '.join(str(run.seed) for run in runs)}{own}: {_listed(runs)})"


def _listed(runs: Sequence[_Run]) -> str:
    return ", ".join(str(run.folder) for run in runs)
