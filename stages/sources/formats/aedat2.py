"""AEDAT 2.0, jAER's recordings (iniVation, docs.inivation.com, "AEDAT 2.0"), of DVS128 and DAVIS cameras.

Header lines, each from "#" to a line break, the first "#!AER-DAT2.0". Then records of two big-endian uint32: address,
time in us. Which bits of an address are x, y and polarity depends on the camera, which the line "# AEChip: <class>" of
the header names; jAER writes it since 2014, before that there was the DVS128 alone. jAER's pixel (0, 0) is the lower
left one; here it is the upper left one, as in every other source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ....cache.errors import SourceError
from ..base import Events

RECORD_BYTES: Final = 8
PIECE_RECORDS: Final = 1 << 20
_MAX_HEADER_BYTES: Final = 1 << 24  # it may hold all of a camera's settings
_VERSION: Final = re.compile(rb"#!AER-DAT(\d+)\.(\d+)[ \t]*\r?\n")
_HEADER_LINE: Final = re.compile(rb"#[\t\x20-\x7e\x80-\xff]*\r?\n")  # a record that begins with "#" is no such line
_LAST_HEADER_LINE: Final = b"#End Of ASCII Header"
_CAMERA: Final = re.compile(rb"#[ \t]*AEChip:[ \t]*(?:class[ \t]+)?([\w.$]+)")


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
_DAVIS: Final = {
    b"240": (240, 180),
    b"346": (346, 260),
    b"640": (640, 480),
}


def aedat2_pieces(
    read_at: Callable[[int, int], bytes], size: int, location: str, piece_records: int = PIECE_RECORDS
) -> tuple[tuple[int, int], Iterator[Events]]:
    """The sensor's (width, height), pixels, and the events in pieces of up to `piece_records` records, none empty.

    read_at(offset, n): n bytes of a file of `size` bytes, fewer at its end. Records of no pixel (external input, APS
    and IMU samples) are left out. Times begin where the camera's clock stood and go on where its 32 bits overflow.
    Polarity 1 is ON, as jAER has it.
    Raises SourceError for another format or camera, or a file that ends within a record; and while the pieces are read,
    with record number and byte offset, where a pixel lies outside the sensor or the time runs backwards, and when there
    are no events.
    """
    start, camera = _read_header(read_at(0, min(size, _MAX_HEADER_BYTES)), location)
    num_records, rest = divmod(size - start, RECORD_BYTES)
    if rest:
        raise SourceError(
            f"{location}: {size - start} bytes after the header is not a whole number of {RECORD_BYTES}-byte records "
            f"({rest} left over at byte {start + num_records * RECORD_BYTES}, after record {num_records}); the file is "
            "truncated: fetch it again"
        )

    def pieces() -> Iterator[Events]:
        clock = _Clock()
        for first in range(0, num_records, piece_records):
            count = min(piece_records, num_records - first)
            data = read_at(start + first * RECORD_BYTES, count * RECORD_BYTES)
            piece = _decode(np.frombuffer(data, ">u4").reshape(-1, 2), first, start, camera, clock, location)
            if len(piece):
                yield piece
        if clock.stamp is None:
            raise SourceError(f"{location}: {num_records} records and no event among them; remove the recording")

    return camera.sensor_size, pieces()


@dataclass(slots=True)
class _Clock:
    """The last event's stamp, None before the first one, and its time with overflows, us."""

    stamp: int | None = None
    time_us: int = 0


def _decode(
    records: NDArray[np.uint32], first: int, start: int, camera: _Camera, clock: _Clock, location: str
) -> Events:
    """The events of some records, the number `first` of the file being the first of them; moves the clock on."""
    address, stamps = records[:, 0].astype(np.uint32), records[:, 1].astype(np.uint32)
    is_event = address & camera.special == 0
    if not is_event.all():
        address, stamps = address[is_event], stamps[is_event]

    def refuse(wrong: NDArray[np.bool_], problem: str) -> None:
        if wrong.any():
            number = first + int(np.flatnonzero(is_event)[np.argmax(wrong)])
            raise SourceError(f"{location}: record {number} (byte {start + number * RECORD_BYTES}): {problem}")

    refuse(address & camera.unused != 0, f"the address is none of a {camera.name}; other cameras are not read")
    width, height = camera.sensor_size
    column = (address >> camera.x_shift & camera.x_mask).astype(np.uint16)
    row = (address >> camera.y_shift & camera.y_mask).astype(np.uint16)
    problem = f"a pixel outside the {width} x {height} sensor; the file is damaged: fetch it again"
    refuse((column >= width) | (row >= height), problem)
    if clock.stamp is None and len(stamps):
        clock.stamp = clock.time_us = int(stamps[0])
    steps = np.diff(stamps, prepend=np.uint32(clock.stamp or 0)).view(np.int32)  # modulo 2^32: an overflow is small
    refuse(steps < 0, "the time runs backwards; the file is damaged: fetch it again")
    t = np.cumsum(steps, dtype=np.int64)
    t += clock.time_us
    if len(t):
        clock.stamp, clock.time_us = int(stamps[-1]), int(t[-1])
    p = (address >> camera.p_shift & 1) == camera.on
    return Events(width - 1 - column, height - 1 - row, t, p.view(np.uint8))


def _read_header(data: bytes, location: str) -> tuple[int, _Camera]:
    """The offset of the first record, and the camera. Raises SourceError."""
    version = _VERSION.match(data)
    if version is None:
        raise SourceError(
            f"{location}: starts with {data[:14]!r}, expected the line '#!AER-DAT2.0' of an AEDAT file; it is damaged "
            "or has another format"
        )
    if version.group(1) != b"2":
        found = b".".join(version.groups()).decode()
        raise SourceError(f"{location}: AEDAT {found}, expected AEDAT 2.0; convert it, for example with iniVation's DV")
    end = 0
    camera = _DVS128
    while line := _HEADER_LINE.match(data, end):
        end = line.end()
        if named := _CAMERA.match(line.group()):
            camera = _find_camera(named.group(1), location)
        if line.group().startswith(_LAST_HEADER_LINE):
            break
    return end, camera


def _find_camera(chip: bytes, location: str) -> _Camera:
    name = chip.rpartition(b".")[2]
    if re.match(rb"(?i)dvs128", name):
        return _DVS128
    if davis := re.match(rb"(?i)davis(240|346|640)", name):
        size = _DAVIS[davis.group(1)]
        return _Camera(name.decode(), size, 12, 0x3FF, 22, 0x1FF, 11, 1, special=0x8000_0400, unused=0)
    raise SourceError(
        f"{location}: recorded by {chip.decode(errors='replace')}; the cameras whose addresses are read are DVS128 and "
        "DAVIS 240, 346 and 640"
    )
