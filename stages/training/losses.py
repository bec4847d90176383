"""The loss of He et al. (AAAI 2024): alignment by CKA, and classification over time (TET, Deng et al., ICLR 2022)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .config import LossConfig


class LossParts(NamedTuple):
    """The loss and what it is made of, scalars.

    total = static + event + alignment_weight * alignment, and what a method adds to these.
    """

    static: Tensor
    event: Tensor
    alignment: Tensor
    total: Tensor


def linear_cka(x: Tensor, y: Tensor) -> Tensor:
    """Linear centred kernel alignment (Kornblith et al., ICML 2019) of x (T, B, D) and y (T, B, D) over B: (T,).

        CKA = |X'Y|^2 / (|X'X| |Y'Y| + 1e-7), X and Y centred over the batch, Frobenius norms

    The sums are taken over B x B or D x D products, whichever are smaller; they are equal.
    """
    x = x - x.mean(-2, keepdim=True)
    y = y - y.mean(-2, keepdim=True)
    if x.shape[-2] <= x.shape[-1]:
        xx, yy = x @ x.mT, y @ y.mT
        xy = (xx * yy).sum((-2, -1))
    else:
        xx, yy = x.mT @ x, y.mT @ y
        xy = (x.mT @ y).square().sum((-2, -1))
    # vector_norm has gradient 0 where it is 0 (features that do not vary), a square root would give NaN
    norms = torch.linalg.vector_norm(xx, dim=(-2, -1)) * torch.linalg.vector_norm(yy, dim=(-2, -1))
    alignment: Tensor = xy / (norms + 1e-7)
    return alignment


def classification_loss(
    logits: Tensor, labels: Tensor, config: LossConfig, step_weights: Tensor | None = None
) -> Tensor:
    """Scalar loss of logits (T, B, C) and labels (B,), which `config.smoothing` spreads over all classes.

    With TET the mean over steps of (1 - l) CE + l MSE(logits, 0.5), each times its step weight (T,) where given;
    without it the cross entropy of the mean logits, which has no steps to weight.
    """
    if not config.tet:
        return F.cross_entropy(logits.mean(0), labels, label_smoothing=config.smoothing)
    num_steps, batch_size, _ = logits.shape
    targets = labels.repeat(num_steps)
    entropy = F.cross_entropy(logits.flatten(0, 1), targets, reduction="none", label_smoothing=config.smoothing)
    distance = (logits - 0.5).square().mean((1, 2))
    steps = entropy.view(num_steps, batch_size).mean(1).lerp(distance, config.tet_mse_weight)
    return steps.mean() if step_weights is None else (step_weights * steps).mean()


def step_coefficients(coefficients: Tensor, config: LossConfig) -> tuple[Tensor, Tensor]:
    """Factors (T,) of the alignment and of the event loss at each step, from the learnable eta_t (T,)."""
    if config.regularization == "none":
        ones = torch.ones_like(coefficients)
        return ones, ones
    if config.regularization == "fixed":
        w = torch.full_like(coefficients, config.fixed_coefficient)
    else:
        w = torch.sigmoid(coefficients)
    return w, 1 - w


def transfer_loss(
    static_features: Tensor,
    event_features: Tensor,
    static_logits: Tensor,
    event_logits: Tensor,
    labels: Tensor,
    coefficients: Tensor,
    config: LossConfig,
) -> LossParts:
    """The method's loss of features (T, B, D), logits (T, B, C), labels (B,) and eta_t (T,)."""
    alignment_factor, event_factor = step_coefficients(coefficients, config)
    with torch.set_grad_enabled(torch.is_grad_enabled() and config.alignment_weight > 0):
        alignment = (alignment_factor * (1 - linear_cka(static_features, event_features).abs())).mean()
    static = classification_loss(static_logits, labels, config)
    event = classification_loss(event_logits, labels, config, event_factor)
    return LossParts(static, event, alignment, static + event + config.alignment_weight * alignment)


def consistency_loss(strong: Tensor, weak: Tensor, threshold: float, config: LossConfig) -> Tensor:
    """FixMatch (Sohn et al., NeurIPS 2020): what a weak view is surely named, its strong view is to be named, too.

    strong, weak: logits (T, B, C) of the two views of B recordings. A recording counts if the probability of the class
    that the weak view's mean logits name is at least `threshold`; its loss is the cross entropy with that class, with
    TET the mean over steps, without it of the mean logits. The mean is over all B, those that do not count being 0.
    """
    confidence, named = weak.detach().mean(0).softmax(-1).max(-1)
    steps = strong if config.tet else strong.mean(0, keepdim=True)
    entropy = F.cross_entropy(steps.flatten(0, 1), named.repeat(len(steps)), reduction="none").view(steps.shape[:2])
    return (entropy.mean(0) * (confidence >= threshold)).mean()


def events_loss(event_logits: Tensor, labels: Tensor, config: LossConfig) -> LossParts:
    """The baseline's loss, of event logits (T, B, C) alone."""
    event = classification_loss(event_logits, labels, config)
    zero = torch.zeros_like(event)
    return LossParts(zero, event, zero, event)
