"""What can be chosen about the network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ...cache.documents import Frozen

# VGG-SNN and SCNN: one number for each convolution, "P" halves the image by averaging; SCNN's last is its linear layer.
# ResNet18-SNN: one number for each stage of two blocks.
Widths = tuple[int | Literal["P"], ...]

PRESET_WIDTHS: dict[str, Widths] = {
    "vgg_snn": (64, 128, "P", 256, 256, "P", 512, 512, "P", 512, 512, "P"),
    "vgg_snn_small": (16, "P", 32, "P", 64, "P", 64, "P"),
    "resnet18": (64, 128, 256, 512),
    "scnn": (15, "P", 40, "P", 300),
}


class ModelConfig(Frozen):
    """The spiking network. The number of classes, time steps and pixels come from the data."""

    name: Literal["vgg_snn", "vgg_snn_small", "resnet18", "scnn"] = Field(
        "vgg_snn", description="network; sets the kind and the widths of its layers"
    )
    widths: Widths | None = Field(
        None,
        description='channels of each layer (resnet18: of each stage; scnn: neurons of the last), "P" for a pool that '
        "halves height and width; unset: as the name says",
    )
    batch_norm: Literal["per_step", "merged"] = Field(
        "per_step",
        description="batch statistics of each time step alone (the method's), or over time and batch (faster)",
    )
    running_statistics: Literal["shared", "per_domain"] = Field(
        "per_domain",
        description="what evaluation normalises recordings with: running statistics of the event branch's frames, or "
        "one set that both branches update (as released)",
    )
    tau: float = Field(2.0, ge=1, description="membrane time constant, in time steps")
    threshold: float = Field(0.5, gt=0, description="membrane potential above which a neuron spikes")
    surrogate_alpha: float = Field(2.0, gt=0, description="height of the surrogate gradient; it reaches 1/alpha far")

    @model_validator(mode="after")
    def _has_possible_widths(self) -> ModelConfig:
        blocks = [width for width in self.layers if width != "P"]
        if not blocks:
            raise ValueError("widths: at least one block is needed")
        if any(width < 1 for width in blocks):
            raise ValueError("widths: a block has at least one channel")
        if self.name == "resnet18" and "P" in self.layers:
            raise ValueError("widths: resnet18 has no pools; its second and later stages halve height and width")
        if self.name == "scnn" and self.layers[-1] == "P":
            raise ValueError("widths: the last one of scnn is its linear layer, not a pool")
        return self

    @property
    def layers(self) -> Widths:
        """The widths in force."""
        return PRESET_WIDTHS[self.name] if self.widths is None else self.widths
