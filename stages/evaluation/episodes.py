"""N-way k-shot episodes on features: which recordings an episode draws, and how many of its queries it names rightly.

An episode draws N classes, k recordings of each as the support and others as queries. A query is given the class whose
mean support feature (its prototype) is nearest (prototypical networks, Snell et al., NeurIPS 2017, equations 1 and 2).
Plain arrays in, seeded, no files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import TrainingError
from .few_shot_config import Distance

Features = NDArray[np.float32]
IntArray = NDArray[np.int64]

_Z_95 = 1.96  # normal quantile of a two-sided 95 % interval


@dataclass(frozen=True)
class Pool:
    """Features (n, D) and labels (n,) of the recordings that supports or queries are drawn from."""

    features: Features
    labels: IntArray

    def rows_of(self, label: int) -> IntArray:
        return np.flatnonzero(self.labels == label)


@dataclass(frozen=True)
class Accuracy:
    """Mean over episodes, and its 95 % interval (normal): over episodes that draw from the same recordings."""

    mean: float
    low: float
    high: float
    num_classes: int


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
        if len(self.classes) < self.way:
            from_one = self.support is self.queries
            needed = (
                f"{self.shot} + {self.num_queries} recordings"
                if from_one
                else f"{self.shot} training and {self.num_queries} test recordings"
            )
            raise TrainingError(
                f"{self.way}-way {self.shot}-shot episodes need {self.way} classes with {needed} each, "
                f"{len(self.classes)} of {len(np.unique(self.queries.labels))} have them; lower --ways, --shots or "
                "--queries"
            )

    @property
    def classes(self) -> list[int]:
        """The labels that have enough recordings."""
        extra = self.num_queries if self.support is self.queries else 0
        return [
            int(label)
            for label in np.unique(self.queries.labels)
            if len(self.support.rows_of(label)) >= self.shot + extra
            and len(self.queries.rows_of(label)) >= self.num_queries
        ]

    def draw(self, count: int, seed: int) -> Iterator[tuple[IntArray, IntArray]]:
        """Rows of the support (way, shot) and of the queries (way, num_queries), row i of both being one class's."""
        rng = np.random.default_rng([seed, self.way, self.shot])
        classes = self.classes
        support = {label: self.support.rows_of(label) for label in classes}
        queries = {label: self.queries.rows_of(label) for label in classes}
        for _ in range(count):
            chosen = rng.choice(classes, self.way, replace=False).tolist()
            if self.support is self.queries:
                drawn = [rng.choice(support[label], self.shot + self.num_queries, replace=False) for label in chosen]
                yield np.stack(drawn)[:, : self.shot], np.stack(drawn)[:, self.shot :]
            else:
                yield (
                    np.stack([rng.choice(support[label], self.shot, replace=False) for label in chosen]),
                    np.stack([rng.choice(queries[label], self.num_queries, replace=False) for label in chosen]),
                )

    def measure(self, count: int, seed: int, distance: Distance) -> Accuracy:
        """The accuracy over `count` episodes, at least 2."""
        shares = np.array(
            [
                share_right(self.support.features[support], self.queries.features[queries], distance)
                for support, queries in self.draw(count, seed)
            ]
        )
        mean, margin = float(shares.mean()), float(_Z_95 * shares.std(ddof=1) / np.sqrt(count))
        return Accuracy(mean, max(0.0, mean - margin), min(1.0, mean + margin), len(self.classes))


def share_right(support: Features, queries: Features, distance: Distance) -> float:
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
