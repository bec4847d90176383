"""Converting a user's own recordings: quarantine, sensor sizes, time units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_recordings import SENSOR, WRITERS, make_events
from PIL import Image

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources.base import Sample
from dvs_transfer.stages.sources.own import Folder


def convert(raw: Path, **frames: Any) -> FrameStore:
    settings = FramesConfig(**{"num_bins": 3, **frames})
    return FrameStore(conversion.run(ConvertConfig(source="folder", raw=raw, out=raw.parent, frames=settings)).path)


def write(raw: Path, *files: str) -> Path:
    """The files, the first one in class "a" and the others in class "b"."""
    for number, file in enumerate(files):
        folder = raw / ("b" if number else "a")
        folder.mkdir(parents=True, exist_ok=True)
        WRITERS[file](folder / file, make_events(seed=number))
    return raw


def test_broken_files_are_quarantined(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", "one.dat", "a.aedat4", "plain.csv")
    (raw / "b" / "video.mp4").write_bytes(bytes(range(256)) * 9)
    data = (raw / "b" / "a.aedat4").read_bytes()
    (raw / "b" / "a.aedat4").write_bytes(data[: len(data) // 2])
    report = conversion.run(ConvertConfig(source="folder", raw=raw, out=tmp_path))
    assert {name: problem.startswith(str(raw)) for name, problem in report.quarantined.items()} == {
        "b/a": True,
        "b/video": True,
    }
    assert FrameStore(report.path).column("num_events").tolist() == [2000, 0, 2000, 0]


def test_the_messages_of_broken_files_are_the_same_in_every_run(tmp_path: Path) -> None:
    """They are part of a store, and Python's own messages tell addresses in memory."""
    write(tmp_path / "raw", "structured.npy")
    Image.new("RGB", (9, 9)).save(tmp_path / "raw" / "a" / "image.png")
    (tmp_path / "raw" / "a" / "1.png").write_bytes(b"no image")
    header = b"{'descr': x, 'fortran_order': False, 'shape': (1,)}"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    (tmp_path / "raw" / "a" / "2.npy").write_bytes(npy)
    for source in ("image-folder", "folder"):
        report = conversion.run(ConvertConfig(source=source, raw=tmp_path / "raw", out=tmp_path))
        assert len(report.quarantined) == 3
        assert " at 0x" not in str(FrameStore(report.path).column("problem").tolist())


def test_whole_sensors_need_one_size(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", "one.dat", "three.raw")
    assert convert(raw, crop=False).column("sensor_size").tolist() == [list(SENSOR)] * 2
    with pytest.raises(SourceError, match=r"set frames\.sensor_size"):
        convert(raw, resize="none")
    assert convert(raw, resize="none", sensor_size=SENSOR).array("frames").shape == (2, 3, 2, *SENSOR[::-1])
    with pytest.raises(SourceError, match="its sensor has 64 x 48 pixels, sensor_size is 99 x 99"):
        convert(raw, crop=False, sensor_size=(99, 99))
    header, rest = (raw / "b" / "three.raw").read_bytes().split(b"% geometry 64x48", 1)
    (raw / "b" / "three.raw").write_bytes(header.replace(b"width=64", b"width=70") + b"% geometry 70x48" + rest)
    with pytest.raises(SourceError, match=r"64 x 48 \(a/one\), 70 x 48 \(b/three\); crop = false needs one size"):
        convert(raw, crop=False)
    assert convert(raw).valid.all()


def test_files_that_do_not_say_their_sensor_take_the_configured_one(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", "one.dat", "structured.npy")
    with pytest.raises(SourceError, match=r"structured\.npy: does not say how large its sensor is"):
        conversion.run(
            ConvertConfig(
                source="folder", raw=raw, out=tmp_path, frames=FramesConfig(crop=False), conversion={"strict": True}
            )
        )
    store = convert(raw, crop=False, sensor_size=SENSOR)
    assert store.column("sensor_size").tolist() == [list(SENSOR)] * 2
    with pytest.raises(SourceError, match=r"npy: event \d+ has y=47, expected a whole number from 0 to 46"):
        convert(raw, crop=False, sensor_size=(64, 47))


def test_the_time_unit_reaches_the_reader(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", "one.dat", "structured.npy")
    expected = [int(np.ptp(make_events(seed=seed).t)) for seed in (0, 1)]
    assert convert(raw).column("duration_us").tolist() == expected
    assert convert(raw, time_unit="ms").column("duration_us").tolist() == [expected[0], expected[1] * 1000]


def test_a_file_that_changes_while_it_is_converted_is_no_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its digest and its decoding."""
    raw = write(tmp_path / "raw", "one.dat", "two.dat")
    decode = Folder.decode

    def change_and_decode(self: Folder, sample: Sample, data: Any) -> Any:
        if sample.sample_id == "b/two":
            WRITERS["two.dat"](raw / "b" / "two.dat", make_events(seed=7))
        return decode(self, sample, data)

    monkeypatch.setattr(Folder, "decode", change_and_decode)
    store = convert(raw)
    assert store.valid.tolist() == [True, False]
    assert "two.dat: changed while it was read" in str(store.column("problem")[1])
    assert not store.array("frames")[1].any()
