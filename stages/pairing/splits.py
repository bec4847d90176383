"""The split: which recordings train, validate and test, as it was given or drawn, groups kept whole.

Drawn, it depends on ids, groups, ratios and the seed alone. Groups are ordered by a hash of (seed, group), where a
group of one recording is called as its id; the first ones test, the next validate, and of the rest recordings train.
That is done class by class with shares of the class's recordings; where a group has recordings of several classes, of
all recordings at once. A number of recordings that groups do not come to is met as nearly as whole groups can, with one
group at least, and one is always left to train.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from ...cache.documents import name_some
from ...cache.errors import StoreError
from ...cache.pairs import NO_SPLIT, OUTSIDE, SPLIT_CODES, Split
from ...cache.store import FrameStore
from ..leakage.groups import number_groups, reader_of, source_groups
from ..leakage.originals import Originals
from ..pairing_config import PairingConfig
from ..sources import Reader, sources_with_parts
from .lists import Lists, named_after, read_lists, require_photos

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

TRAIN, VALIDATION, TEST, NOVEL = (SPLIT_CODES[n] for n in get_args(Split))
_PART_CODES: Final = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
_PART_NAMES: Final = {code: name for name, code in SPLIT_CODES.items()}


@dataclass(frozen=True)
class Given:
    """What is known of each of N recordings before a split is drawn.

    parts: (N,) codes of the parts that others give, OUTSIDE: in none; None where all is drawn.
    groups: (N,) number of each recording's group; group_names: (N,) what it is called.
    keeps_recordings: the groups are the source's own, of several recordings.  where: how a message names a recording.
    """

    parts: NDArray[np.int8] | None
    groups: IntArray
    group_names: Sequence[str]
    keeps_recordings: bool
    where: Callable[[int], str]


def find_given(
    config: PairingConfig,
    events: FrameStore,
    images: FrameStore | None,
    labels: IntArray,
    originals: Originals,
    on_message: Callable[[str], None],
) -> Given:
    """labels: (N,) class of each recording, -1 for one that is not used.

    Raises StoreError: recordings without an official part, or none of the test part; what `read_lists` and
    `require_photos` raise; an id that the pattern of groups does not match; a group in two parts.
    """
    ids, reader = [str(sample_id) for sample_id in events.sample_id], reader_of(events, on_message)
    lists = None if config.split_file is None else read_lists(config.split_file, events)
    if lists is not None:
        require_photos(lists, events, images, originals)
    of_source = source_groups(reader, ids)
    names = of_source if config.group is None else _named_groups(config.group, ids, lists)
    given = Given(
        parts=lists.parts(len(ids)) if lists else _official(config, events, reader, ids, labels),
        groups=number_groups(names),
        group_names=names,
        keeps_recordings=config.group is None and of_source != ids,
        where=lambda row: f"{lists.entries[row].where}: {ids[row]}" if lists else ids[row],
    )
    if given.parts is not None:
        _require_whole_groups(given, labels)
    if lists is not None and (num_unlisted := len(ids) - len(lists.entries)):
        on_message(f"{lists.name}: {num_unlisted:,} of {len(ids):,} recordings are not listed, and in no split")
    return given


def _official(
    config: PairingConfig, events: FrameStore, reader: type[Reader], ids: Sequence[str], labels: IntArray
) -> NDArray[np.int8] | None:
    """(N,) the parts that the makers give; None where it is not asked for them."""
    if config.split != "official":
        return None
    parts = np.array([_PART_CODES.get(reader.part_of(sample_id), OUTSIDE) for sample_id in ids], np.int8)
    used = labels >= 0
    lacking = np.flatnonzero(used & (parts == OUTSIDE))
    if len(lacking) == np.count_nonzero(used):
        raise StoreError(
            f"pairing.split = official: of {events.attributes.dataset} no official parts are known; they are of "
            f"{', '.join(sources_with_parts())}, and of class folders in folders train, test and maybe validation. "
            "Name the parts in a file (pairing.split_file), or leave pairing.split at hash"
        )
    if len(lacking):
        raise StoreError(
            f"pairing.split = official: {ids[lacking[0]]} is in no official part, and {len(lacking) - 1:,} more are "
            f"not, of {np.count_nonzero(used):,}; convert the data with all of them below train/ and test/, or name "
            "the parts in a file (pairing.split_file)"
        )
    if not (parts[used] == TEST).any():
        raise StoreError(
            f"pairing.split = official: {events.path.name} has no recording of the official test part; convert both "
            "parts of the data set"
        )
    return parts


def _named_groups(group: str, ids: Sequence[str], lists: Lists | None) -> list[str]:
    """(N,) the group of each recording, by a column of the lists or by a pattern."""
    if lists is not None and group.casefold() in lists.columns:
        return named_after(lists, group.casefold(), ids)
    columns = f", and no column of {lists.name} ({', '.join(lists.columns)})" if lists else ""
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise StoreError(f"pairing.group = {group!r}: is no regular expression ({error}){columns}") from None
    names = []
    for sample_id in ids:
        match = pattern.search(sample_id)
        name = match and (match[1] if pattern.groups else match[0])
        if not name:
            raise StoreError(f"pairing.group = {group!r}: finds nothing in the id {sample_id}{columns}")
        names.append(name)
    return names


def _require_whole_groups(given: Given, labels: IntArray) -> None:
    """Raises StoreError, naming both, where two recordings of a group are in two parts."""
    assert given.parts is not None
    first: dict[int, int] = {}
    for row in np.flatnonzero((labels >= 0) & np.isin(given.parts, list(_PART_CODES.values()))).tolist():
        other = first.setdefault(int(given.groups[row]), row)
        if given.parts[row] != given.parts[other]:
            parts = [_PART_NAMES[int(given.parts[at])] for at in (row, other)]
            raise StoreError(
                f"{given.where(row)} is in the part {parts[0]}, and of the same group ({given.group_names[row]}) as "
                f"{given.where(other)}, which is in the part {parts[1]}: a group stays on one side"
            )


def split_recordings(
    config: PairingConfig,
    given: Given,
    sample_ids: Sequence[str],
    labels: IntArray,
    is_novel: BoolArray,
) -> NDArray[np.int8]:
    """(N,) split codes; recordings with label -1 get none. is_novel: (C,) of each class.

    Of each class that is not novel at least one group is left to train, where groups do not reach over classes and no
    parts were given. Recordings of a novel class whose group trains or validates are in none.
    Raises StoreError: a part `novel` of a class that is not.
    """
    split = np.full(len(labels), NO_SPLIT, np.int8)
    split[labels >= 0] = OUTSIDE
    seen = np.flatnonzero(np.append(~is_novel, False)[labels])
    split[seen] = TRAIN if given.parts is None else given.parts[seen]
    if len(wrong := seen[split[seen] == NOVEL]):
        raise StoreError(f"{given.where(wrong[0])}: is in the part novel, and its class not in pairing.novel_classes")
    if given.parts is None:
        _draw(config, given, labels, seen, split, {TEST: config.test, VALIDATION: config.validation})
    elif not (split[seen] == VALIDATION).any():
        _draw(config, given, labels, seen[split[seen] == TRAIN], split, {VALIDATION: config.validation})
    subset_seed = config.seed if config.subset_seed is None else config.subset_seed
    for label in np.flatnonzero(~is_novel):
        rows = seen[labels[seen] == label]
        remaining = rows[split[rows] == TRAIN]
        num_train = len(remaining)
        if not config.uses_all:
            num_train = min(num_train, max(1, round(config.train * len(rows))))
        num_used = min(config.train_per_class or num_train, max(1, round(config.train_share * num_train)))
        split[ranked(remaining, sample_ids, f"{subset_seed}/")[num_used:]] = NO_SPLIT
    novel = np.flatnonzero(np.append(is_novel, False)[labels])
    if given.parts is not None:
        novel = novel[given.parts[novel] != OUTSIDE]
    teaching = seen[np.isin(split[seen], [TRAIN, VALIDATION, NO_SPLIT])]
    split[novel[~np.isin(given.groups[novel], given.groups[teaching])]] = NOVEL
    return split


def _draw(
    config: PairingConfig,
    given: Given,
    labels: IntArray,
    rows: IntArray,
    split: NDArray[np.int8],
    shares: dict[int, float],
) -> None:
    """Give each split its share of the recordings at `rows`, in whole groups, at least one where it has a share."""
    if not len(rows):
        return
    pairs = np.unique(np.stack([given.groups[rows], labels[rows]]), axis=1)
    spans_classes = len(np.unique(pairs[0])) < pairs.shape[1]
    for some in [rows] if spans_classes else [rows[labels[rows] == label] for label in np.unique(labels[rows])]:
        units = _units(config, given, some)
        for code, share in shares.items():
            wanted = max(1, round(share * len(some))) if share else 0
            num_taken = _num_nearest([len(unit) for unit in units[:-1]], wanted)
            for unit in units[:num_taken]:
                split[unit] = code
            units = units[num_taken:]


def _units(config: PairingConfig, given: Given, rows: IntArray) -> list[IntArray]:
    """The groups of these rows, in the order of the hashes of seed and group."""
    order = np.argsort(given.groups[rows], kind="stable")
    starts = np.flatnonzero(np.diff(given.groups[rows][order], prepend=-1))
    units = np.split(rows[order], starts[1:])
    firsts = ranked(np.arange(len(units)), [given.group_names[unit[0]] for unit in units], f"{config.seed}/")
    return [units[at] for at in firsts]


def _num_nearest(sizes: Sequence[int], wanted: int) -> int:
    """How many groups, from the first on, come nearest to `wanted` recordings, the fewest of several; at least one."""
    if not wanted or not sizes:
        return 0
    return 1 + int(np.abs(np.cumsum(sizes) - wanted).argmin())


def ranked(rows: IntArray, names: Sequence[str], key: str) -> IntArray:
    """The rows in the order of the hashes of key and name; names: by row."""
    hashes = [hashlib.sha256(f"{key}{names[row]}".encode()).digest() for row in rows]
    return rows[sorted(range(len(rows)), key=hashes.__getitem__)]


def tell_lacking(
    config: PairingConfig,
    class_names: Sequence[str],
    split: NDArray[np.int8],
    labels: IntArray,
    is_novel: BoolArray,
    on_message: Callable[[str], None],
) -> None:
    """Tell which classes train and have no recording in a part that there is to be: most have too few for it.

    And which have fewer to train than `train_per_class` asks for, the fewest first.
    """
    for part, code, share in (("validation", VALIDATION, config.validation), ("test", TEST, config.test)):
        there = np.unique(labels[split == code])
        lacking = [name for at, name in enumerate(class_names) if not is_novel[at] and at not in there]
        if lacking and (share or len(there)):
            classes = f"class{'es' if len(lacking) > 1 else ''} {name_some(lacking)}"
            on_message(f"warning: no {part} recording is of the {classes}")
    if config.train_per_class is not None:
        counts = np.bincount(labels[split == TRAIN], minlength=len(class_names))
        fewer = [at for at in np.flatnonzero(~is_novel).tolist() if counts[at] < config.train_per_class]
        if fewer:
            classes = "classes have" if len(fewer) > 1 else "class has"
            named = name_some(f"{class_names[at]} {counts[at]:,}" for at in sorted(fewer, key=lambda at: counts[at]))
            on_message(
                f"warning: {config.train_per_class:,} a class asked for (pairing.train_per_class), "
                f"{len(fewer):,} {classes} fewer, {named}: {counts.sum():,} in all"
            )
