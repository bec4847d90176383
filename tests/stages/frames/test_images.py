"""Images and their V channel in both orders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dvs_transfer.stages.frames import images
from dvs_transfer.stages.frames.hsv import rgb_to_hsv
from dvs_transfer.stages.frames.images import encode_image
from dvs_transfer.stages.frames.spec import ImagesConfig

PHOTO = np.random.default_rng(2).integers(0, 256, (61, 83, 3), np.uint8)


def test_after_resize_v_is_that_of_the_stored_image() -> None:
    image, value = encode_image(PHOTO, ImagesConfig(size=20))
    expected = np.asarray(Image.fromarray(PHOTO).resize((20, 20), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(image, expected.transpose(2, 0, 1))
    assert (value.shape, value.dtype) == ((1, 20, 20), np.float32)
    np.testing.assert_array_equal(value[0], expected.max(axis=2) / np.float32(255))


@pytest.mark.parametrize("size", [1, 20, 61, 100])
def test_before_resize_v_is_resized_as_torch_does(size: int) -> None:
    image, value = encode_image(PHOTO, ImagesConfig(size=size, value_order="before_resize"))
    full = torch.from_numpy(PHOTO.max(axis=2) / np.float32(255))[None, None]
    expected = torch.nn.functional.interpolate(full, size=[size, size], mode="bilinear", align_corners=False)
    np.testing.assert_allclose(value, expected[0].numpy(), atol=1e-6)
    np.testing.assert_array_equal(image, encode_image(PHOTO, ImagesConfig(size=size)).image)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5), (5, 5, 4), (3, 5, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected an image"):
        encode_image(np.zeros(shape, np.uint8), ImagesConfig())
    with pytest.raises(ValueError, match="float64"):
        encode_image(np.zeros((5, 5, 3)), ImagesConfig())


def test_v_comes_from_the_hsv_reader_in_both_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """For Caltech101 and CEP-DVS alike: V of another reader is another V."""
    small = np.random.default_rng(1).integers(0, 256, (20, 20, 3), np.uint8)
    expected = rgb_to_hsv(small.transpose(2, 0, 1).astype(np.float32) / np.float32(255))[2:]
    for order in ("after_resize", "before_resize"):
        config = ImagesConfig(size=20, value_order=order)
        np.testing.assert_array_equal(encode_image(small, config).value, expected)
        with monkeypatch.context() as patched:
            patched.setattr(images, "value", lambda rgb: np.zeros_like(rgb[:1]))
            assert not encode_image(small, config).value.any()
