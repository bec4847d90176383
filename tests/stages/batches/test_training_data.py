from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_split import TinySplit

from dvs_transfer.stages.batches.data import read_static, static_frames
from dvs_transfer.stages.batches.loading import load

CPU = torch.device("cpu")
ALL = np.arange(5)


class RandomImages(TinySplit):
    def load_images(self, indices=slice(None)):
        return np.random.default_rng(3).integers(0, 256, (5, 3, 9, 9), np.uint8)[indices]


@pytest.mark.parametrize(("encoding", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_single_channels(encoding, channel):
    split = RandomImages()
    expected = split.load_images()[:, channel : channel + 1] / np.float32(255)
    np.testing.assert_allclose(read_static(split, encoding, ALL), expected, rtol=1e-6)


def test_mean_value_and_grey():
    split = RandomImages()
    images = split.load_images()
    np.testing.assert_allclose(read_static(split, "mean", ALL)[:, 0], images.mean(1) / 255, atol=1e-6)
    np.testing.assert_array_equal(read_static(split, "value", ALL), split.load_values())
    pillow = [np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L")) for image in images]
    np.testing.assert_allclose(read_static(split, "grey", ALL)[:, 0] * 255, pillow, atol=0.51)


def test_an_image_has_the_same_bits_whichever_are_read_with_it():
    split = RandomImages()
    np.testing.assert_array_equal(read_static(split, "grey", np.array([3, 1])), read_static(split, "grey", ALL)[[3, 1]])


@pytest.mark.parametrize("placement", ["device", "pinned", "streamed"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8, np.uint16])
def test_events_of_every_storage_type_become_float32_counts(dtype, placement):
    class Stored(TinySplit):
        def load_events(self, indices):
            return super().load_events(indices).astype(dtype)

    batches = list(load(Stored(), CPU, placement).in_order(10))
    assert [(len(batch), batch.dtype) for batch in batches] == [(n, torch.float32) for n in (10, 10, 4)]
    np.testing.assert_array_equal(torch.cat(batches), TinySplit().load_events().astype(np.float32))


def test_static_frames_repeat_the_image_or_take_the_whole_clip():
    images, events = torch.rand(2, 1, 4, 4), torch.rand(3, 2, 2, 4, 4)
    frames = static_frames(images, events, torch.tensor([False, True]))
    assert torch.equal(frames[:, 0], images[0].expand(3, 2, 4, 4))
    assert torch.equal(frames[:, 1], events[:, 1])
