"""Paths and addresses: which is which, and what is said of those that cannot be."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from dvs_transfer.cache import durable
from dvs_transfer.cache.documents import read_document, read_json
from dvs_transfer.cache.errors import ConfigError, DvsTransferError
from dvs_transfer.cache.places import create_object, entries, exists, is_address, object_sizes, place, remove_objects


@pytest.mark.parametrize("given", ["data/cache", "/data/x.zarr", ".", "a:b", "c:/x", "strange: /name", "~/x"])
def test_a_path_stays_one(given: str) -> None:
    assert place(given) == Path(given)
    assert place(Path(given)) == Path(given)
    assert not is_address(place(given))


def test_an_address_keeps_its_slashes_also_from_a_path() -> None:
    for given in ("memory://bucket/x/y.zarr", Path("memory://bucket/x/y.zarr"), "memory://bucket/x/y.zarr/"):
        found = place(given)
        assert is_address(found)
        assert (str(found), found.name, str(found.parent)) == (
            "memory://bucket/x/y.zarr",
            "y.zarr",
            "memory://bucket/x",
        )
        assert place(found) is found
        assert pickle.loads(pickle.dumps(found)) == found
    assert place("file:///data/x") == Path("/data/x")


def test_unknown_protocols_and_missing_packages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="what opens nonsense:// is not installed"):
        place("nonsense://x/y")
    assert place("nonsense:/x/y") == Path("nonsense:/x/y")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ConfigError, match=r'gs://x/y: .* pip install "dvs-transfer\[gcs\]"'):
        place("gs://x/y")
    with pytest.raises(ConfigError, match="must not have"):
        exists(place("memory://a*/x"))


def test_documents_and_names_at_an_address(tmp_path: Path) -> None:
    folder = place(f"memory://{tmp_path.name}")
    durable.write_json(folder / "notes" / "a.json", {"a": 1})
    assert read_json(folder / "notes" / "a.json") == {"a": 1}
    assert entries(folder) == {"notes": True}
    assert entries(folder / "notes") == {"a.json": False}
    assert entries(folder / "nothing") == object_sizes(folder / "nothing") == {}
    assert not exists(folder / "notes")
    with pytest.raises(FileNotFoundError, match="no such object"):
        read_json(folder / "b.json")
    with pytest.raises(DvsTransferError, match="more than 3 bytes"):
        read_document(folder / "notes" / "a.json", 3)
    assert create_object(folder / "lock", b"1")
    assert not create_object(folder / "lock", b"2")
    remove_objects([folder / "lock", folder / "never"])
    assert create_object(folder / "lock", b"3")


def test_only_an_address_loads_what_opens_it() -> None:
    code = "import sys, dvs_transfer.cli; assert not {'fsspec', 'upath', 's3fs'} & set(sys.modules), 'loaded'"
    subprocess.run([sys.executable, "-c", code], check=True)
