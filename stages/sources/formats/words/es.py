"""Event Stream 2 (.es), neuromorphicsystems' format (github.com/neuromorphicsystems/event_stream, its specification).

"Event Stream", three bytes of the version, one of the type; then uint16 width and height of the sensor, little-endian.
An event begins with a byte that holds the time since the event before, in us; times begin at 0. Where the time does not
fit, bytes of its greatest value go before it. A reset byte, with which a writer ends what a reader may have lost,
changes nothing. Then x and y, uint16. The pixel (0, 0) is the lower left one, as faery reads it too; here it is the
upper left one.

DVS (1): time (7 bits) and polarity. ATIS (2): time (6 bits), polarity and a mark of threshold crossings, which measure
light and are passed over. Colour (4): time (8 bits), and behind x and y red, green and blue, which no frame has room
for: such events count as ON, and that is told. Types without pixels are refused.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .....cache.errors import SourceError
from ...random_access import RandomAccess
from .stream import PROBLEM, ROOM, Words

_HEADER_BYTES: Final = 20
_TYPES: Final = {0: "generic", 3: "of a display"}
_DVS, _ATIS, _COLOUR = 1, 2, 4
_U = np.uintp


def words_of(content: RandomAccess) -> Words:
    """Raises SourceError: another version, or a type whose events are not those of pixels."""
    header = content.read_at(0, _HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        raise SourceError(f"{content.location}: ends within the header, at byte {len(header)}; fetch it again")
    version, kind = header[12:15], header[15]
    if version[0] != 2:
        raise SourceError(
            f"{content.location}: Event Stream of version {'.'.join(map(str, version))}; version 2 is read: convert it"
        )
    if kind not in (_DVS, _ATIS, _COLOUR):
        raise SourceError(
            f"{content.location}: Event Stream of type {kind} ({_TYPES.get(kind, 'unknown')}); dvs (1), atis (2) and "
            "color (4) are read"
        )
    width, height = np.frombuffer(header, "<u2", 2, 16).tolist()
    return Words(
        decode,
        _HEADER_BYTES,
        np.uint8,
        (0, 0, kind, height),
        8 if kind == _COLOUR else 5,
        (f"y is beyond the sensor's {width} x {height} pixels; the file is damaged: fetch it again",),
        (width, height),
        assumed="has colours and no polarity: all of its events count as ON" if kind == _COLOUR else "",
    )


@njit(nogil=True, cache=True)
def decode(
    data: NDArray[np.uint8],
    state: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> tuple[int, int]:
    """See `stream`. state: problem, time of the last event in us, type, height of the sensor."""
    time, kind, height = state[1], state[2], np.uint32(state[3])
    event_bytes = _U(8 if kind == _COLOUR else 5)
    time_shift = np.uint8(1 if kind == _DVS else 2 if kind == _ATIS else 0)
    first_special = np.uint8(0xFC if kind == _ATIS else 0xFE)
    size = _U(data.size)
    last = _U(t.size - ROOM)
    n = _U(0)
    at = _U(0)
    while at < size and n <= last:
        first = data[at]
        if first >= first_special:
            if kind == _ATIS:
                time += 63 * np.int64(first & np.uint8(3))
            elif first == 0xFF:
                time += 127 if kind == _DVS else 254
            at += _U(1)
            continue
        if at + event_bytes > size:
            break
        row = np.uint32(data[at + _U(3)]) | (np.uint32(data[at + _U(4)]) << np.uint32(8))
        if row >= height:
            state[PROBLEM] = 1
            break
        time += np.int64(first >> time_shift)
        x[n] = np.uint32(data[at + _U(1)]) | (np.uint32(data[at + _U(2)]) << np.uint32(8))
        y[n] = height - np.uint32(1) - row
        t[n] = time
        if kind == _DVS:
            p[n] = first & np.uint8(1)
        else:
            p[n] = 1 if kind == _COLOUR else (first >> np.uint8(1)) & np.uint8(1)
        n += _U(1) - (_U(first & np.uint8(1)) if kind == _ATIS else _U(0))
        at += event_bytes
    state[1] = time
    return int(at), int(n)
