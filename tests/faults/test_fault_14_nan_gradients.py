"""Fault 14: a NaN in a gradient at step k: the run stops, keeps the last good checkpoint, and names the samples."""

from __future__ import annotations

import re

import pytest
import torch
from fault_injection import Effort, Tally
from tiny_run import changed, train
from tiny_split import TinySplit

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.runs import packing
from dvs_transfer.stages.runs.checkpoint import load_weights, weights_path
from dvs_transfer.stages.training.methods.transfer import Transfer

STEPS_PER_EPOCH = 3


def test_a_nan_in_a_gradient(effort: Effort, tally: Tally, tmp_path, monkeypatch):
    true_loss = Transfer.loss
    batches: list[list[int]] = []
    for k in effort((1, 5), range(1, 3 * STEPS_PER_EPOCH + 1)):
        steps = 0

        def poisoned(self, network, shown, k=k):
            nonlocal steps
            steps += 1
            batches.append(shown.labels.tolist())
            loss, logits = true_loss(self, network, shown)
            if steps == k:
                loss.total.register_hook(lambda gradient: gradient * float("nan"))
            return loss, logits

        epoch, step = divmod(k - 1, STEPS_PER_EPOCH)
        run = tmp_path / f"{k}"
        monkeypatch.setattr(Transfer, "loss", poisoned)
        with tally.attempt():
            with pytest.raises(
                TrainingError, match=f"grad_norm nan.* in step {step + 1} of epoch {epoch + 1}; "
            ) as told:
                train(run, changed(log_interval=1, checkpoint_steps=1))
            named = re.findall(r"[a-z]+/train_(\d{4})", str(told.value))
            assert [TinySplit().event_labels[int(number)] for number in named] == batches[-1]
            assert f"state-{epoch:06d}-{step:08d}" in str(told.value)
            newest = sorted((run / "checkpoints").glob("state-*.rest"))[-1]
            state = packing.from_bytes(newest.read_bytes())["state"]
            assert (state["epoch"], state["step"]) == (epoch, step)
            if epoch:
                network, info = load_weights(weights_path(run, "last"), torch.device("cpu"))
                assert info.epoch == epoch
                assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
            monkeypatch.undo()
            assert train(run).resumed_after == epoch  # the state that is kept goes on
