from __future__ import annotations

import pytest
import torch
from torch import nn

from dvs_transfer.stages.network.layers import AveragePool, BatchNormOverTime
from dvs_transfer.stages.network.lif import LifConstants


@pytest.mark.parametrize("channels_last", [False, True])
def test_batch_norm_per_step_is_torch_batch_norm_called_step_by_step(channels_last):
    x = torch.randn(5, 4, 3, 6, 6, dtype=torch.float64)
    if channels_last:
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).view(x.shape)
    ours, torchs = BatchNormOverTime(3, "per_step", "shared").double(), nn.BatchNorm2d(3).double()
    expected = torch.stack([torchs(step) for step in x])
    torch.testing.assert_close(ours(x, "static"), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.running_mean, torchs.running_mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.running_var, torchs.running_var, rtol=1e-12, atol=0)


def test_merged_batch_norm_takes_time_as_batch():
    x = torch.randn(5, 4, 3, 6, 6)
    ours, torchs = BatchNormOverTime(3, "merged", "shared"), nn.BatchNorm2d(3)
    torch.testing.assert_close(ours(x, "event"), torchs(x.flatten(0, 1)).view(x.shape))
    torch.testing.assert_close(ours.running_var, torchs.running_var)


def test_both_modes_are_the_same_in_evaluation():
    x = torch.randn(5, 4, 3, 6, 6)
    modes = [BatchNormOverTime(3, mode, "shared").eval() for mode in ("per_step", "merged")]
    for norm in modes:
        norm.running_mean.fill_(0.3)
        norm.running_var.fill_(2.0)
    assert torch.equal(modes[0](x, "event"), modes[1](x, "event"))
    assert torch.equal(modes[0].running_mean, torch.full((3,), 0.3))


@pytest.mark.parametrize("mode", ["per_step", "merged"])
@pytest.mark.usefixtures("cpu_implementation")
def test_each_domain_is_normalised_with_its_own_statistics_in_evaluation(mode):
    """Two norms that see one domain each, and one that sees both in turn."""
    domains = {"static": 3 + 0.5 * torch.randn(8, 2, 4, 3, 6, 6), "event": 2 * torch.randn(8, 2, 4, 3, 6, 6)}
    alone = {domain: BatchNormOverTime(3, mode, "shared") for domain in domains}
    both, shared = BatchNormOverTime(3, mode, "per_domain"), BatchNormOverTime(3, mode, "shared")
    constants = LifConstants()
    for step in range(8):
        for domain, x in domains.items():
            expected = alone[domain].then_lif(x[step], "event", constants, True)
            for norm in (both, shared):  # in training mode both are the same
                found = norm.then_lif(x[step], domain, constants, True)
                assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    for norm in (both, shared, *alone.values()):
        norm.eval()
    for domain, x in domains.items():
        expected = alone[domain](x[0], "event")
        assert torch.equal(both(x[0], domain), expected)
        assert torch.equal(
            both.then_lif(x[0], domain, constants, False)[0], alone[domain].then_lif(x[0], "event", constants, False)[0]
        )
        assert not torch.allclose(shared(x[0], domain), expected)
    assert set(both.state_dict()) - set(shared.state_dict()) == {"static_running_mean", "static_running_var"}


def test_pool_drops_an_odd_row_and_column():
    x = torch.arange(25.0).view(1, 1, 1, 5, 5)
    assert torch.equal(AveragePool()(x, "event"), torch.tensor([[3.0, 5.0], [13.0, 15.0]]).view(1, 1, 1, 2, 2))
