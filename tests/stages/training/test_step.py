"""What a step computes in, and what its optimiser may shrink."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import NETWORKS, tiny_network
from tiny_run import changed
from tiny_split import open_tiny_split
from torch import nn

from dvs_transfer.stages.batches.data import event_frames
from dvs_transfer.stages.batches.loading import load
from dvs_transfer.stages.batches.sampling import Sampler
from dvs_transfer.stages.network.layers import SpikingConv
from dvs_transfer.stages.training.augmentation import augment
from dvs_transfer.stages.training.config import AugmentationConfig
from dvs_transfer.stages.training.losses import transfer_loss
from dvs_transfer.stages.training.methods import MixedPrecision, Shown
from dvs_transfer.stages.training.methods.transfer import Transfer
from dvs_transfer.stages.training.step import Learner, decay_groups

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device that torch can use")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_CUDA])]


@pytest.mark.parametrize("method", ["transfer", "events", "finetune"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NETWORKS)
def test_precision_is_that_of_convolutions_and_heads(name, device, precision, method):
    config = changed(method=method, precision=precision)
    network = tiny_network(NETWORKS[name]).to(device).train()
    types: set[torch.dtype] = set()  # of what convolutions and heads give
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda layer, inputs, out: types.add(out.dtype))
    split = open_tiny_split("train")
    loader = load(split, torch.device(device), "device", None if method == "events" else "value")
    learner = Learner(config, network, torch.optim.AdamW(decay_groups(network, 0.01), lr=0.01, fused=True))
    for batch in loader.batches(Sampler(split, config).plan(0)):
        record = learner.step(batch, 0.5)
        break
    assert types == {getattr(torch, precision)}
    assert record.dtype == torch.float32
    assert record.isfinite().all()
    assert {parameter.grad.dtype for parameter in network.parameters() if parameter.grad is not None} == {torch.float32}
    assert {buffer.dtype for buffer in network.buffers()} <= {torch.float32}


@pytest.mark.parametrize("device", DEVICES)
def test_both_branches_share_the_weights_in_bfloat16(device):
    """Each is converted once a step, as the runs of earlier versions did; twice gives other sums of gradients."""
    config = changed(precision="bfloat16")
    shown = Shown(
        events=torch.rand(3, 4, 2, 16, 16, device=device),
        labels=torch.arange(4, device=device) % 2,
        images=torch.rand(4, 1, 16, 16, device=device),
        draws=torch.zeros(4, device=device),
        probability=0.0,
    )
    networks = [tiny_network(NETWORKS["vgg_snn"]).to(device).train() for _ in range(2)]
    with torch.autocast(device, torch.bfloat16):
        static = networks[0].with_features(shown.static(), "static")
        event = networks[0].with_features(shown.events, "event")
    logits, features = ([part.float() for part in parts] for parts in zip(static, event, strict=True))
    loss = transfer_loss(*features, *logits, shown.labels, networks[0].coefficients, config.loss)
    loss.total.backward()
    Transfer(config).loss(MixedPrecision(networks[1], config.precision), shown)[0].total.backward()
    for expected, found in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(found.grad, expected.grad)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("has_norm", [False, True])
@pytest.mark.usefixtures("cpu_implementation")
def test_aligned_membranes_are_float32(has_norm, device, precision):
    network = tiny_network(NETWORKS["vgg_snn" if has_norm else "scnn"]).to(device).train()
    conv = next(layer for layer in network.backbone if isinstance(layer, SpikingConv))
    frames = torch.rand(3, 2, 2, 16, 16, device=device)
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        _, membrane = conv.with_membrane(frames, "event")
    assert membrane.dtype == torch.float32


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_alone_decay(name):
    """timm's rule: what has one dimension does not, and the loss coefficients are no weights."""
    network = tiny_network(NETWORKS[name])
    decaying, others = decay_groups(network, 0.01)
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.01, 0)
    assert len(decaying["params"]) + len(others["params"]) == len(list(network.parameters()))
    names = {id(parameter): key for key, parameter in network.named_parameters()}
    assert {names[id(parameter)].rpartition(".")[2] for parameter in decaying["params"]} == {"weight"}
    assert "coefficients" in {names[id(parameter)] for parameter in others["params"]}
    assert not any("norm" in names[id(parameter)] for parameter in decaying["params"])


def test_decay_leaves_the_loss_coefficients_where_nothing_moves_them():
    network = tiny_network(NETWORKS["vgg_snn"])
    optimizer = torch.optim.AdamW(decay_groups(network, 0.5), lr=0.1, fused=True)
    before = {key: parameter.clone() for key, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, parameter in network.named_parameters():
        factor = 0.95 if parameter.ndim > 1 else 1.0
        torch.testing.assert_close(parameter, factor * before[key])


@pytest.mark.parametrize("method", ["transfer", "events", "finetune"])
def test_recordings_are_augmented_from_the_batch_s_seed_and_images_are_not(method):
    config = changed(method=method, augmentation=AugmentationConfig(nda=1, event_drop=True, polarity_flip=0.5))
    split = open_tiny_split("train")
    network = tiny_network(NETWORKS["vgg_snn"])
    loader = load(split, torch.device("cpu"), "device", None if method == "events" else "value")
    learner = Learner(config, network, torch.optim.AdamW(network.parameters()))
    shown: list[Shown] = []
    true_loss = learner.method.loss
    learner.method.loss = lambda network, step: shown.append(step) or true_loss(network, step)
    for batch in list(loader.batches(Sampler(split, config).plan(0)))[:2]:
        learner.step(batch, 0.5)
        again = augment(batch.frames.float(), batch.augmentation, config.augmentation, batch.generator("augmentation"))
        assert torch.equal(shown[-1].events, event_frames(again))
        assert shown[-1].images is batch.images
    assert not torch.equal(batch.generator("other").get_state(), batch.generator("augmentation").get_state())
