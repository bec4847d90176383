"""Recordings without labels: consistency and adapted statistics against NumPy, and that no label of theirs is read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_networks import NETWORKS, tiny_network
from tiny_run import CONFIG, MODEL, changed, metrics, train, weights
from tiny_split import TinySplit, TinyUnlabelled, open_tiny_split

from dvs_transfer import PairedCache
from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.stages import pairing
from dvs_transfer.stages.batches.loading import load
from dvs_transfer.stages.batches.sampling import Sampler
from dvs_transfer.stages.network.layers import BatchNormOverTime
from dvs_transfer.stages.network.prediction import accuracy, predict
from dvs_transfer.stages.pairing_config import PairingConfig
from dvs_transfer.stages.runs.checkpoint import load_weights, weights_path
from dvs_transfer.stages.training import loop, unlabelled
from dvs_transfer.stages.training.config import LossConfig, TrainConfig
from dvs_transfer.stages.training.distributed import Processes
from dvs_transfer.stages.training.losses import consistency_loss
from dvs_transfer.stages.training.methods import MixedPrecision
from dvs_transfer.stages.training.step import Learner, StepRecord

from stores import build_store

CPU = torch.device("cpu")
BOTH = {"adapt": True, "consistency_weight": 1.0, "threshold": 0.3, "start": 0.25}


# The loss -------------------------------------------------------------------------------------------------------------


def softmax(logits):
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def naive_consistency(strong, weak, threshold, *, tet):
    """Recording by recording, step by step."""
    num_steps, batch_size, _ = strong.shape
    total, num_sure = 0.0, 0
    for b in range(batch_size):
        probabilities = softmax(sum(weak[t, b] for t in range(num_steps)) / num_steps)
        if probabilities.max() < threshold:
            continue
        num_sure += 1
        shown = [strong[t, b] for t in range(num_steps)] if tet else [strong[:, b].mean(0)]
        total += sum(-np.log(softmax(logits)[probabilities.argmax()]) for logits in shown) / len(shown)
    return total / batch_size, num_sure


@pytest.mark.parametrize("tet", [True, False])
@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.95])
def test_the_loss_is_that_of_the_recordings_that_are_sure(tet, threshold):
    strong, weak = 6 * torch.randn(2, 4, 12, 5, dtype=torch.float64)
    expected, num_sure = naive_consistency(strong.numpy(), weak.numpy(), threshold, tet=tet)
    assert num_sure == 12 if threshold == 0 else 0 < num_sure < 12
    found = consistency_loss(strong, weak, threshold, LossConfig(tet=tet))
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_where_none_is_sure_nothing_is_learned_and_the_weak_view_never_learns():
    strong, weak = torch.randn(2, 4, 12, 5, requires_grad=True).unbind()
    strong, weak = strong.detach().requires_grad_(), weak.detach().requires_grad_()
    consistency_loss(strong, weak, 1.0, LossConfig()).backward()
    assert torch.equal(strong.grad, torch.zeros_like(strong))
    consistency_loss(strong, weak, 0.0, LossConfig()).backward()
    assert strong.grad.abs().min() > 0
    assert weak.grad is None


# The step -------------------------------------------------------------------------------------------------------------


def a_batch(config):
    """The first labelled batch and the first one without labels."""
    sampler = Sampler(TinySplit(), config)
    labelled = next(load(TinySplit(), CPU, "device", "value").batches(sampler.plan(0)))
    return labelled, next(load(TinyUnlabelled(), CPU, "device").batches(sampler.unlabelled(0, 40, (1, 16))))


def stepped(config, batch):
    network = tiny_network(NETWORKS["vgg_snn"]).train()
    record = Learner(config, network, torch.optim.AdamW(network.parameters(), lr=0.01)).step(batch, 0.5)
    return network, StepRecord(*record.tolist())


@pytest.mark.parametrize("options", [{}, {"heads": 1}, {"method": "events"}, {"method": "mixture"}])
def test_every_method_gets_the_same_term_on_top(options):
    config = changed(**options, unlabelled={"consistency_weight": 0.7, "threshold": 0.0})
    labelled, without = a_batch(config)
    assert set(without.labels.tolist()) == {-1}
    before, alone = stepped(config, labelled)
    after, both = stepped(config, labelled._replace(unlabelled=without))
    # The weights are those before the step, and so is what the networks are in training mode.
    network = tiny_network(NETWORKS["vgg_snn"]).train()
    term = 0.7 * float(unlabelled.consistency(MixedPrecision(network, "float32"), without, config).detach())
    assert term > 0.1
    for name in ("event", "total"):
        assert getattr(both, name) - getattr(alone, name) == pytest.approx(term, rel=1e-4)
    for name in ("static", "alignment", "accuracy"):
        assert getattr(both, name) == getattr(alone, name)
    assert both.grad_norm != alone.grad_norm
    buffers = dict(after.named_buffers())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in before.named_buffers())
    assert not torch.equal(before.event_head.weight, after.event_head.weight)


def test_the_views_are_what_the_configuration_says(monkeypatch):
    """Weak: crop and flip of the plan's draws. Strong: as its section says, from the batch's seed."""
    seen = []
    true_augment = unlabelled.augment
    monkeypatch.setattr(unlabelled, "augment", lambda *given: seen.append((given, true_augment(*given))) or seen[-1][1])
    own = {"consistency_weight": 1, "strong": {"time_shift": 1}}
    config = changed(augmentation={"crop": False, "flip": True, "rotation_degrees": 90, "nda": 2}, unlabelled=own)
    _, batch = a_batch(config)
    for _ in range(2):
        unlabelled.consistency(MixedPrecision(tiny_network(NETWORKS["vgg_snn"]).train(), "float32"), batch, config)
    (_, weak), ((_, _, strong_config, _), strong), (_, weak_again), (_, strong_again) = seen
    frames = batch.frames.float()
    mirrored = batch.augmentation[:, 2] < 0.5
    assert 0 < mirrored.sum() < len(mirrored)
    for before, after, flipped in zip(frames, weak, mirrored, strict=True):
        assert torch.equal(after, before.flip(-1) if flipped else before)
    assert (strong_config.nda, strong_config.event_drop, strong_config.time_shift) == (1, True, 1)
    assert torch.equal(weak, weak_again)
    assert torch.equal(strong, strong_again)
    assert not torch.equal(strong, frames)


# The plan -------------------------------------------------------------------------------------------------------------


def test_each_recording_is_drawn_as_often_and_other_draws_stay():
    sampler = Sampler(TinySplit(), CONFIG)
    before = sampler.plan(1)
    plan = sampler.unlabelled(1, 40, (5, 16))
    assert np.bincount(plan.recordings.flatten()).tolist() == [2] * 40
    assert all(torch.equal(a, b) for a, b in zip(vars(before).values(), vars(sampler.plan(1)).values(), strict=True))
    again, other = (vars(sampler.unlabelled(epoch, 40, (5, 16))) for epoch in (1, 2))
    for name in ("recordings", "augmentation", "seeds"):
        assert torch.equal(getattr(plan, name), again[name])
        assert not torch.equal(getattr(plan, name), other[name])
        assert not torch.equal(getattr(plan, name)[:3, :8], getattr(before, name))


@pytest.mark.parametrize("placement", ["device", "streamed"])
@pytest.mark.parametrize(("epoch", "first"), [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 2)])
def test_steps_before_the_start_are_without(epoch, first, placement):
    """From step 4 of 9 on; whatever step an epoch goes on from, and whichever process's part it is."""
    own = {"consistency_weight": 1, "start": 4 / 9, "ratio": 2}
    config = changed(data_placement=placement, unlabelled=own)
    split, processes = TinySplit(), Processes(1, 2)
    sampler = Sampler(split, config)
    beside = unlabelled.Unlabelled.of(split, config, sampler, tiny_network(MODEL), CPU, processes)
    labelled = load(split, CPU).batches(processes.part(sampler.plan(epoch)), first)
    batches = list(beside.beside(labelled, epoch, first))
    plan = sampler.unlabelled(epoch, 40, (3, 16))
    assert len(batches) == 3 - first
    for step, batch in enumerate(batches, first):
        assert len(batch.labels) == 4
        assert (batch.unlabelled is not None) == (3 * epoch + step >= 4)
        if batch.unlabelled is not None:
            frames = TinyUnlabelled().load_events(plan.recordings[step, 8:].numpy())
            np.testing.assert_array_equal(batch.unlabelled.frames, frames)
            assert torch.equal(batch.unlabelled.augmentation, plan.augmentation[step, 8:])


# Adapted statistics ---------------------------------------------------------------------------------------------------


def naive_currents(frames, kernel):
    """3 x 3 convolution with padding 1 of frames (n, 2, H, W) with (C, 2, 3, 3)."""
    padded = np.pad(frames.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = frames.shape[-2:]
    out = np.zeros((len(frames), len(kernel), height, width))
    for row in range(3):
        for column in range(3):
            part = padded[:, :, row : row + height, column : column + width]
            out += np.einsum("nihw,oi->nohw", part, kernel[:, :, row, column])
    return out


def first_norm(folder):
    network, info = load_weights(weights_path(folder, "last"), CPU)
    norm = next(module for module in network.modules() if isinstance(module, BatchNormOverTime))
    return network, info, network.backbone[0].conv.weight.detach().numpy(), norm


@pytest.mark.parametrize("most", [50, 3])
def test_kept_statistics_are_those_of_all_recordings_that_may_be_seen(tmp_path, most, monkeypatch):
    monkeypatch.setattr(unlabelled, "MOST_ADAPTED", most)
    train(tmp_path, changed(unlabelled={"adapt": True}))
    network, info, kernel, norm = first_norm(tmp_path)
    rows = Sampler(TinySplit(), CONFIG).unlabelled(2, 40, (min(most, 5), 8)).recordings.numpy()
    if most == 50:
        assert sorted(rows.flatten()) == list(range(40))  # each once
    means, variances = [], []
    for part in rows:
        currents = naive_currents(TinyUnlabelled().load_events(part).reshape(-1, 2, 16, 16), kernel)
        means.append(currents.mean((0, 2, 3)))
        variances.append(currents.var((0, 2, 3), ddof=1))
    np.testing.assert_allclose(norm.running_mean, np.mean(means, 0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.running_var, np.mean(variances, 0), rtol=1e-4)
    selection = load(open_tiny_split("validation"), CPU)
    assert info.accuracy == accuracy(predict(network, selection, 8), selection.labels)  # of what is kept


def test_training_itself_goes_on_with_its_own_statistics(tmp_path):
    train(tmp_path / "plain")
    train(tmp_path / "adapted", changed(unlabelled={"adapt": True}))
    for plain, own in zip(metrics(tmp_path / "plain"), metrics(tmp_path / "adapted"), strict=True):
        assert {key: plain[key] for key in ("loss", "grad_norm", "train_accuracy")} == {
            key: own[key] for key in ("loss", "grad_norm", "train_accuracy")
        }
    before, after = (load_weights(weights_path(tmp_path / name, "last"), CPU)[0] for name in ("plain", "adapted"))
    buffers = dict(after.named_buffers())
    for name, parameter in before.named_parameters():
        assert torch.equal(parameter, after.get_parameter(name))
    assert not any(
        torch.equal(buffer, buffers[name]) for name, buffer in before.named_buffers() if "static" not in name
    )
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in before.named_buffers() if "static" in name)


# The run --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    events, images = (build_store(folder, kind, 60, (0,) if kind == "events" else ()) for kind in ("events", "images"))
    return pairing.run(PairingConfig(train_per_class=3), events, images, folder).path


@pytest.mark.parametrize("method", ["transfer", "events"])
def test_labels_of_recordings_without_labels_change_nothing(tmp_path, pairs, method, monkeypatch):
    """Were one of them read, as label or to draw a batch, the second run would be another."""
    config = changed(method=method, unlabelled=BOTH, epochs=2, epoch_steps=3)
    said = []
    train(tmp_path / "as they are", config, lambda name: PairedCache.open(pairs, name), on_message=said.append)
    assert "train.unlabelled: 47 recordings are seen without labels" in said  # of 59, 6 validate and 6 test
    opened = PairedCache.open(pairs)
    hidden = np.setdiff1d(opened.unlabelled.rows, opened.rows)
    assert len(hidden) == 38
    true_label = FrameStore.label.fget

    def label(store):
        labels = true_label(store).copy()
        if store.kind == "events":
            labels[hidden] = (labels[hidden] + 1) % 3
        return labels

    monkeypatch.setattr(FrameStore, "label", property(label))
    train(tmp_path / "others", config, lambda name: PairedCache.open(pairs, name))
    assert metrics(tmp_path / "others") == metrics(tmp_path / "as they are")
    assert weights(tmp_path / "others") == weights(tmp_path / "as they are")


@pytest.mark.parametrize("source", ["tiny", "store"])
def test_same_bits_for_every_placement(tmp_path, pairs, source):
    open_split = open_tiny_split if source == "tiny" else lambda name: PairedCache.open(pairs, name)
    for placement in ("device", "pinned", "streamed"):
        config = changed(data_placement=placement, unlabelled=BOTH, epochs=2)
        train(tmp_path / placement, config, open_split)
        assert metrics(tmp_path / placement) == metrics(tmp_path / "device")
        assert weights(tmp_path / placement) == weights(tmp_path / "device")


def test_consistency_changes_what_is_learned(tmp_path):
    train(tmp_path / "plain")
    train(tmp_path / "consistent", changed(unlabelled={**BOTH, "adapt": False}))
    plain, consistent = (metrics(tmp_path / name) for name in ("plain", "consistent"))
    assert plain[0]["loss"] != consistent[0]["loss"]
    assert consistent[-1]["loss"] == pytest.approx(
        sum(
            consistent[-1][f"loss_{part}"] * (0.5 if part == "alignment" else 1)
            for part in ("static", "event", "alignment")
        )
    )


@pytest.mark.parametrize("own", [{"adapt": True}, {"consistency_weight": 1}])
def test_there_must_be_some(tmp_path, own, monkeypatch):
    monkeypatch.setattr(TinyUnlabelled, "__len__", lambda self: 24)
    says = r"train\.unlabelled needs .* all 24 that may train are labelled: pair with pairing\.train_per_class"
    with pytest.raises(TrainingError, match=says):
        train(tmp_path, changed(unlabelled=own))


def test_what_could_not_be_used_is_told_before_the_first_step(tmp_path):
    scnn = MODEL.model_copy(update={"name": "scnn", "widths": (4, "P", 8)})
    with pytest.raises(TrainingError, match=r"train\.unlabelled\.adapt = true: the network has no batch norm"):
        loop.run(scnn, changed(unlabelled={"adapt": True}), open_tiny_split, tmp_path)
    late = {"consistency_weight": 1, "start": 0.9, "strong": {"time_shift": 3}}
    with pytest.raises(TrainingError, match=r"strong\.time_shift = 3: expected less than .* time bins, 3"):
        train(tmp_path, changed(unlabelled=late))


def test_a_configuration_that_does_not_use_them_is_what_it_was():
    document = TrainConfig().model_dump(mode="json")
    assert "unlabelled" not in document
    own = TrainConfig(unlabelled={"strong": {"nda": 0, "rotation_degrees": 5}})
    assert TrainConfig.model_validate(own.model_dump(mode="json")) == own
    assert own.unlabelled.strong.event_drop  # of which nothing was said
