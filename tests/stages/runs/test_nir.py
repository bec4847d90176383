"""NIR graphs: what one computes is what the network does, spike for spike, here and in other frameworks; read back."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from nir_interpreter import IMPORT, Spikes, run, run_elsewhere
from tiny_networks import NETWORKS, tiny_network, write_run
from tiny_split import CLASS_NAMES, SIZE, TinySplit

from dvs_transfer.cache.errors import ConfigError, TrainingError
from dvs_transfer.stages.evaluation import evaluate
from dvs_transfer.stages.evaluation.config import EvaluateConfig
from dvs_transfer.stages.network.config import ModelConfig
from dvs_transfer.stages.network.layers import BatchNormOverTime, SpikingLinear
from dvs_transfer.stages.network.networks import SpikingNetwork
from dvs_transfer.stages.network.prediction import spikes_of
from dvs_transfer.stages.runs import nir_export, nir_import, released
from dvs_transfer.stages.runs.checkpoint import load_weights, read_info, save_weights, weights_path

nir = pytest.importorskip("nir", reason="needs nir (pip install 'dvs-transfer[nir]')")

NUM_STEPS, PIXELS, THRESHOLD = 5, 34, 0.4
MODELS = {
    "vgg_snn": {"name": "vgg_snn", "widths": (8, 12, "P", 16, "P", 16, "P")},
    "vgg_snn, merged, shared": {"name": "vgg_snn_small", "batch_norm": "merged", "running_statistics": "shared"},
    "vgg_snn, other neurons": {"name": "vgg_snn_small", "tau": 3.0, "threshold": THRESHOLD},
    "vgg_snn, pools of events": {"name": "vgg_snn", "widths": ("P", 8, "P", "P", 8)},
    "scnn": {"name": "scnn", "widths": (8, "P", 12, "P", 40), "threshold": 0.25},
    "scnn, other neurons": {"name": "scnn", "tau": 1.7, "threshold": THRESHOLD},
}


def frames_of(file: Path) -> np.ndarray:
    """A recording in N-MNIST's layout as counts (T, 2, H, W)."""
    x, y, *rest = np.fromfile(file, np.uint8).reshape(-1, 5).astype(int).T
    t = (rest[0] % 128 << 16) + (rest[1] << 8) + rest[2]
    frames = np.zeros((NUM_STEPS, 2, PIXELS, PIXELS), np.float32)
    np.add.at(frames, (t * NUM_STEPS // (t.max() + 1), rest[0] // 128, y, x), 1)
    return frames


@pytest.fixture(scope="module")
def recordings(shared_data: Path) -> np.ndarray:
    """(T, B, 2, H, W) of two real recordings of each digit."""
    digits = sorted((shared_data / "NMNIST" / "Train").iterdir())
    return np.stack([frames_of(file) for digit in digits for file in sorted(digit.glob("*.bin"))[:2]], 1)


def settled(model: ModelConfig, recordings: np.ndarray, size: int = PIXELS) -> SpikingNetwork:
    """An untrained network whose norms are no identity, and whose running statistics are those of the recordings."""
    network, random = tiny_network(model, num_steps=NUM_STEPS, size=size), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, BatchNormOverTime):
                module.weight.uniform_(-1.5, 1.5, generator=random)
                module.bias.uniform_(-0.2, 0.6, generator=random)
            elif isinstance(module, SpikingLinear):
                module.linear.weight.mul_(4)  # so that some neurons spike
        for frames in torch.from_numpy(recordings).split(5, 1):
            for _ in range(4):
                network.train()(frames, "event")
                network(frames[:, :, :1].expand_as(frames), "static")  # other statistics, where a domain has its own
    return network.eval()


def computed(network: SpikingNetwork, frames: np.ndarray) -> tuple[np.ndarray, Spikes]:
    """Logits (T, n), and spikes of each layer (T, ...), for one recording."""
    with torch.no_grad(), spikes_of(network, lambda spikes: spikes[:, 0].numpy()) as spikes:
        logits = network(torch.from_numpy(frames)[:, None], "event")[:, 0].numpy()
    return logits, {name.replace("backbone.", "neurons_"): fired for name, fired in spikes.items()}


def written(network: SpikingNetwork, folder: Path, size: int = PIXELS) -> Path:
    path = folder / "x.nir"
    nir.write(path, nir_export.graph_of(network, "vgg_snn", size))
    return path


def assert_same_spikes(expected: Spikes, found: Spikes, charged: Spikes | None = None, threshold: float = 0) -> None:
    """All of them; or, where potentials tell how near it was, but for one in 100,000 that rounding decided.

    After a spike that differs its neuron, and those behind it, go another way: the first layer counts that has one,
    and of its neurons the first step.
    """
    assert expected.keys() == found.keys()
    for name, spikes in expected.items():
        other = found[name].reshape(spikes.shape)
        differing = spikes != other
        if not differing.any():
            assert 0.001 < spikes.mean() < 0.9, f"{name} says nothing"
            continue
        assert charged is not None, f"{name}: {differing.sum()} of {spikes.size} spikes"
        first = differing & (np.cumsum(differing, 0) == 1)
        margin = np.abs(charged[name].reshape(spikes.shape)[first] - threshold).max()
        assert margin < 1e-5, f"{name}: {differing.sum()} of {spikes.size} spikes, the potentials off by {margin}"
        assert first.sum() <= max(1, spikes.size / 100_000)
        return


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_graph_computes_what_the_network_does(
    model: dict[str, Any], recordings: np.ndarray, tmp_path: Path
) -> None:
    config = ModelConfig.model_validate(model)
    network = settled(config, recordings)
    graph = nir.read(written(network, tmp_path))
    for number in range(0, 20, 5):
        logits, spikes = computed(network, recordings[:, number])
        found, fired, charged = run(graph, recordings[:, number], nir_export.DT_S)
        assert_same_spikes(spikes, fired, charged, config.threshold)
        if all((spikes[name] == fired[name]).all() for name in spikes):
            assert np.abs(found - logits).max() <= 1e-5 * np.abs(logits).max()


@pytest.mark.parametrize("model", ["vgg_snn", "vgg_snn, other neurons", "scnn", "scnn, other neurons"])
@pytest.mark.parametrize("library", IMPORT)
@pytest.mark.filterwarnings("ignore")  # of those libraries
def test_other_frameworks_compute_the_same(
    library: str, model: str, recordings: np.ndarray, tmp_path: Path
) -> None:
    if find_spec(library) is None:
        pytest.skip(f"needs {library}")
    network = settled(ModelConfig.model_validate(MODELS[model]), recordings)
    path = written(network, tmp_path)
    for number in range(0, 20, 5):
        logits, spikes = computed(network, recordings[:, number])
        found, fired = run_elsewhere(library, path, recordings[:, number], nir_export.DT_S)
        *_, charged = run(nir.read(path), recordings[:, number], nir_export.DT_S)
        assert_same_spikes(spikes, fired, charged, network.backbone[0].neurons.constants.threshold)
        if all((spikes[name] == fired[name].reshape(spikes[name].shape)).all() for name in spikes):
            assert np.abs(found - logits).max() <= 1e-5 * np.abs(logits).max()


def test_a_graph_holds_what_readers_need(tmp_path: Path) -> None:
    run_folder, file = write_run(tmp_path / "run", NETWORKS["scnn"]), tmp_path / "x.nir"
    report = nir_export.export(weights_path(run_folder, "best"), file)
    graph = nir.read(file)
    assert [tuple(graph.nodes[name].input_type["input"]) for name in ("input", "output")] == [(2, SIZE, SIZE), (4,)]
    assert graph.metadata["dt"] == report.dt_s == 1e-4
    assert graph.metadata["num_steps"] == report.num_steps == TinySplit().num_bins
    assert graph.metadata["classes"] == "\n".join(CLASS_NAMES)
    neurons = {name: node for name, node in graph.nodes.items() if isinstance(node, nir.LIF)}
    assert report.neurons == sum(node.tau.size for node in neurons.values())
    assert {name: node.tau.shape for name, node in neurons.items()} == {
        "neurons_0": (4, SIZE - 4, SIZE - 4),
        "neurons_2": (10,),
    }
    for node in neurons.values():
        for key, value in (("tau", 2e-4), ("r", 1), ("v_leak", 0), ("v_reset", 0), ("v_threshold", 0.5)):
            assert (getattr(node, key) == value).all(), key


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (NETWORKS["resnet18"], "resnet18: .* batch norms stand behind sums of branches"),
        (NETWORKS["vgg_snn"].model_copy(update={"name": "mine:Network"}), "mine:Network: is a network of your own"),
    ],
)
def test_what_has_no_faithful_graph_is_refused(model: ModelConfig, reason: str) -> None:
    network = tiny_network(NETWORKS["resnet18" if model.name == "resnet18" else "vgg_snn"])
    with pytest.raises(TrainingError, match=reason):
        nir_export.graph_of(network, model.name, SIZE)


def test_without_nir_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nir", None)
    run_folder = write_run(tmp_path / "run", NETWORKS["scnn"])
    with pytest.raises(ConfigError, match=r"pip install 'dvs-transfer\[nir\]'"):
        nir_export.export(weights_path(run_folder, "best"), tmp_path / "x.nir")
    assert not (tmp_path / "x.nir").exists()


# Reading ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_an_exported_network_read_back_is_the_same(
    model: dict[str, Any], recordings: np.ndarray, tmp_path: Path
) -> None:
    config = ModelConfig.model_validate(model)
    network = settled(config, recordings)
    found = nir_import.read_graph(written(network, tmp_path), NUM_STEPS)
    assert (found.model.tau, found.model.threshold) == (config.tau, config.threshold)
    assert found.model.layers == config.layers
    again = tiny_network(found.model, num_steps=NUM_STEPS, size=PIXELS)
    released.load_released_weights(again, found)
    differing = total = 0
    for number in range(0, 20, 5):
        expected, spikes = computed(network, recordings[:, number])
        logits, fired = computed(again, recordings[:, number])
        differing += sum(int((spikes[name] != fired[name]).sum()) for name in spikes)
        total += sum(each.size for each in spikes.values())
        if not differing:
            assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()
    assert differing <= total / 100_000 if config.name != "scnn" else differing == 0


def test_a_run_of_a_graph_evaluates_as_the_run_that_was_exported(tmp_path: Path) -> None:
    split, file = TinySplit("test", 16), tmp_path / "x.nir"
    run_folder = write_run(tmp_path / "run", NETWORKS["vgg_snn"])
    nir_export.export(weights_path(run_folder, "best"), file)
    report = released.run(
        file, split, tmp_path / "imported", tmp_path / "pairs.zarr", lambda path: nir_import.read_graph(path, 3)
    )
    assert (report.network, report.epoch, report.size) == ("vgg_snn", None, SIZE)
    assert read_info(weights_path(tmp_path / "imported", "best")).selection == "unknown"
    expected, found = (
        evaluate.run(EvaluateConfig(threads=1), lambda name: split, folder)
        for folder in (run_folder, tmp_path / "imported")
    )
    assert found.top1 == expected.top1
    assert found.confusion == expected.confusion
    assert found.photos_in_reach == "unknown"
    assert "does not say" in found.epoch_choice
    assert found.which_epoch == "epoch not known"
    with pytest.raises(TrainingError, match="the pair store's classes, in this order, are dog, cat, bee, ant"):
        other = TinySplit("test", 16, class_names=CLASS_NAMES[::-1])
        released.run(file, other, tmp_path / "other", tmp_path, lambda path: nir_import.read_graph(path, 3))


def test_resistance_and_thresholds_go_into_the_weights(recordings: np.ndarray, tmp_path: Path) -> None:
    """As snnTorch writes them: r = tau / dt, another threshold in each layer, averages in place of sums."""
    network = settled(ModelConfig.model_validate(MODELS["scnn"]), recordings)
    graph = nir_export.graph_of(network, "scnn", PIXELS)
    scales = {"neurons_0": (4.0, 0.5), "neurons_2": (2.0, 8.0), "neurons_4": (0.25, 1.0)}
    for name, (resistance, scale) in scales.items():
        node = graph.nodes[name]
        node.r, node.v_threshold = node.r * resistance, node.v_threshold * scale
        before = graph.nodes[name.replace("neurons_4", "linear_4").replace("neurons", "conv")]
        before.weight = before.weight * np.float32(scale / resistance)
        before.bias = before.bias * np.float32(scale / resistance)
    for name in ("pool_1", "pool_3"):
        pool = graph.nodes[name]
        graph.nodes[name] = nir.AvgPool2d(pool.kernel_size, pool.stride, pool.padding)
    for name in ("conv_2", "linear_4"):
        graph.nodes[name].weight = graph.nodes[name].weight * 4
    nir.write(tmp_path / "x.nir", nir.NIRGraph(graph.nodes, graph.edges))
    found = nir_import.read_graph(tmp_path / "x.nir", NUM_STEPS)
    assert found.model.threshold == 0.125
    again = tiny_network(found.model, num_steps=NUM_STEPS, size=PIXELS)
    released.load_released_weights(again, found)
    expected, spikes = computed(network, recordings[:, 0])
    logits, fired = computed(again, recordings[:, 0])
    assert_same_spikes(spikes, fired)
    assert np.array_equal(logits, expected)


def with_node(name: str, **changes: Any) -> Any:
    """Changes a graph's node."""

    def change(graph: Any) -> Any:
        for key, value in changes.items():
            setattr(graph.nodes[name], key, value)
        return graph

    return change


def with_integrators(graph: Any) -> Any:
    lif = graph.nodes["neurons_0"]
    graph.nodes["neurons_0"] = nir.IF(r=lif.r, v_threshold=lif.v_threshold, v_reset=lif.v_reset)
    return graph


def with_long_steps(graph: Any) -> Any:
    graph.metadata = {"dt": 1e-3}
    return graph


def without_flatten(graph: Any) -> Any:
    del graph.nodes["flatten_linear_2"]
    (before, _), (_, after) = (edge for edge in graph.edges if "flatten_linear_2" in edge)
    graph.edges = [edge for edge in graph.edges if "flatten_linear_2" not in edge] + [(before, after)]
    return graph


def with_branch(graph: Any) -> Any:
    graph.edges.append(("conv_0", "conv_0"))
    return graph


SHAPE = (4, SIZE - 4, SIZE - 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_integrators, r"neurons_0 \(IF\): expected one of Conv2d"),
        (with_branch, "is no chain"),
        (without_flatten, r"linear_2 \(Affine\): takes maps as they are, which is their last dimension"),
        (with_long_steps, r"no scnn has tau = 0\.2 \(Input should be .* 1\); tau is in steps of the graph's dt, 0\.001 s"),
        (with_node("conv_0", stride=(2, 2)), r"conv_0 \(Conv2d\): expected square kernels and padding, no stride"),
        (with_node("conv_0", padding=(1, 1)), "neither vgg_snn .* 5 x 5 with padding 1"),
        (with_node("conv_0", bias=np.ones(4, np.float32)), r"conv_0 \(Conv2d\): has biases; scnn has none"),
        (with_node("neurons_0", v_reset=np.full(SHAPE, 0.1)), "has v_reset other than 0"),
        (with_node("neurons_0", v_leak=np.full(SHAPE, 0.1)), "has v_leak other than 0"),
        (with_node("neurons_0", tau=np.full(SHAPE, 3e-4)), "has tau = 2.0 steps, other neurons 3.0"),
        (with_node("neurons_0", v_threshold=np.arange(4 * 12 * 12.0).reshape(SHAPE)), "different `v_threshold`"),
        (with_node("neurons_0", tau=np.full(SHAPE, 5e-5)), "has tau = 2.0 steps, other neurons 0.5"),
        (with_node("pool_1", kernel_size=np.array([3, 3])), "expected pools of 2 x 2"),
        (with_node("pool_1", stride=np.array([2.0, np.nan])), "`stride` is float64"),
        (with_node("neurons_0", v_threshold=np.full(SHAPE, np.inf)), "none that is a number"),
        (with_node("flatten_linear_2", start_dim=1), "keeps dimensions"),
    ],
)
def test_what_maps_to_no_network_here_is_refused_by_name(change: Any, message: str, tmp_path: Path) -> None:
    graph = change(nir_export.graph_of(tiny_network(NETWORKS["scnn"]), "scnn", SIZE))
    nir.write(tmp_path / "x.nir", graph)
    with pytest.raises(TrainingError, match=message) as told:
        nir_import.read_graph(tmp_path / "x.nir", 3)
    assert "x.nir: " in str(told.value)


def test_damaged_and_hostile_files_are_refused(tmp_path: Path) -> None:
    path = written(tiny_network(NETWORKS["scnn"]), tmp_path, size=SIZE)
    whole = path.read_bytes()
    for content in (b"", b"\x89HDF\r\n\x1a\n", np.random.default_rng(0).bytes(1000), whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"x\.nir: not a NIR graph, or damaged"):
            nir_import.read_graph(path, 3)
    for attack in (external_link, virtual, huge, without_nodes):
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            attack(file["node/nodes"], tmp_path)
        with pytest.raises(TrainingError, match=r"x\.nir: (not a NIR graph, or damaged|is no chain)"):
            nir_import.read_graph(path, 3)
    with pytest.raises(TrainingError, match="no such file"):
        nir_import.read_graph(tmp_path / "other.nir", 3)


def external_link(nodes: Any, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as file:
        file["weight"] = np.ones((4, 2, 5, 5), np.float32)
    del nodes["conv_0/weight"]
    nodes["conv_0/weight"] = h5py.ExternalLink(str(folder / "secret.h5"), "weight")


def virtual(nodes: Any, folder: Path) -> None:
    layout = h5py.VirtualLayout((4, 2, 5, 5), np.float32)
    layout[:] = h5py.VirtualSource(folder / "secret.h5", "weight", (4, 2, 5, 5))
    del nodes["conv_0/weight"]
    nodes["conv_0"].create_virtual_dataset("weight", layout)


def huge(nodes: Any, folder: Path) -> None:
    del nodes["neurons_0/tau"]
    nodes["neurons_0"].create_dataset("tau", (1 << 28,), "f8", chunks=(1 << 16,), compression="gzip")


def without_nodes(nodes: Any, folder: Path) -> None:
    for name in list(nodes):
        del nodes[name]


def test_weights_of_the_run_s_choice_are_exported(tmp_path: Path) -> None:
    run_folder = write_run(tmp_path / "run", NETWORKS["scnn"])
    network, info = load_weights(weights_path(run_folder, "last"), torch.device("cpu"))
    with torch.no_grad():
        network.event_head.bias.fill_(7)
    save_weights(weights_path(run_folder, "last"), network, info)
    for name, is_last in (("best", False), ("last", True)):
        nir_export.export(weights_path(run_folder, name), tmp_path / "x.nir")
        assert (nir.read(tmp_path / "x.nir").nodes["head"].bias == 7).all() == is_last
