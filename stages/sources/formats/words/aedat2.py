"""AEDAT 2.0, jAER's recordings of DVS128 and DAVIS cameras (docs.inivation.com, "AEDAT 2.0" and "AEDAT 1.0").

Header lines, each from "#" to a line break, the first "#!AER-DAT2.0". Then records of two big-endian uint32: address,
time in us; times that overflow go on. Which bits of an address are x, y and polarity depends on the camera, which the
line "# AEChip: <class>" of the header names; jAER writes it since 2014. Where it is missing, the addresses tell: those
of a DAVIS leave the lowest ten bits at 0 (they are those of its analogue samples), those of a DVS128 have its
coordinates there and nothing above. A DAVIS without a name is the smallest one that has all of its pixels.
jAER's pixel (0, 0) is the lower left one; here it is the upper left one, as in every other source.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .....cache.errors import SourceError
from ...random_access import RandomAccess, num_records
from .stream import PROBLEM, ROOM, Words

WORD_BYTES: Final = 8
_MAX_HEADER_BYTES: Final = 1 << 24  # it may hold all of a camera's settings
_VERSION: Final = re.compile(rb"#!AER-DAT(\d+)\.(\d+)[ \t]*\r?\n")
_HEADER_LINE: Final = re.compile(rb"#[\t\x20-\x7e\x80-\xff]*\r?\n")  # a record that begins with "#" is no such line
_LAST_HEADER_LINE: Final = b"#End Of ASCII Header"
_CHIP: Final = re.compile(rb"#[ \t]*AEChip:[ \t]*(?:class[ \t]+)?([\w.$]+)")
_LOOKED_AT_BYTES: Final = 1 << 16
_LOOKED_AT_BLOCKS: Final = 64
_U = np.uintp


@dataclass(frozen=True, slots=True)
class _Camera:
    """Where an address holds what. `special` bits mark records that are no events of a pixel, such as an APS sample."""

    name: str
    sensor_size: tuple[int, int]
    x_shift: int
    x_mask: int
    y_shift: int
    y_mask: int
    p_shift: int
    on: int  # value of the polarity bit for a brighter pixel
    special: int
    unused: int  # bits that are never set


_DVS128: Final = _Camera("DVS128", (128, 128), 1, 0x7F, 8, 0x7F, 0, 0, special=0x8000_8000, unused=0x7FFF_0000)
_DAVIS: Final = _Camera("DAVIS240", (240, 180), 12, 0x3FF, 22, 0x1FF, 11, 1, special=0x8000_0400, unused=0)
_CAMERAS: Final = {
    "dvs128": _DVS128,
    "tmpdiff128": _DVS128,  # jAER's first name of it
    "davis128": replace(_DAVIS, name="DAVIS128", sensor_size=(128, 128)),
    "davis208": replace(_DAVIS, name="DAVIS208", sensor_size=(208, 192)),
    "davis240": _DAVIS,
    "davis346": replace(_DAVIS, name="DAVIS346", sensor_size=(346, 260)),
    "davis640": replace(_DAVIS, name="DAVIS640", sensor_size=(640, 480)),
}
_GUESSED: Final = ("davis240", "davis346", "davis640")
_BITS_BELOW: Final = 0x3FF  # of an address of a DAVIS
_EXTERNAL: Final = 0x8000  # of an address of a DVS128
_OF_SEVERAL: Final = ("stereo", "pair", "cochlea")  # in jAER's names of two sensors that write into one file


def words_of(content: RandomAccess, camera: str | None = None) -> Words:
    """camera: which one recorded a file that does not say so, where it is known: a key of `_CAMERAS`.

    Records of no pixel (external input, APS and IMU samples) are left out. Times begin where the camera's clock stood.
    Polarity 1 is ON, as jAER has it. Raises SourceError for another format or camera, or a file that ends in a record.
    """
    start, chip = _read_header(content.read_at(0, min(content.size, _MAX_HEADER_BYTES)), content.location)
    num_records(content.size - start, WORD_BYTES, content.location, start)
    named = chip or camera
    found, assumed = (_CAMERAS[named], "") if named else _guess(content, start)
    width, height = found.sensor_size
    fields = (found.x_shift, found.x_mask, found.y_shift, found.y_mask, found.p_shift, found.on)
    problems = (
        f"the address is none of a {found.name}; other cameras are not read",
        f"the address is none of a {found.name}: outside of its {width} x {height} pixels; the file is damaged, or "
        "another camera's",
    )
    return Words(
        decode,
        start,
        np.uint32,
        (0, 0, 0, width, height, *fields, found.special, found.unused),
        WORD_BYTES,
        problems,
        found.sensor_size,
        WORD_BYTES,
        assumed=assumed,
    )


def _as_dvs128(content: RandomAccess, start: int) -> tuple[_Camera, str]:
    """With how many records of the beginning have a bit that in recordings of two cameras marks the second one's."""
    seen = others = 0
    for addresses in itertools.islice(_addresses(content, start), _LOOKED_AT_BLOCKS):
        seen, others = seen + len(addresses), others + int((addresses & _EXTERNAL != 0).sum())
    left_out = (
        f"; {others:,} of the first {seen:,} records are left out that are external input there, and of a second "
        "camera in a recording of two"
        if others
        else ""
    )
    return _DVS128, f"names no camera, and has the addresses of a DVS128{left_out}"


def _guess(content: RandomAccess, start: int) -> tuple[_Camera, str]:
    """The camera of a file without a name, by all of its addresses, and what is assumed by taking it for that."""
    bits, width, height = 0, 0, 0
    for addresses in _addresses(content, start):
        events = addresses[addresses & _DAVIS.special == 0]
        if len(events):
            bits |= int(np.bitwise_or.reduce(events))
            if bits & _BITS_BELOW:
                return _as_dvs128(content, start)
            width = max(width, int((events >> _DAVIS.x_shift & _DAVIS.x_mask).max()) + 1)
            height = max(height, int((events >> _DAVIS.y_shift & _DAVIS.y_mask).max()) + 1)
    if not bits & _DVS128.unused:
        return _as_dvs128(content, start)
    fitting = (_CAMERAS[name] for name in _GUESSED)
    for camera in fitting:
        if width <= camera.sensor_size[0] and height <= camera.sensor_size[1]:
            smallest = (
                f"names no camera, and is taken for a {camera.name}, the smallest DAVIS that has all of its addresses"
            )
            return camera, smallest
    raise SourceError(
        f"{content.location}: names no camera, and its addresses reach {width} x {height} pixels, which no camera that "
        "is read has; the file is damaged, or another camera's: convert it, for example with iniVation's DV"
    )


def _addresses(content: RandomAccess, start: int) -> Iterator[NDArray[np.uint32]]:
    for offset in range(start, content.size, _LOOKED_AT_BYTES):
        yield np.frombuffer(content.read_at(offset, _LOOKED_AT_BYTES), ">u4")[::2].astype(np.uint32)


def _read_header(data: bytes, location: str) -> tuple[int, str | None]:
    """The offset of the first record, and the camera, if it is named. Raises SourceError."""
    version = _VERSION.match(data)
    if version is None:
        raise SourceError(
            f"{location}: starts with {data[:14]!r}, expected the line '#!AER-DAT2.0' of an AEDAT file; it is damaged "
            "or has another format"
        )
    if version[1] != b"2":
        found = b".".join(version.groups()).decode()
        raise SourceError(f"{location}: AEDAT {found}, expected AEDAT 2.0; convert it, for example with iniVation's DV")
    end = 0
    camera = None
    while line := _HEADER_LINE.match(data, end):
        end = line.end()
        if chip := _CHIP.match(line[0]):
            name = chip[1].decode(errors="replace")
            own = name.rpartition(".")[2].lower()
            known = re.match(r"dvs128|tmpdiff128|davis(?:128|208|240|346|640)", own)
            if known and any(word in own for word in _OF_SEVERAL):
                raise SourceError(f"{location}: recorded by {name}; a file has to be one camera's recording: split it")
            if known is None:
                raise SourceError(
                    f"{location}: recorded by {name}; the cameras whose addresses are read are DVS128 and DAVIS 128, "
                    "208, 240, 346 and 640"
                )
            camera = known[0]
        if line[0].startswith(_LAST_HEADER_LINE):
            break
    return end, camera


@njit(nogil=True, inline="always")
def _big_endian(word):  # type: ignore[no-untyped-def]
    return np.uint32(
        (word << np.uint32(24))
        | ((word & np.uint32(0xFF00)) << np.uint32(8))
        | ((word >> np.uint32(8)) & np.uint32(0xFF00))
        | (word >> np.uint32(24))
    )


@njit(nogil=True, cache=True)
def decode(
    words: NDArray[np.uint32],
    state: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    t: NDArray[np.int64],
    p: NDArray[np.uint8],
) -> tuple[int, int]:
    """See `stream`. state: problem, whether there was a pixel's event, time of the last one in us; width and height;
    of x shift and mask, of y shift and mask, shift of the polarity and its value for ON; special and unused bits."""
    started, time = state[1], state[2]
    width, height = np.uint32(state[3]), np.uint32(state[4])
    x_shift, x_mask, y_shift, y_mask = (
        np.uint32(state[5]),
        np.uint32(state[6]),
        np.uint32(state[7]),
        np.uint32(state[8]),
    )
    p_shift, on, special, unused = np.uint32(state[9]), np.uint32(state[10]), np.uint32(state[11]), np.uint32(state[12])
    count = min(words.size // 2, t.size - ROOM)
    n = _U(0)
    used = count
    for i in range(count):
        address = _big_endian(words[_U(2 * i)])
        if address & special:
            continue
        column = (address >> x_shift) & x_mask
        row = (address >> y_shift) & y_mask
        if address & unused or column >= width or row >= height:
            state[PROBLEM] = 1 if address & unused else 2
            used = i
            break
        stamp = np.int64(_big_endian(words[_U(2 * i + 1)]))
        if not started:
            started, time = 1, stamp
        time += np.int64(np.int32(np.uint32(stamp - time)))
        x[n] = width - np.uint32(1) - column
        y[n] = height - np.uint32(1) - row
        t[n] = time
        p[n] = ((address >> p_shift) & np.uint32(1)) == on
        n += _U(1)
    state[1], state[2] = started, time
    return 2 * used, int(n)
