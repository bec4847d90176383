"""Maps are where the evidence is, in space and in time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import NETWORKS, tiny_network, write_run
from tiny_split import open_tiny_split

from dvs_transfer.cache.errors import ConfigError
from dvs_transfer.stages.analysis.catalogue import ANALYSES
from dvs_transfer.stages.analysis.config import GradCamConfig
from dvs_transfer.stages.analysis.grad_cam import (
    caveat,
    class_activation_maps,
    events_where_bright,
    find_layer,
    normalise,
)
from dvs_transfer.stages.batches.data import encode_images
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.saccades.config import SaccadeConfig
from dvs_transfer.stages.saccades.pixels import Camera


def test_the_map_is_in_the_quadrant_that_the_class_depends_on() -> None:
    """Class 1 counts ON events, class 2 OFF events. ON events are in one quadrant, at the first step alone."""
    network = tiny_network(ModelConfig(widths=(2,)), num_steps=3, size=16)
    with torch.no_grad():
        network.backbone[0].conv.weight.zero_()
        network.backbone[0].conv.weight[[0, 1], [1, 0], 1, 1] = 1  # channel 0: ON, channel 1: OFF
        network.event_head.bias.zero_()
        network.event_head.weight.zero_()
        network.event_head.weight[1, :256] = 1
        network.event_head.weight[2, 256:] = 0.1
    frames = torch.zeros(3, 1, 2, 16, 16)
    frames[0, :, 1, :8, 8:] = 2
    frames[:, :, 0, 8:, :] = 2
    maps, predicted, explained = class_activation_maps(network, "backbone.0", frames, "event")
    steps, mean = normalise(maps.transpose(0, 1))
    assert predicted.tolist() == explained.tolist() == [1]
    expected = torch.zeros(16, 16)
    expected[:8, 8:] = 1
    assert torch.equal(steps[0, 0], expected)
    assert not steps[0, 1:].any()
    assert torch.equal(mean[0], expected)
    maps, _, explained = class_activation_maps(network, "backbone.0", frames, "event", torch.tensor([2]))
    assert explained.tolist() == [2]
    assert torch.equal((maps > 0).float()[:, 0], frames[:, 0, 0].clamp(max=1))


def test_weights_of_channels_are_mean_gradients() -> None:
    """Against the gradient of the score along each channel, by finite differences of the layers behind."""
    network = tiny_network(NETWORKS["vgg_snn"]).double()
    frames = 3 * torch.rand(3, 2, 2, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([1, 3])
    with torch.no_grad():
        network.backbone[2].conv.weight.mul_(20)  # or its neurons would stay silent
        activations = network.backbone[2](network.backbone[1](network.backbone[0](frames, "event"), "event"), "event")

        def score(a: torch.Tensor) -> torch.Tensor:
            return network.event_head(network.backbone[3](a, "event").flatten(2)).mean(0)[torch.arange(2), classes]

        weights = torch.zeros(3, 2, 6, dtype=torch.float64)
        for t in range(3):
            for k in range(6):
                moved = activations.clone()
                moved[t, :, k] += 1
                weights[t, :, k] = (score(moved) - score(activations)) / 64  # linear behind the last neurons
    expected = torch.relu((weights[..., None, None] * activations).sum(2))
    maps, _, _ = class_activation_maps(network, "backbone.2", frames, "event", classes)
    enlarged = torch.nn.functional.interpolate(expected, size=(16, 16), mode="bilinear", align_corners=False)
    assert expected.any()
    torch.testing.assert_close(maps, enlarged)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", ["transfer", "events", "imported"])
def test_every_network(name: str, method: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", NETWORKS[name], method)
    report = ANALYSES["grad-cam"].run(
        GradCamConfig(num_recordings=5, batch_size=2, target="label"), open_tiny_split, folder
    )
    _, arrays = ANALYSES["grad-cam"].read(folder)
    assert report.event_class == report.photo_class == report.labels
    assert report.photo_head == ("event" if method == "events" else "static")
    for side in ("event", "photo"):
        assert arrays[f"{side}_maps"].shape == (5, 3, 16, 16)
        assert np.isfinite(arrays[f"{side}_maps"]).all()
        largest = arrays[f"{side}_maps"].max((1, 2, 3))
        assert set(largest.tolist()) <= {0.0, 1.0}
    assert (arrays["frames"].shape, arrays["images"].shape) == ((5, 3, 2, 16, 16), (5, 3, 16, 16))
    expected = open_tiny_split("validation").load_events()[[int(s[-4:]) for s in report.sample_ids]]
    assert np.array_equal(arrays["frames"], expected)


def test_photos_that_are_saccades_are_shown_as_they_were_drawn(tmp_path: Path) -> None:
    """Each by its row: the same in batches of two and of five, and not the same frames for all."""
    arrays = {}
    for batch_size in (2, 5):
        folder = write_run(tmp_path / str(batch_size), NETWORKS["vgg_snn"], encoding="saccade")
        config = GradCamConfig(num_recordings=5, batch_size=batch_size)
        report = ANALYSES["grad-cam"].run(config, open_tiny_split, folder)
        arrays[batch_size] = ANALYSES["grad-cam"].read(folder)[1]
    drawn = arrays[2]["photo_frames"]
    assert drawn.shape == (5, 3, 2, 16, 16)
    assert drawn.sum((1, 2, 3, 4)).min() > 0
    assert np.array_equal(drawn, arrays[5]["photo_frames"])
    split = open_tiny_split("validation")
    rows = np.array([int(sample_id[-4:]) for sample_id in report.sample_ids])
    images = torch.from_numpy(encode_images(split.read_images(rows), "saccade"))
    camera = Camera(SaccadeConfig(), 3, 16)
    for image, row, frames in zip(images, rows, drawn, strict=True):
        expected = camera.record(image[None], torch.Generator().manual_seed(int(row)))[0]
        assert np.array_equal(frames, expected.numpy().astype(np.float16))
    assert ANALYSES["grad-cam"].draw(report, arrays[5]) is not None


def test_layers() -> None:
    network = tiny_network(NETWORKS["resnet18"])
    assert find_layer(network, None) == "backbone.blocks.3"
    assert find_layer(network, "backbone.blocks.1") == "backbone.blocks.1"
    with pytest.raises(ConfigError, match=r"no feature maps called 'conv5'; it has backbone\.blocks\.0, "):
        find_layer(network, "conv5")


def test_events_where_a_map_is_bright() -> None:
    """Against a sum over pixels one by one; and in a corner without events, on them, everywhere, nowhere."""
    rng = np.random.default_rng(0)
    maps, frames = rng.random((4, 3, 5, 6)), rng.poisson(0.7, (4, 3, 2, 5, 6)).astype(np.float16)
    for row, ratio in enumerate(events_where_bright(maps.astype(np.float16), frames)):
        pixels = list(np.ndindex(3, 5, 6))
        events = [float(frames[row, t, :, y, x].sum()) for t, y, x in pixels]
        weights = [float(np.float16(maps[row][at])) for at in pixels]
        expected = sum(w * n for w, n in zip(weights, events, strict=True)) / sum(weights) / (sum(events) / len(pixels))
        assert ratio == pytest.approx(expected)
    frames = np.zeros((4, 1, 2, 4, 4))
    frames[:, :, :, :2] = 1  # the upper half
    maps = np.zeros((4, 1, 4, 4))
    maps[0, 0, 3, 3] = maps[1, 0, 0, 0] = 1
    maps[2] = 0.5
    assert events_where_bright(maps, frames)[:3].tolist() == [0, 2, 1]
    assert np.isnan(events_where_bright(maps, frames)[3])
    report: Any = SimpleNamespace(sample_ids=("corner", "there", "even", "dark"))
    arrays = {"event_maps": maps, "frames": frames}
    assert caveat(report, arrays).startswith("where the maps of corner are bright, a pixel saw fewer events")
    assert caveat(report, {name: array[1:] for name, array in arrays.items()}) == ""
    many = {name: np.concatenate([array[[1] * 6], array[[0]]]) for name, array in arrays.items()}
    assert caveat(SimpleNamespace(sample_ids=("there",) * 6 + ("corner",)), many) == ""  # type: ignore[arg-type]
