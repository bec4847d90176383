"""A raw data set becomes a store: the same for any workers, resumable, nothing lost silently, nothing done twice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_data import config, contents, convert

from dvs_transfer.cache.errors import SourceError, StoreError
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.cache.writer import StoreBuilder
from dvs_transfer.stages.conversion import recipe, repair, shards
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.conversion.config import ConvertConfig
from dvs_transfer.stages.conversion.recipe import CODE_BEFORE
from dvs_transfer.stages.demo.run import encode_mat
from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.sources import SOURCES, Events, open_source
from dvs_transfer.stages.sources.atis import box_contour, encode_annotation
from dvs_transfer.stages.sources.caltech import NCaltech101
from dvs_transfer.stages.sources.tonic_datasets import tonic_reader


def test_the_store_holds_each_recording_s_frames(raw: Path, tmp_path: Path) -> None:
    report = convert(raw, tmp_path / "cache")
    store = FrameStore(report.path)
    source = open_source("ncaltech101", raw / "events")
    assert list(store.sample_id) == [sample.sample_id for sample in source.samples]
    assert list(store.label) == [0] * 7 + [1] * 7
    frames = store.read("frames")
    for row, sample in enumerate(source.samples):
        expected = make_frames(source.decode(sample, source.read_bytes(sample)), FramesConfig(num_bins=4, size=16))
        np.testing.assert_array_equal(frames[row], expected.data)
        assert store.column("num_events")[row] == expected.num_events == 3000
        assert store.column("num_dropped")[row] == expected.num_dropped
    assert (report.was_built, report.num_samples, report.num_events) == (True, 14, 42_000)
    assert report.path.parent == tmp_path / "cache"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [report.path.name]


def test_images_are_stored_with_their_value(raw: Path, tmp_path: Path) -> None:
    store = FrameStore(convert(raw, tmp_path, "caltech101").path)
    images, value = store.read("images"), store.read("value")
    assert (images.shape, images.dtype) == ((14, 3, 16, 16), np.uint8)
    np.testing.assert_array_equal(value, images.max(axis=1, keepdims=True).astype(np.float32) / np.float32(255))


def test_a_second_run_does_nothing(raw: Path, tmp_path: Path) -> None:
    first = convert(raw, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in first.path.rglob("*")}
    again = convert(raw, tmp_path)
    assert (again.path, again.was_built) == (first.path, False)
    assert {path: path.stat().st_mtime_ns for path in first.path.rglob("*")} == before


def test_paths_are_not_in_the_fingerprint(raw: Path, tmp_path: Path) -> None:
    def name_of(raw: Path, out: Path) -> str:
        settings = config(raw, out)
        return conversion.plan_layout(settings, open_source("ncaltech101", settings.raw)).name

    base = name_of(raw, tmp_path)
    assert name_of(raw, tmp_path / "elsewhere") == base
    moved = raw.with_name("moved")
    raw.rename(moved)
    assert name_of(moved, tmp_path) == base


def recipes_of(raw: Path, source: str) -> tuple[str, ...]:
    settings = config(raw, raw, source)
    return recipe.recipes(settings, open_source(source, settings.raw))


def test_a_store_follows_the_versions_of_its_reader_and_of_the_frames(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {source: recipes_of(raw, source) for source in ("ncaltech101", "caltech101")}
    with monkeypatch.context() as patch:
        patch.setattr(NCaltech101, "version", "2")
        assert recipes_of(raw, "caltech101") == before["caltech101"]
        assert not {*recipes_of(raw, "ncaltech101")} & {*before["ncaltech101"]}
    monkeypatch.setattr(recipe, "FRAMES_VERSION", "2")
    for source, found in before.items():
        assert not {*recipes_of(raw, source)} & {*found}
        assert len(recipes_of(raw, source)) == 1


def test_the_version_before_made_the_same_of_every_source() -> None:
    unchanged = {name for name, reader in SOURCES.items() if reader.version == "1"}
    assert {*CODE_BEFORE} == {*unchanged, "tonic"} - {"omniglot-strokes", "segments"}  # which came later
    assert "folder" not in unchanged
    tonic = tonic_reader("NMNIST")
    opened = tonic.__new__(tonic)
    opened.class_names, opened.samples = ("0", "1"), ()
    assert len(recipe.recipes(config(Path(), Path()), opened)) == 2


def test_another_version_makes_another_store_and_repairs_none(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = convert(raw, tmp_path)
    (first.path / "frames/c/0/0/0/0/0").write_bytes(b"")
    monkeypatch.setattr(NCaltech101, "version", "2")
    with pytest.raises(StoreError, match="another version of this software, whose output differs"):
        repair.run(first.path, raw / "events")
    second = convert(raw, tmp_path)
    assert second.was_built
    assert second.path != first.path


def break_recording(raw: Path, name: str, data: bytes) -> None:
    (raw / "events" / "Caltech101" / f"{name}.bin").write_bytes(data)


def test_broken_recordings_are_quarantined_and_named(raw: Path, tmp_path: Path) -> None:
    break_recording(raw, "ant/image_0002", b"")
    break_recording(raw, "bee/image_0007", b"\x00" * 12)
    report = convert(raw, tmp_path)
    assert list(report.quarantined) == ["ant/image_0002", "bee/image_0007"]
    assert "image_0007.bin: 12 bytes after byte 0 are not a whole number" in report.quarantined["bee/image_0007"]
    store = FrameStore(report.path)
    assert np.flatnonzero(~store.valid).tolist() == [1, 13]
    assert store.label[[1, 13]].tolist() == [-1, -1]
    assert not store.read("frames", np.array([1, 13])).any()


def test_strict_stops_at_the_first_broken_recording(raw: Path, tmp_path: Path) -> None:
    break_recording(raw, "ant/image_0002", b"\x00" * 12)
    with pytest.raises(SourceError, match=r"image_0002\.bin: 12 bytes"):
        convert(raw, tmp_path, conversion={"samples_per_shard": 4, "strict": True})
    assert not list(tmp_path.glob("*.zarr"))


def test_strict_takes_no_store_that_was_made_without_broken_recordings(raw: Path, tmp_path: Path) -> None:
    break_recording(raw, "ant/image_0002", b"\x00" * 12)
    path = convert(raw, tmp_path).path
    with pytest.raises(SourceError, match=rf"{path.name}: .* 1 broken samples, the first: .*image_0002\.bin: 12 bytes"):
        convert(raw, tmp_path, conversion={"samples_per_shard": 4, "strict": True})


def test_nothing_readable_is_an_error(raw: Path, tmp_path: Path) -> None:
    for path in (raw / "events").rglob("*.bin"):
        path.write_bytes(b"abc")
    with pytest.raises(SourceError, match="none of the 14 samples can be read"):
        convert(raw, tmp_path)
    assert not [path for path in tmp_path.glob("*.zarr*") if path.is_dir()]


def test_one_changed_byte_makes_another_store_and_back_the_first(raw: Path, tmp_path: Path) -> None:
    first = convert(raw, tmp_path / "cache")
    recording = raw / "events" / "Caltech101" / "ant" / "image_0001.bin"
    data = recording.read_bytes()
    recording.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    changed = convert(raw, tmp_path / "cache")
    assert changed.was_built
    assert changed.path != first.path
    recording.write_bytes(data)
    again = convert(raw, tmp_path / "cache")
    assert (again.path, again.was_built) == (first.path, False)


def test_a_changed_annotation_makes_another_store(raw: Path, tmp_path: Path) -> None:
    first = convert(raw, tmp_path / "cache")
    annotation = raw / "events" / "Caltech101_annotations" / "ant" / "annotation_0001.bin"
    annotation.parent.mkdir(parents=True)
    contour = box_contour(1, 2, 30, 40)
    annotation.write_bytes(encode_annotation(contour, contour))
    second = convert(raw, tmp_path / "cache")
    assert second.path != first.path
    assert FrameStore(second.path).column("metadata")[0] == '{"box": [1, 2, 30, 40]}'
    assert not convert(raw, tmp_path / "cache").was_built


def test_what_changed_while_a_build_was_stopped_is_converted_again(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards 0 and 1 are done when the run stops; then a recording of shard 1 changes."""
    stop_after(monkeypatch, 2)
    with pytest.raises(OSError, match="No space left"):
        convert(raw, tmp_path / "cache")
    monkeypatch.undo()
    recording = raw / "events" / "Caltech101" / "ant" / "image_0006.bin"
    recording.write_bytes(recording.read_bytes()[:-5])
    written = stop_after(monkeypatch, 99)
    report = convert(raw, tmp_path / "cache")
    assert written == [1, 2, 3]
    assert contents(report.path) == contents(convert(raw, tmp_path / "undisturbed").path)


def stop_after(monkeypatch: pytest.MonkeyPatch, num_shards: int) -> list[int]:
    """Let the disk be full after some shards; returns the list of the shards that are written."""
    written: list[int] = []
    original = shards.StoreBuilder.write_shard

    def write_shard(self: Any, shard: int, *rest: Any) -> None:
        if len(written) == num_shards:
            raise OSError(28, "No space left on device", "frames")
        original(self, shard, *rest)
        written.append(shard)

    monkeypatch.setattr(shards.StoreBuilder, "write_shard", write_shard)
    return written


def test_a_conversion_that_stopped_goes_on(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = convert(raw, tmp_path / "undisturbed")
    stop_after(monkeypatch, 2)
    with pytest.raises(OSError, match="No space left"):
        convert(raw, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.zarr"))
    monkeypatch.undo()
    written = stop_after(monkeypatch, 99)
    report = convert(raw, tmp_path / "cache")
    assert written == [2, 3]
    assert contents(report.path) == contents(undisturbed.path)


def test_a_conversion_killed_at_its_very_end_leaves_nothing(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: StoreBuilder) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(StoreBuilder, "discard", killed)
    with pytest.raises(KeyboardInterrupt):
        convert(raw, tmp_path)
    monkeypatch.undo()
    report = convert(raw, tmp_path)
    assert not report.was_built
    assert [path for path in tmp_path.iterdir() if path.name.startswith((".", "ncal"))] == [report.path]


def test_cepdvs_recordings_are_converted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    raw = tmp_path / "CEP-DVS"
    folder = raw / "data" / "MAT" / "img"
    folder.mkdir(parents=True)
    (raw / "pathFile.csv").write_text("header\n" + "".join(f"{i} a b c {'ab'[i % 2]}\n" for i in range(4)))
    recordings = []
    for number in range(4):
        x, y = rng.integers(0, 300, 500, np.uint16), rng.integers(0, 200, 500, np.uint16)
        recordings.append(Events(x, y, np.sort(rng.integers(0, 10**6, 500)), rng.integers(0, 2, 500, np.uint8)))
        (folder / f"{number}.mat").write_bytes(encode_mat(recordings[-1]))
    options = ConvertConfig(source="cepdvs", raw=raw, out=tmp_path / "cache", frames=FramesConfig(num_bins=4, size=16))
    report = conversion.run(options)
    store = FrameStore(report.path)
    assert (report.num_samples, report.num_events, report.quarantined) == (4, 2000, {})
    for row, sample_id in enumerate(store.sample_id):
        recording = recordings[int(sample_id.partition("/")[2])]
        expected = make_frames(recording, options.frames, (1280, 960)).data
        np.testing.assert_array_equal(store.read("frames", np.array([row]))[0], expected)


def test_a_store_that_cannot_be_read_stands_in_nobody_s_way(raw: Path, tmp_path: Path) -> None:
    other = tmp_path / "ncaltech101-0123456789ab.zarr"
    other.mkdir()
    (other / "zarr.json").write_text('{"attributes": {"schema_version": 0}}')
    first = convert(raw, tmp_path)
    assert first.was_built
    (first.path / "zarr.json").write_text("{}")
    with pytest.raises(StoreError, match="stands where the new store belongs"):
        convert(raw, tmp_path)


def test_a_damaged_store_is_not_taken_for_a_whole_one(raw: Path, tmp_path: Path) -> None:
    report = convert(raw, tmp_path)
    shutil.rmtree(report.path / "frames" / "c" / "1")
    with pytest.raises(StoreError, match="missing, it should have"):
        convert(raw, tmp_path)


def test_memory_that_runs_out_is_no_fault_of_the_sample(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conversion stops and says where; it does not quarantine the sample. With memory again it goes on."""

    def no_memory(*arguments: Any) -> Any:
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr(shards, "make_frames", no_memory)
    with pytest.raises(
        SourceError, match=r"image_0001\.bin: not enough memory .*ant/image_0001 to ant/image_0004 .*9 GiB"
    ):
        convert(raw, tmp_path)
    monkeypatch.undo()
    assert convert(raw, tmp_path).quarantined == {}
