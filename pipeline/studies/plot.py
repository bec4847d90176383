"""Raw results of one study or of several, drawn: accuracy by the number in an axis' labels, a line for each row."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...cache.documents import name_some
from ...cache.errors import ConfigError
from ...cache.pairs import worst_reach
from ...stages.analysis import style
from ...stages.evaluation.results import DEFAULT_WAY
from ...stages.evaluation.statistics import MIN_DRAWS, MeanAndStd, mean_and_std
from ...stages.reporting.accuracy_chart import ChartLine, accuracy_chart
from .formats import MARKS, MINUS
from .raw import RawResult, read_results
from .table import UNREAL

DPI = 150
# A minus is one at the start alone: elsewhere it may be a hyphen.
_NUMBER = re.compile(rf"(?:^[-{MINUS}])?(?:\d+(?:,\d{{3}})*(?:\.\d+)?|(?<![\w.])\.\d+)(?:[eE][-+{MINUS}]?\d+(?!\w))?")
_LineKey = tuple[tuple[tuple[str, str], ...], str]  # labels on the axes other than x, and the study's title


@dataclass(frozen=True)
class Line:
    """What a row of the axes other than x has. points: the draws' top-1, in [0, 1], by the number on x."""

    name: str
    points: Mapping[float, MeanAndStd]


@dataclass(frozen=True)
class Curves:
    """What a picture shows. unit: what stands beside the number in all labels of x; "": nothing, or not the same.
    note: how it was measured."""

    title: str
    unit: str
    note: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class PlotReport:
    """The picture, and what it shows."""

    path: Path
    curves: Curves


def plot(
    files: Sequence[Path],
    x: str,
    out: Path,
    only: Sequence[str] = (),
    xlabel: str | None = None,
    title: str | None = None,
) -> PlotReport:
    """Draw the raw results in `files` over the axis `x` into `out`. only: the lines to show, in this order.

    Raises ConfigError: not a PNG, no raw results, or results that do not belong into one picture.
    """
    if out.suffix.lower() != ".png":
        raise ConfigError(f"{out}: pictures are written as PNG; give it a name that ends in .png")
    curves = make_curves([result for path in files for result in read_results(path)], x, only, xlabel)
    figure = accuracy_chart(
        [_in_per_cent(line) for line in curves.lines],
        title=curves.title if title is None else title,
        note=curves.note,
        xlabel=f"{x} {curves.unit}".rstrip() if xlabel is None else xlabel,
        ylabel="top-1 accuracy (%)",
    )
    style.save(figure, out, DPI)
    return PlotReport(out, curves)


def _in_per_cent(line: Line) -> ChartLine:
    points = [
        (x, 100 * at.mean, None if at.interval is None else (100 * at.interval.low, 100 * at.interval.high))
        for x, at in sorted(line.points.items())
    ]
    return ChartLine(line.name, points)


def make_curves(results: Iterable[RawResult], x: str, only: Sequence[str] = (), xlabel: str | None = None) -> Curves:
    """The lines of results of any studies. xlabel: what the numbers on x are, where their units do not say it.

    Raises ConfigError where they do not belong into one picture.
    """
    listed = _without_copies(results)
    for result in listed:
        if x not in result.labels:
            raise ConfigError(f"{result.study!r} has no axis {x!r}; it has {', '.join(result.labels)}")
        if result.top1_last is None:
            raise ConfigError(
                f"{_name(result)}: how the last epoch's weights did, which is drawn, is not known: "
                f"evaluate its run {result.run} again"
            )
    lines = _by_line(listed, x)
    if unknown := [name for name in only if name not in lines]:
        raise ConfigError(f"no line is called {', '.join(map(repr, unknown))}; there are {', '.join(map(repr, lines))}")
    lines = {name: lines[name] for name in only or lines}
    shown = [result for of_line in lines.values() for result in of_line]
    _require_same_recordings(shown)
    drawn = tuple(_line(name, of_line, x) for name, of_line in lines.items())
    return Curves(
        title="; ".join(dict.fromkeys(result.study for result in shown)),
        unit=_find_unit((result.labels[x] for result in shown), x, xlabel),
        note=_note(lines, drawn),
        lines=drawn,
    )


def _name(result: RawResult) -> str:
    return f"{result.study!r}, {', '.join(result.labels.values())}, seed {result.seed}"


def _without_copies(results: Iterable[RawResult]) -> list[RawResult]:
    """Each cell of a study once."""
    cells: dict[tuple[object, ...], RawResult] = {}
    for result in results:
        first = cells.setdefault((result.study, *result.labels.items(), result.seed), result)
        if first != result:
            raise ConfigError(
                f"{_name(result)} is there twice, with different results (runs {first.run} and {result.run}): draw one "
                "of the two, or give each study a title of its own"
            )
    return list(cells.values())


def _by_line(results: Sequence[RawResult], x: str) -> dict[str, list[RawResult]]:
    """The results of each line by its name. Where studies have a line in common, their titles tell the lines apart;
    one whose runs are all another one's too, asked in the same way, is not drawn beside it."""
    found: dict[_LineKey, list[RawResult]] = {}
    for result in results:
        labels = tuple((axis, label) for axis, label in result.labels.items() if axis != x)
        found.setdefault((labels, result.study), []).append(result)
    runs = {key: {(result.run, result.way) for result in of_line} for key, of_line in found.items()}
    order = list(found)
    kept = [
        key
        for place, key in enumerate(order)
        if not any(
            runs[key] < runs[other] or (runs[key] == runs[other] and order.index(other) < place)
            for other in order
            if _read(other) == _read(key)
        )
    ]
    return {name: found[key] for name, key in zip(_name_lines(kept), kept, strict=True)}


def _read(key: _LineKey) -> tuple[str, ...]:
    """What a line is of, whatever the axes are called."""
    labels, study = key
    return tuple(label for _, label in labels) or (study,)


def _name_lines(keys: Sequence[_LineKey]) -> list[str]:
    """By the labels; where other lines have the same, with the study's title."""
    plain = [", ".join(_read(key)) for key in keys]
    counts = Counter(plain)
    names = [name if counts[name] == 1 else f"{name} ({study})" for name, (_, study) in zip(plain, keys, strict=True)]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigError(f"two lines would be called {twice[0]!r}: change a label, or a study's title")
    return names


def _require_same_recordings(results: Sequence[RawResult]) -> None:
    """Every draw of every line was tested on the recordings of the others, or, where each draw has a split of its own,
    the draws of each study on the same ones. Labelled subsets may differ: they are not tested on."""
    first: dict[int, RawResult] = {}
    tested: dict[str, dict[str, RawResult]] = {}
    for result in results:
        tested.setdefault(result.study, {})[result.recordings_digest] = result
        if first.setdefault(result.seed, result).recordings_digest != result.recordings_digest:
            raise ConfigError(_tested_on_others(first[result.seed], result))
    one, *others = tested.values()
    for other in others:
        if one.keys() != other.keys():
            raise ConfigError(_tested_on_others(next(iter(one.values())), next(iter(other.values()))))


def _tested_on_others(a: RawResult, b: RawResult) -> str:
    on = (f"{_name(of)} on {of.num_recordings:,} ({of.recordings_digest[:12]})" for of in (a, b))
    return f"tested on other recordings, so not to be compared: {'; '.join(on)}; draw them apart"


def _line(name: str, results: Sequence[RawResult], x: str) -> Line:
    """Raises ConfigError: a label without a place on the axis, or two with one."""
    labels: dict[float, str] = {}
    draws: dict[float, list[float]] = {}
    for result in results:
        label = result.labels[x]
        number, _ = _read_label(label, x)
        if labels.setdefault(number, label) != label:
            raise ConfigError(
                f"axis {x}: its labels {labels[number]!r} and {label!r} would be at one place, {number:g}; "
                "make them two axes, or draw over another one"
            )
        assert result.top1_last is not None
        draws.setdefault(number, []).append(result.top1_last)
    ways = sorted({result.way for result in results})
    asked = "" if ways == [DEFAULT_WAY] else f" [{'; '.join(ways)}]"
    mark = MARKS.get(worst_reach(result.photos_in_reach for result in results), "")
    return Line(name + asked + mark, {number: mean_and_std(of) for number, of in draws.items()})


def _read_label(label: str, x: str) -> tuple[float, str]:
    """The first number, and its unit: what stands beside it, of a number in parentheses what stands in these."""
    if (match := _NUMBER.search(label)) is None:
        raise ConfigError(f"axis {x}: no number in its label {label!r}, so no place for it; draw over another axis")
    number = float(match.group().replace(",", "").replace(MINUS, "-")) or 0.0  # no -0
    if number < 0:
        raise ConfigError(
            f"axis {x}: {label!r} has a number below 0, for which the axis has no place: it begins at 0, or is "
            "logarithmic; draw over another axis"
        )
    if math.isinf(number):
        raise ConfigError(f"axis {x}: {label!r} has a number that is too large; draw over another axis")
    before, behind = label[: match.start()], label[match.end() :]
    if before.rfind("(") > before.rfind(")"):
        before, behind = before.rpartition("(")[2], behind.partition(")")[0]
    return number, f"{before}{behind}".strip()


def _find_unit(labels: Iterable[str], x: str, xlabel: str | None) -> str:
    """The labels' unit. Raises ConfigError: they have several, and no xlabel says what their numbers are."""
    units: dict[str, str] = {}  # each with a label that has it
    for label in labels:
        units.setdefault(_read_label(label, x)[1], label)
    if len(units) == 1:
        return next(iter(units))
    if xlabel is None:
        said = [f"{repr(unit) if unit else 'none'} ({label!r})" for unit, label in units.items()]
        raise ConfigError(
            f"axis {x}: its labels have several units: {name_some(said)}; draw them apart, or say with --xlabel what "
            "the numbers are"
        )
    return ""


def _steps(of_lines: Mapping[str, Sequence[RawResult]]) -> list[str]:
    """For how many steps lines were trained, with their names unless all say the same. Empty: of none is known."""
    lines: dict[str, list[str]] = {}
    known = {name: sorted({of.steps for of in of_line if of.steps is not None}) for name, of_line in of_lines.items()}
    for name, counts in sorted(known.items(), key=lambda item: (not item[1], item[1])):
        said = "steps not known"
        if counts:
            said = f"{name_some((f'{count:,}' for count in counts), 3, ' or ')} steps"
            said += " where known" if any(of.steps is None for of in of_lines[name]) else ""
        lines.setdefault(said, []).append(name)
    if not any(known.values()):
        return []
    return [said + (f" ({', '.join(names)})" if len(lines) > 1 else "") for said, names in lines.items()]


def _note(of_lines: Mapping[str, Sequence[RawResult]], lines: Sequence[Line]) -> str:
    """Which data these are, and what a point and an interval are."""
    results = [result for of_line in of_lines.values() for result in of_line]
    sizes, splits = sorted({result.num_recordings for result in results}), sorted({result.split for result in results})
    draws = sorted({at.n for line in lines for at in line.points.values()})
    between = " to " if len(draws) > 1 else ""
    return ", ".join(
        filter(
            None,
            [
                *(UNREAL[data] for data in sorted({result.data for result in results}) if data in UNREAL),
                f"{name_some((f'{size:,}' for size in sizes), 3, ' or ')} {' and '.join(splits)} recordings",
                *_steps(of_lines),
                "last epoch" if any(result.selection != "last" for result in results) else "",
                f"mean of {draws[0]}{between}{draws[-1] if between else ''} draws" if draws[-1] > 1 else "one draw",
                "95 % intervals over draws (Student's t)" if draws[-1] >= MIN_DRAWS else "",
            ],
        )
    )
