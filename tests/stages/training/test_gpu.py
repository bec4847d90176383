"""What only a GPU can show: `make gpu`, or `pytest -m gpu`."""

from __future__ import annotations

import os
import signal
import warnings
from importlib.util import find_spec

import pytest
import torch
from tiny_run import MODEL, changed, metrics, train, weights
from tiny_split import open_tiny_split

from dvs_transfer.stages.batches.loading import load
from dvs_transfer.stages.batches.sampling import Sampler
from dvs_transfer.stages.network.lif import LifConstants, pytorch_lif
from dvs_transfer.stages.network.networks import build_network
from dvs_transfer.stages.network.neurons import spike
from dvs_transfer.stages.training.config import AugmentationConfig
from dvs_transfer.stages.training.distributed import ALONE
from dvs_transfer.stages.training.keeping import KeptNetwork
from dvs_transfer.stages.training.methods import auxiliary_of, method_of
from dvs_transfer.stages.training.step import Learner
from dvs_transfer.stages.training.stopping import TrainingStoppedError

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device that torch can use"),
]
CUDA = torch.device("cuda")
PLACEMENTS = ("device", "pinned", "streamed")
AUGMENTATION = AugmentationConfig(
    flip=True, rotation_degrees=15, nda=2, event_drop=True, time_shift=1, polarity_flip=0.5
)


@pytest.mark.skipif(find_spec("triton") is None, reason="needs triton, which CUDA builds of torch bring along")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (10, 8, 16, 9, 9), (32, 1, 300)])
def test_triton_neurons_against_those_of_torch(dtype, shape):
    from dvs_transfer.stages.network import triton_lif

    constants = LifConstants(tau=1.7, threshold=0.4, alpha=1.5)
    x, grad_spikes, grad_membrane = torch.randn((3, *shape), device=CUDA).to(dtype)
    results = []
    for function, kind in ((triton_lif.lif, dtype), (pytorch_lif, torch.float32)):
        current = x.detach().to(kind).requires_grad_()
        spikes, membrane = function(current, constants, True)
        torch.autograd.backward([spikes, membrane], [grad_spikes.to(kind), grad_membrane.to(kind)])
        results.append((spikes, membrane, current.grad))
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-2, "atol": 1e-2}
    # The compiler may round a potential at the threshold otherwise: such neurons are left out, and must be rare.
    same = (results[0][0].float() == results[1][0]).all(0)
    assert same.float().mean() > 0.999
    for found, expected, kind in zip(*results, (dtype, torch.float32, dtype), strict=True):
        assert found.dtype == kind
        torch.testing.assert_close(found.float()[:, same], expected[:, same], **tolerance)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_run_goes_on_bit_for_bit_in_deterministic_mode(tmp_path, precision, placement):
    def stop(progress):
        if (progress.epoch, progress.step) == (2, 2):
            os.kill(os.getpid(), signal.SIGTERM)

    config = changed(device="cuda", precision=precision, augmentation=AUGMENTATION, average=0.5)
    train(tmp_path / "one go", config)
    with pytest.raises(TrainingStoppedError):
        train(tmp_path / "two", changed(config, data_placement=placement), on_progress=stop)
    assert train(tmp_path / "two", changed(config, recompute=True)).resumed_steps == 2
    assert metrics(tmp_path / "two") == metrics(tmp_path / "one go")
    assert weights(tmp_path / "two") == weights(tmp_path / "one go")


@pytest.mark.parametrize("method", ["transfer", "events", "finetune", "timestep_mixup", "distillation"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_step_and_its_batch_wait_for_nothing(method, placement):
    config = changed(deterministic=False, method=method, augmentation=AUGMENTATION)
    split = open_tiny_split("train")
    network = build_network(MODEL, num_classes=4, num_steps=3, size=16, seed=0).to(CUDA)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, fused=True)
    learner = Learner(config, network, optimizer, auxiliary=auxiliary_of(method_of(config), network, split))
    kept = KeptNetwork.of(changed(config, average=0.9), network, None, ALONE)
    loader = load(split, CUDA, placement, None if method == "events" else "value")
    batches = loader.batches(Sampler(split, config).plan(0))
    learner.step(next(batches), 0.5)  # compiles, plans, allocates
    kept.follow(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it does not see every wait
        torch.cuda.set_sync_debug_mode("error")
    try:
        learner.step(next(batches), 0.5)
        kept.follow(2)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        batches.close()


def test_the_tensors_device_need_not_be_the_current_one():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    current = torch.randn(4, 1000, device="cuda:1")
    found, _ = spike(current, LifConstants(), False)
    torch.testing.assert_close(found, pytorch_lif(current, LifConstants(), False)[0])
