"""The public Python API: what the commands do, as functions that return the reports which the commands print.

A configuration is given as the path of a TOML file, the name of a shipped one ("demo"), or a model; keywords that are
options of a command have the names that they have there. What is wrong raises a `DvsTransferError` (`cache.errors`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cache.errors import ConfigError, StoreError
from ..cache.pairs import PairStore
from ..stages import pairing, prediction
from ..stages.analysis.catalogue import ANALYSES
from ..stages.analysis.subject import Progress, no_progress
from ..stages.conversion import run as conversions
from ..stages.conversion.config import ConversionOptions, ConvertConfig
from ..stages.conversion.run import ConversionReport
from ..stages.evaluation import evaluate as evaluation
from ..stages.evaluation.config import EvaluateConfig
from ..stages.evaluation.results import EvaluatedSplit, EvaluationReport
from ..stages.frames.spec import FramesConfig, ImagesConfig
from ..stages.network.networks import SpikingNetwork
from ..stages.network.runtime import select_device
from ..stages.pairing import PairingReport
from ..stages.pairing_config import PairingConfig
from ..stages.prediction import PredictionReport, Recipe
from ..stages.reporting.run import ReportFiles
from ..stages.runs.checkpoint import CheckpointInfo, CheckpointName, load_weights, weights_path
from ..stages.tasks import TaskRunner
from ..stages.training.observing import OnMessage, OnProgress, TrainingReport
from . import analysis, experiment, reporting
from .analysis import AnalysisFiles
from .config import ExperimentConfig, apply_overrides, build, load_config, validate_config
from .execution import DaskRunner
from .experiment import PreprocessReport
from .progress import Reporter
from .workspace import Workspace

AnyPath = str | Path
AnyConfig = AnyPath | ExperimentConfig
Options = Mapping[str, Any]


def preprocess(
    config: AnyConfig,
    *,
    overrides: Iterable[str] = (),
    root: AnyPath | None = None,
    map_tasks: TaskRunner | None = None,
    on_message: OnMessage = lambda message: None,
) -> PreprocessReport:
    """Convert and pair everything that a configuration names; what is up to date is not done again.

    overrides: "KEY=VALUE", as the command's --set.  root: folder of data/ and runs/, by default $DVS_TRANSFER_ROOT or
    the current one.  map_tasks: what runs the tasks, see `stages.tasks`; by default threads, one for each core.
    on_message: gets warnings. The same words mean the same in the other functions.
    """
    return experiment.preprocess(to_config(config, overrides), _workspace(root), map_tasks or _threads(), on_message)


def convert(
    source: str,
    raw: AnyPath,
    out: AnyPath | None = None,
    *,
    frames: Options | None = None,
    images: Options | None = None,
    conversion: Options | None = None,
    root: AnyPath | None = None,
    map_tasks: TaskRunner | None = None,
) -> ConversionReport:
    """Convert one raw data set into a store in the folder `out`, by default the cache.

    frames, images, conversion: fields of `FramesConfig`, `ImagesConfig` and `ConversionOptions` by name.
    """
    settings = build(
        ConvertConfig,
        source=source,
        raw=raw,
        out=out or _workspace(root).cache,
        frames=build(FramesConfig, **(frames or {})),
        images=build(ImagesConfig, **(images or {})),
        conversion=build(ConversionOptions, **(conversion or {})),
    )
    return conversions.run(settings, map_tasks or _threads())


def pair(
    events: AnyPath, images: AnyPath | None = None, *, on_message: OnMessage = lambda message: None, **options: Any
) -> PairingReport:
    """Align the recordings of a store with a store's photos, if there are any, and split them; written beside them.

    options: fields of `PairingConfig`.
    """
    settings, path = build(PairingConfig, **options), Path(events)
    return pairing.run(settings, path, None if images is None else Path(images), path.parent, on_message)


def train(
    config: AnyConfig,
    *,
    overrides: Iterable[str] = (),
    root: AnyPath | None = None,
    run: AnyPath | None = None,
    restart: bool = False,
    on_progress: OnProgress = lambda progress: None,
    on_message: OnMessage = lambda message: None,
) -> tuple[Path, TrainingReport | None]:
    """Train what `preprocess` prepared, or go on with it; the run's folder, and its report.

    run: folder, by default one that the settings name.  restart: delete what the run has so far.
    Of the processes that `torchrun` starts, the first alone gets the report.
    """
    folder = None if run is None else Path(run)
    return experiment.train(to_config(config, overrides), _workspace(root), folder, restart, on_progress, on_message)


def evaluate(
    run: AnyPath,
    settings: EvaluateConfig | None = None,
    *,
    split: EvaluatedSplit | None = None,
    checkpoint: CheckpointName | None = None,
    overrides: Iterable[str] = (),
    save_logits: Path | None = None,
) -> EvaluationReport:
    """Measure the run in a folder on recordings that it was not trained on; the results are also kept there.

    settings: by default those of the run's configuration with the `overrides`, the `split` and the `checkpoint`.
    save_logits: file (.npz) for the logits of each step.
    """
    folder = Path(run)
    settings = settings or _evaluation(folder, overrides, split=split, checkpoint=checkpoint)
    return evaluation.run(settings, experiment.open_splits_of(folder), folder, save_logits)


def analyse(
    run: AnyPath, name: str, *, restart: bool = False, progress: Progress = no_progress, **options: Any
) -> AnalysisFiles:
    """Look into the run in a folder: "activity", "alignment", "embedding", "grad-cam" or "landscape".

    restart: measure again, even if nothing has changed.  options: fields of the analysis' configuration.
    """
    if name not in ANALYSES:
        raise ConfigError(f"{name}: no such analysis; there are {', '.join(ANALYSES)}")
    config = build(ANALYSES[name].config, **options)
    return analysis.analyse(name, config, Path(run), restart=restart, progress=progress)


def report(
    runs: AnyPath | Sequence[AnyPath], out: AnyPath | None = None, *, root: AnyPath | None = None
) -> ReportFiles:
    """Write one HTML page of an evaluated run, or of several side by side, by default into its folder or runs/."""
    folders = [Path(runs)] if isinstance(runs, AnyPath) else [Path(run) for run in runs]
    return reporting.report(folders, Path(out) if out else reporting.default_page(folders, _workspace(root)))


def predict(
    run: AnyPath,
    files: AnyPath | Sequence[AnyPath],
    *,
    top: int = 1,
    source: str | None = None,
    checkpoint: CheckpointName | None = None,
    device: str | None = None,
    overrides: Iterable[str] = (),
) -> PredictionReport:
    """Name recordings that nobody labelled, files or folders of them, by the network of a run.

    top: classes for each.  source: whose reader reads them, by default that of the recordings that the run was trained
    on; "folder" recognises any format by its content.  checkpoint, device, overrides: by default as the run's
    configuration evaluates. What cannot be read is told in the report. Probabilities are not calibrated.
    Raises TrainingError: no such run. StoreError: how its recordings were made is not known.
    """
    folder, paths = Path(run), [files] if isinstance(files, AnyPath) else files
    settings = _evaluation(folder, overrides, checkpoint=checkpoint, device=device)
    return prediction.run(settings, _recipe_of(folder, source), [Path(path) for path in paths], folder, top)


def load_network(
    run: AnyPath, checkpoint: CheckpointName = "best", device: str = "auto"
) -> tuple[SpikingNetwork, CheckpointInfo]:
    """The network of a run in evaluation mode, and what it is for: class names, time steps, size of a frame.

    network(frames, "event"): frames (T, B, 2, H, W) float32 counts to logits (T, B, num_classes).
    """
    return load_weights(weights_path(Path(run), checkpoint), select_device(device))


def to_config(config: AnyConfig, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """The configuration in a file (a name without suffix is that of a shipped one) or a model, with overrides."""
    if isinstance(config, ExperimentConfig):
        document = config.model_dump(mode="json")
        apply_overrides(document, overrides)
        return validate_config(document, config.name)
    path = Path(config)
    return load_config(path if path.suffix else Path("configs", f"{path}.toml"), overrides)


def _evaluation(folder: Path, overrides: Iterable[str], **changes: str | None) -> EvaluateConfig:
    """How the run's own configuration evaluates, with overrides and changes."""
    given = [f'evaluate.{key}="{value}"' for key, value in changes.items() if value is not None]
    return experiment.evaluation_of_run(folder, [*overrides, *given])


def _recipe_of(folder: Path, source: str | None) -> Recipe:
    """How the run's recordings were made: as their store says or, where that is gone, the run's configuration."""
    document = experiment.read_run(folder)
    try:
        events = PairStore(str(document["pairs"])).events
    except StoreError as error:
        if "experiment" not in document:
            raise StoreError(f"{error}; and {folder}/config.json does not say how recordings were cut either") from None
        config = validate_config(document["experiment"], f"{folder}/config.json")
        name, frames, sensor = config.events.source, config.frames, config.frames.sensor_size
        if not frames.crop and sensor is None:
            raise StoreError(
                f"{error}; it alone says of which sensor the frames are, as crop = false needs it"
            ) from None
    else:
        made = events.attributes.config
        name, frames = made["source"], FramesConfig.model_validate(made["frames"])
        width, height = events.column("sensor_size")[events.valid][0].tolist()
        sensor = (width, height)
    return Recipe(source or name, frames, sensor)


def _workspace(root: AnyPath | None) -> Workspace:
    return Workspace.at(None if root is None else Path(root))


def _threads() -> TaskRunner:
    return DaskRunner(Reporter(verbosity=0))
