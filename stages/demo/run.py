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
from PIL import Image
from scipy.io import savemat

from ...cache.durable import write_bytes
from ...cache.errors import SourceError
from .. import simulation
from ..simulation import SimulateConfig, simulate_image
from ..simulation.provenance import Provenance
from ..simulation.run import RECORDINGS, SIMULATOR_VERSION
from ..sources.base import Events
from ..sources.images import decode_image
from ..tasks import TaskRunner, run_serially
from .config import DemoConfig
from .painting import SHAPES, paint

_Item = TypeVar("_Item")

DEMO_VERSION: Final = 1  # raised whenever the same configuration gives other files
PHOTOS: Final = Path("Caltech101", "101_ObjectCategories")
EVENTS: Final = Path("N-Caltech101")
PAIRS: Final = Path("CEP-DVS")
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


def run(config: DemoConfig, map_tasks: TaskRunner = run_serially) -> DemoReport:
    """Draw the photos, record them with the simulator, and write the three data sets as the real ones are laid out.

    `<out>/Caltech101/101_ObjectCategories/<class>/image_NNNN.jpg`; their recordings and annotations under
    `<out>/N-Caltech101/`; and other drawings of the same classes as pairs under `<out>/CEP-DVS/`: `pathFile.csv`,
    `data/img/<i>.jpg`, `data/MAT/img/<i>.mat` (x, y, ts in us, p in {-1, 1}). The same bytes for any number of workers.
    `<out>/demo.json` comes last; where it agrees with the configuration and the files are there, nothing is done.

    Raises ConfigError when `out` holds something else, OSError when writing fails.
    """
    photos = [f"{name}/image_{number:04d}" for name in SHAPES for number in range(1, config.images_per_class + 1)]
    # Classes take turns, as in a data set that was not recorded class by class: file order says nothing of the class.
    pairs = list(enumerate([*SHAPES] * config.pairs_per_class))
    files = [PAIRS / "pathFile.csv", *(path for number, _ in pairs for path in _pair_files(number))]
    for photo in photos:
        files += [PHOTOS / f"{photo}.jpg", EVENTS / RECORDINGS / f"{photo}.bin"]

    def report_of(num_events: int, up_to_date: bool) -> DemoReport:
        return DemoReport(tuple(SHAPES), len(photos), num_events, len(pairs), up_to_date)

    def find(done: dict[str, Any]) -> DemoReport | None:
        is_whole = all((config.out / file).is_file() for file in files)
        return report_of(done["num_events"], True) if is_whole else None

    def make() -> tuple[DemoReport, dict[str, Any]]:
        for folder in {(config.out / file).parent for file in files if EVENTS not in file.parents}:
            folder.mkdir(parents=True, exist_ok=True)
        list(map_tasks(partial(_draw_photos, config), _chunks(photos), label="draw photos"))
        simulate = SimulateConfig(images=config.out / PHOTOS, out=config.out / EVENTS, simulation=config.simulation)
        recorded = simulation.run(simulate, map_tasks)
        if recorded.num_recordings != len(photos):
            raise SourceError(f"{config.out / PHOTOS}: these photos gave no recording: {recorded.quarantined}")
        list(map_tasks(partial(_make_pairs, config), _chunks(pairs), label="make CEP-DVS pairs"))
        write_bytes(config.out / PAIRS / "pathFile.csv", _path_file(pairs).encode())
        return report_of(recorded.num_events, False), {"num_events": recorded.num_events}

    identity = {
        "demo_version": DEMO_VERSION,
        "simulator_version": SIMULATOR_VERSION,
        "demo": config.model_dump(mode="json", exclude={"out"}),
    }
    return Provenance(config.out, "demo", identity).once(find, make)


def _chunks(items: Sequence[_Item]) -> list[Sequence[_Item]]:
    return [items[start : start + _DRAWINGS_PER_TASK] for start in range(0, len(items), _DRAWINGS_PER_TASK)]


def _pair_files(number: int) -> tuple[Path, Path]:
    return PAIRS / "data" / "img" / f"{number}.jpg", PAIRS / "data" / "MAT" / "img" / f"{number}.mat"


def _path_file(pairs: Sequence[tuple[int, str]]) -> str:
    """One header line; then for each sample, in order, five words, the last of which is its class."""
    lines = ["number image events origin class"]
    for number, class_name in pairs:
        image, events = (path.relative_to(PAIRS).as_posix() for path in _pair_files(number))
        lines.append(f"{number} {image} {events} drawn {class_name}")
    return "\n".join(lines) + "\n"


def _draw_photos(config: DemoConfig, photos: Sequence[str]) -> None:
    for photo in photos:
        jpeg = _jpeg(photo.partition("/")[0], f"{config.seed}/photo/{photo}.jpg")
        write_bytes(config.out / PHOTOS / f"{photo}.jpg", jpeg)


def _make_pairs(config: DemoConfig, pairs: Sequence[tuple[int, str]]) -> None:
    for number, class_name in pairs:
        image, recording = (config.out / path for path in _pair_files(number))
        jpeg = _jpeg(class_name, f"{config.seed}/pair/{number}")
        write_bytes(image, jpeg)
        events = simulate_image(decode_image(jpeg, str(image)), config.simulation, f"pair/{number}")
        write_bytes(recording, encode_mat(events))


def _jpeg(class_name: str, seed_key: str) -> bytes:
    seed = int.from_bytes(hashlib.sha256(seed_key.encode()).digest(), "little")
    picture = paint(class_name, np.random.Generator(np.random.PCG64(seed)))
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def encode_mat(events: Events) -> bytes:
    """A recording as CEP-DVS stores it: a MAT 5 file with columns x, y, ts (us) and p (-1 or 1)."""
    signs = np.where(events.p == 1, 1, -1).astype(np.int8)
    columns: dict[str, Any] = {"x": events.x, "y": events.y, "ts": events.t.astype(np.int32), "p": signs}
    buffer = io.BytesIO()
    savemat(buffer, {name: values[:, None] for name, values in columns.items()}, do_compression=True)
    data = bytearray(buffer.getvalue())
    data[:_MAT_HEADER_BYTES] = _MAT_HEADER.ljust(_MAT_HEADER_BYTES)  # scipy writes the time of day there
    return bytes(data)
