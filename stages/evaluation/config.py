"""What can be chosen about an evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ...cache.documents import Frozen

EvaluatedSplit = Literal["validation", "test"]
Precision = Literal["float32", "bfloat16", "int8"]


class EvaluateConfig(Frozen):
    """One evaluation of a trained network."""

    split: EvaluatedSplit = Field("test", description="split to evaluate on")
    checkpoint: Literal["best", "last"] = Field("best", description="weights: of the selected epoch or of the last one")
    batch_size: int = Field(64, ge=1, description="recordings in a step; changes speed and memory only")
    precision: Precision = Field(
        "float32", description="of convolutions; int8: weights of 8 bits, VGG-SNN on a CPU alone"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int = Field(0, ge=0, description="CPU threads; 0: as many as torch takes")
