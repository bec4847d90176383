"""Fetch a raw data set from where it is published, or take an archive that the user has, into `<root>/<data set>/`.

A file is written aside as `<name>.part`, goes on where an interrupted run stopped, and gets its name when its digest is
right. Archives are kept as they are: the sources read them in place.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import requests
from filelock import FileLock, Timeout
from pydantic import Field, field_validator

from ..cache.documents import Frozen, read_json
from ..cache.errors import SourceError
from .sources import SOURCES, open_source
from .sources.archives import extract_safely

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes there so far, and the bytes of the whole file where they are known."""

_ATTEMPTS: Final = 4  # connections for one file before the user is asked to try later
_TIMEOUT_S: Final = (15, 60)  # to connect, between two bytes
_BLOCK_BYTES: Final = 1 << 16  # what is lost of a connection that breaks
_BROKEN: Final = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@dataclass(frozen=True)
class PublishedFile:
    """A file of a data set as it is published: its name, under which the source looks for it; where it can be fetched
    without a browser (None: by hand); its published md5 (None: it is not published).
    """

    name: str
    md5: str | None = None
    url: str | None = None


def _at(place: str, *files: tuple[str, str, str]) -> tuple[PublishedFile, ...]:
    """Files by name, md5 and the part of the URL that stands in place of {}."""
    return tuple(PublishedFile(name, md5, place.format(path)) for name, md5, path in files)


_MENDELEY: Final = "https://data.mendeley.com/public-files/datasets"

# Places and digests: N-Caltech101 and N-MNIST as in tonic 1.6 (tonic/datasets/ncaltech101.py, nmnist.py) and, for the
# two files of N-Caltech101, SpikingJelly (spikingjelly/datasets/n_caltech101.py); Caltech101 as listed at CaltechDATA
# (doi:10.22002/D1.20086); MNIST, CIFAR-10 and Omniglot as in torchvision (torchvision/datasets/mnist.py, cifar.py,
# omniglot.py), Omniglot's digests also in other public loaders; CIFAR10-DVS (figshare 4724671) as in SpikingJelly
# (spikingjelly/datasets/cifar10_dvs.py), the same files as in events-tfds.
PUBLISHED: Final[Mapping[str, tuple[PublishedFile, ...]]] = MappingProxyType(
    {
        "ncaltech101": (
            *_at(
                f"{_MENDELEY}/cy6cvx3ryv/files/{{}}/file_downloaded",
                ("Caltech101.zip", "66201824eabb0239c7ab992480b50ba3", "36b5c52a-b49d-4853-addb-a836a8883e49"),
            ),
            PublishedFile("Caltech101_annotations.zip", "25e64cea645291e368db1e70f214988e"),
            PublishedFile("N-Caltech101-archive.zip"),  # zipped anew for each visitor, so without a digest
        ),
        "caltech101": (
            *_at(
                "https://data.caltech.edu/records/{}",
                ("caltech-101.zip", "3138e1922a9193bfa496528edbbc45d0", "mzrjq-6wc02/files/caltech-101.zip"),
            ),
            PublishedFile("101_ObjectCategories.tar.gz"),
        ),
        "nmnist": _at(
            f"{_MENDELEY}/468j46mzdv/files/{{}}/file_downloaded",
            ("Train.zip", "20959b8e626244a1b502305a9e6e2031", "39c25547-014b-4137-a934-9d29fa53c7a0"),
            ("Test.zip", "69ca8762b2fe404d9b9bad1103e97832", "05a4d654-7e03-4c15-bdfa-9bb2bcbea494"),
        ),
        "mnist": _at(
            "https://ossci-datasets.s3.amazonaws.com/mnist/{}-ubyte.gz",
            ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", "train-images-idx3"),
            ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", "train-labels-idx1"),
            ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", "t10k-images-idx3"),
            ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", "t10k-labels-idx1"),
        ),
        "omniglot": _at(
            "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/images_{}.zip",
            ("images_background.zip", "68d2efa1b9178cc56df9314c21c6e718", "background"),
            ("images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811", "evaluation"),
        ),
        "cifar10": _at(
            "https://www.cs.toronto.edu/~kriz/{}",
            ("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", "cifar-10-python.tar.gz"),
        ),
        "cifar10dvs": _at(
            "https://ndownloader.figshare.com/files/{}",
            ("airplane.zip", "0afd5c4bf9ae06af762a77b180354fdd", "7712788"),
            ("automobile.zip", "8438dfeba3bc970c94962d995b1b9bdd", "7712791"),
            ("bird.zip", "a9c207c91c55b9dc2002dc21c684d785", "7712794"),
            ("cat.zip", "52c63c677c2b15fa5146a8daf4d56687", "7712812"),
            ("deer.zip", "b6bf21f6c04d21ba4e23fc3e36c8a4a3", "7712815"),
            ("dog.zip", "f379ebdf6703d16e0a690782e62639c3", "7712818"),
            ("frog.zip", "cad6ed91214b1c7388a5f6ee56d08803", "7712842"),
            ("horse.zip", "e7cbbf77bec584ffbf913f00e682782a", "7712851"),
            ("ship.zip", "41c7bd7d6b251be82557c6cce9a7d5c9", "7712836"),
            ("truck.zip", "89f3922fd147d9aeff89e76a2b0b70a7", "7712839"),
        ),
    }
)
_SHARED_FOLDERS: Final = {"cepdvs-images": "cepdvs"}  # recordings and images are one data set in one folder


class DownloadConfig(Frozen):
    """Which data set to fetch, and where to."""

    dataset: str = Field(description="name of a source")
    root: Path = Field(default=Path("data/raw"), description="folder of the raw data; the data set gets a folder in it")
    archive: Path | None = Field(default=None, description="a file that is here already, taken instead of fetching")

    @field_validator("dataset")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in SOURCES:
            raise ValueError(f"no such data set; there are {', '.join(SOURCES)}")
        return value

    @property
    def folder(self) -> Path:
        """Where the data set lies afterwards."""
        return self.root / _SHARED_FOLDERS.get(self.dataset, self.dataset)


@dataclass(frozen=True)
class FileReport:
    """A file that is in its place. verified: whether the md5 is the published one; False: none is published."""

    path: Path
    num_bytes: int
    md5: str
    sha256: str
    verified: bool


@dataclass(frozen=True)
class DownloadReport:
    """What is there after a download. num_samples: those that the source lists; None: it does not open yet.
    remark: what is still missing.
    """

    dataset: str
    folder: Path
    files: tuple[FileReport, ...]
    num_samples: int | None
    remark: str | None = None


def run(
    config: DownloadConfig,
    *,
    progress: Progress = lambda name, num_bytes, total: None,
    published: Mapping[str, tuple[PublishedFile, ...]] = PUBLISHED,
) -> DownloadReport:
    """Bring the data set into `config.folder`, from the net or from `config.archive`, and open it.

    Raises SourceError: it must be fetched by hand, the place does not answer, a digest is wrong, the disk is full,
    another download into the folder is running, or what arrived is not the data set. Running it again goes on where it
    stopped.
    """
    files = published.get(config.dataset, ())
    _require_a_way(config, files)
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(config.folder.with_name(f".{config.folder.name}.lock"), timeout=0):
            if config.archive is not None:
                return _take(config, config.archive, files)
            return _fetch_all(config, files, progress)
    except Timeout as error:
        raise SourceError(f"{config.folder}: another download is writing here; wait for it") from error
    except OSError as error:
        raise SourceError(f"{error.filename or config.folder}: cannot be written: {error.strerror}") from error


def _require_a_way(config: DownloadConfig, files: Sequence[PublishedFile]) -> None:
    """Raises SourceError, before a folder is made, where there is nothing to fetch and nothing to take."""
    source = SOURCES[config.dataset]
    if config.archive is not None and not config.archive.is_file():
        raise SourceError(f"{config.archive}: is no file; give the archive of {source.title}")
    if config.archive is None and not any(file.url for file in files):
        raise SourceError(
            f"{config.dataset} cannot be fetched automatically. Get it from {source.origin}, then run `dvs-transfer "
            f"download {config.dataset} --archive FILE`, or unpack it to {config.folder}, which should then hold "
            f"{source.layout}"
        )


def _report(config: DownloadConfig, files: Sequence[FileReport], remark: str | None = None) -> DownloadReport:
    num_samples = None if remark else len(open_source(config.dataset, config.folder).samples)
    return DownloadReport(config.dataset, config.folder, tuple(files), num_samples, remark)


def _take(config: DownloadConfig, archive: Path, files: Sequence[PublishedFile]) -> DownloadReport:
    """Copy a published file into place, known by its digest or its name; unpack any other archive."""
    checked = _check(archive, None)
    known = [file for file in files if file.md5 == checked.md5] or [file for file in files if file.name == archive.name]
    if not known:
        extract_safely(archive, config.folder)
        return _report(config, [checked])
    path = config.folder / known[0].name
    _check(archive, known[0])
    if not (path.exists() and path.samefile(archive)):
        _require_space(config.folder, checked.num_bytes)
        part = path.with_name(f"{path.name}.part")
        shutil.copyfile(archive, part)
        part.replace(path)
    report = FileReport(path, checked.num_bytes, checked.md5, checked.sha256, known[0].md5 is not None)
    try:
        return _report(config, [report])
    except SourceError as error:  # one of several files; the others may follow
        return _report(config, [report], remark=str(error))


def _fetch_all(config: DownloadConfig, files: Sequence[PublishedFile], progress: Progress) -> DownloadReport:
    source, reports = SOURCES[config.dataset], []
    with requests.Session() as session:
        for file in (file for file in files if file.url):
            try:
                reports.append(_fetch(file, config.folder, session, progress))
            except requests.RequestException as error:
                raise SourceError(
                    f"{file.url}: cannot be fetched ({error}). Run the command again later: it goes on from the bytes "
                    f"that are here. Or get {file.name} from {source.origin} and give --archive FILE"
                ) from error
    return _report(config, reports)


def _fetch(file: PublishedFile, folder: Path, session: Any, progress: Progress) -> FileReport:
    path, part = folder / file.name, folder / f"{file.name}.part"
    note = part.with_name(f"{part.name}.json")
    if not path.exists():
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                _fetch_rest(file, part, note, session, progress)
                break
            except _BROKEN:
                if attempt == _ATTEMPTS:
                    raise
        try:
            _check(part, file)
        except SourceError:
            part.unlink()
            raise
        finally:
            note.unlink(missing_ok=True)
        part.replace(path)
    return _check(path, file)


def _fetch_rest(file: PublishedFile, part: Path, note: Path, session: Any, progress: Progress) -> None:
    """One connection: from where `part` ends, where the server still has the same file and can, else from the start.

    note: keeps the strong validator for `If-Range` (RFC 9110, 13.1.5); without one the next run starts anew.
    """
    try:
        validator = read_json(note)["validator"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        validator = None
    there = part.stat().st_size if isinstance(validator, str) and part.exists() else 0
    headers = {"Range": f"bytes={there}-", "If-Range": validator} if there else {}
    headers["Accept-Encoding"] = "identity"
    with session.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
        found = response.headers.get("Content-Range", "")
        if response.status_code == 416:  # nothing after these bytes: they are the whole file, or another one
            if found == f"bytes */{there}":
                return
            part.unlink()
            raise requests.ConnectionError(f"the server's file is shorter than the {there} bytes that are here")
        response.raise_for_status()
        resumed = response.status_code == 206
        if resumed and not found.startswith(f"bytes {there}-"):
            raise requests.ConnectionError(f"asked for bytes from {there}, got {found}")
        there = there if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else there + int(length)
        _require_space(part.parent, (total or 0) - there)
        etag = response.headers.get("ETag", "")
        validator = etag if etag.startswith('"') else response.headers.get("Last-Modified")
        note.write_text(json.dumps({"validator": validator}), encoding="utf-8")
        with part.open("ab" if resumed else "wb") as output:
            for block in response.iter_content(_BLOCK_BYTES):
                output.write(block)
                there += len(block)
                progress(file.name, there, total)
    if total is not None and there != total:
        raise requests.ConnectionError(f"the connection ended after {there} of {total} bytes")


def _check(path: Path, file: PublishedFile | None) -> FileReport:
    """Raises SourceError where the digest is not the published one."""
    with path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        opened.seek(0)
        md5 = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    published, num_bytes = file.md5 if file else None, path.stat().st_size
    if published not in (None, md5):
        raise SourceError(
            f"{path}: md5 {md5} ({num_bytes} bytes), expected {published}; the file is damaged or another one: remove "
            "it and fetch it again"
        )
    return FileReport(path, num_bytes, md5, sha256, verified=published is not None)


def _require_space(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise SourceError(f"{folder}: {num_bytes} bytes are needed, {free} are free; make room or give another --root")
