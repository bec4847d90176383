from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_split import TinySplit

from dvs_transfer.stages.training.data import load_events, load_static, static_frames

CPU = torch.device("cpu")


class RandomImages(TinySplit):
    def load_images(self):
        return np.random.default_rng(3).integers(0, 256, (5, 3, 9, 9), np.uint8)


@pytest.mark.parametrize(("encoding", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_single_channels(encoding, channel):
    split = RandomImages()
    expected = split.load_images()[:, channel : channel + 1] / np.float32(255)
    np.testing.assert_allclose(load_static(split, encoding, CPU), expected, rtol=1e-6)


def test_mean_value_and_grey():
    split = RandomImages()
    images = split.load_images()
    np.testing.assert_allclose(load_static(split, "mean", CPU)[:, 0], images.mean(1) / 255, atol=1e-6)
    np.testing.assert_array_equal(load_static(split, "value", CPU), split.load_values())
    pillow = [np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L")) for image in images]
    np.testing.assert_allclose(load_static(split, "grey", CPU)[:, 0] * 255, pillow, atol=0.51)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8, np.uint16])
def test_events_of_every_storage_type_become_float32_counts(dtype):
    class Stored(TinySplit):
        def load_events(self):
            return super().load_events().astype(dtype)

    events = load_events(Stored(), CPU)
    batch = events.batch(torch.tensor([5, 2]))
    assert batch.dtype == torch.float32
    np.testing.assert_array_equal(batch, TinySplit().load_events()[[5, 2]].astype(np.float32))


def test_static_frames_repeat_the_image_or_take_the_whole_clip():
    images, events = torch.rand(2, 1, 4, 4), torch.rand(3, 2, 2, 4, 4)
    frames = static_frames(images, events, torch.tensor([False, True]))
    assert torch.equal(frames[:, 0], images[0].expand(3, 2, 4, 4))
    assert torch.equal(frames[:, 1], events[:, 1])
