from __future__ import annotations

import pytest
import torch
from torch import nn

from dvs_transfer.stages.training.layers import AveragePool, BatchNormOverTime


@pytest.mark.parametrize("channels_last", [False, True])
def test_batch_norm_per_step_is_torch_batch_norm_called_step_by_step(channels_last):
    x = torch.randn(5, 4, 3, 6, 6, dtype=torch.float64)
    if channels_last:
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).view(x.shape)
    ours, torchs = BatchNormOverTime(3, "per_step").double(), nn.BatchNorm2d(3).double()
    expected = torch.stack([torchs(step) for step in x])
    torch.testing.assert_close(ours(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.running_mean, torchs.running_mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.running_var, torchs.running_var, rtol=1e-12, atol=0)


def test_merged_batch_norm_takes_time_as_batch():
    x = torch.randn(5, 4, 3, 6, 6)
    ours, torchs = BatchNormOverTime(3, "merged"), nn.BatchNorm2d(3)
    torch.testing.assert_close(ours(x), torchs(x.flatten(0, 1)).view(x.shape))
    torch.testing.assert_close(ours.running_var, torchs.running_var)


def test_both_modes_are_the_same_in_evaluation():
    x = torch.randn(5, 4, 3, 6, 6)
    modes = [BatchNormOverTime(3, mode).eval() for mode in ("per_step", "merged")]
    for norm in modes:
        norm.running_mean.fill_(0.3)
        norm.running_var.fill_(2.0)
    assert torch.equal(modes[0](x), modes[1](x))
    assert torch.equal(modes[0].running_mean, torch.full((3,), 0.3))


def test_pool_drops_an_odd_row_and_column():
    x = torch.arange(25.0).view(1, 1, 1, 5, 5)
    assert torch.equal(AveragePool()(x), torch.tensor([[3.0, 5.0], [13.0, 15.0]]).view(1, 1, 1, 2, 2))
