"""Photos as event frames in whole runs, one head for both domains, and the mixture of photos and recordings."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from tiny_run import CONFIG, MODEL, changed, metrics, train, weights
from tiny_split import open_tiny_split

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.network.networks import build_network
from dvs_transfer.stages.training.config import LossConfig, TrainConfig
from dvs_transfer.stages.training.loop import run
from dvs_transfer.stages.training.methods import MixedPrecision, Shown, method_of

SACCADE = changed(encoding="saccade")
STEPS, BATCH, CLASSES, SIZE = 3, 8, 4, 16


class Echo:
    """Stands in for the network: logits are sums over polarities and parts of the frames that it is shown."""

    def __init__(self) -> None:
        self.scale = torch.ones((), requires_grad=True)
        self.shown: list[tuple[torch.Tensor, str]] = []

    def logits(self, frames, domain):
        self.shown.append((frames, domain))
        return self.scale * frames.sum(2).flatten(2)[..., :CLASSES]

    def autocast(self):
        return nullcontext()


def shown(seed: int = 0, record=None) -> Shown:
    draws = torch.Generator().manual_seed(seed)
    return Shown(
        events=torch.rand(STEPS, BATCH, 2, SIZE, SIZE, generator=draws),
        labels=torch.arange(BATCH) % CLASSES,
        images=torch.rand(BATCH, 1, SIZE, SIZE, generator=draws),
        draws=torch.rand(BATCH, generator=draws),
        probability=0.0,
        record=record,
    )


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over steps and samples of (T, B, C) logits."""
    shifted = logits - logits.max(-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return float(-np.mean([log_probabilities[:, sample, label].mean() for sample, label in enumerate(labels)]))


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_share_of_the_batch_is_photos_and_the_rest_recordings(share):
    config = TrainConfig(method="mixture", options={"share": share}, loss=LossConfig(tet_mse_weight=0))
    batch, network = shown(), Echo()
    loss, logits = method_of(config).loss(network, batch)
    ((frames, domain),) = network.shown
    count = round(share * BATCH)
    assert domain == "event"
    assert torch.equal(frames[:, :count], batch.images[:count].expand(STEPS, -1, 2, -1, -1))
    assert torch.equal(frames[:, count:], batch.events[:, count:])
    expected = cross_entropy(logits.detach().double().numpy(), batch.labels.numpy())
    assert float(loss.total.detach()) == pytest.approx(expected, rel=1e-5)
    assert float((loss.static + loss.event).detach()) == pytest.approx(expected, rel=1e-5)
    assert (float(loss.event.detach()) == 0) == (share == 1)


def test_the_mixture_records_only_the_photos_that_it_shows():
    recorded = []

    def record(photos):
        recorded.append(len(photos))
        return torch.zeros(STEPS, len(photos), 2, SIZE, SIZE)

    method_of(TrainConfig(method="mixture", options={"share": 0.25})).loss(Echo(), shown(record=record))
    assert recorded == [2]


@pytest.mark.parametrize(("share", "found"), [(0.1, 0), (0.9, 4)])
def test_a_process_s_part_of_a_batch_has_photos_and_recordings_too(share, found):
    method = method_of(TrainConfig(method="mixture", options={"share": share}, batch_size=8))
    whole = shown()
    part = dataclasses.replace(whole, events=whole.events[:, :4], labels=whole.labels[:4], images=whole.images[:4])
    with pytest.raises(TrainingError, match=f"of a process's 4 of train.batch_size = 8 is {found} photos"):
        method.loss(Echo(), part)


@pytest.mark.parametrize(("share", "is_refused"), [(0.5, False), (0.7, False), (0.6, True)])
def test_a_process_s_part_of_a_batch_has_the_share_of_the_whole(share, is_refused):
    method = method_of(TrainConfig(method="mixture", options={"share": share}, batch_size=8))
    whole = shown()
    part = dataclasses.replace(whole, events=whole.events[:, :4], labels=whole.labels[:4], images=whole.images[:4])
    expected = pytest.raises(TrainingError, match="is 2 photos, of the whole batch 5") if is_refused else nullcontext()
    with expected:
        method.loss(Echo(), part)


@pytest.mark.parametrize(
    ("changes", "uses"),
    [
        ({"share": 1.0}, False),
        ({"share": 0.9}, True),
        ({"share": 1.0, "sampling": "shuffled"}, True),  # photos of a class as often as labelled recordings
        ({"share": 1.0, "pairing": "instance"}, True),
    ],
)
def test_photos_alone_use_no_label_unless_labels_choose_them(changes, uses):
    share = changes.pop("share")
    assert method_of(TrainConfig(method="mixture", options={"share": share}, **changes)).uses_labels is uses


def test_a_share_outside_its_bounds_is_refused():
    for share in (0, 1.5):
        with pytest.raises(ValueError, match="share"):
            method_of(TrainConfig(method="mixture", options={"share": share}))


@pytest.mark.parametrize("heads", [1, 2])
def test_one_head_names_both_domains(heads):
    network = build_network(MODEL, num_classes=CLASSES, num_steps=STEPS, size=SIZE, seed=0)
    method = method_of(TrainConfig(heads=heads))
    method.loss(MixedPrecision(network, "float32"), shown())[0].total.backward()
    assert (network.static_head.weight.grad is None) == (heads == 1)
    assert network.event_head.weight.grad.abs().sum() > 0
    assert method.photo_head == ("event" if heads == 1 else "static")


@pytest.mark.parametrize("method", ["transfer", "mixture", "finetune"])
def test_every_method_that_shows_photos_shows_saccades(tmp_path, method):
    epochs = 2
    losses = {}
    for encoding in ("value", "saccade"):
        train(tmp_path / encoding, changed(method=method, encoding=encoding, epochs=epochs))
        losses[encoding] = metrics(tmp_path / encoding)[0]["loss"]
    assert losses["value"] != losses["saccade"]


def test_drawn_frames_are_others_in_each_batch_and_the_same_in_each_run(tmp_path):
    for folder in ("one", "two"):
        train(tmp_path / folder, SACCADE)
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    train(tmp_path / "other seed", changed(SACCADE, seed=43))
    assert weights(tmp_path / "one") != weights(tmp_path / "other seed")


def test_images_of_another_size_need_saccades(tmp_path):
    @dataclasses.dataclass
    class Fine:
        inner: object
        image_size: int = 2 * SIZE

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def __len__(self):
            return len(self.inner)

        def load_images(self, indices=None):
            return self.inner.load_images(indices).repeat(2, axis=2).repeat(2, axis=3)

        def load_values(self, indices=None):
            return self.inner.load_values(indices).repeat(2, axis=2).repeat(2, axis=3)

    def open_fine(split):
        return Fine(open_tiny_split(split))

    with pytest.raises(TrainingError, match=r"images beside frames of 16 pixels, and they have 32: train with"):
        run(MODEL, CONFIG, open_fine, tmp_path / "value")
    run(MODEL, SACCADE, open_fine, tmp_path / "saccade")
    assert metrics(tmp_path / "saccade")[-1]["loss"] > 0


def test_bins_of_equal_counts_cannot_be_drawn(tmp_path):
    def open_counted(split):
        return dataclasses.replace(open_tiny_split(split), bin_mode="count")

    with pytest.raises(TrainingError, match=r"frames\.mode = count: convert them with frames\.mode = time"):
        run(MODEL, SACCADE, open_counted, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"share": 0.02}, "batch_size": 20}, "is 0 photos: a batch needs photos"),
        ({"options": {"share": 0.99}, "batch_size": 20}, "is 20 photos: a batch needs photos, and recordings"),
        ({"sampling": "sequential"}, "some recordings would never be shown"),
    ],
)
def test_a_mixture_of_photos_or_recordings_alone_is_refused(changes, message):
    with pytest.raises(TrainingError, match=message):
        method_of(TrainConfig(method="mixture", **changes))


def test_the_mixture_replaces_no_photo():
    assert [method_of(TrainConfig(method="mixture")).sliding()(at) for at in (0.0, 0.5, 0.99)] == [0, 0, 0]
