"""From a configuration to its stores and run: found by what decides them, and by nothing else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import snapshot
from raw_data import write_raw_data
from tiny import RAW, merged

from dvs_transfer.cache.errors import ConfigError, StoreError, TrainingError
from dvs_transfer.pipeline import experiment
from dvs_transfer.pipeline.config import ExperimentConfig, validate
from dvs_transfer.pipeline.experiment import find_pairs, preprocess, read_run, run_folder, train
from dvs_transfer.pipeline.notes import note_paths
from dvs_transfer.pipeline.workspace import PAIR_NOTES, Workspace
from dvs_transfer.stages.runs.origin import origin_of
from dvs_transfer.stages.tasks import run_serially
from dvs_transfer.stages.training import loop

BASE = merged(
    RAW, name="small", frames={"num_bins": 2, "size": 8}, pairing={"train": 0.4, "validation": 0.3, "test": 0.3}
)


def config(**sections: Any) -> ExperimentConfig:
    """The base with some sections, or keys of them, replaced."""
    return validate(ExperimentConfig, merged(BASE, sections), "test")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """With raw data alone."""
    workspace = Workspace(tmp_path / "my röot")
    write_raw_data(workspace.raw)
    return workspace


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("made") / "my röot")
    write_raw_data(workspace.raw)
    preprocess(config(), workspace, run_serially)
    return workspace


@pytest.fixture
def preprocessed(made_once: Workspace, tmp_path: Path) -> Workspace:
    """A copy of one that is preprocessed."""
    return Workspace(Path(shutil.copytree(made_once.root, tmp_path / "my röot")))


def test_workspaces_that_share_a_cache_and_name_their_data_alike_keep_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paths of a configuration are below each one's root; one without the raw data takes what was made first."""
    shared = tmp_path / "caches"
    one, two, none = (Workspace(tmp_path / name, shared) for name in ("one", "two", "none"))
    write_raw_data(one.raw)
    write_raw_data(two.raw)
    extra = next((two.raw / RAW["events"]["raw"]).rglob("*.bin"))
    extra.write_bytes(extra.read_bytes()[:-50])
    own = [preprocess(config(), workspace, run_serially).pairs.path for workspace in (one, two)]
    assert own[0] != own[1]
    assert [find_pairs(config(), workspace) for workspace in (one, two, none)] == [*own, own[0]]
    assert preprocess(config(), one, run_serially).pairs.path == own[0]
    assert find_pairs(config(), two) == own[1]
    write_raw_data((three := Workspace(tmp_path / "three", shared)).raw)
    with pytest.raises(StoreError, match="no data for this configuration"):
        find_pairs(config(), three)
    with monkeypatch.context() as read_only:  # whoever may not note anything takes what was noted
        read_only.setattr(os, "access", lambda path, mode: path != shared)
        assert find_pairs(config(), three) == own[0]
    note_paths(config(), one)[1].write_text("{")
    with pytest.raises(StoreError, match="damaged; run `dvs-transfer preprocess` again"):
        find_pairs(config(), none)
    preprocess(config(), three, run_serially)
    assert find_pairs(config(), none) == find_pairs(config(), three)


def test_the_note_of_an_earlier_version_in_a_shared_cache_is_used(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "one", tmp_path / "caches")
    write_raw_data(workspace.raw)
    made = preprocess(config(), workspace, run_serially).pairs.path
    own, anyones = note_paths(config(), workspace)
    own.unlink()
    note = json.loads(anyones.read_text())
    assert note.pop("found")
    anyones.write_text(json.dumps(note))
    assert find_pairs(config(), workspace) == made


def test_preprocess_makes_the_stores_and_finds_them_again(workspace: Workspace) -> None:
    first = preprocess(config(), workspace, run_serially)
    assert first.demo is None
    assert first.events.was_built
    assert first.images.was_built
    assert (first.pairs.num_train, first.pairs.num_validation, first.pairs.num_test) == (6, 4, 4)
    assert first.pairs.num_with_photo == 14
    assert first.picture.is_file()
    assert find_pairs(config(), workspace) == first.pairs.path
    before = {name: entry for name, entry in snapshot(workspace.root).items() if "recipes" not in name}
    again = preprocess(config(), workspace, run_serially)
    assert not again.events.was_built
    assert not again.images.was_built
    assert again.pairs == first.pairs
    files = {name for name in before if (workspace.root / name).is_file()}
    after = snapshot(workspace.root)
    assert {name: after[name] for name in files} == {name: before[name] for name in files}
    assert after.keys() - before.keys() == {name for name in after if "recipes" in name}


def test_another_configuration_makes_only_what_it_needs(preprocessed: Workspace) -> None:
    first = preprocess(config(), preprocessed, run_serially)
    other = preprocess(config(frames={"num_bins": 3}), preprocessed, run_serially)
    assert other.events.path != first.events.path
    assert (other.images.path, other.images.was_built) == (first.images.path, False)
    split = preprocess(config(pairing={"seed": 1}), preprocessed, run_serially)
    assert (split.events.was_built, split.images.was_built) == (False, False)
    assert split.pairs.path not in (first.pairs.path, other.pairs.path)
    assert find_pairs(config(), preprocessed) == first.pairs.path


def test_changed_raw_data_lead_to_other_stores(preprocessed: Workspace) -> None:
    first = preprocess(config(), preprocessed, run_serially)
    recording = preprocessed.raw / "events" / "Caltech101" / "ant" / "image_0001.bin"
    recording.write_bytes(recording.read_bytes()[:-5])
    changed = preprocess(config(), preprocessed, run_serially)
    assert changed.events.was_built
    assert not changed.images.was_built
    assert find_pairs(config(), preprocessed) == changed.pairs.path != first.pairs.path


def test_the_run_s_folder_follows_what_decides_its_result(preprocessed: Workspace) -> None:
    preprocess(config(), preprocessed, run_serially)
    preprocess(config(pairing={"seed": 1}), preprocessed, run_serially)
    base = run_folder(config(), preprocessed)
    assert base.parent == preprocessed.runs
    assert base.name.startswith("small-")
    changes: list[dict[str, Any]] = [
        {"train": {"epochs": 5}},
        {"train": {"seed": 1}},
        {"train": {"loss": {"tet": False}}},
        {"model": {"tau": 3}},
        {"pairing": {"seed": 1}},
        {"name": "other"},
    ]
    assert len({base, *(run_folder(config(**change), preprocessed) for change in changes)}) == len(changes) + 1
    neutral: list[dict[str, Any]] = [
        {"train": {"threads": 1}},
        {"train": {"device": "cpu"}},
        {"train": {"log_interval": 1}},
        {"evaluate": {"split": "validation"}},
    ]
    assert {run_folder(config(**change), preprocessed) for change in neutral} == {base}


@pytest.mark.parametrize(
    ("raw", "record", "origin"),
    [
        ("events", "events/simulation.json", "simulated"),
        ("x/Caltech101", "x/simulation.json", "simulated"),
        ("x/N-Caltech101", "x/demo.json", "demo"),
        ("x/events", "x/simulation.json", None),  # of something else that lies there
        ("events", None, None),
    ],
)
def test_a_run_knows_that_its_recordings_were_made_by_the_simulator(
    raw: str, record: str | None, origin: str | None, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the raw data are gone when it is trained. With a section of the configuration, that is enough."""
    (workspace.raw / raw).parent.mkdir(exist_ok=True)
    (workspace.raw / "events").rename(workspace.raw / raw)
    if record is not None:
        (workspace.raw / record).write_text("{}")
    settings = config(events={"raw": raw})
    preprocess(settings, workspace, run_serially)
    shutil.rmtree(workspace.raw)
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(loop, "run", lambda *_, resolved, **__: written.append(resolved))
    train(settings, workspace)
    assert written[0].get("recordings") == origin == origin_of(written[0])


def test_before_preprocess_there_are_no_pairs(workspace: Workspace) -> None:
    with pytest.raises(StoreError, match=r"for this configuration \(small\) yet; run `dvs-transfer preprocess`"):
        find_pairs(config(), workspace)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"pairs": "nowhere.zarr"}', "\0"])
def test_a_damaged_recipe_is_not_followed(text: str, preprocessed: Workspace) -> None:
    made = preprocess(config(), preprocessed, run_serially)
    (recipe,) = (preprocessed.cache / PAIR_NOTES).iterdir()
    recipe.write_text(text)
    with pytest.raises(StoreError, match=r"damaged; run `dvs-transfer preprocess` again|nowhere\.zarr: is gone"):
        run_folder(config(), preprocessed)
    preprocess(config(), preprocessed, run_serially)
    assert find_pairs(config(), preprocessed) == made.pairs.path


@pytest.mark.parametrize(
    "sections",
    [
        {"events": {"source": "mnist"}},
        {"images": {"source": "cepdvs"}},
        {"events": {"source": "nonsense"}},
    ],
)
def test_a_source_of_the_wrong_kind_is_refused_before_anything_is_written(
    sections: dict[str, Any], workspace: Workspace
) -> None:
    before = snapshot(workspace.root)
    with pytest.raises(ConfigError, match=r"source: no source of \w+ is called .*: .* is none of "):
        preprocess(config(**sections), workspace, run_serially)
    assert snapshot(workspace.root) == before


def test_class_sets_that_differ_leave_nothing_to_train_on(workspace: Workspace) -> None:
    (workspace.raw / "images" / "101_ObjectCategories" / "bee").rename(workspace.root / "bee")
    with pytest.raises(StoreError, match="without images: bee"):
        preprocess(config(), workspace, run_serially)
    with pytest.raises(StoreError, match="no data for this configuration"):
        find_pairs(config(), workspace)


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "null", "3"])
def test_a_folder_that_is_no_run(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(TrainingError, match=r"no run here|config\.json: (damaged|does not name the run's pair store)"):
        read_run(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"pairs": str(tmp_path / "gone.zarr")}))
    with pytest.raises(StoreError, match=r"gone\.zarr: no such store"):
        experiment.open_splits_of(tmp_path)("test")
