"""Recordings to frames, images to their V channel: counting kernels, resize, storage types, HSV."""

from .binning import Frames, make_frames
from .images import EncodedImage, ImagesConfig, encode_image
from .spec import FramesConfig

__all__ = ["EncodedImage", "Frames", "FramesConfig", "ImagesConfig", "encode_image", "make_frames"]
