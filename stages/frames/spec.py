"""How recordings become frames, and photos images: models whose fields are the options of `dvs-transfer convert`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from ...cache.documents import Frozen
from ..sources.base import MAX_SENSOR_SIDE, TimeUnit, Windows

DEFAULT_SIZE = 48
Order = Literal["strict", "sort"]
"""What becomes of times that step back."""


class FramesConfig(Frozen):
    """Bins, size and storage type of event frames, shape (T, 2, H, W) with T = `num_bins` and H = W = `size`.

    With resize "none" the size is 0 (also the default there) and frames have the sensor's own height and width.
    """

    LATER = frozenset({"columns", "order", "windows"})

    mode: Literal["time", "count", "window", "exact"] = Field(
        "time",
        description=(
            "time: bins of equal duration, the tail falls off; count: bins of equally many events, the tail falls off; "
            "window: the first bins of window_us each; exact: as time, but the last bin keeps the tail"
        ),
    )
    num_bins: int = Field(10, ge=1, le=10_000, description="number of time bins T (frames of a recording)")
    window_us: int | None = Field(
        None, ge=1, le=2**40, description="duration of a bin in us; for mode window, and only there"
    )
    size: int = Field(
        DEFAULT_SIZE, ge=0, le=4096, description="height and width of a frame in pixels; 0 with resize none"
    )
    resize: Literal["bilinear", "sum", "none"] = Field(
        "bilinear",
        description=(
            "bilinear: aligned corners, no antialiasing, counts become fractions; "
            "sum: every event lands in one pixel of the small frame; none: the sensor's own pixels"
        ),
    )
    crop: bool = Field(
        True,
        description=(
            "cut frames to the pixels with events: x and y start at 0, as the method does; "
            "false: the whole sensor, every recording on the same grid"
        ),
    )
    sensor_size: tuple[int, int] | None = Field(
        None,
        description=(
            "width and height of the sensor in pixels, for recordings that do not say it; "
            "needed there with crop false and with resize none"
        ),
    )
    time_unit: TimeUnit = Field(
        "auto",
        description=(
            "unit of the times in recordings whose format states none (HDF5, MAT, NumPy, text): "
            "auto takes whole numbers for us, others for s"
        ),
    )
    columns: str = Field(
        "auto",
        description=(
            "order of the columns x, y, t and p where they have no names (tables of four columns, text), such as xytp; "
            "auto tells them apart by their values"
        ),
    )
    order: Order = Field(
        "strict",
        description="strict: times that step back are refused; sort: the events are sorted by time",
    )
    windows: Windows | None = Field(
        None,
        description="of the source segments: cut each segment, or each recording of a class folder, into windows",
    )
    dtype: Literal["float16", "float32", "uint8", "uint16"] = Field(
        "float16",
        description=(
            "storage type; float16 errs by at most 2**-11 of a value and holds whole counts up to 2048 exactly; "
            "uint8 and uint16 hold whole counts only, so not with resize bilinear"
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _size_follows_resize(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("resize") == "none":
            return {"size": 0, **values}
        return values

    @model_validator(mode="after")
    def _fields_agree(self) -> FramesConfig:
        if (self.mode == "window") != (self.window_us is not None):
            raise ValueError(
                f"mode {self.mode!r} with window_us={self.window_us}: "
                "mode 'window' needs window_us (in us), and no other mode takes it"
            )
        if self.sensor_size is not None and not all(1 <= side <= MAX_SENSOR_SIDE for side in self.sensor_size):
            raise ValueError(f"sensor_size {list(self.sensor_size)}: each side has 1 to {MAX_SENSOR_SIDE} pixels")
        if self.columns != "auto" and sorted(self.columns) != sorted("xytp"):
            raise ValueError(f"columns {self.columns!r}: name x, y, t and p in their order, each once, such as 'xytp'")
        if self.resize == "none" and self.size != 0:
            raise ValueError(f"resize 'none' keeps the sensor's pixels: leave size out or set it to 0, not {self.size}")
        if self.resize != "none" and self.size == 0:
            raise ValueError(f"resize {self.resize!r} needs a size of at least 1 pixel; size 0 means resize 'none'")
        if self.resize == "bilinear" and self.dtype.startswith("uint"):
            raise ValueError(
                f"dtype {self.dtype!r} cannot hold the fractions that resize 'bilinear' makes: "
                "choose float16 or float32, or resize 'sum' or 'none'"
            )
        return self

    @property
    def needs_whole_sensor(self) -> bool:
        """Whether the sensor's size decides what the frames show, and not only what is refused."""
        return not self.crop or self.resize == "none"

    def frame_shape(self, sensor_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Shape (T, 2, H, W) of one recording's frames; `sensor_size` is (width, height) in pixels."""
        width, height = sensor_size if self.resize == "none" else (self.size, self.size)
        return (self.num_bins, 2, height, width)


class ImagesConfig(Frozen):
    """How photos are stored: image (3, S, S) and V channel (1, S, S) with S = `size`."""

    size: int = Field(48, ge=1, le=4096, description="height and width of a stored image in pixels")
    value_order: Literal["after_resize", "before_resize"] = Field(
        "after_resize",
        description=(
            "after_resize: V of the resized image (the method on Caltech101); "
            "before_resize: V at full size, then resized (the method on CEP-DVS)"
        ),
    )
