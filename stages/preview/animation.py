"""Animations of recordings, one picture for each time bin, with borders and labels: animated PNG, GIF, MP4."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ...cache import durable
from ...cache.errors import ConfigError
from .pictures import COLOUR_KEY, PreviewSample, event_picture

FRAME_MS: Final = 100
VIDEO_S: Final = 5  # a recording of ten bins lasts a second: it is repeated, as players show a video once
TILE: Final = 192  # pixels of the longer side of a recording, about
GAP: Final = 10
CAPTION: Final = 36  # pixels, two lines
FOOTER: Final = 24
_BORDER: Final = "#737373"
_SOFT: Final = "#595959"


def write_apng(samples: Sequence[PreviewSample], path: Path) -> None:
    """Write the recordings as an animated PNG that repeats, whole or not at all. Other writers: the same."""
    durable.write_bytes(path, _in_pillow(samples, "PNG"))


def write_gif(samples: Sequence[PreviewSample], path: Path) -> None:
    """Colours are the nearest of 256."""
    durable.write_bytes(path, _in_pillow(samples, "GIF"))


def write_mp4(samples: Sequence[PreviewSample], path: Path) -> None:
    """H.264; the recordings are repeated as often as fills `VIDEO_S`. Raises ConfigError: imageio is not installed."""
    try:
        import imageio.v3 as imageio
        import imageio_ffmpeg  # noqa: F401  # the plugin's, which names it late
    except ImportError:
        raise ConfigError(
            f"{path}: videos are written with imageio and ffmpeg, which are not installed; "
            "run `pip install 'dvs-transfer[video]'`, or give a name that ends in .gif"
        ) from None
    pictures = compose(samples)
    fps = 1000 / FRAME_MS
    repeated = np.concatenate([pictures] * math.ceil(VIDEO_S * fps / len(pictures)))
    settings: dict[str, Any] = {"fps": fps, "codec": "libx264", "macro_block_size": 2}
    durable.write_bytes(path, imageio.imwrite("<bytes>", repeated, extension=".mp4", plugin="FFMPEG", **settings))


def _in_pillow(samples: Sequence[PreviewSample], kind: str) -> memoryview:
    first, *others = map(Image.fromarray, compose(samples))
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, duration=FRAME_MS, loop=0)
    return buffer.getbuffer()


def compose(samples: Sequence[PreviewSample]) -> NDArray[np.uint8]:
    """(T, height, width, 3) RGB, of even height and width: recordings side by side, in rows of four or as in a square.

    Each below its id, class and split; every time bin is told below all.
    """
    recordings = [event_picture(sample.frames) for sample in samples if sample.frames is not None]
    labels = [(sample.title, sample.label) for sample in samples if sample.frames is not None]
    num_bins, height, width = recordings[0].shape[:3]
    scale, font = max(1, TILE // max(height, width)), _font()
    columns = len(recordings) if len(recordings) <= 4 else math.ceil(math.sqrt(len(recordings)))
    column, row = max(width * scale, TILE // 2) + GAP, CAPTION + height * scale + GAP
    size = (GAP + columns * column, math.ceil(len(recordings) / columns) * row + FOOTER)
    still = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), "white")
    pen, places = ImageDraw.Draw(still), []
    for number, lines in enumerate(labels):
        left, top = GAP + number % columns * column, number // columns * row
        for line, (text, colour) in enumerate(zip(lines, ("black", _SOFT), strict=True)):
            pen.text((left, top + 2 + 15 * line), _shorten(text, font, column - GAP), fill=colour, font=font)
        top += CAPTION
        pen.rectangle((left - 1, top - 1, left + width * scale, top + height * scale), outline=_BORDER)
        places.append((left, top))
    frames = []
    for step in range(num_bins):
        frame = still.copy()
        for (left, top), recording in zip(places, recordings, strict=True):
            tile = Image.fromarray(np.uint8(np.round(recording[step] * 255)))
            frame.paste(tile.resize((width * scale, height * scale), Image.Resampling.NEAREST), (left, top))
        _write_footer(frame, f"time bin {step + 1} of {num_bins}", font)
        frames.append(np.asarray(frame))
    return np.stack(frames)


def _write_footer(frame: Image.Image, text: str, font: ImageFont.FreeTypeFont) -> None:
    pen, left, top = ImageDraw.Draw(frame), float(GAP), frame.height - FOOTER + 2
    for word, colour in ((text, "black"), *COLOUR_KEY):
        pen.text((left, top), word, fill=colour, font=font)
        left += font.getlength(word) + GAP


def _font() -> ImageFont.FreeTypeFont:
    """The one of the PNG pictures."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 12)


def _shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """As much of a text as fits into `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
