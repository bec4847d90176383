"""Evaluate a trained network on a split it was not trained on: the event branch alone is computed."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...cache import durable
from ...cache.errors import DvsTransferError, TrainingError
from ...cache.paired import PairedCache
from ..batches.data import OpenSplit
from ..batches.loading import load
from ..network.runtime import select_device, torch_settings
from ..runs.checkpoint import (
    CheckpointInfo,
    CheckpointName,
    load_weights,
    require_same_data,
    weights_digest,
    weights_path,
)
from ..training.config import read_training
from ..training.methods import method_of
from .config import WAYS, EvaluateConfig
from .precision import in_precision
from .predictions import Predictions
from .results import (
    Accuracies,
    ClassAccuracy,
    EvaluationReport,
    LastEpoch,
    evaluation_path,
    write_results,
)
from .statistics import NUM_RESAMPLES, bootstrap_interval
from .views import predict_views, scores_after_steps, with_heads, with_statistics_of

NUM_CONFIDENCE_BINS = 15


def run(
    config: EvaluateConfig, open_split: OpenSplit, run_folder: Path, save_logits: Path | None = None
) -> EvaluationReport:
    """Evaluate the weights in `run_folder`; write `evaluation-<split>.json` and `predictions-<split>.csv` there.

    No other split than `config.split` is opened. `save_logits`: also write this .npz: logits (T, N, C) float32,
    sample_id (N,), label (N,), class_names (C,).
    Raises TrainingError: no weights, weights of other data, a split without recordings, an impossible precision, views
    moved out of their frame, logits to save of several views, or a folder that may not be written to.
    """
    if save_logits is not None and config.shifts:
        raise TrainingError(
            f"evaluate.shifts = {config.shifts}: with it a recording is named by probabilities of five views, not by "
            "one set of logits that could be saved; save logits with evaluate.shifts = 0"
        )
    if not os.access(run_folder, os.W_OK):
        raise TrainingError(
            f"{run_folder}: results are written into the run's folder, and you may not write there; copy the folder, "
            "and evaluate the copy"
        )
    if save_logits is not None and not os.access(save_logits.parent, os.W_OK):
        raise TrainingError(f"{save_logits}: no folder there that you may write to; name another file for the logits")
    device = select_device(config.device)
    with torch_settings(threads=config.threads):
        names: list[CheckpointName] = [config.checkpoint]
        if config.checkpoint != "last" and weights_path(run_folder, "last").exists():
            names.append("last")
        # Before they are read: where a training replaces them meanwhile, the result counts as of other weights.
        began = time.time_ns()
        digests = {name: weights_digest(run_folder, name) for name in names}
        loaded = {name: load_weights(weights_path(run_folder, name), device) for name in names}
        asked = {name: with_heads(*found, run_folder, config) for name, found in loaded.items()}
        info = loaded[config.checkpoint][1]
        split = open_split(config.split)
        require_same_data(info, split, run_folder)
        groups = split.groups  # before the work: a store may have to be made again
        if not len(split):
            raise TrainingError(f"the {config.split} split has no recordings; pair again with a {config.split} share")
        if config.adapt:
            asked = {name: with_statistics_of(split.unlabelled, network, device) for name, network in asked.items()}
        scoring = {name: in_precision(network, config.precision) for name, network in asked.items()}
        events = load(split, device)
        views = {name: predict_views(network, events, config) for name, network in scoring.items()}
    labels = events.labels
    after_steps = {name: scores_after_steps(of_checkpoint) for name, of_checkpoint in views.items()}
    scores = {name: of_checkpoint[-1] for name, of_checkpoint in after_steps.items()}
    if save_logits is not None:
        buffer, ids, names_of = io.BytesIO(), np.array(split.sample_ids), np.array(split.class_names)
        steps = views[config.checkpoint][0].float().cpu().numpy()
        np.savez(buffer, logits=steps, sample_id=ids, label=split.event_labels, class_names=names_of)
        durable.write_bytes(save_logits, buffer.getvalue())
    confusion = confusion_matrix(scores[config.checkpoint], labels)
    report = EvaluationReport(
        **_measure_with_intervals(scores[config.checkpoint], labels, groups),
        num_resamples=NUM_RESAMPLES,
        calibration_error=calibration_error(scores[config.checkpoint], labels),
        top1_after_step=accuracy_after_steps(after_steps[config.checkpoint], labels),
        last=LastEpoch(**_measure_with_intervals(scores["last"], labels, groups)) if "last" in scores else None,
        split=config.split,
        num_samples=len(split),
        num_groups=None if groups is None else len(set(groups)),
        num_classes=split.num_classes,
        photos_in_reach=info.photos_in_reach_of(split),
        split_digest=split.split_digest,
        checkpoint=config.checkpoint,
        **info.model_dump(include={"epoch", "selection", "method", "protocol"}),
        epoch_choice=describe_choice(config, info),
        unfinished=_unfinished(run_folder, loaded["last"][1] if "last" in loaded else None),
        **_count_labels(config, info, split, run_folder),
        **{way: getattr(config, way) for way in WAYS},
        weights_digest=digests[config.checkpoint],
        last_weights_digest=digests.get("last"),
        recordings_digest=split.recordings_digest,
        classes=class_accuracies(confusion, split.class_names),
        confusion=confusion.tolist(),
    )
    named = {"": split.event_labels.tolist()} | {name: found.argmax(1).tolist() for name, found in scores.items()}
    said = {name: tuple(split.class_names[label] for label in found) for name, found in named.items()}
    predictions = Predictions(split.sample_ids, said[""], said[config.checkpoint], said.get("last"), groups)
    write_results(run_folder, report, predictions)
    os.utime(evaluation_path(run_folder, report.split), ns=(began, began))  # which tells weights that came later
    return report


def _unfinished(run_folder: Path, last: CheckpointInfo | None) -> str:
    """What was trained of what was to be; last: None for imported weights."""
    training = None if last is None else read_training(run_folder)
    if last is None or training is None or last.epoch == training.epochs:
        return ""
    return f"{last.epoch} of {training.epochs} epochs"


def describe_choice(config: EvaluateConfig, info: CheckpointInfo) -> str:
    """How the evaluated epoch was chosen, for a reader of the result."""
    if info.selection == "unknown":
        return "not known: the weights were imported from a graph, which does not say"
    if info.method == "imported":
        return f"epoch {info.epoch}, as published: the best on its authors' test recordings, maybe some of these"
    if config.checkpoint == "last" or info.selection == "last":
        return f"the last epoch, {info.epoch}; nothing was selected"
    selecting = "test" if info.selection == "test_as_released" else info.selection
    accuracy = "" if info.accuracy is None else f" ({100 * info.accuracy:.1f} %)"
    text = f"epoch {info.epoch}, which had the best top-1 on the {selecting} recordings{accuracy}"
    if selecting == "test":
        text += ", as in the released code"
    if selecting == config.split:
        text += "; they are the ones evaluated here, which flatters the result"
    return text


def _measure_with_intervals(scores: Tensor, labels: Tensor, groups: Sequence[str] | None) -> dict[str, Any]:
    """Accuracies of scores (n, num_classes), and the intervals of those that have one."""
    correct = (scores.argmax(1) == labels).cpu().numpy()
    intervals = [bootstrap_interval(correct, classes, ids=groups) for classes in (None, labels.cpu().numpy())]
    return {
        **measure(scores, labels).model_dump(),
        "top1_interval": astuple(intervals[0]),
        "mean_class_accuracy_interval": astuple(intervals[1]),
    }


def _count_labels(config: EvaluateConfig, info: CheckpointInfo, split: PairedCache, run_folder: Path) -> dict[str, Any]:
    """The recordings that the run saw with labels, and without; none of another run's data, as imported weights have
    it."""
    if info.method == "imported":
        return {}
    train, validation = split.count("train"), split.count("validation")
    teaching = train.sum()
    unlabelled: dict[str, Any] = {}
    with suppress(DvsTransferError):
        training = read_training(run_folder)
        if training is not None:
            teaching *= method_of(training).uses_labels
            use = training.unlabelled.use(config.adapt)
            count = len(split.unlabelled) - int(teaching) if use else 0
            unlabelled = {"unlabelled_recordings": count} | ({"unlabelled_use": use} if count else {})
    selecting = {"validation": validation, "test_as_released": split.count("test")}.get(info.selection)
    return {
        "train_labels": int(teaching),
        "selection_labels": 0 if selecting is None else int(selecting.sum()),
        "validation_per_class": int(validation[train > 0].min()),
        **unlabelled,
    }


def measure(scores: Tensor, labels: Tensor) -> Accuracies:
    """Accuracies of scores (n, num_classes) against labels (n,), n at least 1."""
    confusion = confusion_matrix(scores, labels).double()
    support = confusion.sum(1)
    present = support > 0
    first = scores.argsort(dim=1, descending=True, stable=True)[:, :5]  # of equal scores the first, as argmax has it
    top5 = (first == labels[:, None]).any(1).float().mean()
    return Accuracies(
        top1=float(confusion.trace() / support.sum()),
        top5=float(top5),
        mean_class_accuracy=float((confusion.diagonal()[present] / support[present]).mean()),
    )


def confusion_matrix(scores: Tensor, labels: Tensor) -> Tensor:
    """(num_classes, num_classes) recordings by class (row) and predicted class (column)."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix  # as slow to import as torch

    confusion: Tensor = multiclass_confusion_matrix(scores, labels, scores.shape[1])
    return confusion


def class_accuracies(confusion: Tensor, class_names: Sequence[str]) -> tuple[ClassAccuracy, ...]:
    """One entry for each class, in label order."""
    rows = zip(class_names, confusion.tolist(), strict=True)
    return tuple(
        ClassAccuracy(name=name, num_samples=sum(row), accuracy=row[label] / sum(row) if any(row) else None)
        for label, (name, row) in enumerate(rows)
    )


def calibration_error(scores: Tensor, labels: Tensor) -> float:
    """Expected calibration error of scores (n, num_classes), before the softmax (Guo et al., ICML 2017, equation 3).

    Confidences, the largest softmax probabilities, in 15 equal bins ((m - 1) / 15, m / 15]: the mean over recordings of
    their bin's |accuracy - mean confidence|.
    """
    confidence, predicted = scores.double().softmax(1).max(1)
    bins = (confidence * NUM_CONFIDENCE_BINS).ceil().long() - 1
    surplus = torch.zeros(NUM_CONFIDENCE_BINS, dtype=torch.float64, device=scores.device)
    surplus.index_add_(0, bins, (predicted == labels).double() - confidence)
    return float(surplus.abs().sum() / len(labels))


def accuracy_after_steps(scores: Tensor, labels: Tensor) -> tuple[float, ...]:
    """(T,) top-1 of scores (T, n, num_classes) after steps 1 to t: what an early stop would cost."""
    return tuple(map(float, (scores.argmax(2) == labels).double().mean(1)))
