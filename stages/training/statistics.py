"""Running statistics of batch norms where each process has shards of its own, and so may see some classes alone.

Each process keeps its own, as it does otherwise; they go with the gradients, so that all know those of all after every
step. What is validated and kept has those of all recordings together.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..network.networks import SpikingNetwork
from .distributed import Processes


class AllStatistics:
    """values (P, S): running means and then running variances of each of P processes, as of the last step."""

    def __init__(self, network: nn.Module, processes: Processes) -> None:
        self._network, self._processes = network, processes
        self.values = self.own().expand(processes.count, -1)

    def own(self) -> Tensor:
        """This process's, (S,), as they are now."""
        return torch.cat([torch.zeros(0, device=self._device), *(buffer.float() for buffer in _buffers(self._network))])

    def take_up(self, values: Tensor | None) -> None:
        """Go on with those of a state. values (P', S): of other processes where P' is not P, then each takes those of
        all together; None: they were not kept apart, and the network has them."""
        if values is None:
            self.values = self.own().expand(self._processes.count, -1)
            return
        values = values.to(self._device)
        if len(values) != self._processes.count:
            values = pooled(values).expand(self._processes.count, -1)
        self.values = values
        set_statistics(self._network, values[self._processes.rank])

    def pooled_network(self, network: SpikingNetwork) -> SpikingNetwork:
        """A copy of the network with the statistics of all recordings."""
        network = copy.deepcopy(network)
        set_statistics(network, pooled(self.values))
        return network

    @property
    def _device(self) -> torch.device:
        return next(self._network.parameters()).device


def pooled(values: Tensor) -> Tensor:
    """(S,) mean, and variance within and between processes, of (P, S); each counts alike, as in the gradient."""
    means, variances = values.double().chunk(2, dim=1)
    return torch.cat([means.mean(0), variances.mean(0) + means.var(0, correction=0)]).float()


def _buffers(network: nn.Module) -> list[Tensor]:
    """Running means, and then the variances that belong to them."""
    names = [name.removesuffix("mean") for name, _ in network.named_buffers() if name.endswith("running_mean")]
    return [network.get_buffer(name + kind) for kind in ("mean", "var") for name in names]


@torch.no_grad()
def set_statistics(network: nn.Module, values: Tensor) -> None:
    """To those of one process, (S,), or of all pooled."""
    buffers = _buffers(network)
    for buffer, part in zip(buffers, torch.split(values, [buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(part.view(buffer.shape))
