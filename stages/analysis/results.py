"""What an analysis is, what it looks at, and its result, made once: `<run>/analysis/<name>.json`, `<name>.npz`."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, Field
from torch import Tensor

from ...cache import durable
from ...cache.digests import file_digest, fingerprint
from ...cache.documents import read_document
from ...cache.errors import TrainingError, command_line
from ...cache.locks import once
from ...cache.paired import PairedBatch, PairedCache
from ...cache.pairs import Reach, Split
from ..batches.data import OpenSplit, encode_images
from ..network.config import ARCHITECTURES
from ..network.layers import Domain
from ..network.networks import SpikingNetwork
from ..network.prediction import adapted
from ..network.runtime import select_device, torch_settings
from ..runs.checkpoint import (
    CheckpointInfo,
    CheckpointName,
    has_other_weights,
    load_weights,
    require_same_data,
    weights_digest,
    weights_path,
)
from ..runs.metrics import metrics_path
from ..saccades.pixels import Camera
from ..training.config import TrainConfig, read_training
from ..training.methods import photo_head_of
from .arrays import Arrays, read_arrays, write_arrays
from .config import AnalysisConfig

Fields = dict[str, Any]
IntArray = NDArray[np.int64]

_ADAPTED_TO, _ADAPTED_AT_ONCE = 256, 64  # photos

# Shows how many of so many pieces are done; yields the function to call after each.
Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


def no_progress(label: str, total: int) -> AbstractContextManager[Callable[[], None]]:
    return nullcontext(lambda: None)


class Samples(NamedTuple):
    """Recordings and their images as the network takes them, on its device.

    events, photos: (T, B, 2, H, W) float32; labels: (B,). An image is the recording's own photo where there is one,
    else one of its class (see `PairedCache`); None where there are no images.
    """

    events: Tensor
    photos: Tensor | None
    labels: Tensor


@dataclass(frozen=True)
class Subject:
    """A network in evaluation mode, where it comes from, and `rows` of a split in the order of `choose_rows`.

    training: the run's own settings; None for imported weights. open_split: opens others of the same data.
    """

    network: SpikingNetwork
    info: CheckpointInfo
    training: TrainConfig | None
    open_split: OpenSplit
    split: PairedCache
    rows: IntArray
    device: torch.device
    folder: Path
    fingerprint: str

    @cached_property
    def photo_network(self) -> SpikingNetwork:
        """The network for photos: its batch norms use statistics of the split's photos instead of the running ones.

        Those are of recordings in the end: sliding replaces the static branch's photos, and other methods have no
        static branch. Photos that are normalised with them are all named alike.
        """
        rows = choose_rows(self.split.event_labels, _ADAPTED_TO, seed=0)
        parts = np.array_split(rows, -(-len(rows) // _ADAPTED_AT_ONCE))
        photos = (self.read(part).photos for part in parts)
        return adapted(self.network, (part for part in photos if part is not None), self.photo_head)

    @property
    def shows_event_frames(self) -> bool:
        """Whether photos are shown as what a camera sees of them, which is other frames at each step."""
        return self.training is not None and self.training.encoding in ("saccade", "recorded")

    def read(self, rows: IntArray) -> Samples:
        batch = self.split.read(rows)
        photos = self._photos(batch, rows) if self.split.has_images else None
        return Samples(batch["events"].to(self.device).transpose(0, 1), photos, batch["label"].to(self.device))

    def _photos(self, batch: PairedBatch, rows: IntArray) -> Tensor:
        """Frames (T, B, 2, H, W) of the samples' images, as training shows them."""
        encoding = "value" if self.training is None else self.training.reads
        if encoding == "recorded":
            return torch.from_numpy(self.split.read_recorded(rows)).float().to(self.device).transpose(0, 1)
        images = batch["value"]
        if encoding == "strokes":
            images = torch.from_numpy(self.split.read_strokes(rows))
        elif encoding != "value":
            images = torch.from_numpy(encode_images(self.split.read_images(rows), encoding))
        num_steps, num_polarities, size = batch["events"].shape[1:4]
        if self.training is None or self.training.encoding != "saccade":
            shown = images.to(self.device).expand(-1, num_polarities, -1, -1)
            return shown.expand(num_steps, -1, -1, -1, -1)
        camera = Camera(self.training.saccade, num_steps, size)
        # Each is drawn by its row, on the CPU: the same in whatever batch and on whatever device.
        drawn = [
            camera.record(image[None], torch.Generator().manual_seed(int(row)))
            for image, row in zip(images, rows, strict=True)
        ]
        return torch.cat(drawn).to(self.device).transpose(0, 1)

    def batches(self, batch_size: int, label: str, progress: Progress) -> Iterator[Samples]:
        """All rows, in batches of about equal size, at most `batch_size`."""
        parts = np.array_split(self.rows, -(-len(self.rows) // batch_size))
        with progress(label, len(parts)) as advance:
            for part in parts:
                yield self.read(part)
                advance()

    def require(self, count: int) -> None:
        """Raise TrainingError unless there are at least `count` recordings."""
        if len(self.rows) < count:
            raise TrainingError(
                f"this analysis needs at least {count} recordings, it has {len(self.rows)}: raise --num-recordings, or "
                f"name a larger split with --split"
            )

    @property
    def photo_head(self) -> Domain:
        """The head that was trained to name images."""
        return photo_head_of(self.training, self.info.method)


def choose_rows(labels: IntArray, limit: int, seed: int) -> IntArray:
    """At most `limit` rows of labels (n,), the classes in turn, so that every part of them is mixed."""
    order = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        of_class = labels[order] == label
        turn[of_class] = np.arange(np.count_nonzero(of_class))
    chosen: IntArray = order[np.argsort(turn, kind="stable")][:limit]
    return chosen


class AnalysisReport(BaseModel, frozen=True, extra="forbid"):
    """What every result says of itself. fingerprint: of the analysis' version, weights, data and settings."""

    analysis: str
    version: int = Field(validation_alias=AliasChoices("version", "revision"))  # its name in earlier results
    fingerprint: str
    settings: dict[str, Any]
    split: str
    num_recordings: int
    checkpoint: CheckpointName
    epoch: int = Field(description="epochs that the weights were trained")
    weights_digest: str | None = Field(None, description="of the checkpoint's file; none in earlier results")
    method: str
    protocol: str
    photos_in_reach: Reach = Field("unknown", description="of held-out recordings, in what taught the weights")
    split_digest: str
    arrays: tuple[str, ...] = Field(description="names of the arrays in the .npz; empty: there is no such file")
    selection: str | None = Field(None, description="how the `best` epoch was chosen; none in earlier results")
    note: str = Field("", description="what could not be measured for this run, and why")
    seconds: float


def name_weights(checkpoint: CheckpointName, selection: str | None) -> str:
    """Weights in words: where nothing is selected, `best` is the last epoch's. selection: None: it is not known."""
    return "last epoch's weights" if "last" in (checkpoint, selection) else "best weights"


@dataclass(frozen=True)
class Analysis:
    """One analysis of a trained network: how it is measured, kept, read and drawn.

    version: to be raised when `measure` finds something else than before; results of another one are neither used nor
    shown. config, report: its settings and its result. draw: None of one that is numbers alone; it is not among "all
    analyses". reading: how to read it, for a report; caveat: where the picture of one result misleads, "" where it does
    not. needs_images: it says nothing of a run without images. needs_known_layers: it looks into layers, and a user's
    network may have others. reads_metrics: it also shows what the epochs noted. min_recordings: fewer are refused.
    """

    name: str
    version: int
    config: type[AnalysisConfig]
    report: type[AnalysisReport]
    measure: Callable[[Subject, Any, Progress], tuple[Fields, Arrays]]
    draw: Callable[[Any, Arrays], Figure] | None
    title: str
    reading: str
    caveat: Callable[[Any, Arrays], str] | None = None
    needs_images: bool = False
    needs_known_layers: bool = False
    reads_metrics: bool = False
    min_recordings: int = 1

    def suits(self, split: PairedCache, network: str | None) -> bool:
        """Whether it is among "all analyses", and says something of a run with these data and the network of this name.

        split: any of the run's; network: None where it is not known.
        """
        is_known = network is None or network in ARCHITECTURES
        return (
            self.draw is not None
            and (split.has_images or not self.needs_images)
            and (is_known or not self.needs_known_layers)
        )

    def exists(self, run_folder: Path) -> bool:
        """Whether the run folder holds a result."""
        return result_path(run_folder, self.name).is_file()

    def read(self, run_folder: Path) -> tuple[Any, Arrays]:
        """The kept report and its arrays.

        Raises TrainingError: there is no result, or it is damaged, of another version or of other weights.
        """
        path = result_path(run_folder, self.name)
        again = f"run `{command_line('analyse', self.name, run_folder)}`"
        try:
            report = self.report.model_validate_json(read_document(path))
            if report.version != self.version:
                raise ValueError(f"version {report.version}, expected {self.version}")
            arrays = read_arrays(path.with_suffix(".npz"), report.fingerprint, report.arrays) if report.arrays else {}
        except FileNotFoundError as error:
            raise TrainingError(f"{error.filename}: no such result; {again}") from None
        except (ValueError, KeyError, OSError, EOFError, BadZipFile, zlib.error) as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(f"{path}: damaged, or of another version ({reason}); {again}") from None
        if has_other_weights(run_folder, report.checkpoint, report.weights_digest, report.epoch):
            name = weights_path(run_folder, report.checkpoint).name
            raise TrainingError(f"{path}: of other weights than {name} holds now; {again} again")
        return report, arrays

    def run(
        self,
        config: AnalysisConfig,
        open_split: OpenSplit,
        run_folder: Path,
        *,
        restart: bool = False,
        progress: Progress = no_progress,
    ) -> Any:
        """The kept result where version, weights, data and settings are the same, else a new one, which is kept.

        Raises TrainingError: no weights, weights of other data, a split without recordings; and what `measure` raises.
        """
        device = select_device(config.device)
        with torch_settings(threads=config.threads):
            # Before they are read: a training may replace them meanwhile.
            digest_of_weights = weights_digest(run_folder, config.checkpoint)
            network, info = load_weights(weights_path(run_folder, config.checkpoint), device)
            asked: Any = getattr(config, "split", None)
            begins: dict[Any, tuple[Split, ...]] = {"auto": ("validation", "train"), None: ("novel", "test")}
            for name in begins.get(asked, (asked,)):
                split = open_split(name)
                if len(split):
                    break
            require_same_data(info, split, run_folder)
            if not len(split):
                raise TrainingError(f"the {name} split has no recordings; name another one with --split")
            settings = config.model_dump(mode="json")
            if "split" in settings:
                settings["split"] = name
            origin = {
                "analysis": self.name,
                "revision": self.version,  # so called in the fingerprints of earlier versions' results
                "weights": digest_of_weights,
                "data": [split.fingerprint, split.split_digest],
                "settings": {key: value for key, value in settings.items() if key not in config.neutral},
            }
            if self.reads_metrics and metrics_path(run_folder).is_file():
                origin["metrics"] = file_digest(metrics_path(run_folder))
            digest, reach = fingerprint(origin), info.photos_in_reach_of(split)
            rows = choose_rows(split.event_labels, settings.get("num_recordings", len(split)), config.seed)
            training = read_training(run_folder)
            subject = Subject(network, info, training, open_split, split, rows, device, run_folder, digest)
            told: Fields = {
                "analysis": self.name,
                "version": self.version,
                "fingerprint": digest,
                "settings": settings,
                "split": name,
                "num_recordings": len(rows),
                "checkpoint": config.checkpoint,
                "weights_digest": digest_of_weights,
                **{field: getattr(info, field) for field in ("epoch", "method", "protocol")},
                "photos_in_reach": reach,
                "selection": info.selection,
                "split_digest": split.split_digest,
            }
            report, _ = once(
                run_folder / "analysis",
                self.name,
                lambda: None if restart else self._kept(run_folder, digest),
                lambda: self._make(subject, config, told, restart, progress),
            )
        # An earlier version's result may not say these.
        return report.model_copy(update={"photos_in_reach": reach, "selection": info.selection})

    def _kept(self, run_folder: Path, digest: str) -> Any:
        """The result that is there, if it is the one of this fingerprint."""
        with suppress(TrainingError):
            kept = self.read(run_folder)[0]
            return kept if kept.fingerprint == digest else None

    def _make(self, subject: Subject, config: AnalysisConfig, told: Fields, restart: bool, progress: Progress) -> Any:
        """Measure, and keep what was found with what is `told` of it; earlier results go, with `restart` all."""
        for suffix in (".json", ".npz", ".png", *((".jsonl",) if restart else ())):
            result_path(subject.folder, self.name, suffix).unlink(missing_ok=True)
        subject.require(self.min_recordings)
        began = time.perf_counter()
        found, arrays = self.measure(subject, config, progress)
        measured: Fields = {"arrays": tuple(arrays), "seconds": time.perf_counter() - began}
        report = self.report(**told | measured | found)
        if arrays:
            write_arrays(result_path(subject.folder, self.name, ".npz"), subject.fingerprint, arrays)
        durable.write_json(result_path(subject.folder, self.name), report.model_dump(mode="json"))
        return report


def result_path(run_folder: Path, name: str, suffix: str = ".json") -> Path:
    return run_folder / "analysis" / f"{name}{suffix}"
