"""Every parser of untrusted bytes, with valid seeds to be damaged, and what a damaged one may do: raise our errors."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
from cifar_data import batch, random_pixels
from finished_run import make_run
from long_recordings import MAPPING
from own_recordings import OTHER_WRITERS, WRITERS, make_events
from PIL import Image
from tiny_networks import NETWORKS, tiny_network
from tiny_run import changed, train
from tiny_split import SIZE

from dvs_transfer.cache.digests import content_digest
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.pipeline.config import load_config
from dvs_transfer.pipeline.studies.study import read_study_file
from dvs_transfer.stages.evaluation.results import read_evaluation, read_predictions
from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.spec import FramesConfig
from dvs_transfer.stages.frames.strokes import encode_strokes
from dvs_transfer.stages.runs import packing
from dvs_transfer.stages.runs.checkpoint import load_weights, save_weights, weights_path
from dvs_transfer.stages.runs.history import read_history
from dvs_transfer.stages.runs.metrics import read_metrics
from dvs_transfer.stages.runs.nir_export import graph_of
from dvs_transfer.stages.runs.nir_import import read_graph
from dvs_transfer.stages.runs.released import read_released
from dvs_transfer.stages.runs.state import Division, States
from dvs_transfer.stages.sources import open_source, segment_tables
from dvs_transfer.stages.sources.atis import parse_box
from dvs_transfer.stages.sources.base import EventStream, Windows
from dvs_transfer.stages.sources.cepdvs import parse_path_file
from dvs_transfer.stages.sources.cifar import read_batch
from dvs_transfer.stages.sources.cutting import LongRecording
from dvs_transfer.stages.sources.digits import parse_idx
from dvs_transfer.stages.sources.formats.recordings import open_recording
from dvs_transfer.stages.sources.images import decode_image
from dvs_transfer.stages.sources.nomniglot import NUM_DRAWERS, parse_table
from dvs_transfer.stages.sources.random_access import FileBytes, InMemory, RandomAccess
from dvs_transfer.stages.sources.strokes import parse_strokes
from dvs_transfer.stages.sources.tree import ArchiveTree

from stores import build_store

FRAMES = FramesConfig(num_bins=3, size=16)


@dataclass(frozen=True)
class Target:
    """seeds(folder): valid inputs, made in an empty folder. parse(data, folder): read an input, whole; a file that it
    needs is written below the folder, which holds whatever `seeds` left there."""

    seeds: Callable[[Path], list[bytes]]
    parse: Callable[[bytes, Path], Any]


# Archives -------------------------------------------------------------------------------------------------------------

_FILES = {"a/one.bin": b"one" * 50, "a/b/zero.bin": bytes(3000), "two.txt": b""}


def _zips(folder: Path) -> list[bytes]:
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, content in _FILES.items():
                archive.writestr(name, content)
            archive.writestr("inner.zip", found[0] if found else b"")
        found.append(buffer.getvalue())
    return found


def _tars(folder: Path) -> list[bytes]:
    found = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
            names = (
                _FILES if kind == tarfile.USTAR_FORMAT else {**_FILES, "long/" * 40 + "name.txt": b"x", "ü.txt": b""}
            )
            for name, content in names.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        found.append(buffer.getvalue())
    return found


def _read_archive(data: bytes, folder: Path) -> None:
    _read_tree(InMemory(data, "archive"), depth=0)


def _read_tree(content: RandomAccess, depth: int) -> None:
    tree = ArchiveTree(content)
    for member in tree.members:
        tree.read(member.name)
        if member.name.endswith(".zip") and member.size and depth < 2:
            _read_tree(tree.open(member.name), depth + 1)


# Recordings -----------------------------------------------------------------------------------------------------------


def _recordings(*names: str) -> Target:
    """Files of these names, each format as its library writes it, read as a user's own folder is."""

    def seeds(folder: Path) -> list[bytes]:
        for name in names:
            (WRITERS | OTHER_WRITERS)[name](folder / name, make_events(200))
        return [(folder / name).read_bytes() for name in names]

    def parse(data: bytes, folder: Path) -> None:
        path = folder / f"fuzzed{Path(names[0]).suffix}"
        path.write_bytes(data)
        recording = open_recording(FileBytes(path), path.suffix)
        if isinstance(recording, EventStream):
            for _ in recording.pieces():
                pass
        make_frames(recording, FRAMES, None, str(path))

    return Target(seeds, parse)


def _cut(*names: str) -> Target:
    """Such files, cut into pieces."""

    def parse(data: bytes, folder: Path) -> None:
        path = folder / f"cut{Path(names[0]).suffix}"
        path.write_bytes(data)
        recording = LongRecording(open_recording(FileBytes(path), path.suffix), str(path))
        first_us, last_us = recording.span() or (0, 1)
        make_frames(recording.cut(first_us, (first_us + last_us) // 2 + 1, str(path)), FRAMES, None, str(path))

    return Target(_recordings(*names).seeds, parse)


def _segment_tables(folder: Path) -> list[bytes]:
    rows = "".join(f"two.csv,{start},{start + 50}.25,walk\n" for start in range(0, 500, 60))
    return [
        f"file,start_us,end_us,label\n{rows}".encode(),
        b"label;part;end [s];start [ms];file\nwalk;train;2e-3;0.5;two.csv\nrun;;1;2.5;'a b'/one.npz\n",
        b"class,startTime_usec,endTime_usec\n1,16985321,22994218\n11,24000000,30000000\n",
    ]


def _read_segments(data: bytes, folder: Path) -> None:
    segments = segment_tables.parse_table(data, "segments.csv", "" if b"file" in data else "one.aedat")
    assert all(segment.start_us < segment.end_us for segment in segments)
    list(segment_tables.overlaps(segments))
    segment_tables.cut_windows(segments, Windows(every_us=1000, length_us=20))


def _letters(folder: Path) -> list[bytes]:
    """As ASL-DVS has them."""
    events = make_events(200)
    columns = {"ts": events.t, "x": events.x, "y": events.y, "pol": events.p}
    found = []
    for compressed in (False, True):
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {name: values[:, None] for name, values in columns.items()}, do_compression=compressed)
        found.append(buffer.getvalue())
    return found


def _read_letter(data: bytes, folder: Path) -> None:
    """Through tonic."""
    path = folder / "ASLDVS" / "a"
    path.mkdir(parents=True, exist_ok=True)
    (path / "a_0001.mat").write_bytes(data)
    source = open_source("tonic:ASLDVS", folder)
    (sample,) = source.samples
    make_frames(source.decode(sample, source.read_bytes(sample)), FRAMES, None, sample.location)


# Images and labels ----------------------------------------------------------------------------------------------------


def _images(folder: Path) -> list[bytes]:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 31, 3), dtype=np.uint8))
    found = []
    for mode, kind, options in (
        ("RGB", "JPEG", {}),
        ("L", "JPEG", {"progressive": True}),
        ("CMYK", "JPEG", {}),
        ("RGB", "PNG", {}),
        ("P", "PNG", {"transparency": b"\0\1"}),
        ("I;16", "PNG", {}),
        ("P", "GIF", {}),
        ("RGB", "BMP", {}),
        ("1", "BMP", {}),
        ("RGB", "WEBP", {}),
    ):
        buffer = io.BytesIO()
        (picture.convert("I").convert(mode) if mode == "I;16" else picture.convert(mode)).save(buffer, kind, **options)
        found.append(buffer.getvalue())
    frames = [picture.convert("P"), picture.convert("P").rotate(90)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return [*found, buffer.getvalue()]


def _idx(folder: Path) -> list[bytes]:
    plain = struct.pack(">I3I", 0x0803, 3, 5, 4) + bytes(range(60))
    return [plain, gzip.compress(plain, mtime=0)]


def _annotations(folder: Path) -> list[bytes]:
    return [struct.pack("<hh", 2, 4) + struct.pack("<8h", *range(8)) + struct.pack("<hh", 2, 2) + bytes(8)]


def _path_files(folder: Path) -> list[bytes]:
    lines = ["number image events origin class", *(f"{i} data/img/{i}.jpg data/MAT/{i}.mat x cat" for i in range(4))]
    return ["\n".join(lines).encode()]


def _intervals(folder: Path) -> list[bytes]:
    return ["\n".join(["n,start,end", *(f"{i},{i * 1000},{i * 1000 + 900}.0" for i in range(NUM_DRAWERS))]).encode()]


def _strokes(folder: Path) -> list[bytes]:
    return [b"START\n18.954528,-43.534334,0\n19.7,-41.9,56\n60,-80.5,97\nBREAK\n30.5,-7,1204\nBREAK\n"]


# Configuration --------------------------------------------------------------------------------------------------------

_REPOSITORY = Path(__file__).resolve().parent.parent


def _configs(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((_REPOSITORY / "configs").glob("*.toml"))]


def _studies(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((_REPOSITORY / "configs").glob("*/*.toml"))]


def _as_file(name: str, read: Callable[[Path], Any]) -> Callable[[bytes, Path], Any]:
    """Write the input to a file, then read that."""

    def parse(data: bytes, folder: Path) -> Any:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        return read(folder / name)

    return parse


# Checkpoints, runs and stores -----------------------------------------------------------------------------------------


def _weights(folder: Path) -> list[bytes]:
    train(folder / "run", changed(epochs=1))
    network, info = load_weights(weights_path(folder / "run", "last"), torch.device("cpu"))
    save_weights(folder / "seed", network, info)
    return [(folder / "seed").read_bytes()]


def _published(folder: Path) -> list[bytes]:
    state = {"feature.0.weight": torch.ones(2, 2), "fc2.bias": torch.ones(4), "coefficient.0": torch.ones(1)}
    args = argparse.Namespace(num_classes=4, step=1, tau=3.0)
    document = {"state_dict": state, "arch": "Transfer_SCNN", "epoch": 1, "args": args, "metric": 5.0}
    torch.save(document, folder / "seed")
    legacy = io.BytesIO()
    torch.save(document, legacy, _use_new_zipfile_serialization=False)
    return [(folder / "seed").read_bytes(), legacy.getvalue()]


def _graphs(folder: Path) -> list[bytes]:
    import nir

    buffer = io.BytesIO()
    nir.write(buffer, graph_of(tiny_network(NETWORKS["scnn"]), "scnn", SIZE))
    return [buffer.getvalue()]


def _state(folder: Path) -> list[bytes]:
    train(folder / "run", changed(epochs=1, keep_checkpoints=1))
    path = next((folder / "run" / "checkpoints").glob("state-*.rest"))
    identity = json.loads(packing.from_bytes(path.read_bytes())["identity"])
    settings = {key: value for key, value in identity.items() if key not in vars(Division())}
    (folder / "identity").write_text(json.dumps(settings))
    return [path.read_bytes()]


def _read_state(data: bytes, folder: Path) -> None:
    """With a seal that fits, as whoever changes a file on purpose would write it."""
    path = next((folder / "run" / "checkpoints").glob("state-*.rest"))
    path.write_bytes(data)
    seal = path.with_suffix(".json")
    document = json.loads(seal.read_bytes())
    seal.write_text(json.dumps({**document, ".rest": content_digest(data)}))
    States(path.parent, 1, (folder / "identity").read_text()).load(lambda message: None)


def _stints(folder: Path) -> list[bytes]:
    train(folder / "run", changed(epochs=1))
    return [(folder / "run" / "stints.json").read_bytes()]


def _run_files(name: str, read: Callable[[Path], Any]) -> Target:
    """A file of a run folder, `name`; read(folder) reads it."""

    def seeds(folder: Path) -> list[bytes]:
        from dvs_transfer.stages import pairing
        from dvs_transfer.stages.pairing_config import PairingConfig

        stores = build_store(folder, "events"), build_store(folder, "images")
        pairs = pairing.run(PairingConfig(), *stores, folder).path
        make_run(folder / "run", pairs)
        return [(folder / "run" / name).read_bytes()]

    return Target(seeds, lambda data, folder: _as_file(f"run/{name}", lambda _: read(folder / "run"))(data, folder))


def _store_file(name: str) -> Target:
    """A file of a store; then the store is opened and read."""

    def seeds(folder: Path) -> list[bytes]:
        store = build_store(folder, "events", 6)
        return [(store / name).read_bytes()]

    def parse(data: bytes, folder: Path) -> None:
        path = next(folder.glob("*.zarr"))
        (path / name).write_bytes(data)
        store = FrameStore(path)
        store.read("frames", np.arange(len(store)))
        store.column("sample_id")

    return Target(seeds, parse)


TARGETS: Mapping[str, Target] = {
    "zip": Target(_zips, _read_archive),
    "tar": Target(_tars, _read_archive),
    "tar-gz": Target(lambda folder: [gzip.compress(data, mtime=0) for data in _tars(folder)], _read_archive),
    "atis": _recordings("records.bin"),
    "aedat2": _recordings("jaer.aedat"),
    "aedat4": _recordings("a.aedat4"),
    "aedat3": _recordings("caer.aedat"),
    "dat": _recordings("one.dat", "two.dat"),
    "evt": _recordings("two.raw", "twoone.raw", "three.raw", "four.raw"),
    "es": _recordings("dvs.es", "atis.es"),
    "hdf5": _recordings("group.h5", "prophesee.hdf5", "columns.h5", "table.h5", "filtered.h5"),
    "npz": _recordings("columns.npz", "structured.npz", "table.npz"),
    "npy": _recordings("structured.npy", "table.npy"),
    "mat5": _recordings("five.mat", "plain.mat", "tactile.mat"),
    "mat73": _recordings("seven.mat"),
    "text": _recordings(
        *("plain.csv", "named.csv", "faery.csv", "blank.txt", "seconds.txt", "prophesee.csv", "units.csv")
    ),
    "cut": _cut("columns.npz", "structured.npz", "table.npz"),
    "segments": Target(_segment_tables, _read_segments),
    "class-names": Target(
        lambda folder: [MAPPING.encode()], lambda data, folder: segment_tables.parse_mapping(data, "mapping")
    ),
    "tonic": Target(_letters, _read_letter),
    "image": Target(_images, lambda data, folder: decode_image(data, "image")),
    "idx": Target(_idx, lambda data, folder: parse_idx(data, 3, "idx")),
    "cifar-pickle": Target(
        lambda folder: [batch(random_pixels(3), (0, 5, 9))], lambda data, folder: read_batch(InMemory(data, "batch"))
    ),
    "annotation": Target(_annotations, lambda data, folder: parse_box(data, "annotation")),
    "cepdvs-table": Target(_path_files, lambda data, folder: parse_path_file(data, "pathFile.csv")),
    "strokes": Target(_strokes, lambda data, folder: encode_strokes(parse_strokes(data, "strokes"), "strokes")),
    "nomniglot-table": Target(_intervals, _as_file("0001.csv", parse_table)),
    "config": Target(_configs, _as_file("a.toml", load_config)),
    "study": Target(_studies, _as_file("a.toml", read_study_file)),
    "safetensors": Target(_weights, _as_file("w.safetensors", lambda path: load_weights(path, torch.device("cpu")))),
    "published-checkpoint": Target(_published, _as_file("model_best.pth.tar", read_released)),
    "nir": Target(_graphs, _as_file("x.nir", lambda path: read_graph(path, num_steps=3))),
    "training-state": Target(_state, _read_state),
    "metrics": _run_files("metrics.jsonl", read_metrics),
    "stints": Target(_stints, _as_file("stints.json", lambda path: read_history(path.parent))),
    "evaluation": _run_files("evaluation-test.json", lambda run: read_evaluation(run, "test")),
    "predictions": _run_files("predictions-test.csv", lambda run: read_predictions(run, read_evaluation(run, "test"))),
    "store-attributes": _store_file("zarr.json"),
    "array-metadata": _store_file("frames/zarr.json"),
    "shard": _store_file("frames/c/0/0/0/0/0"),
}
"""Parser -> target."""
