"""Few-shot episodes: against a naive second implementation, against chance, and what they may draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_run import train
from tiny_split import SPLIT_SIZES, TinySplit

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.analysis import few_shot
from dvs_transfer.stages.analysis.catalogue import ANALYSES
from dvs_transfer.stages.analysis.config import FewShotConfig
from dvs_transfer.stages.analysis.few_shot import Episodes, Pool, share_right
from dvs_transfer.stages.analysis.results import result_path

run, read = ANALYSES["few-shot"].run, ANALYSES["few-shot"].read


def pool(num_classes: int = 8, per_class: int = 10, spread: float = 1.0, seed: int = 0, shuffled: bool = False) -> Pool:
    """Points around a place of each class's own, in no order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(num_classes), per_class))
    centres = np.random.default_rng(1).normal(size=(num_classes, 6))
    features = centres[labels] + spread * rng.normal(size=(len(labels), 6))
    return Pool(features.astype(np.float32), rng.permutation(labels) if shuffled else labels)


# The arithmetic


def naive_share(support: Any, queries: Any, distance: str) -> float:
    """Number by number, as the paper writes it."""
    right = total = 0
    for label, of_class in enumerate(queries.tolist()):
        for query in of_class:
            distances = []
            for examples in support.tolist():
                prototype = [sum(values) / len(examples) for values in zip(*examples, strict=True)]
                if distance == "euclidean":
                    distances.append(sum((q - p) ** 2 for q, p in zip(query, prototype, strict=True)))
                else:
                    dot = sum(q * p for q, p in zip(query, prototype, strict=True))
                    lengths = sum(q * q for q in query) ** 0.5 * sum(p * p for p in prototype) ** 0.5
                    distances.append(1 - (dot / lengths if lengths else 0))
            right += distances.index(min(distances)) == label
            total += 1
    return right / total


@settings(max_examples=60, deadline=None)
@given(
    way=st.integers(2, 6),
    shot=st.integers(1, 4),
    queries=st.integers(1, 4),
    seed=st.integers(0, 999),
    distance=st.sampled_from(["cosine", "euclidean"]),
)
def test_it_is_the_naive_one(way: int, shot: int, queries: int, seed: int, distance: Any) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(way, 1, 5))
    support, asked = (
        (centres + rng.normal(size=(way, n, 5))).astype(np.float32).astype(np.float32) for n in (shot, queries)
    )
    assert share_right(support, asked, distance) == pytest.approx(naive_share(support, asked, distance), abs=1e-12)


def test_distances_differ_where_lengths_do() -> None:
    support = np.array([[[1, 0]], [[4, 4]]], np.float32)
    queries = np.array([[[9, 1]], [[1, 2]]], np.float32)  # by direction the first's and the second's; by place not
    assert share_right(support, queries, "cosine") == 1.0
    assert share_right(support, queries, "euclidean") == 0.0


def test_silent_features_are_chance() -> None:
    nothing = np.zeros((5, 3, 4), np.float32)
    for distance in ("cosine", "euclidean"):
        assert share_right(nothing, nothing, distance) == 1 / 5


# The episodes


def test_an_episode_draws_what_it_should() -> None:
    support, queries = pool(seed=2), pool(seed=3)
    for rows, asked in Episodes(support, queries, 5, 2, 3).draw(50, 0):
        assert rows.shape == (5, 2)
        assert asked.shape == (5, 3)
        assert len(set(rows.flat)) == 10
        assert len(set(asked.flat)) == 15
        classes = support.labels[rows]
        assert (classes == classes[:, :1]).all()
        assert (queries.labels[asked] == classes[:, :1]).all()
        assert len(set(classes[:, 0])) == 5


def test_no_recording_is_support_and_query_at_once() -> None:
    novel = pool(per_class=6)
    drawn = list(Episodes(novel, novel, 8, 2, 4).draw(50, 0))
    for rows, asked in drawn:
        assert len(set(rows.flat) | set(asked.flat)) == 48
    used = np.bincount(np.concatenate([rows.ravel() for rows, _ in drawn]), minlength=48)
    assert used.min() > 0  # every recording has its turn


def test_the_seed_decides_the_episodes() -> None:
    novel = pool()
    first, again, other = (
        [rows.tolist() for rows, _ in Episodes(novel, novel, 4, 1, 2).draw(9, seed)] for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("way", [2, 5, 20])
def test_shuffled_features_give_chance(way: int, distance: Any) -> None:
    mixed = pool(num_classes=25, per_class=20, shuffled=True)
    episodes = Episodes(mixed, mixed, way, 5, 5)
    assert episodes.measure(400, 0, distance)[0] == pytest.approx(1 / way, abs=0.03)
    assert len(episodes.rows) == 25


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_more_shots_are_better_and_more_ways_harder(distance: Any) -> None:
    novel = pool(num_classes=25, per_class=20)
    accuracy = {
        (way, shot): Episodes(novel, novel, way, shot, 5).measure(300, 0, distance)[0]
        for way in (5, 20)
        for shot in (1, 5)
    }
    assert accuracy[5, 5] > accuracy[5, 1] > accuracy[20, 1]
    assert accuracy[5, 5] > accuracy[20, 5] > accuracy[20, 1] > 1 / 20


def test_the_interval_covers_the_accuracy_of_many_more_episodes() -> None:
    novel = pool(num_classes=12, per_class=12)
    truth = Episodes(novel, novel, 5, 1, 5).measure(20_000, 99, "cosine")[0]
    found = [Episodes(novel, novel, 5, 1, 5).measure(100, seed, "cosine")[1] for seed in range(60)]
    covered = np.mean([low <= truth <= high for low, high in found])
    assert 0.85 <= covered <= 1
    assert 0.01 < np.mean([high - low for low, high in found]) < 0.1


def test_too_few_classes_or_recordings_are_told() -> None:
    novel = pool(num_classes=6, per_class=6)
    with pytest.raises(TrainingError, match=r"20-way 1-shot episodes need 20 classes with 1 \+ 5 rec.*, 6 of 6 have"):
        Episodes(novel, novel, 20, 1, 5)
    with pytest.raises(TrainingError, match=r"2-way 5-shot .* with 5 \+ 5 recordings each, 0 of 6 have"):
        Episodes(novel, novel, 2, 5, 5)
    with pytest.raises(TrainingError, match=r"with 7 training and 5 test recordings each, 0 of 6"):
        Episodes(novel, pool(num_classes=6), 2, 7, 5)


@pytest.mark.parametrize("options", [{"ways": (1,)}, {"shots": (0,)}, {"ways": ()}, {"distance": "taxi"}])
def test_impossible_episodes_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FewShotConfig(**options)


# A run


SMALL = FewShotConfig(ways=(2, 4), shots=(1, 2), queries=2, episodes=40, threads=1)
NUM_NOVEL = 16


def open_split(name: str) -> TinySplit:
    return TinySplit(name, NUM_NOVEL if name == "novel" else SPLIT_SIZES[name])


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(folder, open_split=open_split)
    return folder


def test_a_run_is_measured_on_seen_and_novel_classes(run_folder: Path) -> None:
    report = run(SMALL, open_split, run_folder)
    kinds = [(entry.classes, entry.way, entry.shot) for entry in report.results]
    assert kinds == [(classes, way, shot) for classes in ("seen", "novel") for way in (2, 4) for shot in (1, 2)]
    for entry in report.results:
        assert entry.interval[0] <= entry.accuracy <= entry.interval[1]
        assert entry.num_classes == 4
        assert entry.accuracy > 1 / entry.way + 0.1  # bars are easy to tell apart
    assert (report.split, report.num_recordings) == ("train, test, novel", 24 + 16 + NUM_NOVEL)
    assert read(run_folder)[0] == report
    assert report.note == ""


@pytest.mark.parametrize("named", ["groups by user", "official split, whole recordings"])
def test_it_is_said_that_episodes_know_no_groups(named: str, run_folder: Path) -> None:
    def grouped(name: str) -> TinySplit:
        return TinySplit(name, len(open_split(name)), protocol=f"disjoint, {named}")

    assert "maybe of one group on both sides" in run(SMALL, grouped, run_folder, restart=True).note
    seen = FewShotConfig(**{**SMALL.model_dump(), "classes": "seen"})
    assert run(seen, grouped, run_folder, restart=True).note == ""


def test_the_features_are_those_of_alignment_averaged_over_time(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from dvs_transfer.stages.runs.checkpoint import load_weights, weights_path

    measured: list[tuple[Pool, Pool]] = []
    monkeypatch.setattr(few_shot, "measure_episodes", lambda config, classes, *pools: measured.append(pools) or [])
    run(SMALL.model_copy(update={"seed": 5, "batch_size": 5}), open_split, run_folder)
    network, _ = load_weights(weights_path(run_folder, "best"), torch.device("cpu"))
    for found, name in zip([*measured[0], measured[1][0]], ("train", "test", "novel"), strict=True):
        events = torch.from_numpy(open_split(name).load_events()).float().transpose(0, 1)
        with torch.no_grad():
            expected = network.with_features(events, "event")[1].mean(0)
        np.testing.assert_allclose(found.features, expected.numpy(), atol=1e-5)
        assert found.labels.tolist() == open_split(name).event_labels.tolist()
    assert measured[1][0] is measured[1][1]


def test_a_result_is_taken_again_until_weights_data_or_settings_change(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    measure = few_shot.measure_episodes

    def counted(config: Any, classes: Any, *pools: Pool) -> Any:
        calls.append(classes)
        return measure(config, classes, *pools)

    monkeypatch.setattr(few_shot, "measure_episodes", counted)
    config = SMALL.model_copy(update={"classes": "novel", "seed": 7})
    first = run(config, open_split, run_folder)
    assert run(config.model_copy(update={"batch_size": 3}), open_split, run_folder) == first
    assert calls == ["novel"]
    run(config.model_copy(update={"distance": "euclidean"}), open_split, run_folder)
    run(config, lambda name: TinySplit(name, NUM_NOVEL, fingerprint="other"), run_folder)
    assert calls == ["novel"] * 3
    result_path(run_folder, "few-shot").write_text("{")
    with pytest.raises(TrainingError, match=r"few-shot\.json: damaged.* run `dvs-transfer analyse few-shot"):
        read(run_folder)
    run(config, open_split, run_folder)
    assert calls == ["novel"] * 4


def test_a_kept_result_of_an_earlier_version_says_what_was_in_reach(run_folder: Path) -> None:
    first = run(SMALL, open_split, run_folder)
    assert first.photos_in_reach == "none"
    result_path(run_folder, "few-shot").write_text(first.model_dump_json(exclude={"photos_in_reach"}))
    assert run(SMALL, open_split, run_folder) == first


def test_a_result_of_other_weights_is_refused(run_folder: Path) -> None:
    report = run(SMALL, open_split, run_folder)
    changed = report.model_copy(update={"weights_digest": "xxh3:0"})
    result_path(run_folder, "few-shot").write_text(changed.model_dump_json())
    with pytest.raises(TrainingError, match=r"of other weights than best\.safetensors holds now"):
        read(run_folder)
    again = run(SMALL, open_split, run_folder)
    assert again.model_copy(update={"seconds": report.seconds}) == report


def test_novel_classes_are_asked_for_where_there_are_none(run_folder: Path) -> None:
    def without(name: str) -> TinySplit:
        return TinySplit(name, 0 if name == "novel" else SPLIT_SIZES[name], fingerprint="without")

    with pytest.raises(TrainingError, match=r"none is novel; name some in pairing\.novel_classes"):
        run(SMALL.model_copy(update={"classes": "novel"}), without, run_folder)
    report = run(SMALL, without, run_folder)
    assert {entry.classes for entry in report.results} == {"seen"}
    with pytest.raises(TrainingError, match="no such checkpoint"):
        run(SMALL, without, run_folder / "nowhere")
