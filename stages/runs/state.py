"""The states that an interrupted run goes on from: `<run>/checkpoints/state-<epoch>-<step>.*`, the last few.

Each state is three files, each written aside, flushed and renamed: `.safetensors`, the weights; `.rest`, all else as
`packing` writes it; and last `.json`, which names the digests of the two and makes the state count.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ...cache import durable
from ...cache.digests import content_digest
from ...cache.documents import flatten, read_document, read_json
from ...cache.errors import TrainingError
from . import packing

Weights = dict[str, Tensor]

# What reading a damaged file may raise.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)

_WEIGHTS, _REST, _SEAL = ".safetensors", ".rest", ".json"
MAX_STATE_BYTES = 1 << 33  # of each file; VGG-SNN's have 120 MB together


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands after `epoch` whole epochs and `step` steps of the next one.

    The sampler's position and the learning rate follow from these two. records (step, R): `StepRecord`s of the
    unfinished epoch. random: the states of every generator, see `random_state`. auxiliary: weights of what the method
    needs beside the network. average: the moving average of the network's. Both are empty without, and in the states
    of earlier versions. statistics: running statistics of each process, where each has shards of its own.
    """

    epoch: int
    step: int
    records: Tensor
    optimizer: dict[str, Any]
    random: dict[str, Any]
    best_epoch: int
    best_accuracy: float | None
    last_accuracy: float | None
    auxiliary: Weights = field(default_factory=dict)
    average: Weights = field(default_factory=dict)
    statistics: Tensor | None = None


@dataclass(frozen=True)
class Division:
    """Among how many processes batches are shared; sharded: each draws from shards of its own."""

    processes: int = 1
    sharded: bool = False

    def __str__(self) -> str:
        own = ", each on its own shards" if self.sharded else ""
        return f"{self.processes} process{'es' if self.processes > 1 else ''}{own}"


@dataclass(frozen=True)
class States:
    """The states in `folder`, at most `num_kept`. `identity`: what the run was started with, as JSON; `division`: how
    it trains now, which may change."""

    folder: Path
    num_kept: int
    identity: str
    division: Division = Division()

    def save(self, weights: Weights, state: TrainingState) -> None:
        """Keep a state, then delete those that are too old, or that a return to an older state left ahead of it."""
        stem = f"state-{state.epoch:06d}-{state.step:08d}"
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        division = {key: value for key, value in vars(self.division).items() if value}
        identity = json.dumps(json.loads(self.identity) | division, sort_keys=True)
        document = {key: value for key, value in vars(state).items() if key != "statistics" or value is not None}
        rest = packing.to_bytes({"identity": identity, "state": document})
        contents = {_WEIGHTS: safetensors.torch.save(on_cpu), _REST: rest}
        for suffix, content in contents.items():
            durable.write_bytes(self.folder / (stem + suffix), content)
        digests = {suffix: content_digest(content) for suffix, content in contents.items()}
        durable.write_json(self.folder / (stem + _SEAL), digests)
        kept = [name for name in self._stems() if name <= stem][-self.num_kept :]
        for path in sorted(self.folder.glob("state-*")):  # a seal goes before what it seals
            if path.stem not in kept:
                path.unlink()

    def newest(self) -> Path | None:
        """The weights of the newest state."""
        stems = self._stems()
        return self.folder / (stems[-1] + _WEIGHTS) if stems else None

    def load(self, on_message: Callable[[str], None]) -> tuple[Weights, TrainingState, Division] | None:
        """The newest whole state, on the CPU, and how the run trained until then; None where there is none.

        `on_message` is told of each damaged one.

        Raises TrainingError: states of a run with other settings, or none of them whole.
        """
        stems = self._stems()
        for stem in reversed(stems):
            try:
                return self._load(stem)
            except _DAMAGE:
                on_message(f"{self.folder / stem}: this checkpoint is damaged; trying the one before")
        if stems:
            raise TrainingError(
                f"{self.folder}: all {len(stems)} checkpoints are damaged, the run cannot go on; "
                "start anew with --restart"
            )
        return None

    def _load(self, stem: str) -> tuple[Weights, TrainingState, Division]:
        digests = read_json(self.folder / (stem + _SEAL))
        contents = {}
        for suffix in (_WEIGHTS, _REST):
            contents[suffix] = read_document(self.folder / (stem + suffix), MAX_STATE_BYTES)
            if content_digest(contents[suffix]) != digests[suffix]:
                raise ValueError(f"{suffix} is not what was written")
        rest = packing.from_bytes(contents[_REST])
        identity = dict(json.loads(rest["identity"]))
        division = Division(**{key: identity.pop(key) for key in vars(Division()) if key in identity})
        check_identity(self.folder / stem, identity, json.loads(self.identity))
        return safetensors.torch.load(contents[_WEIGHTS]), TrainingState(**rest["state"]), division

    def _stems(self) -> list[str]:
        """Names of the sealed states, oldest first."""
        return sorted(path.stem for path in self.folder.glob(f"state-*{_SEAL}"))


def random_state() -> dict[str, Any]:
    """The states of Python's, numpy's and torch's global generators, as `packing` takes them."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 - the global generator
    return {
        "python": random.getstate(),
        "numpy": (name, [int(key) for key in keys], int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators back; those of CUDA devices as far as the devices are there."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    for device, generator in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(generator, device)


def check_identity(path: Path, found: Any, expected: Any) -> None:
    """Raise TrainingError, naming every difference, unless the run at `path` was started with the same settings."""
    if found == expected:
        return
    there, here = flatten(found), flatten(expected)
    differences = [
        f"{key} is {there.get(key)!r} there and {here.get(key)!r} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    raise TrainingError(
        f"{path}: belongs to a run with other settings ({'; '.join(differences)}); "
        f"choose another run folder, or start this one anew with --restart"
    )
