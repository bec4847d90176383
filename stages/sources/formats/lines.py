"""Lines of whole numbers, as most text recordings are, several times as fast as `numpy.loadtxt`."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

_TAB, _LINE_FEED, _RETURN, _BLANK, _MINUS, _ZERO = map(ord, "\t\n\r -0")
_DIGITS: Final = 18  # fit into 64 bits


def parse_whole_numbers(text: bytes, separator: str | None) -> NDArray[np.int64] | None:
    """The numbers (lines, columns); None where a line is anything but plain decimal numbers, as many as in the first.

    Whatever it is then, `numpy.loadtxt` says. separator: None for blanks and tabs.
    """
    first = text[: text.find(b"\n") + 1 or len(text)].decode("ascii")
    num_columns = max(1, len(first.split(separator)))
    most = len(text) // (2 * num_columns) + 1  # a digit and a mark each, and a line that ends early
    columns = np.empty((num_columns, most), np.int64)
    num_lines = _parse(np.frombuffer(text, np.uint8), ord(separator or "\0"), columns)
    return None if num_lines < 0 else columns[:, :num_lines].T


@njit(nogil=True, cache=True)
def _parse(text: Any, separator: int, columns: Any) -> int:
    """Fill the columns, and return the number of lines, or -1."""
    at, line, size = 0, 0, text.size
    while at < size:
        for column in range(columns.shape[0]):
            if column:
                start = at
                if separator:
                    at += at < size and text[at] == separator
                    if at == start:
                        return -1
                    while at < size and text[at] == _BLANK:
                        at += 1
                else:
                    while at < size and (text[at] == _BLANK or text[at] == _TAB):
                        at += 1
                    if at == start:
                        return -1
            is_negative = at < size and text[at] == _MINUS
            at += is_negative
            start, value = at, 0
            while at < size and _ZERO <= text[at] <= _ZERO + 9:
                value = 10 * value + int(text[at]) - _ZERO
                at += 1
            if at == start or at - start > _DIGITS:
                return -1
            columns[column, line] = -value if is_negative else value
        at += at < size and text[at] == _RETURN
        if at < size:
            if text[at] != _LINE_FEED:
                return -1
            at += 1
        line += 1
    return line
