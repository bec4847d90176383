"""A run, or a store, as a folder to share. It appears whole: made aside, and renamed at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...cache import durable
from ...cache.documents import MAX_DOCUMENT_BYTES, read_json
from ...cache.errors import ConfigError, StoreError, TrainingError, command_line
from ...cache.pairs import PairStore
from ...cache.places import exists, is_address, read_object
from ...cache.store import FrameStore, read_attributes
from ...cache.verify import verify_store
from ..evaluation.config import EvaluatedSplit
from ..evaluation.results import evaluation_path, predictions_path, read_outcome
from ..runs.checkpoint import CheckpointName, read_info, require_weights, weights_path
from ..runs.metrics import metrics_path
from .manifest import CARD, Kind, Manifest, write_manifest
from .run_card import run_card
from .store_card import stores_card

_SPLITS: Final[tuple[EvaluatedSplit, ...]] = ("test", "validation")
_WEIGHTS: Final[tuple[CheckpointName, ...]] = ("best", "last")
_ASIDE: Final = ".partial"
_PATTERNS: Final = ("group",)  # settings that may begin like a path, and are none


@dataclass(frozen=True)
class ExportReport:
    """The folder. licence: what its card's metadata say; None: that nobody said."""

    folder: Path
    kind: Kind
    num_files: int
    num_bytes: int
    licence: str | None


def export(path: Path, folder: Path, licence: str | None = None) -> ExportReport:
    """Make `folder` of the run or the store at `path`. licence: an identifier of the card format, such as cc-by-4.0.

    Raises TrainingError: no such run, one without results, or with results of other weights; StoreError: no store,
    or a damaged one; ConfigError: the folder is there already.
    """
    is_run = exists(path / "config.json")
    if not is_run and not exists(path / "zarr.json"):
        raise ConfigError(f"{path}: neither a run's folder (with a config.json) nor a store (with a zarr.json)")
    name = folder.resolve().name
    if is_run:
        manifest = _make(folder, "run", name, lambda made: _write_run(path, made, name, licence))
    else:
        manifest = _make(folder, "stores", name, lambda made: _write_stores(path, made, name, licence))
    files = manifest.files.values()
    return ExportReport(folder, manifest.kind, len(files), sum(file.num_bytes for file in files), licence)


def _make(folder: Path, kind: Kind, name: str, write: Callable[[Path], None]) -> Manifest:
    if folder.exists():
        raise ConfigError(f"{folder}: is there already; name another folder, or delete it first")
    aside = folder.with_name(folder.name + _ASIDE)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        write(aside)
        manifest = write_manifest(aside, kind, name)
        durable.sync_tree(aside)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return manifest


def _write_run(run: Path, made: Path, name: str, licence: str | None) -> None:
    """The run's folder without what training goes on from, nor what tells of this machine's folders."""
    document = read_json(run / "config.json")
    pairs = Path(str(document.get("pairs", ""))).name
    there = [split for split in _SPLITS if evaluation_path(run, split).is_file()]
    if not there:
        raise TrainingError(f"{run}: no results for the card; run `{command_line('evaluate', run)}` first")
    for split in there:
        for weights, digest in read_outcome(run, split).report.weights.items():
            if digest is not None:  # imported weights have no last epoch
                require_weights(weights_path(run, weights))  # of which the card tells
        for path in (evaluation_path(run, split), predictions_path(run, split)):
            shutil.copyfile(path, made / path.name)
    for path in (metrics_path(run), run / "stints.json"):
        if path.is_file():
            shutil.copyfile(path, made / path.name)
    (made / "checkpoints").mkdir()
    for weights in _WEIGHTS:
        if (source := weights_path(run, weights)).is_file():
            shutil.copyfile(source, weights_path(made, weights))
    try:
        reports = [read_outcome(made, split).report for split in there]  # the card tells of what was copied
    except TrainingError:
        raise TrainingError(f"{run}: was trained or evaluated while it was copied; export it again") from None
    info = read_info(weights_path(made, reports[0].checkpoint))
    # Where the stores would lie below the root of whoever has made them from the same data.
    shared = {**_without_places(document), "pairs": f"data/cache/{pairs}"}
    durable.write_json(made / "config.json", shared)
    (made / CARD).write_text(run_card(name, document, pairs, info, reports, licence), encoding="utf-8")


def _without_places(value: Any) -> Any:
    """Settings whose paths are names alone: where this machine has its folders is nobody's business."""
    if isinstance(value, Mapping):
        return {key: item if key in _PATTERNS else _without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_places(item) for item in value]
    if isinstance(value, str) and value.startswith(("/", "~", "..")):
        return Path(value).name
    return value


def _write_stores(path: Path, made: Path, name: str, licence: str | None) -> None:
    """The store as it is and, where it joins others, those too. Files are links where the disk allows it."""
    if read_attributes(path).kind == "pairs":
        pairs = PairStore(path)
        joined = (pairs.events, pairs.images, pairs.recorded)
        stores = [store for store in joined if store is not None]
        folders = [pairs.path, *(store.path for store in stores)]
        text = stores_card(name, pairs, stores, licence)
    else:
        store = FrameStore(path)
        folders, text = [path], stores_card(name, None, [store], licence)
    for folder in folders:
        if not folder.resolve().name.endswith(".zarr"):
            raise StoreError(f"{folder}: a store's folder has a name that ends in .zarr; give it its name back")
        sizes = {"zarr.json": MAX_DOCUMENT_BYTES}
        sizes |= {key: file.num_bytes for key, file in read_attributes(folder).files.items()}
        for file, num_bytes in sizes.items():
            target = made / folder.resolve().name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if is_address(folder):
                durable.write_bytes(target, read_object(folder / file, num_bytes))
            else:
                _link(folder / file, target)
        copied = verify_store(made / folder.resolve().name)
        if not copied.is_whole:
            key, problem = next(iter(copied.bad.items()))
            raise StoreError(
                f"{folder}: {key}: {problem}; nothing is shared of a damaged store: see "
                f"`{command_line('cache', 'verify', folder)}`"
            )
    (made / CARD).write_text(text, encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    """A store's files are replaced, never written to, so that both names may be of one file."""
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
