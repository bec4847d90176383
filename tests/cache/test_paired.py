"""The pair store and the data set over it: protocols, splits, alignment, reading in other processes."""

from __future__ import annotations

import multiprocessing
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from dvs_transfer import PairedCache
from dvs_transfer.cache.errors import StoreError
from dvs_transfer.cache.pairs import PairStore
from dvs_transfer.stages import pairing
from dvs_transfer.stages.pairing import PairingReport
from dvs_transfer.stages.pairing_config import PairingConfig

from stores import build_store, make_arrays, make_layout, store_path

NUM_EVENTS, NUM_IMAGES = 60, 60


def pair(folder: Path, quarantined: tuple[int, ...] = (), **config: object) -> PairingReport:
    events = store_path(folder, make_layout("events", NUM_EVENTS))
    images = store_path(folder, make_layout("images", NUM_IMAGES))
    if not events.exists():
        build_store(folder, "events", NUM_EVENTS, quarantined)
        build_store(folder, "images", NUM_IMAGES)
    return pairing.run(PairingConfig.model_validate(config), events, images, folder)


def test_disjoint_keeps_every_held_out_photo_away(tmp_path: Path) -> None:
    report = pair(tmp_path)
    train = PairedCache.open(report.path, "train")
    for split in ("validation", "test"):
        held_out = PairedCache.open(report.path, split)
        assert len(held_out) == 6
        assert not set(held_out.sample_ids) & set(train.image_ids)
        assert not set(held_out.sample_ids) & set(train.sample_ids)
    assert report.num_pool == NUM_IMAGES - 12
    assert report.num_with_photo == NUM_EVENTS


def test_unrestricted_lets_every_photo_teach_and_tests_the_same_recordings(tmp_path: Path) -> None:
    leaky, honest = pair(tmp_path, protocol="unrestricted"), pair(tmp_path)
    assert leaky.num_pool == NUM_IMAGES
    assert PairedCache.open(leaky.path, "test").sample_ids == PairedCache.open(honest.path, "test").sample_ids
    assert leaky.split_digest != honest.split_digest


def test_a_share_of_the_training_recordings_changes_no_held_out_one(tmp_path: Path) -> None:
    whole, half, tenth = (pair(tmp_path, train_share=share) for share in (1.0, 0.5, 0.1))
    assert (whole.num_train, half.num_train, tenth.num_train) == (48, 24, 6)
    ids = [set(PairedCache.open(report.path, "train").sample_ids) for report in (whole, half, tenth)]
    assert ids[2] < ids[1] < ids[0]
    tests = [PairedCache.open(report.path, "test").sample_ids for report in (whole, half, tenth)]
    assert tests[0] == tests[1] == tests[2]


def test_training_recordings_of_a_class_can_be_counted(tmp_path: Path) -> None:
    two, many = pair(tmp_path, train_per_class=2), pair(tmp_path, train_per_class=1000)
    labels = PairedCache.open(two.path, "train").event_labels
    assert np.bincount(labels).tolist() == [2] * two.num_classes
    assert many.num_train == pair(tmp_path).num_train
    with pytest.raises(ValueError, match="set one of them"):
        pair(tmp_path, train_per_class=2, train_share=0.5)


def test_a_subset_seed_draws_the_labelled_recordings_and_nothing_else(tmp_path: Path) -> None:
    """Of the recordings that neither validate nor test; those, and the static pool, stay."""
    plain, *drawn = (pair(tmp_path, train_per_class=3, subset_seed=seed) for seed in (None, 0, 1, 2))
    stores = {name: [PairedCache.open(report.path, name) for report in (plain, *drawn)] for name in ("train", "test")}
    ids = [set(store.sample_ids) for store in stores["train"]]
    assert ids[0] == ids[1]  # unset: as the split's seed, which is 0
    assert len({frozenset(of_draw) for of_draw in ids[1:]}) == 3
    held_out = [store.sample_ids for store in stores["test"]]
    validation = [PairedCache.open(report.path, "validation").sample_ids for report in (plain, *drawn)]
    assert len({*held_out}) == len({*validation}) == 1
    could_train = set(PairedCache.open(pair(tmp_path).path, "train").sample_ids)
    assert could_train == set(PairedCache.open(pair(tmp_path, subset_seed=2).path, "train").sample_ids)
    for store, of_draw in zip(stores["train"], ids, strict=True):
        assert of_draw < could_train
        assert store.count("train").tolist() == np.bincount(store.event_labels).tolist() == [3] * store.num_classes
        assert store.image_ids == stores["train"][0].image_ids
    assert len({report.split_digest for report in drawn}) == 3


def test_smaller_subsets_of_a_draw_are_in_its_larger_ones(tmp_path: Path) -> None:
    for seed in (1, 2):
        few, many, half, rest = (
            set(PairedCache.open(pair(tmp_path, subset_seed=seed, **config).path, "train").sample_ids)
            for config in ({"train_per_class": 2}, {"train_per_class": 5}, {"train_share": 0.5}, {"train": 0.6})
        )
        assert few < many < half < rest


def test_a_configuration_without_a_subset_seed_is_fingerprinted_as_if_there_were_none() -> None:
    """Pair stores and runs that are there already are found again."""
    document = PairingConfig().model_dump(mode="json")
    assert "subset_seed" not in document
    assert PairingConfig.model_validate(document) == PairingConfig()
    own = PairingConfig(subset_seed=0).model_dump(mode="json")
    assert (own["subset_seed"], PairingConfig.model_validate(own).subset_seed) == (0, 0)


def test_labels_are_counted_in_every_split_from_any_of_them(tmp_path: Path) -> None:
    path = pair(tmp_path).path
    test = PairedCache.open(path, "test")
    for split in ("train", "validation", "test"):
        labels = PairedCache.open(path, split).event_labels
        assert test.count(split).tolist() == np.bincount(labels, minlength=test.num_classes).tolist()


def test_a_share_of_the_pool_is_of_each_class_and_in_any_larger_one(tmp_path: Path) -> None:
    stores = [PairedCache.open(pair(tmp_path, pool_share=share).path, "train") for share in (1.0, 0.5, 0.2)]
    whole, half, fifth = (np.bincount(store.image_labels) for store in stores)
    assert half.tolist() == [round(0.5 * n) for n in whole]
    assert fifth.tolist() == [round(0.2 * n) for n in whole]
    photos = [{image.tobytes() for image in store.load_images()} for store in stores]
    assert photos[2] < photos[1] < photos[0]


def test_the_split_depends_on_ids_and_seed_alone(tmp_path: Path) -> None:
    assert pair(tmp_path / "a").split_digest == pair(tmp_path / "b").split_digest
    assert pair(tmp_path / "a", seed=1).split_digest != pair(tmp_path / "b").split_digest


def test_the_digest_of_a_known_split(tmp_path: Path) -> None:
    """A change of the rule by which splits are made must be noticed: published results hang on it."""
    assert pair(tmp_path).split_digest == "6557f6a4852eae94a16fb2fb4eee11a9cea24c393d9db57a7c0b0ca86e201fdb"


def test_samples_hold_what_the_stores_hold(tmp_path: Path) -> None:
    report = pair(tmp_path)
    test = PairedCache.open(report.path, "test")
    frames = make_arrays(make_layout("events", NUM_EVENTS))["frames"]
    value = make_arrays(make_layout("images", NUM_IMAGES))["value"]
    for index in range(len(test)):
        row = test.rows[index]
        sample = test[index]
        assert sample["sample_id"] == sample["image_id"] == test.sample_ids[index]
        np.testing.assert_array_equal(sample["events"].numpy(), frames[row])
        np.testing.assert_array_equal(sample["value"].numpy(), value[row])
        assert sample["label"] == test.event_labels[index]
        assert sample["events"].dtype == torch.float32
    batch = test.read(np.array([3, 0]))
    assert batch["sample_id"] == (test.sample_ids[3], test.sample_ids[0])
    np.testing.assert_array_equal(batch["events"].numpy(), frames[test.rows[[3, 0]]])
    with pytest.raises(IndexError, match="sample 6 of a test split of 6"):
        test[6]
    np.testing.assert_array_equal(test[-1]["events"], test[5]["events"])


def test_photos_are_found_by_id_inside_the_pool(tmp_path: Path) -> None:
    train = PairedCache.open(pair(tmp_path).path)
    assert [train.image_ids[position] for position in train.photo] == list(train.sample_ids)
    held_out = PairedCache.open(pair(tmp_path).path, "test")
    assert set(held_out.photo) == {-1}
    assert train.load_images().shape == (48, 3, 6, 6)
    assert train.load_values().shape == (48, 1, 6, 6)
    assert train.load_events().dtype == np.float16


def test_quarantined_recordings_are_in_no_split(tmp_path: Path) -> None:
    report = pair(tmp_path, quarantined=(0, 30))
    assert report.num_unused == 2
    used = {row for split in ("train", "validation", "test") for row in PairedCache.open(report.path, split).rows}
    assert used == set(range(NUM_EVENTS)) - {0, 30}


@pytest.mark.parametrize(
    ("config", "num_left_over"),
    [
        ({}, 0),
        ({"train_per_class": 2}, 40),  # of 19, 19 and 20 whole ones, 2 validate and 2 test of each: 15, 15, 16 are left
        ({"train_share": 0.5}, 22),
        ({"train": 0.4}, 22),
        ({"train_per_class": 2, "novel_classes": ("bee",)}, 27),
        ({"train_per_class": 2, "novel_classes": ("cat",), "subset_seed": 5}, 26),
    ],
)
def test_what_training_may_see_without_labels(tmp_path: Path, config: dict[str, object], num_left_over: int) -> None:
    quarantined = (0, 30)
    path = pair(tmp_path, quarantined, **config).path
    train, unlabelled = PairedCache.open(path), PairedCache.open(path, "test").unlabelled
    held_out = {row for split in ("validation", "test", "novel") for row in PairedCache.open(path, split).rows.tolist()}
    expected = [row for row in range(NUM_EVENTS) if row not in held_out and row not in quarantined]
    assert unlabelled.rows.tolist() == expected
    assert set(train.rows) <= set(expected)
    assert len(unlabelled) - len(train) == num_left_over
    assert set(unlabelled.event_labels) == {-1}
    assert len(unlabelled.event_labels) == len(unlabelled)
    frames = make_arrays(make_layout("events", NUM_EVENTS))["frames"]
    np.testing.assert_array_equal(unlabelled.load_events(), frames[expected])
    np.testing.assert_array_equal(unlabelled.load_events(np.array([2, 0])), frames[[expected[2], expected[0]]])
    assert unlabelled.sample_ids[1] == PairStore(path).events.sample_id[expected[1]]


def test_recordings_of_classes_that_are_not_used_are_not_seen_without_labels(tmp_path: Path) -> None:
    events = build_store(tmp_path, "events", 40, class_names=("ant", "bee", "cat", "dog"))
    images = build_store(tmp_path, "images", NUM_IMAGES)
    config = PairingConfig(classes="shared", train_per_class=1)
    unlabelled = PairedCache.open(pairing.run(config, events, images, tmp_path).path).unlabelled
    assert {name.partition("/")[0] for name in unlabelled.sample_ids} == {"ant", "bee", "cat"}
    assert len(unlabelled) == 30 - 3 * 2  # one of each class validates, one tests


def test_pairing_again_finds_the_store(tmp_path: Path) -> None:
    first = pair(tmp_path)
    written = first.path.stat().st_mtime_ns
    assert pair(tmp_path) == first
    assert first.path.stat().st_mtime_ns == written


def fewer_steps(events: torch.Tensor) -> torch.Tensor:
    return events[:2] * 2


def test_a_transform_is_done_to_the_frames_of_items_alone(tmp_path: Path) -> None:
    path = pair(tmp_path).path
    plain, changed = PairedCache.open(path), PairedCache.open(path, transform=fewer_steps)
    assert plain[3]["events"].shape == (3, 2, 6, 6)
    torch.testing.assert_close(changed[3]["events"], plain[3]["events"][:2] * 2)
    torch.testing.assert_close(changed[3]["value"], plain[3]["value"])
    rows = np.array([3])
    torch.testing.assert_close(changed.read(rows)["events"], plain.read(rows)["events"])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_torch_s_data_loader_makes_batches_of_it(tmp_path: Path, num_workers: int) -> None:
    cache = PairedCache.open(pair(tmp_path).path, transform=fewer_steps)
    loader = torch.utils.data.DataLoader(
        cache, batch_size=20, num_workers=num_workers, multiprocessing_context="spawn" if num_workers else None
    )
    batches = list(loader)
    assert [tuple(batch["events"].shape) for batch in batches] == [(20, 2, 2, 6, 6)] * 2 + [(8, 2, 2, 6, 6)]
    assert [name for batch in batches for name in batch["sample_id"]] == list(cache.sample_ids)
    assert torch.cat([batch["label"] for batch in batches]).tolist() == cache.event_labels.tolist()


def test_it_says_what_it_is(tmp_path: Path) -> None:
    path = pair(tmp_path).path
    assert repr(PairedCache.open(path)) == (
        f"PairedCache('{path}': train, 48 recordings of 3 classes in (3, 2, 6, 6) frames, 48 images in the static "
        "pool, protocol disjoint)"
    )


def test_a_store_is_found_by_pattern_and_by_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "data" / "cache"
    first = pair(cache)
    opened = PairedCache.open(first.path)
    (cache / "toy-events-0123456789ab.zarr").mkdir()  # damaged: it stands in nobody's way
    for given in (str(cache / "*"), cache / "toy-events+*", str(cache / "toy-ev?nts+toy-[a-i]*")):
        assert PairedCache.open(given).pairs.path == first.path
    for digits in (opened.fingerprint[:4], opened.fingerprint[:12], opened.fingerprint):
        assert PairedCache.open(digits, "test", root=tmp_path).fingerprint == opened.fingerprint
    monkeypatch.chdir(tmp_path)
    assert PairedCache.open(opened.fingerprint[:8]).pairs.path == Path("data/cache", first.path.name)
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir("/")
        elsewhere.setenv("DVS_TRANSFER_ROOT", str(tmp_path))
        assert PairedCache.open(opened.fingerprint[:8]).pairs.path == first.path
        elsewhere.setenv("DVS_TRANSFER_CACHE", str(first.path.parent))
        assert PairedCache.open(opened.fingerprint[:8]).pairs.path == first.path
    assert len(PairedCache.open("data/cache/*", "test")) == 6

    second = pair(cache, seed=1)
    with pytest.raises(StoreError, match="fits several stores") as several:
        PairedCache.open("data/cache/toy*")
    assert first.path.name in str(several.value)
    assert second.path.name in str(several.value)
    with pytest.raises(
        StoreError, match=rf"nmnist\*: fits no store; the stores of data/cache: .*{re.escape(first.path.name)}"
    ):
        PairedCache.open("data/cache/nmnist*")
    with pytest.raises(StoreError, match=rf"00000000: fits no store in data/cache; .*{re.escape(first.path.name)}"):
        PairedCache.open("00000000")
    with pytest.raises(StoreError, match="a store of images; expected a pair store"):
        PairedCache.open("data/cache/toy-images*")
    with pytest.raises(StoreError, match=r"fits no store in elsewhere/data/cache; the stores of .*: none"):
        PairedCache.open(opened.fingerprint[:8], root="elsewhere")


def read_one(cache: PairedCache, index: int) -> float:
    return float(cache[index]["events"].sum())


def test_a_data_loader_with_spawned_workers(tmp_path: Path) -> None:
    cache = PairedCache.open(pair(tmp_path).path)
    expected = read_one(cache, 5)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(read_one, (cache, 5)) == expected


def test_wrong_input_is_refused(tmp_path: Path) -> None:
    report = pair(tmp_path)
    events = store_path(report.path.parent, make_layout("events", NUM_EVENTS))
    with pytest.raises(StoreError, match="no split 'dev'; expected one of train, validation, test"):
        PairedCache.open(report.path, "dev")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="a store of events; expected a pair store"):
        PairedCache.open(events)
    with pytest.raises(StoreError, match="a store of events; expected one of images"):
        pairing.run(PairingConfig(), events, events, tmp_path)
    with pytest.raises(StoreError, match="must lie in one folder"):
        pairing.run(PairingConfig(), events, events, tmp_path / "elsewhere")
    with pytest.raises(ValidationError, match=r"must be at most 1, they are 1\.1"):
        PairingConfig(train=0.9)
    shutil.rmtree(events)
    with pytest.raises(StoreError, match="no such store"):
        PairStore(report.path)


def test_a_store_made_anew_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    report = pair(tmp_path)
    path = store_path(tmp_path, make_layout("events", NUM_EVENTS))
    shutil.rmtree(path)
    shutil.move(build_store(tmp_path / "other", "events", NUM_EVENTS, seed=3), path)
    with pytest.raises(StoreError, match=r"was made with .* of fingerprint"):
        PairStore(report.path)
