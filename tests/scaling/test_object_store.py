"""Caches at an S3-compatible server: the same stores, and what comes of errors, damage, deaths and two writers."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import refuse, run_command, succeed
from object_server import BUCKET, ObjectServer
from raw_data import config, convert
from tiny import EVERY_STEP, make_workspace, metrics_of
from torch.utils.data import DataLoader

from dvs_transfer.cache.errors import AddressError, StoreError
from dvs_transfer.cache.leases import Lease
from dvs_transfer.cache.paired import PairedCache
from dvs_transfer.cache.places import entries, object_sizes, place, read_object, remove_objects, write_object
from dvs_transfer.cache.store import FrameStore
from dvs_transfer.cache.verify import verify_store
from dvs_transfer.stages import pairing
from dvs_transfer.stages.conversion import repair
from dvs_transfer.stages.conversion import run as conversion
from dvs_transfer.stages.pairing_config import PairingConfig

pytestmark = pytest.mark.filterwarnings("default")  # botocore and moto warn of what they use themselves
SHARD = "frames/c/1/0/0/0/0"


def assert_same_store(found: Path, expected: Path) -> None:
    """The same fingerprint, seal and digests, which the objects have, too; and no object besides."""
    ours, theirs = FrameStore(found), FrameStore(expected)
    assert (ours.attributes.fingerprint, ours.attributes.seal) == (
        theirs.attributes.fingerprint,
        theirs.attributes.seal,
    )
    assert ours.attributes.files == theirs.attributes.files
    assert verify_store(found).is_whole
    assert set(object_sizes(found)) == {"zarr.json", *theirs.attributes.files}
    for name in {key.split("/")[0] for key in theirs.attributes.files}:
        np.testing.assert_array_equal(ours.read(name), theirs.read(name))


def key_of(store: Path, key: str) -> dict[str, str]:
    """As boto3 names an object."""
    return {"Bucket": BUCKET, "Key": str(store / key).removeprefix(f"s3://{BUCKET}/")}


def damage(server: ObjectServer, store: Path, key: str) -> None:
    there = key_of(store, key)
    content = bytearray(server.client.get_object(**there)["Body"].read())
    content[len(content) // 2] ^= 1
    server.client.put_object(**there, Body=bytes(content))


def test_stores_and_pairs_equal_the_local_ones_digest_by_digest(raw: Path, address: Path, tmp_path: Path) -> None:
    made = {}
    for out in (tmp_path / "local", address):
        events, images = (convert(raw, out, source).path for source in ("ncaltech101", "caltech101"))
        made[out] = [events, images, pairing.run(PairingConfig(), events, images, out).path]
    for ours, theirs in zip(made[address], made[tmp_path / "local"], strict=True):
        assert_same_store(ours, theirs)
        assert ours.name == theirs.name
    assert set(entries(address)) == {path.name for path in made[address]}  # no lock, nothing of the build
    ours, theirs = (PairedCache.open(str(stores[2]), "train") for stores in (made[address], made[tmp_path / "local"]))
    for key, value in theirs.read(np.arange(len(theirs))).items():
        np.testing.assert_array_equal(ours.read(np.arange(len(theirs)))[key], value)  # type: ignore[literal-required]
    found = [sample["sample_id"] for sample in pickle.loads(pickle.dumps(ours))]
    assert found == list(theirs.sample_ids)
    assert PairedCache.open(f"{address}/ncaltech101+*", "test").split_digest == theirs.split_digest
    batches = DataLoader(ours, batch_size=4, num_workers=1)  # forked: with a connection of its own
    np.testing.assert_array_equal(next(iter(batches))["events"], theirs.read(np.arange(4))["events"])


def test_what_was_read_once_is_read_from_this_machine(
    raw: Path, address: Path, object_server: ObjectServer, tmp_path: Path
) -> None:
    store = FrameStore(convert(raw, address).path)
    expected = store.read("frames")
    object_server.requests.clear()
    np.testing.assert_array_equal(store.read("frames", np.arange(len(store))), expected)
    assert object_server.requests == []
    again = FrameStore(store.path)
    again.read("frames")
    assert [method for method, _ in object_server.requests] == ["GET"] * 3  # the root, one listing, the root for zarr
    for copy in (tmp_path / "shards").iterdir():
        copy.write_bytes(bytes(copy.stat().st_size))  # what a failing disk may do
    np.testing.assert_array_equal(FrameStore(store.path).read("frames"), expected)


def test_preprocess_train_and_evaluate_with_caches_at_an_address(address: Path, tmp_path: Path) -> None:
    outcomes = {}
    for name, options in (("local", []), ("remote", ["--cache", str(address)])):
        root = make_workspace(tmp_path / name, EVERY_STEP, {"train": {"epochs": 1}})
        given = ["--config", root / "tiny.toml", "--root", root, *options]
        succeed("--quiet", "preprocess", *given)
        succeed("--quiet", "train", *given)
        report = succeed("--quiet", "evaluate", *given, "--json").document
        (run,) = (root / "runs").iterdir()
        outcomes[name] = (run.name, metrics_of(run), report["top1"], report["recordings_digest"])
    assert outcomes["remote"] == outcomes["local"]
    assert f'"pairs": "{address}/ncaltech101+caltech101-' in (run / "config.json").read_text()
    assert not list(root.rglob("*.zarr"))
    assert (root / "data" / "cache" / "previews").is_dir()
    listed = succeed("--cache", str(address), "cache", "ls", "--json").document
    assert [entry["state"] for entry in listed] == ["images", "pairs", "events"]
    # Nothing is done again, and what a configuration or run uses is not pruned.
    times = {
        store: FrameStore(store).attributes.created
        for store in map(address.joinpath, entries(address))
        if store.name.endswith(".zarr")
    }
    succeed("--quiet", "preprocess", *given)
    assert succeed("--root", root, "--cache", str(address), "cache", "prune", "--unused").out == ""
    assert {store: FrameStore(store).attributes.created for store in times} == times
    unused = convert(root / "data" / "raw", address).path
    pruned = succeed("--root", root, "--cache", str(address), "cache", "prune", "--unused").out
    assert pruned == f"deleted {unused}\n"
    assert not object_sizes(unused)


def test_a_damaged_object_is_refused_named_and_mended(
    raw: Path, address: Path, tmp_path: Path, object_server: ObjectServer
) -> None:
    expected, store = convert(raw, tmp_path).path, convert(raw, address).path
    damage(object_server, store, SHARD)
    object_server.client.put_object(**key_of(store, "frames/c/77"), Body=b"foreign")
    with pytest.raises(StoreError, match=f"{store / SHARD}: this object is damaged .* `dvs-transfer cache repair`"):
        FrameStore(store).read("frames", np.arange(14))
    with pytest.raises(StoreError, match="damaged"):
        FrameStore(store).read("frames", np.array([5]))  # nor was it kept
    assert run_command("cache", "verify", str(store)).code == 1
    assert set(verify_store(store).bad) == {SHARD, "frames/c/77"}
    succeed("--quiet", "cache", "repair", str(store), "--raw", raw / "events")
    assert_same_store(store, expected)
    damage(object_server, store, "label/c/0")  # follows from all shards
    assert repair.run(store, raw / "events").repaired == ("label/c/0",)
    assert_same_store(store, expected)
    assert set(entries(address)) == {store.name}
    changed = Path(shutil.copytree(raw / "events", tmp_path / "changed"))
    recording = changed / "Caltech101" / "ant" / "image_0005.bin"
    recording.write_bytes(recording.read_bytes()[:5000])
    damage(object_server, store, SHARD)
    with pytest.raises(StoreError, match="comes out otherwise than it was recorded"):
        repair.run(store, changed)
    assert set(verify_store(store).bad) == {SHARD}
    assert set(entries(address)) == {store.name}


def test_a_vanished_object_is_an_error_and_never_zeros(raw: Path, address: Path, object_server: ObjectServer) -> None:
    store = FrameStore(convert(raw, address).path)
    array = store.array("frames")
    object_server.client.delete_object(**key_of(store.path, SHARD))
    gone = f"{store.path / SHARD}: this object is gone .* `dvs-transfer cache repair`"
    with pytest.raises(StoreError, match=gone):
        store.read("frames", np.arange(8))
    with pytest.raises(StoreError, match=gone):
        array[4]
    with pytest.raises(StoreError, match=f"{store.path / SHARD}: this file is missing"):
        FrameStore(store.path)
    repair.run(store.path, raw / "events")
    assert array[4].any()
    object_server.client.delete_object(**key_of(store.path, "zarr.json"))
    with pytest.raises(StoreError, match=r"not whole: its zarr.json, written last, is not there"):
        FrameStore(store.path)


REFUSALS = [
    (500, "InternalError", "We encountered an internal error", "cannot be reached"),
    (403, "ExpiredToken", "The provided token has expired", "token has expired.*renew"),
    (403, "AccessDenied", "Access Denied", "access is refused .*renew"),
]


@pytest.fixture
def impatient(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every request is tried once."""
    from s3fs import S3FileSystem

    with monkeypatch.context() as patch:
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        patch.setattr(S3FileSystem, "retries", 1)
        S3FileSystem.clear_instance_cache()
        yield
    S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(("status", "code", "message", "says"), REFUSALS, ids=[refusal[1] for refusal in REFUSALS])
def test_a_refusing_server_is_told_and_the_next_run_goes_on(
    status: int, code: str, message: str, says: str, raw: Path, address: Path, object_server: ObjectServer,
    tmp_path: Path, impatient: None,
) -> None:  # fmt: skip
    expected = convert(raw, tmp_path).path
    with (
        object_server.refusing(status, code, message, after=17),  # in the middle of the shards
        pytest.raises(AddressError, match=f"{address}/.*{says}.*run the same command again"),
    ):
        convert(raw, address)
    records = [key for key in object_server.keys(tmp_path.name) if "/shards/" in key]
    assert 0 < len(records) < 4
    object_server.requests.clear()
    store = convert(raw, address).path
    assert_same_store(store, expected)
    written = {path for method, path in object_server.requests if method == "PUT"}
    assert not written & {f"/{BUCKET}/{record}" for record in records}
    with object_server.refusing(status, code, message):
        for arguments in (("cache", "info", str(store)), ("cache", "verify", str(store))):
            refuse(*arguments, code=1, says=[str(store), message])
    assert set(entries(address)) == {store.name}


def test_a_server_that_fails_now_and_then_is_asked_again(
    raw: Path, address: Path, object_server: ObjectServer, tmp_path: Path
) -> None:
    expected = convert(raw, tmp_path).path
    before = len(object_server.requests)
    with object_server.refusing(500, "InternalError", "We encountered an internal error", after=17, times=2):
        store = convert(raw, address).path
    assert len(object_server.requests) > before + 19  # so that both were refused
    assert_same_store(store, expected)


def test_a_wrong_bucket_and_a_server_that_is_not_there(
    raw: Path, address: Path, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    from s3fs import S3FileSystem

    for call in (lambda: convert(raw, place("s3://nowhere/x")), lambda: FrameStore("s3://nowhere/x/a.zarr")):
        with pytest.raises(AddressError, match=r"s3://nowhere/x.*: there is no such bucket"):
            call()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    S3FileSystem.clear_instance_cache()
    with pytest.raises(AddressError, match=f"{address}/a.zarr/zarr.json: cannot be reached .*127.0.0.1:1"):
        FrameStore(address / "a.zarr")


DYING = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from collections.abc import Iterator
from pathlib import Path
from dvs_transfer.cache.building import ObjectBuild
from raw_data import convert
put = ObjectBuild.put
def dying(self, shard, contents, record):
    if shard == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, shard, contents, record)
ObjectBuild.put = dying
convert(Path(sys.argv[1]), sys.argv[2])
"""


def test_a_killed_writer_s_work_is_taken_up(
    raw: Path, address: Path, object_server: ObjectServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = convert(raw, tmp_path).path
    command = [sys.executable, "-c", DYING, str(raw), str(address), str(Path(__file__).parent.parent)]
    assert subprocess.run(command, check=False).returncode == -9
    assert [name for name in entries(address) if name.endswith(".lock")]
    object_server.requests.clear()
    store = convert(raw, address).path
    assert any("gives no sign any more; going on in its place" in message for message in caplog.messages)
    assert_same_store(store, expected)
    put = [path for method, path in object_server.requests if method == "PUT" and "/shards/" in path]
    assert [path.rpartition("/")[2] for path in put] == ["000002.json", "000003.json"]
    assert set(entries(address)) == {store.name}


def test_two_writers_at_once_make_one_store(
    raw: Path, address: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected, reports = convert(raw, tmp_path).path, list[Any]()
    threads = [threading.Thread(target=lambda: reports.append(convert(raw, address))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.was_built for report in reports) == [False, True]
    assert_same_store(reports[0].path, expected)
    assert any("another process is writing here" in message for message in caplog.messages)
    assert set(entries(address)) == {expected.name}


def test_a_writer_that_was_taken_for_dead_finds_what_its_successor_made(
    raw: Path, address: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps at its second shard; the other one takes the lock, makes the store, and clears up."""
    expected, convert_shards, outcomes = convert(raw, tmp_path).path, conversion.convert_shards, list[Any]()

    def overtaken(settings: Any, source: Any, layout: Any, missing: Any, *others: Any) -> dict[int, str]:
        monkeypatch.setattr(conversion, "convert_shards", convert_shards)
        made = convert_shards(settings, source, layout, [0], *others)
        (lock,) = [name for name in entries(address) if name.endswith(".lock")]
        remove_objects([address / lock])
        outcomes.append(conversion.run(config(raw, address)))
        return made | convert_shards(settings, source, layout, [1, 2, 3], *others)

    monkeypatch.setattr(conversion, "convert_shards", overtaken)
    outcomes.append(convert(raw, address))
    assert [report.was_built for report in outcomes] == [True, False]
    assert_same_store(outcomes[1].path, expected)
    assert set(entries(address)) == {expected.name}


def test_a_writer_of_other_raw_data_that_was_taken_for_dead_leaves_no_mixture(
    raw: Path, address: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read a recording as it was before, and writes its shard when the other one is about to read them all."""
    changed = Path(shutil.copytree(raw, tmp_path / "changed"))
    recording = changed / "events" / "Caltech101" / "ant" / "image_0005.bin"
    recording.write_bytes(recording.read_bytes()[:5000])
    before, settings = conversion.open_raw(config(raw, address)), config(raw, address)
    expected, convert_shards = convert(changed, tmp_path).path, conversion.convert_shards

    def beside(ours: Any, source: Any, layout: Any, missing: Any, *others: Any) -> dict[int, str]:
        made = convert_shards(ours, source, layout, missing, *others)
        convert_shards(settings, before, layout, [1], *others)
        return made

    monkeypatch.setattr(conversion, "convert_shards", beside)
    with pytest.raises(StoreError, match=r"another process wrote shard 1 meanwhile, .* run the same command again"):
        convert(changed, address)
    assert not [name for name in entries(address) if name.endswith(".zarr")]
    monkeypatch.undo()
    assert_same_store(convert(changed, address).path, expected)


def test_what_may_not_be_deleted_is_told(address: Path, object_server: ObjectServer) -> None:
    some, lease = [address / name for name in "abc"], Lease(address / "lock", address / "a.zarr", patience_s=0)
    for each in some:
        write_object(each, b"1")
    write_object(lease.address, b"{}")  # of a dead writer
    with object_server.keeping():
        for refused in (some, some[:1]):
            with pytest.raises(AddressError, match=f"{address}/a: access is refused"):
                remove_objects(refused)
        with pytest.raises(AddressError, match=f"{address}/lock: access is refused"), lease.hold(0):
            pass
    assert set(entries(address)) == {"a", "b", "c", "lock"}
    remove_objects(some)
    assert set(entries(address)) == {"lock"}


def test_an_object_without_content_is_damaged_and_no_reason_to_stop(
    raw: Path, address: Path, object_server: ObjectServer, tmp_path: Path
) -> None:
    expected = convert(raw, tmp_path).path
    with object_server.refusing(403, "AccessDenied", "Access Denied", after=17), pytest.raises(AddressError):
        convert(raw, address)
    for key in object_server.keys(tmp_path.name):
        if key.endswith(".lock"):
            object_server.client.delete_object(Bucket=BUCKET, Key=key)
        else:
            object_server.client.put_object(Bucket=BUCKET, Key=key, Body=b"")
    store = convert(raw, address).path
    assert_same_store(store, expected)
    write_object(store / SHARD, b"")
    assert read_object(store / SHARD, 10) == b""
    assert set(verify_store(store).bad) == {SHARD}
    assert repair.run(store, raw / "events").repaired == (SHARD,)
    assert_same_store(store, expected)
