"""The part of a split that each of several processes has: its shards, images and draws, and that it reads no other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from object_server import BUCKET, ObjectServer
from paired_stores import IMAGES_PER_SHARD, make_pairs
from tiny_networks import NETWORKS, tiny_network
from tiny_run import MODEL, changed

from dvs_transfer import PairedCache
from dvs_transfer.cache.errors import DvsTransferError, StoreError, TrainingError
from dvs_transfer.cache.pairs import Split
from dvs_transfer.stages.batches import loading
from dvs_transfer.stages.batches.loading import load
from dvs_transfer.stages.batches.parts import PartLoader, ShardedSampler, class_shares
from dvs_transfer.stages.batches.sampling import Sampler
from dvs_transfer.stages.training import loop
from dvs_transfer.stages.training.config import TrainConfig
from dvs_transfer.stages.training.distributed import ALONE, Processes
from dvs_transfer.stages.training.dividing import load_for
from dvs_transfer.stages.training.dividing import sampler_of as sampler_of_all
from dvs_transfer.stages.training.statistics import AllStatistics, pooled

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 recordings in 18 shards: of one to three classes each."""
    return make_pairs(tmp_path_factory.mktemp("stores") / "pairs", 4)


@pytest.fixture(scope="module")
def split(pairs: Path) -> PairedCache:
    return PairedCache.open(pairs, "train")


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"batch_size": 12, **changes})


def sampler_of(split: PairedCache, count: int = 3, **changes: Any) -> ShardedSampler:
    return ShardedSampler(split, config(**changes), count, "value")


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("pairing", ["class", "instance"])
def test_each_recording_is_one_process_s_and_meets_an_image_that_it_has(
    split: PairedCache, count: int, pairing: str
) -> None:
    sampler = sampler_of(split, count, batch_size=30, pairing=pairing)
    assert sorted(np.concatenate([part.rows for part in sampler.parts])) == list(range(len(split)))
    shards = [sorted({*(split.rows[part.rows] // 4)}) for part in sampler.parts]
    used = sorted({*(split.rows // 4)})
    assert shards == [used[rank::count] for rank in range(count)]  # in turns: none has two more than another
    plan = sampler.plan(1)
    np.testing.assert_array_equal(split.event_labels[plan.recordings], split.image_labels[plan.images])
    if pairing == "instance":
        photos = split.photo[plan.recordings]
        np.testing.assert_array_equal(plan.images[photos >= 0], photos[photos >= 0])
    for rank, part in enumerate(sampler.parts):
        own = Processes(rank, count).part(plan)
        assert {*own.recordings.flatten().tolist()} <= {*part.rows.tolist()}
        assert {*own.images.flatten().tolist()} <= {*part.images.tolist()}


def test_of_images_a_process_has_those_of_its_shards_and_one_shard_more_for_a_class_that_these_lack(
    split: PairedCache,
) -> None:
    for rank, part in enumerate(sampler_of(split).parts):
        shard_of = split.pool_rows // IMAGES_PER_SHARD
        turn = {shard: number % 3 for number, shard in enumerate(sorted({*shard_of.tolist()}))}
        for label in range(7):
            of_class = [row for row in range(len(shard_of)) if split.image_labels[row] == label]
            own = [row for row in of_class if turn[shard_of[row]] == rank]
            held = [row for row in part.images.tolist() if split.image_labels[row] == label]
            if label not in part.split.event_labels:
                assert held == []
            elif own:
                assert held == own
            else:
                (shard,) = {shard_of[row] for row in held}
                assert held == [row for row in of_class if shard_of[row] == shard]
                most = Counter(shard_of[row] for row in of_class).most_common(1)[0][1]
                assert len(held) == most


def test_draws_follow_from_seed_epoch_process_and_their_number(split: PairedCache) -> None:
    plan = sampler_of(split).plan(3)
    again, later, seeded = sampler_of(split).plan(3), sampler_of(split).plan(4), sampler_of(split, seed=1).plan(3)
    whole = Sampler(split, config()).plan(3)
    for name, drawn in vars(plan).items():
        assert torch.equal(getattr(again, name), drawn)
        for other in (later, seeded, sampler_of(split, 2).plan(3), whole):
            assert getattr(other, name).shape == drawn.shape  # as many steps, however many processes
            assert not torch.equal(getattr(other, name), drawn)
        parts = [drawn[:, :4], drawn[:, 4:8], drawn[:, 8:]]
        assert not any(torch.equal(parts[a], parts[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("steps", [None, 11])
def test_how_often_an_epoch_visits_a_recording(split: PairedCache, steps: int | None) -> None:
    """A process takes L * B / n recordings from its part of m: each floor or ceil of (L * B / n) / m times."""
    sampler = sampler_of(split, sampling="shuffled", epoch_steps=steps)
    sizes = [len(part.rows) for part in sampler.parts]
    assert len({*sizes}) > 1  # parts are not equal
    num_steps = steps or len(split) // 12
    assert sampler.num_steps == num_steps
    for rank, part in enumerate(sampler.parts):
        drawn = Processes(rank, 3).part(sampler.plan(0)).recordings
        visits = Counter(drawn.flatten().tolist())
        often, more = divmod(num_steps * 4, len(part.rows))
        found = Counter(visits[row] for row in part.rows.tolist())
        assert found == Counter({often + 1: more, often: len(part.rows) - more} if more else {often: len(part.rows)})


def test_sequential_goes_through_each_part_as_it_is_stored(split: PairedCache) -> None:
    sampler = sampler_of(split, sampling="sequential", epoch_steps=9)
    for rank, part in enumerate(sampler.parts):
        drawn = Processes(rank, 3).part(sampler.plan(5)).recordings.flatten().tolist()
        assert drawn == (part.rows.tolist() * 3)[:36]


def test_balanced_classes_come_equally_often_where_the_shards_let_them(split: PairedCache) -> None:
    sampler = sampler_of(split, epoch_steps=1000)
    np.testing.assert_allclose(sampler.shares.sum(0), 3 / 7, rtol=1e-6)
    drawn = sampler.plan(0).recordings
    counts = np.bincount(split.event_labels[drawn].flatten(), minlength=7)
    expected = 12_000 / 7
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    assert len({*drawn.flatten().tolist()}) == len(split)
    assert "as often" not in sampler.note


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([[9, 9, 0], [0, 9, 9]], [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]),
        ([[6, 0], [2, 8]], [[1, 0], [0, 1]]),  # the first has one class, which so comes from it alone
        ([[5, 0, 0], [5, 5, 5]], [[1, 0, 0], [0, 0.5, 0.5]]),  # impossible: as near as can be
        ([[4, 0, 12], [4, 0, 4]], [[0.366, 0, 0.634], [0.634, 0, 0.366]]),  # odds ratio 1/3, as counted
    ],
)
def test_the_shares_of_classes(counts: Any, expected: Any) -> None:
    np.testing.assert_allclose(class_shares(np.array(counts)), expected, atol=2e-3)


def test_classes_that_cannot_come_equally_often_are_told(tmp_path: Path) -> None:
    split = PairedCache.open(make_pairs(tmp_path / "pairs", 10), "train")  # a class a shard: four and three
    sampler = sampler_of(split, 2)
    assert sampler.note.startswith("train.data_placement = sharded: each of 2 processes reads shards of its own, ")
    assert "not drawn equally often, but 0.88 to 1.17 times as often" in sampler.note  # 7/8 and 7/6
    with pytest.raises(TrainingError, match=r"recordings lie in 7 shards, and 8 processes .*: start at most 7"):
        sampler_of(split, 8, batch_size=16)


@pytest.mark.parametrize("free", [1 << 40, 0])  # the part in memory, or streamed
def test_a_process_reads_its_shards_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """All other shards are damaged."""
    split = PairedCache.open(make_pairs(tmp_path / "pairs", 4), "train")
    sampler = sampler_of(split)
    plan, part = Processes(1, 3).part(sampler.plan(0)), sampler.parts[1]
    whole = load(split, CPU, "device", "value")
    monkeypatch.setattr(loading.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    expected = list(whole.batches(plan, 1))
    assert split.pairs.images is not None
    for store, name, rows, size in (
        (split.pairs.events, "frames", split.rows[part.rows], 4),
        (split.pairs.images, "value", split.pool_rows[part.images], IMAGES_PER_SHARD),
    ):
        kept = {*(rows // size).tolist()}
        files = [path for path in (store.path / name / "c").rglob("*") if path.is_file()]
        damaged = [path for path in files if int(path.relative_to(store.path / name / "c").parts[0]) not in kept]
        assert len(damaged) >= len(files) / 2
        for path in damaged:
            path.write_bytes(b"")
    with pytest.raises(StoreError, match="damaged"):
        load(split, CPU, "device", "value")
    loader = PartLoader.of(split, part, CPU, "value")
    assert (loader.placement, loader.held.placement) == ("sharded", "device" if free else "streamed")
    assert (len(loader), loader.num_images) == (len(part.rows), len(part.images))
    batches = list(loader.batches(plan, 1))
    assert len(batches) == len(expected) == sampler.num_steps - 1
    for batch, other in zip(batches, expected, strict=True):
        for name, value in batch._asdict().items():
            same = torch.equal(value, getattr(other, name)) if isinstance(value, torch.Tensor) else None
            assert same or value == getattr(other, name), name
    assert sum(len(rows) for rows in loader.in_order(5)) == len(part.rows)


def chosen(split: PairedCache, before: bool | None = None, count: int = 2, **changes: Any) -> str:
    processes = SimpleNamespace(count=count, rank=1, highest=lambda value, device: value)
    settings: Any = split, config(**changes), "value", CPU, processes
    return load_for(sampler_of_all(*settings, before), *settings).placement


def test_auto_divides_what_does_not_fit_and_a_run_stays_as_it_was(
    split: PairedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (chosen(split), chosen(split, True), chosen(split, False)) == ("device", "sharded", "device")
    assert chosen(split, data_placement="sharded") == "sharded"
    assert chosen(split, True, 1, data_placement="sharded") == "device"
    monkeypatch.setattr(loading.psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    assert (chosen(split), chosen(split, count=1), chosen(split, False)) == ("sharded", "streamed", "streamed")
    assert chosen(split, data_placement="streamed") == "streamed"
    few = {"average": 0.5}
    assert chosen(split, **few) == "streamed"
    for changes, name in ((few, "average"), ({"unlabelled": {"adapt": True}}, "unlabelled")):
        with pytest.raises(TrainingError, match=f"train.{name} needs the whole split in each process"):
            chosen(split, data_placement="sharded", **changes)


def test_a_teacher_is_shown_all_photos(split: PairedCache) -> None:
    loader = PartLoader.of(split, sampler_of(split).parts[0], CPU, "value")
    rows = np.arange(len(split.pool_rows))[::-1].copy()
    np.testing.assert_array_equal(loader.photos(rows), split.load_values(rows))


def test_firing_rates_are_told_of_all_classes_where_nothing_validates(
    pairs: Path, split: PairedCache, tmp_path: Path
) -> None:
    def opening(name: Split) -> PairedCache:
        opened = PairedCache.open(pairs, name)
        opened.rows = opened.rows if name == "train" else opened.rows[:0]
        return opened

    settings = changed(data_placement="sharded", select="last")
    training = loop._Training.set_up(MODEL, settings, opening, tmp_path, CPU, Processes(0, 2), None)
    assert training.validation is not None
    spread = np.arange(8) * len(split) // 8
    np.testing.assert_array_equal(training.validation.shown, split.load_events(spread))
    assert not {*spread} <= {*sampler_of(split, 2, batch_size=8).parts[0].rows}


def test_statistics_of_all_recordings_together() -> None:
    """Means and variances of three groups as large as each other, against those of all values."""
    values = np.random.default_rng(0).normal([[0.0], [2.0], [-5.0]], [[1.0], [3.0], [0.5]], (3, 1000))
    found = pooled(torch.tensor(np.stack([values.mean(1), values.var(1)], 1)))
    np.testing.assert_allclose(found, [values.mean(), values.var()], rtol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_whoever_goes_on_takes_up_the_statistics(count: int) -> None:
    """Its own where there are as many processes as before, else those of all recordings together."""
    network = tiny_network(NETWORKS["vgg_snn"])
    every = AllStatistics(network, Processes(1, count))
    kept = torch.rand(2, len(every.own()))
    every.take_up(kept)
    assert torch.equal(every.own(), kept[1] if count == 2 else pooled(kept))
    copied = every.pooled_network(network)
    torch.testing.assert_close(AllStatistics(copied, ALONE).own(), pooled(kept))


@pytest.mark.filterwarnings("default")  # botocore and moto warn of what they use themselves
def test_at_an_address_a_process_reads_its_shards_and_no_other(object_server: ObjectServer, address: Path) -> None:
    """All other shards' objects vanish once the stores are open."""
    split = PairedCache.open(str(make_pairs(address, 4)), "train")
    part = sampler_of(split).parts[1]
    assert split.pairs.images is not None
    for store, name, rows, size in (
        (split.pairs.events, "frames", split.rows[part.rows], 4),
        (split.pairs.images, "value", split.pool_rows[part.images], IMAGES_PER_SHARD),
    ):
        kept = {f"{name}/c/{shard}/" for shard in (rows // size).tolist()}
        shards = [key for key in store.attributes.files if key.startswith(f"{name}/c/")]
        gone = [key for key in shards if not key.startswith(tuple(kept))]
        assert len(gone) >= len(shards) / 2
        for key in gone:
            object_server.client.delete_object(Bucket=BUCKET, Key=str(store.path / key).removeprefix(f"s3://{BUCKET}/"))
    loader = PartLoader.of(split, part, CPU, "value")
    np.testing.assert_array_equal(torch.cat(list(loader.in_order(5))), part.split.load_events().astype(np.float32))
    with pytest.raises(DvsTransferError):
        load(split, CPU, "device", "value")
