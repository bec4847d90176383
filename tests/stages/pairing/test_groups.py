"""Groups of recordings that stay on one side of a split."""

from __future__ import annotations

import hashlib
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_stores import write_store

from dvs_transfer import PairedCache
from dvs_transfer.cache.errors import StoreError
from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.stages import pairing
from dvs_transfer.stages.leakage import audit
from dvs_transfer.stages.pairing import splits
from dvs_transfer.stages.pairing_config import PairingConfig
from dvs_transfer.stages.plugins import look_in

SPLITS = ("train", "validation", "test", "novel")
SIDES = {"train": 0, "validation": 1, "test": 2, "none": -1, "outside": -2}


def split(
    folder: Path, names: Sequence[str], source: str | None = None, **config: Any
) -> tuple[PairStore, list[str], dict[str, set[str]]]:
    events, said = write_store(folder, "events", sorted(names), source=source), []
    report = pairing.run(PairingConfig(**config), events, None, folder, said.append)
    found = {part: set(PairedCache.open(report.path, part).sample_ids) for part in SPLITS}  # type: ignore[arg-type]
    return PairStore(report.path), said, found


def of_users(classes: Sequence[str], num_users: int, each: int) -> list[str]:
    return [f"{at}/user{user:02d}_{number}" for at in classes for user in range(num_users) for number in range(each)]


def users(names: set[str]) -> set[str]:
    return {re.search(r"user\d+", name)[0] for name in names}  # type: ignore[index]


def test_groups_of_one_class_are_drawn_class_by_class(tmp_path: Path) -> None:
    """Against the description, group by group."""
    sizes = {"cat": (3, 2, 5, 1, 4, 3, 2), "dog": (1, 1, 1, 6, 2, 2, 3)}
    listed = [f"{at}/rec{g}_{i}" for at, of in sizes.items() for g, size in enumerate(of) for i in range(size)]
    pairs, _, found = split(tmp_path, listed, group=r"^.*/rec\d+", train=0.6, validation=0.2, test=0.2, seed=5)
    expected: dict[str, set[str]] = {"test": set(), "validation": set(), "train": set(), "novel": set()}
    for at, of in sizes.items():
        order = sorted(range(len(of)), key=lambda g: hashlib.sha256(f"5/{at}/rec{g}".encode()).hexdigest())
        for part in ("test", "validation"):
            wanted, taken = max(1, round(0.2 * sum(of))), 0
            while len(order) > 1 and (not taken or abs(taken + of[order[0]] - wanted) < abs(taken - wanted)):
                group = order.pop(0)
                taken += of[group]
                expected[part] |= {f"{at}/rec{group}_{i}" for i in range(of[group])}
        expected["train"] |= {f"{at}/rec{group}_{i}" for group in order for i in range(of[group])}
    assert found == expected
    assert pairs.protocol == r"disjoint, groups by ^.*/rec\d+"


def test_groups_of_several_classes_are_drawn_from_all_at_once(tmp_path: Path) -> None:
    listed = of_users(("cat", "dog", "eel"), num_users=10, each=4)
    pairs, _, found = split(tmp_path, listed, group=r"user\d+")
    order = sorted({f"user{user:02d}" for user in range(10)}, key=lambda u: hashlib.sha256(f"0/{u}".encode()).digest())
    assert [users(found[part]) for part in ("test", "validation", "train")] == [
        {order[0]},
        {order[1]},
        {*order[2:]},
    ]
    assert sum(map(len, found.values())) == len(listed)
    assert pairs.protocol == r"disjoint, groups by user\d+"
    again = split(tmp_path / "again", listed, group=r"(user\d+)_")[2]
    assert again == found


def test_a_pattern_that_names_each_recording_splits_as_without_groups(tmp_path: Path) -> None:
    listed = of_users(("cat", "dog"), 10, 3)
    plain, same = split(tmp_path / "a", listed), split(tmp_path / "b", listed, group=".+")
    assert plain[2] == same[2]
    assert plain[0].description.split_digest == same[0].description.split_digest
    assert plain[0].protocol == "disjoint"


def test_shares_of_training_count_recordings(tmp_path: Path) -> None:
    listed = of_users(("cat", "dog"), 10, 4)
    whole, few = (split(tmp_path / str(n), listed, group=r"user\d+", train_per_class=n)[2] for n in (99, 5))
    assert (few["test"], few["validation"]) == (whole["test"], whole["validation"])
    assert len(few["train"]) == 10
    assert few["train"] < whole["train"]


def test_a_class_without_training_recordings_is_refused(tmp_path: Path) -> None:
    """One user has all recordings of a class, and tests."""
    order = sorted((f"user{u}" for u in range(6)), key=lambda name: hashlib.sha256(f"0/{name}".encode()).digest())
    listed = [f"cat/user{user}_{number}" for user in range(6) for number in range(5)]
    listed += [f"dog/{order[0]}_{number}" for number in range(3)]
    with pytest.raises(StoreError, match=r"no recording to train with is left for dog.*another pairing\.seed may do"):
        split(tmp_path, listed, group=r"user\d+")


def test_a_class_of_one_group_trains_and_is_told(tmp_path: Path) -> None:
    listed = [*of_users(("cat", "dog"), 5, 2), *of_users(("eel",), 1, 7)]
    _, said, found = split(tmp_path, listed, group=r"\w+/user\d+")
    assert said == [f"warning: no {part} recording is of the class eel" for part in ("validation", "test")]
    assert {name for name in listed if name.startswith("eel")} <= found["train"]


def test_classes_with_too_few_recordings_are_told(tmp_path: Path) -> None:
    """A drawn split takes for the test first; one is always left to train."""
    counts = {"cat": 9, "dog": 3, "eel": 2, "fox": 2, "gnu": 1}
    listed = [f"{name}/{number}" for name, count in counts.items() for number in range(count)]
    assert split(tmp_path / "all", listed)[1] == [
        "warning: no validation recording is of the classes eel, fox, gnu",
        "warning: no test recording is of the class gnu",
    ]
    unasked = split(tmp_path / "unasked", listed, validation=0)[1]
    assert unasked == ["warning: no test recording is of the class gnu"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (2, "2 a class asked for (pairing.train_per_class), 1 class has fewer, eel 1: 5 in all"),
        (4, "4 a class asked for (pairing.train_per_class), 2 classes have fewer, eel 1, dog 2: 7 in all"),
    ],
)
def test_classes_with_fewer_than_are_to_train_are_told(asked: int, says: str, tmp_path: Path) -> None:
    counts = {"cat": 8, "dog": 3, "eel": 2, "fox": 9}
    listed = [f"{name}/{number}" for name, count in counts.items() for number in range(count)]
    of = {"validation": 0, "novel_classes": ("fox",)}
    _, said, found = split(tmp_path, listed, **of, train_per_class=asked)
    assert said == [f"warning: {says}"]
    assert says.endswith(f" {len(found['train'])} in all")
    assert split(tmp_path / "one", listed, **of, train_per_class=1)[1] == []


def test_novel_recordings_of_those_who_train_are_in_no_split(tmp_path: Path) -> None:
    listed = of_users(("cat", "dog", "eel"), 10, 4)
    pairs, _, found = split(tmp_path, listed, group=r"user\d+", novel_classes=("eel",))
    assert users(found["novel"]) == users(found["test"])
    assert {name.partition("/")[0] for name in found["novel"]} == {"eel"}
    seen = {str(pairs.events.sample_id[row]) for row in pairs.open_rows()}
    assert seen == found["train"], "nothing of a novel class, not even without its label"


def test_an_id_that_the_pattern_does_not_find_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"pairing.group = 'user\\\\d\+': finds nothing in the id cat/lost"):
        split(tmp_path, [*of_users(("cat", "dog"), 4, 2), "cat/lost"], group=r"user\d+")


def test_a_group_in_two_official_parts_is_refused_with_both_ids(tmp_path: Path) -> None:
    listed = [f"{at}/{part}/user{number}" for at in ("cat", "dog") for part in ("train", "test") for number in range(3)]
    events = write_store(tmp_path, "events", sorted(listed), class_of=lambda name: name.partition("/")[0])
    config = PairingConfig(split="official", group=r"user\d+")
    says = r"^cat/train/user0 is in the part train, and of the same group \(user0\) as cat/test/user0, which is in"
    with pytest.raises(StoreError, match=says):
        pairing.run(config, events, None, tmp_path)


def test_validation_out_of_an_official_part_keeps_groups(tmp_path: Path) -> None:
    listed = [
        f"{at}/{part}/{part}{user}_{number}"
        for at in ("cat", "dog")
        for part in ("train", "test")
        for user in range(6)
        for number in range(3)
    ]
    events = write_store(tmp_path, "events", sorted(listed), class_of=lambda name: name.partition("/")[0])
    config = PairingConfig(split="official", group=r"/((?:train|test)\d+)_", validation=0.3)
    path = pairing.run(config, events, None, tmp_path).path
    found = {
        part: {name.split("/")[2].partition("_")[0] for name in PairedCache.open(path, part).sample_ids}
        for part in ("train", "validation", "test")
    }
    assert found["test"] == {f"test{user}" for user in range(6)}
    assert (len(found["validation"]), len(found["train"])) == (2, 4)
    assert not found["validation"] & found["train"]
    assert PairStore(path).protocol == r"disjoint, official split, groups by /((?:train|test)\d+)_"


@settings(max_examples=150, deadline=None)
@given(
    groups=st.lists(st.integers(0, 12), min_size=8, max_size=60),
    classes=st.integers(1, 3),
    seed=st.integers(0, 99),
    test=st.floats(0.05, 0.5),
    validation=st.sampled_from([0.0, 0.1, 0.3]),
)
def test_no_group_is_ever_on_two_sides(
    groups: list[int], classes: int, seed: int, test: float, validation: float
) -> None:
    names = [f"{row % classes}/{group}_{row}" for row, group in enumerate(groups)]
    labels = np.array([row % classes for row in range(len(groups))])
    config = PairingConfig(train=1 - test - validation, validation=validation, test=test, seed=seed)
    known = splits.Given(None, np.unique(groups, return_inverse=True)[1], [*map(str, groups)], False, str)
    found = splits.split_recordings(config, known, names, labels, np.zeros(classes, np.bool_))
    sides = defaultdict(set)
    for group, side in zip(groups, found.tolist(), strict=True):
        sides[group].add(side)
    assert all(len(of) == 1 for of in sides.values())
    assert set(found.tolist()) <= {SIDES["train"], SIDES["validation"], SIDES["test"]}
    assert SIDES["train"] in found


READER = '''
from dvs_transfer.stages.sources import EventReader

class Pieces(EventReader):
    """Cut out of recordings: <class>/<recording>@<piece>."""
    suffixes = (".dat",)

    def decode(self, sample, data):
        raise NotImplementedError

    @classmethod
    def group_of(cls, sample_id):
        return sample_id.partition("@")[0]
'''


def test_a_split_says_which_recordings_are_of_one_group(tmp_path: Path) -> None:
    pairs = split(tmp_path / "grouped", of_users(("cat", "dog"), 10, 3), group=r"user\d+")[0]
    test = PairedCache.open(pairs.path, "test")
    assert test.groups == tuple(re.search(r"user\d+", name)[0] for name in test.sample_ids)  # type: ignore[index]
    assert len(test.groups) > len(set(test.groups))
    alone = split(tmp_path / "alone", of_users(("cat", "dog"), 10, 3))[0]
    assert PairedCache.open(alone.path, "test").groups is None


def test_a_store_of_before_groups_were_noted_gets_them_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = of_users(("cat", "dog"), 10, 3)
    with monkeypatch.context() as before:
        before.setattr(pairing.stage, "has_groups", lambda protocol: False)
        old = split(tmp_path, listed, group=r"user\d+")[0]
    with pytest.raises(
        StoreError, match=r"did not note which .* one group; run `dvs-transfer preprocess` \(or `pair`\)"
    ):
        _ = PairedCache.open(old.path, "test").groups
    report = pairing.run(PairingConfig(group=r"user\d+"), old.events.path, None, tmp_path)
    assert report.path == old.path
    new = PairStore(report.path)
    assert new.store.attributes.fingerprint == old.store.attributes.fingerprint
    assert PairedCache.open(report.path, "test").groups is not None
    again = new.store.attributes.created
    pairing.run(PairingConfig(group=r"user\d+"), old.events.path, None, tmp_path)
    assert PairStore(report.path).store.attributes.created == again, "made once"


PIECES = [f"{at}/rec{number}@{piece}" for at in ("cat", "dog") for number in range(10) for piece in range(3)]


def test_pieces_of_a_recording_stay_together_as_their_source_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pieces_reader.py").write_text(READER)
    monkeypatch.setattr(sys, "path", [*sys.path])
    look_in(tmp_path)
    pairs, said, found = split(tmp_path / "cache", PIECES, source="pieces_reader:Pieces")
    recordings = {part: {name.partition("@")[0] for name in of} for part, of in found.items()}
    assert [len(recordings[part]) for part in ("train", "validation", "test")] == [16, 2, 2]
    assert sum(map(len, recordings.values())) == 20, "none is in two"
    assert (pairs.protocol, said) == ("disjoint, whole recordings", [])
    report = audit.run(pairs.path, tmp_path / "audit.png")
    assert {pair.by_group for pair in report.between} == {0}
    own = split(tmp_path / "own", PIECES, source="pieces_reader:Pieces", group=".+")[0]
    between = {(pair.split, pair.other): pair for pair in audit.run(own.path, tmp_path / "audit.png").between}
    test = {str(own.events.sample_id[row]).partition("@")[0] for row in own.rows_of("test")}
    in_train = {str(own.events.sample_id[row]).partition("@")[0] for row in own.rows_of("train")}
    found_by_hand = [
        row for row in own.rows_of("test") if str(own.events.sample_id[row]).partition("@")[0] in test & in_train
    ]
    assert between["test", "train"].by_group == len(found_by_hand) > 0
    assert between["test", "train"].num_alike >= len(found_by_hand)


def test_a_reader_that_is_gone_is_told(tmp_path: Path) -> None:
    _, said, found = split(tmp_path, PIECES, source="no_such_module_anywhere:Pieces")
    assert len(said) == 1
    assert said[0].startswith("warning: parts and groups of recordings are taken as their ids show them, since no")
    assert sum(map(len, found.values())) == len(PIECES)


def split_before(config: PairingConfig, names: Sequence[str], labels: Sequence[int]) -> list[int]:
    """As single recordings were split before there were groups, written after the format's page."""

    def order(rows: Sequence[int], seed: int) -> list[int]:
        return sorted(rows, key=lambda row: hashlib.sha256(f"{seed}/{names[row]}".encode()).digest())

    found = [SIDES["none"]] * len(names)
    for label in set(labels) - {-1}:
        rows = order([row for row, of in enumerate(labels) if of == label], config.seed)
        num_test = min(max(1, round(config.test * len(rows))), len(rows) - 1)
        wanted = max(1, round(config.validation * len(rows))) if config.validation else 0
        first = num_test + min(wanted, max(0, len(rows) - num_test - 1))
        num_train = (
            len(rows) - first if config.uses_all else min(len(rows) - first, max(1, round(config.train * len(rows))))
        )
        num_used = min(config.train_per_class or num_train, max(1, round(config.train_share * num_train)))
        train = order(rows[first:], config.seed if config.subset_seed is None else config.subset_seed)[:num_used]
        for at, row in enumerate(rows):
            found[row] = SIDES["test"] if at < num_test else SIDES["validation"] if at < first else SIDES["none"]
        for row in train:
            found[row] = SIDES["train"]
    return found


@settings(max_examples=150, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 3), min_size=1, max_size=60),
    ratios=st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.0, 0.5), (0.3, 0.2, 0.2), (0.1, 0.4, 0.5), (0.9, 0.05, 0.05)]),
    limits=st.sampled_from(
        [{}, {"train_share": 0.4}, {"train_per_class": 3}, {"subset_seed": 7, "train_per_class": 2}]
    ),
    seed=st.integers(0, 5),
)
def test_single_recordings_are_split_as_before(
    labels: list[int], ratios: tuple[float, float, float], limits: dict[str, Any], seed: int
) -> None:
    names = [f"class{label}/{row}" for row, label in enumerate(labels)]
    config = PairingConfig(train=ratios[0], validation=ratios[1], test=ratios[2], seed=seed, **limits)
    known = splits.Given(None, splits.number_groups(names), names, False, str)
    found = splits.split_recordings(config, known, names, np.array(labels), np.zeros(4, np.bool_))
    assert found.tolist() == split_before(config, names, labels)
