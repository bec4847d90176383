"""The experiment file: a base configuration, axes of overrides, seeds, and what its table shows.

Every row of the table is a choice on each axis, every cell a row with a seed: one run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from ...cache.errors import ConfigError
from ..config import describe_problems, read_toml

Metric = Literal["top1", "mean_class_accuracy"]


def label_of(value: Any) -> str:
    """How a value of an axis is called: as TOML writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key: `{train = {epochs = 5}}` and `{"train.epochs" = 5}` are the same."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _by_key(value: Any) -> Any:
    return flatten(value) if isinstance(value, Mapping) else value


Label = Annotated[str, BeforeValidator(label_of)]
# The rows that have these labels on these axes; axes that are not named may have any.
Selector = Annotated[dict[str, Label], BeforeValidator(_by_key)]
Overrides = Annotated[dict[str, Any], BeforeValidator(_by_key)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Choice(_Frozen):
    """One place on an axis."""

    label: Label = Field(description="its name in the table, and in the selectors of this file")
    set: Overrides = Field({}, description="configuration keys and their values; none: as the base has them")


class Figure(_Frozen):
    """A published figure of one row."""

    of: Selector = Field(description="the row, as labels by axis")
    top1: float = Field(ge=0, le=100, description="top-1, per cent")


class Published(_Frozen):
    """Figures of one source, to stand beside our own."""

    source: str = Field(description="where they were published")
    figures: list[Figure] = Field(min_length=1)


class TableSection(_Frozen):
    """What the table shows beside each row's accuracies."""

    baselines: list[Selector] = Field(
        [],
        description="what each row is compared with: for each of these, the row that has its labels, and the compared "
        "row's own on the axes that it does not name",
    )
    metrics: list[Metric] = Field(
        ["top1", "mean_class_accuracy"], min_length=1, description="columns, for best and last"
    )
    published: list[Published] = []


class ExperimentFile(_Frozen):
    """The content of an experiment file."""

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
    def _choices(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: _to_choices(name, choices) for name, choices in flatten(value).items()}

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        problems = [f"seeds: {seed} is there twice" for seed in _twice(self.seeds)]
        for name, choices in self.axis.items():
            problems += [f"axis.{name}: label {label!r} is there twice" for label in _twice(c.label for c in choices)]
        for where, selector in self._selectors():
            problems += [f"{where}: {problem}" for problem in self._unknown(selector)]
        if problems:
            raise ValueError("\n  ".join(problems))
        return self

    def _selectors(self) -> Iterable[tuple[str, Selector]]:
        yield from ((f"exclude.{i}", selector) for i, selector in enumerate(self.exclude))
        yield from ((f"table.baselines.{i}", selector) for i, selector in enumerate(self.table.baselines))
        for i, published in enumerate(self.table.published):
            for j, figure in enumerate(published.figures):
                yield f"table.published.{i}.figures.{j}.of", figure.of

    def _unknown(self, selector: Selector) -> Iterable[str]:
        for name, label in selector.items():
            if name not in self.axis:
                yield f"no axis {name!r}; there are {', '.join(self.axis)}"
            elif label not in (known := [choice.label for choice in self.axis[name]]):
                yield f"axis {name} has no {label!r}; it has {', '.join(known)}"


def _to_choices(name: str, choices: Any) -> Any:
    if not isinstance(choices, list):
        return choices
    return [choice if isinstance(choice, Mapping) else {"label": choice, "set": {name: choice}} for choice in choices]


def _twice(values: Iterable[Any]) -> list[Any]:
    listed = list(values)
    return sorted({value for value in listed if listed.count(value) > 1})


def read_description(path: Path) -> ExperimentFile:
    """The experiment file at `path`, or the shipped one of this name. Raises ConfigError that lists every problem."""
    document = read_toml(path)
    try:
        return ExperimentFile.model_validate(document)
    except ValidationError as error:
        problems = describe_problems(error, ExperimentFile)
    raise ConfigError(
        "\n".join([f"{path}: not an experiment file that can be run", *(f"  {line}" for line in problems)])
    )
