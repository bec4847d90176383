from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import NETWORKS, write_run
from tiny_run import changed, train
from tiny_split import open_tiny_split

from dvs_transfer.stages.analysis import embedding
from dvs_transfer.stages.analysis.catalogue import ANALYSES
from dvs_transfer.stages.analysis.config import EmbeddingConfig
from dvs_transfer.stages.analysis.embedding import caveat, embed, foreign_neighbours

run, read = ANALYSES["embedding"].run, ANALYSES["embedding"].read


def test_clusters_stay_apart_and_a_seed_repeats_itself() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 80)).astype(np.float32)
    features[20:] += 10
    position, perplexity, _ = embed(features, 30, seed=3)
    assert perplexity == 13
    first, second = position[:20], position[20:]
    radius = max(np.linalg.norm(part - part.mean(0), axis=1).mean() for part in (first, second))
    assert np.linalg.norm(first.mean(0) - second.mean(0)) > 2 * radius
    assert np.array_equal(position, embed(features, 30, seed=3)[0])


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_equal_features_lie_at_one_place(value: float, caplog: pytest.LogCaptureFixture) -> None:
    position, _, divergence = embed(np.full((12, 20), value, np.float32), 30, seed=0)
    assert (position.shape, position.any(), divergence) == ((12, 2), False, 0)
    assert "all 12 points are equal" in caplog.text


def test_points_are_recordings_then_their_images(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", NETWORKS["resnet18"])
    report = run(EmbeddingConfig(num_recordings=8), open_tiny_split, folder)
    _, arrays = read(folder)
    assert (report.num_recordings, report.num_points, report.num_features) == (8, 16, 6)
    assert arrays["position"].shape == (16, 2)
    assert np.isfinite(arrays["position"]).all()
    assert arrays["domain"].tolist() == [1] * 8 + [0] * 8
    assert np.bincount(arrays["label"]).tolist() == [4, 4, 4, 4]  # classes in turn
    names = [report.class_names[label] for label in arrays["label"]]
    assert [sample_id.split("/")[0] for sample_id in arrays["sample_id"]] == names


@pytest.mark.parametrize("method", ["transfer", "events", "finetune"])
def test_images_have_features_of_their_own_under_every_method(method: str, tmp_path: Path, monkeypatch) -> None:
    """Normalised with the recordings' statistics, or with ones that no training updated, they would all be alike."""
    train(tmp_path, changed(method=method, epochs=4))
    seen: list[np.ndarray] = []
    monkeypatch.setattr(
        embedding, "embed", lambda features, *rest: seen.append(features) or (features[:, :2], 5.0, 0.0)
    )
    run(EmbeddingConfig(num_recordings=8), open_tiny_split, tmp_path)
    recordings, images = np.split(seen[0], 2)
    assert images.std(0).mean() > 0.1 * recordings.std(0).mean() > 0
    assert torch.from_numpy(images).isfinite().all()


@pytest.mark.parametrize(
    ("images", "shift"), [(30, 0.0), (30, 50.0), (3, 50.0), (12, 0.0), (12, 1.0), (3, 0.0), (0, 0.0)]
)
def test_neighbours_of_the_other_domain(images: int, shift: float) -> None:
    """Against distances of all to all."""
    rng = np.random.default_rng(images)
    domain = np.repeat([1, 0], [30, images])
    position = rng.normal(size=(len(domain), 2)).astype(np.float32)
    position[30:] += np.float32(shift)
    distance = np.linalg.norm(position[:, None].astype(float) - position, axis=-1)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1)[:, : min(10, len(domain) // 4)]
    found, mixed = foreign_neighbours(position, domain)
    assert found == pytest.approx(np.mean([[domain[j] != domain[i] for j in row] for i, row in enumerate(nearest)]))
    pairs = [domain[i] != domain[j] for i in range(len(domain)) for j in range(len(domain)) if i != j]
    assert mixed == pytest.approx(np.mean(pairs))
    report: Any = None
    said = caveat(report, {"position": position, "domain": domain})
    assert ("the domains do not mix" in said) == (shift == 50)
    assert (said == "") == (found >= mixed / 2)


def test_points_at_one_place_are_not_called_apart() -> None:
    report: Any = None
    domain = np.repeat([1, 0], 20)
    assert caveat(report, {"position": np.zeros((40, 2), np.float32), "domain": domain}) == ""
