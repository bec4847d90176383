"""A dask cluster of two worker processes that share nothing but the object store: the same store, also if one dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from object_server import ObjectServer
from raw_data import config, convert, make_events

from dvs_transfer.cache.places import place
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.cache.verify import verify_store
from dvs_transfer.pipeline.execution import DaskRunner
from dvs_transfer.pipeline.progress import Reporter
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.sources.atis import encode_records

NUM_SHARDS = 24
pytestmark = pytest.mark.filterwarnings("default")  # distributed's own clean-up warns of sockets


@pytest.fixture(scope="module")
def cluster(object_server: ObjectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Its workers have the server's address from their environment, and each a current folder and home of its own."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        with cluster.get_client() as client:
            for number, worker in enumerate(client.scheduler_info()["workers"]):
                folder = tmp_path_factory.mktemp(f"machine {number}")
                client.run(os.chdir, str(folder), workers=[worker])
                client.run(os.environ.__setitem__, "HOME", str(folder), workers=[worker])
        yield cluster


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings that take a while, each its own shard."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "events" / "Caltech101" / "ant").mkdir(parents=True)
    data = encode_records(make_events(1, 300_000))
    for number in range(NUM_SHARDS):
        path = folder / "events" / "Caltech101" / "ant" / f"image_{number + 1:04d}.bin"
        path.write_bytes(data[5 * number :])
    return folder


@pytest.mark.parametrize("kills", [False, True], ids=["undisturbed", "one killed"])
def test_workers_that_share_the_object_store_alone_make_the_local_store(
    kills: bool, cluster: Any, recordings: Path, address: Path, object_server: ObjectServer, tmp_path: Path
) -> None:
    more = {"conversion": {"samples_per_shard": 1}, "frames": {"num_bins": 10, "size": 48}}
    expected = FrameStore(convert(recordings, tmp_path, **more).path)
    object_server.requests.clear()

    def kill_one() -> None:
        while sum("/shards/" in path for method, path in object_server.requests if method == "PUT") < NUM_SHARDS // 5:
            time.sleep(0.005)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_one if kills else lambda: None)
    killer.start()
    settings = config(recordings, place(address), **more)
    report = conversion.run(settings, DaskRunner(Reporter(0), cluster.scheduler_address))
    killer.join()
    found = FrameStore(report.path)
    assert found.attributes.files == expected.attributes.files
    assert found.attributes.seal == expected.attributes.seal
    assert verify_store(report.path).is_whole
    assert not [key for key in object_server.keys(tmp_path.name) if ".partial/" in key or key.endswith(".lock")]
