"""From an experiment file to its rows and cells, each with its whole configuration, checked before anything runs."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...cache.errors import ConfigError
from ..config import ExperimentConfig, describe_problems, parse_overrides, read_toml
from .description import Choice, ExperimentFile, Selector, flatten, read_description

# The table needs the test, or validation, accuracies of both checkpoints; seeds are the experiment's own.
_RESERVED = ("name", "train.seed", "evaluate.checkpoint")


@dataclass(frozen=True)
class Cell:
    """One run: a row's configuration with one of the seeds."""

    name: str
    seed: int
    config: ExperimentConfig


@dataclass(frozen=True)
class Row:
    """A choice on each axis. labels: by axis; cells: one for each seed."""

    labels: Mapping[str, str]
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        return ", ".join(self.labels.values())

    def matches(self, selector: Selector) -> bool:
        return all(self.labels[axis] == label for axis, label in selector.items())


@dataclass(frozen=True)
class Experiment:
    """An experiment file with its cells."""

    path: Path
    file: ExperimentFile
    rows: tuple[Row, ...]

    @property
    def cells(self) -> list[Cell]:
        """Seed by seed, so that a table has every row as early as possible."""
        return [row.cells[i] for i in range(len(self.file.seeds)) for row in self.rows]

    def baseline_of(self, row: Row, baseline: Selector) -> Row | None:
        """The row that `row` is compared with; None where that one is excluded."""
        wanted = {**row.labels, **baseline}
        return next((other for other in self.rows if other.labels == wanted), None)


def load_experiment(path: Path, overrides: Iterable[str] = ()) -> Experiment:
    """Read an experiment file and the configuration of every cell; overrides ("train.epochs=5") are for all of them.

    Raises ConfigError that lists every problem of every cell, each once.
    """
    file = read_description(path)
    file = file.model_copy(update={"set": file.set | flatten(parse_overrides(overrides))})
    base = _read_base(path, file.base)
    problems: dict[str, list[str]] = {}  # each with the rows that have it
    rows = []
    for choices in itertools.product(*file.axis.values()):
        labels = {axis: choice.label for axis, choice in zip(file.axis, choices, strict=True)}
        if any(all(labels[axis] == label for axis, label in selector.items()) for selector in file.exclude):
            continue
        name = ", ".join(labels.values())
        try:
            rows.append(Row(labels, _cells_of(file, base, name, choices)))
        except ConfigError as error:
            for problem in str(error).splitlines():
                problems.setdefault(problem, []).append(name)
    if problems:
        lines = [f"  {problem} (in {_some(names)})" for problem, names in problems.items()]
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ConfigError("\n".join([f"{path}: {count} in the cells' configurations", *lines]))
    experiment = Experiment(path, file, tuple(rows))
    _check_rows(experiment)
    return experiment


def _read_base(path: Path, base: Path) -> dict[str, Any]:
    beside = path.parent / base
    if beside.exists() or not path.exists():  # a shipped experiment stands in the shipped configs/experiments
        return read_toml(beside)
    return read_toml(base)


def _cells_of(file: ExperimentFile, base: Mapping[str, Any], name: str, choices: Iterable[Choice]) -> tuple[Cell, ...]:
    document = copy.deepcopy(dict(base))
    changes = dict(file.set)
    for choice in choices:
        changes |= choice.set
    problems = [f"{key}: is not an experiment's to set" for key in changes if key in _RESERVED]
    if file.vary_split and "pairing.seed" in changes:
        problems.append("pairing.seed: follows the seeds, since vary_split = true")
    if file.draws == "labels" and "pairing.subset_seed" in changes:
        problems.append("pairing.subset_seed: follows the seeds, since draws = labels")
    for key, value in changes.items():
        problems += _set_key(document, key, value)
    if problems:
        raise ConfigError("\n".join(problems))
    cells = []
    for seed in file.seeds:
        _set_key(document, "train.seed", seed)
        if file.vary_split:
            _set_key(document, "pairing.seed", seed)
        try:
            config = ExperimentConfig.model_validate(document)
        except ValidationError as error:
            problems += [line for line in describe_problems(error, ExperimentConfig) if line not in problems]
        else:
            problems += _problems_of(file, config)
            cells.append(Cell(f"{name}, seed {seed}", seed, _draw_labels(file, config, seed)))
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return tuple(cells)


def _draw_labels(file: ExperimentFile, config: ExperimentConfig, seed: int) -> ExperimentConfig:
    """With the labelled subset of this seed, if seeds draw one; where every recording trains there is none to draw."""
    if file.draws == "seed" or not config.pairing.draws_labels:
        return config
    return config.model_copy(update={"pairing": config.pairing.model_copy(update={"subset_seed": seed})})


def _set_key(document: dict[str, Any], key: str, value: Any) -> list[str]:
    """Set a dotted key, in place; returns the problem if there is one."""
    *sections, last = key.split(".")
    for part in sections:
        inner = document.setdefault(part, {})
        if not isinstance(inner, dict):
            return [f"{key}: {part} is a value, not a section"]
        document = inner
    if isinstance(document.get(last), dict):
        return [f"{key}: is a section, not a value"]
    document[last] = copy.deepcopy(value)
    return []


def _problems_of(file: ExperimentFile, config: ExperimentConfig) -> list[str]:
    problems = []
    if (config.demo is not None) != (file.data == "demo"):
        has = "has" if config.demo is not None else "has no"
        problems.append(f"data: {file.data!r}, but the configuration {has} section demo")
    if config.evaluate.checkpoint != "best":
        problems.append("evaluate.checkpoint: leave it at best; a table shows best and last")
    return problems


def _check_rows(experiment: Experiment) -> None:
    """Raise ConfigError: no rows, rows that are the same runs, an exclusion or a figure that finds no row."""
    problems = [] if experiment.rows else ["exclude: leaves no row"]
    for first, second in itertools.combinations(experiment.rows, 2):
        if first.cells[0].config == second.cells[0].config:
            problems.append(f"rows {first.name!r} and {second.name!r} have the same configuration: exclude one of them")
        elif first.name == second.name:
            problems.append(f"two rows are called {first.name!r}: change a label")
    for published in experiment.file.table.published:
        for figure in published.figures:
            found = [row.name for row in experiment.rows if row.matches(figure.of)]
            if len(found) != 1:
                problems.append(
                    f"table.published: {figure.of} is {_some(found) if found else 'no row'}; expected one row"
                )
    baselines = experiment.file.table.baselines
    problems += [
        f"table.baselines: {b} is no row" for b in baselines if not any(row.matches(b) for row in experiment.rows)
    ]
    if problems:
        raise ConfigError(
            "\n".join([f"{experiment.path}: the rows do not fit together", *(f"  {p}" for p in problems)])
        )


def _some(names: list[str]) -> str:
    return "; ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
