"""The batches of an epoch, from wherever the split is kept: on the device, in host memory, or in its store alone.

The plan of an epoch names every row beforehand, so what is not on the device is fetched a few steps ahead by threads.
A batch has the same bits for every placement.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cache.paired import PairedCache, UnlabelledRecordings
from .data import Encoding, IntArray, read_events, read_static
from .sampling import EpochPlan

Placement = Literal["device", "pinned", "streamed"]

SHARE_OF_FREE_MEMORY = 0.5  # that a split may take, of the device and of the host; the rest is the network's
STEPS_AHEAD = 2  # batches that are ready or on their way while one is trained on
_THREADS = {"pinned": 1, "streamed": 2}
_BLOCK = 256  # rows that are read at once while a whole split is loaded

Read = Callable[[IntArray], NDArray[Any]]


class Batch(NamedTuple):
    """What a step trains on, on the device.

    frames: (B, T, 2, H, W) counts in the store's type.  labels: (B,) int64.  images: (B, 1, H, W) float32 in [0, 1], or
    with the encoding "recorded" counts as those of frames; None without transfer.  replacement (B,), augmentation
    (B, 4): the plan's draws.  seed: of what is drawn on the device.  unlabelled: recordings whose labels are -1, for
    the same step.
    """

    frames: Tensor
    labels: Tensor
    images: Tensor | None
    replacement: Tensor
    augmentation: Tensor
    seed: int
    unlabelled: Batch | None = None

    def generator(self, purpose: str) -> torch.Generator:
        """Random numbers on the batch's device; each purpose has a stream of its own."""
        state = np.random.SeedSequence([self.seed, *purpose.encode()]).generate_state(1, np.uint64)
        return torch.Generator(self.labels.device).manual_seed(int(state[0]))


class Loader(Protocol):
    """A split for one device. `labels` (n,) are on the device; `num_images` is the size of the static pool in use."""

    @property
    def placement(self) -> str: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def num_images(self) -> int: ...
    def __len__(self) -> int: ...

    def batches(self, plan: EpochPlan, first_step: int = 0) -> Generator[Batch]:
        """The batches of a plan (on the CPU) from `first_step` on. Close it: that ends what works ahead."""

    def in_order(self, batch_size: int) -> Generator[Tensor]:
        """All recordings, at most `batch_size` at a time, as float32 counts (B, T, 2, H, W)."""

    def photos(self, rows: IntArray) -> Tensor:
        """Images (n, ...) of the static pool, which is in use."""


@dataclass(frozen=True)
class OnDevice:
    """A split whole on the device: frames (n, T, 2, H, W), labels (n,), images (m, ...)."""

    frames: Tensor
    labels: Tensor
    images: Tensor | None = None
    placement: Placement = "device"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_images(self) -> int:
        return 0 if self.images is None else len(self.images)

    def batches(self, plan: EpochPlan, first_step: int = 0) -> Generator[Batch]:
        plan = plan.to(self.labels.device)
        for step in range(first_step, len(plan)):
            rows = plan.recordings[step]
            images = None if self.images is None else self.images[plan.images[step]]
            yield Batch(self.frames[rows], self.labels[rows], images, *plan.draws(step))

    def in_order(self, batch_size: int) -> Generator[Tensor]:
        for first in range(0, len(self), batch_size):
            yield self.frames[first : first + batch_size].float()

    def photos(self, rows: IntArray) -> Tensor:
        assert self.images is not None
        return self.images[torch.from_numpy(rows).to(self.images.device)]


@dataclass(frozen=True)
class Prefetched:
    """A split in host memory or in its store, fetched by threads through `read_frames` and `read_images`.

    On CUDA the threads gather a batch, lock its pages and send it on a stream of its own, so that the host waits for
    nothing and the device copies while it computes. (Pages of the split itself need no lock: the device never reads
    them.)
    """

    placement: Placement
    read_frames: Read
    labels: Tensor
    read_images: Read | None = None
    num_images: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, plan: EpochPlan, first_step: int = 0) -> Generator[Batch]:
        draws = plan.to(self.labels.device)
        rows = list(zip(plan.recordings.numpy(), plan.images.numpy(), strict=True))[first_step:]
        reads = [self.read_frames] if self.read_images is None else [self.read_frames, self.read_images]
        with closing(self._fetch(reads, rows)) as fetched:
            for step, (frames, *images) in enumerate(fetched, first_step):
                labels = self.labels[draws.recordings[step]]
                yield Batch(frames, labels, images[0] if images else None, *draws.draws(step))

    def in_order(self, batch_size: int) -> Generator[Tensor]:
        rows = np.split(np.arange(len(self)), range(batch_size, len(self), batch_size))
        with closing(self._fetch([self.read_frames], [(part,) for part in rows])) as fetched:
            for (frames,) in fetched:
                yield frames.float()

    def photos(self, rows: IntArray) -> Tensor:
        assert self.read_images is not None
        return torch.from_numpy(self.read_images(rows)).to(self.labels.device)

    def _fetch(self, reads: Sequence[Read], rows: Sequence[Sequence[IntArray]]) -> Generator[list[Tensor]]:
        """What the `reads` give for each of `rows`, on the device; an error in a thread is raised here."""
        device = self.labels.device
        stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        waiting = iter(rows)
        with ThreadPoolExecutor(_THREADS[self.placement], thread_name_prefix="batches") as threads:
            ahead = deque(threads.submit(_send, reads, wanted, stream) for wanted in islice(waiting, STEPS_AHEAD))
            try:
                while ahead:
                    ready = ahead.popleft().result()
                    ahead.extend(threads.submit(_send, reads, wanted, stream) for wanted in islice(waiting, 1))
                    yield ready.receive()
            finally:
                for future in ahead:
                    future.cancel()


@dataclass(frozen=True)
class _Sent:
    """Tensors on their way to the device; `arrival` is recorded behind them on the stream that copies."""

    tensors: list[Tensor]
    arrival: torch.cuda.Event | None = None

    def receive(self) -> list[Tensor]:
        """The tensors, for the current stream, which waits for them; the host does not."""
        if self.arrival is not None:
            current = torch.cuda.current_stream(self.tensors[0].device)
            current.wait_event(self.arrival)
            for tensor in self.tensors:
                tensor.record_stream(current)
        return self.tensors


def _send(reads: Sequence[Read], rows: Sequence[IntArray], stream: torch.cuda.Stream | None) -> _Sent:
    tensors = [torch.from_numpy(read(wanted)) for read, wanted in zip(reads, rows, strict=False)]
    if stream is None:
        return _Sent(tensors)
    with torch.cuda.stream(stream):  # also makes its device this thread's, for the page locks
        on_device = [tensor.pin_memory().to(stream.device, non_blocking=True) for tensor in tensors]
        return _Sent(on_device, stream.record_event())


def load(
    split: PairedCache | UnlabelledRecordings,
    device: torch.device,
    placement: Literal["auto"] | Placement = "auto",
    encoding: Encoding | None = None,
) -> Loader:
    """Recordings of a split, with `encoding` also its static pool in that encoding, for training on `device`."""
    read_frames = partial(read_events, split)
    read_images, num_images = None, 0
    if encoding is not None:
        assert not isinstance(split, UnlabelledRecordings)
        read_images, num_images = partial(read_static, split, encoding), len(split.image_labels)
    if placement == "auto":
        placement = choose_placement(num_bytes(split, encoding), device)
    labels = torch.from_numpy(split.event_labels).to(device)
    if placement == "streamed":
        return Prefetched(placement, read_frames, labels, read_images, num_images)
    place = device if placement == "device" else torch.device("cpu")
    frames = _read_whole(read_frames, len(split), place)
    pool = None if read_images is None else _read_whole(read_images, num_images, place)
    if placement == "device":
        return OnDevice(frames, labels, pool)
    take_images = None if pool is None else partial(np.take, pool.numpy(), axis=0)
    return Prefetched(placement, partial(np.take, frames.numpy(), axis=0), labels, take_images, num_images)


def choose_placement(size: int, device: torch.device) -> Placement:
    """Where `size` bytes of data go: on the device, else in host memory, if they take at most half of what is free."""
    on_host = psutil.virtual_memory().available / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of each process
    on_device = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else on_host
    if size <= SHARE_OF_FREE_MEMORY * on_device:
        return "device"
    return "pinned" if size <= SHARE_OF_FREE_MEMORY * on_host else "streamed"


def num_bytes(split: PairedCache | UnlabelledRecordings, encoding: Encoding | None) -> int:
    """What the recordings of a split, and with `encoding` its static pool, take in memory."""
    nothing = np.zeros(0, np.int64)
    parts = [(read_events(split, nothing), len(split))]
    if encoding is not None:
        assert not isinstance(split, UnlabelledRecordings)
        parts.append((read_static(split, encoding, nothing), len(split.image_labels)))
    return sum(num_rows * int(np.prod(rows.shape[1:])) * rows.itemsize for rows, num_rows in parts)


def _read_whole(read: Read, num_rows: int, device: torch.device) -> Tensor:
    """All rows on `device`, block by block: the host needs room for one block."""
    nothing = torch.from_numpy(read(np.zeros(0, np.int64)))
    whole = torch.empty(num_rows, *nothing.shape[1:], dtype=nothing.dtype, device=device)
    for first in range(0, num_rows, _BLOCK):
        rows = np.arange(first, min(first + _BLOCK, num_rows))
        whole[first : first + _BLOCK] = torch.from_numpy(read(rows))
    return whole


@dataclass
class WaitClock:
    """How long the steps of an epoch waited for their batches.

    On CUDA it is the device's time between the end of the work before and the arrival of the batch, from events that
    are read in `share` alone; elsewhere it is the host's.
    """

    device: torch.device
    waited: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    _marks: list[tuple[Any, Any]] = field(default_factory=list)

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches; notes the wait for each."""
        iterator = iter(batches)
        while True:
            asked = self._mark()
            batch = next(iterator, None)
            if batch is None:
                return
            self._marks.append((asked, self._mark()))
            yield batch

    def share(self) -> float:
        """Waiting time over all time since the clock's start. On CUDA the device has to be done with the steps."""
        for asked, came in self._marks:
            self.waited += asked.elapsed_time(came) / 1e3 if self.device.type == "cuda" else came - asked
        self._marks.clear()
        return self.waited / (time.perf_counter() - self.began)

    def _mark(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event
