"""A user's own long recordings, cut into pieces: by a table of segments, into windows of time, or both.

A piece is decoded out of its recording's file, and is exactly the events of its time (see `cutting`). Its id is
`<class>/[<part>/]<recording>@<start>+<length>us`, with the recording's path below the data set's folder, without its
ending, and the start in the recording's own time stamps: so an id is of one piece whatever else lies there.
"""

from __future__ import annotations

import posixpath
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ...cache.digests import blocks_digest, fingerprint
from ...cache.documents import name_some
from ...cache.errors import SourceError
from .base import Recording, Sample, TimeUnit, Windows
from .cutting import LongRecording
from .own import Folder
from .random_access import RandomAccess, as_access
from .reader import PARTS, Listing, places_down
from .segment_tables import (
    MAX_SEGMENTS,
    Segment,
    class_number,
    cut_windows,
    in_order,
    overlaps,
    parse_mapping,
    parse_table,
)
from .tree import FolderTree, Place, describe_children, find_folder, open_place

TABLE: Final = "segments.csv"
BESIDE: Final = "_labels.csv"  # a table beside its recording, as DVS128 Gesture has them
MAPPING: Final = "gesture_mapping.csv"
LISTS_OF_PARTS: Final = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}
_GESTURES: Final = ("DvsGesture", ("DvsGesture.tar.gz",))  # its folder, and the archive that holds that
_WAY_OUT: Final = "frames.windows = { every_us = ..., length_us = ... } (convert: --windows)"
_PIECE: Final = re.compile(r"@-?\d+\+\d+us\Z")

State = tuple[int, int]
Span = tuple[str, State, int, int, str]
"""A recording: its file, and what that was when it was looked through; first and last time, us; why it has none."""


class Segments(Folder):
    """Pieces of recordings in any of the formats of `formats.recordings`.

    time_unit, columns: as of `Folder`.  windows: into which each segment, or each recording of a class folder, is cut.
    spans, listing: what another opening of the same files found; SourceError where they are others now.
    """

    name = "segments"
    version = "3"  # 2: all members of gzipped recordings; 3: silences in EVT 3
    title = "Your own long recordings, cut into pieces"
    layout = (
        f"{TABLE} and recordings, <recording> and <recording>{BESIDE} (DVS128 Gesture), or <class>/<recording> with "
        "frames.windows (docs/datasets/long-recordings.md)"
    )
    _pieces: Mapping[str, Segment] = MappingProxyType({})

    def __init__(
        self,
        path: Path,
        time_unit: TimeUnit = "auto",
        columns: str = "auto",
        windows: Windows | None = None,
        spans: tuple[Span, ...] = (),
        listing: str = "",
    ) -> None:
        self.windows = windows
        self._spans = {span[0]: span for span in spans}
        self._tables: dict[str, str] = {}  # the name of each table, and its digest
        self._kept = threading.local()  # of the last recording, since its pieces follow each other
        super().__init__(path, time_unit, columns)
        if listing not in ("", self._listing):
            raise SourceError(f"{path}: tables or recordings changed while they were read; run the command again")

    def arguments(self) -> Iterable[Any]:
        return (*super().arguments(), self.windows, tuple(self._spans.values()), self._listing)

    @property
    def _listing(self) -> str:
        return fingerprint([self._tables, sorted(self._listed)])

    # Listing ---------------------------------------------------------------------------------------------------------

    def list_samples(self) -> Listing:
        start = open_place(self.path)
        gestures = find_folder(start, *_GESTURES)
        self._places = gestures or places_down(start)
        place = next((place for place in self._places if _tables_in(place)), self._places[-1])
        self.searched = (place if gestures else start,)
        self._place, self._remarks = place, list[str]()
        tables = _tables_in(place)
        if TABLE in tables:
            segments, class_names = self._of_table(place)
        elif tables:
            segments, class_names = self._of_tables_beside(place, tables)
        else:
            segments, class_names = self._of_classes(place)
        self._require_one_file_a_name(segments)
        self._require_one_part(segments)
        self._listed = {place.where(segment.file) for segment in segments}
        pieces = segments
        if self.windows is not None:
            pieces, remark = cut_windows(segments, self.windows)
            self._remarks += [remark] if remark else []
        labels = {name: label for label, name in enumerate(class_names)}
        samples = [self._add(piece, labels[piece.label]) for piece in pieces]
        self._pieces = {sample.sample_id: piece for sample, piece in zip(samples, pieces, strict=True)}
        self.remarks = tuple(self._remarks)
        return tuple(class_names), samples

    def _of_table(self, place: Place) -> tuple[list[Segment], list[str]]:
        """What `segments.csv` lists."""
        segments = parse_table(self._read_table(place, TABLE), place.where(TABLE))
        there = set(place.files_below())
        for segment in segments:
            if segment.file not in there:
                raise SourceError(
                    f"{segment.where}: {place.where(segment.file)} is not there; fetch it, or mend the line"
                )
        for earlier, later in overlaps(segments):
            raise SourceError(
                f"{later.where}: begins at {later.start_us} us, before the segment of {earlier.where} ends at "
                f"{earlier.end_us} us; an event belongs to one segment: mend one of them"
            )
        return segments, in_order(segment.label for segment in segments)

    def _of_tables_beside(self, place: Place, tables: list[str]) -> tuple[list[Segment], list[str]]:
        """What the table beside each recording lists. Where published tables overlap, they are taken as they are."""
        beside = defaultdict(list)
        for name in place.children()[1]:
            if name not in tables:
                beside[posixpath.splitext(name)[0]].append(name)
        segments: list[Segment] = []
        for table in tables:
            stem = table.removesuffix(BESIDE)
            if len(beside[stem]) != 1:
                found = ", ".join(beside[stem]) or "none"
                raise SourceError(
                    f"{place.where(table)}: expected one recording beside it, {stem}.<ending>, found {found}; fetch "
                    "it, or remove the table"
                )
            segments += parse_table(self._read_table(place, table), place.where(table), beside[stem][0])
            if len(segments) > MAX_SEGMENTS:
                raise SourceError(
                    f"{place.where(table)}: with it, more than {MAX_SEGMENTS} segments; take fewer tables"
                )
        if both := [f"{later.where} and {earlier.where.rpartition(': ')[2]}" for earlier, later in overlaps(segments)]:
            self._remarks.append(
                f"{len(both):,} segments begin before another one of their recording ends, so that events are in both: "
                f"{name_some(both)}"
            )
        parts = self._read_parts(place)
        names = self._read_mapping()
        if names is None:
            named = [replace(segment, part=parts.get(segment.file, "")) for segment in segments]
            return named, in_order(segment.label for segment in named)
        numbers = [class_number(segment.label, names, segment.where) for segment in segments]
        named = [
            replace(segment, part=parts.get(segment.file, ""), label=names[number])
            for segment, number in zip(segments, numbers, strict=True)
        ]
        return named, [names[number] for number in sorted(set(numbers))]

    def _read_table(self, place: Place, name: str) -> bytes:
        data = place.read(name)
        self._tables[place.where(name)] = blocks_digest([data])
        return data

    def _read_parts(self, place: Place) -> dict[str, str]:
        """The official part of each recording that a list names. Raises SourceError: in two of them."""
        parts: dict[str, str] = {}
        for part, name in LISTS_OF_PARTS.items():
            if not place.exists(name):
                continue
            for number, line in enumerate(self._read_table(place, name).decode("utf-8", "replace").splitlines(), 1):
                file = line.strip()
                if file and parts.setdefault(file, part) != part:
                    raise SourceError(f"{place.where(name)}: line {number}: {file} is listed as {parts[file]}, too")
        return parts

    def _read_mapping(self) -> dict[int, str] | None:
        """The names of numbered classes, where they are told in the folder or one above it."""
        for place in reversed(self._places):
            if place.exists(MAPPING):
                return parse_mapping(self._read_table(place, MAPPING), place.where(MAPPING))
        return None

    def _of_classes(self, place: Place) -> tuple[list[Segment], list[str]]:
        """The recordings of class folders, whole."""
        folders = {name: place.child(name) for name in place.children()[0]}
        files = {name: folder.children()[1] for name, folder in folders.items()}
        if not any(files.values()):
            raise self.wrong_layout(place)
        for name, folder in folders.items():
            if not files[name]:
                raise SourceError(
                    f"{folder}: holds no recording (found {describe_children(folder)}); remove the folder"
                )
            if name in PARTS:
                raise SourceError(f"{folder}: a class cannot be called as a part of a data set; rename the folder")
        if self.windows is None:
            raise SourceError(
                f"{place}: holds folders of recordings and no {TABLE}; say how they are cut, {_WAY_OUT}; or with the "
                f"source {Folder.name} each is one sample"
            )
        segments = [self._whole(place, f"{name}/{file}", name) for name in folders for file in files[name]]
        return segments, list(folders)

    def _whole(self, place: Place, file: str, label: str) -> Segment:
        """A recording from its first event to its last one, for which it is read once."""
        if file not in self._spans:
            first_us, last_us, problem = 0, 0, ""
            state = _state(place, file)
            try:
                access = place.tree.open(place.join(file))
                if span := self._open(access).span():
                    first_us, last_us = span
                else:
                    problem = f"{place.where(file)}: no event in it; leave the recording out or fetch it again"
            except SourceError as error:
                problem = str(error)
            self._spans[file] = (file, state, first_us, last_us, problem)
        _, _, first_us, last_us, problem = self._spans[file]
        return Segment(file, first_us, last_us + 1, label, problem=problem)

    def _require_one_file_a_name(self, segments: Iterable[Segment]) -> None:
        """Raises SourceError: recordings whose names differ in their endings alone, which no id has."""
        files: dict[str, str] = {}
        for file in {segment.file: "" for segment in segments}:
            if (other := files.setdefault(posixpath.splitext(file)[0], file)) != file:
                raise SourceError(
                    f"{self._place.where(file)}: is called as {other} but for the ending; rename one of them"
                )

    def _require_one_part(self, segments: Iterable[Segment]) -> None:
        """Raises SourceError: pieces of one recording in different parts."""
        first: dict[str, Segment] = {}
        for segment in segments:
            other = first.setdefault(segment.file, segment)
            if other.part != segment.part:
                raise SourceError(
                    f"{segment.where}: is of part {segment.part!r}, {other.where} of part {other.part!r}; all pieces "
                    f"of a recording ({segment.file}) belong to one part"
                )

    def _add(self, piece: Segment, label: int) -> Sample:
        """The sample that a piece is."""
        sample_id = f"{piece.label}/{piece.part and f'{piece.part}/'}{posixpath.splitext(piece.file)[0]}"
        location = self._place.where(piece.file)
        if not piece.problem:
            sample_id += f"@{piece.start_us:010}+{piece.end_us - piece.start_us}us"
            location += f", {piece.start_us} to {piece.end_us} us{piece.where and f' ({piece.where})'}"
        if sample_id in self._files:
            raise SourceError(
                f"{location}: {sample_id} is a piece already; remove the segment, or rename the recording"
            )
        self._files[sample_id] = (self._place.tree, self._place.join(piece.file))
        return Sample(sample_id, label, location)

    def is_used(self, place: Place, name: str) -> bool:
        return place.where(name) in self._listed or place.where(name) in self._tables

    @classmethod
    def part_of(cls, sample_id: str) -> str:
        """That of its line or list; or the folder `train`, `validation` or `test` that its recording lies in."""
        return super().part_of(sample_id)

    @classmethod
    def group_of(cls, sample_id: str) -> str:
        """The recording that it was cut out of."""
        return _PIECE.sub("", sample_id.partition("/")[2]) or sample_id

    # Reading ---------------------------------------------------------------------------------------------------------

    def metadata(self, sample: Sample) -> dict[str, Any]:
        piece = self._pieces[sample.sample_id]
        return {} if piece.problem else {"start_us": piece.start_us, "end_us": piece.end_us}

    def digest_of(self, sample: Sample, data: bytes | RandomAccess) -> str:
        """Of the recording, which its pieces share."""
        return str(self._keep("digest", sample, data, lambda _: super(Segments, self).digest_of(sample, data)))

    def decode(self, sample: Sample, data: bytes | RandomAccess) -> Recording:
        if sample.sample_id not in self._pieces:  # a file that lies anywhere is a recording as it is
            return super().decode(sample, data)
        piece = self._pieces[sample.sample_id]
        if piece.file in self._spans and self._spans[piece.file][1] != _state(self._place, piece.file):
            raise SourceError(f"{sample.location}: changed since its times were looked up; run the command again")
        if piece.problem:
            raise SourceError(piece.problem)
        recording: LongRecording = self._keep("recording", sample, data, self._open)
        return recording.cut(piece.start_us, piece.end_us, sample.location)

    def _open(self, content: RandomAccess) -> LongRecording:
        return LongRecording(super().decode(Sample("", -1, content.location), content), content.location)

    def _keep(self, name: str, sample: Sample, data: bytes | RandomAccess, make: Callable[[RandomAccess], Any]) -> Any:
        """What this thread has made of the sample's recording before, or makes now; one of a name is kept."""
        file = self._pieces[sample.sample_id].file
        key = file, _state(self._place, file)
        if getattr(self._kept, name, (None,))[0] != key:
            setattr(self._kept, name, (None,))  # not two at a time in memory
            content = as_access(data, self._place.where(file))
            made = make(content)
            content.require_unchanged()  # else it is of the file before the one that the key tells
            setattr(self._kept, name, (key, made))
        return getattr(self._kept, name)[1]


def _tables_in(place: Place) -> list[str]:
    """`segments.csv`, where it lies there; else the tables of recordings."""
    files = place.children()[1]
    return [TABLE] if TABLE in files else [name for name in files if name.endswith(BESIDE)]


def _state(place: Place, file: str) -> State:
    """What tells a file from the one that it replaces; in an archive, that is told of the archive."""
    if not isinstance(place.tree, FolderTree):
        return 0, 0
    try:
        status = Path(place.where(file)).stat()
    except OSError as error:
        raise SourceError(f"{place.where(file)}: cannot be read: {error.strerror}; see whether it is there") from error
    return status.st_size, status.st_mtime_ns
