"""Where recordings and images lie in the space of the aligned features: t-SNE (van der Maaten & Hinton, JMLR 2008).

The features are averaged over time, reduced to at most 50 principal components and embedded together by
scikit-learn, started from the first two components. Distances between far clusters mean little in t-SNE.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import Field

from . import style
from .arrays import Arrays
from .config import EmbeddingConfig
from .results import AnalysisReport, Fields, Progress, Subject

logger = logging.getLogger(__name__)

NUM_COMPONENTS = 50
MAX_IN_LEGEND = 20
NUM_NEIGHBOURS = 10
# Marker of each domain: recordings (1 in the array `domain`) and images (0).
DOMAINS = {1: ("recordings", "o"), 0: ("images", "^")}
TITLE = "Embedding of the aligned features"
READING = (
    "Left, each class should be a cluster of its own, and right, recordings and images should mix in it; distances "
    "between far clusters and the sizes of clusters mean nothing in t-SNE."
)


class Report(AnalysisReport):
    """Arrays: position (n, 2) float32; label (n,); domain (n,), 1 of a recording and 0 of an image; sample_id (n,)."""

    class_names: tuple[str, ...]
    num_points: int = Field(description="recordings, and as many images where there are images")
    num_features: int
    perplexity: float = Field(description="as used; fewer points allow less than what was asked for")
    kl_divergence: float = Field(description="what t-SNE has left of its objective")


@torch.inference_mode()
def measure(subject: Subject, config: EmbeddingConfig, progress: Progress) -> tuple[Fields, Arrays]:
    """Embeds the aligned features, means over time: of the recordings, then of their images where there are some."""
    recordings, images = [], []
    for batch in subject.batches(config.batch_size, "embedding", progress):
        recordings.append(subject.network.with_features(batch.events, "event")[1].mean(0).cpu())
        if batch.photos is not None:
            features = subject.photo_network.with_features(batch.photos, subject.photo_head)[1]
            images.append(features.mean(0).cpu())
    points = torch.cat([*recordings, *images]).numpy()
    position, perplexity, divergence = embed(points, config.perplexity, config.seed)
    count, rows = len(points), subject.rows
    arrays: dict[str, NDArray[Any]] = {
        "position": position,
        "label": np.resize(subject.split.event_labels[rows], count),
        "domain": np.repeat([1, 0], len(rows))[:count],
        "sample_id": np.resize(np.array(subject.split.sample_ids)[rows], count),
    }
    return {
        "class_names": subject.info.class_names,
        "num_points": count,
        "num_features": points.shape[1],
        "perplexity": perplexity,
        "kl_divergence": divergence,
    }, arrays


def embed(features: NDArray[np.float32], perplexity: float, seed: int) -> tuple[NDArray[np.float32], float, float]:
    """Positions (n, 2) of features (n, D), n at least 4; the perplexity used, and the divergence that is left.

    Features that are all equal, as those of a network without a spike, lie at one place: t-SNE would divide by their
    spread, and crash.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    used = min(perplexity, (len(features) - 1) / 3)
    if (features == features[0]).all():
        logger.warning(
            "embedding: the aligned features of all %d points are equal, as where no neuron fires: there is nothing to "
            "tell apart, and all lie at one place",
            len(features),
        )
        return np.zeros((len(features), 2), np.float32), float(used), 0.0
    num_components = min(NUM_COMPONENTS, *features.shape)
    reduced = PCA(num_components, random_state=seed).fit_transform(features)
    tsne = TSNE(perplexity=used, init="pca", random_state=seed, n_jobs=1)
    position = tsne.fit_transform(reduced)
    return position.astype(np.float32), float(used), float(tsne.kl_divergence_)


def draw(report: Report, arrays: Arrays) -> Figure:
    """The points twice: coloured by class, and by domain."""
    position, label, domain = arrays["position"], arrays["label"], arrays["domain"]
    figure = style.new_figure(10, 4.3)
    by_class, by_domain = figure.subplots(1, 2)
    size = 14 if len(position) < 500 else 6
    colours = style.class_colours(len(report.class_names))
    for code, (name, marker) in DOMAINS.items():
        of_domain = domain == code
        by_domain.scatter(
            *position[of_domain].T, s=size, marker=marker, color=style.SERIES[1 - code], alpha=0.7, lw=0, label=name
        )
        point_colours = [colours[index] for index in label[of_domain]]
        by_class.scatter(*position[of_domain].T, s=size, marker=marker, c=point_colours, alpha=0.8, lw=0)
    for index in np.unique(label) if len(report.class_names) <= MAX_IN_LEGEND else ():
        by_class.scatter([], [], s=14, color=colours[index], label=report.class_names[index])
    for axis, text in ((by_class, "by class (circles recordings, triangles images)"), (by_domain, "by domain")):
        style.finish(axis, title=text, xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
        if axis.get_legend_handles_labels()[0]:
            style.legend_beside(axis)
    return figure


def caveat(report: Report, arrays: Arrays) -> str:
    """Of domains that lie apart: they have fewer than half the neighbours of the other domain that they would have if
    they mixed."""
    position = arrays["position"]
    found, mixed = foreign_neighbours(position, arrays["domain"])
    if found >= mixed / 2 or (position == position[0]).all():  # or of equal features: no point is nearer than another
        return ""
    return (
        f"the domains do not mix: of the nearest points {found:.0%} are of the other domain, {mixed:.0%} if they "
        "mixed. t-SNE parts whatever differs throughout, however little: how far apart they are, and what the images "
        "taught, is not to be seen here"
    )


def foreign_neighbours(position: NDArray[Any], domain: NDArray[Any]) -> tuple[float, float]:
    """Share of the other domain among a point's nearest (of few points a quarter of them), mean of all points (n, 2);
    and among all other points, which is what it would be if the domains mixed."""
    from sklearn.neighbors import NearestNeighbors

    count = len(domain)
    num_nearest = min(NUM_NEIGHBOURS, max(1, count // 4))
    near = NearestNeighbors(n_neighbors=num_nearest).fit(position).kneighbors(return_distance=False)
    others = [np.count_nonzero(domain != of) / (count - 1) for of in domain]
    return float((domain[near] != domain[:, None]).mean()), float(np.mean(others))
