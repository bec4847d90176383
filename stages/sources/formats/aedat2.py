"""AEDAT 2.0, jAER's recordings (iniVation, docs.inivation.com, "AEDAT 2.0"), of DVS128 and DAVIS cameras.

Header lines, each from "#" to a line break, the first "#!AER-DAT2.0". Then records of two big-endian uint32: address,
time in us. Which bits of an address are x, y and polarity depends on the camera, which the line "# AEChip: <class>" of
the header names; jAER writes it since 2014, before that there was the DVS128 alone. jAER's pixel (0, 0) is the lower
left one; here it is the upper left one, as in every other source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ....cache.errors import SourceError
from ..base import Events
from ..random_access import RandomAccess, num_records
from .columns import Pieces

RECORD_BYTES: Final = 8
PIECE_RECORDS: Final = 1 << 20
_MAX_HEADER_BYTES: Final = 1 << 24  # it may hold all of a camera's settings
_VERSION: Final = re.compile(rb"#!AER-DAT(\d+)\.(\d+)[ \t]*\r?\n")
_HEADER_LINE: Final = re.compile(rb"#[\t\x20-\x7e\x80-\xff]*\r?\n")  # a record that begins with "#" is no such line
_LAST_HEADER_LINE: Final = b"#End Of ASCII Header"
_CHIP: Final = re.compile(rb"#[ \t]*AEChip:[ \t]*(?:class[ \t]+)?([\w.$]+)")


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
_DAVIS: Final = _Camera("DAVIS", (240, 180), 12, 0x3FF, 22, 0x1FF, 11, 1, special=0x8000_0400, unused=0)
_CAMERAS: Final = {
    "dvs128": _DVS128,
    "davis240": _DAVIS,
    "davis346": replace(_DAVIS, sensor_size=(346, 260)),
    "davis640": replace(_DAVIS, sensor_size=(640, 480)),
}


def aedat2_pieces(content: RandomAccess) -> Pieces:
    """The sensor's (width, height), pixels, and the events in pieces of up to `PIECE_RECORDS` records.

    Records of no pixel (external input, APS and IMU samples) are left out. Times begin where the camera's clock stood
    and go on where its 32 bits overflow. Polarity 1 is ON, as jAER has it.
    Raises SourceError for another format or camera, or a file that ends within a record; and while the pieces are read,
    with record number and byte offset, for an address that the camera does not have.
    """
    start, camera = _read_header(content.read_at(0, min(content.size, _MAX_HEADER_BYTES)), content.location)
    count = num_records(content.size - start, RECORD_BYTES, content.location, start)
    return camera.sensor_size, _pieces(content, start, count, camera)


def _pieces(content: RandomAccess, start: int, count: int, camera: _Camera) -> Iterator[Events]:
    width, height = camera.sensor_size
    stamp: np.uint32 | None = None
    time_us = 0
    for first in range(0, count, PIECE_RECORDS):
        data = content.read_at(start + first * RECORD_BYTES, min(PIECE_RECORDS, count - first) * RECORD_BYTES)
        address, stamps = np.frombuffer(data, ">u4").reshape(-1, 2).astype(np.uint32).T
        is_event = address & camera.special == 0
        for index in np.flatnonzero(is_event & (address & camera.unused != 0)):
            raise SourceError(
                f"{content.location}: record {first + index} (byte {start + (first + index) * RECORD_BYTES}): the "
                f"address is none of a {camera.name}; other cameras are not read"
            )
        address, stamps = address[is_event], stamps[is_event]
        if not len(stamps):
            continue
        if stamp is None:
            stamp, time_us = stamps[0], int(stamps[0])
        steps = np.diff(stamps, prepend=stamp).view(np.int32)  # modulo 2^32: an overflow is small, backwards negative
        t = time_us + np.cumsum(steps, dtype=np.int64)
        stamp, time_us = stamps[-1], int(t[-1])
        x = width - 1 - (address >> camera.x_shift & camera.x_mask).astype(np.int16)  # negative: none of the sensor's
        y = height - 1 - (address >> camera.y_shift & camera.y_mask).astype(np.int16)
        yield Events(x, y, t, ((address >> camera.p_shift & 1) == camera.on).view(np.uint8))


def _read_header(data: bytes, location: str) -> tuple[int, _Camera]:
    """The offset of the first record, and the camera. Raises SourceError."""
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
    camera = _DVS128
    while line := _HEADER_LINE.match(data, end):
        end = line.end()
        if chip := _CHIP.match(line[0]):
            name = chip[1].decode(errors="replace")
            known = re.match(r"dvs128|davis(?:240|346|640)", name.rpartition(".")[2].lower())
            if known is None:
                raise SourceError(
                    f"{location}: recorded by {name}; the cameras whose addresses are read are DVS128 and DAVIS 240, "
                    "346 and 640"
                )
            camera = _CAMERAS[known[0]]
        if line[0].startswith(_LAST_HEADER_LINE):
            break
    return end, camera
