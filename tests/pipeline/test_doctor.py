"""What doctor tells: the machine, and for each source whether its raw data are there, whole, in part or broken."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from command_line import refuse, succeed
from long_recordings import write_classes
from raw_data import write_raw_data
from tiny import EVERY_STEP, RAW, make_workspace, preprocess, write_config

from dvs_transfer.pipeline.doctor import PACKAGES, examine
from dvs_transfer.pipeline.workspace import Workspace
from dvs_transfer.stages.sources import SOURCES


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Recordings in part, broken MNIST files, and nothing else."""
    raw = Workspace(tmp_path).raw
    write_raw_data(tmp_path / "some")
    raw.mkdir(parents=True)
    (tmp_path / "some" / "events").rename(raw / "ncaltech101")
    (raw / "mnist").mkdir()
    return Workspace(tmp_path)


def test_the_state_of_raw_data(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    states = examine(workspace)["raw_data"]
    assert set(states) == {name for name, reader in SOURCES.items() if reader.num_samples}
    assert states["ncaltech101"] == "14 samples of the 8,709 published"
    assert states["mnist"].startswith("broken: ")
    assert str(workspace.raw / "mnist") in states["mnist"]
    assert states["cepdvs-images"] == f"not there (looked in {workspace.raw / 'cepdvs'})"
    monkeypatch.setattr(SOURCES["ncaltech101"], "num_samples", 14)
    assert examine(workspace)["raw_data"]["ncaltech101"] == "14 samples, whole"


def test_the_machine(workspace: Workspace) -> None:
    found = examine(workspace)
    assert all(found[name] for name in PACKAGES)
    assert found["cores"] >= 1
    assert found["memory_free_gb"] > 0
    assert found["disk_free_gb"] > 0
    assert found["root"] == str(workspace.root)


def test_the_command_s_json_is_what_was_found(workspace: Workspace) -> None:
    printed = succeed("--root", workspace.root, "doctor", "--json").document
    changing = {"memory_free_gb", "disk_free_gb"}
    expected = json.loads(json.dumps(examine(workspace)))
    assert {key: printed[key] for key in printed.keys() - changing} == {
        key: expected[key] for key in expected.keys() - changing
    }


def test_a_root_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert "not there" in succeed("--root", tmp_path / "a" / "b", "doctor").out
    assert list(tmp_path.iterdir()) == []


def test_what_a_configuration_names(tmp_path: Path) -> None:
    config = write_config(tmp_path, RAW, train={"device": "cuda:77"})
    named = ("doctor", "--config", config, "--root", tmp_path, "--json")
    found = succeed(*named).document["configuration"]
    assert found["pairs"] == "not there yet; `preprocess` makes it"
    assert found["events"].startswith("broken: ")
    assert "device 'cuda:77' is not there" in found["train.device"]
    write_raw_data(tmp_path / "data" / "raw")
    whole = succeed(*named, "--set", "train.device=cpu").document["configuration"]
    assert whole["train.device"] == "cpu: cpu"
    assert "samples" in whole["events"]
    write_classes(tmp_path / "data" / "raw" / "long", 2)
    cut = ("events.source=segments", "events.raw=long", "frames.windows={ every_us = 100_000, length_us = 100_000 }")
    pieces = succeed(*named, *(word for key in cut for word in ("--set", key))).document["configuration"]
    assert re.match(r"\d+ samples, 2 classes", pieces["events"])
    assert "configuration" not in succeed("doctor", "--json", "--root", tmp_path).document


def test_stores_of_other_raw_data_and_stores_that_are_gone_are_told(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "root", EVERY_STEP, {"train": {"epochs": 1}})
    succeed(*preprocess(root))
    common = ("--config", root / "tiny.toml", "--root", root)
    found = succeed("doctor", *common, "--json").document["configuration"]
    pairs = Path(found["pairs"])
    assert "raw data" not in found
    recording = next((root / "data" / "raw").rglob("*.bin"))
    shutil.copyfile(recording, recording.with_stem(f"{recording.stem[:-1]}9"))
    said = "15 recordings, 14 when they were converted; run `dvs-transfer preprocess` to train on those of now"
    assert said in succeed("doctor", *common, "--json").document["configuration"]["raw data"]
    assert "15 recordings, 14 when they were converted" in succeed("train", *common).err
    shutil.rmtree(pairs)
    assert succeed("doctor", *common, "--json").document["configuration"]["pairs"].startswith("not there yet")
    refuse("train", *common, code=1, says=[f"{pairs}: is gone; make it again with `dvs-transfer preprocess --config"])
