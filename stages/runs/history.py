"""Where and when a run was trained: `<run>/stints.json`, one entry for each time that training started or went on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import Field, TypeAdapter, ValidationError

from ...cache import durable
from ...cache.documents import Frozen, read_document
from ...cache.errors import TrainingError
from ...cache.schema import timestamp

PACKAGES = ("dvs-transfer", "torch", "numpy", "zarr")


class TrainingPeriod(Frozen):
    """From the start of training, or from where it went on, to its end. Times: ISO 8601, UTC."""

    LATER = frozenset({"processes", "data_placement"})

    started: str
    ended: str | None = Field(None, description="none: it still goes on, or the process was killed")
    epochs_before: int = Field(description="whole epochs that were done when it started")
    processes: int = Field(1, description="that trained together")
    data_placement: str | None = Field(None, description="where they had the training split; none: one process alone")
    device: str = Field(description="the processor or GPU that computed; N x ... for N processes")
    system: str
    cores: int | None
    threads: int = Field(description="CPU threads of torch in each process")
    versions: dict[str, str]

    @property
    def seconds(self) -> float | None:
        if self.ended is None:
            return None
        return (datetime.fromisoformat(self.ended) - datetime.fromisoformat(self.started)).total_seconds()


_HISTORY = TypeAdapter(tuple[TrainingPeriod, ...])


def read_history(run_folder: Path) -> tuple[TrainingPeriod, ...]:
    """Oldest first; none for imported weights. Raises TrainingError: damaged."""
    path = _path(run_folder)
    try:
        return _HISTORY.validate_json(read_document(path))
    except FileNotFoundError:
        return ()
    except ValidationError as error:
        raise TrainingError(
            f"{path}: damaged ({error.errors()[0]['msg']}); delete it, nothing else depends on it"
        ) from None


@contextmanager
def period_noted(
    run_folder: Path, device: torch.device, num_processes: int, epochs_before: int, data_placement: str | None = None
) -> Iterator[None]:
    """Note that training goes on here and now, and at the end that it ended; a killed process leaves no end."""
    earlier = read_history(run_folder)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    period = TrainingPeriod(
        started=timestamp(),
        epochs_before=epochs_before,
        processes=num_processes,
        data_placement=data_placement if num_processes > 1 else None,
        device=name if num_processes == 1 else f"{num_processes} x {name}",
        system=platform.platform(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        versions={"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
    )
    _write(run_folder, (*earlier, period))
    try:
        yield
    finally:
        _write(run_folder, (*earlier, period.model_copy(update={"ended": timestamp()})))


def cpu_name() -> str:
    """The processor's model, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _write(run_folder: Path, history: tuple[TrainingPeriod, ...]) -> None:
    durable.write_bytes(_path(run_folder), _HISTORY.dump_json(history, indent=1) + b"\n")


def _path(run_folder: Path) -> Path:
    return run_folder / "stints.json"
