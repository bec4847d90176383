"""What can be chosen about the network."""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, JsonValue, model_validator

from ...cache.documents import Frozen
from ..plugins import require_name

# VGG-SNN and SCNN: one number for each convolution, "P" halves the image by averaging; SCNN's last is its linear layer.
# ResNet18-SNN: one number for each stage of two blocks.
Widths = tuple[int | Literal["P"], ...]


def _require_device(name: str) -> str:
    """Whether it is there is known to the machine that uses it."""
    if re.fullmatch(r"auto|(cpu|cuda)(:\d+)?", name) is None:
        raise ValueError("expected auto, cpu, cuda or cuda:N")
    return name


DeviceName = Annotated[str, AfterValidator(_require_device)]
BatchNormMode = Literal["per_step", "merged"]
RunningStatistics = Literal["shared", "per_domain"]


class Architecture(NamedTuple):
    """What makes a network of this package, see `networks`.

    widths: unless the configuration has others. kernel_size, padding: of convolutions, but for a residual network's.
    one_head: for both domains. spreads_over: initial convolutions are normal of deviation sqrt(2 / this); None: torch's
    own. linear_bound: initial weights of linear layers are uniform within it.
    """

    widths: Widths
    is_residual: bool = False
    kernel_size: int = 3
    padding: int = 1
    has_norm: bool = True
    ends_linear: bool = False
    one_head: bool = False
    spreads_over: Literal["fan_in", "fan_out"] | None = None
    linear_bound: float | None = None


# Deng et al., ICLR 2022, and Li et al., 2022, as in He et al., AAAI 2024; initial weights as released.
ARCHITECTURES = {
    "vgg_snn": Architecture((64, 128, "P", 256, 256, "P", 512, 512, "P", 512, 512, "P")),
    "vgg_snn_small": Architecture((16, "P", 32, "P", 64, "P", 64, "P")),
    "resnet18": Architecture((64, 128, 256, 512), is_residual=True, spreads_over="fan_out"),
    "scnn": Architecture(
        (15, "P", 40, "P", 300),
        kernel_size=5,
        padding=0,
        has_norm=False,
        ends_linear=True,
        one_head=True,
        spreads_over="fan_in",
        linear_bound=0.1,
    ),
}


class ModelConfig(Frozen):
    """The spiking network. The number of classes, time steps and pixels come from the data."""

    LATER = frozenset({"options"})

    name: str = Field(
        "vgg_snn",
        description=f"network: {', '.join(ARCHITECTURES)}, or `package.module:Name` of one's own; sets the kind and "
        "the widths of its layers",
    )
    widths: Widths | None = Field(
        None,
        description='channels of each layer (resnet18: of each stage; scnn: neurons of the last), "P" for a pool that '
        "halves height and width; unset: as the name says",
    )
    batch_norm: BatchNormMode = Field(
        "per_step",
        description="batch statistics of each time step alone (the method's), or over time and batch (faster)",
    )
    running_statistics: RunningStatistics = Field(
        "per_domain",
        description="what evaluation normalises recordings with: running statistics of the event branch's frames, or "
        "one set that both branches update (as released)",
    )
    tau: float = Field(2.0, ge=1, description="membrane time constant, in time steps")
    threshold: float = Field(0.5, gt=0, description="membrane potential above which a neuron spikes")
    surrogate_alpha: float = Field(2.0, gt=0, description="height of the surrogate gradient; it reaches 1/alpha far")
    options: dict[str, JsonValue] = Field({}, description="arguments for a network of one's own, by name")

    @model_validator(mode="after")
    def _is_possible(self) -> ModelConfig:
        architecture = ARCHITECTURES.get(self.name)
        if architecture is None:  # imported when it is built: a run can be read where its network is not
            require_name("networks", self.name, ARCHITECTURES)
            return self
        if self.options:
            raise ValueError(f"options: {self.name} has none; they are for a network of one's own")
        blocks = [width for width in self.layers if width != "P"]
        if not blocks:
            raise ValueError("widths: at least one block is needed")
        if any(width < 1 for width in blocks):
            raise ValueError("widths: a block has at least one channel")
        if architecture.is_residual and "P" in self.layers:
            raise ValueError(f"widths: {self.name} has no pools; its second and later stages halve height and width")
        if architecture.ends_linear and self.layers[-1] == "P":
            raise ValueError(f"widths: the last one of {self.name} is its linear layer, not a pool")
        return self

    @property
    def layers(self) -> Widths:
        """The widths in force; none of a network of one's own that was given none."""
        preset = ARCHITECTURES[self.name].widths if self.name in ARCHITECTURES else ()
        return preset if self.widths is None else self.widths
