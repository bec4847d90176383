"""Recordings that are too large to be held, in every source that reads files itself."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_recordings import WRITERS, make_events

from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources import archives, atis, random_access, tree
from dvs_transfer.stages.sources.base import Events, Sample
from dvs_transfer.stages.sources.caltech import NCaltech101
from dvs_transfer.stages.sources.cifar import CLASS_NAMES
from dvs_transfer.stages.sources.formats import columnar, columns, isolated, recordings
from dvs_transfer.stages.sources.formats.words import aedat2, prophesee, stream


def write_cepdvs(raw: Path, events: Events, name: str) -> None:
    (raw / "data" / "MAT" / "img").mkdir(parents=True)
    (raw / "pathFile.csv").write_text("number image events origin class\n0 a b c fish\n")
    WRITERS[name](raw / "data" / "MAT" / "img" / "0.mat", events)


def write_cifar10dvs(raw: Path, events: Events) -> None:
    for number, name in enumerate(CLASS_NAMES):
        (raw / name).mkdir(parents=True)
        WRITERS["jaer.aedat"](raw / name / f"cifar10_{name}_0.aedat", events if number == 0 else make_events(10))


def write_zip(raw: Path, events: Events) -> None:
    """Deflated, as a member that is too large to be held."""
    raw.mkdir()
    WRITERS["records.bin"](raw / "image_0001.bin", events)
    with zipfile.ZipFile(raw / "Caltech101.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(raw / "image_0001.bin", "Caltech101/ant/image_0001.bin")


LARGE: Mapping[str, tuple[str, Callable[[Path, Events], None]]] = {
    "own .bin": ("folder", lambda raw, events: write_one(raw / "a" / "records.bin", events)),
    "own EVT 3": ("folder", lambda raw, events: write_one(raw / "a" / "three.raw", events)),
    "own HDF5": ("folder", lambda raw, events: write_one(raw / "a" / "group.h5", events)),
    "own MAT 5": ("folder", lambda raw, events: write_one(raw / "a" / "five.mat", events)),
    "N-Caltech101": ("ncaltech101", lambda raw, events: write_one(raw / "Caltech101/ant/records.bin", events)),
    "N-Caltech101 in an archive": ("ncaltech101", write_zip),
    "N-MNIST": ("nmnist", lambda raw, events: write_one(raw / "Train/0/records.bin", events)),
    "CEP-DVS, MAT 5": ("cepdvs", partial(write_cepdvs, name="five.mat")),
    "CEP-DVS, MAT 7.3": ("cepdvs", partial(write_cepdvs, name="seven.mat")),
    "CIFAR10-DVS": ("cifar10dvs", write_cifar10dvs),
}


def write_one(path: Path, events: Events) -> None:
    path.parent.mkdir(parents=True)
    WRITERS[path.name](path, events)


@pytest.mark.parametrize("kind", LARGE)
def test_recordings_larger_than_what_may_be_held(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every source: no read of more than 20 kB, no piece of more than 1,000 events, the same frames."""
    source, write = LARGE[kind]
    events = make_events(30_000, **({"sensor_size": (34, 34)} if source == "nmnist" else {}))
    write(tmp_path / "raw", events)
    for module, limit, value in (
        (random_access, "MAX_READ_BYTES", 20_000),
        (tree, "MAX_READ_BYTES", 20_000),
        (archives, "MAX_READ_BYTES", 20_000),
        (atis, "MAX_READ_BYTES", 20_000),
        (stream, "PIECE_EVENTS", 1000),
        (stream, "_BLOCK_BYTES", 10_000),
        (aedat2, "_MAX_HEADER_BYTES", 5000),
        (prophesee, "_MAX_HEADER_BYTES", 5000),
        (recordings, "_START_BYTES", 5000),
        (columns, "HELD_EVENTS", 1000),
        (isolated, "PIECE_EVENTS", 1000),
        (columnar, "PIECE_EVENTS", 1000),
        (random_access, "_CHECKPOINT_BYTES", 10_000),
        (random_access, "_OUTPUT_BYTES", 1000),
        (random_access, "_INPUT_BYTES", 10_000),
        (random_access.blocks, "__defaults__", (20_000,)),
    ):
        monkeypatch.setattr(module, limit, value)
    config = ConvertConfig(source=source, raw=tmp_path / "raw", out=tmp_path, frames=FramesConfig(num_bins=3, size=16))
    store = FrameStore(conversion.run(config).path)
    assert store.valid.all(), store.column("problem")
    if source == "cifar10dvs":
        events = Events(events.y, events.x, events.t, events.p)
    np.testing.assert_array_equal(store.array("frames")[0], make_frames(events, FramesConfig(num_bins=3, size=16)).data)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_that_changes_while_its_member_is_read_gives_no_sample(
    method: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the digest and the decoding, which reads the member again."""
    write_zip(tmp_path / "raw", make_events(30_000))
    path = tmp_path / "raw" / "Caltech101.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for number in (1, 2):
            archive.write(tmp_path / "raw" / "image_0001.bin", f"Caltech101/ant/image_000{number}.bin")
    for module in (tree, archives, atis):
        monkeypatch.setattr(module, "MAX_READ_BYTES", 20_000)
    monkeypatch.setattr(random_access.blocks, "__defaults__", (20_000,))
    decode = NCaltech101.decode

    def change_and_decode(self: NCaltech101, sample: Sample, data: Any) -> Any:
        if sample.sample_id == "ant/image_0002":
            os.utime(path, ns=(0, 0))
        return decode(self, sample, data)

    monkeypatch.setattr(NCaltech101, "decode", change_and_decode)
    config = ConvertConfig(source="ncaltech101", raw=path, out=tmp_path, frames=FramesConfig(num_bins=3, size=16))
    report = conversion.run(config)
    assert list(report.quarantined) == ["ant/image_0002"]
    assert "Caltech101.zip: changed while it was read" in report.quarantined["ant/image_0002"]
