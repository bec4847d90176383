"""What can be chosen about training. Defaults are the method's (N-Caltech101)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from ...cache.documents import Frozen, read_json
from ...cache.errors import TrainingError
from ..network.config import DeviceName
from ..plugins import require_name
from ..saccades.config import SaccadeConfig
from .sliding import STRATEGIES

if TYPE_CHECKING:
    from ..batches.data import Encoding

TrackerName = Literal["tensorboard", "mlflow", "wandb"]

# Each is a file; this module imports none of them, for they load torch.
METHOD_NAMES = tuple(module.name for module in iter_modules([str(Path(__file__).with_name("methods"))]))

# What the released scripts run under one switch, where that is more than the one change which the paper names. All of
# them choose the epoch on the test set. Keys are those of `TrainConfig`.
RELEASED: dict[str, dict[str, Any]] = {
    "method": {"select": "test_as_released"},
    "without_sliding": {"select": "test_as_released", "sliding": "step", "loss": {"alignment_weight": 0.0}},
    "without_v": {"select": "test_as_released", "encoding": "blue"},
}


class LossConfig(Frozen):
    """The method's loss. Each field switches one thing alone."""

    alignment_weight: float = Field(0.5, ge=0, description="weight of the alignment (CKA) in the total; 0: without")
    regularization: Literal["learned", "fixed", "none"] = Field(
        "learned",
        description="coefficient w_t of each step: sigmoid of a learned number, a fixed number, or none (factors of 1)",
    )
    initial_coefficient: float = Field(
        1.0, description="learned regularization: eta_t at the start, w_t = sigmoid(eta_t)"
    )
    fixed_coefficient: float = Field(
        0.5, ge=0, lt=1, description="fixed regularization: w_t; 1 would leave the event head untrained"
    )
    tet: bool = Field(True, description="classify at each step (TET); otherwise the mean of the steps' logits")
    tet_mse_weight: float = Field(1e-3, ge=0, le=1, description="share of the squared distance to 0.5 in TET's loss")
    smoothing: float = Field(
        0.0, ge=0, lt=1, description="label smoothing of the cross entropy (the released --smoothing)"
    )


class AugmentationConfig(Frozen):
    """Augmentation of training recordings: one draw for a recording, the same for all its frames."""

    LATER = frozenset({"nda", "event_drop", "time_shift", "polarity_flip"})

    crop: bool = Field(True, description="shift by up to size // 12 pixels each way (pad, then crop at random)")
    flip: bool = Field(False, description="mirror left and right with probability 0.5 (the method's --DVS-DA)")
    rotation_degrees: float = Field(0.0, ge=0, le=180, description="largest rotation, degrees (15 with --DVS-DA)")
    nda: int = Field(
        0,
        ge=0,
        le=2,
        description="NDA (Li et al. 2022): a recording is rolled, rotated, sheared or has a square cut out, at this "
        "intensity n: by up to 1 + 2n pixels of 48, 15n degrees, 15n degrees, a side of 8n pixels of 48; 1 and 2 are "
        "the released ranges for N-Caltech101 and CIFAR10-DVS; 0: off",
    )
    event_drop: bool = Field(
        False,
        description="EventDrop (Gu et al. 2021): a recording is left as it is, or loses 10 to 90 % of its duration, a "
        "box of 5 to 25 % of width and height, or each event with a probability of 10 to 90 %",
    )
    time_shift: int = Field(0, ge=0, description="largest shift earlier or later, time bins; empty ones enter")
    polarity_flip: float = Field(0.0, ge=0, le=1, description="probability that ON and OFF of a recording are swapped")


class StrongView(AugmentationConfig):
    """As augmentation, with NDA and EventDrop where nothing else is said."""

    LATER = frozenset()

    nda: int = Field(1, ge=0, le=2, description="NDA, as in augmentation")
    event_drop: bool = Field(True, description="EventDrop, as in augmentation")


class UnlabelledConfig(Frozen):
    """What recordings teach whose labels are not used: those that `train_per_class` and the like leave over."""

    adapt: bool = Field(
        False,
        description="the weights that are kept, and validated, have running statistics of those recordings and of the "
        "labelled ones (AdaBN)",
    )
    consistency_weight: float = Field(
        0.0,
        ge=0,
        description="weight in the total of the consistency of a strong view with what a weak view is surely named "
        "(FixMatch); 0: without",
    )
    threshold: float = Field(0.95, ge=0, le=1, description="consistency: probability from which a name counts as sure")
    ratio: int = Field(1, ge=1, description="consistency: recordings of a step, as multiple of batch_size")
    start: float = Field(0.3, ge=0, lt=1, description="consistency: share of all steps before the first one with it")
    strong: StrongView = Field(
        StrongView(), description="consistency: the strong view; the weak one has augmentation's crop and flip alone"
    )

    @property
    def is_used(self) -> bool:
        return self.adapt or self.consistency_weight > 0

    def use(self, adapts_later: bool = False) -> str:
        """What for, in words; "" where they are not used. adapts_later: the evaluation does, see `EvaluateConfig`."""
        uses = {"AdaBN": self.adapt or adapts_later, "FixMatch": self.consistency_weight > 0}
        return " and ".join(name for name, is_one in uses.items() if is_one)


class TrainConfig(Frozen):
    """One training run."""

    LATER = frozenset({"options", "heads", "saccade", "unlabelled", "average", "trackers"})

    released: Literal["method", "without_sliding", "without_v"] | None = Field(
        None,
        description="the combination that a released script runs, beyond the one change of its name: sets several keys "
        "of this section, which then cannot be set otherwise",
    )
    method: str = Field(
        "transfer",
        description="transfer: knowledge transfer from images; events: the recordings alone (the TET baseline); "
        "finetune: first images alone and then recordings alone, with one head and a new optimiser; mixture: a share "
        "of each batch images, the rest recordings, through one head; timestep_mixup: transfer, "
        "each image's sequence going over to its recording at a step that is drawn; distillation: transfer, the static "
        "branch also following a network without spikes that was taught on the images; or your own, as "
        "package.module:Name",
    )
    options: dict[str, Any] = Field(
        {}, description="of a method (docs/methods.md), or what a method or a sliding strategy of your own reads"
    )
    heads: Literal[1, 2] = Field(
        2,
        description="transfer and what is built on it: heads of the network, one for images and one for recordings, or "
        "one for both",
    )
    pretrain_epochs: int | None = Field(
        None, ge=1, description="finetune: epochs on images alone, the first ones of `epochs`; unset: half of them"
    )
    epochs: int = Field(300, ge=1, description="passes over the training split")
    epoch_steps: int | None = Field(
        None,
        ge=1,
        description="steps of an epoch, which then may draw a recording again; unset: as many as the training "
        "recordings fill",
    )
    batch_size: int = Field(120, ge=2, description="recordings (and as many images) in a step")
    seed: int = Field(42, ge=0, lt=2**63, description="seed of the initial weights and of every draw")
    base_learning_rate: float = Field(
        5e-3, gt=0, description="peak learning rate of a batch of 1,024; scaled with batch_size"
    )
    schedule: Literal["cosine", "steps"] = Field(
        "cosine", description="learning rate after the warm-up: down a cosine, or times decay_rate in steps"
    )
    decay_epochs: int = Field(40, ge=1, description="steps: epochs from one step to the next")
    decay_rate: float = Field(0.1, gt=0, le=1, description="steps: factor of the learning rate at a step")
    min_learning_rate: float = Field(1e-5, ge=0, description="learning rate where the cosine ends")
    warmup_learning_rate: float = Field(1e-6, ge=0, description="learning rate of the first epoch")
    warmup_epochs: int = Field(5, ge=0, description="epochs of linear warm-up")
    weight_decay: float = Field(
        0.01,
        ge=0,
        description="AdamW's decoupled weight decay, of weights: not of biases, batch norms and loss coefficients",
    )
    loss: LossConfig = LossConfig()
    sliding: str = Field(
        "power",
        description="probability that a static image is replaced by its recording: power, progress to a power; linear, "
        "epoch by epoch from 0 to 1; step, 0 then 1 after half time; static, always 0; events, always 1; or your own, "
        "as package.module:Name",
    )
    sliding_exponent: float = Field(3.0, gt=0, description="exponent of sliding = power")
    augmentation: AugmentationConfig = AugmentationConfig()
    unlabelled: UnlabelledConfig = Field(UnlabelledConfig(), description="recordings whose labels are not used")
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay, per step, of the moving average of weights and batch norm statistics that is validated and "
        "kept in place of the newest ones; after n steps at most (1 + n) / (10 + n); 0: without",
    )
    sampling: Literal["balanced", "shuffled", "sequential"] = Field(
        "balanced",
        description="recordings of an epoch: classes equally often, with replacement; a permutation; as stored",
    )
    pairing: Literal["class", "instance"] = Field(
        "class", description="a recording's static image: a random one of its class, or its own photo"
    )
    encoding: Literal["value", "grey", "red", "green", "blue", "mean", "saccade", "recorded"] = Field(
        "value",
        description="what is shown of a static image: the same brightness at every step, which is HSV's V, luma, one "
        "of RGB, or the mean of RGB; saccade: what an event camera would see of its luma, drawn anew for each batch; "
        "recorded: what the simulated camera of [images.recorded] recorded of it, the same in each batch",
    )
    saccade: SaccadeConfig = Field(SaccadeConfig(), description="encoding = saccade, and unused otherwise: the camera")
    select: Literal["validation", "last", "test_as_released"] = Field(
        "validation",
        description="the `best` epoch: by validation accuracy, the last, or by test accuracy as the released code does",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of convolutions and heads, and of the currents and spikes between them; weights, batch "
        "statistics, membranes and losses are float32 in both",
    )
    device: DeviceName = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int = Field(0, ge=0, description="CPU threads; 0: as many as torch takes")
    data_placement: Literal["auto", "device", "pinned", "streamed", "sharded"] = Field(
        "auto",
        description="where the training split is kept: on the device, in host memory, or in its store alone; sharded: "
        "each of several processes keeps shards of its own, in the first of these that has room, and draws from them "
        "alone; auto: the first that takes at most half of the free memory, with several processes sharded before "
        "streamed",
    )
    recompute: bool = Field(
        False, description="keep the inputs of layers alone for the backward pass: less memory, more time"
    )
    log_interval: int = Field(10, ge=1, description="steps between progress reports and checks for NaN")
    deterministic: bool = Field(False, description="only algorithms that give the same bits again")
    checkpoint_minutes: float = Field(
        10.0, ge=0, description="minutes between checkpoints within an epoch; 0: at the ends of epochs alone"
    )
    checkpoint_steps: int = Field(0, ge=0, description="steps between checkpoints within an epoch; 0: by minutes alone")
    keep_checkpoints: int = Field(2, ge=1, description="checkpoints to go on from that are kept, the newest ones")
    tensorboard: bool = Field(
        False, description="also write to tensorboard/ in the run's folder (needs the extra `tensorboard`)"
    )
    trackers: tuple[TrackerName, ...] = Field(
        (),
        description="who else is told of the run (docs/runs.md#logs); each needs the extra of its name; tensorboard is "
        "the same as train.tensorboard = true",
    )

    @model_validator(mode="before")
    @classmethod
    def _set_released(cls, values: Any) -> Any:
        preset = RELEASED.get(values.get("released") or "") if isinstance(values, Mapping) else None
        return values if preset is None else _with_preset(values, preset)

    @model_validator(mode="after")
    def _has_known_names(self) -> TrainConfig:
        require_name("methods", self.method, METHOD_NAMES)
        require_name("sliding", self.sliding, STRATEGIES)
        return self

    @model_validator(mode="after")
    def _has_two_phases(self) -> TrainConfig:
        if self.method == "finetune" and not 0 < self.num_pretrain_epochs < self.epochs:
            raise ValueError(
                f"finetune needs epochs on images and on recordings: pretrain_epochs is {self.num_pretrain_epochs} of "
                f"{self.epochs} epochs"
            )
        return self

    @property
    def whole_placement(self) -> Literal["auto", "device", "pinned", "streamed"]:
        """Where a process keeps what it has to itself."""
        return "auto" if self.data_placement == "sharded" else self.data_placement

    @property
    def reads(self) -> Encoding:
        """What is read of a static image: what `encoding` says, or its strokes for a camera that sees it drawn."""
        return self.saccade.reads if self.encoding == "saccade" else self.encoding

    @property
    def selection_split(self) -> Literal["validation", "test"]:
        """The split that is looked at after each epoch, and chooses the best one."""
        return "test" if self.select == "test_as_released" else "validation"

    @property
    def num_pretrain_epochs(self) -> int:
        """Epochs on images alone; 0 for other methods than fine-tuning."""
        if self.method != "finetune":
            return 0
        return self.epochs // 2 if self.pretrain_epochs is None else self.pretrain_epochs


def read_training(run_folder: Path) -> TrainConfig | None:
    """The settings that a run was trained with; None for imported weights. Raises TrainingError: damaged."""
    path = run_folder / "config.json"
    try:
        document = read_json(path)
        section = document.get("experiment", document).get("train")
        return None if section is None else TrainConfig.model_validate(section)
    except FileNotFoundError:
        raise TrainingError(f"{run_folder}: no run here (it has no config.json); train first") from None
    except (ValueError, AttributeError, ValidationError) as error:
        raise TrainingError(f"{path}: damaged, or of another version ({error}); train again") from None


def _with_preset(values: Mapping[str, Any], preset: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    """The values with those of the preset. Raises ValueError for one that is given and another."""
    merged = dict(values)
    for key, wanted in preset.items():
        found = merged.get(key, wanted)
        if isinstance(wanted, Mapping):
            found = found.model_dump(exclude_unset=True) if isinstance(found, BaseModel) else found
            merged[key] = _with_preset(found, wanted, f"{section}{key}.") if isinstance(found, Mapping) else found
        elif found != wanted:
            raise ValueError(f"released = {values.get('released')} sets {section}{key} to {wanted!r}, not {found!r}")
        else:
            merged[key] = wanted
    return merged


# What does not change the result of a run, and may differ when it is resumed.
NEUTRAL_TRAIN_FIELDS = frozenset(
    {
        "device",
        "threads",
        "data_placement",
        "recompute",
        "log_interval",
        "checkpoint_minutes",
        "checkpoint_steps",
        "keep_checkpoints",
        "tensorboard",
        "trackers",
    }
)
