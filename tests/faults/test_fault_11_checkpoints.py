"""Fault 11: checkpoints that run code when they are unpickled, or announce more than there is."""

from __future__ import annotations

import argparse
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cifar_data import batch, random_pixels
from fault_injection import Tally
from published import published
from tiny_run import changed, train

from dvs_transfer.cache.digests import content_digest
from dvs_transfer.cache.errors import SourceError, TrainingError
from dvs_transfer.stages.runs.checkpoint import load_weights, weights_path
from dvs_transfer.stages.runs.released import read_released
from dvs_transfer.stages.sources.cifar import read_batch
from dvs_transfer.stages.sources.random_access import InMemory

CPU = torch.device("cpu")


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


class Called:
    """Unpickled, the call of a function that torch's restricted reader allows."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


# Published checkpoints ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["args", "epoch", "raw pickle", "inside args", "state_dict", "legacy"])
def test_code_in_a_published_checkpoint_does_not_run(place: str, tally: Tally, tmp_path: Path) -> None:
    hostile = Hostile(tmp_path / "ran")
    path = tmp_path / "model_best.pth.tar"
    if place == "raw pickle":
        path.write_bytes(pickle.dumps(hostile))
    else:
        bad = {"inside args": {"args": argparse.Namespace(tau=hostile)}, "legacy": {"epoch": hostile}}
        torch.save(
            published(**bad.get(place, {place: hostile})), path, _use_new_zipfile_serialization=place != "legacy"
        )
    with tally.attempt():
        with pytest.raises(TrainingError, match="nothing in it was executed"):
            read_released(path)
        assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(hostile))  # it is not harmless where a pickle is trusted
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("bomb", ["bytearray", "expanded tensor", "storage"])
def test_a_published_checkpoint_cannot_take_the_memory(bomb: str, tally: Tally, tmp_path: Path) -> None:
    """What torch's restricted reader allows is bounded by the process that it runs in."""
    path = tmp_path / "model_best.pth.tar"
    content = {
        "bytearray": lambda: published(epoch=Called(bytearray, 1 << 40)),
        "expanded tensor": lambda: with_threshold(torch.zeros(1).expand(1 << 36)),
        "storage": lambda: with_threshold(torch.zeros(0x1234)),
    }[bomb]()
    torch.save(content, path)
    if bomb == "storage":  # the pickle announces more than the archive's record holds
        data = path.read_bytes()
        sized = pickle.dumps(0x1234, 2)[2:-1]
        assert data.count(sized) >= 1
        path.write_bytes(data.replace(sized, pickle.dumps(0xFFFF, 2)[2:-1]))
    with tally.attempt(), pytest.raises(TrainingError, match=r"model_best\.pth\.tar: "):
        read_released(path)


def with_threshold(tensor: torch.Tensor) -> dict[str, Any]:
    return published(state_dict=published()["state_dict"] | {"node1.threshold": tensor})


# Our own --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(folder, changed(epochs=1, keep_checkpoints=1))
    return folder


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def joined(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def with_info(header: dict[str, Any], **changes: Any) -> dict[str, Any]:
    info = json.loads(header["__metadata__"]["dvs_transfer"])
    info["model"] |= changes.pop("model", {})
    return header | {"__metadata__": {"dvs_transfer": json.dumps(info | changes)}}


def moved(header: dict[str, Any], start: int, end: int) -> dict[str, Any]:
    name = sorted(name for name in header if name.endswith("weight"))[-1]
    return header | {name: header[name] | {"data_offsets": [start, end]}}


SAFETENSORS = {
    "header of 2^40 bytes": lambda header, data: (2**40).to_bytes(8, "little") + b'{"a":' + b" " * 1000,
    "header of 2^63 bytes": lambda header, data: (2**63).to_bytes(8, "little") + b'{"a":' + b" " * 1000,
    "header of 100 MB": lambda header, data: (10**8).to_bytes(8, "little") + b'{"a":' + b" " * 1000,
    "nested header": lambda header, data: (10**6).to_bytes(8, "little") + b"[" * 10**6,
    "overlapping tensors": lambda header, data: joined(moved(header, 0, 8), data),
    "tensor out of range": lambda header, data: joined(moved(header, len(data) - 4, len(data) + 4), data),
    "tensor backwards": lambda header, data: joined(moved(header, 8, 0), data),
    "huge tensor": lambda header, data: joined(moved(header, 0, 2**62), data),
    "huge frames": lambda header, data: joined(with_info(header, size=10**7), data),
    "huge network": lambda header, data: joined(with_info(header, model={"widths": [10**6, 10**6]}), data),
    "many layers": lambda header, data: joined(with_info(header, model={"widths": [1] * 10**5}), data),
    "many time steps": lambda header, data: joined(with_info(header, num_steps=10**12), data),
    "frames beyond 64 bits": lambda header, data: joined(with_info(header, size=2**40), data),
    "negative time steps": lambda header, data: joined(with_info(header, num_steps=-1), data),
}


@pytest.mark.parametrize("form", SAFETENSORS)
def test_weights_that_announce_what_is_not_there(form: str, run_folder: Path, tally: Tally, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    whole = weights_path(run_folder, "best").read_bytes()
    path.write_bytes(joined(*parts(whole)))
    load_weights(path, CPU)
    path.write_bytes(SAFETENSORS[form](*parts(whole)))
    with tally.attempt(), pytest.raises(TrainingError, match=r"best\.safetensors: "):
        load_weights(path, CPU)


def test_code_in_a_training_state_does_not_run(run_folder: Path, tally: Tally, tmp_path: Path) -> None:
    """With the seal that belongs to it. There is no pickle in a state: what is one is damage."""
    seal = next((run_folder / "checkpoints").glob("state-*.json"))
    contents = [pickle.dumps(Hostile(tmp_path / "ran"))]
    torch.save({"identity": Hostile(tmp_path / "ran"), "state": {}}, tmp_path / "state")
    contents.append((tmp_path / "state").read_bytes())
    for content in contents:
        seal.with_suffix(".rest").write_bytes(content)
        seal.write_text(json.dumps(json.loads(seal.read_text()) | {".rest": content_digest(content)}))
        with tally.attempt():
            with pytest.raises(TrainingError, match="all 1 checkpoints are damaged"):
                train(run_folder, changed(epochs=1))
            assert not (tmp_path / "ran").exists()


# CIFAR's pickles ------------------------------------------------------------------------------------------------------


def test_pickled_photos_run_no_code_and_take_no_memory(tally: Tally, tmp_path: Path) -> None:
    """More in `tests/stages/sources/test_cifar_readers.py`."""
    hostile = {"data": np.zeros((1, 3072), np.uint8), "labels": Hostile(tmp_path / "ran")}
    for content in (pickle.dumps(Hostile(tmp_path / "ran"), 2), pickle.dumps(hostile, 2)):
        with tally.attempt():
            with pytest.raises(SourceError, match="Nothing in the file was executed"):
                read_batch(InMemory(content, "batch"))
            assert not (tmp_path / "ran").exists()
    assert read_batch(InMemory(batch(random_pixels(2), [1, 2]), "batch"))[1] == [1, 2]
    with tally.attempt(), pytest.raises(SourceError, match=r"batch: .*(MemoryError|decoder)"):
        read_batch(InMemory(b"}" * (1 << 25) + b".", "batch"))
