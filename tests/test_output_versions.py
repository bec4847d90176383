"""A version is raised when, and only when, the output changes: of readers, frames, demo, simulator and analyses.

`golden/outputs.json` keeps the output on small fixed inputs with the version beside it: a digest where the output is
exact, numbers where processors and libraries round otherwise. After a version was raised, or for a new reader,
`UPDATE_GOLDEN=1 pytest tests/test_output_versions.py` keeps what comes out now; it changes nothing of the same version.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
import tarfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_data import write_cifar10, write_cifar10dvs
from drawings import write_drawings, write_strokes
from long_recordings import write_table
from own_recordings import SENSOR, WRITERS, make_events
from PIL import Image
from recordings import judged

from dvs_transfer.cache.digests import content_digest, fingerprint
from dvs_transfer.pipeline.results import analyse, analyses_of
from dvs_transfer.stages import frames
from dvs_transfer.stages.analysis.catalogue import ANALYSES
from dvs_transfer.stages.demo.painting import SHAPES, paint
from dvs_transfer.stages.demo.run import DEMO_VERSION, encode_mat
from dvs_transfer.stages.frames.binning import make_frames
from dvs_transfer.stages.frames.images import encode_image
from dvs_transfer.stages.frames.spec import FramesConfig, ImagesConfig
from dvs_transfer.stages.frames.strokes import encode_strokes
from dvs_transfer.stages.simulation import CAMERAS, simulate_image
from dvs_transfer.stages.simulation.run import SIMULATOR_VERSION
from dvs_transfer.stages.sources import SOURCES, ImageReader, open_source
from dvs_transfer.stages.sources.atis import box_contour, encode_annotation, encode_records
from dvs_transfer.stages.sources.base import AtisRecords, Events, EventStream
from dvs_transfer.stages.sources.strokes import parse_strokes

KEPT = Path(__file__).parent / "golden" / "outputs.json"
BEFORE = Path(__file__).parent / "fixtures" / "version_before.tar.gz"
TONIC = "tonic:NMNIST"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose JPEG files and weights are always the same."""
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(BEFORE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "version_before"


def require_kept(name: str, version: int | str, output: Any) -> None:
    """Fail when the output is another one than that kept for this version."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if os.environ.get("UPDATE_GOLDEN") and kept.get(name, {}).get("version") != version:
        kept[name] = {"version": version, "output": output}
        KEPT.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    assert name in kept, f"{name}: no output is kept; run this test with UPDATE_GOLDEN=1"
    assert kept[name]["version"] == version, f"{name}: its version is new; run this test with UPDATE_GOLDEN=1"
    assert is_same(output, kept[name]["output"]), (
        f"{name}: gives another output than version {version} did: {output}. Raise its version, if that is meant, then "
        "run this test with UPDATE_GOLDEN=1; stores, folders and results of the version before are made again"
    )


def is_same(found: Any, kept: Any) -> bool:
    """Equal, but for the last digits of fractions."""
    if isinstance(kept, dict):
        return found.keys() == kept.keys() and all(is_same(found[key], value) for key, value in kept.items())
    if isinstance(kept, list):
        return len(found) == len(kept) and all(map(is_same, found, kept))
    return found == (pytest.approx(kept, rel=1e-2, abs=1e-6) if isinstance(kept, float) else kept)


# Readers --------------------------------------------------------------------------------------------------------------


def write_nmnist(raw: Path) -> None:
    for number, name in enumerate(("Train/3/00007.bin", "Train/0/00002.bin", "Test/3/00007.bin")):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(encode_records(make_events(50, number, (34, 34))))


def write_mnist(raw: Path) -> None:
    raw.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    (raw / "t10k-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x0803, 3, 28, 28) + pixels.tobytes())
    (raw / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x0801, 3) + bytes([7, 0, 7]))


def write_cepdvs(raw: Path, photos: Path) -> None:
    for folder in ("data/MAT/img", "data/img"):
        (raw / folder).mkdir(parents=True)
    (raw / "pathFile.csv").write_text("header\n0 a b c fish\n1 a b c anchor\n")
    for number, photo in enumerate(sorted(photos.rglob("*.jpg"))[:2]):
        (raw / f"data/MAT/img/{number}.mat").write_bytes(encode_mat(make_events(50, number)))
        shutil.copy(photo, raw / f"data/img/{number}.jpg")


def write_folders(raw: Path, photos: Path) -> None:
    """A user's own recordings in every format, and images in some."""
    for number, (name, write) in enumerate(WRITERS.items()):
        path = raw / "recordings" / "ab"[number % 2] / name.replace(".", "_", name.count(".") - 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, make_events(50, number))
    lines = (raw / "recordings" / "a" / "plain.csv").read_bytes().splitlines(keepends=True)
    (raw / "recordings" / "a" / "members.csv.gz").write_bytes(b"".join(map(gzip.compress, lines)))
    for number, photo in enumerate(sorted(photos.rglob("*.jpg"))[:2]):
        (raw / "images" / "ab"[number]).mkdir(parents=True)
        shutil.copy(photo, raw / "images" / "ab"[number])
        Image.open(photo).convert("LA").save(raw / "images" / "ab"[number] / "grey.png")


@pytest.fixture(scope="module")
def raw_data(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Source -> a small data set of it."""
    raw = tmp_path_factory.mktemp("raw")
    annotation = before / "data/raw/events/Caltech101_annotations/ant/annotation_0001.bin"
    annotation.parent.mkdir(parents=True)
    annotation.write_bytes(encode_annotation(*[box_contour(1, 2, 30, 40)] * 2))
    write_nmnist(raw / "NMNIST")
    write_mnist(raw / "mnist")
    write_cepdvs(raw / "cepdvs", before / "data/raw/images")
    write_folders(raw, before / "data/raw/images")
    write_strokes(write_drawings(raw))
    write_table(raw / "segments", "two.csv,0,25000,walk", "a/one.npz,25000,300000,run", "two.csv,90000,190000,run")
    return {
        "ncaltech101": before / "data/raw/events",
        "caltech101": before / "data/raw/images",
        "cepdvs": raw / "cepdvs",
        "cepdvs-images": raw / "cepdvs",
        "nmnist": raw / "NMNIST",
        "mnist": raw / "mnist",
        "cifar10dvs": write_cifar10dvs(raw / "cifar10dvs", 1),
        "cifar10": write_cifar10(raw / "cifar10", 1),
        "nomniglot": raw / "nomniglot",
        "omniglot": raw / "omniglot",
        "omniglot-strokes": raw / "omniglot",
        "folder": raw / "recordings",
        "segments": raw / "segments",
        "image-folder": raw / "images",
        TONIC: raw,
    }


def described(decoded: Any) -> Any:
    """A recording or an image, as something with a digest."""
    if isinstance(decoded, EventStream):
        pieces = list(decoded.pieces())
        columns = [np.concatenate([getattr(piece, name) for piece in pieces]) for name in "xytp"]
        return described(Events(*columns, decoded.sensor_size, decoded.guessed_unit))
    if isinstance(decoded, Events):
        checked = judged(decoded)
        columns = {name: getattr(checked, name) for name in "xytp"}
        return [
            {name: described(column) for name, column in columns.items()},
            decoded.sensor_size,
            decoded.guessed_unit,
        ]
    if isinstance(decoded, AtisRecords):
        return [described(decoded.data), decoded.sensor_size]
    return [decoded.dtype.name, decoded.shape, content_digest(np.ascontiguousarray(decoded).tobytes())]


@pytest.mark.parametrize("name", [*SOURCES, TONIC])
def test_readers(name: str, raw_data: Mapping[str, Path]) -> None:
    source = open_source(name, raw_data[name])
    has_strokes = isinstance(source, ImageReader) and source.has_strokes
    samples = [
        [
            *(sample.sample_id, sample.label, source.metadata(sample), described(source.decode(sample, content))),
            *([described(stroke) for stroke in source.read_strokes(sample)] if has_strokes else []),
        ]
        for sample in source.samples
        for content in (source.read_content(sample),)
    ]
    require_kept(f"reader {name}", source.version, fingerprint([source.class_names, samples]))


# Frames and images ----------------------------------------------------------------------------------------------------


def frames_of(mode: str, resize: str, crop: bool) -> str:
    config = FramesConfig(
        mode=mode, num_bins=4, window_us=40_000 if mode == "window" else None, resize=resize,
        size=0 if resize == "none" else 20, crop=crop, sensor_size=SENSOR,
    )  # fmt: skip
    made = make_frames(make_events(2000), config)
    counts = (made.num_events, made.num_dropped, made.num_in_frames, made.num_saturated, made.duration_us, made.extent)
    return fingerprint([described(made.data), counts])


def test_frames() -> None:
    kinds = product(("time", "count", "window", "exact"), ("bilinear", "sum", "none"), (True, False))
    output = {f"{mode} {resize}{' cropped' * crop}": frames_of(mode, resize, crop) for mode, resize, crop in kinds}
    rgb = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    for order in ("after_resize", "before_resize"):
        output[f"image, V {order}"] = fingerprint(
            list(map(described, encode_image(rgb, ImagesConfig(value_order=order))))
        )
    require_kept("frames", frames.VERSION, output)
    drawing = parse_strokes(b"START\n9.5,-20,0\n40,-20.25,300\n60,-70,800\nBREAK\n80,-80,1500\nBREAK\n", "drawing")
    require_kept("strokes", frames.VERSION, encode_strokes(drawing, "drawing")[::16].astype(float).tolist())


# Demo, simulator, analyses --------------------------------------------------------------------------------------------


def blocks(plane: np.ndarray[Any, Any]) -> list[float]:
    """Means of 4 x 4 blocks."""
    rows = [block for part in np.array_split(plane, 4) for block in np.array_split(part, 4, axis=1)]
    return [round(float(block.mean()), 3) for block in rows]


def test_demo() -> None:
    pictures = {name: paint(name, np.random.default_rng(0)) for name in SHAPES}
    require_kept("demo", DEMO_VERSION, {name: [*picture.shape, *blocks(picture)] for name, picture in pictures.items()})


def test_simulator() -> None:
    y, x = np.mgrid[:40, :60]
    image = (127 + 80 * np.sin(x / 5) * np.cos(y / 7) + 40 * ((x - 30) ** 2 + (y - 20) ** 2 < 90)).astype(np.uint8)
    output = {}
    for camera, config in CAMERAS.items():
        events = simulate_image(image, config.model_copy(update={"noise_rate_hz": 5.0}), "a/b")
        counts = np.zeros((2, config.sensor_height, config.sensor_width))
        np.add.at(counts, (events.p, events.y, events.x), 1)
        times = np.histogram(events.t, 6, (0, 300_000))[0]
        output[camera] = {"off": blocks(counts[0]), "on": blocks(counts[1]), "times": [float(n) for n in times]}
    require_kept("simulator", SIMULATOR_VERSION, output)


SMALL: Mapping[str, dict[str, Any]] = {
    "landscape": {"points_1d": 3, "points_2d": 3},
    "alignment": {"batch_size": 8},
    "few-shot": {"ways": (2,), "shots": (1, 2), "queries": 1, "episodes": 20},
}
OF_A_RUN = {
    *("analysis", "revision", "fingerprint", "settings", "seconds", "split_digest", "weights_digest", "version"),
    "selection",
}
OF_A_PROCESSOR = {"kl_divergence"}  # t-SNE goes another way from a last digit on


@pytest.mark.parametrize("name", ANALYSES)
def test_analyses(name: str, before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(before)
    run = Path("runs/finished")
    assert (name in analyses_of(run)) == (ANALYSES[name].draw is not None)
    analyse(run, name, restart=True, device="cpu", threads=1, **SMALL.get(name, {}))
    report, arrays = ANALYSES[name].read(run)
    output = report.model_dump(mode="json", exclude=OF_A_RUN | OF_A_PROCESSOR)
    output["arrays"] = {key: [list(array.shape), *numbers_of(name, array)] for key, array in arrays.items()}
    require_kept(f"analysis {name}", ANALYSES[name].version, output)


def numbers_of(analysis: str, array: np.ndarray[Any, Any]) -> list[float]:
    """What is alike where an array of numbers is; nothing for text, and for t-SNE, which a last digit moves."""
    is_number = array.dtype.kind in "fiu" and array.size and analysis != "embedding"
    return [float(array.mean()), float(array.std())] if is_number else []


def test_an_output_that_changes_without_its_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPDATE_GOLDEN", "1")
    kept = KEPT.read_bytes()
    with pytest.raises(AssertionError, match="frames: gives another output than version"):
        require_kept("frames", frames.VERSION, {})
    assert KEPT.read_bytes() == kept
