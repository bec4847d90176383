"""The study file: a base configuration, axes of overrides, seeds, and what its table shows.

Every row of the table is a choice on each axis, every cell a row with a seed: one run. The whole configuration of every
cell is checked before anything runs.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ...cache.documents import Frozen, flatten, name_some
from ...cache.errors import ConfigError
from ...cache.pairs import Reach
from ...stages.evaluation.compare import Metric
from ...stages.plugins import look_in
from ..config import ExperimentConfig, list_problems, named_file, parse_overrides, read_toml, set_key, validate

# The table needs the test, or validation, accuracies of both checkpoints; seeds are the study's own.
_RESERVED = ("name", "train.seed", "evaluate.checkpoint")


# How a value of an axis is called: as TOML writes it.
Label = Annotated[str, BeforeValidator(lambda value: str(value).lower() if isinstance(value, bool) else str(value))]
# The rows that have these labels on these axes; axes that are not named may have any.
Selector = Annotated[dict[str, Label], BeforeValidator(flatten)]
Overrides = Annotated[dict[str, Any], BeforeValidator(lambda given: flatten(given, keep_empty=True))]  # {} empties


class Choice(Frozen):
    """One place on an axis."""

    label: Label = Field(description="its name in the table, and in the selectors of this file")
    set: Overrides = Field({}, description="configuration keys and their values; none: as the base has them")


class Figure(Frozen):
    """A published figure of one row."""

    of: Selector = Field(description="the row, as labels by axis")
    top1: float = Field(ge=0, le=100, description="top-1, per cent")
    photos_in_reach: Reach | None = Field(None, description="for this figure, where it is not as for its source")


class Published(Frozen):
    """Figures of one source, to stand beside our own."""

    source: str = Field(description="where they were published, and under which protocol")
    photos_in_reach: Reach = Field(
        "unknown",
        description="whether photos of the test recordings taught: some (leaky), none (clean), or it is not known",
    )
    figures: list[Figure] = Field(min_length=1)


class TableSection(Frozen):
    """What the table shows beside each row's accuracies."""

    baselines: list[Selector] = Field(
        [],
        description="what each row is compared with: for each of these, the row that has its labels, and the compared "
        "row's own on the axes that it does not name",
    )
    metrics: list[Metric] = Field(
        ["top1", "mean_class_accuracy"], min_length=1, description="columns, for best and last"
    )
    published: list[Published] = Field([], description="figures of others")


class StudyFile(Frozen):
    """The content of a study file."""

    title: str = Field(description="one line: what is compared")
    base: Path = Field(description="configuration file, relative to this one, or a shipped one (configs/demo.toml)")
    data: Literal["real", "simulated", "demo"] = Field(
        description="where the recordings come from; whatever is not real is marked in the table"
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=1, description="train.seed: one run of each row for each"
    )
    draws: Literal["seed", "labels"] = Field(
        "seed",
        description="what each seed draws. seed: train.seed alone; labels: which recordings train too "
        "(pairing.subset_seed), where not all do",
    )
    vary_split: bool = Field(
        False, description="each seed draws the whole split too (pairing.seed); otherwise the base's for all"
    )
    set: Overrides = Field({}, description="configuration keys and values of every cell")
    axis: dict[str, Annotated[list[Choice], Field(min_length=1)]] = Field(
        min_length=1, description="choices by axis; a list of plain values is one of the key that names the axis"
    )
    exclude: list[Selector] = Field([], description="rows to leave out")
    table: TableSection = TableSection()

    @field_validator("axis", mode="before")
    @classmethod
    def _choices(cls, axes: Any) -> Any:
        if not isinstance(axes, Mapping):
            return axes
        return {
            name: [at if isinstance(at, Mapping) else {"label": at, "set": {name: at}} for at in axis]
            if isinstance(axis, list)
            else axis
            for name, axis in flatten(axes).items()
        }

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        problems = [f"seeds: {seed} is there twice" for seed in _twice(self.seeds)]
        for name, choices in self.axis.items():
            problems += [f"axis.{name}: label {label!r} is there twice" for label in _twice(c.label for c in choices)]
        baselines = self.table.baselines
        problems += [f"table.baselines: {b} is there twice" for i, b in enumerate(baselines) if b in baselines[:i]]
        selectors = {f"exclude.{i}": selector for i, selector in enumerate(self.exclude)}
        selectors |= {f"table.baselines.{i}": selector for i, selector in enumerate(baselines)}
        for i, published in enumerate(self.table.published):
            selectors |= {f"table.published.{i}.figures.{j}.of": it.of for j, it in enumerate(published.figures)}
        for where, selector in selectors.items():
            for name, label in selector.items():
                labels = [choice.label for choice in self.axis.get(name, [])]
                if not labels:
                    problems.append(f"{where}: no axis {name!r}; there are {', '.join(self.axis)}")
                elif label not in labels:
                    problems.append(f"{where}: axis {name} has no {label!r}; it has {', '.join(labels)}")
        if problems:
            raise ValueError("\n  ".join(problems))
        return self


def name_with_axes(labels: Mapping[str, str]) -> str:
    """Where the labels alone are others' too."""
    return ", ".join(f"{axis}={label}" for axis, label in labels.items())


def _twice(values: Iterable[Any]) -> list[Any]:
    listed = list(values)
    return sorted({value for value in listed if listed.count(value) > 1})


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
        return selector.items() <= self.labels.items()


@dataclass(frozen=True)
class Study:
    """A study file with its cells."""

    file: StudyFile
    rows: tuple[Row, ...]

    @property
    def cells(self) -> list[Cell]:
        """Seed by seed, so that a table has every row as early as possible."""
        return [row.cells[i] for i in range(len(self.file.seeds)) for row in self.rows]

    def baseline_of(self, row: Row, baseline: Selector) -> Row | None:
        """The row that `row` is compared with; None where that one is excluded."""
        wanted = {**row.labels, **baseline}
        return next((other for other in self.rows if other.labels == wanted), None)


def load_study(path: Path, overrides: Iterable[str] = ()) -> Study:
    """Read a study file, or the shipped one of this name, and the configuration of every cell.

    overrides ("train.epochs=5"): for all of them.

    Raises ConfigError that lists every problem of the file, else overrides of what its axes set, else every problem of
    every cell, each once, else of its rows.
    """
    path = named_file(path)
    file = read_study_file(path)
    given = flatten(parse_overrides(overrides))
    if lines := _set_by_axes(file, given):
        raise ConfigError(list_problems(str(path), "overrides", lines))
    file = file.model_copy(update={"set": file.set | given})
    beside = path.parent / file.base
    # A shipped study stands in the shipped configs/studies.
    base = beside if beside.exists() or not path.exists() else file.base
    for place in (path, base):
        look_in(place.resolve().parent)
    document, rows = read_toml(base), []
    document.pop("baseline", None)  # a study says itself what it compares
    problems: dict[str, list[str]] = {}  # each with the rows that have it
    for choices in itertools.product(*file.axis.values()):
        row = Row({axis: choice.label for axis, choice in zip(file.axis, choices, strict=True)}, ())
        if any(row.matches(selector) for selector in file.exclude):
            continue
        cells, wrong = _make_cells(file, copy.deepcopy(document), row.name, choices)
        rows.append(Row(row.labels, cells))
        for problem in wrong:
            problems.setdefault(problem, []).append(row.name)
    if problems:
        lines = [f"{problem} (in {name_some(names, 3, '; ')})" for problem, names in problems.items()]
        raise ConfigError(list_problems(str(path), "cells' configurations", lines))
    study = Study(file, tuple(rows))
    if lines := _problems_of_rows(study):
        raise ConfigError(list_problems(str(path), "rows", lines))
    return study


def _set_by_axes(file: StudyFile, given: Iterable[str]) -> list[str]:
    """The keys `given` that an axis sets, or sets a section of, in some rows or all: its own value would go before."""
    return [
        f"{key}: set by the axis {name}; edit the file"
        for key in given
        for name, choices in file.axis.items()
        if any(key == own or key.startswith(f"{own}.") for choice in choices for own in choice.set)
    ]


def read_study_file(path: Path) -> StudyFile:
    """The study file at `path`, or the shipped one of this name. Raises ConfigError that lists every problem."""
    document = read_toml(path)
    if "events" in document and "axis" not in document:
        raise ConfigError(
            f"{path}: the configuration of one training, no study; try `dvs-transfer train --config {path}`"
        )
    return validate(StudyFile, document, str(path), "study file")


def _make_cells(
    file: StudyFile, document: dict[str, Any], name: str, choices: Iterable[Choice]
) -> tuple[tuple[Cell, ...], list[str]]:
    """A row's cells, or what is wrong with its configuration. document: of the base; it is changed."""
    changes = dict(file.set)
    for choice in choices:
        changes |= choice.set
    taken = dict.fromkeys(_RESERVED, "is not a study's to set")
    taken |= {"pairing.seed": "follows the seeds, since vary_split = true"} if file.vary_split else {}
    taken |= {"pairing.subset_seed": "follows the seeds, since draws = labels"} if file.draws == "labels" else {}
    problems = [f"{key}: {taken[key]}" for key in changes if key in taken]
    for key, value in changes.items():
        if problem := set_key(document, key.split("."), value):
            problems.append(f"{key}: {problem}")
    if problems:
        return (), problems
    cells = []
    for seed in file.seeds:
        for key in ("train.seed", *["pairing.seed"] * file.vary_split):
            set_key(document, key.split("."), seed)
        try:
            config = validate(ExperimentConfig, document)
        except ConfigError as error:
            problems += str(error).splitlines()
            continue
        if (config.demo is not None) != (file.data == "demo"):
            has = "has" if config.demo is not None else "has no"
            problems.append(f"data: {file.data!r}, but the configuration {has} section demo")
        if config.evaluate.checkpoint != "best":
            problems.append("evaluate.checkpoint: leave it at best; a table shows best and last")
        if file.draws == "labels" and config.pairing.draws_labels:  # else every recording trains: nothing to draw
            config = config.model_copy(update={"pairing": config.pairing.model_copy(update={"subset_seed": seed})})
        cells.append(Cell(f"{name}, seed {seed}", seed, config))
    return tuple(cells), list(dict.fromkeys(problems))


def _problems_of_rows(study: Study) -> list[str]:
    """No rows, rows that are the same runs, an exclusion or a figure that finds no row, two figures for one."""
    problems = [] if study.rows else ["exclude: leaves no row"]
    for first, second in itertools.combinations(study.rows, 2):
        if first.cells[0].config == second.cells[0].config:
            problems.append(f"rows {first.name!r} and {second.name!r} have the same configuration: exclude one of them")
        elif first.name == second.name:
            problems.append(f"two rows are called {first.name!r}: change a label")
    for figure in (figure for published in study.file.table.published for figure in published.figures):
        found = [row.name for row in study.rows if row.matches(figure.of)]
        if len(found) != 1:
            problems.append(
                f"table.published: {figure.of} is {name_some(found, 3, '; ') or 'no row'}; expected one row"
            )
    for row, published in itertools.product(study.rows, study.file.table.published):
        if (count := sum(row.matches(figure.of) for figure in published.figures)) > 1:
            problems.append(
                f"table.published: {published.source!r} has {count} figures for {row.name!r}: leave one, or make a "
                "source of each"
            )
    empty = [b for b in study.file.table.baselines if not any(row.matches(b) for row in study.rows)]
    return problems + [f"table.baselines: {baseline} is no row" for baseline in empty]
