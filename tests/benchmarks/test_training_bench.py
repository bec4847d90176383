"""The training benchmark: that both implementations compute the same, and that a run fills its report; no speeds."""

from __future__ import annotations

import pytest
import torch

from dvs_transfer.benchmarks import training as bench
from dvs_transfer.benchmarks.plain_pytorch import PlainVGG, plain_loss, plain_scores
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.network.networks import build_network
from dvs_transfer.stages.training.config import LossConfig
from dvs_transfer.stages.training.losses import transfer_loss

WIDTHS = (6, "P", 9, "P")


def test_plain_implementation_is_this_projects_network_and_loss():
    """In float64, where both round alike enough for the same spikes."""
    ours = build_network(ModelConfig(widths=WIDTHS), num_classes=5, num_steps=4, size=16, seed=1).double()
    plain = PlainVGG(5, 4, 16, WIDTHS).double()
    with torch.no_grad():
        for copy, parameter in zip(plain.parameters(), ours.parameters(), strict=True):
            assert copy.shape == parameter.shape
            copy.copy_(parameter)
    generator = torch.Generator().manual_seed(2)
    events = torch.poisson(torch.full((3, 4, 2, 16, 16), 0.7), generator).double()
    static = torch.rand(3, 1, 1, 16, 16, generator=generator, dtype=torch.float64).expand_as(events)
    labels = torch.tensor([0, 3, 1])

    logits, features = zip(
        *(ours.with_features(x.transpose(0, 1), d) for x, d in ((static, "static"), (events, "event"))), strict=True
    )
    loss = transfer_loss(*features, *logits, labels, ours.coefficients, LossConfig()).total
    expected = plain_loss(plain, static, events, labels)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    for copy, parameter in zip(plain.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, copy.grad, rtol=1e-7, atol=1e-12)
    with torch.no_grad():
        scores = ours.eval()(events.transpose(0, 1), "event").mean(0)
    torch.testing.assert_close(scores, plain_scores(plain, events), rtol=1e-9, atol=1e-12)


def test_a_short_run_finds_every_figure():
    workload = bench.Workload(batch_size=2, num_steps=2, size=16, widths=WIDTHS, device="cpu")
    found = bench.run(workload, num_turns=1)
    assert all(value > 0 for value in found.values() if type(value) in (int, float))
    assert found["epoch_s"] == pytest.approx(7838 / found["pairs_per_s"])
    assert tuple(found["parts_ms"]) == bench.PARTS
    assert found["train_ratio"] == pytest.approx(found["plain_step_ms"] / found["step_ms"])
    assert found["draw_share"] == pytest.approx(found["draw_ms"] / (found["step_ms"] + found["draw_ms"]))
    assert "draw_kernels_ms" not in found  # on a GPU
    assert found["precision"] == "float32"
    assert found["train_ratios"]["float32"] == found["train_ratio"]
    assert found["evaluate_ratio"] == max(found["evaluate_ratios"].values())
    assert found["evaluate_ratios"][found["evaluate_precision"]] == found["evaluate_ratio"]
    assert found["agreement"]["float32"] == 1
    assert found["agreement"].keys() == found["evaluate_ratios"].keys() >= found["train_ratios"].keys() > set()
    assert {"cpu", "threads", "torch"} <= set(found["machine"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device that torch can use")
def test_kernels_of_drawing_take_less_than_the_calls_that_launch_them():
    found = bench.run(bench.Workload(batch_size=2, num_steps=2, size=16, widths=WIDTHS, device="cuda"), num_turns=1)
    assert 0 < found["draw_kernels_ms"] < found["draw_ms"]
    assert 0 < found["draw_kernels_share"] < found["draw_share"] < 1


@pytest.mark.parametrize("native", [False, True])
def test_auto_is_bfloat16_where_it_is_native(native, monkeypatch):
    monkeypatch.setattr(bench, "has_native_bfloat16", lambda device: native)
    chosen = bench.choose_precision("cpu", "auto")
    assert chosen == ("bfloat16" if native else "float32")
    assert (
        bench.precisions_here(bench.Workload(device="cpu", precision=chosen)) == ["float32", "bfloat16"][: 1 + native]
    )
    assert bench.choose_precision("cpu", "bfloat16") == "bfloat16"
    assert bench.precisions_here(bench.Workload(device="cpu", precision="bfloat16")) == ["float32", "bfloat16"]


def test_operations_of_the_full_network():
    """VGG-SNN: 1.36e9 multiplications for each of 2 * 8 * 10 images, forward and twice backward."""
    flop, _ = bench.count_step(bench.Workload())
    assert flop == pytest.approx(160 * 3 * 2 * 1.36e9, rel=0.01)
