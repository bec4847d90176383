"""Figures as inline SVG: text in the page's own colour, so that they can be read on light and on dark pages."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup, escape

from ..analysis import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = Sequence[float | None]

PIXELS_PER_POINT = 96 / 72
# Of a legend's text, about: what fits below a chart, and the room that the line before a label takes.
_LEGEND_CHARACTERS, _HANDLE_CHARACTERS = 62, 9
_DASHES = ("-", "--", ":")


@dataclass(frozen=True)
class Line:
    """One line of a chart. colour: position in `style.SERIES`; then dashes. label: None leaves it out of the legend."""

    values: Values
    colour: int = 0
    label: str | None = None


def line_chart(title: str, xlabel: str, x: Sequence[int], lines: Sequence[Line], *, is_share: bool = False) -> Figure:
    """Lines over `x`; those that are shorter end early. is_share: the vertical axis goes from 0 to 1."""
    from matplotlib.ticker import MaxNLocator

    figure = style.new_figure(3.8, 2.7)
    axis = figure.subplots()
    for line in lines:
        values = [np.nan if value is None else value for value in line.values]
        dashes, colour = divmod(line.colour, len(style.SERIES))
        axis.plot(
            x[: len(values)],
            values,
            color=style.SERIES[colour],
            ls=_DASHES[dashes % len(_DASHES)],
            lw=1.4,
            marker="o" if len(values) < 3 else None,
            label=line.label,
        )
    axis.grid(axis="y", color=style.INK, alpha=0.2, lw=0.6)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.finish(axis, title=title, xlabel=xlabel, **({"ylim": (-0.03, 1.03)} if is_share else {}))
    labels = [line.label for line in lines if line.label is not None]
    if labels:
        columns = max(1, _LEGEND_CHARACTERS // (max(map(len, labels)) + _HANDLE_CHARACTERS))
        figure.legend(loc="outside lower center", ncols=columns, fontsize=7, labelcolor=style.INK, frameon=False)
    return figure


def to_svg(figure: Figure, name: str, alt: str) -> Markup:
    """A figure for the middle of a page. name: unique there, begins all ids. alt: what is seen, in words."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": ["DejaVu Sans", "sans-serif"]}):
        style.without_math(figure).savefig(file, format="svg", dpi=144, metadata={"Date": None})
    svg = file.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", svg)
    svg = svg.replace(style.INK, "currentColor")
    width, _ = figure.get_size_inches() * 72 * PIXELS_PER_POINT
    opened = f'<svg role="img" aria-label="{escape(alt)}" style="width:{width:.0f}px"'
    return Markup(opened + _without_size(svg))


def _without_size(svg: str) -> str:
    """What follows `<svg` in an SVG, its size left to the page."""
    tag, end, rest = svg.removeprefix("<svg").partition(">")
    return re.sub(r' (?:height|width)="[^"]*"', "", tag) + end + rest
