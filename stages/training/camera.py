"""What photos are moved before, as the configuration says, checked against the data."""

from __future__ import annotations

from ...cache.errors import TrainingError
from ...cache.paired import PairedCache
from ..saccades.pixels import Camera
from .config import TrainConfig


def camera_of(config: TrainConfig, split: PairedCache) -> Camera | None:
    """What photos are moved before; None where they were recorded before training, and where their brightness is shown,
    which then has to fit beside the frames."""
    if config.encoding == "recorded":
        if not split.has_recorded:
            raise TrainingError(
                "train.encoding = recorded shows recordings of the images by a simulated camera, and these data have "
                "none: say by which, in a section [images.recorded], and run `dvs-transfer preprocess`"
            )
        return None
    if config.encoding != "saccade":
        if split.image_size != split.size:
            raise TrainingError(
                f"train.encoding = {config.encoding} shows images beside frames of {split.size} pixels, and they have "
                f"{split.image_size}: train with train.encoding = saccade, or convert images of that size"
            )
        return None
    if split.bin_mode not in ("time", "exact"):
        raise TrainingError(
            f"train.encoding = saccade draws time bins of equal duration, and the recordings' are those of frames.mode "
            f"= {split.bin_mode}: convert them with frames.mode = time"
        )
    if config.reads == "strokes" and not split.has_strokes:
        raise TrainingError(
            "train.saccade.motion = strokes shows images as they were drawn, and the store of images does not say how: "
            "convert them with the source omniglot-strokes (images.source), which reads Omniglot's strokes; or take "
            "another motion"
        )
    camera = Camera(config.saccade, split.num_bins, split.size)
    camera.check()  # before the first step
    return camera
