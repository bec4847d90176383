"""One TOML file describes an experiment: typed, validated at once, every problem in one message."""

from __future__ import annotations

import copy
import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from ..cache.documents import MAX_CONFIG_BYTES, Frozen, flatten, read_document
from ..cache.errors import ConfigError, DvsTransferError
from ..stages.conversion.config import ConversionOptions
from ..stages.demo.config import DemoConfig
from ..stages.evaluation.config import EvaluateConfig
from ..stages.frames.spec import FramesConfig
from ..stages.network.config import ModelConfig
from ..stages.pairing_config import PairingConfig
from ..stages.plugins import look_in
from ..stages.simulation.config import SimulationConfig
from ..stages.training.config import METHOD_NAMES, TrainConfig
from ..stages.training.sliding import STRATEGIES
from .shipped import close_to

Model = TypeVar("Model", bound=BaseModel)


class EventsSection(Frozen):
    """Where the recordings come from."""

    source: str = Field(description="name of an event source, see `dvs-transfer sources`, or `module:Reader`")
    raw: Path = Field(description="its folder or archive, relative to the raw data folder")


class ImagesSection(Frozen):
    """Where the static images come from, how they are resized, and what records them."""

    LATER = frozenset({"size", "recorded"})

    source: str = Field(description="name of an image source, see `dvs-transfer sources`, or `module:Reader`")
    raw: Path = Field(description="its folder or archive, relative to the raw data folder")
    value_order: Literal["after_resize", "before_resize"] = Field(
        "after_resize", description="take HSV's V after the resize (Caltech101) or before it (CEP-DVS)"
    )
    size: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="height and width of a stored image in pixels; unset: those of the frames, which all encodings but "
        "saccade and recorded need",
    )
    recorded: SimulationConfig | None = Field(
        None,
        description="the simulated camera that records every image, for train.encoding = recorded; unset: none does",
    )


class ExperimentConfig(Frozen):
    """A whole experiment, the content of a configuration file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the experiment and of its runs")
    demo: DemoConfig | None = Field(None, description="draw the demo's raw data first; leave out for real data")
    simulate: SimulationConfig | None = Field(
        None, description="record the folder of images with a simulated camera first, into the events' folder"
    )
    events: EventsSection
    images: ImagesSection | None = Field(None, description="leave out to train with events alone")
    frames: FramesConfig = FramesConfig()
    conversion: ConversionOptions = ConversionOptions()
    pairing: PairingConfig = PairingConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    baseline: dict[str, Any] | None = Field(
        None,
        description="other values of name, model and train: a second run on the same data, which train and evaluate "
        "make after the first, and report shows beside it",
    )
    LATER = frozenset({"baseline"})

    @model_validator(mode="before")
    @classmethod
    def _released_statistics(cls, values: Any) -> Any:
        """The released combinations have one set of running statistics for both domains."""
        document = values if isinstance(values, Mapping) else {}
        model, train = document.get("model", {}), document.get("train", {})
        if not isinstance(model, Mapping) or not isinstance(train, Mapping) or not train.get("released"):
            return values
        found = model.get("running_statistics", "shared")
        if found != "shared":
            raise ValueError(
                f"train.released = {train['released']} sets model.running_statistics to 'shared', not {found!r}"
            )
        return {**document, "model": {**model, "running_statistics": "shared"}}

    @field_validator("frames")
    @classmethod
    def _has_a_size(cls, frames: FramesConfig) -> FramesConfig:
        if frames.size == 0:
            raise ValueError(
                "resize 'none' leaves images without a size: choose bilinear or sum "
                "(a size of the sensor's own, with crop = false, keeps its pixels)"
            )
        return frames

    @model_validator(mode="after")
    def _simulates_own_images(self) -> Self:
        source = self.images.source if self.images else "none"
        if self.simulate is not None and (self.events.source, source) != ("folder", "image-folder"):
            raise ValueError(
                "simulate records the images of a folder: it needs events.source = 'folder' (and events.raw, where the "
                "recordings are to go) and images.source = 'image-folder'"
            )
        return self

    @model_validator(mode="after")
    def _baseline_is_possible(self) -> Self:
        if others := set(self.baseline or {}) - {"name", "model", "train"}:
            raise ValueError(f"baseline: has name, model and train alone, not {', '.join(sorted(others))}")
        try:
            self.with_baseline()
        except ValidationError as error:
            problems = [_describe(problem, ExperimentConfig) for problem in error.errors()]
            raise ValueError(f"baseline: {'; '.join(problems)}") from None
        return self

    def with_baseline(self) -> tuple[ExperimentConfig, ...]:
        """This configuration without its baseline, and the baseline's where there is one and it is another training.

        `train.options` are a method's: they stay where the baseline's method is the same.
        """
        alone = self.model_copy(update={"baseline": None})
        if self.baseline is None:
            return (alone,)
        document = alone.model_dump(mode="json")
        train = self.baseline.get("train")
        if isinstance(train, Mapping) and train.get("method", self.train.method) != self.train.method:
            document["train"]["options"] = {}
        for key, value in flatten(self.baseline, keep_empty=True).items():
            if problem := set_key(document, key.split("."), value):
                raise ValueError(f"baseline: {key} {problem}")
        other = ExperimentConfig.model_validate(document)
        is_another = other.model_copy(update={"name": self.name}) != alone
        return (alone, other) if is_another else (alone,)

    @model_validator(mode="after")
    def _shows_images_that_fit(self) -> Self:
        size = None if self.images is None else self.images.size
        shows_events = self.train.encoding in ("saccade", "recorded") or self.train.method == "events"
        if size not in (None, self.frames.size) and not shows_events:
            raise ValueError(
                f"images.size = {size} is not the frames' {self.frames.size}, which train.encoding = "
                f"{self.train.encoding} shows beside them: leave it out, or train with train.encoding = saccade"
            )
        return self

    @model_validator(mode="after")
    def _has_recordings_of_images(self) -> Self:
        is_recorded = self.images is not None and self.images.recorded is not None
        if self.train.encoding == "recorded" and self.train.method != "events" and not is_recorded:
            raise ValueError(
                "train.encoding = recorded shows recordings of the images by a simulated camera: say by which, in a "
                "section [images.recorded], then run preprocess"
            )
        return self

    @model_validator(mode="after")
    def _method_has_these_options(self) -> Self:
        if self.train.options and self.train.method in METHOD_NAMES and self.train.sliding in STRATEGIES:
            from ..stages.training.methods import options_of  # which loads torch

            try:
                options_of(self.train)
            except ValidationError as error:
                known = (
                    ", ".join(type(options_of(self.train.model_copy(update={"options": {}}))).model_fields) or "none"
                )
                problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
                raise ValueError(
                    f"train.options of method {self.train.method} ({known}): {problems}; without any: "
                    "--set train.options={}"
                ) from None
        return self

    @model_validator(mode="after")
    def _has_images_to_teach(self) -> ExperimentConfig:
        if self.images is None and self.train.method != "events":
            from ..stages.training.methods import method_class  # which loads torch

            if method_class(self.train.method).uses_images:
                raise ValueError(
                    f"train.method = {self.train.method} needs a section [images]; without one, train with "
                    "train.method = events"
                )
        return self


AnyConfig = str | Path | ExperimentConfig


def load_config(config: AnyConfig, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """A configuration with overrides like "train.epochs=5" (the value in TOML, or a bare word) applied.

    config: a file, the name of a shipped one ("demo"), or a model.
    Raises ConfigError that lists every problem: unreadable file, unknown keys, impossible values.
    """
    if isinstance(config, ExperimentConfig):
        if not overrides:
            return config
        document, where = config.model_dump(mode="json"), config.name
    else:
        path = named_file(config)
        document, where = read_toml(path), str(path)
        if {"axis", "base"} <= document.keys():
            raise ConfigError(
                f"{path}: a study of many trainings, no configuration; try `dvs-transfer study run {path}`"
            )
        look_in(path.resolve().parent)
    return validate(ExperimentConfig, parse_overrides(overrides, document), where)


def named_file(name: str | Path) -> Path:
    """A file, or where the shipped one of this name is looked for: "demo", "studies/demo-ablation"."""
    path = Path(name)
    return path if path.suffix or path.is_absolute() or path.exists() else Path("configs", f"{path}.toml")


def read_toml(path: Path) -> dict[str, Any]:
    """The document of a TOML file. Raises ConfigError: not there, not readable, not TOML.

    The shipped files are found by their name (configs/demo.toml) also where there is no copy of the repository.
    """
    packaged = Path(__file__).parent.parent / path  # configs/demo.toml is part of the package
    try:
        return tomllib.loads(read_document(path if path.exists() else packaged, MAX_CONFIG_BYTES).decode())
    except FileNotFoundError:
        there = sorted(found.name for found in path.parent.glob("*.toml"))
        hint = f"; in {path.parent} there are {', '.join(there)}" if there else ""
        if path.parent == Path("configs") and (close := close_to(path.stem)):
            hint = f"; did you mean {' or '.join(close)}?"
        raise ConfigError(
            f"{path}: no such configuration file{hint}; `dvs-transfer config ls` lists those that are shipped"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is no text; expected a configuration file (TOML)") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; expected a configuration file (TOML)") from None
    except (OSError, DvsTransferError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def validate(model: type[Model], document: Any, where: str = "", what: str = "configuration") -> Model:
    """What a document says. Raises ConfigError: a line for each problem, below one with `where` if that is given."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problems = [_describe(problem, model) for problem in error.errors()]
    raise ConfigError(list_problems(where, what, problems) if where else "\n".join(problems))


def list_problems(where: str, what: str, problems: Sequence[str]) -> str:
    lines = "\n".join(problems).count("\n") + 1  # one may be a list of its own
    count = f"{lines} problem{'s' if lines > 1 else ''}"
    return "\n".join([f"{where}: {count} in the {what}", *(f"  {problem}" for problem in problems)])


def build(model: type[Model], /, **values: Any) -> Model:
    """A model from a command's options; one that was not given (None) keeps the model's default.

    Raises ConfigError, a line for each problem, named as the options are.
    """
    return validate(model, {name: value for name, value in values.items() if value is not None})


def parse_overrides(overrides: Iterable[str], document: dict[str, Any] | None = None) -> dict[str, Any]:
    """A document from texts like "train.epochs=5", or `document` with these set, in place. Raises ConfigError."""
    document = {} if document is None else document
    for override in [overrides] if isinstance(overrides, str) else overrides:
        key, equals, text = override.partition("=")
        parts = [part.strip() for part in key.split(".")]
        if not equals or not all(parts):
            raise ConfigError(f"--set {override}: expected KEY=VALUE, for example --set train.epochs=5")
        try:
            value = tomllib.loads(f"value = {text.strip()}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            value = text.strip()
            if value.startswith(("[", "{")):
                raise ConfigError(
                    f"--set {override}: {value} is not TOML; texts in it need quotes, and the whole another kind of "
                    f"quotes that keep the shell from taking those: --set '{key}=[\"...\"]'"
                ) from None
        if problem := set_key(document, parts, value):
            raise ConfigError(f"--set {override}: {problem}")
    return document


def set_key(document: dict[str, Any], parts: Sequence[str], value: Any) -> str | None:
    """Set the key with these parts, in place; returns what is wrong if it cannot be."""
    for part in parts[:-1]:
        inner = document.setdefault(part, {})
        if not isinstance(inner, dict):
            return f"{part} is a value, not a section"
        document = inner
    if isinstance(document.get(parts[-1]), dict) and not isinstance(value, dict):
        return "is a section, not a value"
    document[parts[-1]] = copy.deepcopy(value)
    return None


def _describe(problem: Any, model: type[BaseModel]) -> str:
    """One line: the key, what is wrong, what was found, and a key of `model` that may have been meant."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = _keys_beside(location, model)
        close = difflib.get_close_matches(location[-1], known, n=1)
        close = close or [f"{name}.{key}" for name in known if key in _keys_beside([name, key], model)]
        hint = f"did you mean {' or '.join(close)}?" if close else f"known keys are {', '.join(known)}"
        return f"{key}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{key}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    is_told = isinstance(problem["input"], dict) or f"found {problem['input']!r}" in message
    found = "" if is_told else f" (found {problem['input']!r})"
    text = f"{message[0].lower()}{message[1:]}{found}"
    return f"{key}: {text}" if key else text


def _keys_beside(location: list[str], model: Any) -> list[str]:
    """The keys that the section of `location` in `model` knows."""
    for part in location[:-1]:  # a key, or an index
        options = _options(model)
        inner = [option.model_fields[part].annotation for option in options if part in _fields(option)]
        inner += [get_args(option)[-1] for option in options if get_origin(option) in (list, dict)]
        model = next(iter(inner), None)
    return next((sorted(_fields(option)) for option in _options(model) if _fields(option)), [])


def _fields(model: Any) -> Mapping[str, Any]:
    return getattr(model, "model_fields", {})


def _options(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    return (annotation,) if get_origin(annotation) in (None, list, dict) else get_args(annotation)
