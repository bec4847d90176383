"""Writing a store shard by shard: each shard encoded in memory, written aside, renamed; whole only when all are there.

While it is built, a store is the folder `<name>.zarr.partial`. A finished shard is recorded there with its digest; a
run that was killed goes on with the shards whose record is missing or does not match. `finish` refuses while any is
missing, writes the columns and the attributes, flushes all to the disk and renames the folder: a store with its final
name is a whole one.
Which process writes which shard, and when, changes no byte.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
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
from zarr.storage import LocalStore

from . import durable
from .digests import content_digest, file_digest, fingerprint
from .documents import read_json
from .errors import StoreError
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
    """Builds one store in `folder`. Made anew in each worker from (folder, layout); holds no open file.

    <name>.zarr.partial/
      layout.json      the layout's digest: whose work this is
      store/           the store as it will be
      shards/<k>.json  the record of a finished shard: its files' digests and its samples' column values
    """

    def __init__(self, folder: Path, layout: StoreLayout) -> None:
        self.folder = folder
        self.layout = layout
        self.partial = folder / (layout.name.removesuffix(STORE_SUFFIX) + PARTIAL_SUFFIX)
        self._store = self.partial / "store"

    def begin(self) -> list[int]:
        """Start, or take up what an earlier run left; returns the shards that are still to be written.

        The caller holds the writer's lock. Raises OSError when the folder cannot be written.
        """
        description, mine, found = self.partial / "layout.json", {"digest": fingerprint(asdict(self.layout))}, None
        with suppress(FileNotFoundError, ValueError):
            found = read_json(description)
        if found != mine and self.partial.exists():
            shutil.rmtree(self.partial)
        (self.partial / "shards").mkdir(parents=True, exist_ok=True)
        self._store.mkdir(exist_ok=True)
        if not description.is_file():
            durable.write_json(description, mine)
        # What a killed writer left goes: records that do not hold, and every file that none names, those that zarr
        # writes aside and the columns and metadata of a `finish` that came to no end included.
        finished = {description}
        for record in (self.partial / "shards").glob("*.json"):
            if (files := self._intact_files(record)) is not None:
                finished |= {record, *files}
        for path in self.partial.rglob("*"):
            if path not in finished and not path.is_dir():
                path.unlink()
        return self._missing_shards()

    def write_shard(self, shard: int, arrays: Mapping[str, NDArray[Any]], rows: Sequence[Mapping[str, Any]]) -> None:
        """Write shard number `shard`: its arrays, each (n, ...), and a row of column values for each sample.

        Raises StoreError when shapes, dtypes or the number of rows are not the layout's; OSError when the disk is full.
        """
        expected = len(self.layout.rows_of(shard))
        if len(rows) != expected:
            raise StoreError(f"{self.partial}: shard {shard} has {expected} samples, got {len(rows)} rows")
        files = {}
        for name, layout in self.layout.arrays.items():
            data = arrays[name]
            if data.shape != (expected, *layout.sample_shape) or data.dtype != np.dtype(layout.dtype):
                raise StoreError(
                    f"{self.partial}: shard {shard} of {name} must be {(expected, *layout.sample_shape)} "
                    f"{layout.dtype}, got {data.shape} {data.dtype}"
                )
            encoded = encode_shard(data, self.layout.samples_per_shard)
            key = "/".join([name, "c", str(shard), *["0"] * len(layout.sample_shape)])
            (self._store / key).parent.mkdir(parents=True, exist_ok=True)
            durable.write_bytes(self._store / key, encoded, flush=False)
            files[key] = {"num_bytes": len(encoded), "digest": content_digest(encoded)}
        record = {"files": files, "rows": [dict(row) for row in rows]}
        durable.write_json(self._record(shard), record, flush=False, indent=None)

    def read_rows(self) -> Iterator[dict[str, Any]]:
        """The rows of all finished shards, in order. Raises StoreError, naming the shards that are missing."""
        if missing := self._missing_shards():
            shown = ", ".join(map(str, missing[:10])) + (" ..." if len(missing) > 10 else "")
            raise StoreError(
                f"{self.partial}: {len(missing)} of {self.layout.num_shards} shards are not there yet ({shown}); "
                "run the same command again"
            )
        return (row for shard in range(self.layout.num_shards) for row in self.read_shard_rows(shard))

    def read_shard_rows(self, shard: int) -> list[dict[str, Any]]:
        """The rows of one finished shard."""
        rows: list[dict[str, Any]] = read_json(self._record(shard))["rows"]
        return rows

    def forget(self, shard: int) -> None:
        """Drop the record of a finished shard, so that it counts as missing."""
        self._record(shard).unlink()

    def finish(self, columns: Columns, manifest_digest: str) -> Path:
        """Write the columns and the attributes, and give the store the name of its fingerprint. Returns its path.

        Raises StoreError when shards are missing, a column has another length than the store, or the name is taken.
        """
        if self._missing_shards():
            self.read_rows()  # says which
        self._require_labels(columns)
        full_fingerprint = fingerprint({"recipe": self.layout.recipe, "manifest": manifest_digest})
        final = self.folder / store_name(self.layout.dataset, full_fingerprint)
        if final.exists():
            raise StoreError(f"{final}: stands where the new store belongs, and is none; move it away")
        store = LocalStore(self._store)
        with durable.naming(self._store):
            for name, layout in self.layout.arrays.items():
                create_array(store, name, layout, self.layout.num_samples, self.layout.samples_per_shard)
            for name, values in columns.items():
                _write_column(store, name, values)
            group = zarr.open_group(store, mode="a")
            group.attrs.put(self._attributes(manifest_digest, full_fingerprint).model_dump(mode="json"))
        durable.sync_tree(self._store)
        self._store.rename(final)
        durable.sync(self.folder)
        self.discard()
        return final

    def discard(self) -> None:
        """Remove the working folder, if there is one."""
        shutil.rmtree(self.partial, ignore_errors=True)

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

    def _record(self, shard: int) -> Path:
        return self.partial / "shards" / f"{shard:06d}.json"

    def _missing_shards(self) -> list[int]:
        return [shard for shard in range(self.layout.num_shards) if not self._record(shard).is_file()]

    def _intact_files(self, record: Path) -> list[Path] | None:
        """A shard's files; None unless they are what its record says: a power cut may have spared neither."""
        try:
            files = {self._store / key: chunk["digest"] for key, chunk in read_json(record)["files"].items()}
            return list(files) if all(file_digest(path) == digest for path, digest in files.items()) else None
        except (FileNotFoundError, ValueError, KeyError):
            return None

    def _attributes(self, manifest_digest: str, full_fingerprint: str) -> StoreAttributes:
        files: dict[str, Any] = {}
        for shard in range(self.layout.num_shards):
            files |= read_json(self._record(shard))["files"]
        for path in self._store.glob("*/**/*"):
            key = path.relative_to(self._store).as_posix()
            if path.is_file() and key not in files:
                files[key] = {"num_bytes": path.stat().st_size, "digest": file_digest(path)}
        same = ("kind", "dataset", "num_samples", "samples_per_shard", "class_names", "config", "recipe")
        return StoreAttributes(
            **{name: getattr(self.layout, name) for name in same},
            schema_version=SCHEMA_VERSION,
            manifest_digest=manifest_digest,
            fingerprint=full_fingerprint,
            files={key: ChunkFile.model_validate(files[key]) for key in sorted(files)},
            versions=_versions(),
            created=timestamp(),
        ).sealed()


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in VERSIONED}


def _write_column(store: LocalStore, name: str, values: NDArray[Any]) -> None:
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
