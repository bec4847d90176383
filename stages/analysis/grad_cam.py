"""Where in a recording, and in its photo, the network sees the class: Grad-CAM (Selvaraju et al., ICCV 2017).

For the score S of a class, the mean over time of its logit, and the feature maps A of a layer, at each time step t:

    weight of channel k:  a[t, k] = mean over pixels of dS / dA[t, k]        map:  M[t] = ReLU(sum_k a[t, k] A[t, k])

Gradients go back through time and through the surrogate of the spikes. Maps are enlarged to the frame's size (bilinear)
and divided by the largest value of all time steps of the recording, so that its steps can be compared; the averaged
map is the mean over time, divided by its own largest value. As in any Grad-CAM, a map says where the channels that
speak for the class are active; where the head reads them is averaged away.

Hooks of our own: the library `grad-cam` (1.5.7) takes time for the batch and recordings for the channels, without an
error; with a `reshape_transform` each channel has one weight for all steps, and the maps are resized along time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ...cache.errors import ConfigError, TrainingError
from ..network.layers import Domain, ResidualBlock, SpikingConv
from ..network.networks import SpikingNetwork
from ..preview import event_picture
from . import style
from .arrays import Arrays
from .config import GradCamConfig
from .results import AnalysisReport, Fields, Progress, Subject

MAX_DRAWN = 6
OVERLAY = "inferno"
_LARGEST_HALF = torch.finfo(torch.float16).max
TITLE = "Grad-CAM"
READING = (
    "Bright regions are those whose activity raised the score of the explained class; the time steps of a row can be "
    "compared, different rows and the mean cannot."
)


class Report(AnalysisReport):
    """Maps in [0, 1]. Arrays: event_maps and photo_maps (n, T, H, W), event_mean and photo_mean (n, H, W) float16;
    frames (n, T, 2, H, W) float16 counts; images (n, 3, H, W) uint8 RGB. Nothing of photos where there are none."""

    layer: str
    photo_head: str = Field(description="the head whose score explains the photos")
    class_names: tuple[str, ...]
    sample_ids: tuple[str, ...]
    labels: tuple[int, ...]
    event_predicted: tuple[int, ...] = Field(description="what the network says of each recording")
    photo_predicted: tuple[int, ...] = Field((), description="what it says of each photo")
    event_class: tuple[int, ...] = Field(description="the class that a recording's maps explain")
    photo_class: tuple[int, ...] = Field((), description="the class that a photo's maps explain")


def measure(subject: Subject, config: GradCamConfig, progress: Progress) -> tuple[Fields, Arrays]:
    """Raises ConfigError: no such layer."""
    network, split = subject.network, subject.split
    layer = find_layer(network, config.layer)
    found: dict[str, list[Any]] = {}
    for batch in subject.batches(config.batch_size, "grad-cam", progress):
        classes = batch.labels if config.target == "label" else None
        sides: list[tuple[str, SpikingNetwork, Tensor, Domain]] = [("event", network, batch.events, "event")]
        if batch.photos is not None:
            sides.append(("photo", subject.photo_network, batch.photos, subject.photo_head))
        for side, used, frames, head in sides:
            maps, predicted, explained = class_activation_maps(used, layer, frames, head, classes)
            steps, mean = normalise(maps.transpose(0, 1))
            values = {"maps": steps.half(), "mean": mean.half(), "predicted": predicted, "class": explained}
            for name, value in values.items():
                found.setdefault(f"{side}_{name}", []).append(value.cpu())
        found.setdefault("frames", []).append(batch.events.transpose(0, 1).clamp(max=_LARGEST_HALF).half().cpu())
        if batch.photos is not None and subject.shows_event_frames:
            shown = batch.photos.transpose(0, 1).clamp(max=_LARGEST_HALF).half().cpu()
            found.setdefault("photo_frames", []).append(shown)
        found.setdefault("labels", []).append(batch.labels.cpu())
    arrays: dict[str, NDArray[Any]] = {name: torch.cat(parts).numpy() for name, parts in found.items()}
    if split.has_images:
        arrays["images"] = split.read_images(subject.rows)
    per_sample = ("labels", "event_predicted", "photo_predicted", "event_class", "photo_class")
    return {
        "layer": layer,
        "photo_head": subject.photo_head,
        "class_names": subject.info.class_names,
        "sample_ids": [split.sample_ids[row] for row in subject.rows],
        **{name: arrays.pop(name).tolist() for name in per_sample if name in arrays},
    }, arrays


def find_layer(network: SpikingNetwork, name: str | None) -> str:
    """The name of a layer with feature maps, the last one for None. Raises ConfigError: no such layer.

    TrainingError: a user's network that has none.
    """
    layers = [key for key, module in network.named_modules() if isinstance(module, SpikingConv | ResidualBlock)]
    if not layers:
        raise TrainingError("none of this network's layers is one that Grad-CAM explains: SpikingConv or ResidualBlock")
    if name is not None and name not in layers:
        raise ConfigError(f"layer: this network has no feature maps called {name!r}; it has {', '.join(layers)}")
    return name or layers[-1]


def class_activation_maps(
    network: SpikingNetwork, layer: str, frames: Tensor, domain: Domain, classes: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (T, B, H, W) of frames (T, B, 2, H, W), not normalised; the predicted and the explained classes (B,).

    `classes` (B,) are explained; None: the predicted ones.
    """
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        kept.append(output)

    with network.get_submodule(layer).register_forward_hook(keep):
        scores = network(frames, domain).mean(0)
    predicted = scores.argmax(1)
    explained = predicted if classes is None else classes
    (activations,) = kept
    (gradients,) = torch.autograd.grad(scores.gather(1, explained[:, None]).sum(), activations)
    maps = F.relu((gradients.mean((3, 4), keepdim=True) * activations.detach()).sum(2))
    enlarged = F.interpolate(maps, size=frames.shape[-2:], mode="bilinear", align_corners=False)
    return enlarged, predicted, explained


def normalise(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (n, T, H, W) over their largest value of all steps, and their means over time (n, H, W) over theirs."""
    mean = maps.mean(1)
    over_largest = [of / of.flatten(1).amax(1).view(-1, *[1] * (of.ndim - 1)) for of in (maps, mean)]
    return over_largest[0].nan_to_num(0), over_largest[1].nan_to_num(0)  # of silent maps


def draw(report: Report, arrays: Arrays) -> Figure:
    """The first recordings: the maps over their frames, and below over their photos; averaged at the end."""
    samples = min(MAX_DRAWN, report.num_recordings)
    num_columns = arrays["event_maps"].shape[1] + 1
    of_class = "predicted class" if report.settings["target"] == "predicted" else "true class"
    sides = ["event", "photo"] if "images" in arrays else ["event"]
    figure = style.new_figure(1.05 * num_columns + 0.3, (1.25 * len(sides)) * samples + 0.3)
    style.title(figure, f"Grad-CAM at {report.layer}: the brighter, the more for the {of_class}")
    rows = figure.subfigures(samples, 1, squeeze=False, facecolor="none")[:, 0]
    for index, row in enumerate(rows):
        lines = row.subplots(len(sides), num_columns, squeeze=False)
        frames = 1 - event_picture(arrays["frames"][index])  # on black: over white nothing would look bright
        pictures = {"event": [*frames, frames.mean(0)]}
        said = f"{report.sample_ids[index]}: recording named {report.class_names[report.event_predicted[index]]}"
        if "photo" in sides:
            if "photo_frames" in arrays:  # drawn by a camera, before which the photo is turned, scaled and moved
                drawn = 1 - event_picture(arrays["photo_frames"][index])
                pictures["photo"] = [*drawn, drawn.mean(0)]
            else:
                pictures["photo"] = [np.moveaxis(arrays["images"][index], 0, -1) / 255] * num_columns
            said += f", photo named {report.class_names[report.photo_predicted[index]]}"
        style.title(row, said)
        for side, axes in zip(sides, lines, strict=True):
            maps = [*arrays[f"{side}_maps"][index], arrays[f"{side}_mean"][index]]
            for axis, picture, shown in zip(axes, pictures[side], maps, strict=True):
                axis.imshow(overlay(picture, shown), interpolation="nearest")
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
            axes[0].set_ylabel("recording" if side == "event" else side, fontsize=7, color=style.INK)
        for step, axis in enumerate(lines[0], 1):
            axis.set_title(f"t = {step}" if step < num_columns else "mean", fontsize=7, color=style.INK, pad=2)
    return figure


def caveat(report: Report, arrays: Arrays) -> str:
    """Names the drawn recordings whose maps are bright where little happened."""
    found = events_where_bright(arrays["event_maps"][:MAX_DRAWN], arrays["frames"][:MAX_DRAWN])
    named = [name for name, ratio in zip(report.sample_ids, found, strict=False) if ratio < 1]
    if not named:
        return ""
    return (
        f"where the maps of {', '.join(named)} are bright, a pixel saw fewer events than on average, as in empty "
        "corners: that is no sight of the class. Maps are coarse, and biases and batch norm keep channels active where "
        "nothing moved"
    )


def events_where_bright(maps: NDArray[Any], frames: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) events of a pixel, weighted by the maps (n, T, H, W), over their mean of all pixels and steps.

    frames: (n, T, 2, H, W). 1 of a map that has nothing to do with the events; NaN of one that is dark throughout, or
    without events.
    """
    brightness, events = maps.astype(np.float64), frames.astype(np.float64).sum(2)
    with np.errstate(invalid="ignore"):
        weighted = (brightness * events).sum((1, 2, 3)) / brightness.sum((1, 2, 3))
        ratio: NDArray[np.float64] = weighted / events.mean((1, 2, 3))
    return ratio


def overlay(picture: NDArray[Any], shown: NDArray[Any]) -> NDArray[Any]:
    """A picture (H, W, 3) in grey with a map (H, W) in [0, 1] in colour over it, the more the higher the map."""
    grey = np.repeat(picture.mean(-1, keepdims=True), 3, axis=-1)
    colour = colormaps[OVERLAY](shown.astype(float))[..., :3]
    weight = 0.75 * np.sqrt(shown.astype(float))[..., None]
    mixed: NDArray[Any] = (1 - weight) * grey + weight * colour
    return mixed.clip(0, 1)
