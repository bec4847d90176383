"""What an analysis is, and its results in `<run>/analysis/`: `<name>.json`, with `<name>.npz` for arrays; made once."""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from ...cache import durable
from ...cache.digests import file_digest, fingerprint
from ...cache.documents import read_document
from ...cache.errors import TrainingError
from ...cache.locks import writer_lock
from ...cache.pairs import Reach
from ..batches.data import OpenSplit
from ..network.runtime import select_device, torch_settings
from ..runs.checkpoint import CheckpointName, changed_weights, load_weights, require_same_data, weights_path
from .config import AnalysisConfig
from .subject import Progress, Subject, choose_rows, no_progress, read_training

Arrays = Mapping[str, NDArray[Any]]
Fields = dict[str, Any]

MAX_ARRAYS_BYTES = 1 << 28  # of a result; a picture of a few samples has some MB


class AnalysisReport(BaseModel):
    """What every result says of itself. fingerprint: of the analysis' version, weights, data and settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    analysis: str
    version: int = Field(validation_alias=AliasChoices("version", "revision"))  # its name in earlier results
    fingerprint: str
    settings: dict[str, Any]
    split: str
    num_recordings: int
    checkpoint: CheckpointName
    epoch: int = Field(description="epochs that the weights were trained")
    weights_digest: str | None = Field(None, description="of the checkpoint's file; none in earlier results")
    method: str
    protocol: str
    photos_in_reach: Reach = Field("unknown", description="of held-out recordings, in what taught the weights")
    split_digest: str
    arrays: tuple[str, ...] = Field(description="names of the arrays in the .npz; empty: there is no such file")
    note: str = Field("", description="what could not be measured for this run, and why")
    seconds: float


@dataclass(frozen=True)
class Analysis:
    """One analysis of a trained network: how it is measured, kept, read and drawn.

    version: to be raised when `measure` finds something else than before; results of another one are neither used nor
    shown. config, report: its settings and its result. draw: None of one that is numbers alone; it is not among "all
    analyses". reading: how to read it, for a report. needs_images: it says nothing of a run without images.
    needs_known_layers: it looks into layers, and a user's network may have others.
    """

    name: str
    version: int
    config: type[AnalysisConfig]
    report: type[AnalysisReport]
    measure: Callable[[Subject, Any, Progress], tuple[Fields, Arrays]]
    draw: Callable[[Any, Arrays], Figure] | None
    title: str
    reading: str
    needs_images: bool = False
    needs_known_layers: bool = False

    def exists(self, run_folder: Path) -> bool:
        """Whether the run folder holds a result."""
        return result_path(run_folder, self.name).is_file()

    def read(self, run_folder: Path) -> tuple[Any, Arrays]:
        """The kept report and its arrays.

        Raises TrainingError: there is no result, or it is damaged, of another version or of other weights.
        """
        path = result_path(run_folder, self.name)
        again = f"run `dvs-transfer analyse {self.name} {run_folder}`"
        try:
            report = self.report.model_validate_json(read_document(path))
            if report.version != self.version:
                raise ValueError(f"version {report.version}, expected {self.version}")
            arrays = _read_arrays(path.with_suffix(".npz"), report) if report.arrays else {}
        except FileNotFoundError as error:
            raise TrainingError(f"{error.filename}: no such result; {again}") from None
        except (ValueError, KeyError, OSError, EOFError, BadZipFile, zlib.error) as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(f"{path}: damaged, or of another version ({reason}); {again}") from None
        known = {} if report.weights_digest is None else {report.checkpoint: report.weights_digest}
        if changed := changed_weights(run_folder, known):
            raise TrainingError(f"{path}: of other weights than {changed.name} holds now; {again} again")
        return report, arrays

    def run(
        self,
        config: AnalysisConfig,
        open_split: OpenSplit,
        run_folder: Path,
        *,
        restart: bool = False,
        progress: Progress = no_progress,
    ) -> Any:
        """The kept result where version, weights, data and settings are the same, else a new one, which is kept.

        Raises TrainingError: no weights, weights of other data, a split without recordings; and what `measure` raises.
        """
        device = select_device(config.device)
        with torch_settings(threads=config.threads), writer_lock(run_folder / "analysis", self.name):
            weights = weights_path(run_folder, config.checkpoint)
            network, info = load_weights(weights, device)
            for name in config.splits:
                split = open_split(name)
                if len(split):
                    break
            require_same_data(info, split, run_folder)
            if not len(split):
                raise TrainingError(f"the {name} split has no recordings; name another one with --split")
            settings = config.model_dump(mode="json")
            if "split" in settings:
                settings["split"] = name
            origin = {
                "analysis": self.name,
                "revision": self.version,  # so called in the fingerprints of earlier versions' results
                "weights": file_digest(weights),
                "data": [split.fingerprint, split.split_digest],
                "settings": {key: value for key, value in settings.items() if key not in config.neutral},
            }
            digest = fingerprint(origin)
            kept = None if restart else self._kept(run_folder, digest)
            if kept is not None:  # which, of an earlier version, does not say what was in reach
                return kept.model_copy(update={"photos_in_reach": info.photos_in_reach_of(split)})
            for suffix in (".json", ".npz", ".png", *((".jsonl",) if restart else ())):
                result_path(run_folder, self.name, suffix).unlink(missing_ok=True)
            rows = choose_rows(split.event_labels, settings.get("num_recordings", len(split)), config.seed)
            training = read_training(run_folder)
            subject = Subject(network, info, training, open_split, split, rows, device, run_folder, digest)
            return self._make(subject, config, progress, {"settings": settings, "weights_digest": origin["weights"]})

    def _make(self, subject: Subject, config: AnalysisConfig, progress: Progress, origin: Fields) -> AnalysisReport:
        """Measure, and keep what was found. origin: more that the report is to say of where it comes from."""
        started = time.perf_counter()
        found, arrays = self.measure(subject, config, progress)
        info, split = subject.info, subject.split
        common: Fields = {
            "analysis": self.name,
            "version": self.version,
            "fingerprint": subject.fingerprint,
            "split": origin["settings"].get("split"),
            "num_recordings": len(subject.rows),
            "checkpoint": config.checkpoint,
            "epoch": info.epoch,
            "method": info.method,
            "protocol": info.protocol,
            "photos_in_reach": info.photos_in_reach_of(split),
            "split_digest": split.split_digest,
            "arrays": tuple(arrays),
            "seconds": time.perf_counter() - started,
        }
        report = self.report(**common | origin | found)
        if arrays:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays, fingerprint=np.array(subject.fingerprint))  # type: ignore[arg-type]
            durable.write_bytes(result_path(subject.folder, self.name, ".npz"), buffer.getvalue())
        durable.write_json(result_path(subject.folder, self.name), report.model_dump(mode="json"))
        return report

    def _kept(self, run_folder: Path, digest: str) -> AnalysisReport | None:
        try:
            report, _ = self.read(run_folder)
        except TrainingError:
            return None
        return report if report.fingerprint == digest else None


def result_path(run_folder: Path, name: str, suffix: str = ".json") -> Path:
    return run_folder / "analysis" / f"{name}{suffix}"


def _read_arrays(path: Path, report: AnalysisReport) -> Arrays:
    content = io.BytesIO(read_document(path, MAX_ARRAYS_BYTES))
    with ZipFile(content) as archive:
        if sum(info.file_size for info in archive.infolist()) > MAX_ARRAYS_BYTES:
            raise ValueError(f"{path.name} holds more than {MAX_ARRAYS_BYTES} bytes")
    with np.load(content) as file:
        if str(file["fingerprint"]) != report.fingerprint:
            raise ValueError(f"{path.name} belongs to another result")
        return {name: file[name] for name in report.arrays}
