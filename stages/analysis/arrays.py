"""The arrays of a result, `<run>/analysis/<name>.npz`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from ...cache import durable
from ...cache.documents import read_document

Arrays = Mapping[str, NDArray[Any]]

MAX_ARRAYS_BYTES = 1 << 28  # of a result; a picture of a few samples has some MB


def write_arrays(path: Path, fingerprint: str, arrays: Arrays) -> None:
    """fingerprint: of the result that they belong to."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, fingerprint=np.array(fingerprint))  # type: ignore[arg-type]
    durable.write_bytes(path, buffer.getvalue())


def read_arrays(path: Path, fingerprint: str, names: Iterable[str]) -> Arrays:
    """Raises FileNotFoundError, and for files that are damaged or another result's ValueError, KeyError, OSError,
    EOFError, BadZipFile, zlib.error."""
    content = io.BytesIO(read_document(path, MAX_ARRAYS_BYTES))
    with ZipFile(content) as archive:
        if sum(info.file_size for info in archive.infolist()) > MAX_ARRAYS_BYTES:
            raise ValueError(f"{path.name} holds more than {MAX_ARRAYS_BYTES} bytes")
    with np.load(content) as file:
        if str(file["fingerprint"]) != fingerprint:
            raise ValueError(f"{path.name} belongs to another result")
        return {name: file[name] for name in names}
