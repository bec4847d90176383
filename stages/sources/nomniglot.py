"""N-Omniglot: Omniglot's drawings, replayed stroke by stroke and recorded by a DAVIS346 (Li et al., Sci. Data 2022).

Layout, from the authors' loader (BrainCog, braincog/datasets/NOmniglot/utils.py):
`<part>/<alphabet>/character<NN>/` holds `<NNNN>.aedat4`, one recording of all 20 drawings of the character, and
`<NNNN>.csv`: a header line, then for each drawer, in order, a line of a number, the time of the drawing's first event
and that of the first event after it, in us of the recording's clock. Parts: dvs_background_1 and dvs_background_2 (or
both as dvs_background) with 30 alphabets, dvs_evaluation with 20.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, ClassVar, Final

from ...cache.digests import file_digest
from ...cache.errors import SourceError
from .base import Events, Sample
from .formats.columns import join
from .formats.isolated import read_pieces
from .omniglot import NUM_DRAWERS, find_characters, roots_of
from .random_access import FileBytes
from .reader import EventReader, Listing
from .tree import Place, open_place

# Left, top, width and height of the screen's image on the sensor, pixels: what the authors' loader cuts out.
WRITING_AREA: Final = (54, 4, 250, 250)
_PARTS: Final = ("dvs_background", "dvs_background_1", "dvs_background_2", "dvs_evaluation")
_LINE: Final = re.compile(r"[^,]*," + 2 * r"\s*(\d{1,18})(?:\.0*)?\s*(?:,|$)")  # a table may be saved as floats
_MAX_EVENTS: Final = 1 << 25  # of a character, in memory 0.4 GB; 9.8 GB of archives have 1,623 characters
_MAX_TABLE_BYTES: Final = 1 << 16  # 20 short lines
_NUMBER: Final = "[0-9]" * 4
_SIGNATURE: Final = b"#!AER-DAT4"

Interval = tuple[int, int]


class NOmniglot(EventReader):
    """The recordings, cut to the `WRITING_AREA`; ids are those of the drawings (`omniglot.Omniglot`).

    A character's file is decoded once for its 20 recordings, which follow each other; each thread keeps the last one.
    """

    name = "nomniglot"
    title = "N-Omniglot"
    origin = (
        "https://doi.org/10.6084/m9.figshare.16821427 (by hand: dvs_background_1.rar, dvs_background_2.rar and "
        "dvs_evaluation.rar, to be unpacked)"
    )
    licence = "CC BY 4.0"
    layout = (
        "dvs_background_1/<alphabet>/character<NN>/<NNNN>.aedat4 and .csv, dvs_background_2/..., dvs_evaluation/..., "
        "or some of them, unpacked"
    )
    num_samples = 32_460
    num_classes = 1_623
    sensor_size: ClassVar[tuple[int, int]] = WRITING_AREA[2:]

    def list_samples(self) -> Listing:
        if self.path.is_file():
            raise SourceError(
                f"{self.path}: expected a folder; unpack the archives (`unrar x`, `7z x` or `bsdtar -xf`) into one "
                f"folder and give that"
            )
        characters = find_characters(open_place(self.path), _PARTS)
        self.searched = roots_of(characters.values())
        self._folders = {name: Path(str(place)) for name, place in characters.items()}
        self._thread = threading.local()
        samples = [
            Sample(f"{name}/{drawer:02d}", label, f"{folder}, drawer {drawer}")
            for label, (name, folder) in enumerate(self._folders.items())
            for drawer in range(1, NUM_DRAWERS + 1)
        ]
        return tuple(self._folders), samples

    def is_used(self, place: Place, name: str) -> bool:
        """A character's files; where one is missing, or there are two, each of its drawings says so."""
        character, _, file = name.rpartition("/")
        return character in self._folders and any(PurePath(file).match(_NUMBER + end) for end in (".aedat4", ".csv"))

    def read_bytes(self, sample: Sample) -> bytes:
        """What tells this recording from others: the digest of the character's file, and the interval in it.

        So that a store is known to be up to date without decoding. Raises SourceError.
        """
        character, drawer = self._character(sample)
        return json.dumps({"file": character.digest, "interval_us": character.interval(drawer)}).encode()

    def decode(self, sample: Sample, data: bytes) -> Events:
        """The recording. Unlike other readers' it reads the file, for the first recording of a character."""
        character, drawer = self._character(sample)
        return character.drawing(drawer)

    def metadata(self, sample: Sample) -> dict[str, Any]:
        """{"interval_us": [start, end]} on the recording's clock."""
        character, drawer = self._character(sample)
        return {"interval_us": list(character.interval(drawer))}

    def _character(self, sample: Sample) -> tuple[_Character, int]:
        """The character that the sample is of, as this thread last read it or as it lies there now; and the drawer."""
        name, _, drawer = sample.sample_id.rpartition("/")
        recording, table = (_find_file(self._folders[name], ending) for ending in (".aedat4", ".csv"))
        found = _Character(recording, table, (_version(recording), _version(table)))
        if getattr(self._thread, "last", None) != found:
            self._thread.last = found
        return self._thread.last, int(drawer)


def _find_file(folder: Path, ending: str) -> Path:
    found = sorted(folder.glob(_NUMBER + ending))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise SourceError(f"{folder}: expected one file <NNNN>{ending}, found {names}; fetch the folder again")
    return found[0]


def _version(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class _Character:
    """The two files of a character, in a version of them; what is in them is read when it is asked for."""

    recording: Path
    table: Path
    version: tuple[tuple[int, int], ...]

    @cached_property
    def digest(self) -> str:
        try:
            return file_digest(self.recording)
        except OSError as error:
            raise SourceError(f"{self.recording}: cannot be read: {error.strerror}; see whether it is there") from error

    def interval(self, drawer: int) -> Interval:
        """Start and end of a drawing, us. Raises SourceError."""
        found = self._intervals[drawer - 1]
        if isinstance(found, str):
            raise SourceError(found)
        return found

    def drawing(self, drawer: int) -> Events:
        """The events of a drawing in the writing area, x and y from its corner. Raises SourceError."""
        start, end = self.interval(drawer)
        if isinstance(self._content, str):
            raise SourceError(self._content)
        first, last, drawings = self._content
        if start < first or end > last:
            raise SourceError(
                f"{self.table}: drawer {drawer}: the interval from {start} to {end} us leaves the recording "
                f"{self.recording.name}, which lasts from {first} to {last} us; fetch both again"
            )
        return drawings[start, end]

    @cached_property
    def _intervals(self) -> list[Interval | str]:
        return parse_table(self.table)

    @cached_property
    def _content(self) -> tuple[int, int, dict[Interval, Events]] | str:
        """Earliest and latest time of the recording, us, and the drawings; or what is wrong with the file.

        A file that cannot be decoded is kept in mind, too: it is asked for 20 times.
        """
        try:
            return self._decode()
        except SourceError as error:
            return str(error)

    def _decode(self) -> tuple[int, int, dict[Interval, Events]]:
        """One pass over the file: what lies in an interval is kept, the rest is let go piece by piece."""
        kept: dict[Interval, list[Events]] = {found: [] for found in self._intervals if not isinstance(found, str)}
        spans: list[tuple[int, int]] = []
        if FileBytes(self.recording).read_at(0, len(_SIGNATURE)) != _SIGNATURE:
            raise SourceError(f"{self.recording}: is no AEDAT 4 file; fetch it again")
        for piece in read_pieces("aedat4", self.recording)[1]:
            spans.append((int(piece.t.min()), int(piece.t.max())))
            for interval, parts in kept.items():
                if spans[-1][0] < interval[1] and interval[0] <= spans[-1][1]:
                    parts.append(_cut(piece, interval))
            if sum(len(part) for parts in kept.values() for part in parts) > _MAX_EVENTS:
                raise SourceError(
                    f"{self.recording}: more than {_MAX_EVENTS} events in the drawings of one character; the file or "
                    f"{self.table.name} is damaged: fetch both again"
                )
        if not spans:
            raise SourceError(f"{self.recording}: no event in it; fetch it again")
        first, last = min(start for start, _ in spans), max(end for _, end in spans)
        return first, last, {interval: join(parts) for interval, parts in kept.items()}


def parse_table(path: Path) -> list[Interval | str]:
    """For each drawer the interval, or what is wrong with its line. Raises SourceError when lines are missing."""
    try:
        text = FileBytes(path).read_at(0, _MAX_TABLE_BYTES + 1).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: cannot be read as a table: {error}; fetch it again") from error
    lines = text.rstrip().splitlines()[1:]
    if len(text) > _MAX_TABLE_BYTES or len(lines) != NUM_DRAWERS:
        raise SourceError(
            f"{path}: {len(lines)} lines after the header, expected one for each of {NUM_DRAWERS} drawers; "
            f"whose are missing cannot be told: fetch it again"
        )
    found: list[Interval | str] = []
    for number, line in enumerate(lines, start=2):
        times = _LINE.match(line)
        if times and int(times[1]) < int(times[2]):
            found.append((int(times[1]), int(times[2])))
        else:
            found.append(
                f"{path}: line {number}: {line[:80]!r}, expected a number, start and end in us, the end later than the "
                "start; fetch it again"
            )
    return found


def _cut(events: Events, interval: Interval) -> Events:
    """The events of an interval (start included, end not) in the writing area, x and y from its corner."""
    left, top, width, height = WRITING_AREA
    inside = (events.t >= interval[0]) & (events.t < interval[1])
    inside &= (events.x >= left) & (events.x < left + width) & (events.y >= top) & (events.y < top + height)
    x, y, t, p = (values[inside] for values in (events.x, events.y, events.t, events.p))
    return Events(x - left, y - top, t, p, (width, height))
