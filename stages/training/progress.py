"""What a run tells while it goes on, and at its end; `trackers` may listen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...cache.pairs import Reach
from ..runs.metrics import MetricsLine


@dataclass(frozen=True)
class TrainingProgress:
    """Where a run stands. Epochs and steps count from 1; accuracies are top-1 in [0, 1].

    Losses and train_accuracy are means over the steps since the last report, or over the epoch at its end.
    data_share: of the epoch's time, waited for data.
    w_t: the alignment's coefficient of each time step; None where they are not learned. At an epoch's end also
    selection_accuracy, on selection_split where it has recordings, and firing_rates, spikes per neuron and time step of
    each layer.
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
    selection_split: str
    ends_epoch: bool = False
    selection_accuracy: float | None = None
    firing_rates: Mapping[str, float] | None = None


@dataclass(frozen=True)
class TrainingReport:
    """The outcome of a run. Accuracies: top-1 in [0, 1] on `selection_split`; None without such a split.

    selection: how the `best` epoch was chosen; with "last" it is the last one, whatever its accuracy.  seconds: of this
    call, not of what was done before.
    The run went on after `resumed_after` whole epochs and `resumed_steps` steps; both are 0 for a new run.
    """

    epochs: int
    resumed_after: int
    resumed_steps: int
    best_epoch: int
    best_accuracy: float | None
    last_accuracy: float | None
    selection_split: str | None
    selection: str
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


_NOT_IN_METRICS = {
    "num_epochs",
    "step",
    "num_steps",
    "seconds_left",
    "selection_split",
    "ends_epoch",
    "selection_accuracy",
}


def epoch_metrics(at: TrainingProgress) -> MetricsLine:
    """The line of an epoch from what its end told."""
    line = {key: value for key, value in vars(at).items() if key not in _NOT_IN_METRICS}
    line |= {"pairs_per_s": round(at.pairs_per_s, 2), "data_share": round(at.data_share, 4)}
    return {**line, f"{at.selection_split}_accuracy": at.selection_accuracy}
