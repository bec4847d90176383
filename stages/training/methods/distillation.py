"""Distillation from a network without spikes (CKD, Ye et al., ICME 2025, arXiv 2507.09269), beside the transfer loss.

Theirs: a teacher of photos for the static branch in a first phase of training, with the alignment of features and
sliding as in `transfer`. Their code is not published. Known of their numbers, temperature 4, weight 1, half time. Ours:
the teacher and how it is taught; the form of the switch; that an image which a recording replaced has no teacher.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Annotated, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ....cache.documents import Frozen
from ....cache.errors import TrainingError
from ....cache.paired import PairedCache
from ....cache.pairs import Reach
from ...batches.sampling import NUM_DRAWS
from ...network.networks import SpikingNetwork
from ..augmentation import augment
from ..config import AugmentationConfig, TrainConfig
from ..losses import LossParts
from ..progress import OnMessage
from . import MixedPrecision, Photos, Shown, options_of
from .transfer import Transfer


class DistillationOptions(Frozen):
    temperature: float = Field(4.0, gt=0, description="of both networks' logits; the divergence is times its square")
    weight: float = Field(1.0, ge=0, description="of the divergence in the loss, at first")
    switch: float = Field(
        0.2, gt=0, le=1, description="share of the training, around half time, in which the weight falls to 0"
    )
    teacher_widths: tuple[Annotated[int, Field(ge=1)] | Literal["P"], ...] = Field(
        (32, "P", 64, "P", 128),
        min_length=1,
        description='channels of each 3 x 3 convolution of the teacher; "P" halves height and width',
    )
    teacher_epochs: int = Field(10, ge=1, description="passes over the photos of the pool that teach the teacher")
    teacher_learning_rate: float = Field(1e-3, gt=0, description="of the teacher, at first; down a cosine to 0")


class Distillation(Transfer):
    """The static branch's logits follow those that the teacher has of the photo's brightness.

    It stays brightness (under saccade luma) where the static branch sees what a camera makes of it.
    """

    Options = DistillationOptions

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.options = cast(DistillationOptions, options_of(config))
        if config.reads in ("recorded", "strokes"):
            raise TrainingError(
                f"train.method = distillation teaches its teacher the brightness of images, of which {config.reads} "
                "are read alone: use another encoding, or another train.saccade.motion"
            )

    def loss(self, network: MixedPrecision, shown: Shown) -> tuple[LossParts, Tensor]:
        branches = self.branches(network, shown.static(), shown)
        loss, weight = branches.loss, self.options.weight * weight_at(shown.progress, self.options.switch)
        if weight > 0:
            assert network.auxiliary is not None
            assert shown.images is not None
            with torch.no_grad():
                taught = network.auxiliary(shown.images)
            logits = branches.static_logits
            followed = logits if self.config.loss.tet else logits.mean(0, keepdim=True)
            distances = divergence(followed, taught, self.options.temperature)
            loss = loss._replace(total=loss.total + weight * (distances * ~shown.replaced).mean())
        return loss, branches.logits

    def auxiliary(self, network: SpikingNetwork, split: PairedCache) -> nn.Module:
        return Teacher(self.options.teacher_widths, split.num_classes).eval().requires_grad_(False)

    def prepare(self, auxiliary: nn.Module, photos: Photos, labels: NDArray[np.int64], tell: OnMessage) -> None:
        """Teach the teacher: cross entropy, AdamW, photos shifted at random as recordings are. Follows from the seed.

        Raises TrainingError: its loss is not finite.
        """
        options, count = self.options, len(labels)
        rng = np.random.default_rng([self.config.seed, *b"teacher"])
        num_batches = max(1, count // self.config.batch_size)
        teacher = copy.deepcopy(auxiliary).train().requires_grad_(True)
        optimizer = torch.optim.AdamW(teacher.parameters(), lr=options.teacher_learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.teacher_epochs * num_batches)
        loss = torch.zeros(())
        for epoch in range(1, options.teacher_epochs + 1):
            right = torch.zeros((), dtype=torch.int64)
            for rows in np.array_split(rng.permutation(count), num_batches):
                images = photos(rows)
                draws = torch.from_numpy(rng.random((len(rows), NUM_DRAWS), np.float32)).to(images.device)
                shifted = augment(images[:, None], draws, AugmentationConfig())[:, 0]
                logits, target = teacher(shifted), torch.from_numpy(labels[rows]).to(images.device)
                loss = F.cross_entropy(logits, target)
                right = right.to(images.device) + (logits.argmax(1) == target).sum()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            of = f"epoch {epoch} of {options.teacher_epochs}"
            tell(f"distillation: teacher {of}, names {right / count:.1%} of its photos")
        if not bool(loss.isfinite()):
            raise TrainingError(
                f"train.method = distillation: the teacher's loss is {loss.item()}; lower "
                f"train.options.teacher_learning_rate (found {options.teacher_learning_rate:g})"
            )
        auxiliary.load_state_dict(teacher.state_dict())
        num_right = 0
        with torch.no_grad():
            for rows in np.array_split(np.arange(count), num_batches):
                num_right += int((auxiliary(photos(rows)).argmax(1).cpu().numpy() == labels[rows]).sum())
        tell(
            f"distillation: a teacher was taught on the {count} photos of the static pool for {options.teacher_epochs} "
            f"epochs; of these photos it names {num_right / count:.1%}"
        )

    def shown_photos(self, in_pool: Reach) -> Reach:
        return in_pool  # the teacher was shown them, whatever slides


class Teacher(nn.Module):
    """Convolutions with batch norm and ReLU, the mean over pixels, a linear layer."""

    def __init__(self, widths: Sequence[int | Literal["P"]], num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width in widths:
            if width == "P":
                layers.append(nn.AvgPool2d(2, ceil_mode=True))  # which leaves at least one pixel
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C) of brightness (B, 1, h, w), which may have any size."""
        logits: Tensor = self.head(self.layers(images).mean((2, 3)))
        return logits


def weight_at(progress: float, width: float) -> float:
    """1 at first, 0 in the end, and half a cosine between, over `width` of the training around its half."""
    share = min(max((progress - 0.5) / width + 0.5, 0.0), 1.0)
    return (1 + math.cos(math.pi * share)) / 2


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence (T, B) of the student's logits (T, B, C) from the teacher's (B, C), softened.

    sum_c p_c (log p_c - log s_c), p and s the softmax of the logits over the temperature; times its square, so that
    gradients do not shrink with it (Hinton et al., 2015).
    """
    log_p = (teacher / temperature).log_softmax(-1).expand_as(student)
    log_s = (student / temperature).log_softmax(-1)
    return F.kl_div(log_s, log_p, reduction="none", log_target=True).sum(-1) * temperature**2
