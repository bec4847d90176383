"""The audit of a pair store: which held-out recordings have their photo, or one that looks the same, where training can
reach it; and which recordings of different splits look the same.

Everything is found anew from the stores, so that it also tells of a pair store of an earlier version, and of splits
that this software did not make (`Audited`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import ConfigError
from ...cache.pairs import HELD_OUT, SPLIT_CODES, PairStore, Reach, Split
from ...cache.store import FrameStore
from ..pairing_config import PairingConfig
from .groups import number_groups, reader_of, source_groups
from .likeness import IMAGES_ALIKE, RECORDINGS_ALIKE, Pictures, find_nearest, pictures_of
from .originals import Originals, find_copies, find_originals, is_told
from .picture import Case, draw_sheet

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NUM_WORST: Final = 20
_NUM_CLASSES: Final = 5  # that are named
Way = Literal["id", "digest", "near-duplicate", "no"]


@dataclass(frozen=True, kw_only=True)
class SplitAudit:
    """Of the recordings of a split: how many have their photo among the images (num_with_photo), of how many it is not
    known which it is (num_unknown); how many have in the static pool their photo (by_id), another file with the same
    content (by_digest), another image that looks the same (by_near_duplicate), any of these (num_in_reach). Of how many
    names tell something else than what was declared when pairing (num_otherwise).
    """

    split: Split
    num_recordings: int
    num_with_photo: int
    num_unknown: int
    by_id: int = 0
    by_digest: int = 0
    by_near_duplicate: int = 0
    num_in_reach: int = 0
    num_otherwise: int = 0


@dataclass(frozen=True, kw_only=True)
class SplitPair:
    """How many recordings of `split` have one in `other` with the same content (by_digest), that looks the same
    (by_near_duplicate), whose photo is the same or looks the same (by_photo), that was cut out of the same recording
    (by_group), any of these (num_alike).
    """

    split: Split
    other: Split
    by_digest: int
    by_near_duplicate: int
    by_photo: int
    by_group: int
    num_alike: int


@dataclass(frozen=True, kw_only=True)
class Match:
    """Two that are most alike. way: how both are one; "no": they are not.

    distance: of the hashes, bits; correlation: of the thumbnails.
    """

    split: Split
    recording: str
    way: Way
    distance: int
    correlation: float

    def __str__(self) -> str:
        return f"{self.way}, {self.distance} bits, {self.correlation:.3f}"


@dataclass(frozen=True, kw_only=True)
class PhotoMatch(Match):
    """A held-out recording, its photo, and the image of the static pool that is most like it."""

    photo: str
    image: str


@dataclass(frozen=True, kw_only=True)
class RecordingMatch(Match):
    """Two recordings of different splits that are most alike."""

    other_split: Split
    other: str


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What was found. photos_in_reach: as the pair store says it.  originals: what was declared then, or "auto".

    photos, recordings: the worst `NUM_WORST`.  num_left_out: images that `disjoint` leaves out as copies of held-out
    recordings' photos, not counting these; most_left_out: the classes that lose most.
    """

    pairs: Path
    protocol: str
    photos_in_reach: Reach
    originals: str
    num_pool: int
    num_left_out: int
    most_left_out: dict[str, int]
    splits: tuple[SplitAudit, ...]
    between: tuple[SplitPair, ...]
    photos: tuple[PhotoMatch, ...]
    recordings: tuple[RecordingMatch, ...]
    picture: Path


@dataclass(frozen=True)
class Audited:
    """Splits of recordings, by their rows, and the rows of the static pool.

    otherwise: (N,) recordings that were declared to show another image than that of their name.
    """

    events: FrameStore
    images: FrameStore | None
    originals: Originals
    rows: Mapping[Split, IntArray]
    pool_rows: IntArray
    otherwise: BoolArray | None = None

    @cached_property
    def groups(self) -> IntArray:
        """(N,) number of what each recording was cut out of, as its source says."""
        return number_groups(source_groups(reader_of(self.events), [str(name) for name in self.events.sample_id]))

    @cached_property
    def event_looks(self) -> Pictures:
        return pictures_of(self.events, np.arange(len(self.events)))

    @cached_property
    def image_looks(self) -> Pictures:
        assert self.images is not None
        return pictures_of(self.images, np.arange(len(self.images)))


def run(pairs_path: Path, out: Path) -> AuditReport:
    """Audit a pair store; its worst cases are drawn to `out` (PNG).

    Raises ConfigError: `out` is named as another kind of file; StoreError: no pair store, or a damaged one.
    """
    if out.suffix.lower() != ".png":
        raise ConfigError(f"{out}: pictures are written as PNG; give a name that ends in .png")
    pairs = PairStore(pairs_path)
    config = PairingConfig.model_validate(pairs.description.pairing)
    audited = _open(pairs, config)
    left_out = _left_out(audited) if config.protocol == "disjoint" else Counter()
    splits, photos = audit_photos(audited)
    between, recordings = audit_recordings(audited)
    _draw(out, audited, photos, recordings)
    return AuditReport(
        pairs=pairs_path,
        protocol=pairs.protocol,
        photos_in_reach=pairs.photos_in_reach,
        originals=config.originals,
        num_pool=len(audited.pool_rows),
        num_left_out=left_out.total(),
        most_left_out=dict(left_out.most_common(_NUM_CLASSES)),
        splits=splits,
        between=between,
        photos=photos,
        recordings=recordings,
        picture=out,
    )


def _open(pairs: PairStore, config: PairingConfig) -> Audited:
    """With what names tell of the recordings and, where they tell nothing, what was declared."""
    auto = config.model_copy(update={"originals": "auto"})
    declared, named = (find_originals(way, pairs.events, pairs.images) for way in (config, auto))
    if not is_told(pairs.events, pairs.images):
        named = declared.where(~named.known & (declared.rows >= 0), named)
    rows = {split: rows for split in SPLIT_CODES if len(rows := pairs.rows_of(split))}
    otherwise = named.known & declared.known & (named.rows != declared.rows)
    return Audited(pairs.events, pairs.images, named, rows, pairs.store.column("pool_rows"), otherwise)


def _left_out(audited: Audited) -> Counter[str]:
    """By class: the images of the pool's classes that are no held-out recording's own but a copy of one."""
    images = audited.images
    if images is None:
        return Counter()
    held_out = [audited.rows.get(split, np.zeros(0, np.int64)) for split in HELD_OUT]
    own = audited.originals.candidates(np.concatenate(held_out))
    among = images.valid & np.isin(images.label, images.label[audited.pool_rows])
    among[own] = False
    return Counter(images.class_names[label] for label in images.label[find_copies(images, own, among)])


def _find(
    store: FrameStore, looks: Pictures, rows: IntArray, others: IntArray, min_correlation: float
) -> tuple[IntArray, list[dict[str, Any]], dict[str, BoolArray]]:
    """Each sample at `rows` among those at `others`: itself, else what is most like it, -1 where there are none; the
    facts of each match; and which samples are found in which way.
    """
    place = np.full(len(store), -1)
    place[others] = np.arange(len(others))
    own = place[rows]
    digests = store.column("source_digest")
    times = Counter(digests[others].tolist())
    nearest = find_nearest(looks.at(rows), looks.at(others), own)
    by = {"by_id": own >= 0}
    by["by_digest"] = np.array([times[digest] for digest in digests[rows].tolist()], np.int64) > by["by_id"]
    by["by_near_duplicate"] = nearest.same(min_correlation) & ~by["by_digest"]
    ways = np.select(list(by.values()), [0, 1, 2], 3)
    columns = (np.where(ways == 0, 0, nearest.distance), np.where(ways == 0, 1, nearest.correlation))
    facts = [
        {"way": get_args(Way)[way], "distance": int(distance), "correlation": float(correlation)}
        for way, distance, correlation in zip(ways, *columns, strict=True)
    ]
    return np.append(others, -1)[np.where(by["by_id"], own, nearest.row)], facts, by


def _counts(flags: Mapping[str, BoolArray]) -> dict[str, int]:
    return {name: int(np.count_nonzero(flag)) for name, flag in flags.items()}


def audit_photos(audited: Audited) -> tuple[tuple[SplitAudit, ...], tuple[PhotoMatch, ...]]:
    """What of the held-out recordings' photos is in the static pool, and the worst cases."""
    splits: list[SplitAudit] = []
    matches: list[PhotoMatch] = []
    images, photos = audited.images, _photos(audited)
    for split in (split for split in HELD_OUT if split in audited.rows):
        rows = audited.rows[split]
        flags = {"num_with_photo": photos[rows] >= 0, "num_unknown": ~audited.originals.known[rows]}
        if audited.otherwise is not None:
            flags["num_otherwise"] = audited.otherwise[rows]
        if images is not None:
            shown = rows[_has_picture(images, photos[rows])]
            found, facts, by = _find(images, audited.image_looks, photos[shown], audited.pool_rows, IMAGES_ALIKE)
            flags |= {**by, "num_in_reach": np.logical_or.reduce(list(by.values()))}
            matches += [
                PhotoMatch(
                    split=split,
                    recording=str(audited.events.sample_id[shown[at]]),
                    photo=str(images.sample_id[photos[shown[at]]]),
                    image=str(images.sample_id[found[at]]),
                    **facts[at],
                )
                for at in np.flatnonzero(found >= 0)
            ]
        splits.append(SplitAudit(split=split, num_recordings=len(rows), **_counts(flags)))
    return tuple(splits), tuple(sorted(matches, key=_badness)[:NUM_WORST])


def _photos(audited: Audited) -> IntArray:
    """(N,) the image of each recording; of one that shows one of several, one in the pool where there is such a one."""
    rows, known = audited.originals.rows.copy(), audited.originals.known
    recordings, images = audited.originals.recordings, audited.originals.images
    for some in (np.ones(len(images), np.bool_), np.isin(images, audited.pool_rows)):
        open_to = some & known[recordings] & (audited.originals.rows[recordings] < 0)
        rows[recordings[open_to]] = images[open_to]
    return rows


def audit_recordings(audited: Audited) -> tuple[tuple[SplitPair, ...], tuple[RecordingMatch, ...]]:
    """Which recordings of different splits are alike, and the worst cases."""
    counts: list[SplitPair] = []
    matches: list[RecordingMatch] = []
    names = audited.events.sample_id
    order = [split for split in SPLIT_CODES if split in audited.rows]
    for split, other in ((split, other) for at, split in enumerate(order) for other in order[:at]):
        rows, others = audited.rows[split], audited.rows[other]
        found, facts, by = _find(audited.events, audited.event_looks, rows, others, RECORDINGS_ALIKE)
        by["by_photo"] = _photos_alike(audited, rows, others)
        by["by_group"] = np.isin(audited.groups[rows], audited.groups[others])
        by["num_alike"] = np.logical_or.reduce(list(by.values()))
        del by["by_id"]  # no recording is in two splits
        counts.append(SplitPair(split=split, other=other, **_counts(by)))
        matches += [
            RecordingMatch(
                split=split,
                recording=str(names[rows[at]]),
                other_split=other,
                other=str(names[found[at]]),
                **facts[at],
            )
            for at in range(len(rows))
        ]
    return tuple(counts), tuple(sorted(matches, key=_badness)[:NUM_WORST])


def _photos_alike(audited: Audited, rows: IntArray, others: IntArray) -> BoolArray:
    """(n,) which recordings' photos are also those of one of the others, or look the same."""
    alike = np.zeros(len(rows), np.bool_)
    if audited.images is not None:
        photos = [audited.originals.rows[some] for some in (rows, others)]
        has, other_has = (_has_picture(audited.images, photo) for photo in photos)
        looks = audited.image_looks
        alike[has] = find_nearest(looks.at(photos[0][has]), looks.at(photos[1][other_has])).same(IMAGES_ALIKE)
    return alike


def _badness(match: Match) -> tuple[int, float]:
    return get_args(Way).index(match.way), -match.correlation


def _has_picture(images: FrameStore, photo: IntArray) -> BoolArray:
    """(n,) which rows of images (-1: none) can be looked at."""
    valid: BoolArray = np.append(images.valid, False)[photo]
    return valid


def _draw(out: Path, audited: Audited, photos: tuple[PhotoMatch, ...], recordings: tuple[RecordingMatch, ...]) -> None:
    """Each match of photos: the recording, its photo, the image; of recordings: both, and their photos."""
    event_rows, image_rows = (
        {str(name): row for row, name in enumerate(store.sample_id if store else ())}
        for store in (audited.events, audited.images)
    )
    left = [
        Case(
            f"{match.split}: {match.recording}, of {match.photo}\n{match.image}: {match}",
            [event_rows[match.recording]],
            [image_rows[match.photo], image_rows[match.image]],
        )
        for match in photos
    ]
    right = []
    for both in recordings:
        rows = [event_rows[both.recording], event_rows[both.other]]
        caption = f"{both.split}: {both.recording}\n{both.other_split}: {both.other}: {both}"
        right.append(Case(caption, rows, audited.originals.rows[rows].tolist()))
    columns = {
        "held-out recording | its photo | most like it in the static pool": left,
        "two recordings of different splits | their photos": right,
    }
    draw_sheet(out, audited.events, audited.images, columns)
