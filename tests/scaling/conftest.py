"""An S3-compatible server for all tests here, and for each an address of its own and an empty cache of shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from object_server import BUCKET, ObjectServer
from raw_data import write_raw_data

from dvs_transfer.cache.places import place


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectServer]:
    pytest.importorskip("s3fs", reason="needs s3fs (the extra s3)")
    pytest.importorskip("moto.server", reason='needs moto, pip install "moto[s3,server]"')
    server = ObjectServer()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        server.start()
        patch.setenv("AWS_ENDPOINT_URL", server.url)
        server.client.create_bucket(Bucket=BUCKET)
        yield server
        server.stop()


@pytest.fixture
def address(object_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nothing is yet."""
    monkeypatch.setenv("DVS_TRANSFER_SHARD_CACHE", str(tmp_path / "shards"))
    return place(f"s3://{BUCKET}/{tmp_path.name}/caches")


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw_data(tmp_path_factory.mktemp("raw"))
