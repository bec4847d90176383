"""Few-shot evaluation of a trained network: N classes told apart by k recordings of each, nothing being learned.

The features are those that alignment compares between the domains, before the head, and averaged over time: the head
reads each step and a prediction averages its logits, so time steps count the same here and there, and a recording has
D numbers instead of T * D, whose order in time depends on how fast somebody writes.

The network was trained as a classifier, not in episodes, so this is the Classifier-Baseline of Chen et al. (ICCV 2021),
which takes cosine distance, the default here, too. The length of a feature grows with the number of events, so with how
much ink a drawing has; its direction says which neurons are active. Euclidean distance is what Snell et al. (NeurIPS
2017) found better for networks that are trained in episodes with it.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...cache import durable
from ...cache.digests import fingerprint
from ...cache.documents import read_document
from ...cache.errors import TrainingError
from ...cache.pairs import Reach
from ..batches.data import OpenSplit, PairedSplit, event_frames
from ..batches.loading import load
from ..network.networks import SpikingNetwork
from ..network.runtime import select_device, torch_settings
from ..runs.checkpoint import load_weights, require_same_data, weights_path
from .episodes import Episodes, Pool
from .few_shot_config import NEUTRAL_FIELDS, Distance, FewShotConfig
from .results import weights_digest

ClassSet = Literal["seen", "novel"]

_REVISION = 1  # to be raised when the same settings give other numbers


class FewShotResult(BaseModel):
    """Accuracy of one kind of episode; chance is 1 / way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: ClassSet
    way: int
    shot: int
    accuracy: float = Field(description="mean over the episodes, in [0, 1]")
    interval: tuple[float, float] = Field(
        description="95 %, over episodes from these recordings; it says nothing of other recordings or training seeds"
    )
    num_classes: int = Field(description="classes that the episodes draw from")


class FewShotReport(BaseModel):
    """`<run>/few-shot.json`. fingerprint: of weights, data and settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    weights_digest: str
    split_digest: str
    protocol: str
    photos_in_reach: Reach = Field("unknown", description="of held-out recordings, in what taught the weights")
    method: str
    checkpoint: Literal["best", "last"]
    epoch: int = Field(description="epochs that the weights were trained")
    distance: Distance
    queries: int = Field(description="of each class in an episode")
    episodes: int = Field(description="of each kind")
    seed: int
    results: tuple[FewShotResult, ...]


def run(config: FewShotConfig, open_split: OpenSplit, run_folder: Path) -> FewShotReport:
    """Measure the weights in `run_folder`. The result is kept there, and taken again where nothing has changed.

    Raises TrainingError: no weights, weights of other data, no novel classes, fewer classes or recordings than an
    episode needs.
    """
    device = select_device(config.device)
    with torch_settings(threads=config.threads):
        network, info = load_weights(weights_path(run_folder, config.checkpoint), device)
        novel = open_split("novel")
        require_same_data(info, novel, run_folder)
        weights = weights_digest(run_folder, config.checkpoint)
        identity = {
            "revision": _REVISION,
            "weights": weights,
            "data": novel.fingerprint,
            "settings": config.model_dump(mode="json", exclude=set(NEUTRAL_FIELDS)),
        }
        kept = _kept(run_folder, fingerprint(identity))
        if kept is not None:  # which, of an earlier version, does not say what was in reach
            return kept.model_copy(update={"photos_in_reach": info.photos_in_reach_of(novel)})
        results: list[FewShotResult] = []
        for classes in _class_sets(config, novel, run_folder):
            if classes == "seen":
                support, queries = (_pool(network, open_split(name), config, device) for name in ("train", "test"))
            else:
                support = queries = _pool(network, novel, config, device)
            results += _measure(config, classes, support, queries)
    report = FewShotReport(
        fingerprint=fingerprint(identity),
        weights_digest=weights,
        split_digest=info.split_digest,
        protocol=info.protocol,
        photos_in_reach=info.photos_in_reach_of(novel),
        method=info.method,
        checkpoint=config.checkpoint,
        epoch=info.epoch,
        distance=config.distance,
        queries=config.queries,
        episodes=config.episodes,
        seed=config.seed,
        results=tuple(results),
    )
    durable.write_json(result_path(run_folder), report.model_dump(mode="json"))
    return report


def result_path(run_folder: Path) -> Path:
    return run_folder / "few-shot.json"


def read_few_shot(run_folder: Path) -> FewShotReport:
    """The result that is kept in a run. Raises TrainingError: none there, damaged, or of other weights."""
    path = result_path(run_folder)
    again = f"run `dvs-transfer few-shot {run_folder}`"
    try:
        report = FewShotReport.model_validate_json(read_document(path))
    except FileNotFoundError:
        raise TrainingError(f"{path}: not measured yet; {again}") from None
    except ValidationError as error:
        raise TrainingError(f"{path}: damaged ({error.errors()[0]['msg']}); {again} again") from None
    weights = weights_path(run_folder, report.checkpoint)
    if weights.is_file() and weights_digest(run_folder, report.checkpoint) != report.weights_digest:
        raise TrainingError(f"{path}: of other weights than {weights.name} holds now; {again} again")
    return report


def _kept(run_folder: Path, wanted: str) -> FewShotReport | None:
    try:
        report = read_few_shot(run_folder)
    except TrainingError:
        return None
    return report if report.fingerprint == wanted else None


def _class_sets(config: FewShotConfig, novel: PairedSplit, run_folder: Path) -> tuple[ClassSet, ...]:
    if config.classes == "novel" and not len(novel):
        raise TrainingError(
            f"{run_folder}: trained on all classes, none is novel; name some in pairing.novel_classes, then preprocess "
            "and train again"
        )
    if config.classes == "all":
        return ("seen", "novel") if len(novel) else ("seen",)
    return (config.classes,)


@torch.inference_mode()
def _pool(network: SpikingNetwork, split: PairedSplit, config: FewShotConfig, device: torch.device) -> Pool:
    """The aligned features of a split's recordings, means over time, (n, D)."""
    with closing(load(split, device).in_order(config.batch_size)) as batches:
        features = [network.with_features(event_frames(frames), "event")[1].mean(0).cpu() for frames in batches]
    return Pool(torch.cat(features).numpy().astype(np.float32), split.event_labels)


def _measure(config: FewShotConfig, classes: ClassSet, support: Pool, queries: Pool) -> list[FewShotResult]:
    results = []
    for way in config.ways:
        for shot in config.shots:
            episodes = Episodes(support, queries, way, shot, config.queries)
            accuracy = episodes.measure(config.episodes, config.seed, config.distance)
            results.append(
                FewShotResult(
                    classes=classes,
                    way=way,
                    shot=shot,
                    accuracy=accuracy.mean,
                    interval=(accuracy.low, accuracy.high),
                    num_classes=accuracy.num_classes,
                )
            )
    return results
