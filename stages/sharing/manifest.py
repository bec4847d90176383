"""`manifest.json` of a folder that is shared: what it is, and every file in it with its SHA-256, but for the card.

What is pulled is held to it. It guards against damage and mix-ups; whoever can change a file there can change this one.
The card is for people, who may edit it; nothing reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from pydantic import Field, ValidationError

from ...cache import durable
from ...cache.documents import Frozen, name_some, read_document
from ...cache.errors import StoreError
from ...cache.schema import STORE_SUFFIX

FILE: Final = "manifest.json"
CARD: Final = "README.md"
Kind = Literal["run", "stores"]

# What a run may hold: text, and weights that are read without executing anything.
_RUN_SUFFIXES: Final = frozenset({".json", ".jsonl", ".csv", ".safetensors"})


class SharedFile(Frozen):
    num_bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(Frozen):
    """kind: one run, or stores, each a folder.  files: all but this one and the card, by their path in the folder."""

    version: Literal[1] = 1
    kind: Kind
    name: str
    files: dict[str, SharedFile]


def write_manifest(folder: Path, kind: Kind, name: str) -> Manifest:
    """Of all files that lie in the folder now."""
    unlisted = folder / FILE, folder / CARD
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path not in unlisted)
    files = {path.relative_to(folder).as_posix(): _describe(path) for path in paths}
    manifest = Manifest(kind=kind, name=name, files=files)
    durable.write_json(folder / FILE, manifest.model_dump())
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Raises StoreError: none there, damaged, or one that names what may not lie in such a folder."""
    path = folder / FILE
    try:
        manifest = Manifest.model_validate_json(read_document(path))
    except FileNotFoundError:
        raise StoreError(
            f"{folder}: not a shared folder (it has no {FILE}); `dvs-transfer export PATH --to hub` makes one"
        ) from None
    except ValidationError as error:
        raise StoreError(f"{path}: damaged, or of another version ({error.errors()[0]['msg']})") from None
    for name in manifest.files:
        _require_allowed(path, name, manifest.kind)
    return manifest


def verify(folder: Path, manifest: Manifest) -> None:
    """Raise StoreError unless every file is there, with its size and digest."""
    bad = [name for name, file in manifest.files.items() if not _is_whole(folder / name, file)]
    if bad:
        raise StoreError(f"{folder}: {name_some(bad)} missing or other than {FILE} says; fetch or export it again")


def unlisted_files(names: Iterable[str], manifest: Manifest) -> list[str]:
    """Those of some files' names that are no part of such a folder."""
    return [name for name in names if name not in manifest.files and name not in (FILE, CARD)]


def _require_allowed(path: Path, name: str, kind: Kind) -> None:
    """Every name is a path below the folder, of a file that is only ever read as data."""
    place = PurePosixPath(name)
    is_below = place.as_posix() == name and not place.is_absolute() and not {"..", "."} & set(place.parts)
    is_own = "\\" in name or not name.isprintable() or place.parts[:1] in ((), (FILE,), (CARD,), (".cache",))
    is_plain = is_below and not is_own
    in_store = len(place.parts) > 1 and place.parts[0].endswith(STORE_SUFFIX) and place.suffix in ("", ".json")
    if not (is_plain and (place.suffix in _RUN_SUFFIXES if kind == "run" else in_store)):
        raise StoreError(f"{path}: names {name!r}, which no {kind} that was exported holds; nothing of it is taken")


def _describe(path: Path) -> SharedFile:
    return SharedFile(num_bytes=path.stat().st_size, sha256=_digest(path))


def _is_whole(path: Path, file: SharedFile) -> bool:
    # A link may lead out of the folder.
    is_there = path.is_file() and not path.is_symlink() and path.stat().st_size == file.num_bytes
    return is_there and _digest(path) == file.sha256


def _digest(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()
