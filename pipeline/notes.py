"""What `preprocess` notes of a configuration, beside the stores: which pair store it leads to.

Raw data are named relative to the root, so workspaces that share a cache may mean different ones by one configuration.
There each has a note of its own; beside it lies anyone's, of whoever came first, for those who have none of the data.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..cache import durable
from ..cache.digests import FINGERPRINT_DIGITS, fingerprint
from ..cache.documents import read_json
from ..cache.errors import StoreError
from ..cache.places import is_address, make_folder
from ..stages.runs.origin import Origin, origin_of
from .config import ExperimentConfig
from .workspace import PAIR_NOTES, Workspace

FOUND = "found"  # in a note: where the raw data lay, of a cache that others may share


def note_paths(config: ExperimentConfig, workspace: Workspace) -> tuple[Path, Path]:
    """This workspace's own note and anyone's; one file where nobody shares the cache, or the raw data are not here.

    Named by all that decides the pair store, but for the raw data's contents.
    """
    no_data = dict.fromkeys(("name", "model", "train", "evaluate", "baseline"), True)
    # A split's file counts by its content.
    data = config.model_dump(mode="json", exclude={**no_data, "pairing": {"split_file": {"files": True}}})
    found = _found(config, workspace)
    own, anyones = (
        workspace.cache / PAIR_NOTES / f"{fingerprint(described)[:FINGERPRINT_DIGITS]}.json"
        for described in (data | ({FOUND: found} if found else {}), data)
    )
    return own, anyones


def read_note(config: ExperimentConfig, workspace: Workspace) -> dict[str, Any]:
    """Raises StoreError: none there yet for these raw data, or damaged."""
    own, anyones = note_paths(config, workspace)
    note = _read(own)
    if note is None and own != anyones:
        theirs, found = _read(anyones), _found(config, workspace)
        cannot_note = not is_address(workspace.cache) and not os.access(workspace.cache, os.W_OK)
        if theirs is not None and (theirs.get(FOUND, found) == found or cannot_note):
            note = theirs
    if note is None:
        raise StoreError(
            f"{workspace.cache}: no data for this configuration ({config.name}) yet; "
            "run `dvs-transfer preprocess` first, with the same settings"
        )
    return note


def write_note(config: ExperimentConfig, workspace: Workspace, note: dict[str, Any]) -> None:
    """Anyone's stays where it is of other raw data."""
    own, anyones = note_paths(config, workspace)
    make_folder(own.parent)
    if own != anyones:
        note, theirs = note | {FOUND: _found(config, workspace)}, None
        with suppress(StoreError):  # a damaged one is nobody's
            theirs = _read(anyones)
        if theirs is None or theirs.get(FOUND, note[FOUND]) == note[FOUND]:
            durable.write_json(anyones, note)
    durable.write_json(own, note)


def is_noted(config: ExperimentConfig, workspace: Workspace, note: dict[str, Any]) -> bool:
    """Whether `read_note` gives just that."""
    try:
        return {key: value for key, value in read_note(config, workspace).items() if key != FOUND} == note
    except StoreError:
        return False


def origin_of_pairs(pairs: Path) -> Origin | None:
    """Where the recordings of a pair store come from, as a note beside it says; None: they are real, or none says."""
    for path in () if is_address(pairs) else sorted((pairs.parent / PAIR_NOTES).glob("*.json")):
        with suppress(StoreError):
            note = _read(path) or {}
            if note.get("pairs") == pairs.name and (origin := origin_of({**note, "experiment": note.get("config")})):
                return origin
    return None


def _found(config: ExperimentConfig, workspace: Workspace) -> list[str] | None:
    raw = [workspace.raw_data(section.raw).resolve() for section in (config.events, config.images) if section]
    is_shared = workspace.cache_at is not None
    return [str(path) for path in raw] if is_shared and all(path.exists() for path in raw) else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        note: dict[str, Any] = read_json(path)
        return note | {"pairs": str(note["pairs"])}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise StoreError(f"{path}: damaged; run `dvs-transfer preprocess` again") from None
