"""A small checkpoint as the method's authors publish them."""

from __future__ import annotations

import argparse
from typing import Any

import torch

NUM_STEPS = 3


def published(num_classes: int = 4, **changes: Any) -> dict[str, Any]:
    """What timm's saver keeps of an SCNN for 28 x 28 frames; a change to None leaves an entry out."""
    shapes = {
        "feature.0.weight": (15, 2, 5, 5),
        "feature.3.weight": (40, 15, 5, 5),
        "fc1.weight": (300, 640),
        "fc1.bias": (300,),
        "fc2.weight": (num_classes, 300),
        "fc2.bias": (num_classes,),
    }
    state = {f"coefficient.{t}": torch.full((1,), float(t)) for t in range(NUM_STEPS)}
    state |= {key: torch.randn(shape) / 10 for key, shape in shapes.items()}
    state |= {f"{node}.threshold": torch.tensor(0.4) for node in ("feature.1", "feature.4", "node1")}
    args = argparse.Namespace(num_classes=num_classes, step=NUM_STEPS, tau=3.0, event_size=28, node_type="LIFNode")
    whole = {"state_dict": state, "arch": "Transfer_SCNN", "epoch": 49, "args": args, "metric": 63.6, "optimizer": {}}
    return {key: value for key, value in (whole | changes).items() if value is not None}
