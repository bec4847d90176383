"""Fetch a raw data set from where it is published, or take an archive that the user has, into `<root>/<data set>/`.

A file is written aside as `<name>.part`, goes on where an interrupted run stopped, and gets its name when its digest is
right. Archives are kept as they are: the sources read them in place.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import requests
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..cache.documents import read_json
from ..cache.errors import SourceError
from .sources import SOURCES, open_source
from .sources.archives import extract_safely

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes there so far, and the bytes of the whole file where they are known."""

_ATTEMPTS: Final = 4  # connections for one file before the user is asked to try later
_TIMEOUT_S: Final = (15, 60)  # to connect, between two bytes
_BLOCK_BYTES: Final = 1 << 16  # what is lost of a connection that breaks


class PublishedFile(BaseModel):
    """A file of a data set as it is published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="its name, under which the source looks for it")
    url: str | None = Field(default=None, description="where it can be fetched without a browser; none: by hand")
    md5: str | None = Field(default=None, description="its published digest; none: it is not published")


_MENDELEY: Final = "https://data.mendeley.com/public-files/datasets"
_OSSCI: Final = "https://ossci-datasets.s3.amazonaws.com/mnist"
_OMNIGLOT: Final = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"

# Places and digests: N-Caltech101 and N-MNIST as in tonic 1.6 (tonic/datasets/ncaltech101.py, nmnist.py) and, for the
# two files of N-Caltech101, SpikingJelly (spikingjelly/datasets/n_caltech101.py); Caltech101 as listed at CaltechDATA
# (doi:10.22002/D1.20086); MNIST, CIFAR-10 and Omniglot as in torchvision (torchvision/datasets/mnist.py, cifar.py,
# omniglot.py), Omniglot's digests also in other public loaders; CIFAR10-DVS (figshare 4724671) as in SpikingJelly
# (spikingjelly/datasets/cifar10_dvs.py), the same files as in events-tfds.
PUBLISHED: Final[Mapping[str, tuple[PublishedFile, ...]]] = MappingProxyType(
    {
        "ncaltech101": (
            PublishedFile(
                name="Caltech101.zip",
                url=f"{_MENDELEY}/cy6cvx3ryv/files/36b5c52a-b49d-4853-addb-a836a8883e49/file_downloaded",
                md5="66201824eabb0239c7ab992480b50ba3",
            ),
            PublishedFile(name="Caltech101_annotations.zip", md5="25e64cea645291e368db1e70f214988e"),
            PublishedFile(name="N-Caltech101-archive.zip"),  # zipped anew for each visitor, so without a digest
        ),
        "caltech101": (
            PublishedFile(
                name="caltech-101.zip",
                url="https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                md5="3138e1922a9193bfa496528edbbc45d0",
            ),
            PublishedFile(name="101_ObjectCategories.tar.gz"),
        ),
        "nmnist": (
            PublishedFile(
                name="Train.zip",
                url=f"{_MENDELEY}/468j46mzdv/files/39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",
                md5="20959b8e626244a1b502305a9e6e2031",
            ),
            PublishedFile(
                name="Test.zip",
                url=f"{_MENDELEY}/468j46mzdv/files/05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",
                md5="69ca8762b2fe404d9b9bad1103e97832",
            ),
        ),
        "mnist": tuple(
            PublishedFile(name=name, url=f"{_OSSCI}/{name}", md5=md5)
            for name, md5 in (
                ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
                ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
                ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
                ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
            )
        ),
        "omniglot": tuple(
            PublishedFile(name=name, url=f"{_OMNIGLOT}/{name}", md5=md5)
            for name, md5 in (
                ("images_background.zip", "68d2efa1b9178cc56df9314c21c6e718"),
                ("images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811"),
            )
        ),
        "cifar10": (
            PublishedFile(
                name="cifar-10-python.tar.gz",
                url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                md5="c58f30108f718f92721af3b95e74349a",
            ),
        ),
        "cifar10dvs": tuple(
            PublishedFile(name=f"{name}.zip", url=f"https://ndownloader.figshare.com/files/{number}", md5=md5)
            for name, number, md5 in (
                ("airplane", 7712788, "0afd5c4bf9ae06af762a77b180354fdd"),
                ("automobile", 7712791, "8438dfeba3bc970c94962d995b1b9bdd"),
                ("bird", 7712794, "a9c207c91c55b9dc2002dc21c684d785"),
                ("cat", 7712812, "52c63c677c2b15fa5146a8daf4d56687"),
                ("deer", 7712815, "b6bf21f6c04d21ba4e23fc3e36c8a4a3"),
                ("dog", 7712818, "f379ebdf6703d16e0a690782e62639c3"),
                ("frog", 7712842, "cad6ed91214b1c7388a5f6ee56d08803"),
                ("horse", 7712851, "e7cbbf77bec584ffbf913f00e682782a"),
                ("ship", 7712836, "41c7bd7d6b251be82557c6cce9a7d5c9"),
                ("truck", 7712839, "89f3922fd147d9aeff89e76a2b0b70a7"),
            )
        ),
    }
)
_SHARED_FOLDERS: Final = {"cepdvs-images": "cepdvs"}  # recordings and images are one data set in one folder


class DownloadConfig(BaseModel):
    """Which data set to fetch, and where to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class FileReport(BaseModel):
    """A file that is in its place."""

    model_config = ConfigDict(frozen=True)

    path: Path
    num_bytes: int
    md5: str
    sha256: str
    verified: bool = Field(description="whether the md5 is the published one; False: none is published")


class DownloadReport(BaseModel):
    """What is there after a download."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    folder: Path
    files: tuple[FileReport, ...]
    num_samples: int | None = Field(description="samples that the source lists; None: it does not open yet")
    remark: str | None = Field(default=None, description="what is still missing")


def run(
    config: DownloadConfig,
    *,
    progress: Progress | None = None,
    published: Mapping[str, tuple[PublishedFile, ...]] = PUBLISHED,
) -> DownloadReport:
    """Bring the data set into `config.folder`, from the net or from `config.archive`, and open it.

    Raises SourceError: it must be fetched by hand, the place does not answer, a digest is wrong, the disk is full,
    another download into the folder is running, or what arrived is not the data set. Running it again goes on where it
    stopped.
    """
    files = published.get(config.dataset, ())
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(config.folder.with_name(f".{config.folder.name}.lock"), timeout=0):
            if config.archive is not None:
                return _take(config, config.archive, files)
            return _fetch_all(config, files, progress or (lambda name, num_bytes, total: None))
    except Timeout as error:
        raise SourceError(f"{config.folder}: another download is writing here; wait for it") from error
    except OSError as error:
        raise SourceError(f"{error.filename or config.folder}: cannot be written: {error.strerror}") from error


def _fetch_all(config: DownloadConfig, files: tuple[PublishedFile, ...], progress: Progress) -> DownloadReport:
    automatic = [file for file in files if file.url is not None]
    if not automatic:
        raise SourceError(
            f"{config.dataset} cannot be fetched automatically. Get it from {SOURCES[config.dataset].origin}, then run "
            f"`dvs-transfer download {config.dataset} --archive FILE`, or unpack it to {config.folder}, which should "
            f"then hold {SOURCES[config.dataset].layout}"
        )
    reports = []
    with requests.Session() as session:
        for file in automatic:
            try:
                reports.append(_fetch(file, config.folder, session, progress))
            except requests.RequestException as error:
                raise SourceError(
                    f"{file.url}: cannot be fetched ({error}). Run the command again later: it goes on from the bytes "
                    f"that are here. Or get {file.name} from {SOURCES[config.dataset].origin} and give --archive FILE"
                ) from error
    return _report(config, reports)


def _report(config: DownloadConfig, files: list[FileReport], remark: str | None = None) -> DownloadReport:
    num_samples = None if remark else len(open_source(config.dataset, config.folder).samples)
    return DownloadReport(
        dataset=config.dataset, folder=config.folder, files=tuple(files), num_samples=num_samples, remark=remark
    )


# From the user --------------------------------------------------------------------------------------------------------


def _take(config: DownloadConfig, archive: Path, files: tuple[PublishedFile, ...]) -> DownloadReport:
    """Copy a published file into place, known by its digest or its name; unpack any other archive."""
    if not archive.is_file():
        raise SourceError(f"{archive}: is no file; give the archive of {SOURCES[config.dataset].title}")
    digests = _digests(archive)
    by_digest = [file for file in files if file.md5 == digests["md5"]]
    by_name = [file for file in files if file.name == archive.name]
    if not by_digest and not by_name:
        extract_safely(archive, config.folder)
        return _report(config, [_file_report(archive, digests, verified=False)])
    file = (by_digest or by_name)[0]
    _check_digest(file, digests, archive)
    path = config.folder / file.name
    if not (path.exists() and path.samefile(archive)):
        _check_space(config.folder, archive.stat().st_size)
        part = path.with_name(f"{path.name}.part")
        shutil.copyfile(archive, part)
        part.replace(path)
    reports = [_file_report(path, digests, verified=file.md5 is not None)]
    try:
        return _report(config, reports)
    except SourceError as error:  # one of several files; the others may follow
        return _report(config, reports, remark=str(error))


# From the net ---------------------------------------------------------------------------------------------------------


def _fetch(file: PublishedFile, folder: Path, session: Any, progress: Progress) -> FileReport:
    path, part = folder / file.name, folder / f"{file.name}.part"
    if not path.exists():
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                _fetch_rest(file, part, session, progress)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                if attempt == _ATTEMPTS:
                    raise
        try:
            _check_digest(file, _digests(part), part)
        except SourceError:
            part.unlink()
            raise
        finally:
            _note_path(part).unlink(missing_ok=True)
        part.replace(path)
    digests = _digests(path)
    _check_digest(file, digests, path)
    return _file_report(path, digests, verified=file.md5 is not None)


def _fetch_rest(file: PublishedFile, part: Path, session: Any, progress: Progress) -> None:
    """One connection: from where `part` ends, where the server still has the same file and can, else from the start."""
    note = _read_note(part)
    there = part.stat().st_size if note and part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if there:
        headers |= {"Range": f"bytes={there}-", "If-Range": note["validator"]}
    with session.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
        if response.status_code == 416:  # nothing after these bytes: they are the whole file, or another one
            if response.headers.get("Content-Range") == f"bytes */{there}":
                return
            part.unlink()
            raise requests.ConnectionError(f"the server's file is shorter than the {there} bytes that are here")
        response.raise_for_status()
        resumed = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {there}-"
        )
        if response.status_code == 206 and not resumed:
            raise requests.ConnectionError(f"asked for bytes from {there}, got {response.headers.get('Content-Range')}")
        there = there if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else there + int(length)
        _check_space(part.parent, (total or 0) - there)
        _write_note(part, response.headers)
        with part.open("ab" if resumed else "wb") as output:
            for block in response.iter_content(_BLOCK_BYTES):
                output.write(block)
                there += len(block)
                progress(file.name, there, total)
    if total is not None and there != total:
        raise requests.ConnectionError(f"the connection ended after {there} of {total} bytes")


def _note_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_note(part: Path) -> dict[str, str]:
    """What tells whether the server still has the file that `part` began with; {} where nothing does."""
    try:
        note = read_json(_note_path(part))
    except (FileNotFoundError, ValueError):
        return {}
    return note if isinstance(note, dict) and isinstance(note.get("validator"), str) else {}


def _write_note(part: Path, headers: Mapping[str, str]) -> None:
    """Keep the strong validator for `If-Range` (RFC 9110, 13.1.5). Without one the next run starts anew."""
    etag = headers.get("ETag", "")
    validator = etag if etag.startswith('"') else headers.get("Last-Modified")
    if validator:
        _note_path(part).write_text(json.dumps({"validator": validator}), encoding="utf-8")
    else:
        _note_path(part).unlink(missing_ok=True)


# Checks ---------------------------------------------------------------------------------------------------------------


def _digests(path: Path) -> dict[str, str]:
    digests = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            for digest in digests.values():
                digest.update(block)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _check_digest(file: PublishedFile, digests: Mapping[str, str], path: Path) -> None:
    if file.md5 is not None and digests["md5"] != file.md5:
        raise SourceError(
            f"{path}: md5 {digests['md5']} ({path.stat().st_size} bytes), expected {file.md5} for {file.name}; the "
            "file is damaged or another one: remove it and fetch it again"
        )


def _check_space(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise SourceError(f"{folder}: {num_bytes} bytes are needed, {free} are free; make room or give another --root")


def _file_report(path: Path, digests: Mapping[str, str], *, verified: bool) -> FileReport:
    return FileReport(path=path, num_bytes=path.stat().st_size, verified=verified, **digests)
