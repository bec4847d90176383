"""Few-shot evaluation of a trained network: N classes told apart by k recordings of each, nothing being learned.

An episode draws N classes, k recordings of each as the support and others as queries. A query is given the class whose
mean support feature (its prototype) is nearest (prototypical networks, Snell et al., NeurIPS 2017, equations 1 and 2).

The features are those that alignment compares between the domains, before the head, and averaged over time, as a
prediction averages the logits: D numbers a recording, whatever the speed of writing.

The network was trained as a classifier, not in episodes, so this is the Classifier-Baseline of Chen et al. (ICCV 2021),
which takes cosine distance, the default here, too: the length of a feature grows with the number of events, its
direction says which neurons are active. Snell et al. found Euclidean distance better for training in episodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from ...cache.documents import Frozen
from ...cache.errors import TrainingError
from ...cache.pairs import Split, has_groups
from ..batches.data import event_frames
from ..batches.loading import load
from .arrays import Arrays
from .config import Distance, FewShotConfig
from .results import AnalysisReport, Fields, Progress, Subject

IntArray = NDArray[np.int64]
ClassSet = Literal["seen", "novel"]

# Where the support and the queries of a set of classes come from.
_SPLITS: dict[ClassSet, tuple[Split, Split]] = {"seen": ("train", "test"), "novel": ("novel", "novel")}
_Z_95 = 1.96  # normal quantile of a two-sided 95 % interval
TITLE = "Few-shot"
READING = (
    "A query is given the class whose mean support feature is nearest. Seen classes were trained on: support from "
    "training recordings, queries from test recordings. Nothing was learned of novel classes. Intervals are over "
    "episodes from these recordings; they say nothing of other recordings or training seeds."
)


class FewShotResult(Frozen):
    """Accuracy of one kind of episode; chance is 1 / way."""

    classes: ClassSet
    way: int
    shot: int
    accuracy: float = Field(description="mean over the episodes, in [0, 1]")
    interval: tuple[float, float] = Field(
        description="95 %, normal, over episodes from these recordings; it says nothing of others or of training seeds"
    )
    num_classes: int = Field(description="classes that the episodes draw from")


class Report(AnalysisReport):
    """Results by class set, ways and shots. num_recordings: of all splits that were drawn from."""

    distance: Distance
    queries: int = Field(description="of each class in an episode")
    episodes: int = Field(description="of each kind")
    seed: int
    results: tuple[FewShotResult, ...]


def measure(subject: Subject, config: FewShotConfig, progress: Progress) -> tuple[Fields, Arrays]:
    """Raises TrainingError: no novel classes, fewer classes or recordings than an episode needs."""
    has_novel = len(subject.open_split("novel")) > 0
    if config.classes == "novel" and not has_novel:
        raise TrainingError(
            f"{subject.folder}: trained on all classes, none is novel; name some in pairing.novel_classes, then "
            "preprocess and train again"
        )
    num_classes = subject.open_split("train").num_classes
    if max(config.ways) > num_classes:
        raise TrainingError(f"--ways {max(config.ways)}: the data have {num_classes} classes; give at most so many")
    chosen: list[ClassSet] = [name for name in _SPLITS if config.classes == name]
    if config.classes == "all":
        chosen = ["seen", "novel"] if has_novel else ["seen"]
    pools: dict[Split, Pool] = {}
    results: list[FewShotResult] = []
    with progress("few-shot", len(chosen)) as advance:
        for classes in chosen:
            for name in dict.fromkeys(_SPLITS[classes]):
                pools[name] = _pool(subject, name, config.batch_size)
            support, queries = (pools[name] for name in _SPLITS[classes])
            results += measure_episodes(config, classes, support, queries)
            advance()
    return {
        **{name: getattr(config, name) for name in ("distance", "queries", "episodes", "seed")},
        "split": ", ".join(pools),
        "num_recordings": sum(len(pool.labels) for pool in pools.values()),
        "results": results,
        "note": _note(subject) if "novel" in chosen else "",
    }, {}


def _note(subject: Subject) -> str:
    """Of groups, which a split keeps on one side, as its name then says, and episodes do not know."""
    is_grouped = has_groups(subject.open_split("novel").protocol)
    return "episodes of novel classes draw single recordings, maybe of one group on both sides" if is_grouped else ""


@dataclass(frozen=True)
class Pool:
    """Features (n, D) and labels (n,) of the recordings that supports or queries are drawn from."""

    features: NDArray[np.float32]
    labels: IntArray


@torch.inference_mode()
def _pool(subject: Subject, split: Split, batch_size: int) -> Pool:
    """The aligned features of a split's recordings, means over time, (n, D)."""
    recordings = subject.open_split(split)
    with closing(load(recordings, subject.device).in_order(batch_size)) as batches:
        features = [subject.network.with_features(event_frames(batch), "event")[1].mean(0).cpu() for batch in batches]
    return Pool(torch.cat(features).numpy().astype(np.float32), recordings.event_labels)


def measure_episodes(config: FewShotConfig, classes: ClassSet, support: Pool, queries: Pool) -> list[FewShotResult]:
    """A result for each number of ways with each number of shots. Raises TrainingError as `Episodes` does."""
    results = []
    for way, shot in product(config.ways, config.shots):
        episodes = Episodes(support, queries, way, shot, config.queries)
        accuracy, interval = episodes.measure(config.episodes, config.seed, config.distance)
        kind: Fields = {"classes": classes, "way": way, "shot": shot, "num_classes": len(episodes.rows)}
        results.append(FewShotResult(accuracy=accuracy, interval=interval, **kind))
    return results


@dataclass(frozen=True)
class Episodes:
    """Episodes of `way` classes with `shot` support and `num_queries` query recordings of each.

    Where `queries` is the pool `support` itself, no recording is both in an episode.
    Raises TrainingError when fewer than `way` classes have as many recordings.
    """

    support: Pool
    queries: Pool
    way: int
    shot: int
    num_queries: int

    def __post_init__(self) -> None:
        if len(self.rows) < self.way:
            kinds = (" +", "") if self.support is self.queries else (" training and", " test")
            raise TrainingError(
                f"{self.way}-way {self.shot}-shot episodes need {self.way} classes with {self.shot}{kinds[0]} "
                f"{self.num_queries}{kinds[1]} recordings each, {len(self.rows)} of "
                f"{len(np.unique(self.queries.labels))} have them; lower --ways, --shots or --queries"
            )

    @cached_property
    def rows(self) -> dict[int, tuple[IntArray, IntArray]]:
        """The rows in both pools of each class that has enough recordings."""
        pools, labels = (self.support, self.queries), np.unique(self.queries.labels).tolist()
        found = {label: tuple(np.flatnonzero(pool.labels == label) for pool in pools) for label in labels}
        needed = self.shot + (self.num_queries if self.support is self.queries else 0)
        return {label: (a, b) for label, (a, b) in found.items() if len(a) >= needed and len(b) >= self.num_queries}

    def draw(self, count: int, seed: int) -> Iterator[tuple[IntArray, IntArray]]:
        """Rows of the support (way, shot) and of the queries (way, num_queries), row i of both being one class's."""
        rng = np.random.default_rng([seed, self.way, self.shot])

        def draw_each(rows: list[IntArray], number: int) -> IntArray:
            return np.stack([rng.choice(own, number, replace=False) for own in rows])

        for _ in range(count):
            chosen = rng.choice(list(self.rows), self.way, replace=False).tolist()
            support, queries = ([self.rows[label][side] for label in chosen] for side in (0, 1))
            if self.support is self.queries:
                drawn = draw_each(support, self.shot + self.num_queries)
                yield drawn[:, : self.shot], drawn[:, self.shot :]
            else:
                yield draw_each(support, self.shot), draw_each(queries, self.num_queries)

    def measure(self, count: int, seed: int, distance: Distance) -> tuple[float, tuple[float, float]]:
        """The accuracy over `count` episodes, at least 2, and its interval (see `FewShotResult`)."""
        features = self.support.features, self.queries.features
        drawn = self.draw(count, seed)
        shares = np.array([share_right(features[0][rows], features[1][asked], distance) for rows, asked in drawn])
        mean, margin = float(shares.mean()), float(_Z_95 * shares.std(ddof=1) / np.sqrt(count))
        return mean, (max(0.0, mean - margin), min(1.0, mean + margin))


def share_right(support: NDArray[np.float32], queries: NDArray[np.float32], distance: Distance) -> float:
    """Share of queries (N, q, D) whose nearest prototype, of support (N, k, D), is their own class's.

    Of prototypes that are equally near the first one counts. A feature of zeros is as near to all, by cosine.
    """
    prototypes = support.astype(np.float64).mean(1)
    points = queries.astype(np.float64)
    if distance == "cosine":
        nearness = _unit(points) @ _unit(prototypes).T
    else:  # |q - p|^2 without the |q|^2 that all prototypes share
        nearness = 2 * points @ prototypes.T - (prototypes**2).sum(1)
    own = np.arange(len(support))[:, None]
    return float((nearness.argmax(2) == own).mean())


def _unit(features: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(features, length, out=np.zeros_like(features), where=length > 0)
    return unit
