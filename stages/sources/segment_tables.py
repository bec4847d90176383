"""Tables that say which part of which recording shows what: `segments.csv`, and those of DVS128 Gesture.

Times are those of the recording's own time stamps, as its file has them. Every error names the table and the line.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, DecimalException
from typing import Final

from ...cache.documents import name_some
from ...cache.errors import SourceError
from .base import Windows
from .reader import PARTS

MAX_SEGMENTS: Final = 200_000  # pieces of a data set; as many as an archive may have members
LATEST_US: Final = 1 << 53  # in either direction, as `frames.checked` has it
_US_PER_UNIT: Final[Mapping[str, Decimal]] = {
    **dict.fromkeys(("ns", "nsec"), Decimal("0.001")),
    **dict.fromkeys(("us", "usec"), Decimal(1)),
    **dict.fromkeys(("ms", "msec"), Decimal(1000)),
    **dict.fromkeys(("s", "sec"), Decimal(1_000_000)),
}
_TIME: Final = re.compile(  # the name of a column: "start_us", "start [us]", "start(us)", "startTime_usec", "start"
    rf"(?P<name>start|end)(?:time)?(?:[ _]*[ _\[(](?P<unit>{'|'.join(_US_PER_UNIT)})[\])]?)?"
)
_OTHERS: Final = {"file": "file", "label": "label", "class": "label", "part": "part"}
_NUMBER: Final = re.compile(r"\d{1,9}")


@dataclass(frozen=True, slots=True)
class Segment:
    """The events of a recording with start_us <= t < end_us, which show `label`.

    file: the recording, relative to the folder of the table.  part: one of `PARTS`, or "".
    where: the table and the line, for messages; "" for a segment that no table names.
    problem: why the recording cannot be cut; "" where it can.
    """

    file: str
    start_us: int
    end_us: int
    label: str
    part: str = ""
    where: str = ""
    problem: str = ""


def parse_table(data: bytes, location: str, file: str = "") -> list[Segment]:
    """The segments of a table: a line that names the columns, then one for each, separated by commas, ; or tabs.

    file: the recording that all lines are of; "" where a column `file` says it. Raises SourceError.
    """
    lines = _lines(data, location)
    try:
        number, header = next(lines)
    except StopIteration:
        raise SourceError(f"{location}: is empty; expected a line with the columns' names") from None
    columns = _columns(header, f"{location}: line {number}", needs_file=not file)
    segments: list[Segment] = []
    for number, cells in lines:
        where = f"{location}: line {number}"
        if len(cells) != len(header):
            raise SourceError(f"{where}: {len(cells)} values, expected {len(header)} as in the line before all")
        if len(segments) == MAX_SEGMENTS:
            raise SourceError(f"{where}: more than {MAX_SEGMENTS} segments; cut the data set into several")
        values = {name: cells[place] for name, (place, _) in columns.items()}
        start_us, end_us = (_whole_us(values[name], columns[name][1], name, where) for name in ("start", "end"))
        if end_us <= start_us:
            raise SourceError(
                f"{where}: ends at {values['end']}, not after its start at {values['start']}; mend the line"
            )
        part = values.get("part", "")
        if part not in ("", *PARTS):
            raise SourceError(f"{where}: part {part!r}, expected {', '.join(PARTS)} or nothing")
        name = file or values["file"]
        segments.append(Segment(name, start_us, end_us, require_name(values["label"], where), part, where))
    if not segments:
        raise SourceError(f"{location}: has no line after the one with the columns' names; expected one a segment")
    return segments


def _lines(data: bytes, location: str) -> Iterator[tuple[int, list[str]]]:
    """Each line that is not blank: its number, from 1, and its values."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{location}: byte {error.start} is no UTF-8 text; save it as UTF-8") from error
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=next((mark for mark in ",;\t" if mark in first), ","))
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise SourceError(f"{location}: line {reader.line_num}: {error}") from error


def _columns(header: list[str], where: str, *, needs_file: bool) -> dict[str, tuple[int, str]]:
    """The place of each column that is read, and its unit."""
    columns: dict[str, tuple[int, str]] = {}
    for place, title in enumerate(header):
        time = _TIME.fullmatch(title.lower())
        name, unit = (time["name"], time["unit"] or "") if time else (_OTHERS.get(title.lower(), ""), "")
        if time and not unit:
            raise SourceError(
                f"{where}: the column {title!r} states no unit; call it {name}_us, {name}_ms, {name}_s or {name}_ns"
            )
        if name in columns:
            raise SourceError(
                f"{where}: {title!r} and {header[columns[name][0]]!r} are both a column {name}; leave one"
            )
        if name:
            columns[name] = (place, unit)
    needed = (*(("file",) if needs_file else ()), "start", "end", "label")
    if missing := [name for name in needed if name not in columns]:
        raise SourceError(
            f"{where}: no column {' and none '.join(missing)} (found {', '.join(header)[:200]}); expected "
            f"{'file, ' if needs_file else ''}start_us, end_us and label, in any order"
        )
    return columns


def _whole_us(text: str, unit: str, name: str, where: str) -> int:
    """A time in whole microseconds. Between two of them it is the later one: no event of whole microseconds differs."""
    try:
        time_us = Decimal(text) * _US_PER_UNIT[unit]
    except DecimalException:
        time_us = Decimal("nan")
    if not time_us.is_finite() or abs(time_us) > LATEST_US:
        raise SourceError(f"{where}: {name} {text[:40]!r} is no time in {unit}; expected a number")
    return int(time_us.to_integral_value("ROUND_CEILING"))


def require_name(name: str, where: str) -> str:
    """The name of a class. Raises SourceError where it cannot be one."""
    if not name or "/" in name or not name.isprintable():
        raise SourceError(f"{where}: {name!r} is no name of a class; expected printable text without /")
    return name


def overlaps(segments: Iterable[Segment]) -> Iterator[tuple[Segment, Segment]]:
    """Segments of one recording that have a time in common, each with the one before it that ends last.

    Raises SourceError where a segment is listed twice.
    """
    of_files: dict[str, list[Segment]] = defaultdict(list)
    for segment in segments:
        of_files[segment.file].append(segment)
    for of_file in of_files.values():
        last: Segment | None = None
        listed: dict[tuple[int, int, str], Segment] = {}
        for segment in sorted(of_file, key=lambda segment: (segment.start_us, segment.end_us)):
            same = listed.setdefault((segment.start_us, segment.end_us, segment.label), segment)
            if same is not segment:
                raise SourceError(f"{segment.where}: lists the segment of {same.where} again; remove one of them")
            if last is not None and segment.start_us < last.end_us:
                yield last, segment
            last = segment if last is None or segment.end_us > last.end_us else last


def cut_windows(segments: Iterable[Segment], windows: Windows) -> tuple[list[Segment], str]:
    """The windows that lie in the segments whole; and what to tell of those that do not. Raises SourceError."""
    pieces: list[Segment] = []
    num_windows = num_left_out = 0
    short: list[str] = []
    for segment in segments:
        if segment.problem:
            pieces.append(segment)
            continue
        duration_us = segment.end_us - segment.start_us
        num_whole = max(0, (duration_us - windows.length_us) // windows.every_us + 1)
        num_windows += num_whole
        num_left_out += -(-duration_us // windows.every_us) - num_whole
        if not num_whole:
            short.append(segment.where or segment.file)
        if num_windows > MAX_SEGMENTS:
            raise SourceError(
                f"{segment.where or segment.file}, {segment.start_us} to {segment.end_us} us: with it, more than "
                f"{MAX_SEGMENTS} windows of frames.windows; take fewer, or look at its times"
            )
        starts_us = (segment.start_us + number * windows.every_us for number in range(num_whole))
        pieces += [replace(segment, start_us=start, end_us=start + windows.length_us) for start in starts_us]
    if not pieces:
        raise SourceError(
            f"frames.windows: no segment or recording lasts {windows.length_us} us ({name_some(short)}); take shorter "
            "windows"
        )
    too_short = f"; shorter than one window: {name_some(short)}" if short else ""
    remark = (
        f"{num_left_out:,} windows that would go beyond the end of their segment or recording were left out, of "
        f"{num_windows + num_left_out:,}{too_short}"
    )
    return pieces, remark if num_left_out else ""


def parse_mapping(data: bytes, location: str) -> dict[int, str]:
    """The names of numbered classes: a name and a number a line, in either order (`gesture_mapping.csv`)."""
    names: dict[int, str] = {}
    for number, cells in _lines(data, location):
        numbers = [cell for cell in cells if _NUMBER.fullmatch(cell)]
        if not numbers and not names:
            continue  # the columns' names
        where = f"{location}: line {number}"
        if len(cells) != 2 or len(numbers) != 1:
            raise SourceError(f"{where}: {', '.join(cells)[:80]!r}, expected the name of a class and its number")
        name = require_name(cells[0] if cells[1] == numbers[0] else cells[1], where)
        if int(numbers[0]) in names or name in names.values():
            raise SourceError(f"{where}: {name}, {numbers[0]}: the name or the number is there already")
        names[int(numbers[0])] = name
    return names


def class_number(label: str, names: Mapping[int, str], where: str) -> int:
    """The number that a label is, which has a name. Raises SourceError."""
    number = int(label) if _NUMBER.fullmatch(label) else -1
    if number not in names:
        known = f"{min(names)} to {max(names)}" if names else "none"
        raise SourceError(f"{where}: class {label!r} has no name in the mapping, which has {known}; mend one of them")
    return number


def in_order(labels: Iterable[str]) -> list[str]:
    """Class names in label order: whole numbers by their value, else by code point."""
    different = set(labels)
    are_numbers = all(map(_NUMBER.fullmatch, different))
    return sorted(different, key=lambda label: (int(label) if are_numbers else 0, label))
