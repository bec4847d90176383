from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load
from tiny_run import CONFIG, metrics, weights
from tiny_split import open_tiny_split

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.batches.sampling import Sampler
from dvs_transfer.stages.network.layers import BatchNormOverTime
from dvs_transfer.stages.training.distributed import ALONE, Processes, is_main_process

LOSSES = ("loss", "loss_static", "loss_event", "grad_norm", "train_accuracy", "validation_accuracy")
SCRIPT = Path(__file__).with_name("two_processes.py")


def launch_two(folder, method):
    """Run two_processes.py as `torchrun` does."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    path = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, SCRIPT, folder, "2", method], env=environment, capture_output=True, text=True, timeout=250
    )


@pytest.fixture
def train_alone(monkeypatch):
    """The same script in this process."""
    for name in ("forward", "then_lif"):  # which the script replaces
        monkeypatch.setattr(BatchNormOverTime, name, getattr(BatchNormOverTime, name))
    return runpy.run_path(str(SCRIPT))["main"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["transfer", "distillation"])  # the second one's teacher is taught by one alone
def test_two_processes_train_as_one(train_alone, tmp_path, capsys, method):
    train_alone(tmp_path / "1", 2, method)
    done = launch_two(tmp_path / "2", method)
    assert done.returncode == 0, done.stderr
    for count, printed in ((1, capsys.readouterr().out), (2, done.stdout)):
        assert printed.count("reports 4") == 1
        assert printed.count("reports 0") == count - 1
    for one, two in zip(metrics(tmp_path / "1"), metrics(tmp_path / "2"), strict=True):
        np.testing.assert_allclose([two[key] for key in LOSSES], [one[key] for key in LOSSES], rtol=1e-4)
    one, two = load(weights(tmp_path / "1")), load(weights(tmp_path / "2"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-4)


def test_the_parts_of_a_plan_make_it_up():
    plan = Sampler(open_tiny_split("train"), CONFIG).plan(0)
    parts = [Processes(rank, 4).part(plan) for rank in range(4)]
    for name, draws in vars(plan).items():
        assert torch.equal(torch.cat([getattr(part, name) for part in parts], dim=1), draws)


@pytest.mark.parametrize(("batch_size", "count"), [(9, 2), (2, 2), (8, 3)])
def test_a_batch_that_cannot_be_shared(batch_size, count):
    with pytest.raises(TrainingError, match=f"use a multiple of {count}, at least {2 * count}"):
        Processes(0, count).check_batch_size(batch_size)
    ALONE.check_batch_size(batch_size)


def test_main_process(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert is_main_process()
    monkeypatch.setenv("RANK", "1")
    assert not is_main_process()
