"""No host synchronisation in a step: nothing in `Learner.step` reads a tensor's value.

Without a GPU this is seen in two ways. A dispatch mode watches the operations of a step on the CPU, backward pass and
optimiser among them, for those that a GPU would have to be waited for. And a step runs on torch's meta device, whose
tensors have no values that could be read or copied to the host.
"""

from __future__ import annotations

import pytest
import torch
from tiny_run import MODEL, changed
from tiny_split import open_tiny_split
from torch.utils._python_dispatch import TorchDispatchMode

from dvs_transfer.stages.batches.loading import Batch, OnDevice, load
from dvs_transfer.stages.batches.sampling import Sampler
from dvs_transfer.stages.network.networks import build_network
from dvs_transfer.stages.training import step
from dvs_transfer.stages.training.augmentation import AugmentationConfig
from dvs_transfer.stages.training.config import LossConfig
from dvs_transfer.stages.training.distributed import ALONE
from dvs_transfer.stages.training.keeping import KeptNetwork
from dvs_transfer.stages.training.methods import MixedPrecision, auxiliary_of, method_of
from dvs_transfer.stages.training.step import Learner

CPU = torch.device("cpu")
EVERYTHING = AugmentationConfig(crop=True, flip=True, rotation_degrees=15)
VARIANTS = {
    "method": {},
    "events": {"method": "events"},
    "finetune": {"method": "finetune"},
    "timestep mixup": {"method": "timestep_mixup"},
    "distillation": {"method": "distillation"},
    "augmentation": {"augmentation": EVERYTHING},
    "augmentation drawn on the device": {
        "augmentation": AugmentationConfig(nda=2, time_shift=1, polarity_flip=0.5),
    },
    "event drop": {"augmentation": AugmentationConfig(event_drop=True)},
    "no augmentation": {"augmentation": AugmentationConfig(crop=False)},
    "without regularization": {"loss": LossConfig(regularization="none")},
    "fixed coefficient": {"loss": LossConfig(regularization="fixed")},
    "without TET": {"loss": LossConfig(tet=False)},
    "without alignment": {"loss": LossConfig(alignment_weight=0)},
    "recompute": {"recompute": True},
    "consistency": {"unlabelled": {"consistency_weight": 1, "strong": {"event_drop": False}}},
    "bfloat16": {"precision": "bfloat16"},
}

# Their results, or the shapes of their results, depend on values: on a GPU the host waits for them.
WAITING = {
    *("_local_scalar_dense", "item", "is_nonzero", "equal", "allclose", "nonzero", "nonzero_numpy", "argwhere"),
    *("masked_select", "unique_dim", "unique_consecutive", "_unique2", "repeat_interleave", "bincount", "histc"),
}


class WouldWaitError(Exception):
    pass


class NoWaiting(TorchDispatchMode):
    """Raises at an operation that makes the host wait for the device."""

    def __init__(self):
        super().__init__()
        self.num_operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.num_operations += 1
        name = function.overloadpacket.__name__
        # A mask as index is a nonzero inside.
        masks = [i for i in args[1] if i is not None and i.dtype == torch.bool] if name.startswith("index") else []
        if name in WAITING or (masks and "index_select" not in name):
            raise WouldWaitError(name)
        if name in ("_to_copy", "copy_") and moves(name, args, kwargs or {}):
            raise WouldWaitError(f"{name} to another device")
        return function(*args, **(kwargs or {}))


def moves(name, args, kwargs):
    if name == "copy_":
        return args[0].device != args[1].device
    return kwargs.get("device") is not None and torch.device(kwargs["device"]) != args[0].device


def learner_and_batch(device=CPU, model=MODEL, **changes):
    config = changed(deterministic=False, **changes)
    split = open_tiny_split("train")
    network = build_network(model, num_classes=4, num_steps=3, size=16, seed=0).to(device)
    network.backbone.recompute = config.recompute
    fused = device.type != "meta"
    learner = Learner(
        config,
        network,
        torch.optim.AdamW(network.parameters(), lr=0.01, fused=fused),
        auxiliary=auxiliary_of(method_of(config), network, split),
    )
    data = load(split, CPU, "device", None if config.method == "events" else "value")
    data = OnDevice(*(None if part is None else part.to(device) for part in (data.frames, data.labels, data.images)))
    batch = next(data.batches(Sampler(split, config).plan(0)))
    return learner, batch._replace(unlabelled=batch if config.unlabelled.is_used else None)


def watched_step(learner, batch):
    learner.step(batch, 0.5)  # the optimiser makes its state in the first
    with NoWaiting() as watch:
        learner.step(batch, 0.5)
    return watch.num_operations


@pytest.mark.parametrize("name", ["vgg_snn", "resnet18", "scnn"])
@pytest.mark.parametrize("batch_norm", ["per_step", "merged"])
def test_networks(name, batch_norm):
    widths = {"vgg_snn": (4, "P", 4), "resnet18": (4, 8), "scnn": (4, "P", 8)}[name]
    model = MODEL.model_copy(update={"name": name, "widths": widths, "batch_norm": batch_norm})
    assert watched_step(*learner_and_batch(model=model)) > 100


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(variant):
    assert watched_step(*learner_and_batch(**VARIANTS[variant])) > 100


# There is no autocast for meta, and no binomial.
@pytest.mark.parametrize("variant", sorted(VARIANTS.keys() - {"bfloat16", "event drop"}))
def test_variants_on_a_device_without_values(variant, monkeypatch):
    learner, batch = learner_and_batch(torch.device("meta"), **VARIANTS[variant])
    monkeypatch.setattr(MixedPrecision, "autocast", lambda self: torch.autocast("cpu", enabled=False))
    monkeypatch.setattr(Batch, "generator", lambda self, purpose: torch.Generator())  # there is none for meta
    assert learner.step(batch, 0.5).device.type == "meta"


@pytest.mark.parametrize("device", [CPU, torch.device("meta")])
def test_the_moving_average(device):
    learner, _ = learner_and_batch(device)
    kept = KeptNetwork.of(changed(average=0.9), learner.network, None, ALONE)
    with NoWaiting() as watch:
        kept.follow(1)
    assert watch.num_operations > 0


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: torch.equal(x, x),
        lambda x: x.unique(),
        lambda x: x.to("meta"),
    ],
)
def test_what_would_wait_is_noticed(waits, monkeypatch):
    true_augment = step.augment

    def augment(*arguments):
        waits(torch.ones(3))
        return true_augment(*arguments)

    learner, batch = learner_and_batch()
    monkeypatch.setattr(step, "augment", augment)
    with pytest.raises(WouldWaitError):
        watched_step(learner, batch)


def test_waiting_in_the_backward_pass_is_noticed():
    learner, batch = learner_and_batch()
    learner.network.event_head.weight.register_hook(lambda grad: grad * float(grad.norm()))
    with pytest.raises(WouldWaitError, match="_local_scalar_dense"):
        watched_step(learner, batch)


@pytest.mark.parametrize(
    "reads", [lambda x: x.sum().item(), lambda x: x.cpu(), lambda x: x[x > 0], lambda x: x.tolist()]
)
def test_reading_from_a_device_without_values_fails(reads):
    with pytest.raises((RuntimeError, NotImplementedError)):
        reads(torch.ones(3, device="meta"))
