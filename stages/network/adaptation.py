"""Batch norms whose running statistics follow the frames that they are to see (AdaBN; Li et al., 2016)."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor

from .layers import BatchNormOverTime, Domain
from .networks import SpikingNetwork


@torch.inference_mode()
def adapted(network: SpikingNetwork, batches: Iterable[Tensor], domain: Domain) -> SpikingNetwork:
    """A copy of `network` in evaluation mode whose running statistics of `domain` are those of `batches`.

    batches: frames (T, B, 2, H, W), without labels, of about equal B. The statistics are means over the batches of what
    each layer receives at all steps, while the layers before it normalise with the batch's own.
    """
    with torch.inference_mode(False):
        network = copy.deepcopy(network).train()
    norms = [module for module in network.modules() if isinstance(module, BatchNormOverTime)]
    before = [(norm.mode, norm.momentum) for norm in norms]
    for norm in norms:
        norm.mode = "merged"
    for number, frames in enumerate(batches, 1):
        for norm in norms:
            norm.momentum = 1 / number
        network(frames, domain)
    for norm, (mode, momentum) in zip(norms, before, strict=True):
        norm.mode, norm.momentum = mode, momentum
    return network.eval()
