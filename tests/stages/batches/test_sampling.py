from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_split import TinySplit

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.batches.sampling import Sampler
from dvs_transfer.stages.training.config import TrainConfig


class SkewedSplit(TinySplit):
    """40 recordings of class 0, 2 of class 2, 1 of class 3; images of every class."""

    event_labels = np.repeat([0, 2, 3], [40, 2, 1])
    image_labels = np.repeat([0, 1, 2, 3], [5, 3, 7, 2])
    photo = np.where(np.arange(43) == 41, -1, 0)
    sample_ids = tuple(f"ant/{i}" for i in range(43))

    def __len__(self) -> int:
        return 43


def config(**changes) -> TrainConfig:
    return TrainConfig(**{"batch_size": 8, **changes})


def test_plan_follows_from_seed_and_epoch():
    def plan(seed, epoch):
        return Sampler(TinySplit(), config(seed=seed)).plan(epoch)

    for name in ("recordings", "images", "replacement", "augmentation"):
        assert torch.equal(getattr(plan(1, 3), name), getattr(plan(1, 3), name))
        assert not torch.equal(getattr(plan(1, 3), name), getattr(plan(1, 4), name))
        assert not torch.equal(getattr(plan(1, 3), name), getattr(plan(2, 3), name))


def test_every_method_sees_the_same_recordings_and_draws():
    transfer, events, instance = (
        Sampler(TinySplit(), config(**changes)).plan(2)
        for changes in ({}, {"method": "events"}, {"pairing": "instance", "sliding": "static"})
    )
    for other in (events, instance):
        assert torch.equal(other.recordings, transfer.recordings)
        assert torch.equal(other.augmentation, transfer.augmentation)
        assert torch.equal(other.replacement, transfer.replacement)


def test_balanced_sampling_draws_present_classes_equally_often():
    split = SkewedSplit()
    sampler = Sampler(split, config())
    rows = torch.cat([sampler.plan(epoch).recordings.flatten() for epoch in range(100)])
    shares = np.bincount(split.event_labels[rows], minlength=4) / len(rows)
    assert shares[1] == 0
    assert shares[[0, 2, 3]] == pytest.approx([1 / 3] * 3, abs=0.03)
    assert set(rows.tolist()) == set(range(43))


def test_images_are_of_the_recordings_class_and_all_are_used():
    split = SkewedSplit()
    sampler = Sampler(split, config())
    plans = [sampler.plan(epoch) for epoch in range(40)]
    rows, images = (torch.cat([getattr(p, name).flatten() for p in plans]) for name in ("recordings", "images"))
    assert np.array_equal(split.image_labels[images], split.event_labels[rows])
    assert set(images.tolist()) == set(np.flatnonzero(split.image_labels != 1).tolist())


def test_shuffled_and_sequential_sampling():
    split = TinySplit(num_recordings=26)
    shuffled = Sampler(split, config(sampling="shuffled")).plan(0).recordings
    assert shuffled.shape == (3, 8)
    assert len(set(shuffled.flatten().tolist())) == 24
    sequential = Sampler(split, config(sampling="sequential")).plan(0).recordings
    assert torch.equal(sequential.flatten(), torch.arange(24))


def test_instance_pairing_takes_the_recordings_own_photo():
    plan = Sampler(TinySplit(), config(pairing="instance")).plan(0)
    assert torch.equal(plan.images, plan.recordings)


def test_instance_pairing_of_a_few_without_a_photo_takes_one_of_their_class():
    """Recording 41 meets a random image of its class, the others their own; and it is told."""
    split = SkewedSplit()
    sampler = Sampler(split, config(pairing="instance", sampling="balanced"))
    plans = [sampler.plan(epoch) for epoch in range(20)]
    rows, images = (torch.cat([getattr(p, name).flatten() for p in plans]).numpy() for name in ("recordings", "images"))
    assert set(images[rows == 41]) == set(np.flatnonzero(split.image_labels == 2))
    assert set(images[rows != 41]) == {0}
    assert "1 of 43 training recordings have no photo of their own" in sampler.note
    by_class = Sampler(split, config(sampling="balanced")).plan(3)
    for name in ("recordings", "replacement", "augmentation"):
        assert torch.equal(getattr(plans[3], name), getattr(by_class, name))
    assert Sampler(TinySplit(), config(pairing="instance")).note == ""


def test_instance_pairing_where_many_have_no_photo_is_refused():
    class Lonely(SkewedSplit):
        photo = np.where(np.arange(43) >= 40, -1, 0)

    with pytest.raises(TrainingError, match=r"3 of 43 have none \(the first is ant/40\), more than 5%"):
        Sampler(Lonely(), config(pairing="instance"))


def test_class_without_images_is_refused_unless_events_are_trained_alone():
    class NoCats(SkewedSplit):
        image_labels = np.array([0, 1, 3])

    with pytest.raises(TrainingError, match=r"no static image \(cat\)"):
        Sampler(NoCats(), config())
    Sampler(NoCats(), config(), uses_images=False)


def test_fewer_recordings_than_a_batch_are_refused():
    with pytest.raises(TrainingError, match=r"at most 24 \(found 25\), or say with train.epoch_steps how many"):
        Sampler(TinySplit(), config(batch_size=25))


@pytest.mark.parametrize("sampling", ["balanced", "shuffled", "sequential"])
def test_an_epoch_of_given_steps_draws_recordings_again(sampling):
    """One recording a class and batches of 8: what few labels are trained with."""
    split = TinySplit(num_recordings=4)
    plan = Sampler(split, config(sampling=sampling, epoch_steps=5)).plan(3)
    assert plan.recordings.shape == plan.images.shape == (5, 8)
    assert set(plan.recordings.flatten().tolist()) == {0, 1, 2, 3}
    assert np.array_equal(split.image_labels[plan.images], split.event_labels[plan.recordings])
    if sampling != "balanced":
        assert plan.recordings.flatten().bincount().tolist() == [10] * 4
    short = Sampler(TinySplit(num_recordings=26), config(sampling=sampling, epoch_steps=2))
    assert short.plan(0).recordings.shape == (2, 8)
