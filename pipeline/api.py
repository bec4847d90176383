"""Single steps as functions of the public Python API, without a configuration file; the others are in `experiment`,
`results`, `analysis` and `reporting`. The commands call these functions, too. Converting and pairing need no torch,
whose import takes seconds and 250 MB: what does is imported where it is used.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cache.errors import AddressError, ConfigError, StoreError
from ..cache.pairs import PairStore
from ..cache.places import place
from ..stages import pairing
from ..stages.conversion import run as conversions
from ..stages.conversion.config import ConversionOptions, ConvertConfig
from ..stages.frames.spec import FramesConfig, ImagesConfig
from ..stages.pairing_config import PairingConfig
from ..stages.runs.folder import read_run
from ..stages.tasks import TaskRunner
from ..stages.training.progress import OnMessage
from .config import ExperimentConfig, build, validate
from .execution import ALL_CORES
from .experiment import evaluation_of_run
from .workspace import AnyRoot, Workspace

if TYPE_CHECKING:
    from ..stages import prediction
    from ..stages.network.networks import SpikingNetwork
    from ..stages.runs.checkpoint import CheckpointInfo, CheckpointName

AnyPath = str | Path


def convert(
    source: str,
    raw: AnyPath,
    out: AnyPath | None = None,
    *,
    root: AnyRoot = None,
    map_tasks: TaskRunner = ALL_CORES,
    **options: Any,
) -> conversions.ConversionReport:
    """Convert one raw data set into a store in the folder `out`, by default the cache.

    options: fields of `FramesConfig`, `ImagesConfig` and `ConversionOptions`; size is that of frames and images.
    """
    known = {name for model in (FramesConfig, ImagesConfig, ConversionOptions) for name in model.model_fields}
    for name in options.keys() - known:
        close = difflib.get_close_matches(name, known, n=1) or sorted(known)
        raise ConfigError(f"{name}: no option of convert; did you mean {' or '.join(close)}?")
    frames, images = (
        {name: value for name, value in options.items() if name in model.model_fields}
        for model in (FramesConfig, ImagesConfig)
    )
    images["size"] = images.get("size") or None  # 0 is for frames with resize none
    others = {name: value for name, value in options.items() if name not in frames | images}
    parts = {"frames": build(FramesConfig, **frames), "images": build(ImagesConfig, **images)}
    conversion, out = build(ConversionOptions, **others), out or Workspace.at(root).cache
    settings = build(ConvertConfig, source=source, raw=raw, out=out, conversion=conversion, **parts)
    return conversions.run(settings, map_tasks)


def pair(
    events: AnyPath, images: AnyPath | None = None, *, on_message: OnMessage = lambda message: None, **options: Any
) -> pairing.PairingReport:
    """Align the recordings of a store with a store's photos, if there are any, and split them; written beside them.

    options: fields of `PairingConfig`.
    """
    settings, path = build(PairingConfig, **options), place(events)
    return pairing.run(settings, path, None if images is None else place(images), path.parent, on_message)


def predict(
    run: AnyPath,
    files: AnyPath | Sequence[AnyPath],
    *,
    top: int = 1,
    source: str | None = None,
    overrides: Iterable[str] = (),
    **options: Any,
) -> prediction.PredictionReport:
    """Name recordings that nobody labelled, files or folders of them, by the network of a run.

    top: classes for each.  source: whose reader reads them, by default that of the recordings that the run was trained
    on; "folder" recognises any format by its content.  options, overrides: of `EvaluateConfig` (checkpoint, device,
    batch_size ...), by default as in the run's configuration. What cannot be read is told in the report. Probabilities
    are not calibrated. Raises TrainingError: no such run. StoreError: how its recordings were made is not known.
    """
    from ..stages import prediction

    folder, paths = Path(run), [files] if isinstance(files, AnyPath) else files
    settings = evaluation_of_run(folder, overrides, **options)
    return prediction.run(settings, _recipe_of(folder, source), [Path(path) for path in paths], folder, top)


def load_network(
    run: AnyPath, checkpoint: CheckpointName = "best", device: str = "auto"
) -> tuple[SpikingNetwork, CheckpointInfo]:
    """The network of a run in evaluation mode, and what it is for: class names, time steps, size of a frame.

    network(frames, "event"): frames (T, B, 2, H, W) float32 counts to logits (T, B, num_classes).
    """
    from ..stages.network.runtime import select_device
    from ..stages.runs.checkpoint import load_weights, weights_path

    return load_weights(weights_path(Path(run), checkpoint), select_device(device))


def _recipe_of(folder: Path, source: str | None) -> prediction.Recipe:
    """How the run's recordings were made: as their store says or, where that is gone, the run's configuration."""
    from ..stages import prediction

    document = read_run(folder)
    try:
        events = PairStore(str(document["pairs"])).events
    except (StoreError, AddressError) as error:
        if "experiment" not in document:
            raise StoreError(f"{error}; and {folder}/config.json does not say how recordings were cut either") from None
        config = validate(ExperimentConfig, document["experiment"], f"{folder}/config.json")
        return prediction.Recipe(source or config.events.source, config.frames, config.frames.sensor_size)
    made = events.attributes.config
    width, height = events.column("sensor_size")[events.valid][0].tolist()
    return prediction.Recipe(source or made["source"], FramesConfig.model_validate(made["frames"]), (width, height))
