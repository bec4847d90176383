"""A small drawn data set of ten objects in the raw formats of Caltech101, N-Caltech101 and CEP-DVS."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from ...cache.durable import write_bytes
from ...cache.errors import SourceError
from ...cache.locks import writer_lock
from .. import simulation
from ..simulation import SimulateConfig, simulate_image
from ..simulation.provenance import Provenance
from ..simulation.run import RECORDINGS, SIMULATOR_VERSION
from ..sources.base import Events
from ..sources.images import decode_image
from ..tasks import TaskRunner, run_serially
from .config import DemoConfig
from .painting import paint
from .shapes import SHAPES

_Item = TypeVar("_Item")

DEMO_VERSION: Final = 1  # raised whenever the same configuration gives other files
PHOTOS: Final = Path("Caltech101", "101_ObjectCategories")
EVENTS: Final = Path("N-Caltech101")
PAIRS: Final = Path("CEP-DVS")
PAIR_IMAGES: Final = PAIRS / "data" / "img"
PAIR_EVENTS: Final = PAIRS / "data" / "MAT" / "img"
_JPEG_QUALITY: Final = 92
_DRAWINGS_PER_TASK: Final = 10
_MAT_HEADER_BYTES: Final = 116
_MAT_HEADER: Final = b"MATLAB 5.0 MAT-file, drawn by the demo of dvs-transfer"


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What `out` holds. num_events: of N-Caltech101's recordings alone. up_to_date: nothing was written."""

    class_names: tuple[str, ...]
    num_photos: int
    num_events: int
    num_pairs: int
    up_to_date: bool


@dataclass(frozen=True, slots=True)
class _Pair:
    """Row `number` of pathFile.csv."""

    number: int
    class_name: str


def run(config: DemoConfig, map_tasks: TaskRunner = run_serially) -> DemoReport:
    """Draw the photos, record them with the simulator, and write the three data sets as the real ones are laid out.

    `<out>/Caltech101/101_ObjectCategories/<class>/image_NNNN.jpg`; their recordings and annotations under
    `<out>/N-Caltech101/`; and other drawings of the same classes as pairs under `<out>/CEP-DVS/`: `pathFile.csv`,
    `data/img/<i>.jpg`, `data/MAT/img/<i>.mat` (x, y, ts in us, p in {-1, 1}). The same bytes for any number of workers.
    `<out>/demo.json` comes last; where it agrees with the configuration and the files are there, nothing is done.

    Raises ConfigError when `out` holds something else, OSError when writing fails.
    """
    photos = [f"{name}/image_{number:04d}.jpg" for name in SHAPES for number in range(1, config.images_per_class + 1)]
    # Classes take turns, as in a data set that was not recorded class by class: file order says nothing of the class.
    pairs = [_Pair(i, tuple(SHAPES)[i % len(SHAPES)]) for i in range(config.pairs_per_class * len(SHAPES))]
    identity = {
        "demo_version": DEMO_VERSION,
        "simulator_version": SIMULATOR_VERSION,
        "demo": config.model_dump(mode="json", exclude={"out"}),
    }
    provenance = Provenance(config.out, "demo", identity)
    if report := _up_to_date(provenance.finished(), config.out, photos, pairs):
        return report
    with writer_lock(config.out, provenance.name):
        if report := _up_to_date(provenance.check(), config.out, photos, pairs):
            return report
        provenance.begin()
        for folder in (*(PHOTOS / name for name in SHAPES), PAIR_IMAGES, PAIR_EVENTS):
            (config.out / folder).mkdir(parents=True, exist_ok=True)
        list(map_tasks(partial(_draw_photos, config), _chunks(photos), label="draw photos"))
        simulate = SimulateConfig(images=config.out / PHOTOS, out=config.out / EVENTS, simulation=config.simulation)
        recorded = simulation.run(simulate, map_tasks)
        if recorded.num_recordings != len(photos):
            raise SourceError(f"{config.out / PHOTOS}: these photos gave no recording: {recorded.quarantined}")
        list(map_tasks(partial(_make_pairs, config), _chunks(pairs), label="make CEP-DVS pairs"))
        write_bytes(config.out / PAIRS / "pathFile.csv", _path_file(pairs).encode())
        provenance.finish({"num_events": recorded.num_events})
    return DemoReport(tuple(SHAPES), len(photos), recorded.num_events, len(pairs), up_to_date=False)


def _up_to_date(
    done: dict[str, Any] | None, out: Path, photos: Sequence[str], pairs: Sequence[_Pair]
) -> DemoReport | None:
    if done is None or not _is_whole(out, photos, pairs):
        return None
    return DemoReport(tuple(SHAPES), len(photos), done["num_events"], len(pairs), up_to_date=True)


def _is_whole(out: Path, photos: Sequence[str], pairs: Sequence[_Pair]) -> bool:
    recordings = (Path(EVENTS, RECORDINGS, photo).with_suffix(".bin") for photo in photos)
    images = (PHOTOS / photo for photo in photos)
    files = [*images, *recordings, *(path for pair in pairs for path in _pair_files(pair)), PAIRS / "pathFile.csv"]
    return all((out / path).is_file() for path in files)


def _chunks(items: Sequence[_Item]) -> list[Sequence[_Item]]:
    return [items[start : start + _DRAWINGS_PER_TASK] for start in range(0, len(items), _DRAWINGS_PER_TASK)]


def _pair_files(pair: _Pair) -> tuple[Path, Path]:
    return PAIR_IMAGES / f"{pair.number}.jpg", PAIR_EVENTS / f"{pair.number}.mat"


def _path_file(pairs: Sequence[_Pair]) -> str:
    """One header line; then for each sample, in order, five words, the last of which is its class."""
    lines = ["number image events origin class"]
    for pair in pairs:
        image, events = (path.relative_to(PAIRS).as_posix() for path in _pair_files(pair))
        lines.append(f"{pair.number} {image} {events} drawn {pair.class_name}")
    return "\n".join(lines) + "\n"


def _draw_photos(config: DemoConfig, photos: Sequence[str]) -> None:
    for photo in photos:
        path = config.out / PHOTOS / photo
        write_bytes(path, _jpeg(path.parent.name, f"{config.seed}/photo/{photo}"))


def _make_pairs(config: DemoConfig, pairs: Sequence[_Pair]) -> None:
    for pair in pairs:
        image, recording = (config.out / path for path in _pair_files(pair))
        jpeg = _jpeg(pair.class_name, f"{config.seed}/pair/{pair.number}")
        write_bytes(image, jpeg)
        events = simulate_image(decode_image(jpeg, str(image)), config.simulation, f"pair/{pair.number}")
        write_bytes(recording, encode_mat(events))


def _jpeg(class_name: str, seed_key: str) -> bytes:
    seed = int.from_bytes(hashlib.sha256(seed_key.encode()).digest(), "little")
    picture = paint(class_name, np.random.Generator(np.random.PCG64(seed)))
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def encode_mat(events: Events) -> bytes:
    """A recording as CEP-DVS stores it: a MAT 5 file with columns x, y, ts (us) and p (-1 or 1)."""
    signs = np.where(events.p == 1, 1, -1)
    columns: dict[str, NDArray[np.integer[Any]]] = {
        "x": events.x,
        "y": events.y,
        "ts": events.t.astype(np.int32),
        "p": signs.astype(np.int8),
    }
    buffer = io.BytesIO()
    savemat(buffer, {name: values[:, None] for name, values in columns.items()}, do_compression=True)
    data = bytearray(buffer.getvalue())
    data[:_MAT_HEADER_BYTES] = _MAT_HEADER.ljust(_MAT_HEADER_BYTES)  # scipy writes the time of day there
    return bytes(data)
