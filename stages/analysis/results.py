"""Results of analyses in `<run>/analysis/`: `<name>.json`, with `<name>.npz` for arrays; made once."""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ...cache import durable
from ...cache.digests import file_digest, fingerprint
from ...cache.documents import read_document
from ...cache.errors import TrainingError
from ...cache.locks import writer_lock
from ...cache.pairs import Reach
from ..batches.data import SplitName
from ..network.runtime import select_device, torch_settings
from ..runs.checkpoint import load_weights, require_same_data, weights_path
from .config import AnalysisConfig
from .subject import AnalysedSplit, OpenSplit, Progress, Subject, choose_rows, no_progress, read_training

Arrays = Mapping[str, NDArray[Any]]
Fields = dict[str, Any]
Config = TypeVar("Config", bound=AnalysisConfig)
Report = TypeVar("Report", bound="AnalysisReport")

# To be raised when an analysis computes something else than before: kept results are then not used, nor shown.
Revision = Literal[2]
_REVISION: Revision = 2


class AnalysisReport(BaseModel):
    """What every result says of itself. fingerprint: of weights, data and settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    analysis: str
    revision: Revision
    fingerprint: str
    settings: dict[str, Any]
    split: str
    num_recordings: int
    checkpoint: str
    epoch: int = Field(description="epochs that the weights were trained")
    method: str
    protocol: str
    photos_in_reach: Reach = Field("unknown", description="of held-out recordings, in what taught the weights")
    split_digest: str
    arrays: tuple[str, ...] = Field(description="names of the arrays in the .npz; empty: there is no such file")
    note: str = Field("", description="what could not be measured for this run, and why")
    seconds: float


MAX_ARRAYS_BYTES = 1 << 28  # of a result; a picture of a few samples has some MB


def result_path(run_folder: Path, name: str, suffix: str = ".json") -> Path:
    return run_folder / "analysis" / f"{name}{suffix}"


def read_result(kind: type[Report], run_folder: Path, name: str) -> tuple[Report, Arrays]:
    """A kept result. Raises TrainingError: there is none, or it is damaged."""
    path = result_path(run_folder, name)
    again = f"run `dvs-transfer analyse {name} {run_folder}`"
    try:
        report = kind.model_validate_json(read_document(path))
        return report, _read_arrays(path.with_suffix(".npz"), report) if report.arrays else {}
    except FileNotFoundError as error:
        raise TrainingError(f"{error.filename}: no such result; {again}") from None
    except (ValueError, KeyError, OSError, EOFError, BadZipFile, zlib.error) as error:
        raise TrainingError(f"{path}: damaged, or of another version ({str(error).splitlines()[0]}); {again}") from None


def perform(
    name: str,
    kind: type[Report],
    measure: Callable[[Subject, Config, Progress], tuple[Fields, Arrays]],
    config: Config,
    open_split: OpenSplit,
    run_folder: Path,
    *,
    restart: bool = False,
    progress: Progress = no_progress,
) -> Report:
    """The kept result of `measure` where weights, data and settings are the same, else a new one, which is kept.

    Raises TrainingError: no weights, weights of other data, a split without recordings.
    """
    device = select_device(config.device)
    with torch_settings(threads=config.threads), writer_lock(run_folder / "analysis", name):
        weights = weights_path(run_folder, config.checkpoint)
        network, info = load_weights(weights, device)
        config, split = _open(config, open_split)
        require_same_data(info, split, run_folder)
        rows = choose_rows(split.event_labels, config.num_recordings, config.seed)
        if not len(rows):
            raise TrainingError(f"the {config.split} split has no recordings; name another one with --split")
        settings = config.model_dump(mode="json")
        identity = {
            "analysis": name,
            "revision": _REVISION,
            "weights": file_digest(weights),
            "data": [split.fingerprint, split.split_digest],
            "settings": {key: value for key, value in settings.items() if key not in config.neutral},
        }
        digest = fingerprint(identity)
        kept = _kept(kind, run_folder, name, digest)
        if kept is not None and not restart:  # which, of an earlier version, does not say what was in reach
            return kept.model_copy(update={"photos_in_reach": info.photos_in_reach_of(split)})
        for suffix in (".json", ".npz", ".png", *((".jsonl",) if restart else ())):
            result_path(run_folder, name, suffix).unlink(missing_ok=True)
        started = time.perf_counter()
        training = read_training(run_folder)
        subject = Subject(network, info, training, split, rows, device, run_folder, digest)
        fields, arrays = measure(subject, config, progress)
        report = kind(
            analysis=name,
            revision=_REVISION,
            fingerprint=digest,
            settings=settings,
            split=config.split,
            num_recordings=len(rows),
            checkpoint=config.checkpoint,
            epoch=info.epoch,
            method=info.method,
            protocol=info.protocol,
            photos_in_reach=info.photos_in_reach_of(split),
            split_digest=split.split_digest,
            arrays=tuple(arrays),
            seconds=time.perf_counter() - started,
            **fields,
        )
        if arrays:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays, fingerprint=np.array(digest))  # type: ignore[arg-type]
            durable.write_bytes(result_path(run_folder, name, ".npz"), buffer.getvalue())
        durable.write_json(result_path(run_folder, name), report.model_dump(mode="json"))
    return report


def _open(config: Config, open_split: OpenSplit) -> tuple[Config, AnalysedSplit]:
    """The split to look at, and the configuration with its name."""
    name: SplitName = "validation" if config.split == "auto" else config.split
    split = open_split(name)
    if config.split == "auto" and not len(split):
        name, split = "train", open_split("train")
    return config.model_copy(update={"split": name}), split


def _kept(kind: type[Report], run_folder: Path, name: str, digest: str) -> Report | None:
    try:
        report, _ = read_result(kind, run_folder, name)
    except TrainingError:
        return None
    return report if report.fingerprint == digest else None


def _read_arrays(path: Path, report: AnalysisReport) -> Arrays:
    content = io.BytesIO(read_document(path, MAX_ARRAYS_BYTES))
    with ZipFile(content) as archive:
        if sum(info.file_size for info in archive.infolist()) > MAX_ARRAYS_BYTES:
            raise ValueError(f"{path.name} holds more than {MAX_ARRAYS_BYTES} bytes")
    with np.load(content) as file:
        if str(file["fingerprint"]) != report.fingerprint:
            raise ValueError(f"{path.name} belongs to another result")
        return {name: file[name] for name in report.arrays}
