"""The split as the makers of the data give it, and what is drawn out of its training part."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from photo_stores import write_store
from pydantic import ValidationError

from dvs_transfer import PairedCache
from dvs_transfer.cache.errors import StoreError
from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.stages import pairing
from dvs_transfer.stages.pairing_config import PairingConfig

COUNTS = {"train": 20, "test": 6}


def class_of(name: str) -> str:
    return name.partition("/")[0]


def names(counts: dict[str, int] = COUNTS, classes: Sequence[str] = ("cat", "dog", "eel")) -> list[str]:
    """Ids of class folders below folders of parts."""
    return [f"{at}/{part}/{number:03d}" for at in classes for part in counts for number in range(counts[part])]


def split(folder: Path, listed: Sequence[str], **config: Any) -> tuple[PairStore, list[str], dict[str, set[str]]]:
    """The pair store of recordings alone, what was said, and the ids of each split."""
    source = config.pop("source", None)
    events, said = write_store(folder, "events", sorted(listed), class_of=class_of, source=source), []
    report = pairing.run(PairingConfig(split="official", **config), events, None, folder, said.append)
    parts = ("train", "validation", "test", "novel")
    found = {part: set(PairedCache.open(report.path, part).sample_ids) for part in parts}  # type: ignore[arg-type]
    assert report.protocol == PairStore(report.path).protocol
    return PairStore(report.path), said, found


def first_of_each_class(listed: Sequence[str], share: float, seed: int) -> set[str]:
    """By the description: in the order of SHA-256 of "seed/id", a share of each class's, rounded, at least one."""
    by_class = defaultdict(list)
    for name in listed:
        by_class[class_of(name)].append(name)
    chosen = set()
    for members in by_class.values():
        members.sort(key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        chosen |= set(members[: max(1, int(share * len(members) + 0.5))])
    return chosen


def test_the_makers_parts_are_taken_and_validation_comes_out_of_training(tmp_path: Path) -> None:
    pairs, said, found = split(tmp_path, names(), validation=0.2, seed=3)
    assert found["test"] == {name for name in names() if "/test/" in name}
    training = sorted(name for name in names() if "/train/" in name)
    assert found["validation"] == first_of_each_class(training, 0.2, seed=3)
    assert found["train"] == set(training) - found["validation"]
    assert pairs.protocol == "disjoint, official split"
    assert said == []


def test_a_validation_part_of_the_makers_is_the_only_one(tmp_path: Path) -> None:
    counts = {**COUNTS, "validation": 5}
    _, _, found = split(tmp_path, names(counts))
    assert {part: {name.split("/")[1] for name in of} for part, of in found.items()} == {
        "train": {"train"},
        "validation": {"validation"},
        "test": {"test"},
        "novel": set(),
    }
    assert [len(found[part]) for part in counts] == [60, 18, 15]


def test_without_a_validation_share_all_of_the_training_part_trains(tmp_path: Path) -> None:
    _, _, found = split(tmp_path, names(), validation=0)
    assert (len(found["train"]), len(found["validation"]), len(found["test"])) == (60, 0, 18)


def test_few_labels_are_drawn_out_of_the_training_part(tmp_path: Path) -> None:
    whole = split(tmp_path / "whole", names())[2]
    pairs, _, few = split(tmp_path / "few", names(), train_per_class=3, subset_seed=1)
    other = split(tmp_path / "other", names(), train_per_class=3, subset_seed=2)[2]
    for found in (few, other):
        assert found["test"] == whole["test"]
        assert found["validation"] == whole["validation"]
        assert len(found["train"]) == 9
        assert found["train"] < whole["train"]
    assert few["train"] != other["train"]
    unlabelled = {str(pairs.events.sample_id[row]) for row in pairs.open_rows()}
    assert unlabelled == whole["train"]
    half = split(tmp_path / "half", names(), train_share=0.5)[2]
    assert len(half["train"]) == 27


def test_novel_classes_are_of_both_parts(tmp_path: Path) -> None:
    _, _, found = split(tmp_path, names(), novel_classes=("eel",))
    assert found["novel"] == {name for name in names() if name.startswith("eel")}
    assert {class_of(name) for part in ("train", "validation", "test") for name in found[part]} == {"cat", "dog"}


def test_a_class_that_nobody_tests_is_told(tmp_path: Path) -> None:
    listed = [name for name in names() if not name.startswith("dog/test")]
    _, said, found = split(tmp_path, listed)
    assert said == ["warning: no test recording is of the class dog"]
    assert {class_of(name) for name in found["test"]} == {"cat", "eel"}


@pytest.mark.parametrize(
    ("source", "pattern"), [("nmnist", "{part}-{number:05d}"), ("tonic:NMNIST", "tonic-{part}-{number:05d}")]
)
def test_sources_that_say_the_part_in_their_ids(source: str, pattern: str, tmp_path: Path) -> None:
    own = {"nmnist": ("train", "t10k"), "tonic:NMNIST": ("train", "test")}[source]
    listed = [f"{digit}/{pattern.format(part=part, number=i)}" for digit in "01" for part in own for i in range(1, 8)]
    _, _, found = split(tmp_path, listed, source=source, validation=0.25)
    assert found["test"] == {name for name in listed if f"{own[1]}-" in name}
    assert (len(found["train"]), len(found["validation"])) == (10, 4)


def test_what_has_no_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cat/lost is in no official part, and 1 more are not, of 80; convert .*"):
        split(tmp_path / "a", [*names(), "cat/lost", "dog/lost"])
    with pytest.raises(
        StoreError, match=r"of toy-events no official parts are known; they are of nmnist, segments, tonic:<cl"
    ):
        split(tmp_path / "b", [f"{at}/{number}" for at in ("cat", "dog") for number in range(9)])
    with pytest.raises(StoreError, match="has no recording of the official test part; convert both"):
        split(tmp_path / "c", names({"train": 9}))
    with pytest.raises(StoreError, match="no recording to train with is left for dog"):
        split(tmp_path / "d", [name for name in names() if not name.startswith("dog/train")])


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"test": 0.3}, r"test = 0.3: means nothing where split = official .*\(--set pairing.test=0.1\)"),
        ({"train": 0.6, "test": 0.3}, r"train = 0.6 and test = 0.3: .*--set pairing.train=0.8 --set pairing.test=0.1"),
        ({"train_share": 0.5, "train_per_class": 2}, "both limit the training recordings"),
        ({"group": "("}, "'\\(' is no regular expression"),
    ],
)
def test_settings_that_mean_nothing_are_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        PairingConfig(split="official", **config)


def test_ratios_that_do_not_apply_need_not_add_up() -> None:
    config = PairingConfig(split="official", validation=0.5)
    assert (config.uses_all, config.draws_labels) == (True, False)
    assert PairingConfig(split="official", validation=0, train_share=0.5).draws_labels
