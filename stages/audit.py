"""The audit of a pair store: which held-out recordings have their photo, or one that looks the same, where training can
reach it; and which recordings of different splits look the same.

Everything is found anew from the stores, so that it also tells of a pair store of an earlier version, and of splits
that this software did not make (`Audited`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..cache.errors import ConfigError
from ..cache.pairs import HELD_OUT, SPLIT_CODES, PairStore, Reach, Split
from ..cache.store import FrameStore
from . import likeness
from .audit_picture import draw_to
from .likeness import IMAGES_ALIKE, RECORDINGS_ALIKE, Nearest
from .originals import Originals, find_copies, find_likely, find_originals, is_told, trace
from .pairing_config import PairingConfig

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NUM_WORST: Final = 20
_NUM_CLASSES: Final = 5  # that are named
Way = Literal["id", "digest", "near-duplicate", "likely", "no"]


@dataclass(frozen=True)
class SplitAudit:
    """Of the recordings of a split: how many have their photo among the images (num_with_photo), of how many it is not
    known which it is (num_unknown); how many have in the static pool their photo (by_id), another file with the same
    content (by_digest), another image that looks the same (by_near_duplicate), any of these (num_in_reach). Of those of
    which it is not known: how many are likely to show one image of the pool (num_likely), how many look like another
    image than that of their name (num_contradicted). Of how many names tell something else than what was declared when
    pairing (num_otherwise).
    """

    split: Split
    num_recordings: int
    num_with_photo: int
    num_unknown: int
    by_id: int
    by_digest: int
    by_near_duplicate: int
    num_in_reach: int
    num_likely: int
    num_contradicted: int = 0
    num_otherwise: int = 0


@dataclass(frozen=True)
class PhotoMatch:
    """A held-out recording, its photo ("": not known), and the image of the static pool that is most like it.

    way: how both are one; "likely": the recording shows the image's edges; "no": they are not one.
    distance: of the hashes, bits; correlation: of the thumbnails; both 0 for "likely".
    """

    split: Split
    recording: str
    photo: str
    image: str
    way: Way
    distance: int
    correlation: float


@dataclass(frozen=True)
class SplitPair:
    """How many recordings of `split` have one in `other` with the same content (by_digest), that looks the same
    (by_near_duplicate), whose photo is the same or looks the same (by_photo), any of these (num_alike).
    """

    split: Split
    other: Split
    by_digest: int
    by_near_duplicate: int
    by_photo: int
    num_alike: int


@dataclass(frozen=True)
class RecordingMatch:
    """Two recordings of different splits that are most alike. way: how both are one, "no": they are not."""

    split: Split
    recording: str
    other_split: Split
    other: str
    way: Way
    distance: int
    correlation: float


@dataclass(frozen=True)
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

    contradicted, otherwise: (N,) recordings that look like another image than that of their name, and those that were
    declared to show another one.
    """

    events: FrameStore
    images: FrameStore | None
    originals: Originals
    rows: Mapping[Split, IntArray]
    pool_rows: IntArray
    contradicted: BoolArray | None = None
    otherwise: BoolArray | None = None

    def held_out(self) -> IntArray:
        return np.concatenate([self.rows.get(split, np.zeros(0, np.int64)) for split in HELD_OUT])


def run(pairs_path: Path, out: Path) -> AuditReport:
    """Audit a pair store; its worst cases are drawn to `out` (PNG).

    Raises ConfigError: `out` is named as another kind of file; StoreError: no pair store, or a damaged one.
    """
    if out.suffix.lower() != ".png":
        raise ConfigError(f"{out}: pictures are written as PNG; give a name that ends in .png")
    pairs = PairStore(pairs_path)
    config = PairingConfig.model_validate(pairs.description.pairing)
    audited = _open(pairs, config)
    left_out = _left_out(audited) if pairs.protocol == "disjoint" else {}
    splits, photos = audit_photos(audited)
    between, recordings = audit_recordings(audited)
    draw_to(out, audited.events, audited.images, audited.originals.rows, photos, recordings)
    return AuditReport(
        pairs=pairs_path,
        protocol=pairs.protocol,
        photos_in_reach=pairs.photos_in_reach,
        originals=config.originals,
        num_pool=len(audited.pool_rows),
        num_left_out=sum(left_out.values()),
        most_left_out=dict(list(left_out.items())[:_NUM_CLASSES]),
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
    audited = Audited(pairs.events, pairs.images, named, rows, pairs.store.column("pool_rows"))
    traced = trace(auto, named, pairs.events, pairs.images, audited.held_out())
    return replace(
        audited,
        originals=traced,
        contradicted=named.known & ~traced.known,
        otherwise=named.known & declared.known & (named.rows != declared.rows),
    )


def _left_out(audited: Audited) -> dict[str, int]:
    """By class, most first: the images of the pool's classes that are no held-out recording's own but a copy of one."""
    images, held_out = audited.images, audited.held_out()
    if images is None:
        return {}
    own = audited.originals.candidates(held_out)
    among = images.valid & np.isin(images.label, images.label[audited.pool_rows])
    among[own] = False
    labels, counts = np.unique(images.label[find_copies(images, own, among)], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {images.class_names[labels[at]]: int(counts[at]) for at in order}


def _photos(audited: Audited) -> IntArray:
    """(N,) the image of each recording; of one that shows one of several, one in the pool where there is such a one."""
    rows, known = audited.originals.rows.copy(), audited.originals.known
    recordings, images = audited.originals.recordings, audited.originals.images
    for some in (np.ones(len(images), np.bool_), np.isin(images, audited.pool_rows)):
        open_to = some & known[recordings] & (audited.originals.rows[recordings] < 0)
        rows[recordings[open_to]] = images[open_to]
    return rows


def audit_photos(audited: Audited) -> tuple[tuple[SplitAudit, ...], tuple[PhotoMatch, ...]]:
    """What of the held-out recordings' photos is in the static pool, and the worst cases."""
    splits: list[SplitAudit] = []
    matches: list[PhotoMatch] = []
    images, pool = audited.images, audited.pool_rows
    pool_looks = likeness.nothing() if images is None else likeness.images_of(images, pool)
    for split in (split for split in HELD_OUT if split in audited.rows):
        rows = audited.rows[split]
        photo = _photos(audited)[rows]
        num_with_photo, unknown = _count(photo >= 0), rows[~audited.originals.known[rows]]
        shown, photo = (part[_has_picture(images, photo)] for part in (rows, photo))
        own = _positions(pool, photo)
        by_digest, by_near = np.zeros((2, len(shown)), np.bool_)
        num_likely = 0
        if images is not None:
            digests = images.column("source_digest")
            by_digest = _has_other(digests[photo], digests[pool], own >= 0)
            nearest = likeness.find_nearest(likeness.images_of(images, photo), pool_looks, own)
            by_near = nearest.same(IMAGES_ALIKE) & ~by_digest
            for at in np.flatnonzero((own >= 0) | (nearest.index >= 0)):
                is_own = bool(own[at] >= 0)
                match = PhotoMatch(
                    split=split,
                    recording=str(audited.events.sample_id[shown[at]]),
                    photo=str(images.sample_id[photo[at]]),
                    image=str(images.sample_id[pool[own[at] if is_own else nearest.index[at]]]),
                    way=_way(by_digest[at], by_near[at], is_own),
                    distance=0 if is_own else int(nearest.distance[at]),
                    correlation=1.0 if is_own else float(nearest.correlation[at]),
                )
                matches.append(match)
            likely = find_likely(audited.events, unknown, images, pool)
            num_likely = _count(likely >= 0)
            matches += [
                PhotoMatch(
                    split, str(audited.events.sample_id[row]), "", str(images.sample_id[image]), "likely", 0, 0.0
                )
                for row, image in zip(unknown, likely, strict=True)
                if image >= 0
            ]
        entry = SplitAudit(
            split=split,
            num_recordings=len(rows),
            num_with_photo=num_with_photo,
            num_unknown=len(unknown),
            by_id=_count(own >= 0),
            by_digest=_count(by_digest),
            by_near_duplicate=_count(by_near),
            num_in_reach=_count((own >= 0) | by_digest | by_near),
            num_likely=num_likely,
            num_contradicted=0 if audited.contradicted is None else _count(audited.contradicted[rows]),
            num_otherwise=0 if audited.otherwise is None else _count(audited.otherwise[rows]),
        )
        splits.append(entry)
    return tuple(splits), tuple(sorted(matches, key=_badness)[:NUM_WORST])


def audit_recordings(audited: Audited) -> tuple[tuple[SplitPair, ...], tuple[RecordingMatch, ...]]:
    """Which recordings of different splits are alike, and the worst cases."""
    counts, matches = [], []
    looks = {split: likeness.recordings_of(audited.events, rows) for split, rows in audited.rows.items()}
    digests = audited.events.column("source_digest")
    order = [split for split in SPLIT_CODES if split in audited.rows]
    for number, split in enumerate(order):
        for other in order[:number]:
            rows, others = audited.rows[split], audited.rows[other]
            nearest = likeness.find_nearest(looks[split], looks[other])
            by_digest = np.isin(digests[rows], digests[others])
            by_near = nearest.same(RECORDINGS_ALIKE) & ~by_digest
            by_photo = _photos_alike(audited, rows, others)
            num_alike = _count(by_digest | by_near | by_photo)
            counts.append(SplitPair(split, other, _count(by_digest), _count(by_near), _count(by_photo), num_alike))
            worst = np.argsort(-(nearest.correlation + by_digest), kind="stable")[:NUM_WORST]
            matches += [_recording_match(audited, split, other, at, nearest, by_digest, by_near) for at in worst]
    return tuple(counts), tuple(sorted(matches, key=_badness)[:NUM_WORST])


def _recording_match(
    audited: Audited, split: Split, other: Split, at: int, nearest: Nearest, by_digest: BoolArray, by_near: BoolArray
) -> RecordingMatch:
    names = audited.events.sample_id
    return RecordingMatch(
        split,
        str(names[audited.rows[split][at]]),
        other,
        str(names[audited.rows[other][nearest.index[at]]]),
        _way(by_digest[at], by_near[at]),
        int(nearest.distance[at]),
        float(nearest.correlation[at]),
    )


def _way(by_digest: bool, by_near: bool, by_id: bool = False) -> Way:
    if by_id:
        return "id"
    return "digest" if by_digest else "near-duplicate" if by_near else "no"


def _badness(match: PhotoMatch | RecordingMatch) -> tuple[int, float]:
    return get_args(Way).index(match.way), -match.correlation


def _count(found: BoolArray) -> int:
    return int(np.count_nonzero(found))


def _has_picture(images: FrameStore | None, photo: IntArray) -> BoolArray:
    """(n,) which rows of images (-1: none) can be looked at."""
    if images is None:
        return np.zeros(len(photo), np.bool_)
    valid: BoolArray = np.append(images.valid, False)[photo]
    return valid


def _positions(rows: IntArray, wanted: IntArray) -> IntArray:
    """(n,) where each of `wanted` stands in `rows`, -1 where it does not."""
    place = {int(row): at for at, row in enumerate(rows)}
    return np.array([place.get(int(row), -1) for row in wanted], np.int64)


def _has_other(digests: NDArray[np.str_], among: NDArray[np.str_], is_itself: BoolArray) -> BoolArray:
    """(n,) whether a digest is among those of others; is_itself: its own is among them, too."""
    kinds, counts = np.unique(among, return_counts=True)
    times = dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    return np.array([times.get(digest, 0) for digest in digests.tolist()]) > is_itself


def _photos_alike(audited: Audited, rows: IntArray, others: IntArray) -> BoolArray:
    """(n,) which recordings' photos are also those of one of the others, or look the same."""
    photo, other_photo = audited.originals.rows[rows], audited.originals.rows[others]
    has, other_has = _has_picture(audited.images, photo), _has_picture(audited.images, other_photo)
    alike = np.zeros(len(rows), np.bool_)
    if audited.images is not None:
        looks, other_looks = (likeness.images_of(audited.images, part) for part in (photo[has], other_photo[other_has]))
        alike[has] = likeness.find_nearest(looks, other_looks).same(IMAGES_ALIKE)
    return alike
