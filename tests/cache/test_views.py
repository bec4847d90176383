"""The split as `(frames, target)`: what the store holds; and tonic, spikingjelly and Lightning fed with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from dvs_transfer import PairedCache
from dvs_transfer.cache.views import FramesAndTargets
from dvs_transfer.stages import pairing
from dvs_transfer.stages.pairing_config import PairingConfig

from stores import build_store, make_arrays, make_layout

NUM = 60
CLASSES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    stores = build_store(folder, "events", NUM), build_store(folder, "images", NUM)
    return pairing.run(PairingConfig(novel_classes=("cat",)), *stores, folder).path


def to_unit(frames: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return frames / 200


def test_items_are_frames_and_class_of_the_store(pairs: Path) -> None:
    """Of every split, those of novel classes too, which have no image."""
    content = make_arrays(make_layout("events", NUM))["frames"]
    for split in ("train", "validation", "test", "novel"):
        cache = PairedCache.open(pairs, split)
        view = cache.as_dataset()
        assert (len(view), view.classes, view.sensor_size) == (len(cache), CLASSES, (6, 6, 2))
        items = list(view)
        assert len(items) == len(cache) > 0
        for (frames, target), name in zip(items, cache.sample_ids, strict=True):
            class_name, _, stem = name.partition("/image_")
            assert view.classes[target] == class_name
            assert frames.dtype == np.float32
            np.testing.assert_array_equal(frames, content[int(stem)])
        np.testing.assert_array_equal(view[-1][0], items[-1][0])
        with pytest.raises(IndexError, match=f"recording {len(view)} of {len(view)}"):
            view[len(view)]


def test_sensor_size_is_width_then_height() -> None:
    view = FramesAndTargets(lambda rows: np.zeros((len(rows), 3, 2, 4, 5)), np.zeros(1, np.int64), ("a",), (5, 4, 2))
    assert view[0][0].shape == (3, *view.sensor_size[::-1])


def test_each_part_has_its_transform(pairs: Path) -> None:
    plain = PairedCache.open(pairs).as_dataset()
    view = PairedCache.open(pairs).as_dataset(transform=lambda frames: frames.sum((0, 2, 3)), target_transform=str)
    for (total, name), (frames, target) in zip(view, plain, strict=True):
        assert name == f"{target}"
        assert total.tolist() == [frames[:, polarity].sum() for polarity in (0, 1)]


def test_a_transform_for_tensors_is_not_passed_over(pairs: Path) -> None:
    with pytest.raises(ValueError, match="give as_dataset one instead"):
        PairedCache.open(pairs, transform=torch.relu).as_dataset()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Python 3.12, of fork
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_worker_processes_read_it(pairs: Path, context: str) -> None:
    cache = PairedCache.open(pairs)
    cache[0]
    loader = DataLoader(cache.as_dataset(), batch_size=8, num_workers=1, multiprocessing_context=context)
    batches = list(loader)
    assert torch.cat([targets for _, targets in batches]).tolist() == cache.event_labels.tolist()
    np.testing.assert_array_equal(torch.cat([frames for frames, _ in batches]), cache.load_events())


def test_tonic_s_transforms_cache_and_collation_take_it(pairs: Path) -> None:
    from tonic import MemoryCachedDataset
    from tonic.collation import PadTensors
    from tonic.transforms import Compose, NumpyAsType, RandomTimeReversal

    cache = PairedCache.open(pairs)
    view = cache.as_dataset(transform=Compose([RandomTimeReversal(p=1.0), NumpyAsType(np.int16)]))
    loader = DataLoader(MemoryCachedDataset(view), batch_size=8, collate_fn=PadTensors())
    reversed_events = cache.load_events()[:, ::-1, ::-1].astype(np.int16)
    for _ in range(2):  # read, then from tonic's cache
        batches = list(loader)
        np.testing.assert_array_equal(torch.cat([frames for frames, _ in batches]), reversed_events)
        assert torch.cat([targets for _, targets in batches]).tolist() == cache.event_labels.tolist()


@pytest.mark.filterwarnings("default")  # what the libraries warn of is theirs
def test_a_network_of_spikingjelly_takes_time_first(pairs: Path) -> None:
    functional = pytest.importorskip("spikingjelly.activation_based.functional", reason="needs spikingjelly")
    from other_libraries import make_spikingjelly_network
    from tonic.collation import PadTensors

    torch.manual_seed(0)
    view = PairedCache.open(pairs).as_dataset(transform=to_unit)
    loader = DataLoader(view, batch_size=len(view), collate_fn=PadTensors(batch_first=False))
    ((frames, targets),) = loader
    assert frames.shape == (3, len(view), 2, 6, 6)
    network = make_spikingjelly_network(2)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = cross_entropy(4 * network(frames).mean(0), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        functional.reset_net(network)
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]

    network.eval()
    with torch.inference_mode():
        at_once = network(frames)
        functional.reset_net(network)
        functional.set_step_mode(network, "s")
        for step in range(3):  # one recording alone, one time bin after the other
            one = network(torch.from_numpy(view[4][0][step])[None])
            torch.testing.assert_close(one[0], at_once[step, 4])
    assert set(at_once.unique().tolist()) > {0.0, 1.0}  # votes of ten spikes


@pytest.mark.filterwarnings("default")
def test_lightning_s_data_module_takes_the_splits(pairs: Path, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning", reason="needs the extra `lightning`")
    from other_libraries import make_lightning_module

    lightning.seed_everything(0)
    caches = [PairedCache.open(pairs, split) for split in ("train", "validation", "test")]
    data = lightning.LightningDataModule.from_datasets(*(cache.as_dataset(to_unit) for cache in caches), batch_size=16)
    module = make_lightning_module(2)
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(
        max_epochs=30, accelerator="cpu", num_sanity_val_steps=0, default_root_dir=tmp_path, **off
    )
    trainer.fit(module, data)
    ((result),) = trainer.test(module, data, verbose=False)
    for split, cache, times in zip(module.seen, caches, (30, 30, 1), strict=True):
        assert sorted(module.seen[split]) == sorted(cache.event_labels.tolist() * times), split
    assert np.mean(module.losses[-2:]) < 0.5 * np.mean(module.losses[:2])
    frames = torch.from_numpy(caches[2].load_events().astype(np.float32) / 200)
    with torch.inference_mode():
        right = module.eval()(frames).argmax(1).numpy() == caches[2].event_labels
    assert result["accuracy"] == pytest.approx(right.mean())
