"""Where a store may lie: in a folder, or at an address of an object store ("s3://bucket/caches", "gs://", "memory://").

An address is a `upath.UPath`: it has the names of a `Path` and joins as one, and stands wherever a `Path` is named.
What is done at one are the operations below, each of a whole object. An object is there whole or not at all, so
nothing is written aside; there are no folders, and nothing is renamed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, Final, cast

from .errors import AddressError, ConfigError

ROOT_VARIABLE: Final = "DVS_TRANSFER_ROOT"  # the folder of a workspace
CACHE_VARIABLE: Final = "DVS_TRANSFER_CACHE"  # the folder or address of its stores
AT_ONCE: Final = 16  # requests of one process
EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # of this package, by protocol
_ADDRESS: Final = re.compile(r"([a-z][a-z0-9+.-]+):(/+)(.*)", re.DOTALL)
_LIBRARIES: Final = ("aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "requests", "s3fs", "urllib3")


class NotConditionalError(Exception):
    """The file system cannot make an object only where there is none."""


def place(given: str | os.PathLike[str]) -> Path:
    """A path as it is; an address, also one that a `Path` has spoilt ("s3:/bucket/x"), as a `UPath`.

    Raises ConfigError: nothing that is installed knows such addresses.
    """
    if is_address(given):
        return cast(Path, given)
    found = _ADDRESS.fullmatch(os.fspath(given))
    if found is None:
        return Path(given)
    protocol, slashes, rest = found.groups()
    if protocol in ("file", "local"):
        return Path("/", rest)
    from fsspec import get_filesystem_class
    from upath import UPath

    address = f"{protocol}://{rest.rstrip('/')}"
    try:
        get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        if slashes == "/" and isinstance(error, ValueError):
            return Path(given)  # below a folder whose name ends in a colon
        known = EXTRAS.get(protocol)
        hint = f'; pip install "dvs-transfer[{known}]"' if known else ""
        raise ConfigError(f"{address}: what opens {protocol}:// is not installed ({error}){hint}") from None
    return cast(Path, UPath(address))


def is_address(path: object) -> bool:
    """Whether this is what `place` makes of an address."""
    return not isinstance(path, PurePath) and hasattr(path, "storage_options")


# Folders and addresses alike ------------------------------------------------------------------------------------------


def make_folder(path: Path) -> None:
    """An address needs none."""
    if not is_address(path):
        path.mkdir(parents=True, exist_ok=True)


def remove_folder(path: Path) -> None:
    """A folder with all that is in it, or all objects below an address; nothing where there is none."""
    if is_address(path):
        remove_objects(path / key for key in object_sizes(path))
    else:
        shutil.rmtree(path, ignore_errors=True)


def exists(path: Path) -> bool:
    """Whether there is a file or folder, or an object of exactly this address."""
    if not is_address(path):
        return path.exists()
    with _reaching(path) as files:
        try:
            return bool(files.info(_key(path))["type"] == "file")
        except FileNotFoundError as error:
            _require_bucket(path, error)
            return False


def entries(folder: Path) -> dict[str, bool]:
    """The names in a folder or right below an address, sorted, and of each whether it is a folder; {}: no such one."""
    if not is_address(folder):
        return {path.name: path.is_dir() for path in sorted(folder.iterdir())} if folder.is_dir() else {}
    with _reaching(folder) as files:
        try:
            found = files.ls(_key(folder), detail=True)
        except FileNotFoundError as error:
            _require_bucket(folder, error)
            return {}
    below = {info["name"].rstrip("/"): info["type"] == "directory" for info in found}
    below.pop(_key(folder), None)  # an empty object, which some tools make in place of a folder
    return {name.rpartition("/")[2]: is_folder for name, is_folder in sorted(below.items())}


# Objects --------------------------------------------------------------------------------------------------------------


def object_sizes(address: Path) -> dict[str, int]:
    """The bytes of every object below an address, by its key there; by one listing."""
    with _reaching(address) as files:
        try:
            found = files.find(_key(address), detail=True)
        except FileNotFoundError as error:
            _require_bucket(address, error)
            return {}
    start = f"{_key(address)}/"
    return {
        name.removeprefix(start): info["size"]
        for name, info in found.items()
        if name > start and name.startswith(start)
    }


def read_object(address: Path, max_bytes: int) -> bytes:
    """Its first bytes, at most so many. Raises FileNotFoundError, AddressError."""
    with _reaching(address) as files:
        try:
            return bytes(files.cat_file(_key(address), start=0, end=max_bytes))
        except FileNotFoundError as error:
            _require_bucket(address, error)
            raise FileNotFoundError(errno.ENOENT, "no such object", str(address)) from None
        except OSError as error:
            if error.errno == errno.EINVAL and files.info(_key(address))["size"] == 0:
                return b""  # of which S3 has no first bytes
            raise


def write_object(address: Path, data: bytes | bytearray | memoryview) -> None:
    """Also over one that is there. Raises AddressError."""
    with _reaching(address) as files:
        try:
            files.pipe_file(_key(address), bytes(data))
        except FileNotFoundError as error:
            raise AddressError(f"{address}: there is no such bucket; correct the address, or make it") from error


def create_object(address: Path, data: bytes) -> bool:
    """Write an object unless it is there (a conditional put); whether it was. Raises NotConditionalError, too."""
    with _reaching(address) as files:
        try:
            files.pipe_file(_key(address), data, mode="create")
            return True
        except FileExistsError:
            return False
        except (NotImplementedError, TypeError, ValueError) as error:
            raise NotConditionalError(str(error)) from None
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.ENOTSUP):
                raise NotConditionalError(str(error)) from None
            if any(code in str(error.__cause__) for code in ("PreconditionFailed", "ConditionalRequestConflict")):
                return False
            raise


def copy_objects(copies: Sequence[tuple[Path, Path]]) -> None:
    """Copy each first to its second object, inside the object store. Raises FileNotFoundError: a first is not there."""
    for source, _ in copies[:1]:
        with _reaching(source) as files:
            files.copy([_key(source) for source, _ in copies], [_key(target) for _, target in copies])


def remove_objects(addresses: Iterable[Path]) -> None:
    """Those of them that are there, of one object store. Raises AddressError, also where they may not be removed."""
    found = list(addresses)
    for first in found[:1]:
        with _reaching(first) as files:
            try:
                files.rm_file(_key(first))  # alone: of several, s3fs does not tell those that it may not remove
                if found[1:]:
                    files.rm([_key(address) for address in found[1:]])
            except FileNotFoundError as error:
                _require_bucket(first, error)
                for address in found:
                    if exists(address):
                        files.rm_file(_key(address))


def write_objects(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Several, by key below an address, at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda item: write_object(folder / item[0], item[1]), contents.items()))


def _key(address: Path) -> str:
    return str(address.path).rstrip("/")  # type: ignore[attr-defined]


@contextmanager
def _reaching(address: Path) -> Iterator[Any]:
    """The file system of an address, in this process; what it raises in here comes to say what to do.

    FileNotFoundError passes where it is of an object, and not of the bucket.
    """
    import fsspec

    if any(sign in str(address) for sign in "*?["):  # which fsspec would take for patterns
        raise ConfigError(f"{address}: an address must not have *, ? or [ in it")
    # Of fsspec's own table, which another one replaces in a forked process. What others write must be seen at once.
    options = {**address.storage_options, "use_listings_cache": False}  # type: ignore[attr-defined]
    try:
        yield fsspec.filesystem(address.protocol, **options)  # type: ignore[attr-defined]
    except FileNotFoundError as error:
        _require_bucket(address, error)
        raise
    except PermissionError as error:
        raise AddressError(
            f"{address}: access is refused ({error}): the credentials are expired, wrong, or lack the right; renew "
            "them and run the same command again, it goes on where it stopped"
        ) from error
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in _LIBRARIES:
            raise
        raise AddressError(
            f"{address}: cannot be reached ({type(error).__name__}: {error}); see that the address, its server and the "
            "credentials are right, and run the same command again, it goes on where it stopped"
        ) from error


def _require_bucket(address: Path, error: FileNotFoundError) -> None:
    """Object stores tell alike that an object is not there, and that the bucket is not."""
    if "NoSuchBucket" in f"{error.__cause__}" or "bucket does not exist" in f"{error}":
        raise AddressError(f"{address}: there is no such bucket; correct the address, or make it") from error
