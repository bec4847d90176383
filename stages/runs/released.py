"""The checkpoints that the method's authors publish, as runs of this project.

A file is what timm's saver writes: `state_dict`, `arch`, `epoch`, `metric`, `args` (an argparse.Namespace) and more.
It is a pickle, and nothing in it is executed: torch builds tensors, plain containers and that one class, no others, in
the process that decodes recordings (`sources.formats.child`), since it may be made to take any memory or to crash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from ...cache import durable
from ...cache.documents import name_some
from ...cache.errors import TrainingError
from ..processes import ProcessLostError, RefusedError
from ..sources.formats.isolated import DECODERS
from .checkpoint import CheckpointInfo, save_weights, weights_path
from .origin import ORIGIN_KEY, Origin
from ...cache.paired import PairedCache
from ..network.config import ModelConfig
from ..network.networks import BLOCKS_PER_STAGE, SpikingNetwork, build_network

# The networks' names there and here.
ARCHITECTURES = {"Transfer_VGG_SNN": "vgg_snn", "Transfer_ResNet18": "resnet18", "Transfer_SCNN": "scnn"}

# Beginnings of parameter names there and here; the first that fits counts.
_KEYS: dict[str, tuple[tuple[str, str], ...]] = {
    "vgg_snn": (
        (r"feature\.(\d+)\.conv\.", r"backbone.\1.conv."),
        (r"feature\.(\d+)\.bn\.", r"backbone.\1.norm."),
        (r"rgb_fc\.1\.", "static_head."),
        (r"dvs_fc\.1\.", "event_head."),
    ),
    "resnet18": (
        (r"conv1\.", "backbone.stem."),
        (r"layer(\d)\.(\d)\.bn1\.", r"backbone.blocks.\1.\2.first.norm."),
        (r"layer(\d)\.(\d)\.conv1\.", r"backbone.blocks.\1.\2.first.conv."),
        (r"layer(\d)\.(\d)\.bn2\.", r"backbone.blocks.\1.\2.second.norm."),
        (r"layer(\d)\.(\d)\.conv2\.", r"backbone.blocks.\1.\2.second.conv."),
        (r"layer(\d)\.(\d)\.downsample\.0\.", r"backbone.blocks.\1.\2.shortcut.norm."),
        (r"layer(\d)\.(\d)\.downsample\.2\.", r"backbone.blocks.\1.\2.shortcut.conv."),
        (r"bn1\.", "backbone.norm."),
        (r"rgb_fc\.", "static_head."),
        (r"dvs_fc\.", "event_head."),
    ),
    "scnn": (
        (r"feature\.0\.", "backbone.0.conv."),
        (r"feature\.3\.", "backbone.2.conv."),
        (r"fc1\.", "backbone.4.linear."),
        (r"fc2\.", "event_head."),
    ),
}
_COEFFICIENT = re.compile(r"coefficient\.(\d+)")
_BLOCK = re.compile(r"blocks\.(\d)\.(\d)")
# Counters of torch's batch norm, which nothing reads.
_UNUSED = ".num_batches_tracked"
_MAX_NAMED = 8


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """What a published file holds. weights: under the names of this project. selection: how its epoch was chosen.

    epoch, class_names: None where it does not say.
    """

    path: Path
    architecture: str
    model: ModelConfig
    num_classes: int
    num_steps: int
    size: int | None
    epoch: int | None
    accuracy: float | None
    weights: dict[str, Tensor]
    selection: str = "test_as_released"
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ImportReport:
    """The run that an import made. size: pixels. accuracy: the one that the file states, top-1 in [0, 1]."""

    run: Path
    architecture: str
    network: str
    num_classes: int
    num_steps: int
    size: int
    epoch: int | None
    accuracy: float | None


def run(
    path: Path,
    split: PairedCache,
    out: Path,
    pairs: Path,
    read: Callable[[Path], ReleasedCheckpoint] | None = None,
    origin: Origin | None = None,
) -> ImportReport:
    """Make the run folder `out` of the checkpoint at `path`, to be evaluated on the pair store that `split` is of.

    read: what reads the file; by default `read_released`.  origin: of recordings that are not real.

    Raises TrainingError: no such file, something else than weights in it, weights that do not fit the network that it
    names or the data, or a run in `out` already.
    """
    if (out / "config.json").exists():
        raise TrainingError(f"{out}: holds a run already; choose another folder")
    released = (read or read_released)(path)
    _require_same_data(released, split)
    network = build_network(
        released.model, num_classes=released.num_classes, num_steps=released.num_steps, size=split.size, seed=0
    )
    load_released_weights(network, released)
    info = CheckpointInfo(
        model=released.model,
        method="imported",
        class_names=split.class_names,
        num_steps=released.num_steps,
        size=split.size,
        epoch=released.epoch or 0,
        selection=released.selection,
        accuracy=released.accuracy,
        protocol="unknown",
        photos_in_reach="unknown",
        split_digest=split.split_digest,
        cache_fingerprint=split.fingerprint,
    )
    (out / "checkpoints").mkdir(parents=True, exist_ok=True)
    save_weights(weights_path(out, "best"), network, info)  # which epoch they are of is their authors' to say
    document = {"imported": str(path.resolve()), "architecture": released.architecture, "pairs": str(pairs.resolve())}
    if origin is not None:
        document[ORIGIN_KEY] = origin
    durable.write_json(out / "config.json", document)
    return ImportReport(
        run=out,
        architecture=released.architecture,
        network=released.model.name,
        num_classes=released.num_classes,
        num_steps=released.num_steps,
        size=split.size,
        epoch=released.epoch,
        accuracy=released.accuracy,
    )


def read_released(path: Path) -> ReleasedCheckpoint:
    """The checkpoint at `path`. Raises TrainingError: not one of the networks here, or not such a file."""
    if not path.is_file():
        raise TrainingError(f"{path}: no such file")
    facts, state = _load(path)
    architecture: str = _field(path, facts, "arch", "str")
    args: dict[str, Any] = _field(path, facts, "args", "Namespace")
    broken: list[str] = _field(path, facts, "state_dict", "Mapping")
    if architecture not in ARCHITECTURES:
        raise TrainingError(f"{path}: holds a {architecture!r}; expected one of {', '.join(ARCHITECTURES)}")
    if args.get("node_type", "LIFNode") != "LIFNode":
        raise TrainingError(f"{path}: its neurons are {args['node_type']!r}; only LIFNode can be imported")
    if broken:
        raise TrainingError(f"{path}: state_dict holds something else than tensors: {name_some(broken, _MAX_NAMED)}")
    name = ARCHITECTURES[architecture]
    constants = {
        "tau": args.get("tau", 2.0),
        "threshold": _constant(path, state, ".threshold", args.get("threshold", 0.5)),
        "surrogate_alpha": _constant(path, state, ".act_fun.alpha", 2.0),
    }
    try:
        model = ModelConfig.model_validate({"name": name, "running_statistics": "shared", **constants})
    except ValidationError as error:
        raise TrainingError(f"{path}: impossible neurons: {error}") from error
    weights = released_weights(name, state)
    coefficients, head = weights.get("coefficients"), weights.get("event_head.bias")
    num_classes = args.get("num_classes") if head is None else len(head)
    if not isinstance(num_classes, int) or args.get("num_classes", num_classes) != num_classes:
        raise TrainingError(f"{path}: its head has {num_classes} classes, its args say {args.get('num_classes')!r}")
    num_steps = args.get("step") if coefficients is None else len(coefficients)
    if not isinstance(num_steps, int) or num_steps < 1:
        raise TrainingError(f"{path}: neither coefficients nor args.step say how many time steps it has")
    metric = facts["plain"].get("metric")
    return ReleasedCheckpoint(
        path=path,
        architecture=architecture,
        model=model,
        num_classes=num_classes,
        num_steps=num_steps,
        size=args.get("event_size"),
        epoch=_field(path, facts, "epoch", "int") + 1,
        accuracy=metric / 100 if isinstance(metric, int | float) else None,
        weights=weights,
    )


def released_weights(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the released network `name` under the names here; an unknown one keeps its own.

    The scalars `coefficient.<t>` become one `coefficients` (T,). Neuron constants and counters are left out.
    """
    weights = {
        _our_key(name, key): tensor
        for key, tensor in state.items()
        if not (key.endswith((".threshold", ".act_fun.alpha", _UNUSED)) or _COEFFICIENT.fullmatch(key))
    }
    steps = {int(found[1]): key for key in state if (found := _COEFFICIENT.fullmatch(key))}
    if steps:
        weights["coefficients"] = torch.cat([state[steps[t]].reshape(-1) for t in sorted(steps)])
    return weights


def load_released_weights(network: SpikingNetwork, released: ReleasedCheckpoint) -> None:
    """Put the weights into `network`. Raises TrainingError, naming them, for missing, unknown, misshapen and infinite ones."""
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in released.weights.items()}
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "unknown": sorted(found.keys() - expected.keys()),
        "of another shape": [
            f"{key} {found[key]} instead of {shape}"
            for key, shape in sorted(expected.items())
            if found.get(key, shape) != shape
        ],
        "not finite": sorted(key for key, tensor in released.weights.items() if not tensor.isfinite().all()),
    }
    if any(problems.values()):
        text = "; ".join(f"{problem}: {name_some(keys, _MAX_NAMED)}" for problem, keys in problems.items() if keys)
        raise TrainingError(f"{released.path}: its weights are not those of {released.architecture}: {text}")
    network.load_state_dict(released.weights)


def _in_own_words(problem: str) -> str:
    """torch's reason without its advice to load the file unsafely."""
    named = re.search(r"GLOBAL ([\w.]+)", problem)
    if named:
        return f"it names {named[1]}"
    return "torch's restricted reader refused it" if "weights_only" in problem else problem.partition("\n")[0]


def _load(path: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """The facts that `child.read_checkpoint` gives, and the tensors of state_dict."""
    try:
        with DECODERS.lend() as reader:
            answer = reader.read({"reader": "checkpoint", "path": str(path.absolute())})
            facts = next(answer)
            state = {key: torch.from_numpy(array) for piece in answer for key, array in piece.items()}
    except (RefusedError, ProcessLostError) as error:
        raise TrainingError(f"{path}: damaged or hostile; the process that read it: {error}") from None
    if "problem" in facts:
        raise TrainingError(
            f"{path}: not a published checkpoint (a mapping with state_dict, arch and args), or it holds more than "
            f"weights and settings; nothing in it was executed ({_in_own_words(facts['problem'])})"
        )
    return facts, state


def _field(path: Path, facts: Mapping[str, Any], name: str, kind: str) -> Any:
    found = facts["found"].get(name, "nothing")
    if found != kind:
        raise TrainingError(f"{path}: expected {name} to be a {kind}; found {found}")
    return facts["plain"][name]


def _constant(path: Path, state: Mapping[str, Tensor], suffix: str, default: Any) -> Any:
    """The value that all neurons have in common: the released code keeps one for each layer of them."""
    values = {key: tensor.reshape(-1).tolist() for key, tensor in state.items() if key.endswith(suffix)}
    if not values:
        return default
    first = next(iter(values.values()))
    other = [key for key, value in values.items() if value != first or len(value) != 1]
    if other:
        raise TrainingError(f"{path}: its layers of neurons differ, which cannot be imported: {name_some(other, _MAX_NAMED)}")
    return first[0]


def _our_key(name: str, key: str) -> str:
    for theirs, ours in _KEYS[name]:
        replaced, count = re.subn(f"^{theirs}", ours, key)
        if count:
            # there: stage from 1, block; here: blocks in a row
            return _BLOCK.sub(lambda m: f"blocks.{(int(m[1]) - 1) * BLOCKS_PER_STAGE + int(m[2])}", replaced)
    return key


def _require_same_data(released: ReleasedCheckpoint, split: PairedCache) -> None:
    there = (released.num_classes, released.num_steps, released.size or split.size)
    here = (split.num_classes, split.num_bins, split.size)
    if there != here:
        raise TrainingError(
            f"{released.path}: made for {there[0]} classes, {there[1]} time steps and {there[2]} pixels; "
            f"the pair store has {here[0]} classes, {here[1]} bins and {here[2]} pixels"
        )
    if released.class_names not in (None, split.class_names):
        raise TrainingError(
            f"{released.path}: tells {name_some(released.class_names, _MAX_NAMED)} apart; the pair store's classes, in "
            f"this order, are {name_some(split.class_names, _MAX_NAMED)}"
        )
