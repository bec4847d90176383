"""The teacher, what it teaches and for how long, against NumPy."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_networks import NETWORKS, tiny_network
from tiny_run import changed, metrics, train, weights
from tiny_split import TinySplit, open_tiny_split
from watched import watched_network

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.training.losses import transfer_loss
from dvs_transfer.stages.training.methods import Shown, auxiliary_of, method_of
from dvs_transfer.stages.training.methods.distillation import Distillation, Teacher, weight_at

FEW = {"teacher_epochs": 2}


def shown(progress=0.0, probability=0.0, record=None):
    rng = torch.Generator().manual_seed(1)
    return Shown(
        events=torch.rand(3, 8, 2, 16, 16, generator=rng),
        labels=torch.arange(8) % 4,
        images=torch.rand(8, 1, 16, 16, generator=rng),
        draws=torch.arange(8) / 8,
        probability=probability,
        record=record,
        progress=progress,
    )


def stepped(given, **changes):
    """A step whose teacher has an opinion."""
    config = changed(method="distillation", **changes)
    watched = watched_network(config)
    for parameter in watched.auxiliary.head.parameters():
        parameter.mul_(20)
    return method_of(config).loss(watched, given), watched, config


class KilledError(Exception):
    pass


def numpy_divergence(student, teacher, temperature):
    """(T, B) of logits (T, B, C) and (B, C)."""

    def softened(logits):
        powers = np.exp(logits.detach().numpy().astype(np.float64) / temperature)
        return powers / powers.sum(-1, keepdims=True)

    s, p = softened(student), softened(teacher)
    return temperature**2 * (p * np.log(p / s)).sum(-1)


@pytest.mark.parametrize("record", [None, lambda photos: photos.expand(3, len(photos), 2, 16, 16).square()])
@pytest.mark.parametrize("tet", [True, False])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize(("progress", "probability"), [(0.0, 0.0), (0.45, 0.5), (0.55, 0.25), (0.7, 0.5)])
def test_the_loss(record, tet, heads, progress, probability):
    given = shown(progress, probability, record)
    options = {"temperature": 3.0, "weight": 0.8}
    (loss, logits), watched, config = stepped(given, options=options, heads=heads, loss={"tet": tet})
    (frames, domain, static_logits, static_features), (_, _, event_logits, event_features) = watched.calls
    assert domain == ("static" if heads == 2 else "event")
    assert torch.equal(frames, given.static())
    assert torch.equal(logits, event_logits)
    parts = (static_features, event_features, static_logits, event_logits)
    of_transfer = transfer_loss(*parts, given.labels, watched.coefficients, config.loss)
    assert loss[:3] == of_transfer[:3]

    taught = watched.auxiliary(given.images)  # of the photos' brightness, whatever the student sees
    followed = static_logits if tet else static_logits.mean(0, keepdim=True)
    distances = numpy_divergence(followed, taught, 3.0)
    has_photo = np.arange(8) >= 8 * probability
    weight = {0.0: 1.0, 0.45: (1 + np.sqrt(0.5)) / 2, 0.55: (1 - np.sqrt(0.5)) / 2, 0.7: 0.0}[progress]
    added = 0.8 * weight * (distances * has_photo).sum() / distances.size
    assert (added > 0.005) == (weight > 0)
    assert loss.total.item() == pytest.approx(of_transfer.total.item() + added, rel=1e-5)


def test_the_teacher_learns_nothing_in_a_step():
    (loss, _), watched, _ = stepped(shown())
    before = {key: value.clone() for key, value in watched.auxiliary.state_dict().items()}
    loss.total.backward()
    assert all(parameter.grad is None for parameter in watched.auxiliary.parameters())
    assert all(torch.equal(value, before[key]) for key, value in watched.auxiliary.state_dict().items())


def test_the_weight_falls_smoothly_at_half_time():
    assert [weight_at(progress, 0.2) for progress in (0, 0.2, 0.4, 0.5, 0.6, 0.9)] == pytest.approx(
        [1, 1, 1, 0.5, 0, 0]
    )
    assert weight_at(0.25, 1.0) == pytest.approx((1 + np.cos(np.pi / 4)) / 2)
    falling = np.diff([weight_at(progress, 0.3) for progress in np.linspace(0, 1, 1001)])
    assert (falling <= 0).all()
    assert falling.min() > -0.006  # no step: pi / 2 / 0.3 / 1000


def prepared(photos=None, **changes):
    config, split = changed(method="distillation", **changes), open_tiny_split("train")
    method = method_of(config)
    teacher = auxiliary_of(method, tiny_network(NETWORKS["vgg_snn"]), split)
    values = torch.from_numpy(split.load_values())
    told: list[str] = []
    method.prepare(teacher, photos or (lambda rows: values[rows]), split.image_labels, told.append)
    return teacher, told


def test_the_teacher_begins_with_other_weights_than_the_network():
    config = changed(method="distillation")
    network = tiny_network(NETWORKS["vgg_snn"], seed=config.seed)
    teacher = auxiliary_of(method_of(config), network, open_tiny_split("train"))
    first = [next(p for p in module.parameters() if p.dim() == 4).flatten() for module in (network, teacher)]
    count = min(map(len, first))
    assert abs(np.corrcoef(*(weights[:count].detach().numpy() for weights in first))[0, 1]) < 0.5


def test_the_teacher_learns_the_photos():
    teacher, told = prepared(options={"teacher_epochs": 60, "teacher_learning_rate": 1e-2})
    assert "of these photos it names 100.0%" in told[-1]
    lines = [re.fullmatch(r"(.*), names ([0-9.]+)% of its photos", line).groups() for line in told[:-1]]
    assert [line[0] for line in lines] == [f"distillation: teacher epoch {epoch} of 60" for epoch in range(1, 61)]
    named = [float(line[1]) * 24 / 100 for line in lines]  # of 24 photos
    assert named == pytest.approx(np.round(named), abs=0.02)
    assert named[0] < 18 < 22 <= named[-1]
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_the_teacher_follows_from_the_seed():
    torch.manual_seed(5)
    (one, _), (two, _), (other, _) = (prepared(options=FEW, seed=seed) for seed in (1, 1, 2))
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key])
    assert not torch.equal(one.head.weight, other.head.weight)


def test_each_photo_of_the_pool_teaches_once_an_epoch_and_nothing_else_does():
    split, asked = open_tiny_split("train"), []
    values = torch.from_numpy(split.load_values())

    def photos(rows):
        asked.append(rows)
        return values[rows]

    prepared(photos, options=FEW, batch_size=10)
    rows = np.concatenate(asked).reshape(3, 24)  # of two epochs, and of the account of what was learned
    assert (np.sort(rows, axis=1) == np.arange(24)).all()
    assert {len(part) for part in asked} == {12}


def test_a_run_reads_photos_of_the_training_pool_alone(tmp_path):
    class Hidden(TinySplit):
        def load_images(self, indices=None):
            raise AssertionError

        load_values = load_images

    def opened(name):
        split = open_tiny_split(name)
        return split if name == "train" else Hidden(**vars(split))

    told = []
    report = train(tmp_path, changed(method="distillation", options=FEW), opened, on_message=told.append)
    assert ["teacher epoch" in line for line in told] == [True, True, False]
    assert "taught on the 24 photos of the static pool" in told[-1]
    assert report.num_images == 24


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (97, 33), (2, 2), (1, 1)])
def test_the_teacher_takes_photos_of_any_size(size):
    assert Teacher((4, "P", 6, "P", 8), 5).eval()(torch.rand(3, 1, *size)).shape == (3, 5)


def test_a_teacher_whose_loss_is_not_finite_is_refused():
    with pytest.raises(TrainingError, match=r"lower train\.options\.teacher_learning_rate"):
        prepared(lambda rows: torch.full((len(rows), 1, 16, 16), np.nan), options=FEW)


@pytest.mark.parametrize(("encoding", "at"), [("value", (1, 2)), ("value", (2, 2)), ("saccade", (2, 3))])
def test_killed_and_resumed_equals_one_go_with_the_same_teacher(tmp_path, monkeypatch, encoding, at):
    taught = []
    true_prepare = Distillation.prepare

    def prepare(self, *arguments):
        taught.append(len(list(tmp_path.glob("*/stints.json"))))
        return true_prepare(self, *arguments)

    def kill(progress):
        if (progress.epoch, progress.step) == at:
            raise KilledError

    monkeypatch.setattr(Distillation, "prepare", prepare)
    config = changed(method="distillation", encoding=encoding, options=FEW, checkpoint_steps=1, log_interval=1)
    train(tmp_path / "one_go", config)
    with pytest.raises(KilledError):
        train(tmp_path / "killed", config, on_progress=kill)
    assert taught == [1, 2]  # its time is noted as the training's
    train(tmp_path / "killed", config)
    assert len(taught) == 2  # it was kept
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "one_go")
    assert weights(tmp_path / "killed") == weights(tmp_path / "one_go")


def test_killed_while_the_teacher_learns_it_begins_anew(tmp_path, monkeypatch):
    def kill(*arguments):
        raise KilledError

    config = changed(method="distillation", options=FEW)
    train(tmp_path / "one_go", config)
    with monkeypatch.context() as patched:
        patched.setattr(Distillation, "prepare", kill)
        with pytest.raises(KilledError):
            train(tmp_path / "killed", config)
    train(tmp_path / "killed", config)
    assert weights(tmp_path / "killed") == weights(tmp_path / "one_go")


def test_the_teacher_makes_a_difference_in_the_first_half_alone(tmp_path):
    """Epochs 1 and 2 of 4 follow it, whichever its weight; without weight the run is that of transfer."""
    runs = {"transfer": {}, "without": {"weight": 0}, "with": {}}
    for name, options in runs.items():
        method = "transfer" if name == "transfer" else "distillation"
        config = changed(method=method, options=(options and FEW | options) or ({} if method == "transfer" else FEW))
        train(tmp_path / name, config)
    assert metrics(tmp_path / "without") == metrics(tmp_path / "transfer")
    first = [metrics(tmp_path / name)[0]["loss"] for name in ("with", "transfer")]
    assert first[0] > first[1] + 0.01


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"weight": -1},
        {"switch": 0},
        {"teacher_epochs": 0},
        {"teacher_widths": []},
        {"teacher_widths": [0]},
        {"kl": 1},
    ],
)
def test_impossible_options(options):
    with pytest.raises(ValidationError):
        method_of(changed(method="distillation", options=options))
