"""What a run tells while it goes on, and at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from ...cache.errors import TrainingError
from ...cache.pairs import Reach
from .layers import Neurons
from .networks import SpikingNetwork


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run stands. Epochs and steps count from 1; accuracies are top-1 in [0, 1].

    Losses and train_accuracy are means over the steps since the last report, or over the epoch at its end.
    data_share: of the epoch's time, waited for data.
    w_t: the alignment's coefficient of each time step; None where they are not learned. At an epoch's end also
    selection_accuracy, where there is a split for it, and firing_rates, spikes per neuron and time step of each layer.
    """

    epoch: int
    num_epochs: int
    step: int
    num_steps: int
    loss: float
    loss_static: float
    loss_event: float
    loss_alignment: float
    grad_norm: float
    train_accuracy: float
    w_t: tuple[float, ...] | None
    learning_rate: float
    sliding_probability: float
    pairs_per_s: float
    data_share: float
    seconds_left: float
    ends_epoch: bool = False
    selection_accuracy: float | None = None
    firing_rates: Mapping[str, float] | None = None


@dataclass(frozen=True)
class TrainingReport:
    """The outcome of a run. Accuracies: top-1 in [0, 1] on `selection_split`; None without such a split.

    The run went on after `resumed_after` whole epochs and `resumed_steps` steps; both are 0 for a new run.
    """

    epochs: int
    resumed_after: int
    resumed_steps: int
    best_epoch: int
    best_accuracy: float | None
    last_accuracy: float | None
    selection_split: str | None
    num_parameters: int
    num_recordings: int
    num_images: int
    protocol: str
    photos_in_reach: Reach
    split_digest: str
    data_placement: str
    device: str
    seconds: float


OnProgress = Callable[[TrainingProgress], None]
OnMessage = Callable[[str], None]


@contextmanager
def spikes_of(network: nn.Module, keep: Callable[[Tensor], Tensor]) -> Iterator[dict[str, Tensor]]:
    """While it is open: what `keep` makes of the spikes (T, B, ...) of each layer of neurons that computes, by name."""
    kept: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda layer, inputs, spikes: kept.update({name: keep(spikes)})

    modules = network.named_modules()
    layers = [(name.removesuffix(".neurons"), layer) for name, layer in modules if isinstance(layer, Neurons)]
    hooks = [layer.register_forward_hook(note(name)) for name, layer in layers]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def firing_rates(network: SpikingNetwork, frames: Tensor) -> dict[str, float]:
    """Spikes per neuron and time step of each layer, for frames (T, B, 2, H, W) of recordings in evaluation mode."""
    was_training = network.training
    try:
        with spikes_of(network, lambda spikes: spikes.mean(dtype=torch.float32)) as rates:
            network.eval()(frames, "event")
    finally:
        network.train(was_training)
    return dict(zip(rates, torch.stack(list(rates.values())).tolist(), strict=True))


class TensorBoard:
    """Context manager that writes a run's progress to `<run>/tensorboard`; needs the extra of that name."""

    def __init__(self, run_folder: Path, first_step: int) -> None:
        """What an interrupted run wrote from `first_step` on is hidden. Raises TrainingError: not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise TrainingError(
                "train.tensorboard = true needs TensorBoard: pip install 'dvs-transfer[tensorboard]'"
            ) from None
        self._writer: Any = SummaryWriter(str(run_folder / "tensorboard"), purge_step=first_step)

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def beside(self, on_progress: OnProgress) -> OnProgress:
        """Writes what `on_progress` is told, too."""

        def tell(at: TrainingProgress) -> None:
            self.write(at)
            on_progress(at)

        return tell

    def write(self, at: TrainingProgress) -> None:
        """Every number of `at`, at the step counted from the run's start; epoch means under `epoch/`."""
        step = (at.epoch - 1) * at.num_steps + at.step
        place = "epoch" if at.ends_epoch else "step"
        for name, value in vars(at).items():
            if isinstance(value, float):
                self._writer.add_scalar(f"{place}/{name}", value, step)
        for t, w in enumerate(at.w_t or ()):
            self._writer.add_scalar(f"w_t/{t}", w, step)
        for layer, rate in (at.firing_rates or {}).items():
            self._writer.add_scalar(f"firing_rates/{layer}", rate, step)
