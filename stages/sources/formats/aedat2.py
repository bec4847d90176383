"""AEDAT 2.0, jAER's recordings (iniVation, docs.inivation.com, "AEDAT 2.0"), of DVS128 and DAVIS cameras.

Header lines, each from "#" to a line break, the first "#!AER-DAT2.0". Then records of two big-endian uint32: address,
time in us. Which bits of an address are x, y and polarity depends on the camera, which the line "# AEChip: <class>" of
the header names; jAER writes it since 2014, before that there was the DVS128 alone. jAER's pixel (0, 0) is the lower
left one; here it is the upper left one, as in every other source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ....cache.errors import SourceError
from ..base import Events

RECORD_BYTES: Final = 8
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


def decode_aedat2(data: bytes, location: str) -> Events:
    """The events of a recording; records of no pixel (external input, APS and IMU samples) are left out.

    Times begin where the camera's clock stood and go on where its 32 bits overflow. Polarity 1 is ON, as jAER has it.
    Raises SourceError for another format or camera, and, with event number and byte offset, where a pixel lies outside
    the sensor, the time runs backwards or the file ends within a record; also when there are no events.
    """
    start, camera = _read_header(data, location)
    num_records, rest = divmod(len(data) - start, RECORD_BYTES)
    if rest:
        raise SourceError(
            f"{location}: {len(data) - start} bytes after the header is not a whole number of {RECORD_BYTES}-byte "
            f"records ({rest} left over at byte {start + num_records * RECORD_BYTES}, after record {num_records}); the "
            "file is truncated: fetch it again"
        )
    records = np.frombuffer(data, ">u4", offset=start).reshape(-1, 2)
    address, stamps = records[:, 0].astype(np.uint32), records[:, 1].astype(np.uint32)
    numbers = np.flatnonzero(address & camera.special == 0)
    if not len(numbers):
        raise SourceError(f"{location}: {num_records} records and no event among them; remove the recording")
    address, stamps = address[numbers], stamps[numbers]

    def refuse(wrong: NDArray[np.bool_], problem: str) -> None:
        if wrong.any():
            number = int(numbers[np.argmax(wrong)])
            raise SourceError(f"{location}: record {number} (byte {start + number * RECORD_BYTES}): {problem}")

    refuse(address & camera.unused != 0, f"the address is none of a {camera.name}; other cameras are not read")
    width, height = camera.sensor_size
    x = (width - 1) - (address >> camera.x_shift & camera.x_mask).astype(np.int64)
    y = (height - 1) - (address >> camera.y_shift & camera.y_mask).astype(np.int64)
    refuse((x < 0) | (y < 0), f"a pixel outside the {width} x {height} sensor; the file is damaged: fetch it again")
    steps = np.diff(stamps).view(np.int32)  # modulo 2^32, so an overflow of the clock is a small step
    refuse(np.concatenate(([False], steps < 0)), "the time runs backwards; the file is damaged: fetch it again")
    t = np.concatenate(([0], np.cumsum(steps, dtype=np.int64))) + int(stamps[0])
    p = (address >> camera.p_shift & 1) == camera.on
    return Events(x.astype(np.uint16), y.astype(np.uint16), t, p.astype(np.uint8))


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
