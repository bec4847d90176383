"""`torchrun ... -m dvs_transfer train` by the command line: one global batch, one process that prints and writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import succeed
from tiny import DEMO, write_config

from dvs_transfer import PairedCache
from dvs_transfer.stages.batches.sampling import Sampler
from dvs_transfer.stages.training.config import TrainConfig

# "--": else torchrun takes --run for a short form of options of its own
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--")


@pytest.mark.slow
def test_two_processes_by_the_command_line(tmp_path: Path) -> None:
    config = write_config(tmp_path, DEMO, train={"batch_size": 4, "log_interval": 1})
    made = succeed("--quiet", "--root", tmp_path, "preprocess", "--config", config, "--json").document
    script = Path(__file__).with_name("recorded_command.py")
    command = [sys.executable, *TORCHRUN, script, tmp_path, "--root", tmp_path, "train", "--config", config]
    done = subprocess.run(
        [*command, "--run", tmp_path / "run", "--json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)  # one document: the other process prints nothing
    assert report["device"] == "2 x cpu"
    told = [line.split("  ")[0] for line in done.stderr.splitlines() if line.startswith("epoch ")]
    assert told == ["epoch 1/2", "epoch 2/2"]
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2

    first, second = (json.loads((tmp_path / f"rows-{rank}.json").read_text()) for rank in (0, 1))
    sampler = Sampler(PairedCache.open(made["pairs"]["path"], "train"), TrainConfig(batch_size=4))
    plans = [sampler.plan(epoch) for epoch in (0, 1)]
    assert len(first) == 2 * sampler.num_steps > 2
    for step, (a, b) in enumerate(zip(first, second, strict=True)):
        plan, row = plans[step // sampler.num_steps], step % sampler.num_steps
        draws = (plan.recordings, plan.images, plan.replacement)
        # what the two trained on, put together, is the batch of a single process
        assert [one + other for one, other in zip(a, b, strict=True)] == [draw[row].tolist() for draw in draws]
