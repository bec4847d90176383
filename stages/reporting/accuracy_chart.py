"""Accuracies over a quantity that grows by factors, such as labels: means, intervals, and names at the lines' ends."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation, Transform
from scipy.optimize import isotonic_regression

from ..analysis import style

_SIZE = (6.0, 3.4)  # inches
_MARKERS = "osD^vPX*"
# Positions in `style.SERIES`: the first ones can be told apart without red, or green, too.
_COLOURS = (0, 1, 3, 2, 7, 6, 5, 4)
_APART, _WIDTH = 4.0, 14.0  # points between intervals at one place, and of all of them, at most
_NAME_SIZE, _NAME_WIDTH = 8.5, 22  # points, characters
_NOTE_SIZE, _NOTE_WIDTH = 7.5, 95  # points, characters
_POINTS_PER_INCH = 72

Point = tuple[float, float, tuple[float, float] | None]


class ChartLine(NamedTuple):
    """points: from left to right, each a place, a mean and, if it has one, its interval (low, high); per cent."""

    name: str
    points: Sequence[Point]


def accuracy_chart(lines: Sequence[ChartLine], *, title: str, note: str, xlabel: str, ylabel: str) -> Figure:
    """The horizontal axis is logarithmic, with 0 at its left end. note: below the title, how it was measured."""
    figure = style.new_figure(*_SIZE)
    axis = figure.subplots()
    _set_scales(axis, [point for line in lines for point in line.points])
    places = _side_by_side(axis, len(lines))
    for index, (line, place) in enumerate(zip(lines, places, strict=True)):
        xs, means, marker = (
            [x for x, *_ in line.points],
            [mean for _, mean, _ in line.points],
            _MARKERS[index % len(_MARKERS)],
        )
        axis.plot(xs, means, color=_colour(index), marker=marker, ms=5, lw=1.8, transform=place, zorder=3)
        for x, _, interval in line.points:
            if interval is not None:
                axis.plot([x, x], interval, color=_colour(index), lw=1.4, alpha=0.7, transform=place, zorder=2)
    axis.grid(axis="y", color=style.INK, alpha=0.2, lw=0.6)
    style.finish(axis, xlabel=xlabel, ylabel=ylabel)
    axis.tick_params(labelsize=8)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    above: dict[str, Any] = {
        "xy": (0, 1),
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "color": style.INK,
    }
    said = textwrap.wrap(note, _NOTE_WIDTH)
    axis.annotate("\n".join(said), xytext=(0, 8), fontsize=_NOTE_SIZE, **above)
    title_at = 22 + 1.2 * _NOTE_SIZE * (len(said) - 1)
    axis.annotate(title, xytext=(0, title_at), fontsize=10.5, fontweight="bold", **above)
    _name_ends(axis, lines, places)
    return figure


def _side_by_side(axis: Axes, num_lines: int) -> list[Transform]:
    """Where each line is drawn: some points beside the others, so that intervals at one place can all be seen."""
    apart = min(_APART, _WIDTH / num_lines) / _POINTS_PER_INCH
    asides = [(index - (num_lines - 1) / 2) * apart for index in range(num_lines)]
    return [axis.transData + ScaledTranslation(aside, 0, axis.figure.dpi_scale_trans) for aside in asides]


def _colour(index: int) -> str:
    return style.SERIES[_COLOURS[index % len(_COLOURS)]]


def _set_scales(axis: Axes, points: Sequence[Point]) -> None:
    """A tick at each place; from below the lowest interval to above the highest, in tens of per cent."""
    places = sorted({x for x, *_ in points})
    values = [value for _, mean, interval in points for value in (mean, *(interval or ()))]
    low = min(90, max(0, 10 * int(np.floor(min(values) / 10))))
    high = max(low + 10, min(100, 10 * int(np.ceil(max(values) / 10))))
    if places[0] > 0:
        axis.set_xscale("log")
        axis.set_xlim(places[0] / 1.2, places[-1] * 1.2)
    else:  # as far from the next place as that is from its double
        smallest = places[1] if len(places) > 1 else 1.0
        axis.set_xscale("symlog", base=2, linthresh=smallest, linscale=1)
        axis.set_xlim(-0.2 * smallest, max(places[-1], smallest) * 1.2)
    axis.set_xticks(places, [f"{x:,g}" for x in places])
    axis.set_xticks([], minor=True)
    axis.set_ylim(low, high + 0.02 * (high - low))
    axis.set_yticks(range(low, high + 1, 10))


def _name_ends(axis: Axes, lines: Sequence[ChartLine], places: Sequence[Transform]) -> None:
    """Names to the right, as near to the height of their lines' ends as there is room; thin lines lead to them."""
    order = sorted(range(len(lines)), key=lambda index: lines[index].points[-1][1])
    texts = [textwrap.fill(lines[index].name, _NAME_WIDTH) for index in order]
    ends = np.array([lines[index].points[-1][1] for index in order])
    low, high = axis.get_ylim()
    height = 0.7 * _SIZE[1] * _POINTS_PER_INCH  # of the axis, about
    heights = np.array([1.3 * _NAME_SIZE * (1 + text.count("\n")) for text in texts]) / height * (high - low)
    stacked = np.cumsum(heights) - heights / 2  # middles, one on the other
    middles = isotonic_regression(ends - stacked).x + stacked
    middles -= max(0.0, middles[-1] + heights[-1] / 2 - high)
    for index, text, middle in zip(order, texts, middles, strict=True):
        x, mean, _ = lines[index].points[-1]
        leader = {"arrowstyle": "-", "color": _colour(index), "lw": 0.7, "alpha": 0.6, "shrinkB": 6, "relpos": (0, 0.5)}
        axis.annotate(
            text,
            xy=(x, mean),
            xycoords=places[index],
            xytext=(1.03, middle),
            textcoords=axis.get_yaxis_transform(),
            va="center",
            color=_colour(index),
            fontsize=_NAME_SIZE,
            fontweight="bold",
            arrowprops=leader,
        )
