"""Writing a store shard by shard: each shard encoded in memory, written whole; a store only when all are there.

While it is built, a store is the folder `<name>.zarr.partial` (see `cache.building`). A finished shard is recorded
there with its digest; a run that was killed goes on with the shards whose record is missing or does not match. `finish`
refuses while any is missing, writes the columns and the attributes, flushes all to the disk and renames the folder: a
store with its final name is a whole one. At an address it is one as soon as its root's metadata are there.
Which process writes which shard, and when, changes no byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.codec import BytesBytesCodec
from zarr.abc.store import Store
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from .building import build_at
from .digests import content_digest, fingerprint
from .errors import StoreError
from .places import place
from .schema import (
    ARRAYS_OF_KIND,
    DIMENSIONS,
    MORE_ARRAYS,
    PARTIAL_SUFFIX,
    SCHEMA_VERSION,
    STORE_SUFFIX,
    ChunkFile,
    Kind,
    StoreAttributes,
    store_name,
    timestamp,
)
from .sharding import ZSTD_LEVEL, encode_shard

VERSIONED = ("dvs-transfer", "numpy", "numba", "zarr", "pillow", "scipy", "h5py")
RECORDS_AT_A_TIME = 256  # of shards, whose rows are held while they are read
Columns = Mapping[str, NDArray[Any]]

# Zstandard carries a checksum of what it decodes to; CRC32C guards every encoded byte, zstd's own header included.
_CODECS: tuple[BytesBytesCodec, ...] = (ZstdCodec(level=ZSTD_LEVEL, checksum=True), Crc32cCodec())
_WRITE_ALL: Any = {"write_empty_chunks": True}  # of zeros, too: a missing one is an error and never a zero


@dataclass(frozen=True)
class ArrayLayout:
    """One array of a store: the shape of one sample, without the sample axis, and the dtype's name."""

    sample_shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class StoreLayout:
    """What a store will hold; fixed before its first shard is written. Picklable: workers get it with each task."""

    kind: Kind
    dataset: str
    num_samples: int
    samples_per_shard: int
    class_names: tuple[str, ...]
    config: dict[str, Any]
    recipe: str
    arrays: dict[str, ArrayLayout]

    def __post_init__(self) -> None:
        required = ARRAYS_OF_KIND[self.kind]
        assert tuple(self.arrays) in (required, required + MORE_ARRAYS.get(self.kind, ()))
        assert self.num_samples > 0 < self.samples_per_shard

    @property
    def name(self) -> str:
        """What the store is called until it is whole and has a fingerprint; also the name of its lock."""
        return store_name(self.dataset, self.recipe)

    @property
    def num_shards(self) -> int:
        return -(-self.num_samples // self.samples_per_shard)

    def rows_of(self, shard: int) -> range:
        return range(shard * self.samples_per_shard, min((shard + 1) * self.samples_per_shard, self.num_samples))


def create_array(
    store: Store, name: str, layout: ArrayLayout, num_samples: int, samples_per_shard: int
) -> zarr.Array[Any]:
    """An empty array with the format's chunks and codecs."""
    return zarr.create_array(
        store,
        name=name,
        shape=(num_samples, *layout.sample_shape),
        shards=(samples_per_shard, *layout.sample_shape),
        chunks=(1, *layout.sample_shape),
        dtype=layout.dtype,
        compressors=_CODECS,
        fill_value=0,
        dimension_names=DIMENSIONS[name],
        config=_WRITE_ALL,
    )


class StoreBuilder:
    """Builds one store in `folder`, which may be an address. Made anew in each worker from (folder, layout); holds no
    open file.

    partial: the folder of the build.
    """

    def __init__(self, folder: Path, layout: StoreLayout) -> None:
        self.folder = place(folder)
        self.layout = layout
        self.partial = self.folder / (layout.name.removesuffix(STORE_SUFFIX) + PARTIAL_SUFFIX)
        self._build = build_at(self.partial)
        self._files: dict[str, ChunkFile] | None = None  # of the shards whose rows were read

    def begin(self) -> list[int]:
        """Start, or take up what an earlier run left; returns the shards that are still to be written.

        The caller holds the writer's lock. Raises OSError when the folder cannot be written.
        """
        self._files = None
        self._build.begin(fingerprint(asdict(self.layout)))
        return self._missing_shards()

    def write_shard(self, shard: int, arrays: Mapping[str, NDArray[Any]], rows: Sequence[Mapping[str, Any]]) -> None:
        """Write shard number `shard`: its arrays, each (n, ...), and a row of column values for each sample.

        Raises StoreError when shapes, dtypes or the number of rows are not the layout's; OSError when the disk is full.
        """
        expected = len(self.layout.rows_of(shard))
        if len(rows) != expected:
            raise StoreError(f"{self.partial}: shard {shard} has {expected} samples, got {len(rows)} rows")
        contents = {}
        for name, layout in self.layout.arrays.items():
            data = arrays[name]
            if data.shape != (expected, *layout.sample_shape) or data.dtype != np.dtype(layout.dtype):
                raise StoreError(
                    f"{self.partial}: shard {shard} of {name} must be {(expected, *layout.sample_shape)} "
                    f"{layout.dtype}, got {data.shape} {data.dtype}"
                )
            key = "/".join([name, "c", str(shard), *["0"] * len(layout.sample_shape)])
            contents[key] = encode_shard(data, self.layout.samples_per_shard)
        files = {key: _describe(data).model_dump() for key, data in contents.items()}
        self._files = None
        self._build.put(shard, contents, {"files": files, "rows": [dict(row) for row in rows]})

    def read_rows(self) -> Iterator[dict[str, Any]]:
        """The rows of all finished shards, in order; when they are all taken, `finish` makes the store of just these.

        Raises StoreError, naming the shards that are missing; where rows are taken twice, and were changed meanwhile.
        """
        if missing := self._missing_shards():
            shown = ", ".join(map(str, missing[:10])) + (" ..." if len(missing) > 10 else "")
            raise StoreError(
                f"{self.partial}: {len(missing)} of {self.layout.num_shards} shards are not there yet ({shown}); "
                "run the same command again"
            )
        return self._take_rows()

    def _take_rows(self) -> Iterator[dict[str, Any]]:
        files: dict[str, ChunkFile] = {}
        for first in range(0, self.layout.num_shards, RECORDS_AT_A_TIME):
            shards = range(first, min(first + RECORDS_AT_A_TIME, self.layout.num_shards))
            records = self._build.read(shards)
            for record in records:
                files |= {key: ChunkFile.model_validate(file) for key, file in record["files"].items()}
            if shards.stop == self.layout.num_shards:  # before the last row is given, after which nobody may ask
                if self._files not in (None, files):
                    raise StoreError(f"{self.partial}: another writer is at work here; run the same command again")
                self._files = files
            for record in records:
                yield from record["rows"]

    def read_shard_rows(self, shards: Sequence[int]) -> list[list[dict[str, Any]]]:
        """The rows of each of some finished shards."""
        return [record["rows"] for record in self._build.read(shards)]

    def shard_files(self, shard: int) -> dict[str, Path]:
        """Where the files of a finished shard lie, by their paths inside the store."""
        files = self._build.read([shard])[0]["files"]
        return {key: self._build.path_of(key, file["digest"]) for key, file in files.items()}

    def forget(self, shard: int) -> None:
        """Drop the record of a finished shard, so that it counts as missing."""
        self._files = None
        self._build.forget(shard)

    def finish(self, columns: Columns, manifest_digest: str) -> Path:
        """Write the columns and the attributes, and give the store the name of its fingerprint. Returns its path.

        Raises StoreError when shards are missing, a column has another length than the store, or the name is taken.
        """
        if self._files is None:
            deque(self.read_rows(), maxlen=0)
        assert self._files is not None
        self._require_labels(columns)
        full_fingerprint = fingerprint({"recipe": self.layout.recipe, "manifest": manifest_digest})
        final = self.folder / store_name(self.layout.dataset, full_fingerprint)
        made: dict[str, Any] = {}
        store = MemoryStore(made)
        for name, layout in self.layout.arrays.items():
            create_array(store, name, layout, self.layout.num_samples, self.layout.samples_per_shard)
        for name, values in columns.items():
            _write_column(store, name, values)
        contents = {key: buffer.to_bytes() for key, buffer in made.items() if "/" in key}
        files = self._files | {key: _describe(data) for key, data in contents.items()}
        attributes = self._attributes(manifest_digest, full_fingerprint, files)
        group = zarr.open_group(store, mode="a")
        group.attrs.put(attributes.model_dump(mode="json"))
        self._build.finish(final, attributes.files, contents, made["zarr.json"].to_bytes())
        self.discard()
        return final

    def discard(self) -> None:
        """Remove the working folder, if there is one."""
        self._build.discard()

    def _require_labels(self, columns: Columns) -> None:
        """A class index for each sample, -1 just for those with a problem; as many rows as samples in every column."""
        if not self.layout.arrays:
            return
        for name in ("label", "sample_id", "problem"):
            if name not in columns:
                raise StoreError(f"{self.partial}: the column {name} is missing; nothing was finished")
        for name, values in columns.items():
            if len(values) != self.layout.num_samples:
                raise StoreError(f"{self.partial}: column {name} has {len(values)} rows, not {self.layout.num_samples}")
        label, known = columns["label"], np.arange(-1, len(self.layout.class_names))
        wrong = np.flatnonzero(~np.isin(label, known) | ((label == -1) != (columns["problem"] != "")))
        if label.dtype.kind != "i" or len(wrong):
            row = int(wrong[0]) if len(wrong) else 0
            raise StoreError(
                f"{self.partial}: label {label[row]!r} of sample {columns['sample_id'][row]}; expected a whole number "
                f"from 0 to {known[-1]}, or -1 for a sample with a problem; nothing was finished"
            )

    def _missing_shards(self) -> list[int]:
        return sorted(set(range(self.layout.num_shards)) - self._build.finished())

    def _attributes(
        self, manifest_digest: str, full_fingerprint: str, files: Mapping[str, ChunkFile]
    ) -> StoreAttributes:
        same = ("kind", "dataset", "num_samples", "samples_per_shard", "class_names", "config", "recipe")
        return StoreAttributes(
            **{name: getattr(self.layout, name) for name in same},
            schema_version=SCHEMA_VERSION,
            manifest_digest=manifest_digest,
            fingerprint=full_fingerprint,
            files={key: files[key] for key in sorted(files)},
            versions=_versions(),
            created=timestamp(),
        ).sealed()


def _describe(data: bytes) -> ChunkFile:
    return ChunkFile(num_bytes=len(data), digest=content_digest(data))


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in VERSIONED}


def _write_column(store: Store, name: str, values: NDArray[Any]) -> None:
    """A column is one chunk: it is small and always read whole."""
    column = zarr.create_array(
        store,
        name=name,
        shape=values.shape,
        chunks=tuple(max(1, length) for length in values.shape),
        dtype=values.dtype,
        compressors=_CODECS,
        dimension_names=("sample", "component")[: values.ndim],
        overwrite=True,
        config=_WRITE_ALL,
    )
    column[...] = values
