"""What a trained network says of recordings that nobody labelled.

They are read, checked and cut into frames as the recordings that it was trained on, and named as `evaluation` names
them: by the largest mean of the logits over time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..cache.errors import SourceError, TrainingError
from .batches.loading import OnDevice
from .evaluation.config import WAYS, EvaluateConfig, Heads, Precision
from .evaluation.precision import in_precision
from .evaluation.views import predict_views, scores_after_steps, with_heads
from .frames.binning import make_frames
from .frames.spec import FramesConfig
from .network.runtime import select_device, torch_settings
from .runs.checkpoint import CheckpointInfo, load_weights, weights_path
from .sources import open_files
from .sources.base import AtisRecords, Sample
from .sources.reader import Reader
from .sources.tree import FolderTree, is_clutter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """How a run's recordings were read and cut: a source's name, the frames' configuration and, where it is known,
    the sensor (width, height) in pixels that frames with `crop = false` show."""

    source: str
    frames: FramesConfig
    sensor_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Guess:
    """A class and its probability in [0, 1], the softmax of its score. Not calibrated."""

    predicted: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """best: the most probable classes of a recording, the first one is its name.

    after_step: (T,) the most probable class of the scores of steps 1 to t alone; the last one is best[0].
    """

    file: str
    best: tuple[Guess, ...]
    after_step: tuple[Guess, ...]


@dataclass(frozen=True)
class PredictionReport:
    """predictions: in the order of the files. refused: file -> what is wrong with it. source: whose reader read them.

    epoch: of the weights. precision, heads, shifts: how the network was asked, as in `EvaluateConfig`.
    """

    predictions: tuple[Prediction, ...]
    refused: dict[str, str]
    source: str
    checkpoint: str
    epoch: int
    precision: Precision
    heads: Heads
    shifts: int


def run(
    config: EvaluateConfig, recipe: Recipe, files: Sequence[Path], run_folder: Path, top: int = 1
) -> PredictionReport:
    """Name recordings, files or folders of them, by the weights in `run_folder`; `top`: how many classes for each.

    A file that cannot be read is told in the report. Writes nothing; `config.split` says nothing here.
    Raises TrainingError: no weights, weights for other frames than the recipe's, or `config.adapt`. SourceError: a
    folder without files, or a source whose recordings are no files.
    """
    if config.adapt:
        raise TrainingError(
            "evaluate.adapt = true: naming files reads no other recordings that statistics could be taken of; name "
            "with evaluate.adapt = false, or train with train.unlabelled.adapt = true, which keeps them in the weights"
        )
    device = select_device(config.device)
    with torch_settings(threads=config.threads):
        network, info = load_weights(weights_path(run_folder, config.checkpoint), device)
        shape = (info.num_steps, 2, info.size, info.size)
        if recipe.frames.frame_shape((info.size, info.size)) != shape:
            raise TrainingError(f"{run_folder}: its weights take {shape}, its recordings were cut to {recipe.frames}")
        scored = in_precision(with_heads(network, info, run_folder, config), config.precision)
        reader = open_files(recipe.source, list_files(files), recipe.frames.time_unit, recipe.frames.columns)
        predictions: list[Prediction] = []
        refused: dict[str, str] = {}
        readable = _read(reader, recipe, refused)
        while part := list(islice(readable, config.batch_size)):
            frames = torch.from_numpy(np.stack([frames for _, frames in part]).astype(np.float32)).to(device)
            views = predict_views(scored, OnDevice(frames, torch.zeros(len(part))), config)
            scores = scores_after_steps(views).transpose(0, 1).cpu()
            predictions += [_name(file, of_file, info, top) for (file, _), of_file in zip(part, scores, strict=True)]
    ways = {way: getattr(config, way) for way in WAYS if way != "adapt"}
    return PredictionReport(tuple(predictions), refused, recipe.source, config.checkpoint, info.epoch, **ways)


def list_files(paths: Sequence[Path]) -> list[Path]:
    """The files as they are given, and those in and below the folders, by name. Raises SourceError: an empty folder."""
    found: list[Path] = []
    for path in paths:
        below = sorted(FolderTree(path).files_below("")) if path.is_dir() else [""]
        here = [path / name for name in below if not any(map(is_clutter, name.split("/")))]
        if not here:
            raise SourceError(f"{path}: no file in this folder; name recordings, or a folder of them")
        found += here
    return list(dict.fromkeys(found))


def _read(reader: Reader, recipe: Recipe, refused: dict[str, str]) -> Iterator[tuple[str, NDArray[Any]]]:
    """The files that can be read with their frames (T, 2, H, W); the others are put into `refused`."""
    for sample in reader.samples:
        try:
            yield sample.location, _frames(reader, sample, recipe)
        except SourceError as error:
            refused[sample.location] = str(error)


def _frames(reader: Reader, sample: Sample, recipe: Recipe) -> NDArray[Any]:
    data = reader.read_content(sample)
    recording = reader.decode(sample, data)
    assert not isinstance(recording, np.ndarray)
    if not isinstance(recording, AtisRecords) and recording.assumed:
        logger.warning("%s: %s", sample.location, recording.assumed)
    frames = make_frames(recording, recipe.frames, reader.sensor_size, sample.location)
    if not isinstance(data, bytes):
        data.require_unchanged()
    if not recipe.frames.crop and frames.extent != recipe.sensor_size:
        known = recipe.sensor_size or "is not known without their store"
        raise SourceError(
            f"{sample.location}: its sensor has {frames.extent[0]} x {frames.extent[1]} pixels, that of the run's "
            f"recordings {known}; with crop = false all need the same"
        )
    return frames.data


def _name(file: str, scores: Tensor, info: CheckpointInfo, top: int) -> Prediction:
    """scores: (T, num_classes) after steps 1 to t, as `scores_after_steps` gives them."""
    probabilities = scores.double().softmax(1)
    order = scores.argsort(dim=1, descending=True, stable=True)  # of equal ones the first, as argmax takes it

    def guess(step: int, rank: int) -> Guess:
        label = int(order[step, rank])
        return Guess(info.class_names[label], float(probabilities[step, label]))

    best = tuple(guess(-1, rank) for rank in range(min(top, len(info.class_names))))
    return Prediction(file, best, tuple(guess(step, 0) for step in range(len(scores))))
