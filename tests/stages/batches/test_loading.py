"""Placements of the training data: the same bits, errors that arrive, no thread left, bounded memory."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_run import changed, metrics, train, weights
from tiny_split import TinySplit, open_tiny_split

from dvs_transfer import PairedCache
from dvs_transfer.cache.errors import StoreError
from dvs_transfer.stages import pairing
from dvs_transfer.stages.batches import loading
from dvs_transfer.stages.batches.loading import STEPS_AHEAD, WaitClock, choose_placement, load
from dvs_transfer.stages.batches.sampling import Sampler
from dvs_transfer.stages.pairing_config import PairingConfig
from dvs_transfer.stages.training.distributed import Processes
from dvs_transfer.stages.training.stopping import TrainingStoppedError

from stores import build_store, make_layout, store_path

CPU = torch.device("cpu")
PLACEMENTS = ("device", "pinned", "streamed")
AHEAD = ("pinned", "streamed")


def at(placement, **changes):
    return changed(data_placement=placement, epochs=2, **changes)


def no_thread_is_left():
    return not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    for kind in ("events", "images"):
        build_store(folder, kind, 40)
    events, images = (store_path(folder, make_layout(kind, 40)) for kind in ("events", "images"))
    return pairing.run(PairingConfig(), events, images, folder).path


@pytest.fixture(scope="module", params=["tiny", "store"])
def open_split(request, pairs):
    return open_tiny_split if request.param == "tiny" else lambda name: PairedCache.open(pairs, name)


TAUGHT = {"method": "distillation", "options": {"teacher_epochs": 1}}


@pytest.mark.parametrize("changes", [{}, {"method": "events"}, {"method": "finetune"}, {"encoding": "grey"}, TAUGHT])
def test_training_has_the_same_bits_for_every_placement(tmp_path, open_split, changes):
    for placement in PLACEMENTS:
        report = train(tmp_path / placement, at(placement, **changes), open_split)
        assert report.data_placement == placement
        assert metrics(tmp_path / placement) == metrics(tmp_path / "device")
        assert weights(tmp_path / placement) == weights(tmp_path / "device")
    assert no_thread_is_left()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_run_goes_on_in_mid_epoch_under_another_placement(tmp_path, open_split, placement):
    def stop(progress):
        if (progress.epoch, progress.step) == (2, 2):
            os.kill(os.getpid(), signal.SIGTERM)

    train(tmp_path / "one go", at("device"), open_split)
    with pytest.raises(TrainingStoppedError):
        train(tmp_path / "two", at(placement), open_split, on_progress=stop)
    assert no_thread_is_left()
    other = PLACEMENTS[PLACEMENTS.index(placement) - 1]
    report = train(tmp_path / "two", at(other), open_split)
    assert (report.resumed_after, report.resumed_steps) == (1, 2)
    assert metrics(tmp_path / "two") == metrics(tmp_path / "one go")
    assert weights(tmp_path / "two") == weights(tmp_path / "one go")


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_batches_are_those_of_the_plan(placement):
    split = open_tiny_split("train")
    plan = Processes(1, 2).part(Sampler(split, changed()).plan(0))
    batches = list(load(split, CPU, placement, "value").batches(plan, 1))
    assert len(batches) == len(plan) - 1
    for batch, rows, images in zip(batches, plan.recordings[1:], plan.images[1:], strict=True):
        np.testing.assert_array_equal(batch.frames, split.load_events()[rows])
        np.testing.assert_array_equal(batch.images, split.load_values()[images])
        np.testing.assert_array_equal(batch.labels, split.event_labels[rows])


@dataclass(frozen=True)
class Watched(TinySplit):
    """Notes which rows are read, by which thread, and fails at `broken`."""

    broken: int = -1
    reads: list = field(default_factory=list)

    def load_events(self, indices):
        self.reads.append((threading.current_thread().name, len(indices)))
        if self.broken in indices:
            raise StoreError("a chunk is damaged")
        return super().load_events(indices)


def test_an_error_in_a_thread_reaches_the_caller(tmp_path):
    def open_split(name):
        return Watched(broken=20) if name == "train" else open_tiny_split(name)

    with pytest.raises(StoreError, match="a chunk is damaged"):
        train(tmp_path, at("streamed", sampling="sequential"), open_split)
    assert no_thread_is_left()


@pytest.mark.parametrize("placement", AHEAD)
def test_an_error_of_the_caller_ends_the_threads(tmp_path, placement):
    def fail(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, at(placement), on_progress=fail)
    assert no_thread_is_left()


def test_streaming_reads_a_few_batches_ahead_and_no_more():
    split = Watched()
    plan = Sampler(split, changed(batch_size=2)).plan(0)
    loader = load(split, CPU, "streamed", "value")
    with closing(loader.batches(plan)) as batches:
        next(batches)
        deadline = time.monotonic() + 10
        while len(split.reads) < 1 + STEPS_AHEAD and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert [size for _, size in split.reads] == [2] * (1 + STEPS_AHEAD)
        assert all(name.startswith("batches") for name, _ in split.reads)
    assert no_thread_is_left()


def test_auto_takes_the_first_place_with_room(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr(loading.psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (400, 4000))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert [choose_placement(n, cuda) for n in (200, 201, 500, 501)] == ["device", "pinned", "pinned", "streamed"]
    assert [choose_placement(n, CPU) for n in (500, 501)] == ["device", "streamed"]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert [choose_placement(n, cuda) for n in (200, 201)] == ["device", "streamed"]
    split = open_tiny_split("train")
    num_bytes = split.load_events().nbytes + split.load_values().nbytes
    for available, placement in ((2 * num_bytes, "device"), (2 * num_bytes - 8, "streamed")):
        monkeypatch.setattr(loading.psutil, "virtual_memory", lambda: SimpleNamespace(available=available))  # noqa: B023
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
        assert load(split, CPU, "auto", "value").placement == placement


def test_a_batch_for_cuda_is_page_locked_copied_aside_and_waited_for_on_the_device(monkeypatch):
    """With stand-ins for what needs a device: the order of calls."""
    calls = []
    stream = SimpleNamespace(device=CPU, record_event=lambda: calls.append("arrival") or "event")
    current = SimpleNamespace(wait_event=lambda event: calls.append(f"wait for {event}"))
    monkeypatch.setattr(torch.cuda, "stream", lambda s: calls.append("aside") or nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: calls.append("lock") or self)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, s: calls.append("kept"))
    rows = np.array([3, 1])
    sent = loading._send([TinySplit().load_events], [rows], stream)
    assert calls == ["aside", "lock", "arrival"]
    (frames,) = sent.receive()
    assert calls[3:] == ["wait for event", "kept"]
    np.testing.assert_array_equal(frames, TinySplit().load_events(rows))


def test_waiting_time_is_the_time_in_the_loader():
    clock = WaitClock(CPU)
    for _ in clock.timed(time.sleep(0.02) or step for step in range(3)):
        time.sleep(0.02)
    assert 0.06 <= clock.waited + sum(came - asked for asked, came in clock._marks) < 0.12
    assert 0.2 < clock.share() < 0.7
    assert clock.share() <= clock.waited / 0.12


def test_waiting_time_on_cuda_is_the_device_s(monkeypatch):
    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            assert stream == "current"

        def elapsed_time(self, other):
            return 500.0  # ms

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "current")
    clock = WaitClock(torch.device("cuda"), began=time.perf_counter() - 4)
    assert list(clock.timed(range(2))) == [0, 1]
    assert clock.share() == pytest.approx(0.25, rel=0.1)
    assert clock.waited == 1.0


def test_the_share_is_told(tmp_path):
    seen = []
    train(tmp_path, at("streamed"), on_progress=seen.append)
    assert all(0 < progress.data_share < 1 for progress in seen)
    assert '"data_share": 0.' in (tmp_path / "metrics.jsonl").read_text()
