"""The method as a user without this project would write it in PyTorch: one time step after the other, float32.

What `benchmarks.training` compares with, and what a test holds this project's network and loss to. Nothing in it is
meant to be fast, nothing to be slow.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class QuadraticGate(torch.autograd.Function):
    """1 where x > 0; backward alpha - alpha^2 |x| within 1/alpha of 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        inside = x.abs() <= 1 / ctx.alpha
        return grad * torch.where(inside, ctx.alpha - ctx.alpha**2 * x.abs(), 0), None


class Lif(nn.Module):
    """A layer of neurons, tau 2, threshold 0.5; `v` is the membrane after reset, None at rest."""

    v: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        v = torch.zeros_like(x) if self.v is None else self.v
        v = v + (x - v) / 2
        spike: Tensor = QuadraticGate.apply(v - 0.5, 2.0)  # type: ignore[no-untyped-call]
        self.v = v * (1 - spike.detach())
        return spike


class PlainVGG(nn.Module):
    """VGG-SNN with a head for each domain. Its parameters come in the order of this project's network."""

    def __init__(self, num_classes: int, num_steps: int, size: int, widths: tuple[int | str, ...]) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = 2
        for width in widths:
            if isinstance(width, int):
                conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
                blocks.append(nn.Sequential(conv, nn.BatchNorm2d(width), Lif()))
                channels = width
            else:
                blocks.append(nn.AvgPool2d(2))
        self.coefficients = nn.Parameter(torch.ones(num_steps))
        self.backbone = nn.Sequential(*blocks)
        num_features = channels * (size >> widths.count("P")) ** 2
        self.static_head = nn.Linear(num_features, num_classes)
        self.event_head = nn.Linear(num_features, num_classes)

    def forward(self, frames: Tensor, head: nn.Linear) -> tuple[Tensor, Tensor]:
        """Logits (T, B, num_classes) of a head and the last neurons' membranes (T, B, D) of frames (B, T, 2, H, W)."""
        neurons = [module for module in self.modules() if isinstance(module, Lif)]
        for layer in neurons:
            layer.v = None
        logits, features = [], []
        for t in range(frames.shape[1]):
            logits.append(head(self.backbone(frames[:, t]).flatten(1)))
            membrane = neurons[-1].v
            assert membrane is not None
            features.append(membrane.flatten(1))
        return torch.stack(logits), torch.stack(features)


def plain_cka(x: Tensor, y: Tensor) -> Tensor:
    """Linear centred kernel alignment of x (B, D) and y (B, D)."""
    centre = torch.eye(len(x), device=x.device, dtype=x.dtype) - 1 / len(x)
    k, m = centre @ (x @ x.T) @ centre, centre @ (y @ y.T) @ centre
    alignment: Tensor = (k * m).sum() / (k.norm() * m.norm() + 1e-7)
    return alignment


def plain_loss(network: PlainVGG, static: Tensor, events: Tensor, labels: Tensor) -> Tensor:
    """The whole loss of frames (B, T, 2, H, W) of both domains and labels (B,)."""
    static_logits, static_features = network(static, network.static_head)
    event_logits, event_features = network(events, network.event_head)
    num_steps = len(static_logits)
    total = torch.zeros(())
    for t in range(num_steps):
        w = torch.sigmoid(network.coefficients[t])
        alignment = 1 - plain_cka(static_features[t], event_features[t]).abs()
        total = total + 0.5 * w * alignment
        total = total + _tet(static_logits[t], labels) + (1 - w) * _tet(event_logits[t], labels)
    return total / num_steps


def _tet(logits: Tensor, labels: Tensor) -> Tensor:
    distance = F.mse_loss(logits, torch.full_like(logits, 0.5))
    return (1 - 1e-3) * F.cross_entropy(logits, labels) + 1e-3 * distance


def plain_step(
    network: PlainVGG, optimizer: torch.optim.Optimizer, static: Tensor, events: Tensor, labels: Tensor
) -> float:
    """One step of training; returns the loss."""
    optimizer.zero_grad()
    loss = plain_loss(network, static, events, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


@torch.no_grad()
def plain_scores(network: PlainVGG, events: Tensor) -> Tensor:
    """Scores (B, num_classes) of recordings (B, T, 2, H, W): the event head's mean logits."""
    network.eval()
    logits, _ = network(events, network.event_head)
    return logits.mean(0)  # type: ignore[no-any-return]
