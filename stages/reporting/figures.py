"""Charts as inline SVG, in the page's own colour: they can be read on light and on dark pages; learning curves."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..analysis import style
from ..runs.metrics import MetricsLine
from .records import Group

Values = Sequence[float | None]
Panels = dict[str, dict[str, Values]]

PIXELS_PER_POINT = 96 / 72
# Of a legend's text, about: what fits below a chart, and the room that the line before a label takes.
_LEGEND_CHARACTERS, _HANDLE_CHARACTERS = 62, 9

_RATES = "firing rate (spikes per neuron and step)"
_COEFFICIENTS = "alignment coefficient w_t"
_SHARES = {"accuracy", "sliding probability", _COEFFICIENTS}
# What is compared between runs, and of what the mean is: there would be a line for each step or layer of each run.
_COMPARED = ("loss", "event loss", "static loss", "alignment loss", "training accuracy", "sliding probability")
_MEANS = (_COEFFICIENTS, _RATES)


class Line(NamedTuple):
    """One line of a chart. look: its position in `style.line_look`. label: None leaves it out of the legend."""

    values: Values
    look: int = 0
    label: str | None = None


def line_chart(title: str, xlabel: str, lines: Sequence[Line], *, is_share: bool = False) -> Figure:
    """Lines over 1, 2 ...; those that are shorter end early. is_share: the vertical axis goes from 0 to 1."""
    figure = style.new_figure(3.8, 2.7)
    axis = figure.subplots()
    for line in lines:
        values = [np.nan if value is None else value for value in line.values]
        marker = "o" if len(values) < 3 else None
        places = range(1, 1 + len(values))
        look = style.line_look(line.look)
        axis.plot(places, values, **look, lw=1.4, marker=marker, label=line.label, clip_on=False)
    axis.grid(axis="y", color=style.INK, alpha=0.2, lw=0.6)
    last = max((len(line.values) for line in lines), default=1)
    axis.set_xticks(whole_ticks(last))
    axis.set_xlim(1, max(last, 1 + 1e-9))
    style.finish(axis, title=title, xlabel=xlabel, **({"ylim": (-0.03, 1.03)} if is_share else {}))
    labels = [line.label for line in lines if line.label is not None]
    if labels:
        columns = max(1, _LEGEND_CHARACTERS // (max(map(len, labels)) + _HANDLE_CHARACTERS))
        style.legend(figure, loc="outside lower center", ncols=columns)
    return figure


def whole_ticks(last: int) -> list[int]:
    """Round places from 1 to `last`, of which both are named."""
    found = MaxNLocator(6, integer=True).tick_values(1, max(last, 2))
    apart = (found[1] - found[0]) / 2
    return sorted({1, *(int(place) for place in found if 1 + apart <= place <= last - apart), last})


def to_svg(figure: Figure, name: str, alt: str) -> Markup:
    """A figure for the middle of a page. name: unique there, begins all ids. alt: what is seen, in words."""
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": ["DejaVu Sans", "sans-serif"]}):
        style.without_math(figure).savefig(file, format="svg", dpi=144, metadata={"Date": None})
    svg = file.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", svg)
    svg = svg.replace(style.INK, "currentColor")
    tag, end, rest = svg.removeprefix("<svg").partition(">")
    tag = re.sub(r' (?:height|width)="[^"]*"', "", tag)  # the page decides
    width, _ = figure.get_size_inches() * 72 * PIXELS_PER_POINT
    opened = f'<svg role="img" aria-label="{escape(alt)}" style="width:{width:.0f}px"'
    return Markup(opened + tag + end + rest)


def draw_curves(groups: Sequence[Group]) -> list[Markup]:
    """A chart for each quantity: one run's parts together, or runs side by side; none for imported weights."""
    recorded = [
        (index, group.letter, panels(record.metrics))
        for index, group in enumerate(groups)
        for record in group.runs
        if record.metrics
    ]
    if sum(len(group.runs) for group in groups) == len(recorded) == 1:
        charts = {
            title: [
                Line(values, look, name if len(series) > 1 else None)
                for look, (name, values) in enumerate(series.items())
                if name != "event loss" or values != series.get("loss")  # of recordings alone
            ]
            for title, series in recorded[0][2].items()
        }
    else:
        runs = [(index, letter, _compared(found)) for index, letter, found in recorded]
        selecting = sorted({title for *_, found in runs for title in found} - {*_COMPARED, *_MEANS})
        found_lines = {
            title: lines_of_runs((index, letter, found[title]) for index, letter, found in runs if title in found)
            for title in (*_COMPARED, *selecting, *_MEANS)
        }
        charts = {title: lines for title, lines in found_lines.items() if lines}
    return [_chart(number, title, lines) for number, (title, lines) in enumerate(charts.items())]


def _compared(found: Panels) -> dict[str, Values]:
    """A run's quantities by name, each one line."""
    lines = {name: of for title, series in found.items() if title not in _MEANS for name, of in series.items()}
    for title in _MEANS:
        columns = zip(*found.get(title, {}).values(), strict=True)
        means = [None if None in column else float(np.mean(column)) for column in columns]
        lines |= {title: means} if means else {}
    return lines


def panels(metrics: Sequence[MetricsLine]) -> Panels:
    """What a run noted at the end of each epoch, by chart and line; not what is zero or unknown throughout.

    But layers that never fire, and coefficients of 0, are lines, and part of their means.
    """

    def column(key: str) -> Values:
        return [line.get(key) for line in metrics]

    selecting = sorted({key for line in metrics for key in line if key.endswith("_accuracy")} - {"train_accuracy"})
    coefficients = [line.get("w_t") or () for line in metrics]
    rates = [line.get("firing_rates") or {} for line in metrics]
    slides = any(column("loss_static"))  # recordings alone have no static branch in which images could be replaced
    found: Panels = {
        "loss": {
            "loss": column("loss"),
            "static loss": column("loss_static"),
            "event loss": column("loss_event"),
            "alignment loss": column("loss_alignment"),
        },
        "accuracy": {
            "training accuracy": column("train_accuracy"),
            **{key.replace("_", " "): column(key) for key in selecting},
        },
        "sliding probability": {"sliding probability": column("sliding_probability") if slides else []},
        _COEFFICIENTS: {
            f"step {step + 1}": [values[step] if step < len(values) else None for values in coefficients]
            for step in range(max(map(len, coefficients), default=0))
        },
        _RATES: {
            layer: [entry.get(layer) for entry in rates]
            for layer in dict.fromkeys(name for entry in rates for name in entry)
        },
    }
    shown = {
        title: {
            name: values
            for name, values in series.items()
            if any(value is not None if title in _MEANS else value for value in values)
        }
        for title, series in found.items()
    }
    return {title: series for title, series in shown.items() if series}


def lines_of_runs(runs: Iterable[tuple[int, str, Values]]) -> list[Line]:
    """A line for each run, in the look of its group's position; each group's letter stands once."""
    lines: list[Line] = []
    for index, letter, values in runs:
        is_named = any(line.look == index for line in lines)
        lines.append(Line(values, index, None if is_named or not letter else letter))
    return lines


def _chart(number: int, title: str, lines: list[Line]) -> Markup:
    figure = line_chart(title, "epoch", lines, is_share=title in _SHARES or title.endswith("accuracy"))
    names = ", ".join(line.label for line in lines if line.label)
    last = [value for line in lines[:1] for value in line.values if value is not None][-1:]
    alt = f"{title} over {max(len(line.values) for line in lines)} epochs" + (f": {names}" if names else "")
    return to_svg(figure, f"curve{number}", alt + (f"; at the end {last[0]:.4g}" if last and len(lines) == 1 else ""))
