"""Networks that are not this package's: what they are asked for, and what is refused."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from tiny_networks import CLASS_NAMES, NETWORKS
from torch import nn

from dvs_transfer.cache.errors import TrainingError
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.network.networks import build_network, code_of
from dvs_transfer.stages.network.prediction import adapted, firing_rates
from dvs_transfer.stages.runs.checkpoint import CheckpointInfo, load_weights, save_weights


class Rate(nn.Module):
    """The least that is asked for: one linear layer of every step's pixels."""

    def __init__(self, config, *, num_classes, num_steps, size, bias=True):
        super().__init__()
        self.linear = nn.Linear(2 * size**2, num_classes, bias=bias)

    def forward(self, frames):
        return self.linear(frames.flatten(2))


class TwoHeads(Rate):
    """Told the domain, with features of its own, and with numbers that no meta device has."""

    def __init__(self, config, *, num_classes, num_steps, size):
        super().__init__(config, num_classes=num_classes, num_steps=num_steps, size=size)
        self.shift = nn.Parameter(torch.zeros(2, num_classes))
        self.scale = float(torch.tensor(2.0))

    def forward(self, frames, domain):
        return super().forward(frames) * self.scale + self.shift[int(domain == "event")]

    def with_features(self, frames, domain):
        return self(frames, domain), frames.mean(2)


class OneStep(Rate):
    """Forgets time."""

    def forward(self, frames):
        return super().forward(frames)[0]


class Both(Rate):
    """Gives from either function what the other one should."""

    def forward(self, frames):
        return super().forward(frames), frames

    def with_features(self, frames):
        return super().forward(frames)


def like_the_small_one(config, *, num_classes, num_steps, size):
    """Made of the package's own parts."""
    shape = {"num_classes": num_classes, "num_steps": num_steps, "size": size}
    return build_network(NETWORKS["vgg_snn_small"], **shape, seed=0)


def no_module(config, *, num_classes, num_steps, size):
    return [num_classes]


def own(name, **options):
    return ModelConfig(name=f"{__name__}:{name}", options=options)


def built(model, seed=1):
    return build_network(model, num_classes=4, num_steps=3, size=16, seed=seed)


FRAMES = torch.rand(3, 5, 2, 16, 16, generator=torch.Generator().manual_seed(0))


def test_logits_are_aligned_where_there_are_no_features():
    network = built(own("Rate"))
    logits, features = network.with_features(FRAMES, "static")
    assert torch.equal(logits, features)
    assert torch.equal(logits, network(FRAMES, "event"))
    assert network.coefficients.tolist() == [1, 1, 1]
    assert firing_rates(network, FRAMES) == {}
    assert adapted(network, [FRAMES], "static")(FRAMES, "static").equal(logits)


def test_features_and_domain_where_they_are_asked_for():
    network = built(own("TwoHeads"))
    with torch.no_grad():
        network.backbone.module.shift[1] += 1
    logits, features = network.with_features(FRAMES, "event")
    torch.testing.assert_close(logits, network(FRAMES, "static") + 1)
    assert torch.equal(features, FRAMES.mean(2).flatten(2))


def test_seed_and_options_make_the_weights():
    first, again, other = (built(own("Rate"), seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["backbone.module.linear.weight"], other["backbone.module.linear.weight"])
    assert set(built(own("Rate", bias=False)).state_dict()) == {"coefficients", "backbone.module.linear.weight"}


def test_what_is_refused():
    with pytest.raises(TrainingError, match=r"OneStep: expected logits .* \(3, 5, 4\) .* found \(5, 4\)"):
        built(own("OneStep"))(FRAMES, "event")
    with pytest.raises(TrainingError, match=r"Both: expected logits from forward\(\).* found tuple of Tensor, Tensor"):
        built(own("Both"))(FRAMES, "event")
    with pytest.raises(TrainingError, match=r"Both: expected logits and features from with_f.* a tensor \(3, 5, 4"):
        built(own("Both")).with_features(FRAMES, "event")
    with pytest.raises(TrainingError, match=r"Rate: cannot be called as a network is .*widths"):
        built(own("Rate", widths=3))
    with pytest.raises(TrainingError, match="no_module: gave a list, expected a torch module"):
        built(own("no_module"))


@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "subprocess:Popen", "builtins:exec", "builtins:dict"])
def test_what_takes_other_arguments_than_a_network_is_not_called(name):
    """A checkpoint from elsewhere may name anything that Python finds."""
    with pytest.raises(TrainingError, match="cannot be called as a network is"):
        built(ModelConfig(name=name))


def test_one_made_of_the_packages_parts_is_taken_as_it_is():
    network = built(own("like_the_small_one"))
    assert len(firing_rates(network, FRAMES)) == 2


@pytest.mark.parametrize("name", ["Rate", "TwoHeads", "like_the_small_one"])
def test_weights_are_read_back(tmp_path, name):
    network = built(own(name)).eval()
    info = CheckpointInfo(
        model=own(name),
        method="transfer",
        class_names=CLASS_NAMES,
        num_steps=3,
        size=16,
        epoch=1,
        selection="last",
        accuracy=None,
        protocol="unknown",
        split_digest="-",
        cache_fingerprint="-",
    )
    save_weights(tmp_path / "last.safetensors", network, info)
    found, _ = load_weights(tmp_path / "last.safetensors", torch.device("cpu"))
    assert torch.equal(found(FRAMES, "event"), network(FRAMES, "event"))
    tensors = network.state_dict()
    tensors["coefficients"] = torch.ones(4)
    safetensors.torch.save_file(
        {key: tensor.contiguous() for key, tensor in tensors.items()},
        tmp_path / "other.safetensors",
        {"dvs_transfer": info.model_dump_json()},
    )
    with pytest.raises(TrainingError, match="do not fit the network that it names: coefficients"):
        load_weights(tmp_path / "other.safetensors", torch.device("cpu"))


def test_options_are_part_of_the_document_only_where_there_are_some():
    """A run of a version that had none goes on."""
    assert "options" not in json.loads(ModelConfig().model_dump_json())
    assert "options" not in ModelConfig().model_dump(mode="json")
    assert own("Rate", bias=False).model_dump()["options"] == {"bias": False}
    assert ModelConfig.model_validate(own("Rate", bias=False).model_dump(mode="json")) == own("Rate", bias=False)


def test_code():
    assert code_of(ModelConfig()) is None
    assert code_of(own("Rate")) == code_of(own("TwoHeads")) != code_of(ModelConfig(name="json:dumps"))
