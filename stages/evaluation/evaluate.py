"""Evaluate a trained network on a split it was not trained on."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_confusion_matrix

from ...cache import durable
from ...cache.errors import TrainingError
from ..training.checkpoint import CheckpointInfo, load_weights, weights_path
from ..training.config import EvaluateConfig
from ..training.data import EventData, OpenSplit, PairedSplit, load_events
from ..training.prediction import predict, predict_steps
from ..training.runtime import select_device, torch_settings
from .precision import Precision, in_precision

PREDICTION_COLUMNS = ("sample_id", "class", "predicted")


class Accuracies(BaseModel):
    """Shares in [0, 1]."""

    model_config = ConfigDict(frozen=True)

    top1: float = Field(description="recordings whose best score is their class")
    top5: float = Field(description="recordings whose class is among the best 5 (or all, of fewer than 5 classes)")
    mean_class_accuracy: float = Field(description="mean of the classes' own top-1, over the classes in the split")


class EvaluationReport(Accuracies):
    """Accuracies on a split, and what they are to be judged by."""

    last: Accuracies | None = Field(None, description="of the last epoch's weights, whichever checkpoint is evaluated")
    split: str
    num_samples: int
    num_classes: int
    protocol: str = Field(description="what the weights were trained under; unknown for imported ones")
    leaky: bool = Field(description="the evaluated recordings' photos, or themselves, may have been trained on")
    split_digest: str
    checkpoint: str
    epoch: int = Field(description="epochs that the weights were trained")
    selection: str = Field(description="how the `best` epoch was chosen")
    method: str
    precision: Precision = Field("float32", description="of convolutions in this evaluation")


def run(
    config: EvaluateConfig, open_split: OpenSplit, run_folder: Path, save_logits: Path | None = None
) -> EvaluationReport:
    """Evaluate the weights in `run_folder`; write `evaluation-<split>.json` and `predictions-<split>.csv` there.

    `save_logits`: also write this .npz: logits (T, N, C) float32, sample_id (N,), label (N,), class_names (C,).
    Raises TrainingError: no weights, weights of other data, a split without recordings, an
    impossible precision.
    """
    device = select_device(config.device)
    with torch_settings(threads=config.threads):
        network, info = load_weights(weights_path(run_folder, config.checkpoint), device)
        scored = in_precision(network, config.precision)
        split = open_split(config.split)
        _check_same_data(info, split, run_folder)
        if not len(split):
            raise TrainingError(f"the {config.split} split has no recordings; pair again with a {config.split} share")
        events = load_events(split, device)
        if save_logits is None:
            scores = predict(scored, events, config.batch_size)
        else:
            logits = predict_steps(scored, events, config.batch_size)
            scores = logits.mean(0)
            durable.write_bytes(save_logits, _logits_file(split, logits))
        accuracies = measure(scores, events.labels)
        last = _measure_last(run_folder, config, device, events)
    report = EvaluationReport(
        **accuracies.model_dump(),
        last=last,
        split=config.split,
        num_samples=len(split),
        num_classes=split.num_classes,
        protocol=info.protocol,
        leaky=info.protocol != "disjoint",
        split_digest=split.split_digest,
        checkpoint=config.checkpoint,
        epoch=info.epoch,
        selection=info.selection,
        method=info.method,
        precision=config.precision,
    )
    durable.write_bytes(run_folder / f"predictions-{config.split}.csv", _predictions(split, scores).encode())
    durable.write_json(run_folder / f"evaluation-{config.split}.json", report.model_dump())
    return report


def _logits_file(split: PairedSplit, logits: Tensor) -> bytes:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        logits=logits.float().cpu().numpy(),
        sample_id=np.array(split.sample_ids),
        label=split.event_labels,
        class_names=np.array(split.class_names),
    )
    return buffer.getvalue()


def _measure_last(
    run_folder: Path, config: EvaluateConfig, device: torch.device, events: EventData
) -> Accuracies | None:
    """Accuracies of the last epoch's weights; None where the run has none (imported weights)."""
    path = weights_path(run_folder, "last")
    if not path.exists():
        return None
    network, _ = load_weights(path, device)
    scored = in_precision(network, config.precision)
    return measure(predict(scored, events, config.batch_size), events.labels)


def _predictions(split: PairedSplit, scores: Tensor) -> str:
    """A table of sample_id, class and predicted class, in the split's order."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(PREDICTION_COLUMNS)
    for sample_id, label, predicted in zip(split.sample_ids, split.event_labels, scores.argmax(1), strict=True):
        writer.writerow([sample_id, split.class_names[label], split.class_names[predicted]])
    return out.getvalue()


def measure(scores: Tensor, labels: Tensor) -> Accuracies:
    """Accuracies of scores (n, num_classes) against labels (n,), n at least 1."""
    num_classes = scores.shape[1]
    confusion = multiclass_confusion_matrix(scores, labels, num_classes).double()
    support = confusion.sum(1)
    present = support > 0
    top5 = multiclass_accuracy(scores, labels, num_classes, top_k=min(5, num_classes), average="micro")
    return Accuracies(
        top1=float(confusion.trace() / support.sum()),
        top5=float(top5),
        mean_class_accuracy=float((confusion.diagonal()[present] / support[present]).mean()),
    )


def _check_same_data(info: CheckpointInfo, split: PairedSplit, run_folder: Path) -> None:
    """The split must belong to the one trained on: of another, its test recordings may have been trained on."""
    trained = (info.split_digest, info.class_names, info.num_steps, info.size)
    if trained != (split.split_digest, split.class_names, split.num_bins, split.size):
        raise TrainingError(
            f"{run_folder}: trained on split {info.split_digest} ({len(info.class_names)} classes, "
            f"{info.num_steps} bins, {info.size} x {info.size}); found split {split.split_digest} "
            f"({split.num_classes} classes, {split.num_bins} bins, {split.size} x {split.size}): "
            f"evaluate with the cache that the run was trained on"
        )
