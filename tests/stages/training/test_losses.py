from __future__ import annotations

import pytest
import torch

from dvs_transfer.stages.training.config import LossConfig
from dvs_transfer.stages.training.losses import events_loss, linear_cka, transfer_loss

CASES = {
    "paper": LossConfig(),
    "no_regularization": LossConfig(regularization="none"),
    "fixed_coefficient": LossConfig(regularization="fixed", fixed_coefficient=0.3),
    "no_tet": LossConfig(tet=False),
    "no_domain": LossConfig(alignment_weight=0),
}
INPUTS = ("static_features", "event_features", "static_logits", "event_logits")


@pytest.mark.parametrize("i", range(3))
def test_cka_golden(golden, i):
    trace = golden("cka.npz")
    x, y = trace[f"x{i}"].requires_grad_(), trace[f"y{i}"].requires_grad_()
    cka = linear_cka(x[None], y[None])
    torch.testing.assert_close(cka[0], trace[f"cka{i}"], rtol=1e-9, atol=0)
    cka.sum().backward()
    torch.testing.assert_close(x.grad, trace[f"grad_x{i}"], rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(y.grad, trace[f"grad_y{i}"], rtol=1e-9, atol=1e-14)


def test_cka_is_the_same_over_batch_and_over_features():
    x, y = torch.randn(2, 3, 20, 6, dtype=torch.float64)
    padding = torch.zeros(3, 20, 30, dtype=torch.float64)
    by_features = linear_cka(x, y)  # D < B
    by_batch = linear_cka(torch.cat([x, padding], -1), torch.cat([y, padding], -1))  # B < D
    torch.testing.assert_close(by_features, by_batch, rtol=1e-12, atol=0)


def test_cka_of_equal_features_is_one_and_of_constant_features_has_a_gradient():
    x = torch.randn(2, 8, 5)
    torch.testing.assert_close(linear_cka(x, 3 * x + 1), torch.ones(2))
    constant = torch.ones(2, 8, 5, requires_grad=True)
    linear_cka(constant, x).sum().backward()
    assert torch.equal(constant.grad, torch.zeros_like(constant))


@pytest.mark.parametrize("case", CASES)
def test_transfer_loss_golden(golden, case):
    trace = golden("loss.npz")
    inputs = {name: trace[name].requires_grad_() for name in (*INPUTS, "coefficients")}
    labels = trace["labels"]
    loss = transfer_loss(*(inputs[name] for name in INPUTS), labels, inputs["coefficients"], CASES[case])
    parts = {"domain": loss.alignment, "static": loss.static, "event": loss.event, "total": loss.total}
    for name, part in parts.items():
        torch.testing.assert_close(part, trace[f"{case}/{name}"], rtol=1e-9, atol=0, msg=f"{case}/{name}")
    loss.total.backward()
    for name, tensor in inputs.items():
        expected = trace[f"{case}/grad_{name}"]
        found = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14, msg=f"{case}/grad_{name}")


@pytest.mark.parametrize("tet", [False, True])
def test_smoothing_is_timms_label_smoothing(tet):
    """timm's LabelSmoothingCrossEntropy: (1 - s) -log p_y + s mean_c -log p_c."""
    logits, labels = torch.randn(3, 5, 4, dtype=torch.float64), torch.tensor([0, 3, 1, 1, 2])
    config = LossConfig(smoothing=0.1, tet=tet, tet_mse_weight=0)
    losses = []
    for of_step in logits if tet else [logits.mean(0)]:
        surprise = -of_step.log_softmax(1)
        losses.append((0.9 * surprise.gather(1, labels[:, None])[:, 0] + 0.1 * surprise.mean(1)).mean())
    torch.testing.assert_close(events_loss(logits, labels, config).total, torch.stack(losses).mean())
    assert LossConfig().smoothing == 0  # as the released scripts set it


def test_events_loss_is_the_event_part_without_regularization(golden):
    trace = golden("loss.npz")
    loss = events_loss(trace["event_logits"], trace["labels"], LossConfig())
    torch.testing.assert_close(loss.total, trace["no_regularization/event"], rtol=1e-9, atol=0)
    assert loss.static == loss.alignment == 0
