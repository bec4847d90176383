"""A folder of class folders of images becomes a data set in N-Caltech101's layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from ...cache.digests import file_digest, manifest_digest
from ...cache.durable import write_bytes
from ...cache.errors import SourceError
from ..sources.atis import box_contour, encode_annotation, encode_records
from ..sources.images import IMAGE_SUFFIXES, decode_image
from ..sources.tree import FolderTree
from ..tasks import TaskRunner, run_serially
from .config import SimulateConfig
from .provenance import Provenance
from .sensor import NO_EVENTS, shown, simulate_image

SIMULATOR_VERSION: Final = 2  # raised whenever the same image and configuration give other events
RECORDINGS: Final = "Caltech101"
ANNOTATIONS: Final = "Caltech101_annotations"
_IMAGES_PER_TASK: Final = 16


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """What `out` holds after a run.

    quarantined: (image, reason) of each image without a recording. ignored: what in the folder is no image.
    up_to_date: it was all there, and nothing was written.
    """

    num_recordings: int
    num_events: int
    quarantined: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...]
    up_to_date: bool


def run(config: SimulateConfig, map_tasks: TaskRunner = run_serially) -> SimulationReport:
    """Write a recording and an annotation for each image; the same bytes for any number of workers.

    `<images>/<class>/image_NNNN.jpg` becomes `<out>/Caltech101/<class>/image_NNNN.bin` and
    `<out>/Caltech101_annotations/<class>/annotation_NNNN.bin`. Box and outline there are both the image's frame, where
    it lies in the middle of the motion. `<out>/simulation.json` comes last and says how the folder was made: where it
    agrees with configuration and images, nothing is done. An interrupted run is done again, to the same result.

    Raises SourceError when there are no images or two of them would write the same file, ConfigError when `out` holds
    something else, OSError when writing fails. A broken image is left out and listed in the report.
    """
    names, ignored = _list_images(config.images)
    identity = {
        "simulator_version": SIMULATOR_VERSION,
        "simulation": config.simulation.model_dump(mode="json"),
        "images": manifest_digest((name, file_digest(config.images / name)) for name in names),
    }

    def report_of(counts: dict[str, Any], up_to_date: bool) -> SimulationReport:
        quarantined = tuple((name, reason) for name, reason in counts["quarantined"])
        return SimulationReport(counts["num_recordings"], counts["num_events"], quarantined, ignored, up_to_date)

    def find(done: dict[str, Any]) -> SimulationReport | None:
        num_recordings = sum(1 for _ in config.out.glob(f"{RECORDINGS}/*/*.bin"))
        return report_of(done, True) if num_recordings == done["num_recordings"] else None

    def make() -> tuple[SimulationReport, dict[str, Any]]:
        outcomes = dict(zip(names, _simulate_all(config, names, map_tasks), strict=True))
        recorded = [found for found in outcomes.values() if isinstance(found, int)]
        counts = {
            "num_recordings": len(recorded),
            "num_events": sum(recorded),
            "quarantined": [found for found in outcomes.items() if isinstance(found[1], str)],
        }
        return report_of(counts, False), counts

    return Provenance(config.out, "simulation", identity).once(find, make)


def _list_images(folder: Path) -> tuple[list[str], tuple[str, ...]]:
    """The images as "<class>/<file name>", in code point order, and what else lies there."""
    if not folder.is_dir():
        raise SourceError(f"{folder}: is not a folder; expected a folder with one folder of images for each class")
    names: list[str] = []
    ignored: list[str] = []
    for class_folder in sorted(folder.iterdir()):
        if not class_folder.is_dir():
            ignored.append(class_folder.name)
            continue
        for path in sorted(class_folder.iterdir()):
            is_image = path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
            (names if is_image else ignored).append(f"{class_folder.name}/{path.name}")
    if not names:
        raise SourceError(
            f"{folder}: holds no images; expected <class>/<name> with one of the endings {', '.join(IMAGE_SUFFIXES)}"
        )
    taken: dict[Path, str] = {}
    for name in names:
        _, annotation = _outputs(name)
        if annotation in taken:
            raise SourceError(f"{folder}: {taken[annotation]} and {name} would write the same {annotation}; rename one")
        taken[annotation] = name
    return names, tuple(ignored)


def _outputs(name: str) -> tuple[Path, Path]:
    """Recording and annotation of the image "<class>/<file name>", relative to the output folder."""
    class_name, stem = Path(name).parent.name, Path(name).stem
    recording = Path(RECORDINGS, class_name, f"{stem}.bin")
    return recording, Path(ANNOTATIONS, class_name, f"annotation_{stem.removeprefix('image_')}.bin")


def _simulate_all(config: SimulateConfig, names: Sequence[str], map_tasks: TaskRunner) -> list[int | str]:
    """Of each image its number of events, or why it has no recording."""
    for folder in {(config.out / path).parent for name in names for path in _outputs(name)}:
        folder.mkdir(parents=True, exist_ok=True)
    chunks = [names[start : start + _IMAGES_PER_TASK] for start in range(0, len(names), _IMAGES_PER_TASK)]
    results = map_tasks(partial(_simulate_chunk, config), chunks, label="simulate")
    return [outcome for chunk in results for outcome in chunk]


def _simulate_chunk(config: SimulateConfig, names: Sequence[str]) -> list[int | str]:
    return [_simulate_one(config, name) for name in names]


def _simulate_one(config: SimulateConfig, name: str) -> int | str:
    path, simulation = config.images / name, config.simulation
    try:
        image = decode_image(FolderTree(config.images).read(name), str(path))
    except SourceError as error:
        return str(error)
    events = simulate_image(image, simulation, str(Path(name).with_suffix("")))
    if not len(events):
        return f"{path}: {NO_EVENTS}"
    recording, annotation = _outputs(name)
    frame = box_contour(*shown(image.shape[1], image.shape[0], simulation).box(simulation.amplitude_px))
    write_bytes(config.out / recording, encode_records(events))
    write_bytes(config.out / annotation, encode_annotation(frame, frame))
    return len(events)
