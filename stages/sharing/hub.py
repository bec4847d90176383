"""Pushing a shared folder to a hub, and pulling one, through the library `huggingface_hub` (the extra `hub`).

Which hub, and who you are, is the library's to know: $HF_ENDPOINT, $HF_TOKEN, or what its login left.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...cache.documents import MAX_DOCUMENT_BYTES, name_some
from ...cache.errors import ConfigError, DvsTransferError, StoreError
from .manifest import FILE, Kind, Manifest, read_manifest, unlisted_files, verify

DATASETS: Final = "datasets/"  # before the name of a repository of data, as in a hub's addresses
_ASIDE: Final = ".partial"


class HubError(DvsTransferError):
    """A hub refused, or could not be reached."""


@dataclass(frozen=True)
class PushReport:
    """url: of the repository. commit: that holds the folder now."""

    repository: str
    url: str
    commit: str
    kind: Kind
    num_files: int


@dataclass(frozen=True)
class PullReport:
    """commit: that the folder came from; every file has the digest that its manifest names."""

    repository: str
    commit: str
    folder: Path
    kind: Kind
    num_files: int
    num_bytes: int


def push(folder: Path, repository: str, *, public: bool = False) -> PushReport:
    """Make the repository unless it is there, private unless `public`, and put the folder's files into it.

    Raises StoreError: no shared folder, or damaged; ConfigError: the repository's name is of the other kind; HubError.
    """
    manifest = read_manifest(folder)
    verify(folder, manifest)
    name, kind = _repository(repository)
    if kind != _kind_of(manifest):
        right = f"{DATASETS}{name}" if kind == "model" else name
        raise ConfigError(f"{repository}: {folder} holds {_in_words(manifest)}; name the repository {right}")
    with _asking(repository) as api:
        url = api.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
        done = api.upload_folder(
            folder_path=folder,
            repo_id=name,
            repo_type=kind,
            ignore_patterns=[glob.escape(each) for each in unlisted_files(_files_below(folder), manifest)],
            commit_message=f"{manifest.name}, as dvs-transfer exports it",
        )
    return PushReport(repository, str(url), str(done.oid), manifest.kind, len(manifest.files))


def pull(repository: str, folder: Path) -> PullReport:
    """Fetch a repository into `folder`, which is there when every file has been verified, and not before.

    Raises StoreError: what the repository holds was not exported by dvs-transfer, or is damaged; ConfigError: the
    folder is there already; HubError.
    """
    if folder.exists():
        raise ConfigError(f"{folder}: is there already; name another folder, or delete it first")
    name, kind = _repository(repository)
    aside = folder.with_name(folder.name + _ASIDE)  # what an interrupted pull left there is gone on with
    with _asking(repository) as api:
        commit = str(api.repo_info(name, repo_type=kind).sha)
        tree = api.list_repo_tree(name, repo_type=kind, revision=commit, recursive=True)
        sizes = {entry.path: entry.size for entry in tree if hasattr(entry, "size")}
        if not 0 < sizes.get(FILE, 0) <= MAX_DOCUMENT_BYTES:
            raise StoreError(f"{repository}: holds no {FILE}: it was not made by `dvs-transfer export --to hub`")
        where = {"repo_id": name, "repo_type": kind, "revision": commit, "local_dir": aside}
        api.hf_hub_download(filename=FILE, **where)
        manifest = read_manifest(aside)
        if kind != _kind_of(manifest):
            raise StoreError(f"{repository}: a repository of the other kind holds {_in_words(manifest)}")
        others = [each for each, file in manifest.files.items() if sizes.get(each) != file.num_bytes]
        if others:  # before they are fetched
            raise StoreError(f"{repository}: {name_some(others)} missing or other than {FILE} says; nothing is taken")
        api.snapshot_download(ignore_patterns=[glob.escape(each) for each in unlisted_files(sizes, manifest)], **where)
    shutil.rmtree(aside / ".cache", ignore_errors=True)  # the library's notes
    for stray in unlisted_files(_files_below(aside), manifest):  # of an earlier pull
        (aside / stray).unlink()
    try:
        verify(aside, manifest)
    except StoreError:
        shutil.rmtree(aside)  # to be fetched anew
        raise
    aside.rename(folder)
    num_bytes = sum(file.num_bytes for file in manifest.files.values())
    return PullReport(repository, commit, folder, manifest.kind, len(manifest.files), num_bytes)


def name_of(repository: str) -> str:
    """Its last part."""
    return _repository(repository)[0].rpartition("/")[2]


def is_dataset(repository: str) -> bool:
    return _repository(repository)[1] == "dataset"


def _repository(text: str) -> tuple[str, str]:
    """The name, and the hub's word for its kind."""
    name = text.removeprefix(DATASETS)
    if name.count("/") > 1 or not all(name.split("/")):
        raise ConfigError(f"{text}: expected USER/NAME of a run, or {DATASETS}USER/NAME of stores")
    return name, "model" if name == text else "dataset"


def _kind_of(manifest: Manifest) -> str:
    return "model" if manifest.kind == "run" else "dataset"


def _in_words(manifest: Manifest) -> str:
    return "a run" if manifest.kind == "run" else "stores"


def _files_below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


@contextmanager
def _asking(repository: str) -> Iterator[Any]:
    """The library; what goes wrong on the way to the hub becomes a HubError."""
    try:
        import huggingface_hub
    except ImportError:
        raise ConfigError("a hub needs a library that is not installed: pip install 'dvs-transfer[hub]'") from None
    try:
        yield huggingface_hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="dvs-transfer")
    except DvsTransferError:
        raise
    except Exception as error:  # of its own, of whichever HTTP library it uses, and plain ones
        causes = [error, *([error.__cause__] if error.__cause__ else [])]
        told = "; ".join(f"{type(each).__name__}: {' '.join(str(each).split())}" for each in causes)
        raise HubError(f"{repository}: {told}") from error
