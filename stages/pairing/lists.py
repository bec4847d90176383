"""Files that list which recording is in which part of a split.

Cells are apart by tab, semicolon or comma, as the first line has it. A first line with the name `sample` in it names
the columns: `sample`, `part`, `photo`, and any others, which `pairing.group` may name. Without one the first column is
the recording, and the second its part, or in a file of one part its photo.

A sample is its id, or a path that ends in it: N_Caltech101/accordion/image_0001.bin is accordion/image_0001. Any ending
is left out but numbers and versions, which belong to a name: mug/rec.v1 is not mug/rec, and mug/rec_0.5 not mug/rec_0.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ...cache.documents import name_some
from ...cache.errors import StoreError
from ...cache.pairs import OUTSIDE, SPLIT_CODES, Split
from ...cache.store import FrameStore
from ..leakage.originals import Originals
from ..pairing_config import LISTED_PARTS, SplitFile
from ..sources.reader import is_ending

_PARTS: Final[Mapping[str, Split]] = {
    **{name: name for name in SPLIT_CODES},
    "val": "validation",
    "valid": "validation",
}
_DELIMITERS: Final = "\t;,"


@dataclass(frozen=True)
class Entry:
    """A line. where: "<file>, line <number>"; columns: its cells by name."""

    where: str
    part: Split
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Lists:
    """What the files say. columns: those that every line has, by name.  entries: by the recording's row."""

    name: str
    columns: tuple[str, ...]
    entries: Mapping[int, Entry]

    def parts(self, num_recordings: int) -> NDArray[np.int8]:
        """(N,) split code of each recording; OUTSIDE of one that is not listed."""
        parts = np.full(num_recordings, OUTSIDE, np.int8)
        for row, entry in self.entries.items():
            parts[row] = SPLIT_CODES[entry.part]
        return parts


def read_lists(file: SplitFile, events: FrameStore) -> Lists:
    """The files of a split, on the recordings of a store.

    Raises StoreError, naming file and line: a sample that is not in the store, or listed twice, an unknown part, cells
    that are missing. Naming the file: one without a sample; no training or no test recording in all of them.
    """
    rows = _rows_of(events)
    entries: dict[int, Entry] = {}
    columns: list[tuple[str, ...]] = []
    for part, text in file.read().items():
        path, is_empty = file.files[part], True
        for where, names, cells in _lines(path, text, bool(part)):
            is_empty = False
            columns.append(names)
            named = dict(zip(names, cells, strict=True))
            row = find_row(named["sample"], rows)
            if row is None:
                raise StoreError(
                    f"{where}: {named['sample']!r} is no recording of {events.path.name}, whose ids are like "
                    f"{events.sample_id[0]}"
                )
            if row in entries:
                raise StoreError(f"{where}: {events.sample_id[row]} is listed already ({entries[row].where})")
            entries[row] = Entry(where, _part(where, named.get("part", part), part), named)
        if is_empty:
            raise StoreError(f"{path}: lists no recording" + (f" of the part {part}" if part else ""))
    for part in ("train", "test"):
        if not any(entry.part == part for entry in entries.values()):
            raise StoreError(f"{', '.join(file.files.values())}: no recording is in the part {part}")
    return Lists(file.name, tuple(name for name in columns[0] if all(name in of for of in set(columns))), entries)


def _lines(path: str, text: str, is_of_one_part: bool) -> Iterator[tuple[str, tuple[str, ...], list[str]]]:
    """Of each line where it is, the names of its columns, and its cells."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    reader = csv.reader(text.splitlines(), delimiter=next((sign for sign in _DELIMITERS if sign in first), "\t"))
    names: tuple[str, ...] = ()
    try:
        for line in reader:
            cells, where = [cell.strip() for cell in line], f"{path}, line {reader.line_num}"
            if not any(cells):
                continue
            if not names:
                names = tuple(cell.casefold() for cell in cells)
                if "sample" in names:
                    _require_columns(where, names, is_of_one_part)
                    continue
                names = ("sample", "photo" if is_of_one_part else "part")[: max(len(cells), 1 + (not is_of_one_part))]
            if len(cells) != len(names):
                more = "; name further columns in a first line: sample, part, ..." if len(cells) > len(names) else ""
                raise StoreError(
                    f"{where}: {len(cells)} columns, expected {len(names)} ({', '.join(names)}), apart by tab, comma "
                    f"or semicolon{more}"
                )
            yield where, names, cells
    except csv.Error as error:
        raise StoreError(f"{path}, line {reader.line_num}: cannot be read ({error})") from None


def _require_columns(where: str, names: tuple[str, ...], is_of_one_part: bool) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise StoreError(f"{where}: several columns are called {', '.join(twice)}")
    if "part" not in names and not is_of_one_part:
        raise StoreError(f"{where}: no column is called part; the columns are {', '.join(names)}")


def _part(where: str, name: str, of_file: str) -> Split:
    """The part that a line names. of_file: the part that its file is of, "" for all. Raises StoreError."""
    part = _PARTS.get(name.casefold())
    if part is None:
        raise StoreError(f"{where}: unknown part {name!r}; the parts are {', '.join(LISTED_PARTS)}")
    if of_file and part != of_file:
        raise StoreError(f"{where}: says the part {part}, in the file of the part {of_file}")
    return part


def find_row(text: str, rows: Mapping[str, int]) -> int | None:
    """The row whose id a sample's name is or, without its ending and leading folders, ends in."""
    folder, slash, file = text.rpartition("/")
    name, _, ending = file.rpartition(".")
    stem = f"{folder}{slash}{name or file}" if is_ending(ending) else text
    while True:
        for name in (text, stem):
            if name in rows:
                return rows[name]
        _, has_folder, text = text.partition("/")
        stem = stem.partition("/")[2]
        if not has_folder:
            return None


def _rows_of(store: FrameStore) -> dict[str, int]:
    return {str(sample_id): row for row, sample_id in enumerate(store.sample_id)}


def require_photos(lists: Lists, events: FrameStore, images: FrameStore | None, originals: Originals) -> None:
    """Raises StoreError, naming file and line, where another photo is listed than what is known to be the recording's.

    Of a recording of which it is not known which one it shows, what is listed is not taken up either.
    """
    if images is None:
        return
    rows = _rows_of(images)
    shown: dict[int, set[int]] = {}
    for recording, image in zip(originals.recordings.tolist(), originals.images.tolist(), strict=True):
        shown.setdefault(recording, set()).add(image)
    for row, entry in lists.entries.items():
        photo, own = entry.columns.get("photo", ""), shown.get(row, set())
        found = find_row(photo, rows)
        if photo and originals.known[row] and found not in own and (found is not None or own):
            known = name_some([str(images.sample_id[image]) for image in sorted(own)]) or "no image"
            raise StoreError(f"{entry.where}: {photo!r} is not the photo of {events.sample_id[row]}; that is {known}")


def named_after(lists: Lists, column: str, sample_ids: Sequence[str]) -> list[str]:
    """(N,) what a column says of each recording; the id of one that is not listed. Raises StoreError: an empty cell."""
    names = list(sample_ids)
    for row, entry in lists.entries.items():
        if not entry.columns[column]:
            raise StoreError(f"{entry.where}: names no {column}, by which pairing.group makes groups")
        names[row] = entry.columns[column]
    return names
