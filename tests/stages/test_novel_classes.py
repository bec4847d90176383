"""Classes that nothing is learned of: where recordings and photos go, and that other pairings stay as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvs_transfer import PairedCache
from dvs_transfer.cache.errors import StoreError
from dvs_transfer.stages import pairing
from dvs_transfer.stages.pairing import PairingReport, find_novel
from dvs_transfer.stages.pairing_config import PairingConfig

from stores import build_store

NUM_RECORDINGS = 60  # 20 of each of ant, bee and cat


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("cache")
    return build_store(folder, "events", NUM_RECORDINGS, (20, 59)), build_store(folder, "images", NUM_RECORDINGS)


def pair(stores: tuple[Path, Path], **config: object) -> PairingReport:
    return pairing.run(PairingConfig.model_validate(config), *stores, stores[0].parent)


@pytest.mark.parametrize("protocol", ["disjoint", "unrestricted"])
def test_all_of_a_novel_class_is_in_its_split_and_nowhere_else(stores: tuple[Path, Path], protocol: str) -> None:
    report = pair(stores, protocol=protocol, novel_classes=("c?t",))
    novel = PairedCache.open(report.path, "novel")
    assert report.num_novel == len(novel) == 19  # one of 20 is quarantined
    assert {name.partition("/")[0] for name in novel.sample_ids} == {"cat"}
    assert novel.event_labels.tolist() == [2] * 19
    for split in ("train", "validation", "test"):
        others = PairedCache.open(report.path, split)
        assert {name.partition("/")[0] for name in (*others.sample_ids, *others.image_ids)} == {"ant", "bee"}
    assert report.num_train + report.num_validation + report.num_test == 39
    assert report.num_unused == 2


def test_the_other_classes_are_split_as_without_novel_ones(stores: tuple[Path, Path]) -> None:
    novel, plain = pair(stores, novel_classes=("cat",)), pair(stores)
    for split in ("train", "validation", "test"):
        kept = [name for name in PairedCache.open(plain.path, split).sample_ids if not name.startswith("cat")]
        assert list(PairedCache.open(novel.path, split).sample_ids) == kept
    assert novel.split_digest != plain.split_digest


def test_a_pairing_without_novel_classes_is_what_it_was(stores: tuple[Path, Path]) -> None:
    plain = pair(stores)
    assert pair(stores, novel_classes=()) == plain
    assert plain.num_novel == 0
    # Of stores and settings like these, before there were novel classes.
    assert plain.split_digest == "ce6eb7935accecd27ad94bd930e9efe52e9fe808d23ce0f5dfea58d12457b04d"
    assert PairingConfig.model_validate(PairingConfig(novel_classes=("a",)).model_dump()).novel_classes == ("a",)


def test_a_novel_recording_has_its_own_photo_and_no_other(stores: tuple[Path, Path], tmp_path: Path) -> None:
    novel = PairedCache.open(pair(stores, novel_classes=("bee",)).path, "novel")
    assert novel[3]["image_id"] == novel[3]["sample_id"]
    events, images = build_store(tmp_path, "events", 30), build_store(tmp_path, "images", 27)
    orphans = PairedCache.open(pair((events, images), novel_classes=("cat",)).path, "novel")
    with pytest.raises(StoreError, match=r"cat/image_.* has neither its own photo nor one of its class"):
        orphans.read(np.arange(len(orphans)))


def test_patterns_name_classes() -> None:
    names = ("Greek/a", "Greek/b", "Latin/a", "Latin/A", "N_Ko/[1]")
    assert find_novel((), names).tolist() == [False] * 5
    assert find_novel(("Greek/*",), names).tolist() == [True, True, False, False, False]
    assert find_novel(("*/a", "N_Ko/*"), names).tolist() == [True, False, True, False, True]


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        (("dog", "cat"), "novel_classes: dog: no class is called so; they are ant, bee, cat"),
        (("ant", "b*"), "leaves 1 classes to train on"),
        (("*",), "leaves 0 classes"),
    ],
)
def test_patterns_that_cannot_be_meant_are_refused(
    stores: tuple[Path, Path], patterns: tuple[str, ...], says: str
) -> None:
    with pytest.raises(StoreError, match=says):
        pair(stores, novel_classes=patterns)
