"""The pairing stage: align recordings with photos, split the recordings, decide which photos may teach.

Without images the recordings are split alone. Images of another data set teach by the names of their classes.

Which recordings train, validate and test depends, where others did not give it, on their ids, the ratios and the seed
alone: inside each class they are ordered by a hash of (seed, id), the first ones test, the next validate, the next
train (`splits`). So another `train_share` or
protocol tests the same recordings, and a share of 10 % is contained in one of 20 %; likewise for the static pool and
`pool_share`. Which images are in the pool depends under `disjoint` on contents, too: what looks like the photo of a
held-out recording is left out, which another size of the pictures may change. A `subset_seed` orders those that neither
test nor validate by itself: other recordings train, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...cache.errors import StoreError
from ...cache.pairs import (
    HELD_OUT,
    SPLIT_CODES,
    PairDescription,
    PairPlan,
    Reach,
    has_groups,
    name_protocol,
    reference_to,
    rows_by_class,
    split_digest,
    write_pairs,
)
from ...cache.store import FrameStore
from ..leakage.originals import Originals, find_copies, find_originals, photos_in_reach, require_not_told
from ..pairing_config import PairingConfig
from .splits import Given, find_given, ranked, split_recordings, tell_lacking

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class PairingReport:
    """What pairing did: counts of recordings and photos, the split's digest, the store's path.

    protocol: with the split, where it is another one than that of hashes.
    num_unused: recordings in no split: quarantined, of classes that are not used, left over by ratios and shares, or
    listed nowhere.
    photos_in_reach: whether the static pool has photos of validation, test or novel recordings.
    """

    path: Path
    protocol: str
    split_digest: str
    num_classes: int
    num_train: int
    num_validation: int
    num_test: int
    num_novel: int
    num_unused: int
    num_pool: int
    num_with_photo: int
    photos_in_reach: Reach


def run(
    config: PairingConfig,
    events_path: Path,
    images_path: Path | None,
    out: Path,
    on_message: Callable[[str], None] = lambda message: None,
    recorded_path: Path | None = None,
) -> PairingReport:
    """Pair two stores of the folder `out`, or split one of recordings alone, and write the pair store there.

    recorded_path: a store of recordings of the images by a simulated camera.
    on_message: gets the warning that `disjoint` cannot keep away photos that are not known, that which photo a
    recording shows was declared, what a given split leaves out, and which classes have too few recordings for a part.
    Raises StoreError: stores of the wrong kind or in another folder, class names or sizes that differ, a class without
    training recordings or photos, a declaration against what is known of the sources, images that may teach and have
    no recording in the store of these; what `splits.find_given` raises.
    """
    events = _open(events_path, "events", out)
    images = None if images_path is None else _open(images_path, "images", out)
    recorded = None if recorded_path is None else _open(recorded_path, "events", out)
    if images is not None:
        _require_fitting_sizes(events, images)
    require_not_told(config, events, images)
    classes = match_classes(config, events, images)
    originals = find_originals(config, events, images)
    given = find_given(config, events, images, classes.of_events, originals, on_message)
    plan, reach = plan_pairs(config, events, images, classes, originals, given)
    if images is not None and recorded is not None:
        _require_recordings(events, images, recorded, plan.pool_rows)
    split_name = config.name_split(given.keeps_recordings)
    is_novel = find_novel(config.novel_classes, classes.names)
    tell_lacking(config, classes.names, plan.split, classes.of_events, is_novel, on_message)
    if images is not None and config.originals != "auto":
        on_message(
            f"photos of held-out recordings in reach: {reach}, as pairing.originals = {config.originals} declares; "
            "`dvs-transfer audit` says what speaks against it"
        )
    if config.protocol == "disjoint" and reach == "unknown":
        on_message(_warning(originals.known[_held_out(plan.split)]))
    parts: dict[str, NDArray[np.str_]] = {
        name: events.sample_id[plan.split == code] for name, code in SPLIT_CODES.items()
    }
    num_of = {f"num_{name}": len(ids) for name, ids in parts.items()}
    if not config.novel_classes:
        del parts["novel"]  # of which the digest does not know then, as before there were any
    digest = split_digest({**parts, "pool": images.sample_id[plan.pool_rows] if images else ()})
    description = PairDescription(
        events=reference_to(events),
        images=reference_to(images) if images else None,
        pairing=config.model_dump(mode="json", exclude={"split_file": {"files"}}),
        split_digest=digest,
        photos_in_reach=reach,
        recorded=reference_to(recorded) if recorded else None,
        split_name=split_name,
    )
    name = "+".join(store.attributes.dataset for store in (events, images) if store)
    return PairingReport(
        path=write_pairs(out, f"{name}-split" if images is None else name, description, plan, classes.names),
        protocol=name_protocol(config.protocol, split_name),
        split_digest=digest,
        num_classes=len(classes.names),
        **num_of,
        num_unused=int(np.count_nonzero(plan.split < 0)),
        num_pool=len(plan.pool_rows),
        num_with_photo=int(np.count_nonzero(plan.photo_row >= 0)),
        photos_in_reach=reach,
    )


@dataclass(frozen=True)
class Classes:
    """The classes of a pair store. names: in label order.

    of_events (N,), of_images (M,): the label of each sample; -1 for a quarantined one or one of another class.
    """

    names: tuple[str, ...]
    of_events: IntArray
    of_images: IntArray


def match_classes(config: PairingConfig, events: FrameStore, images: FrameStore | None) -> Classes:
    """Which classes are used, and which samples are theirs. Raises StoreError: fewer than two, or they differ."""
    taught_by = {name: config.image_classes.get(name, name) for name in events.class_names}
    names = events.class_names
    if images is not None:
        _require_known_classes(config, events, images, [*taught_by.values()])
        names = tuple(name for name in names if taught_by[name] in images.class_names)
        missing, extra = {*taught_by} - {*names}, {*images.class_names} - {*taught_by.values()}
        if config.classes == "same" and (missing or extra):
            raise StoreError(
                f"the classes differ: {events.path.name} has {len(taught_by)}, {images.path.name} has "
                f"{len(images.class_names)}; without images: {', '.join(sorted(missing)) or 'none'}; without "
                f"recordings: {', '.join(sorted(extra)) or 'none'}. Convert both from the same set of classes, use the "
                "shared ones alone (pairing.classes = shared), or say which class teaches which (pairing.image_classes)"
            )
    if len(names) < 2:
        raise StoreError(
            f"{events.path.name}: {len(names)} of its {len(events.class_names)} classes can be used; there is nothing "
            "to tell apart"
        )
    return Classes(names, _labels(events, names), _labels(images, [taught_by[name] for name in names]))


def _labels(store: FrameStore | None, names: Sequence[str]) -> IntArray:
    if store is None:
        return np.zeros(0, np.int64)
    labels = np.array([names.index(name) if name in names else -1 for name in store.class_names], np.int64)
    return np.where(store.valid, labels[store.label], -1)


def plan_pairs(
    config: PairingConfig,
    events: FrameStore,
    images: FrameStore | None,
    classes: Classes,
    originals: Originals,
    given: Given,
) -> tuple[PairPlan, Reach]:
    """The photos, the split and the static pool; whether the pool holds held-out recordings' photos.

    Raises StoreError when a class is left without any of them.
    """
    num_classes = len(classes.names)
    is_novel = find_novel(config.novel_classes, classes.names)
    novel = np.flatnonzero(is_novel)
    split = split_recordings(config, given, [str(name) for name in events.sample_id], classes.of_events, is_novel)
    in_pool = (classes.of_images >= 0) & ~np.isin(classes.of_images, novel)
    held_out = _held_out(split)
    if config.protocol == "disjoint" and images is not None:
        in_pool &= ~find_copies(images, originals.candidates(held_out), in_pool)
    if images is not None and config.pool_share < 1:
        in_pool &= _share_of_pool(config, images.sample_id, np.where(in_pool, classes.of_images, -1), num_classes)
    train = np.flatnonzero(split == SPLIT_CODES["train"])
    train_rows, train_offsets = rows_by_class(train, classes.of_events, num_classes)
    pool_rows, pool_offsets = rows_by_class(np.flatnonzero(in_pool), classes.of_images, num_classes)
    seen = [name for name, is_one in zip(classes.names, is_novel, strict=True) if not is_one]
    _require_some_of_each(seen, "recording to train with", np.diff(train_offsets)[~is_novel], events, images)
    if images is not None:
        _require_some_of_each(seen, "photo in the static pool", np.diff(pool_offsets)[~is_novel], events, images)
    is_used = np.append(classes.of_images >= 0, False)  # the last one: of a recording without a photo
    photo_row = np.where(is_used[originals.rows], originals.rows, -1)
    is_grouped = has_groups(config.name_split(given.keeps_recordings))
    group = np.array(given.group_names, np.dtypes.StringDType()) if is_grouped else None
    plan = PairPlan(split, photo_row, train_rows, train_offsets, pool_rows, pool_offsets, group)
    may_show = in_pool & (config.protocol != "disjoint")  # of which copies were kept out above
    return plan, photos_in_reach(originals, images, may_show, held_out)


def _held_out(split: NDArray[np.int8]) -> IntArray:
    """The rows of the recordings that the network is judged by."""
    return np.flatnonzero(np.isin(split, [SPLIT_CODES[name] for name in HELD_OUT]))


def _warning(known: NDArray[np.bool_]) -> str:
    """known: (n,) of each held-out recording, whether it is known which image it shows."""
    return (
        f"warning: of {np.count_nonzero(~known):,} of the {len(known):,} validation, test and novel recordings it is "
        "not known which image they show, so `disjoint` may leave it in the pool; results will say so. It would be "
        "known if recording and image had the same <class>/<name> "
        "(pairing.image_classes says which class is which), or if pairing.originals said what you know: by_number, the "
        "last numbers in the names agree; by_id, a recording without an image of its name has none; none, no image is "
        "a recording's"
    )


def find_novel(patterns: Sequence[str], class_names: Sequence[str]) -> NDArray[np.bool_]:
    """(C,) which classes a pattern names. Raises StoreError: a pattern names none, fewer than 2 are left to train."""
    idle = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in class_names)]
    if idle:
        raise StoreError(
            f"novel_classes: {', '.join(idle)}: no class is called so; they are {', '.join(class_names[:5])}"
            f"{' ...' if len(class_names) > 5 else ''}"
        )
    is_novel = np.array([any(fnmatchcase(name, pattern) for pattern in patterns) for name in class_names], np.bool_)
    if np.count_nonzero(~is_novel) < 2:
        raise StoreError(f"novel_classes leaves {np.count_nonzero(~is_novel)} classes to train on; leave at least 2")
    return is_novel


def _require_some_of_each(
    names: Sequence[str], what: str, counts: IntArray, events: FrameStore, images: FrameStore | None
) -> None:
    empty = [name for name, count in zip(names, counts.tolist(), strict=True) if not count]
    if empty:
        stores = " with ".join(store.path.name for store in (events, images) if store)
        raise StoreError(
            f"pairing {stores}: no {what} is left for {', '.join(empty[:5])}{' ...' if len(empty) > 5 else ''}; "
            "lower the test and validation ratios, or add samples; where groups are of several classes, another "
            "pairing.seed may do (under the protocol disjoint, an image that is, or looks like, the photo of a "
            "held-out recording does not count)"
        )


def _share_of_pool(
    config: PairingConfig, image_ids: NDArray[np.str_], labels: IntArray, num_classes: int
) -> NDArray[np.bool_]:
    """(M,) whether each image is among the `pool_share` of its class's pool that is used, at least one of a class.

    labels: (M,) the class of each image that may teach, -1 of others.
    """
    used, names = np.zeros(len(labels), np.bool_), [str(name) for name in image_ids]
    for label in range(num_classes):
        rows = ranked(np.flatnonzero(labels == label), names, f"{config.seed}/pool/")
        used[rows[: max(1, round(config.pool_share * len(rows)))]] = True
    return used


def _open(path: Path, kind: str, out: Path) -> FrameStore:
    store = FrameStore(path)
    if store.kind != kind:
        raise StoreError(f"{path}: a store of {store.kind}; expected one of {kind}")
    if path.resolve().parent != out.resolve():
        raise StoreError(f"{path}: the two stores and their pair store must lie in one folder, here {out}")
    return store


def _require_known_classes(
    config: PairingConfig, events: FrameStore, images: FrameStore, taught_by: Sequence[str]
) -> None:
    """Every name in `image_classes` is a class, and no class of the images teaches two."""
    for store, given in ((events, config.image_classes.keys()), (images, config.image_classes.values())):
        unknown = sorted(set(given) - set(store.class_names))
        if unknown:
            raise StoreError(
                f"image_classes: {store.path.name} has no class {', '.join(unknown[:5])}; it has "
                f"{', '.join(store.class_names[:10])}{' ...' if len(store.class_names) > 10 else ''}"
            )
    twice = sorted({name for name in taught_by if taught_by.count(name) > 1 and name in images.class_names})
    if twice:
        raise StoreError(f"image_classes: {', '.join(twice)} of {images.path.name} would teach several classes")


def _require_fitting_sizes(events: FrameStore, images: FrameStore) -> None:
    frame, image = (store.array(name).shape[-2:] for store, name in ((events, "frames"), (images, "images")))
    if frame != image and not (frame[0] == frame[1] < image[0] == image[1]):
        raise StoreError(
            f"the sizes differ: frames of {events.path.name} have {frame[1]} x {frame[0]} pixels, images of "
            f"{images.path.name} have {image[1]} x {image[0]}. Convert both to the same size, or "
            "images to a larger one (for train.encoding = saccade)"
        )


def _require_recordings(events: FrameStore, images: FrameStore, recorded: FrameStore, pool_rows: IntArray) -> None:
    """Row by row the recordings are of the images, cut as the events are, and every image that may teach has one."""
    # Into which windows long recordings were cut is no part of how their frames are made.
    made = [{**store.attributes.config["frames"], "windows": None} for store in (events, recorded)]
    if made[0] != made[1] or not all(
        np.array_equal(images.column(name), recorded.column(name)) for name in ("sample_id", "source_digest")
    ):
        raise StoreError(
            f"{recorded.path.name}: holds recordings of other images than those of {images.path.name}, or other frames "
            f"than {events.path.name}: run `dvs-transfer preprocess`, and change no image meanwhile"
        )
    silent = pool_rows[~recorded.valid[pool_rows]]
    if len(silent):
        raise StoreError(
            f"{recorded.path.name}: {len(silent):,} of the {len(pool_rows):,} images in the static pool have no "
            f"recording, the first is {images.sample_id[silent[0]]} ({recorded.column('problem')[silent[0]]}): take "
            "them out of the images, or set another camera in [images.recorded] (lower thresholds, noise_rate_hz)"
        )
