"""How pictures look: on light and on dark pages, so the background is clear and every colour of middle lightness."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from ...cache import durable

# Text and lines of the axes; at least 4:1 against white and against #121212.
INK = "#767676"
# Series; at least 3:1 against both.
SERIES = ("#1f83d6", "#d9602b", "#2a9d60", "#c2519c", "#8d6fd1", "#a07c1c", "#2f94a3", "#d05252")
SEQUENTIAL = "viridis"
DPI = 110


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches, with a clear background."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="none")


def title(figure: Any, text: str) -> None:
    """A title over a figure or a part of it."""
    figure.suptitle(text, fontsize=10, color=INK)


def finish(axis: Axes, **settings: Any) -> None:
    """Set title, labels and the like of an axis, and give it the common look."""
    axis.set(**settings, facecolor="none")
    axis.title.set(color=INK, fontsize=9)
    axis.tick_params(which="both", colors=INK, labelsize=7)
    for label in (axis.xaxis.label, axis.yaxis.label):
        label.set(color=INK, fontsize=8)
    for side in axis.spines.values():
        side.set_color(INK)
    axis.spines[["top", "right"]].set_visible(False)


def line_look(index: int) -> dict[str, Any]:
    """Colour and dashes of the line at a position: `SERIES`, then dashed, then dotted."""
    dashes, colour = divmod(index, len(SERIES))
    return {"color": SERIES[colour], "ls": ("-", "--", ":")[dashes % 3]}


def legend(place: Any, **settings: Any) -> None:
    """The legend of an axis or of a whole figure."""
    place.legend(fontsize=7, labelcolor=INK, frameon=False, **settings)


def legend_beside(axis: Axes) -> None:
    """A legend to the right of the data."""
    legend(axis, loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0)


def colour_bar(figure: Any, drawn: Any, axis: Any, label: str, **settings: Any) -> None:
    """The scale of an image or a contour beside its axis (or axes)."""
    bar = figure.colorbar(drawn, ax=axis, **settings)
    bar.set_label(label, color=INK, fontsize=8)
    bar.ax.tick_params(colors=INK, labelsize=7)
    bar.outline.set_visible(False)


def heat_map(axis: Axes, values: Any, rows: Sequence[str], limits: tuple[float, float], title: str) -> Any:
    """Values (rows, T) as coloured cells, time to the right; NaN stays clear."""
    drawn = axis.imshow(np.asarray(values, float), aspect="auto", cmap=SEQUENTIAL, vmin=limits[0], vmax=limits[1])
    axis.set_yticks(range(len(rows)), rows)
    num_steps = np.shape(values)[1]
    axis.set_xticks(range(num_steps), [str(step) for step in range(1, num_steps + 1)])
    finish(axis, xlabel="time step", title=title)
    axis.spines[:].set_visible(False)
    return drawn


def class_colours(count: int) -> list[Any]:
    """A colour for each class: `SERIES`, or for more classes hues around the circle."""
    if count <= len(SERIES):
        return list(SERIES[:count])
    return [tuple(hsv_to_rgb((index / count, 0.65, 0.8))) for index in range(count)]


def without_math(figure: Figure) -> Figure:
    """The figure with every text taken literally: class names may hold "$", which matplotlib would typeset."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    return figure


def save(figure: Figure, path: Path, dpi: int = DPI) -> None:
    """Write a figure as a PNG, whole or not at all."""
    png = io.BytesIO()
    without_math(figure).savefig(png, format="png", dpi=dpi)
    durable.write_bytes(path, png.getbuffer())
