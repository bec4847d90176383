"""CIFAR10-DVS with CIFAR-10, and a data set of tonic with MNIST: converted, paired, trained, evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_data import aedat2, recording, write_cifar10, write_cifar10dvs
from command_line import refuse, succeed
from raw_data import make_events
from tiny import write_config

from dvs_transfer.stages.sources.atis import encode_records
from dvs_transfer.stages.sources.base import Events

HALVES = {"pairing": {"train": 0.5, "validation": 0.25, "test": 0.25}, "conversion": {"samples_per_shard": 32}}


def write_cifar(raw: Path) -> dict[str, Any]:
    write_cifar10dvs(raw / "cifar10dvs", 4)
    write_cifar10(raw / "cifar10", 2)
    return {"events": {"source": "cifar10dvs", "raw": "cifar10dvs"}, "images": {"source": "cifar10", "raw": "cifar10"}}


def write_nmnist_and_mnist(raw: Path) -> dict[str, Any]:
    for digit in range(10):
        for number in range(4):
            file = raw / "tonic" / "NMNIST" / "Train" / str(digit) / f"{number:05}.bin"
            file.parent.mkdir(parents=True, exist_ok=True)
            whole = make_events(10 * digit + number, 200)
            file.write_bytes(encode_records(Events(whole.x % 34, whole.y % 34, whole.t, whole.p)))
    (raw / "mnist").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28)).astype(np.uint8)
    for name, header, content in (
        ("images-idx3", [0x803, 20, 28, 28], images.tobytes()),
        ("labels-idx1", [0x801, 20], bytes(range(10)) * 2),
    ):
        (raw / "mnist" / f"train-{name}-ubyte").write_bytes(np.array(header, ">u4").tobytes() + content)
    return {"events": {"source": "tonic:NMNIST", "raw": "tonic"}, "images": {"source": "mnist", "raw": "mnist"}}


@pytest.mark.parametrize("write", [write_cifar, write_nmnist_and_mnist])
def test_from_raw_data_to_an_evaluated_network(write: Any, tmp_path: Path) -> None:
    config = write_config(tmp_path, HALVES, write(tmp_path / "data" / "raw"), train={"warmup_epochs": 0})
    root = ("--quiet", "--root", tmp_path)
    processes = ("--scheduler", "processes", "--workers", "2")
    made = succeed(*root, "preprocess", "--config", config, "--json", *processes).document
    trained, evaluated = (succeed(*root, name, "--config", config, "--json").document for name in ("train", "evaluate"))
    assert (made["events"]["num_samples"], made["events"]["quarantined"]) == (40, {})
    assert (made["images"]["num_samples"], made["images"]["quarantined"]) == (20, {})
    pairs = made["pairs"]
    assert (pairs["num_classes"], pairs["num_with_photo"], pairs["num_pool"]) == (10, 0, 20)
    assert (pairs["num_train"], pairs["num_validation"], pairs["num_test"]) == (20, 10, 10)
    assert trained["run"] == evaluated["run"]
    assert evaluated["num_samples"] == 10
    outcome = succeed("--root", tmp_path, "preprocess", "--config", config, "--json")
    again = outcome.document
    assert (again["events"]["was_built"], again["images"]["was_built"]) == (False, False)
    assert "warning: of 20 of the 20 validation, test and novel recordings it is not known which image" in outcome.err
    assert (pairs["photos_in_reach"], trained["photos_in_reach"], evaluated["photos_in_reach"]) == ("unknown",) * 3
    said = succeed("--root", tmp_path, "preprocess", "--config", config, "--set", "pairing.originals=none", "--json")
    assert (said.document["pairs"]["photos_in_reach"], "warning" in said.err) == ("none", False)
    page = tmp_path / "report.html"
    succeed(*root, "report", evaluated["run"], "--out", page)
    assert "Not known: photos of held-out recordings" in page.read_text()


def test_the_recipe_of_cifar10dvs_trains_on_a_moving_photo(tmp_path: Path, repository: Path) -> None:
    write_cifar(tmp_path / "data" / "raw")
    tiny = (
        *("frames.num_bins=3", "frames.size=16", 'model.widths=[4, "P", 8, "P"]', "conversion.samples_per_shard=32"),
        *("pairing.train=0.5", "pairing.validation=0.25", "pairing.test=0.25"),
        *("train.epochs=1", "train.batch_size=10", "train.warmup_epochs=0", "train.threads=1"),
    )
    of = ("--config", repository / "configs" / "cifar10dvs-saccade.toml", *(f"--set={each}" for each in tiny), "--json")
    for command in ("preprocess", "train"):
        succeed("--quiet", "--root", tmp_path, command, *of)
    evaluated = succeed("--quiet", "--root", tmp_path, "evaluate", *of).document
    assert (evaluated["num_samples"], evaluated["photos_in_reach"]) == (10, "unknown")


def test_broken_recordings_are_quarantined_and_named(tmp_path: Path) -> None:
    raw = write_cifar10dvs(tmp_path / "raw", 1)
    broken = {
        "bird": (b"", "expected the line '#!AER-DAT2.0' of an AEDAT file"),
        "cat": (recording(1)[:-5], "the file is truncated: fetch it again"),
        "deer": (aedat2([(0, 9), (0, 8)]), "time runs backwards at event 1: 8 us after 9 us"),
        "dog": (aedat2([(0, 9)], b"#!AER-DAT3.1\r\n"), "AEDAT 3.1, expected AEDAT 2.0"),
    }
    for name, (data, _) in broken.items():
        (raw / name / f"cifar10_{name}_0.aedat").write_bytes(data)
    command = ("--quiet", "convert", "cifar10dvs", raw, "--out", tmp_path / "out", "--size", "8")
    report = succeed(*command, "--json").document
    assert report["num_samples"] == 6
    assert list(report["quarantined"]) == [f"{name}/cifar10_{name}_0" for name in broken]
    for name, (_, problem) in broken.items():
        assert f"{raw}/{name}/cifar10_{name}_0.aedat: " in report["quarantined"][f"{name}/cifar10_{name}_0"]
        assert problem in report["quarantined"][f"{name}/cifar10_{name}_0"]
    refuse(*command[:-1], "9", "--strict", code=1, says=["cifar10_bird_0.aedat", "AER-DAT2.0"])
