"""Results are kept for the same weights, data and settings, and for no others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_networks import NETWORKS, write_run
from tiny_split import TinySplit, open_tiny_split

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.analysis.catalogue import ANALYSES
from dvs_transfer.stages.analysis.config import ActivityConfig, AlignmentConfig, AnalysisConfig, EmbeddingConfig
from dvs_transfer.stages.analysis.results import choose_rows, result_path
from dvs_transfer.stages.runs.checkpoint import weights_path

ACTIVITY, EMBEDDING = ANALYSES["activity"], ANALYSES["embedding"]


def is_kept(folder: Path, config: AnalysisConfig | None = None, **options: Any) -> bool:
    """Whether an activity analysis leaves the result as it is."""
    path = result_path(folder, "activity")
    before = path.stat().st_mtime_ns
    ACTIVITY.run(config or ActivityConfig(), open_tiny_split, folder, **options)
    return path.stat().st_mtime_ns == before


@pytest.fixture
def analysed(run_folder: Path) -> Path:
    ACTIVITY.run(ActivityConfig(), open_tiny_split, run_folder)
    return run_folder


def test_the_same_question_is_answered_at_once(analysed: Path) -> None:
    assert is_kept(analysed)
    assert is_kept(analysed, ActivityConfig(batch_size=3, threads=1, device="cpu"))
    assert not is_kept(analysed, restart=True)
    assert not is_kept(analysed, ActivityConfig(num_recordings=5))
    assert not is_kept(analysed, ActivityConfig(split="test"))


def test_what_is_there_is_read_without_the_right_to_write(analysed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's run: the folder of the lock cannot be written to."""

    def refused(folder: Path, name: str, **options: Any) -> None:
        raise PermissionError(folder)

    monkeypatch.setattr("dvs_transfer.cache.locks.writer_lock", refused)
    assert is_kept(analysed)
    with pytest.raises(PermissionError):
        is_kept(analysed, restart=True)


def test_other_weights_are_measured(analysed: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", NETWORKS["vgg_snn"], seed=2)
    weights_path(other, "best").replace(weights_path(analysed, "best"))
    assert not is_kept(analysed)


def test_weights_that_come_while_it_is_measured_are_measured_again(run_folder: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", NETWORKS["vgg_snn"], seed=2)

    def open_split(name: Any) -> TinySplit:  # a training keeps an epoch
        if weights_path(other, "best").exists():
            weights_path(other, "best").replace(weights_path(run_folder, "best"))
        return open_tiny_split(name)

    ACTIVITY.run(ActivityConfig(), open_split, run_folder)
    with pytest.raises(TrainingError, match="of other weights"):
        ACTIVITY.read(run_folder)
    assert not is_kept(run_folder)
    assert is_kept(run_folder)


def test_a_course_over_epochs_is_told_again_when_there_are_more(run_folder: Path) -> None:
    alignment, metrics = ANALYSES["alignment"], run_folder / "metrics.jsonl"
    before = alignment.run(AlignmentConfig(), open_tiny_split, run_folder).epochs
    last = json.loads(metrics.read_text().splitlines()[-1])
    with metrics.open("a") as file:
        file.write(json.dumps(last | {"epoch": last["epoch"] + 1}) + "\n")
    after = alignment.run(AlignmentConfig(), open_tiny_split, run_folder).epochs
    assert after == (*before, before[-1] + 1)


def test_a_result_of_before_versions_were_so_named_is_kept(analysed: Path) -> None:
    path = result_path(analysed, "activity")
    document = json.loads(path.read_text())
    document["revision"] = document.pop("version")
    path.write_text(json.dumps(document))
    assert is_kept(analysed)
    assert ACTIVITY.read(analysed)[0].version == 2
    del document["weights_digest"]  # of an even earlier version
    path.write_text(json.dumps(document))
    assert is_kept(analysed)
    path.write_text(json.dumps(document | {"epoch": document["epoch"] + 1}))
    with pytest.raises(TrainingError, match="of other weights"):
        ACTIVITY.read(analysed)


def test_a_result_of_other_weights_is_not_shown(analysed: Path) -> None:
    weights_path(analysed, "best").write_bytes(b"trained on")
    with pytest.raises(TrainingError, match=r"of other weights than best\.safetensors holds now; .* analyse activity"):
        ACTIVITY.read(analysed)
    weights_path(analysed, "best").unlink()
    assert ACTIVITY.read(analysed)[0].num_recordings == 12


def test_a_kept_result_of_an_earlier_version_says_what_was_in_reach(analysed: Path) -> None:
    path = result_path(analysed, "activity")
    document = json.loads(path.read_text())
    assert document.pop("photos_in_reach") == "none"
    path.write_text(json.dumps(document))
    assert ACTIVITY.run(ActivityConfig(), open_tiny_split, analysed).photos_in_reach == "none"


def test_results_of_another_version_are_neither_kept_nor_shown(analysed: Path) -> None:
    path = result_path(analysed, "activity")
    document = json.loads(path.read_text())
    assert document["version"] == ACTIVITY.version
    unknown = {key: value for key, value in document.items() if key != "version"}
    for old in (document | {"version": 1}, unknown, unknown | {"revision": 1}):
        path.write_text(json.dumps(old))
        with pytest.raises(TrainingError, match="of another version"):
            ACTIVITY.read(analysed)
        assert not is_kept(analysed)


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"analysis": "activity"}', b"\xff"])
def test_a_damaged_result_is_said_to_be_one_and_measured_again(damage: bytes, analysed: Path) -> None:
    result_path(analysed, "activity").write_bytes(damage)
    with pytest.raises(TrainingError, match=r"activity\.json: damaged.* run `dvs-transfer analyse activity"):
        ACTIVITY.read(analysed)
    assert not is_kept(analysed)


@pytest.mark.parametrize("damage", ["gone", "cut", "of another result"])
def test_arrays_that_do_not_belong_to_the_result_are_not_used(damage: str, run_folder: Path) -> None:
    config = EmbeddingConfig(num_recordings=4)
    expected = EMBEDDING.run(config, open_tiny_split, run_folder)
    path = result_path(run_folder, "embedding", ".npz")
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    else:
        np.savez(path, **{name: np.zeros(3) for name in expected.arrays}, fingerprint="other")
    with pytest.raises(TrainingError, match=r"embedding\.(json: damaged|npz: no such result).* analyse embedding"):
        EMBEDDING.read(run_folder)
    EMBEDDING.run(config, open_tiny_split, run_folder)
    _, arrays = EMBEDDING.read(run_folder)
    assert arrays["position"].shape == (8, 2)


def test_only_the_split_that_was_asked_for_is_opened(run_folder: Path) -> None:
    opened: list[str] = []

    def open_split(name: str) -> TinySplit:
        opened.append(name)
        return open_tiny_split(name)

    assert ACTIVITY.run(ActivityConfig(), open_split, run_folder).split == "validation"
    assert opened == ["validation"]
    assert ACTIVITY.run(ActivityConfig(split="test"), open_split, run_folder).num_recordings == 16
    assert opened == ["validation", "test"]


def test_wrong_input(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"best\.safetensors: no such checkpoint"):
        ACTIVITY.run(ActivityConfig(), open_tiny_split, tmp_path)
    with pytest.raises(TrainingError, match=r"trained on split 0123456789ab .* found split other"):
        ACTIVITY.run(ActivityConfig(), lambda name: replace(open_tiny_split(name), split_digest="other"), run_folder)
    with pytest.raises(TrainingError, match=r"the test split has no recordings; .*--split"):
        ACTIVITY.run(
            ActivityConfig(split="test"), lambda _: replace(open_tiny_split("test"), num_recordings=0), run_folder
        )


def test_a_run_without_validation_is_looked_at_with_what_it_was_trained_on(run_folder: Path) -> None:
    def open_split(name: str) -> TinySplit:
        return replace(open_tiny_split(name), num_recordings=0) if name == "validation" else open_tiny_split(name)

    report = ACTIVITY.run(ActivityConfig(), open_split, run_folder)
    assert (report.split, report.settings["split"], report.num_recordings) == ("train", "train", 24)
    (run_folder / "config.json").write_text("{}}")
    with pytest.raises(TrainingError, match=r"config\.json: damaged"):
        ACTIVITY.run(ActivityConfig(), open_tiny_split, run_folder)


def test_rows_are_drawn_by_the_seed_the_classes_in_turn() -> None:
    labels = np.repeat(np.arange(4), [20, 10, 5, 2])
    rows = choose_rows(labels, 12, seed=0)
    assert len(set(rows.tolist())) == 12
    assert np.bincount(labels[rows]).tolist() == [4, 3, 3, 2]
    assert sorted(labels[rows[:4]].tolist()) == [0, 1, 2, 3]
    assert np.array_equal(rows, choose_rows(labels, 12, seed=0))
    assert not np.array_equal(rows, choose_rows(labels, 12, seed=1))
    assert sorted(choose_rows(labels, 99, seed=0).tolist()) == list(range(37))
