"""Which photo a recording was made of, what is known of it, and that `disjoint` keeps it and its copies away."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import succeed
from photo_stores import ids, pair, scene, write_store

from dvs_transfer import PairedCache
from dvs_transfer.cache.errors import StoreError
from dvs_transfer.cache.pairs import HELD_OUT, PairDescription, PairStore, worst_reach, write_pairs
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages.leakage.audit import run as audit
from dvs_transfer.stages.leakage.originals import find_originals
from dvs_transfer.stages.pairing import PairingReport, stage
from dvs_transfer.stages.pairing_config import PairingConfig
from dvs_transfer.stages.sources import SOURCES
from dvs_transfer.stages.sources.scenes import SCENES, last_number, plain_name

CLASSES = ("cat", "dog")
PADDED = [f"image_{number:04d}" for number in range(1, 11)]


def photos_of(report: PairingReport) -> dict[str, str]:
    """The photo of each recording, by id."""
    pairs = PairStore(report.path)
    assert pairs.images is not None
    rows = pairs.store.column("photo_row")
    return {
        str(pairs.events.sample_id[at]): str(pairs.images.sample_id[row]) for at, row in enumerate(rows) if row >= 0
    }


def held_out(report: PairingReport) -> list[str]:
    return [name for split in HELD_OUT for name in PairedCache.open(report.path, split).sample_ids]


def pool(report: PairingReport) -> set[str]:
    return set(PairedCache.open(report.path).image_ids)


def test_a_photo_is_found_through_the_mapping_of_classes(tmp_path: Path) -> None:
    events = write_store(tmp_path, "events", ids(CLASSES, PADDED))
    images = write_store(tmp_path, "images", ids(("felis", "canis"), PADDED))
    report, said = pair(events, images, image_classes={"cat": "felis", "dog": "canis"})
    photos = photos_of(report)
    assert photos["cat/image_0003"] == "felis/image_0003"
    assert (report.num_with_photo, report.photos_in_reach, said) == (20, "none", [])
    assert len(held_out(report)) == 8
    assert not {photos[name] for name in held_out(report)} & pool(report)
    assert report.num_pool == 12


@pytest.mark.parametrize("changes", [{}, {"pool_share": 0.3, "protocol": "unrestricted"}], ids=["a copy", "left out"])
def test_a_training_recording_comes_with_no_photo_that_may_not_teach(changes: dict[str, Any], tmp_path: Path) -> None:
    """Its own is none where it looks like a held-out recording's, or where a share of the pool leaves it out."""
    listed, seen = ids(CLASSES, PADDED), dict[str, Any]()
    report, _ = pair(write_store(tmp_path, "events", listed), write_store(tmp_path, "images", listed))
    if not changes:
        test, train = (PairedCache.open(report.path, split).sample_ids[0] for split in ("test", "train"))
        seen = {"pictures": {test: scene(7), train: scene(7)}, "digests": {test: "same", train: "same"}}
    images = write_store(tmp_path / "again", "images", listed, **seen)
    report, _ = pair(write_store(tmp_path / "again", "events", listed), images, **changes)
    shown = PairedCache.open(report.path, "train")
    assert len(shown.image_ids) < len(shown), "some may not teach"
    assert {shown[row]["image_id"] for row in range(len(shown))} <= set(shown.image_ids)
    own = PairedCache.open(report.path, "test")
    assert [own[row]["image_id"] for row in range(len(own))] == list(own.sample_ids)


def test_a_photo_is_found_where_zeros_or_capitals_differ(tmp_path: Path) -> None:
    events = write_store(tmp_path, "events", ids(CLASSES, PADDED))
    images = write_store(tmp_path, "images", ids(CLASSES, [f"Image_{number}" for number in range(1, 11)]))
    report, said = pair(events, images)
    assert photos_of(report)["dog/image_0010"] == "dog/Image_10"
    assert (report.num_pool, report.photos_in_reach, said) == (12, "none", [])


def test_the_same_name_comes_before_a_similar_one(tmp_path: Path) -> None:
    events = write_store(tmp_path, "events", ids(CLASSES, PADDED))
    images = write_store(tmp_path, "images", ids(CLASSES, [*PADDED, "image_001"]))
    report, _ = pair(events, images)
    assert photos_of(report)["cat/image_0001"] == "cat/image_0001"


@pytest.mark.parametrize(("datasets", "expected"), [((None, None), "unknown"), (("ncaltech101", "caltech101"), "none")])
def test_of_two_similar_names_both_are_kept_out(
    datasets: tuple[str | None, str | None], expected: str, tmp_path: Path
) -> None:
    """Where the numbers tell, it is one of the two, and neither is in reach."""
    events = write_store(tmp_path, "events", ids(CLASSES, PADDED), datasets[0])
    names = ids(CLASSES, [*(f"image_{n}" for n in range(1, 11)), "image_01"])
    images = write_store(tmp_path, "images", names, datasets[1])
    report, said = pair(events, images, seed=6)
    assert "cat/image_0001" not in photos_of(report)
    firsts = [name for name in held_out(report) if name.endswith("0001")]
    both = {f"{name.split('/')[0]}/{stem}" for name in firsts for stem in ("image_1", "image_01")}
    assert both
    assert not both & pool(report)
    assert (report.photos_in_reach, len(said)) == (expected, expected == "unknown")
    unrestricted, _ = pair(events, images, seed=6, protocol="unrestricted")
    assert unrestricted.photos_in_reach == "some"
    counts = audit(report.path, tmp_path / "a.png"), audit(unrestricted.path, tmp_path / "a.png")
    in_pool = 8 - len(firsts) * (expected == "unknown")
    assert [sum(split.by_id for split in found.splits) for found in counts] == [0, in_pool]


OTHER_PREFIX = [f"photo_{number}" for number in range(1, 11)]


def test_of_ones_own_data_with_other_names_nothing_is_known_and_it_warns(tmp_path: Path) -> None:
    events = write_store(tmp_path, "events", ids(CLASSES, PADDED))
    images = write_store(tmp_path, "images", ids(CLASSES, OTHER_PREFIX))
    report, said = pair(events, images)
    assert (report.num_with_photo, report.num_pool, report.photos_in_reach) == (0, 20, "unknown")
    (warning,) = said
    assert warning.startswith("warning: of 8 of the 8 validation, test and novel recordings it is not known")
    for way in ("<class>/<name>", "pairing.image_classes", "by_number", "by_id", "none"):
        assert way in warning
    unrestricted, said = pair(events, images, protocol="unrestricted")
    assert (unrestricted.photos_in_reach, said) == ("unknown", [])


@pytest.mark.parametrize(("originals", "num_with_photo"), [("by_number", 20), ("by_id", 0), ("none", 0)])
def test_a_user_can_say_what_is_known(originals: str, num_with_photo: int, tmp_path: Path) -> None:
    events = write_store(tmp_path, "events", ids(CLASSES, PADDED))
    images = write_store(tmp_path, "images", ids(CLASSES, OTHER_PREFIX))
    report, said = pair(events, images, originals=originals)
    assert (report.num_with_photo, report.photos_in_reach) == (num_with_photo, "none")
    assert [f"none, as pairing.originals = {originals} declares" in text for text in said] == [True]
    assert report.num_pool == (12 if num_with_photo else 20)


def test_names_say_nothing_where_a_user_says_so(tmp_path: Path) -> None:
    events, images = (write_store(tmp_path, kind, ids(CLASSES, PADDED)) for kind in ("events", "images"))
    report, _ = pair(events, images, originals="none")
    assert (report.num_with_photo, report.num_pool, report.photos_in_reach) == (0, 20, "none")


@pytest.mark.parametrize("pictured", ["caltech101", "mnist"])
@pytest.mark.parametrize("originals", ["by_id", "by_number", "none"])
def test_what_is_known_of_two_sources_cannot_be_declared(originals: str, pictured: str, tmp_path: Path) -> None:
    events = write_store(tmp_path, "events", ids(CLASSES, PADDED), "ncaltech101")
    images = write_store(tmp_path, "images", ids(CLASSES, PADDED), pictured)
    with pytest.raises(StoreError, match=f"{originals}: of ncaltech101 with {pictured} it is known which image"):
        pair(events, images, originals=originals)


def test_what_is_not_known_of_two_sources_can_be_declared(tmp_path: Path) -> None:
    events = write_store(tmp_path, "events", ids(CLASSES, PADDED), "cifar10dvs")
    images = write_store(tmp_path, "images", ids(CLASSES, PADDED), "cifar10")
    assert pair(events, images, originals="by_number")[0].num_with_photo == 20


def test_several_recordings_of_one_number_are_not_known(tmp_path: Path) -> None:
    """Two sessions that count from 1, and images that do: whose these are, the numbers do not say."""
    stems = [f"{session}_{number}" for session in ("s1", "s2") for number in range(1, 6)]
    events = write_store(tmp_path, "events", ids(CLASSES, stems))
    images = write_store(tmp_path, "images", ids(CLASSES, [*(f"photo_{n}" for n in range(1, 6)), "s2_3"]))
    report, said = pair(events, images, originals="by_number")
    assert (report.photos_in_reach, "warning" in said[-1]) == ("unknown", True)
    assert photos_of(report) == {"cat/s2_3": "cat/s2_3", "dog/s2_3": "dog/s2_3"}
    left = {f"{n.split('/')[0]}/photo_{n[-1]}" for n in held_out(report) if not n.endswith("s2_3")}
    assert left
    assert not left & pool(report)


PIECES = [f"@{start:010}+100us" for start in (0, 100, 200)]


@pytest.mark.parametrize("originals", ["auto", "by_id", "by_number"])
@pytest.mark.parametrize("folder", ["", "{}/", "train/{}/", "subject/"], ids=["table", "classes", "part", "folders"])
def test_a_piece_shows_what_its_recording_shows(folder: str, originals: str, tmp_path: Path) -> None:
    """By whatever rule: the numbers of a piece's id are times, 100 is the number of another picture."""
    recorded = [f"{at}/{folder.format(at)}image_{number:04d}" for at in CLASSES for number in range(1, 11)]
    events = write_store(
        tmp_path,
        "events",
        [f"{name}{piece}" for name in recorded for piece in PIECES],
        "segments",
        class_of=lambda name: name.partition("/")[0],
        source="segments",
    )
    part = "train/" if folder.startswith("train") else ""
    stems = (
        [*PADDED, "image_0100"] if originals != "by_number" else [*(f"photo_{n}" for n in range(1, 11)), "photo_100"]
    )
    names = ids(CLASSES, [f"{part}{stem}" for stem in stems])
    images = write_store(tmp_path, "images", names, class_of=lambda name: name.partition("/")[0])
    report, _ = pair(events, images, originals=originals)
    assert (report.num_with_photo, report.photos_in_reach) == (60, "none")
    photos = photos_of(report)
    for name in recorded:
        number = int(name[-4:])
        own = next(
            image for image in names if image.startswith(name[:3]) and int(re.findall("[0-9]+", image)[0]) == number
        )
        assert {photos[f"{name}{piece}"] for piece in PIECES} == {own}
    assert len(held_out(report)) == 24
    assert pool(report) == {*names} - {photos[name] for name in held_out(report)}
    assert report.num_pool == 22 - 8


def test_two_recordings_of_one_number_are_two_whatever_they_were_cut_into(tmp_path: Path) -> None:
    names = [f"{at}/{who}/rec_{n}{piece}" for at in CLASSES for who in "ab" for n in range(1, 6) for piece in PIECES]
    of_class = {"class_of": lambda name: name.partition("/")[0]}
    events = write_store(tmp_path, "events", names, "segments", source="segments", **of_class)
    images = write_store(tmp_path, "images", ids(CLASSES, [f"photo_{n}" for n in range(1, 6)]))
    report, _ = pair(events, images, originals="by_number")
    assert (report.num_with_photo, report.photos_in_reach) == (0, "unknown")


def test_an_image_under_the_class_s_own_name_is_kept_out_too(tmp_path: Path) -> None:
    """Inside one collection a mapping that swaps two classes does not change which photo was recorded."""
    events = write_store(tmp_path, "events", ids(CLASSES, PADDED), "ncaltech101")
    images = write_store(tmp_path, "images", ids(CLASSES, PADDED), "caltech101")
    report, said = pair(events, images, image_classes={"cat": "dog", "dog": "cat"})
    assert not set(held_out(report)) & pool(report)
    swapped = {name.replace("cat", "dog") if "cat" in name else name.replace("dog", "cat") for name in held_out(report)}
    assert not swapped & pool(report)
    assert (report.photos_in_reach, report.num_with_photo, len(said)) == ("unknown", 0, 1)


def test_what_was_declared_against_what_is_known_is_told_of_an_older_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = write_store(tmp_path, "events", ids(CLASSES, PADDED), "ncaltech101")
    images = write_store(tmp_path, "images", ids(CLASSES, PADDED), "caltech101")
    with monkeypatch.context() as earlier:
        earlier.setattr(stage, "require_not_told", lambda *given: None)
        report, _ = pair(events, images, originals="none")
    found = audit(report.path, tmp_path / "a.png")
    assert (report.photos_in_reach, found.originals) == ("none", "none")
    assert [(split.num_otherwise, split.by_id) for split in found.splits] == [(4, 4)] * 2
    short = succeed("audit", report.path, "--out", tmp_path / "a.png").out
    assert "photos in reach: none (declared: pairing.originals = none)" in short
    assert short.count("; 4 names tell otherwise than declared") == 2
    text = succeed("audit", report.path, "-v", "--out", tmp_path / "a.png").out
    assert "photos in reach: none (declared: pairing.originals = none)" in text
    assert "of 4 names tell something else than what was declared" in text


DIGITS = ("1", "7")


def digit_stems(part: str, first: int = 1, padding: int = 5) -> list[str]:
    return [f"{part}-{number:0{padding}d}" for number in range(first, first + 10)]


@pytest.mark.parametrize(
    ("recorded", "pictured", "stems", "expected"),
    [
        ("nmnist", "mnist", digit_stems("train"), (20, "none")),  # one of the other, by number
        ("nmnist", "mnist", digit_stems("train", padding=1), (20, "none")),
        ("nmnist", "mnist", digit_stems("t10k"), (0, "none")),  # MNIST's other part: nobody's original
        ("nmnist", "cifar10", digit_stems("train"), (0, "none")),  # other pictures altogether
        ("cifar10dvs", "cifar10", digit_stems("x"), (0, "unknown")),  # which it is was not published
        ("cifar10dvs", "mnist", digit_stems("x"), (0, "none")),
        ("ncaltech101", "caltech101", digit_stems("img", padding=3), (20, "none")),
        ("ncaltech101", "image-folder", digit_stems("img"), (0, "unknown")),
        ("tonic-NMNIST", "mnist", digit_stems("x"), (0, "unknown")),
    ],
)
def test_what_is_known_of_a_published_pair(
    recorded: str, pictured: str, stems: list[str], expected: tuple[int, str], tmp_path: Path
) -> None:
    events = write_store(tmp_path, "events", ids(DIGITS, digit_stems("train")), recorded)
    images = write_store(tmp_path, "images", ids(DIGITS, stems), pictured)
    report, said = pair(events, images)
    assert (report.num_with_photo, report.photos_in_reach) == expected
    assert len(said) == (expected[1] == "unknown")
    assert report.num_pool == 20 - 8 * (expected[0] > 0)


def test_a_held_out_recording_without_its_photo_is_no_secret(tmp_path: Path) -> None:
    """Caltech101 with some photos missing, and one that cannot be read: they are out of reach."""
    events = write_store(tmp_path, "events", ids(CLASSES, PADDED), "ncaltech101")
    images = write_store(tmp_path, "images", ids(CLASSES, PADDED[:8]), "caltech101", quarantined=["cat/image_0002"])
    report, said = pair(events, images)
    assert (report.num_with_photo, report.photos_in_reach, said) == (15, "none", [])


def test_without_images_none_is_in_reach(tmp_path: Path) -> None:
    report, said = pair(write_store(tmp_path, "events", ids(CLASSES, PADDED)), None)
    assert (report.photos_in_reach, said) == ("none", [])


def test_unrestricted_has_some_in_reach_and_a_pool_without_them_has_not(tmp_path: Path) -> None:
    events, images = (write_store(tmp_path, kind, ids(CLASSES, PADDED)) for kind in ("events", "images"))
    report, said = pair(events, images, protocol="unrestricted")
    assert (report.num_pool, report.photos_in_reach, said) == (20, "some", [])
    reaches = set()
    for seed in range(20):
        report, _ = pair(events, images, protocol="unrestricted", pool_share=0.1, seed=seed)
        photos = photos_of(report)
        assert report.photos_in_reach == ("some" if {photos[n] for n in held_out(report)} & pool(report) else "none")
        reaches.add(report.photos_in_reach)
    assert reaches == {"some", "none"}


def held_out_of(tmp_path: Path, names: list[str]) -> list[str]:
    """Those that will be held out: splits depend on the recordings' ids alone."""
    return held_out(pair(write_store(tmp_path / "probe", "events", names), None)[0])


def test_copies_of_a_held_out_photo_are_kept_away(tmp_path: Path) -> None:
    names = ids(CLASSES, PADDED)
    held = held_out_of(tmp_path, names)[0]
    noise = np.random.default_rng(0).normal(0, 0.01, scene(0).shape)
    pictures = {held: scene(5), "dog/copied": np.clip(0.9 * scene(5) + 0.05 + noise, 0, 1), "dog/mirrored": scene(5).T}
    digests = {held: "the same file", "cat/renamed": "the same file"}
    extra = ["cat/renamed", "dog/copied", "dog/mirrored", "dog/other"]
    events = write_store(tmp_path, "events", names)
    images = write_store(tmp_path, "images", sorted([*names, *extra]), pictures=pictures, digests=digests)
    report, said = pair(events, images)
    assert {"dog/mirrored", "dog/other"} <= pool(report)
    assert not {"cat/renamed", "dog/copied"} & pool(report)
    assert (report.num_pool, report.photos_in_reach, said) == (14, "none", [])


@pytest.mark.parametrize("kind", ["digest", "picture"])
def test_a_copy_alone_is_some_in_reach(kind: str, tmp_path: Path) -> None:
    """All photos of held-out recordings are missing but one, and that is not in the pool."""
    names = ids(CLASSES, PADDED)
    held, *others = held_out_of(tmp_path, names)
    copy = "cat/copy_54"  # which comes first in a share of the pool
    events = write_store(tmp_path, "events", names, "ncaltech101")
    images = write_store(
        tmp_path,
        "images",
        sorted([*(name for name in names if name not in others), copy]),
        "caltech101",
        pictures={held: scene(5), copy: scene(5)} if kind == "picture" else {},
        digests={held: "the same file", copy: "the same file"} if kind == "digest" else {},
    )
    report, _ = pair(events, images)
    assert (report.photos_in_reach, pool(report) & {held, copy}) == ("none", set())
    found = {}
    for share in np.linspace(0.1, 1, 10):  # the pool of one holds that of a smaller one
        report, _ = pair(events, images, protocol="unrestricted", pool_share=share)
        assert report.photos_in_reach == ("some" if pool(report) & {held, copy} else "none")
        found[frozenset(pool(report) & {held, copy})] = report.photos_in_reach
    assert found[frozenset({copy})] == "some"


def _plain(folder: Path, names: list[str]) -> tuple[Path, Path]:
    return write_store(folder, "events", names), write_store(folder, "images", names)


def test_a_novel_recording_is_held_out(tmp_path: Path) -> None:
    """A copy of a novel class's photo under the name of a seen class is kept away, too."""
    names = ids(("ant", *CLASSES), PADDED)
    pictures = {"ant/image_0004": scene(5), "dog/copied": scene(5)}
    events = write_store(tmp_path, "events", names)
    images = write_store(tmp_path, "images", sorted([*names, "dog/copied"]), pictures=pictures)
    report, _ = pair(events, images, novel_classes=["ant"])
    assert "dog/copied" not in pool(report)
    assert (report.num_novel, report.photos_in_reach) == (10, "none")
    report, _ = pair(events, images, novel_classes=["ant"], protocol="unrestricted")
    assert ("dog/copied" in pool(report), report.photos_in_reach) == (True, "some")


@pytest.mark.parametrize(
    ("config", "with_images", "expected"),
    [
        ({}, True, "unknown"),
        ({"protocol": "unrestricted"}, True, "some"),
        ({}, False, "none"),
    ],
)
def test_a_pair_store_of_an_earlier_version_says_what_it_tells(
    config: dict[str, Any], with_images: bool, expected: str, tmp_path: Path
) -> None:
    events, images = _plain(tmp_path, ids(CLASSES, PADDED))
    report, _ = pair(events, images if with_images else None, **config)
    new = PairStore(report.path)
    older = new.description.model_dump(mode="json", exclude={"photos_in_reach"})
    older["pairing"].pop("originals")
    columns = {name: new.store.column(name) for name in ("split", "photo_row", "train_rows", "train_offsets")}
    columns |= {name: new.store.column(name) for name in ("pool_rows", "pool_offsets")}
    plan: Any = type("Plan", (), {"__init__": lambda self: self.__dict__.update(columns)})()
    path = write_pairs(tmp_path, "older", PairDescription.model_validate(older), plan, new.store.class_names)
    assert PairStore(path).description.photos_in_reach is None
    assert PairedCache.open(path).photos_in_reach == expected
    assert audit(path, tmp_path / "audit.png").photos_in_reach == expected


def test_of_several_the_worst_is_told() -> None:
    assert worst_reach(["none", "none"]) == "none"
    assert worst_reach(["none", "unknown"]) == "unknown"
    assert worst_reach(["unknown", "some", "none"]) == "some"


def test_names_and_numbers() -> None:
    assert plain_name("Image_0010-07") == plain_name("image_10-007") == "image_10-7"
    assert plain_name("000") == "0"
    assert plain_name("image_1") != plain_name("image_10")
    assert (last_number("2019_photo_0042"), last_number("000"), last_number("cat")) == ("42", "0", None)
    assert set(SCENES) <= set(SOURCES)


def test_photos_of_recordings_in_parts(tmp_path: Path) -> None:
    """The photo of the same class and name, whatever the part on either side, where it is one."""

    def known(events: list[str], images: list[str]) -> dict[str, tuple[bool, str | None]]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        places = [
            write_store(folder, kind, names, class_of=lambda name: name.partition("/")[0])
            for kind, names in (("events", events), ("images", images))
        ]
        recordings, photos = map(FrameStore, places)
        found = find_originals(PairingConfig(), recordings, photos)
        return {
            name: (bool(sure), str(photos.sample_id[row]) if row >= 0 else None)
            for name, sure, row in zip(map(str, recordings.sample_id), found.known, found.rows, strict=True)
        }

    one = known(["cat/test/a", "cat/train/b", "cat/train/c_01"], ["cat/a", "cat/b", "cat/c_1", "cat/d"])
    assert one == {"cat/test/a": (True, "cat/a"), "cat/train/b": (True, "cat/b"), "cat/train/c_01": (True, "cat/c_1")}
    other = known(["cat/a", "cat/b"], ["cat/test/a", "cat/train/b", "cat/validation/b"])
    assert other == {"cat/a": (True, "cat/test/a"), "cat/b": (False, None)}
    same = known(
        ["cat/test/a", "cat/train/a", "cat/train/b"], ["cat/test/a", "cat/test/b", "cat/train/a", "dog/train/b"]
    )
    assert same == {
        "cat/test/a": (True, "cat/test/a"),
        "cat/train/a": (True, "cat/train/a"),
        "cat/train/b": (True, "cat/test/b"),
    }
    shared = known(["cat/test/a", "cat/train/a"], ["cat/a", "cat/b", "cat/c"])
    assert shared == {"cat/test/a": (False, None), "cat/train/a": (False, None)}


def test_a_photo_in_another_part_than_its_recording_is_kept_out(tmp_path: Path) -> None:
    parts = [f"{at}/{part}/{part}{number}" for at in CLASSES for part in ("test", "train") for number in range(6)]
    swapped = [name.replace("/test/", "/train/") for name in parts]
    class_of = {"class_of": lambda name: name.partition("/")[0]}
    events, images = (
        write_store(tmp_path, kind, sorted(names), **class_of)  # type: ignore[arg-type]
        for kind, names in (("events", parts), ("images", swapped))
    )
    report, said = pair(events, images, split="official", train=0.8, test=0.1, validation=0)
    assert (report.num_test, report.num_pool, report.photos_in_reach, said) == (12, 12, "none", [])
    pairs = PairStore(report.path)
    assert pairs.images is not None
    pool = [str(pairs.images.sample_id[row]) for row in pairs.store.column("pool_rows")]
    assert not [name for name in pool if "test" in name.rpartition("/")[2]]
