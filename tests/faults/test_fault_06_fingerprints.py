"""Fault 6: every field of every configuration model changes a fingerprint, or is declared to change no result.

Fields are found by introspection: a new one is changed here by itself, or the test says that it needs an example.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import raw_data
from fault_injection import Tally
from photo_stores import ids, write_store
from pydantic import BaseModel
from raw_data import write_raw_data

from dvs_transfer.cache import durable
from dvs_transfer.cache.errors import ConfigError
from dvs_transfer.pipeline.config import EventsSection, ExperimentConfig, ImagesSection
from dvs_transfer.pipeline.experiment import _conversion_config as conversion_config
from dvs_transfer.pipeline.experiment import run_folder
from dvs_transfer.pipeline.notes import note_paths
from dvs_transfer.pipeline.workspace import Workspace
from dvs_transfer.stages import demo, pairing
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConversionOptions
from dvs_transfer.stages.demo import DemoConfig
from dvs_transfer.stages.evaluation.config import EvaluateConfig
from dvs_transfer.stages.frames.spec import FramesConfig, ImagesConfig
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.pairing_config import PairingConfig, SplitFile
from dvs_transfer.stages.saccades.config import SaccadeConfig
from dvs_transfer.stages.simulation import SimulationConfig
from dvs_transfer.stages.sources import open_source
from dvs_transfer.stages.sources.base import Windows
from dvs_transfer.stages.training.config import NEUTRAL_TRAIN_FIELDS, TrainConfig

# What changes no result that is kept: where things lie, how hard a run looks, how fast it is. An evaluation's settings
# are no part of a run or a store; they stand in the evaluation itself.
NEUTRAL: dict[type[BaseModel], frozenset[str]] = {
    ConversionOptions: frozenset({"strict"}),
    DemoConfig: frozenset({"out"}),
    EvaluateConfig: frozenset(EvaluateConfig.model_fields),
    EventsSection: frozenset({"raw"}),
    ImagesSection: frozenset({"raw"}),
    SplitFile: frozenset({"files"}),
    TrainConfig: NEUTRAL_TRAIN_FIELDS,
}
# Fields that no rule of `another_value` changes, or that mean something beside others only: the others, and two values.
EXAMPLES: dict[tuple[type[BaseModel], str], tuple[dict[str, Any], Any, Any]] = {
    (FramesConfig, "window_us"): ({"mode": "window"}, 1000, 2000),
    (Windows, "every_us"): ({"length_us": 1000}, 1000, 2000),
    (Windows, "length_us"): ({"every_us": 1000}, 1000, 2000),
    (FramesConfig, "mode"): ({}, "time", "exact"),
    (ModelConfig, "widths"): ({}, None, [8, "P", 8, "P"]),
    (ModelConfig, "name"): ({}, "vgg_snn", "resnet18"),
    (ModelConfig, "options"): ({"name": "tiny_networks:tiny_network"}, {}, {"seed": 3}),
    (TrainConfig, "released"): ({}, None, "without_v"),
    (TrainConfig, "method"): ({}, "transfer", "events"),
    (TrainConfig, "sliding"): ({}, "power", "linear"),
    (TrainConfig, "options"): ({"sliding": "math:sqrt"}, {}, {"late": 2}),
    (TrainConfig, "pretrain_epochs"): ({"method": "finetune"}, None, 3),
    (TrainConfig, "epoch_steps"): ({}, None, 3),
    (TrainConfig, "device"): ({}, "auto", "cpu"),
    (TrainConfig, "trackers"): ({}, (), ("mlflow",)),
    (EvaluateConfig, "device"): ({}, "auto", "cpu"),
    (PairingConfig, "train_per_class"): ({}, None, 2),
    (PairingConfig, "subset_seed"): ({}, None, 2),
    (PairingConfig, "split"): ({"train": 0.8, "validation": 0.1, "test": 0.1}, "hash", "official"),
    (PairingConfig, "group"): ({}, None, "[0-9]$"),
    (SplitFile, "digest"): ({}, "0123", "4567"),
    (SplitFile, "files"): ({"digest": "0123"}, {"": "list.csv"}, {"": "elsewhere/list.csv"}),
    (PairingConfig, "image_classes"): ({}, {}, {"ant": "ant"}),
    (PairingConfig, "novel_classes"): ({}, (), ("cat",)),
    (FramesConfig, "sensor_size"): ({}, None, (240, 180)),
    (FramesConfig, "columns"): ({}, "auto", "xytp"),
    (EventsSection, "source"): ({}, "ncaltech101", "cepdvs"),
    (ImagesSection, "source"): ({}, "caltech101", "cepdvs-images"),
    (ImagesSection, "size"): ({}, None, 96),
    (SaccadeConfig, "motion"): ({}, "saccades", "loop"),
}
SENSOR = {"sensor_width": 32, "sensor_height": 24}
BASES: dict[type[BaseModel], dict[str, Any]] = {
    DemoConfig: {
        "out": Path("demo"),
        "images_per_class": 1,
        "pairs_per_class": 1,
        "simulation": {"sensor_width": 32, "sensor_height": 24},
    },
    SimulationConfig: SENSOR,
    PairingConfig: {"train": 0.6, "validation": 0.2, "test": 0.2},
    EventsSection: {"source": "ncaltech101", "raw": "events"},
    ImagesSection: {"source": "caltech101", "raw": "images"},
}


def another_value(annotation: Any, value: Any) -> Any:
    """A value that differs from `value`, for the common types. Raises LookupError for others."""
    if get_origin(annotation) is Literal:
        return next(choice for choice in get_args(annotation) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, tuple) and value and all(isinstance(bound, float) for bound in value):
        return tuple(bound + 0.01 for bound in value)
    if isinstance(value, float):
        return value * 0.9 if value else 0.1
    if isinstance(value, Path):
        return value / "elsewhere"
    raise LookupError


def changes(model: type[BaseModel], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two sets of fields for `model` that differ in `name` alone."""
    base = BASES.get(model, {})
    if (model, name) in EXAMPLES:
        others, first, second = EXAMPLES[model, name]
        return {**base, **others, name: first}, {**base, **others, name: second}
    value = getattr(model.model_validate(base), name)
    try:
        return base, {**base, name: another_value(model.model_fields[name].annotation, value)}
    except LookupError:
        pytest.fail(f"{model.__name__}.{name} is new: give two values of it in EXAMPLES")


def is_model(field: Any) -> bool:
    return any(
        isinstance(kind, type) and issubclass(kind, BaseModel)
        for kind in (field.annotation, *get_args(field.annotation))
    )


def models_below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from models_below(kind)


MODELS = sorted({*models_below(ExperimentConfig), ImagesConfig} - {ExperimentConfig}, key=lambda model: model.__name__)
FIELDS = [(model, name) for model in MODELS for name, field in model.model_fields.items() if not is_model(field)]


class Identities:
    """What tells two configurations apart, for each model: a store's or run's name, or a refusal to mix two."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder)
        self._raw = write_raw_data(folder / "raw")
        photos = ids(("ant", "bee", "cat"), [f"{number:02d}" for number in range(10)])
        recordings = [name.replace("/", "/test/" if name.endswith(("8", "9")) else "/train/") for name in photos]
        self._events = write_store(
            self.workspace.cache, "events", recordings, class_of=lambda name: name.partition("/")[0]
        )
        self._images = write_store(self.workspace.cache, "images", photos)
        self._pairs = self._pair({}).name
        self._demo = DemoConfig.model_validate(BASES[DemoConfig] | {"out": folder / "demo"})
        demo.run(self._demo)

    def of(self, model: type[BaseModel], values: dict[str, Any]) -> str:
        match model.__name__:
            case "FramesConfig":
                return self._recipe("ncaltech101", frames=values)
            case "ConversionOptions":
                return self._recipe("ncaltech101", conversion=values) + self._recipe("caltech101", conversion=values)
            case "ImagesConfig":
                return self._recipe("caltech101", images=values)
            case "PairingConfig":
                return self._pair(values).name
            case "SplitFile":
                return note_paths(self._experiment({"pairing": {"split_file": values}}), self.workspace)[0].name
            case "DemoConfig":
                return self._drawn({**values, "out": self._demo.out})
            case "SimulationConfig":
                return self._drawn({**self._demo.model_dump(), "simulation": values})
            case "EventsSection":
                config = self._experiment({"events": values})
                return str(conversion_config(config, self.workspace, config.events).for_kind("events"))
            case "Windows":
                config = self._experiment({"frames": {"windows": values}, "events": {"source": "segments", "raw": "r"}})
                return str(conversion_config(config, self.workspace, config.events).for_kind("events"))
            case "ImagesSection":
                config = self._experiment({"images": values, "train": {"encoding": "saccade"}})
                return str(conversion_config(config, self.workspace, config.images).for_kind("images"))
            case "ModelConfig":
                return self._run({"model": values})
            case "TrainConfig":
                return self._run({"train": values})
            case "LossConfig":
                return self._run({"train": {"loss": values}})
            case "AugmentationConfig":
                return self._run({"train": {"augmentation": values}})
            case "SaccadeConfig":
                return self._run({"train": {"encoding": "saccade", "saccade": values}})
            case "UnlabelledConfig":
                return self._run({"train": {"unlabelled": values}})
            case "StrongView":
                return self._run({"train": {"unlabelled": {"strong": values}}})
            case "EvaluateConfig":
                return self._run({"evaluate": values})
        pytest.fail(f"{model.__name__} is new: say here what tells two of them apart")

    def _recipe(self, source: str, **values: Any) -> str:
        settings = raw_data.config(self._raw, self.workspace.cache, source, **values)
        return conversion.plan_layout(settings, open_source(source, settings.raw)).recipe

    def _pair(self, values: dict[str, Any]) -> Path:
        return pairing.run(PairingConfig(**values), self._events, self._images, self.workspace.cache).path

    def _drawn(self, values: dict[str, Any]) -> str:
        try:
            assert demo.run(DemoConfig.model_validate(values)).up_to_date
        except ConfigError as error:
            return str(error)
        return "as it was drawn"

    def _experiment(self, values: dict[str, Any]) -> ExperimentConfig:
        sections = {"events": BASES[EventsSection], "images": BASES[ImagesSection]}
        return ExperimentConfig.model_validate({"name": "tiny", **sections, **values})

    def _run(self, values: dict[str, Any]) -> str:
        config = self._experiment(values)
        note, _ = note_paths(config, self.workspace)
        note.parent.mkdir(exist_ok=True)
        durable.write_json(note, {"pairs": self._pairs})
        return run_folder(config, self.workspace).name


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    return Identities(tmp_path_factory.mktemp("identities"))


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value))
def test_a_field_is_in_the_fingerprint_or_declared_neutral(
    model: type[BaseModel], name: str, tally: Tally, identities: Identities
) -> None:
    first, second = changes(model, name)
    with tally.attempt():
        assert identities.of(model, first) == identities.of(model, first)
        is_same = identities.of(model, first) == identities.of(model, second)
        assert is_same == (name in NEUTRAL.get(model, ())), (first, second)


def test_what_is_declared_neutral_exists() -> None:
    for model, names in NEUTRAL.items():
        assert names <= model.model_fields.keys()
        assert model in MODELS
