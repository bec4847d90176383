"""From a configuration to its stores, its run and its results: which stages are needed, and which are up to date.

`preprocess` reads all raw data, so that what is up to date is known from contents. It notes the pair store that the
configuration leads to in `recipes/` of the cache; `train` and `evaluate` look it up there.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..cache import durable
from ..cache.digests import FINGERPRINT_DIGITS, fingerprint
from ..cache.errors import ConfigError, DvsTransferError, SourceError, StoreError
from ..cache.locks import once
from ..cache.pairs import PairStore, Split
from ..cache.places import exists, place
from ..cache.store import FrameStore
from ..stages import demo, pairing, preview, simulation
from ..stages.conversion import run as conversion
from ..stages.conversion.config import ConvertConfig
from ..stages.demo.run import EVENTS, PAIRS
from ..stages.evaluation.config import EvaluateConfig
from ..stages.frames.spec import ImagesConfig
from ..stages.runs.folder import read_run
from ..stages.runs.origin import ORIGIN_KEY, Origin, origin_of
from ..stages.simulation.run import RECORDINGS
from ..stages.sources import SOURCES, find_source, open_source
from ..stages.tasks import TaskRunner
from ..stages.training.config import NEUTRAL_TRAIN_FIELDS
from ..stages.training.progress import OnMessage, OnProgress, TrainingReport
from .config import AnyConfig, EventsSection, ExperimentConfig, ImagesSection, build, load_config, parse_overrides
from .execution import ALL_CORES
from .notes import is_noted, note_paths, origin_of_pairs, read_note, write_note
from .workspace import AnyRoot, Workspace

# What loads torch, for seconds, comes on first use: `preprocess` of what is up to date needs none of it.
if TYPE_CHECKING:
    from ..cache.paired import PairedCache
    from ..stages.evaluation.results import EvaluationReport
    from ..stages.runs.released import ImportReport


@dataclass(frozen=True)
class PreprocessReport:
    """What `preprocess` made or found. demo, simulated, images: None where the configuration has no such section.

    recorded: of the images, by a simulated camera; None where none records them.
    """

    demo: demo.DemoReport | None
    simulated: simulation.SimulationReport | None
    events: conversion.ConversionReport
    images: conversion.ConversionReport | None
    recorded: conversion.ConversionReport | None
    pairs: pairing.PairingReport
    picture: Path


def preprocess(
    config: AnyConfig,
    root: AnyRoot = None,
    map_tasks: TaskRunner = ALL_CORES,
    on_message: OnMessage = lambda message: None,
) -> PreprocessReport:
    """Everything up to the pair store: drawn or simulated raw data, both conversions, the pairing, a picture.

    config: a model, a file, or the name of a shipped one, see `load_config`.  root: folder of data/ and runs/; by
    default $DVS_TRANSFER_ROOT, or the current one.  map_tasks: see `stages.tasks`.  on_message: gets warnings.
    Raises ConfigError (a source of the wrong kind), SourceError, StoreError, OSError.
    """
    config, workspace = load_config(config), Workspace.at(root)
    sections: dict[Literal["events", "images"], EventsSection | ImagesSection] = {"events": config.events}
    if config.images is not None:
        sections["images"] = config.images
    for kind, section in sections.items():
        try:
            find_source(section.source, kind)
        except SourceError as error:
            raise ConfigError(f"{kind}.source: {error}") from None
    drawn = simulated = None
    if config.demo is not None:
        drawn = demo.run(config.demo.model_copy(update={"out": workspace.raw_data(config.demo.out)}), map_tasks)
    if config.simulate is not None and config.images is not None:
        photos, recordings = workspace.raw_data(config.images.raw), workspace.raw_data(config.events.raw)
        settings = simulation.SimulateConfig(images=photos, out=recordings, simulation=config.simulate)
        simulated = simulation.run(settings, map_tasks)
    made = {kind: conversion.run(_conversion_config(config, workspace, at), map_tasks) for kind, at in sections.items()}
    events, images, recorded = made["events"], made.get("images"), None
    if config.images is not None and (camera := config.images.recorded) is not None:
        recorded = conversion.run(_conversion_config(config, workspace, config.images, camera), map_tasks)
    of_images = [None if store is None else store.path for store in (images, recorded)]
    pairs = pairing.run(config.pairing, events.path, of_images[0], workspace.cache, on_message, of_images[1])
    picture = workspace.previews / f"{pairs.path.stem}.png"
    note = {"pairs": pairs.path.name, "config": config.model_dump(mode="json", exclude={"baseline"})}
    if origin := _origin_beside(config, workspace):
        note[ORIGIN_KEY] = origin

    def tidy() -> None:
        for path in {*note_paths(config, workspace), picture}:
            durable.remove_temporaries(path.parent, f"{path.stem}*")

    def write() -> bool:
        tidy()
        write_note(config, workspace, note)
        if not picture.exists():
            preview.run(pairs.path, picture)
        return True

    def find() -> bool | None:
        return (is_noted(config, workspace, note) and picture.exists()) or None

    once(workspace.cache, pairs.path.name, find, write, tidy)
    return PreprocessReport(
        demo=drawn, simulated=simulated, events=events, images=images, recorded=recorded, pairs=pairs, picture=picture
    )


def find_pairs(config: ExperimentConfig, workspace: Workspace) -> Path:
    """The pair store that `preprocess` made for this configuration. Raises StoreError: none yet, or no more."""
    path = workspace.cache / str(read_note(config, workspace)["pairs"])
    if not exists(path / "zarr.json"):
        raise StoreError(f"{path}: is gone; make it again with `dvs-transfer preprocess`")
    return path


def find_change(config: ExperimentConfig, workspace: Workspace) -> str:
    """Whether the raw recordings, where they are here, are still as many as `preprocess` found; "" or what to do.

    Not asked where counting them means reading them: of windows, gzipped archives, and readers that are not this
    package's. Of the processes that `torchrun` starts the first one asks. Raises StoreError: nothing is preprocessed.
    """
    from ..stages.training.distributed import is_main_process

    frames, raw, source = config.frames, workspace.raw_data(config.events.raw), config.events.source
    pairs = find_pairs(config, workspace)
    is_cheap = source in SOURCES and frames.windows is None and raw.is_dir() and not any(raw.glob("*gz"))
    if not (is_cheap and is_main_process()):
        return ""
    try:
        there = len(open_source(source, raw, frames.time_unit, frames.columns).samples)
        of_store = len(PairStore(pairs).events)
    except (DvsTransferError, OSError):
        return ""
    if there == of_store:
        return ""
    return (
        f"{raw}: {there:,} recordings, {of_store:,} when they were converted; run `dvs-transfer preprocess` to train "
        "on those of now"
    )


def run_folder(config: ExperimentConfig, workspace: Workspace) -> Path:
    """The folder of the run that this configuration describes: another one for whatever changes its result.

    Its name says what it is; what decides are the configuration's name at its start and the fingerprint at its end.
    """
    from ..stages.training.methods import plugin_code

    described = {
        "pairs": FrameStore(find_pairs(config, workspace)).attributes.fingerprint,
        "model": config.model.model_dump(mode="json"),
        "train": config.train.model_dump(mode="json", exclude=set(NEUTRAL_TRAIN_FIELDS)),
    }
    if code := plugin_code(config.model, config.train):
        described["code"] = code
    digits = fingerprint(described)[:FINGERPRINT_DIGITS]
    there = [path for path in workspace.runs.glob(f"{glob.escape(config.name)}-*{digits}") if path.is_dir()]
    return min(there) if there else workspace.runs / "-".join([config.name, *_in_words(config), digits])


def _in_words(config: ExperimentConfig) -> Iterator[str]:
    """What a run is told by among those of one configuration: method, labels, seed."""
    if config.train.method not in config.name:
        yield config.train.method.replace(":", ".").replace("/", ".")
    if config.pairing.train_per_class is not None:
        yield f"{config.pairing.train_per_class}-a-class"
    elif config.pairing.train_share < 1:
        yield f"share-{config.pairing.train_share:g}"
    yield f"seed-{config.train.seed}"


def train(
    config: AnyConfig,
    root: AnyRoot = None,
    folder: str | Path | None = None,
    restart: bool = False,
    on_progress: OnProgress = lambda progress: None,
    on_message: OnMessage = lambda message: None,
) -> tuple[Path, TrainingReport | None]:
    """Train, or go on with, the configuration's run (or the run in `folder`); its folder and report.

    config, root: as those of `preprocess`, which has made the data.  restart: delete what the run has so far.
    Of the processes that `torchrun` starts, the first alone gets the report.
    """
    from ..cache.paired import PairedCache
    from ..stages.training import loop
    from ..stages.training.distributed import is_main_process
    from ..stages.training.methods import plugin_code

    config, workspace = load_config(config), Workspace.at(root)
    note = read_note(config, workspace)
    pairs = find_pairs(config, workspace)
    folder = Path(folder) if folder else run_folder(config, workspace)
    open_split = cache(partial(PairedCache.open, pairs))  # no split is opened twice
    config = _with_batches_that_fit(config, len(open_split("train")), on_message)
    resolved = {"experiment": config.model_dump(mode="json", exclude={"baseline"}), "pairs": str(pairs.resolve())}
    if code := plugin_code(config.model, config.train):
        resolved["code"] = code
    if ORIGIN_KEY in note:
        resolved[ORIGIN_KEY] = note[ORIGIN_KEY]
    report = loop.run(
        config.model,
        config.train,
        open_split,
        folder,
        resolved=resolved,
        restart=restart,
        on_progress=on_progress,
        on_message=on_message,
    )
    return folder, report if is_main_process() else None


def _origin_beside(config: ExperimentConfig, workspace: Workspace) -> Origin | None:
    """What the record says that `simulate` or the demo left beside the raw recordings, where no section says it."""
    raw = workspace.raw_data(config.events.raw)
    if config.demo is not None or config.simulate is not None:
        return None
    if raw.name in (EVENTS.name, PAIRS.name) and (raw.parent / "demo.json").is_file():
        return "demo"
    folders = (raw, raw.parent) if raw.name == RECORDINGS else (raw,)
    return "simulated" if any((folder / "simulation.json").is_file() for folder in folders) else None


def _with_batches_that_fit(config: ExperimentConfig, num_recordings: int, on_message: OnMessage) -> ExperimentConfig:
    """A batch is no larger than the training split, where an epoch shows each recording once."""
    from ..stages.training.distributed import is_main_process

    asked = config.train.batch_size
    if config.train.epoch_steps is not None or not 2 <= num_recordings < asked:
        return config
    if is_main_process():
        on_message(f"batches of {num_recordings} recordings, all that train, in place of train.batch_size = {asked}")
    train = config.train.model_copy(update={"batch_size": num_recordings})
    return config.model_copy(update={"train": train})


def evaluate(
    run: str | Path,
    settings: EvaluateConfig | None = None,
    *,
    overrides: Iterable[str] = (),
    save_logits: Path | None = None,
    **options: Any,
) -> EvaluationReport:
    """Evaluate the run in a folder on recordings of the data that it was trained on; see `EvaluationReport`.

    settings: by default the run's own, with overrides ("evaluate.KEY=VALUE") and options (split, checkpoint ...).
    Writes `evaluation-<split>.json` and `predictions-<split>.csv` into the folder, and the logits of each step to
    `save_logits` (.npz). Raises TrainingError: no such run, no weights. StoreError: its cache is gone or damaged.
    """
    from ..stages.evaluation import evaluate as evaluation

    folder = Path(run)
    settings = settings or evaluation_of_run(folder, overrides, **options)
    return evaluation.run(settings, open_splits_of(folder), folder, save_logits)


def import_checkpoint(path: Path, pairs: Path, folder: Path) -> ImportReport:
    """Make the run `folder` of a published checkpoint or NIR graph, to be evaluated on the pair store `pairs`."""
    from ..cache.paired import PairedCache
    from ..stages.runs import nir_import, released

    split = PairedCache.open(pairs, "test")
    read = partial(nir_import.read_graph, num_steps=split.num_bins) if path.suffix == ".nir" else None
    return released.run(path, split, folder, pairs, read, origin_of_pairs(pairs))


def open_splits_of(folder: Path) -> Callable[[Split], PairedCache]:
    """Opens splits of the pair store that the run was trained on. Raises TrainingError when there is no such run.

    What it gives raises StoreError when the stores are gone or damaged.
    """
    from ..cache.paired import PairedCache

    pairs = place(str(read_run(folder)["pairs"]))

    def open_split(split: Split) -> PairedCache:
        try:
            return PairedCache.open(pairs, split)
        except StoreError as error:
            raise StoreError(
                f"{error}; the run {folder} was trained on {pairs}: put it back, or make it again with "
                "`dvs-transfer preprocess` and the run's configuration file"
            ) from None

    return open_split


def origin_of_run(folder: Path) -> Origin | None:
    """Where the recordings of a run come from; None: they are real, or it is not known. Raises TrainingError."""
    return origin_of(read_run(folder))


def evaluation_of_run(folder: Path, overrides: Iterable[str] = (), **options: Any) -> EvaluateConfig:
    """How a run's own configuration evaluates, with overrides and options. Raises TrainingError: no such run."""
    document = {"evaluate": read_run(folder).get("experiment", {}).get("evaluate", {})}
    parse_overrides(overrides, document)
    return build(
        EvaluateConfig, **document["evaluate"] | {key: value for key, value in options.items() if value is not None}
    )


def _conversion_config(
    config: ExperimentConfig,
    workspace: Workspace,
    section: EventsSection | ImagesSection,
    camera: simulation.SimulationConfig | None = None,
) -> ConvertConfig:
    images = ImagesConfig(size=config.frames.size)
    if config.images is not None:
        images = ImagesConfig(size=config.images.size or config.frames.size, value_order=config.images.value_order)
    frames = config.frames
    if isinstance(section, ImagesSection):  # has no recordings of its own: what says how to read those is not for it
        unread = {"windows": None} | ({} if camera else {"time_unit": "auto", "columns": "auto"})
        frames = frames.model_copy(update=unread)
    parts = {"frames": frames, "images": images, "conversion": config.conversion}
    return build(
        ConvertConfig,
        source=section.source,
        raw=workspace.raw_data(section.raw),
        out=workspace.cache,
        simulation=None if camera is None else camera.model_dump(mode="json"),
        **parts,
    )
