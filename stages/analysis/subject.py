"""A trained network with the recordings and photos of the split that it is looked at with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from ...cache.documents import read_json
from ...cache.errors import TrainingError
from ...cache.paired import PairedCache
from ..batches.data import OpenSplit, encode_images
from ..network.layers import Domain
from ..network.networks import SpikingNetwork
from ..network.prediction import adapted
from ..runs.checkpoint import CheckpointInfo
from ..training.config import TrainConfig
from ..training.methods import method_class

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

    def read(self, rows: IntArray) -> Samples:
        batch = self.split.read(rows)
        photos = None
        if self.split.has_images:
            encoding = "value" if self.training is None else self.training.encoding
            images = batch["value"]
            if encoding != "value":
                images = torch.from_numpy(encode_images(self.split.read_images(rows), encoding))
            num_steps, num_polarities = batch["events"].shape[1:3]
            photos = images.to(self.device).expand(-1, num_polarities, -1, -1).expand(num_steps, -1, -1, -1, -1)
        return Samples(batch["events"].to(self.device).transpose(0, 1), photos, batch["label"].to(self.device))

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
        """The head that was trained to name images: their own, but for methods that train one head alone."""
        return "static" if self.info.method == "imported" else method_class(self.info.method).photo_head


def choose_rows(labels: IntArray, limit: int, seed: int) -> IntArray:
    """At most `limit` rows of labels (n,), the classes in turn, so that every part of them is mixed."""
    order = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        of_class = labels[order] == label
        turn[of_class] = np.arange(np.count_nonzero(of_class))
    chosen: IntArray = order[np.argsort(turn, kind="stable")][:limit]
    return chosen


def read_training(run_folder: Path) -> TrainConfig | None:
    """The settings that a run was trained with; None for imported weights. Raises TrainingError: damaged."""
    path = run_folder / "config.json"
    try:
        document = read_json(path)
        section = document.get("experiment", document).get("train")
        return None if section is None else TrainConfig.model_validate(section)
    except FileNotFoundError:
        raise TrainingError(f"{run_folder}: no run here (it has no config.json); train first") from None
    except (ValueError, AttributeError, ValidationError) as error:
        raise TrainingError(f"{path}: damaged, or of another version ({error}); train again") from None
