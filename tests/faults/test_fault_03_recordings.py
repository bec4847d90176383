"""Fault 3: raw files cut off anywhere, with any byte changed, and recordings that cannot be."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cifar_data import write_cifar10dvs
from fault_injection import Effort, Tally
from fuzz_targets import TARGETS
from raw_data import convert, write_raw_data

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages import demo
from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.images import encode_image
from dvs_transfer.stages.frames.spec import FramesConfig, ImagesConfig
from dvs_transfer.stages.sources import Reader, Sample, open_source

from naive import Event, decode_records, encode_records

FRAMES = FramesConfig(num_bins=2, size=8)


@dataclass(frozen=True)
class Raw:
    """A reader, one of its samples, and the sample's bytes."""

    source: Reader
    sample: Sample
    data: bytes

    def num_events(self, data: bytes) -> int:
        """What comes of other bytes in the sample's place: the events of its frames, 0 for an image. SourceError."""
        decoded = self.source.decode(self.sample, data)
        if isinstance(decoded, np.ndarray):
            encode_image(decoded, ImagesConfig(size=8))
            return 0
        return make_frames(decoded, FRAMES, self.source.sensor_size, self.sample.location).num_events

    def refuses(self, data: bytes) -> str:
        """The message with which it refuses such bytes, "" when it does not. Any other exception is raised."""
        try:
            self.num_events(data)
        except SourceError as error:
            problem = str(error)
            return problem if self.sample.location in problem else f"does not say where: {problem}"
        return ""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> dict[str, Raw]:
    """A small sample of every reader whose samples are files."""
    folder = tmp_path_factory.mktemp("raw")
    simulation = {"sensor_width": 32, "sensor_height": 24, "noise_rate_hz": 0}
    drawn = {"out": folder / "demo", "images_per_class": 1, "pairs_per_class": 1, "simulation": simulation}
    demo.run(demo.DemoConfig.model_validate(drawn))
    write_cifar10dvs(folder / "CIFAR10-DVS", 1)
    places = {
        "ncaltech101": folder / "demo" / "N-Caltech101",
        "caltech101": folder / "demo" / "Caltech101",
        "cepdvs": folder / "demo" / "CEP-DVS",
        "cepdvs-images": folder / "demo" / "CEP-DVS",
        "cifar10dvs": folder / "CIFAR10-DVS",
        "nmnist": shared_data / "NMNIST",
    }
    found = {}
    for name, place in places.items():
        source = open_source(name, place)
        found[name] = Raw(source, source.samples[0], source.read_bytes(source.samples[0]))
    return found


@pytest.mark.parametrize("name", ["ncaltech101", "nmnist", "cifar10dvs", "cepdvs", "caltech101", "cepdvs-images"])
def test_truncated_at_every_offset(name: str, raw: dict[str, Raw], effort: Effort, tally: Tally) -> None:
    """Records: what is left is a recording only where a record ends; compressed formats: never."""
    whole = raw[name]
    length = len(whole.data)
    record_bytes = {"ncaltech101": 5, "nmnist": 5, "cifar10dvs": 8}.get(name)
    offsets = {*range(0, length, max(1, length // 50)), *range(max(0, length - 17), length)}
    for size in effort(sorted(offsets), range(length)):
        with tally.attempt():
            problem = whole.refuses(whole.data[:size])
            if record_bytes and not (length - size) % record_bytes and not problem:
                assert whole.num_events(whole.data[:size]) < whole.num_events(whole.data)
            else:
                assert problem.startswith(whole.sample.location), (size, problem)


@pytest.mark.parametrize("name", ["ncaltech101", "nmnist", "cifar10dvs", "cepdvs", "caltech101", "cepdvs-images"])
def test_any_byte_changed(name: str, raw: dict[str, Raw], effort: Effort, tally: Tally) -> None:
    """A recording or a refusal, and nothing else: no other exception, no write outside of an array."""
    whole = raw[name]
    rng = np.random.default_rng(1)
    positions = effort(rng.integers(0, len(whole.data), 50).tolist(), range(len(whole.data)))
    for position in positions:
        damaged = bytearray(whole.data)
        damaged[position] ^= 1 << int(rng.integers(8))
        with tally.attempt():
            problem = whole.refuses(bytes(damaged))
            if name in ("ncaltech101", "nmnist"):
                assert bool(problem) == (not is_possible(decode_records(bytes(damaged)), whole.source.sensor_size))


# What else is read: formats of one's own recordings, and files with many samples; the second group in a process of its
# own, which a refusal ends.
OTHERS = (
    "aedat2",
    "aedat3",
    "dat",
    "evt",
    "es",
    "npz",
    "npy",
    "mat5",
    "text",
    "idx",
    "cifar-pickle",
    "annotation",
    "nomniglot-table",
    "strokes",
)
ISOLATED = ("aedat4", "hdf5", "mat73", "tonic")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OTHERS, *ISOLATED])
def test_damage_in_other_files_gives_a_result_or_a_source_error(
    name: str, effort: Effort, tally: Tally, tmp_path: Path
) -> None:
    """Cut off and changed at every byte (those of a process of its own at 60); any other exception is raised."""
    target = TARGETS[name]
    seeds = target.seeds(tmp_path)
    rng = np.random.default_rng(2)
    for whole in seeds:
        target.parse(whole, tmp_path)
        few = rng.integers(0, len(whole), effort(2, 60) if name in ISOLATED else 30).tolist()
        for position in few if name in ISOLATED else effort(few, range(len(whole))):
            changed = bytearray(whole)
            changed[position] ^= 1 << int(rng.integers(8))
            for damaged in (whole[:position], bytes(changed)):
                with tally.attempt(), suppress(SourceError):
                    target.parse(damaged, tmp_path)


def is_possible(events: list[Event], sensor_size: tuple[int, int] | None) -> bool:
    assert sensor_size is not None
    inside = all(x < sensor_size[0] and y < sensor_size[1] for x, y, _, _ in events)
    times = [t for _, _, t, _ in events]
    return bool(events) and inside and times == sorted(times)


GOOD: list[Event] = [(x, 3, 10 * x, x % 2) for x in range(40)]
IMPOSSIBLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "0 records and no event"),
    "cut off": (encode_records(GOOD)[:-2], "byte 195"),
    "x outside": (encode_records([*GOOD, (240, 3, 500, 1)]), r"record 40 \(byte offset 200\) lies at x=240, y=3"),
    "y outside": (encode_records([*GOOD, (1, 180, 500, 1)]), r"record 40 \(byte offset 200\) lies at x=1, y=180"),
    "backwards": (encode_records([*GOOD, (1, 3, 5, 1)]), r"backwards at record 40 \(byte offset 200\)"),
    "no event": (bytes([0, 240, 0, 0, 0]), "1 records and no event among them"),
}
POSSIBLE = {
    "one event": encode_records(GOOD[:1]),
    "one polarity": encode_records([(x, y, t, 1) for x, y, t, _ in GOOD]),
    "one moment": encode_records([(x, y, 7, p) for x, y, _, p in GOOD]),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_an_impossible_recording_is_quarantined_or_stops_the_run(what: str, tally: Tally, tmp_path: Path) -> None:
    raw = write_raw_data(tmp_path / "raw")
    undisturbed = FrameStore(convert(raw, tmp_path / "undisturbed").path)
    data, problem = IMPOSSIBLE[what]
    path = raw / "events" / "Caltech101" / "ant" / "image_0003.bin"
    path.write_bytes(data)
    with tally.attempt():
        report = convert(raw, tmp_path / "cache")
        assert list(report.quarantined) == ["ant/image_0003"]
        assert str(path) in report.quarantined["ant/image_0003"]
        assert re.search(problem, report.quarantined["ant/image_0003"])
        store = FrameStore(report.path)
        assert store.label[2] == -1
        others = np.delete(np.arange(14), 2)
        np.testing.assert_array_equal(store.read("frames", others), undisturbed.read("frames", others))
        assert not store.read("frames", np.array([2])).any()
    with tally.attempt(), pytest.raises(SourceError, match=re.escape(str(path))):
        convert(raw, tmp_path / "strict", conversion={"samples_per_shard": 4, "strict": True})
    assert not list((tmp_path / "strict").glob("*.zarr"))


@pytest.mark.parametrize("what", POSSIBLE)
def test_a_strange_recording_is_a_recording(what: str, tally: Tally, tmp_path: Path) -> None:
    raw = write_raw_data(tmp_path / "raw")
    (raw / "events" / "Caltech101" / "ant" / "image_0003.bin").write_bytes(POSSIBLE[what])
    with tally.attempt():
        report = convert(raw, tmp_path / "cache")
        assert report.quarantined == {}
        assert FrameStore(report.path).column("num_events")[2] == len(decode_records(POSSIBLE[what]))
