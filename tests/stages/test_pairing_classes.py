"""Pairing recordings with images of another data set, with some of its classes, or with none at all."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from dvs_transfer import PairedCache
from dvs_transfer.cache.errors import StoreError
from dvs_transfer.stages import pairing
from dvs_transfer.stages.pairing import PairingReport
from dvs_transfer.stages.pairing_config import PairingConfig

from stores import build_store

ANIMALS = ("ant", "bee", "cat")


def pair(folder: Path, images: tuple[str, ...] | None, **config: object) -> PairingReport:
    """30 recordings of `ANIMALS`, 10 a class, with 40 images of these classes."""
    events = build_store(folder, "events", 30, quarantined=(4,))
    stores = None if images is None else build_store(folder, "images", 40, quarantined=(39,), class_names=images)
    return pairing.run(PairingConfig.model_validate(config), events, stores, folder)


def class_of(sample_id: str) -> str:
    return sample_id.split("/")[0]


def test_recordings_alone_are_split_as_with_images(tmp_path: Path) -> None:
    alone, paired = pair(tmp_path / "a", None), pair(tmp_path / "b", ANIMALS)
    assert (alone.num_pool, alone.num_with_photo, alone.num_classes) == (0, 0, 3)
    assert alone.num_train == paired.num_train > 0
    for split in ("train", "validation", "test"):
        one, other = (PairedCache.open(report.path, split) for report in (alone, paired))
        assert one.sample_ids == other.sample_ids
        assert not one.has_images
        assert other.has_images
    train = PairedCache.open(alone.path)
    assert set(train[0]) == {"events", "label", "sample_id"}
    assert set(train.read(np.arange(2))) == {"events", "label", "sample_id"}
    assert (len(train.image_labels), train.image_ids, set(train.photo)) == (0, (), {-1})
    with pytest.raises(StoreError, match="recordings without images; pair them"):
        train.load_values()


def test_shared_classes_have_labels_of_their_own(tmp_path: Path) -> None:
    report = pair(tmp_path, ("bee", "cat", "dog", "eel"), classes="shared")
    assert (report.num_classes, report.num_unused) == (2, 10)
    train = PairedCache.open(report.path)
    assert train.class_names == ("bee", "cat")
    assert [train.class_names[label] for label in train.event_labels] == [class_of(name) for name in train.sample_ids]
    assert [train.class_names[label] for label in train.image_labels] == [class_of(name) for name in train.image_ids]
    assert train[0]["label"] == train.event_labels[0]
    for position in range(len(train)):
        sample = train[position]
        assert class_of(sample["image_id"]) == class_of(sample["sample_id"])


def test_a_class_may_be_taught_by_one_of_another_name(tmp_path: Path) -> None:
    mapping = tmp_path / "names.toml"
    mapping.write_text('ant = "formica"\n"cat" = "felis"\n')
    report = pair(tmp_path, ("bee", "felis", "formica", "yak"), classes="shared", image_classes=mapping)
    train = PairedCache.open(report.path)
    assert train.class_names == ANIMALS
    taught_by = {"ant": "formica", "bee": "bee", "cat": "felis"}
    expected = Counter(taught_by[train.class_names[label]] for label in train.image_labels)
    assert Counter(map(class_of, train.image_ids)) == expected
    assert len(expected) == 3
    again = pair(tmp_path / "again", ("bee", "felis", "formica"), image_classes={"ant": "formica", "cat": "felis"})
    assert again.num_classes == 3
    assert PairedCache.open(report.path).pairs.description.pairing["image_classes"] == {
        "ant": "formica",
        "cat": "felis",
    }


@pytest.mark.parametrize(
    ("images", "config", "says"),
    [
        (("bee", "cat", "dog"), {}, r"without images: ant; without recordings: dog.*pairing\.classes = shared"),
        (("cat", "dog"), {"classes": "shared"}, "1 of its 3 classes can be used"),
        (ANIMALS, {"image_classes": {"elk": "cat"}}, "toy-events-.* has no class elk; it has ant, bee, cat"),
        (ANIMALS, {"image_classes": {"ant": "elk"}}, "toy-images-.* has no class elk; it has ant, bee, cat"),
        (ANIMALS, {"image_classes": {"ant": "bee"}}, "bee of toy-images-.* would teach several classes"),
    ],
)
def test_classes_that_do_not_fit_are_refused(
    images: tuple[str, ...], config: dict[str, object], says: str, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match=says):
        pair(tmp_path, images, **config)
    assert not list(tmp_path.glob("*+*"))


def test_a_mapping_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "names.toml").write_text("ant = ")
    for value in (tmp_path / "names.toml", tmp_path / "missing.toml", str(tmp_path)):
        with pytest.raises(ValidationError, match="expected a TOML file of class names"):
            PairingConfig.model_validate({"image_classes": value})
