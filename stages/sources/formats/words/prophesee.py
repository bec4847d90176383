"""The text before the words of Prophesee's files, RAW (EVT) and DAT: lines "% <keyword> <value>", to "% end" if it has
one (docs.prophesee.ai, "RAW File Format", "DAT File Format").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .....cache.errors import SourceError
from ...random_access import RandomAccess, num_records
from . import dat, evt2, evt3, evt4, evt21
from .stream import NEVER, Words

_MAX_HEADER_BYTES: Final = 1 << 16
_LINES: Final = re.compile(rb"(?:(?!%[ ]end[ \r]*\n)%[\t\x20-\x7e\x80-\xff]*\r?\n)*(?:%[ ]end[ \r]*\n)?")
_VERSION: Final = re.compile(r"^%\s*(?:evt|format\s+evt)\s*([0-9]+(?:\.[0-9]+)?)", re.MULTILINE)
_DAT: Final = re.compile(r"^%\s*(?:version|data file containing)\s", re.MULTILINE)
_EVT: Final = {"2": evt2, "2.0": evt2, "2.1": evt21, "21": evt21, "3": evt3, "3.0": evt3, "4": evt4, "4.0": evt4}


@dataclass(frozen=True, slots=True)
class Header:
    """text: of the lines, lower case.  start: byte behind them.  sensor_size: (width, height), where they state it."""

    text: str
    start: int
    sensor_size: tuple[int, int] | None
    first_us: int  # `t0`, which faery subtracts from the times that it writes

    def value(self, keyword: str) -> str | None:
        """What a line has behind its keyword."""
        found = re.search(rf"^%\s*{keyword}\s+(.*?)\s*$", self.text, re.MULTILINE)
        return found and found[1]


def read_header(content: RandomAccess) -> Header | None:
    """None where the file does not begin with lines of EVT or DAT."""
    lines = _LINES.match(content.read_at(0, _MAX_HEADER_BYTES))
    text = lines[0].decode("latin-1").lower() if lines else ""
    if not (_VERSION.search(text) or _DAT.search(text)):
        return None
    size = None
    if found := re.search(r"^%\s*geometry\s+(\d{1,9})x(\d{1,9})", text, re.MULTILINE):
        size = int(found[1]), int(found[2])
    else:  # lines of their own, or fields of the line "format"
        sides = [
            re.search(rf"(?:^%\s*|;\s*){side}[ =]+(\d{{1,9}})", text, re.MULTILINE) for side in ("width", "height")
        ]
        if sides[0] and sides[1]:
            size = int(sides[0][1]), int(sides[1][1])
    first = re.search(r"^%\s*t0\s+(\d{1,15})\s*$", text, re.MULTILINE)
    return Header(text, len(text), size, int(first[1]) if first else 0)


def evt_version(header: Header) -> str | None:
    """As the header writes it; None of a DAT file."""
    found = _VERSION.search(header.text)
    return found and found[1]


def words_of(content: RandomAccess, header: Header) -> Words:
    """How the words behind the header are read. Raises SourceError: another version, or words that are cut off."""
    version = evt_version(header)
    if version is None:
        return dat.words_of(content, header.start, header.value("version"), header.sensor_size, header.first_us)
    if version not in _EVT:
        raise SourceError(
            f"{content.location}: EVT of version {version}; 2, 2.1, 3 and 4 are read: convert it (Metavision SDK)"
        )
    encoding = _EVT[version]
    num_records(content.size - header.start, encoding.WORD_BYTES, content.location, header.start)
    state = encoding.STATE
    if encoding is evt21:
        state += (int(evt21.has_upper_first(content, header.start, header.text)),)
    return Words(
        encoding.decode,
        header.start,
        encoding.UNIT,
        state,
        encoding.WORD_BYTES,
        encoding.PROBLEMS,
        header.sensor_size,
        encoding.WORD_BYTES,
        _no_time,
        header.first_us,
    )


def _no_time(state: NDArray[np.int64]) -> str:
    """Of a file of EVT in which no word told the time."""
    return "" if state[1] > NEVER else "no EVT_TIME_HIGH word in it, so that no event has a time; fetch it again"
