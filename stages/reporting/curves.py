"""Learning curves: one run's parts together, or several runs side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup

from ..runs.metrics import MetricsLine
from .figures import Line, Values, line_chart, to_svg
from .groups import Group, members

Series = dict[str, Values]
Panels = dict[str, Series]

_RATES = "firing rate (spikes per neuron and step)"
_COEFFICIENTS = "alignment coefficient w_t"
_SHARES = {"accuracy", "sliding probability", _COEFFICIENTS}
# What is compared between runs, and of what the mean is: there would be a line for each step or layer of each run.
_COMPARED = ("loss", "event loss", "static loss", "alignment loss", "training accuracy", "sliding probability")
_MEANS = (_COEFFICIENTS, _RATES)


def draw_curves(groups: Sequence[Group]) -> list[Markup]:
    """A chart for each quantity; none for imported weights."""
    recorded = [(index, group, panels(record.metrics)) for index, group, record in members(groups) if record.metrics]
    if not recorded:
        return []
    if len(recorded) == 1:
        charts = {title: _parts(series) for title, series in recorded[0][2].items()}
    else:
        charts = {title: _runs(title, recorded) for title in _quantities(recorded)}
    return [_chart(number, title, lines) for number, (title, lines) in enumerate(charts.items())]


def panels(metrics: Sequence[MetricsLine]) -> Panels:
    """What a run noted at the end of each epoch, by chart and line; not what is zero or unknown throughout."""

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
            f"step {step}": [values[step] if step < len(values) else None for values in coefficients]
            for step in range(max(map(len, coefficients), default=0))
        },
        _RATES: {
            layer: [entry.get(layer) for entry in rates]
            for layer in dict.fromkeys(name for entry in rates for name in entry)
        },
    }
    shown = {title: {name: values for name, values in series.items() if any(values)} for title, series in found.items()}
    return {title: series for title, series in shown.items() if series}


def _parts(series: Series) -> list[Line]:
    alone = len(series) == 1
    return [Line(values, colour, None if alone else name) for colour, (name, values) in enumerate(series.items())]


Recorded = Sequence[tuple[int, Group, Panels]]


def _quantities(recorded: Recorded) -> list[str]:
    present = {name for _, _, found in recorded for series in found.values() for name in series}
    selecting = sorted(name for name in present if name.endswith(" accuracy") and name != "training accuracy")
    means = [title for title in _MEANS if any(title in found for _, _, found in recorded)]
    return [*(name for name in _COMPARED if name in present), *selecting, *means]


def _runs(title: str, recorded: Recorded) -> list[Line]:
    """A line for each run that has the quantity, in its group's colour; the mean where it has several series."""
    lines, labelled = [], set()
    for index, group, found in recorded:
        if title in _MEANS and title in found:
            values = _mean(found[title].values())
        else:
            values = next((series[title] for series in found.values() if title in series), [])
        if len(values):
            lines.append(Line(values, index, None if index in labelled else group.letter))
            labelled.add(index)
    return lines


def _mean(series: Iterable[Values]) -> Values:
    """The mean of several series, None where one of them is."""
    return [None if None in values else float(np.mean(values)) for values in zip(*series, strict=True)]


def _chart(number: int, title: str, lines: list[Line]) -> Markup:
    epochs = range(1, 1 + max(len(line.values) for line in lines))
    figure = line_chart(title, "epoch", epochs, lines, is_share=title in _SHARES or title.endswith("accuracy"))
    names = ", ".join(line.label for line in lines if line.label)
    last = [value for line in lines[:1] for value in line.values if value is not None][-1:]
    alt = f"{title} over {len(epochs)} epochs" + (f": {names}" if names else "")
    return to_svg(figure, f"curve{number}", alt + (f"; at the end {last[0]:.4g}" if last and len(lines) == 1 else ""))
