"""Recomputation in the backward pass: the same bits, statistics that see a batch once, less memory."""

from __future__ import annotations

import pytest
import torch
from tiny_run import MODEL, changed, metrics, train, weights

from dvs_transfer.stages.network.networks import build_network

MODELS = {"vgg_snn": (4, "P", 6, 6, "P"), "resnet18": (4, 8), "scnn": (4, "P", 8)}


def after_backward(model, recompute, dtype=torch.float32):
    network = build_network(model, num_classes=4, num_steps=3, size=16, seed=1)
    network.backbone.recompute = recompute
    generator = torch.Generator().manual_seed(2)
    static, events = torch.randint(0, 4, (2, 3, 5, 2, 16, 16), generator=generator).float()
    kept = 0

    def pack(tensor):
        nonlocal kept
        kept += tensor.nbytes
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", enabled=False):
        loss = sum(
            part.square().mean()
            for frames, domain in ((static, "static"), (events, "event"))
            for part in network.with_features(frames, domain)
        )
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    loss.backward()
    after = dict(network.named_buffers())
    assert all(torch.equal(buffer, after[name]) for name, buffer in buffers.items())
    return kept, loss, [parameter.grad for parameter in network.parameters()], after


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_norm", ["per_step", "merged"])
def test_gradients_and_statistics_have_the_same_bits(name, batch_norm, cpu_implementation):
    model = MODEL.model_copy(update={"name": name, "widths": MODELS[name], "batch_norm": batch_norm})
    kept, loss, gradients, buffers = after_backward(model, recompute=False)
    less, again, same_gradients, same_buffers = after_backward(model, recompute=True)
    assert torch.equal(again, loss)
    assert sum(gradient is not None for gradient in gradients) > 4
    for found, expected in zip(same_gradients, gradients, strict=True):
        assert found is expected is None or torch.equal(found, expected)
    assert all(torch.equal(buffer, same_buffers[name]) for name, buffer in buffers.items())
    assert less < 0.5 * kept


@pytest.mark.parametrize("changes", [{}, {"method": "events"}, {"precision": "bfloat16"}])
def test_a_run_is_the_same_and_may_change_its_mind(tmp_path, changes):
    for recompute in (False, True):
        train(tmp_path / str(recompute), changed(epochs=2, recompute=recompute, **changes))
    assert metrics(tmp_path / "True") == metrics(tmp_path / "False")
    assert weights(tmp_path / "True") == weights(tmp_path / "False")
    assert train(tmp_path / "True", changed(epochs=2, recompute=False, **changes)).resumed_after == 2
