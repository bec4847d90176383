"""AEDAT 3.1, caer's recordings, among them DVS128 Gesture (docs.inivation.com, "AEDAT 3.1").

Header lines that end with CR LF: "#!AER-DAT3.1", "#Format: RAW" (another one is refused), "#Source <number>: <camera>",
to "#!END-HEADER". Then packets of little-endian words: int16 type and source; int32 bytes of an event, offset of its
time, overflows of the time, room for events, events, valid events (28 bytes in all); and the events. Those of type 1,
of 8 bytes, are a pixel's: a word with, from the lowest bit, a valid mark, polarity, y (15 bits) and x (15), and int32
time in us, to which each overflow adds 2^31. Other packets, and events not marked as valid, are passed over.
The pixel (0, 0) is the upper left one.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import re
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .....cache.errors import SourceError
from ...random_access import RandomAccess
from .stream import PROBLEM, ROOM, Words

EVENT_BYTES: Final = 8
_MAX_TEXT_BYTES: Final = 1 << 20
_END: Final = b"#!END-HEADER\r\n"
_SIZES: Final = {  # pixels; by the beginning of the camera's name
    "dvs128": (128, 128),
    "davis128": (128, 128),
    "davis208": (208, 192),
    "davis240": (240, 180),
    "davis346": (346, 260),
    "davis640": (640, 480),
}
_PROBLEMS: Final = (
    "a packet whose header cannot be (type, size and number of its events); the file is damaged: fetch it again",
    "an event with a negative time; the file is damaged: fetch it again",
    "events of a second camera; one file has to be one camera's recording: split it",
)
_U = np.uintp


def words_of(content: RandomAccess) -> Words:
    """Raises SourceError: another format of packets, or no end of the header."""
    text = content.read_at(0, min(content.size, _MAX_TEXT_BYTES))
    end = text.find(_END)
    if end < 0:
        raise SourceError(
            f"{content.location}: no line '#!END-HEADER' as AEDAT 3.1 has; it is truncated: fetch it again"
        )
    form = re.search(rb"^#Format:[ \t]*([^\r\n]*)", text[:end], re.MULTILINE)
    if form is None or form[1].strip() != b"RAW":
        found = form[1].decode(errors="replace") if form else "not told"
        raise SourceError(
            f"{content.location}: AEDAT 3.1 with packets of the format {found[:40]}; RAW is read: convert it (DV)"
        )
    cameras = re.findall(rb"^#Source \d+:[ \t]*(\w+)", text[:end], re.MULTILINE)
    sizes = {size for camera in cameras for name, size in _SIZES.items() if camera.decode().lower().startswith(name)}
    return Words(
        decode,
        end + len(_END),
        np.uint8,
        (0, 0, 0, 0, -1),
        EVENT_BYTES,
        _PROBLEMS,
        sizes.pop() if len(sizes) == 1 and len(cameras) == 1 else None,
        is_incomplete=_is_incomplete,
    )


def _is_incomplete(state: NDArray[np.int64]) -> str:
    return "ends within a packet; it is truncated: fetch it again" if state[1] or state[2] else ""


@njit(nogil=True, inline="always")
def _word(data, at):  # type: ignore[no-untyped-def]
    return (
        np.uint32(data[at])
        | (np.uint32(data[at + _U(1)]) << np.uint32(8))
        | (np.uint32(data[at + _U(2)]) << np.uint32(16))
        | (np.uint32(data[at + _U(3)]) << np.uint32(24))
    )


@njit(nogil=True, inline="always")
def _number(data, at):  # type: ignore[no-untyped-def]
    return np.int64(np.int32(np.uint32(_word(data, at))))


@njit(nogil=True, cache=True)
def decode(
    data: NDArray[np.uint8],
    state: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> tuple[int, int]:
    """See `stream`. state: problem; pixel's events that the packet still has, and bytes behind them (or of another
    packet); its overflows as us; the source of the events (-1: none yet)."""
    left, rest, offset_us = state[1], state[2], state[3]
    size = np.int64(data.size)
    room = np.int64(t.size - ROOM)
    n = _U(0)
    at = np.int64(0)
    while True:
        if left:
            count = min(left, (size - at) // 8, room + 1 - np.int64(n))
            if count <= 0:
                break
            for i in range(count):
                place = _U(at + 8 * i)
                fields = _word(data, place)
                time = _number(data, place + _U(4))
                if time < 0:
                    state[PROBLEM] = 2
                    count = i
                    break
                x[n] = fields >> np.uint32(17)
                y[n] = (fields >> np.uint32(2)) & np.uint32(0x7FFF)
                t[n] = offset_us + time
                p[n] = (fields >> np.uint32(1)) & np.uint32(1)
                n += _U(fields & np.uint32(1))
            at += 8 * count
            left -= count
            if state[PROBLEM]:
                break
        elif rest:
            step = min(rest, size - at)
            if step <= 0:
                break
            at += step
            rest -= step
        else:
            if size - at < 28:
                break
            start = _U(at)
            kind = _word(data, start) & np.uint32(0xFFFF)
            source = np.int64(_word(data, start) >> np.uint32(16))
            event_bytes, overflows = _number(data, start + _U(4)), _number(data, start + _U(12))
            capacity, number = _number(data, start + _U(16)), _number(data, start + _U(20))
            valid = _number(data, start + _U(24))
            if (
                event_bytes <= 0
                or overflows < 0
                or not 0 <= valid <= number <= capacity
                or (kind == 1 and (event_bytes != 8 or _number(data, start + _U(8)) != 4))
            ):
                state[PROBLEM] = 1
                break
            if kind == 1:
                if number and state[4] >= 0 and source != state[4]:
                    state[PROBLEM] = 3
                    break
                if number:
                    state[4] = source
                left, rest, offset_us = number, 8 * (capacity - number), overflows << 31
            else:
                left, rest = np.int64(0), event_bytes * capacity
            at += 28
    state[1], state[2], state[3] = left, rest, offset_us
    return int(at), int(n)
