"""What can be chosen about an evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ...cache.documents import Frozen
from ..network.config import DeviceName

EvaluatedSplit = Literal["validation", "test"]
# In the order in which they are shown.
EVALUATED_SPLITS: tuple[EvaluatedSplit, ...] = ("test", "validation")
Precision = Literal["float32", "bfloat16", "int8"]
Heads = Literal["event", "both"]

# Fields of `EvaluateConfig` that make a result another one, and that its report repeats.
WAYS = ("precision", "heads", "shifts", "adapt")


class EvaluateConfig(Frozen):
    """One evaluation of a trained network."""

    LATER = frozenset({"heads", "shifts", "adapt"})

    split: EvaluatedSplit = Field("test", description="split to evaluate on")
    checkpoint: Literal["best", "last"] = Field("best", description="weights: of the selected epoch or of the last one")
    batch_size: int = Field(64, ge=1, description="recordings in a step; changes speed and memory only")
    precision: Precision = Field(
        "float32", description="of convolutions; int8: weights of 8 bits, VGG-SNN on a CPU alone"
    )
    heads: Heads = Field(
        "event",
        description="that name recordings: their own, or both: the mean of its logits and those of the head of images, "
        "where that was trained too",
    )
    shifts: int = Field(
        0,
        ge=0,
        description="n: probabilities are means over five views of a recording, as it is and moved by n pixels right, "
        "left, down and up (empty pixels enter); 0: as it is alone",
    )
    adapt: bool = Field(
        False,
        description="running statistics of events are those of the recordings that may train, without their labels "
        "(AdaBN), in this evaluation alone; train.unlabelled.adapt keeps them in the weights",
    )
    device: DeviceName = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int = Field(0, ge=0, description="CPU threads; 0: as many as torch takes")
