from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import struct
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from dvs_transfer.cache.errors import SourceError
from dvs_transfer.stages import download
from dvs_transfer.stages.download import PUBLISHED, DownloadConfig, PublishedFile, run
from dvs_transfer.stages.sources import SOURCES


class Server:
    """Serves `content` for any path; what it does wrong is set by its attributes. Keeps the requests' headers."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.etag: str | None = '"v1"'
        self.ranges = True
        self.status = 200
        self.cut_after: list[int] = []  # bytes of the next answers before the connection breaks
        self.requests: list[dict[str, str]] = []
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/file"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(server) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                server.requests.append(dict(self.headers))
                total, start, status = len(server.content), 0, server.status
                asked = self.headers.get("Range")
                if status == 200 and asked and server.ranges and self.headers.get("If-Range") == server.etag:
                    start, status = int(asked.removeprefix("bytes=").removesuffix("-")), 206
                    status = 416 if start >= total else 206
                body = server.content[start:] if status in (200, 206) else b""
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if server.etag:
                    self.send_header("ETag", server.etag)
                if status == 206:
                    self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
                if status == 416:
                    self.send_header("Content-Range", f"bytes */{total}")
                self.end_headers()
                self.wfile.write(body[: server.cut_after.pop(0)] if server.cut_after and body else body)

        return Handler


def nmnist_zip(num_bytes: int = 400_000) -> bytes:
    """An archive that the source accepts, of at least `num_bytes`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("Train/3/00001.bin", bytes((1, 2, 0x80, 0, 3)) * (num_bytes // 5))
    return buffer.getvalue()


ARCHIVE = nmnist_zip()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(ARCHIVE)
    yield server
    server.close()


def published(url: str | None, content: bytes = ARCHIVE) -> dict[str, tuple[PublishedFile, ...]]:
    return {"nmnist": (PublishedFile(name="Train.zip", url=url, md5=hashlib.md5(content).hexdigest()),)}


@pytest.fixture
def config(tmp_path: Path) -> DownloadConfig:
    return DownloadConfig(dataset="nmnist", root=tmp_path / "raw data")


def files_in(config: DownloadConfig) -> list[str]:
    return sorted(path.name for path in config.folder.iterdir())


def test_a_file_is_fetched_verified_and_named(server: Server, config: DownloadConfig) -> None:
    calls: list[tuple[str, int, int | None]] = []
    report = run(config, published=published(server.url), progress=lambda *call: calls.append(call))
    assert (config.folder / "Train.zip").read_bytes() == ARCHIVE
    assert files_in(config) == ["Train.zip"]
    assert report.num_samples == 1
    assert report.files[0].verified
    assert report.files[0].sha256 == hashlib.sha256(ARCHIVE).hexdigest()
    assert calls[-1] == ("Train.zip", len(ARCHIVE), len(ARCHIVE))


def test_a_file_that_is_there_is_not_fetched_again(server: Server, config: DownloadConfig) -> None:
    run(config, published=published(server.url))
    report = run(config, published=published(server.url))
    assert len(server.requests) == 1
    assert report.num_samples == 1


def test_a_broken_connection_goes_on_where_it_stopped(server: Server, config: DownloadConfig) -> None:
    server.cut_after = [100_000, 150_000]  # whole blocks of 65,536 bytes are kept
    run(config, published=published(server.url))
    assert (config.folder / "Train.zip").read_bytes() == ARCHIVE
    assert [request.get("Range") for request in server.requests] == [None, "bytes=65536-", "bytes=196608-"]
    assert server.requests[1]["If-Range"] == '"v1"'
    assert files_in(config) == ["Train.zip"]


def test_a_later_run_goes_on_where_it_stopped(
    server: Server, config: DownloadConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_ATTEMPTS", 1)
    server.cut_after = [100_000]
    with pytest.raises(SourceError, match="goes on from the bytes"):
        run(config, published=published(server.url))
    assert files_in(config) == ["Train.zip.part", "Train.zip.part.json"]
    run(config, published=published(server.url))
    assert server.requests[-1]["Range"] == "bytes=65536-"
    assert (config.folder / "Train.zip").read_bytes() == ARCHIVE


def test_a_server_that_breaks_always_is_given_up(server: Server, config: DownloadConfig) -> None:
    server.cut_after = [10] * 99
    with pytest.raises(SourceError, match=r"cannot be fetched.*Train\.zip.*--archive"):
        run(config, published=published(server.url))
    assert len(server.requests) == download._ATTEMPTS


@pytest.mark.parametrize("change", ["etag", "no ranges", "no etag"])
def test_what_cannot_be_resumed_starts_from_the_beginning(server: Server, config: DownloadConfig, change: str) -> None:
    config.folder.mkdir(parents=True)
    (config.folder / "Train.zip.part").write_bytes(b"bytes of an older file")
    if change != "no etag":
        (config.folder / "Train.zip.part.json").write_text('{"validator": "\\"v1\\""}')
    server.etag = {"etag": '"v2"', "no ranges": '"v1"', "no etag": None}[change]
    server.ranges = change != "no ranges"
    run(config, published=published(server.url))
    assert (config.folder / "Train.zip").read_bytes() == ARCHIVE


@pytest.mark.parametrize("extra", [b"", b"and more"])
def test_nothing_left_to_send(server: Server, config: DownloadConfig, extra: bytes) -> None:
    """416: what is here is the whole file, or longer than it."""
    config.folder.mkdir(parents=True)
    (config.folder / "Train.zip.part").write_bytes(ARCHIVE + extra)
    (config.folder / "Train.zip.part.json").write_text('{"validator": "\\"v1\\""}')
    run(config, published=published(server.url))
    assert (config.folder / "Train.zip").read_bytes() == ARCHIVE
    assert len(server.requests) == (2 if extra else 1)


def test_a_wrong_digest_is_refused_and_nothing_stays(server: Server, config: DownloadConfig) -> None:
    server.content = ARCHIVE[:-1] + b"?"
    with pytest.raises(SourceError, match=r"md5 [0-9a-f]{32} \(\d+ bytes\), expected"):
        run(config, published=published(server.url))
    assert files_in(config) == []


def test_a_changed_file_in_place_is_refused(server: Server, config: DownloadConfig) -> None:
    config.folder.mkdir(parents=True)
    (config.folder / "Train.zip").write_bytes(b"mine")
    with pytest.raises(SourceError, match="remove it and fetch it again"):
        run(config, published=published(server.url))
    assert (config.folder / "Train.zip").read_bytes() == b"mine"


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_of_the_server_is_a_message(server: Server, config: DownloadConfig, status: int) -> None:
    server.status = status
    with pytest.raises(SourceError, match=f"{status}.*--archive"):
        run(config, published=published(server.url))
    assert files_in(config) == []


def test_no_server_is_a_message(config: DownloadConfig) -> None:
    with pytest.raises(SourceError, match="cannot be fetched"):
        run(config, published=published("http://127.0.0.1:9/file"))


def test_a_full_disk_is_noticed_before(server: Server, config: DownloadConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(SourceError, match=f"{len(ARCHIVE)} bytes are needed, 1000 are free"):
        run(config, published=published(server.url))


def test_without_a_published_digest_the_report_says_so(server: Server, config: DownloadConfig) -> None:
    report = run(config, published={"nmnist": (PublishedFile(name="Train.zip", url=server.url),)})
    assert not report.files[0].verified
    assert report.files[0].num_bytes == len(ARCHIVE)


def test_two_downloads_at_once(server: Server, config: DownloadConfig) -> None:
    config.root.mkdir()
    with FileLock(config.root / ".nmnist.lock"), pytest.raises(SourceError, match="another download"):
        run(config, published=published(server.url))


# From the user --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["cepdvs", "cepdvs-images"])
def test_what_must_be_fetched_by_hand_says_how(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(SourceError, match=rf"Get it from .*download {dataset} --archive FILE"):
        run(DownloadConfig(dataset=dataset, root=tmp_path))
    assert not any(tmp_path.iterdir())


def test_a_published_archive_is_known_by_its_digest(tmp_path: Path) -> None:
    mine = tmp_path / "renamed by my browser (1).zip"
    mine.write_bytes(ARCHIVE)
    config = DownloadConfig(dataset="nmnist", root=tmp_path / "raw", archive=mine)
    report = run(config, published=published(None))
    assert (config.folder / "Train.zip").read_bytes() == mine.read_bytes()
    assert report.files[0].verified
    assert report.num_samples == 1
    assert run(config.model_copy(update={"archive": config.folder / "Train.zip"}), published=published(None)) == report


def test_an_archive_of_that_name_and_another_digest_is_refused(tmp_path: Path) -> None:
    mine = tmp_path / "Train.zip"
    mine.write_bytes(nmnist_zip(10))
    with pytest.raises(SourceError, match="expected"):
        run(DownloadConfig(dataset="nmnist", root=tmp_path / "raw", archive=mine), published=published(None))


def test_any_other_archive_is_unpacked(tmp_path: Path) -> None:
    mine = tmp_path / "my own.zip"
    mine.write_bytes(nmnist_zip(10))
    config = DownloadConfig(dataset="nmnist", root=tmp_path / "raw", archive=mine)
    assert run(config).num_samples == 1
    assert (config.folder / "Train" / "3" / "00001.bin").stat().st_size == 10
    with pytest.raises(SourceError, match="exists already"):
        run(config)


def test_an_unsafe_archive_writes_nothing(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../evil", b"x")
    mine = tmp_path / "evil.zip"
    mine.write_bytes(buffer.getvalue())
    config = DownloadConfig(dataset="cepdvs", root=tmp_path / "raw", archive=mine)
    with pytest.raises(SourceError, match="outside"):
        run(config)
    assert files_in(config) == []
    assert not (tmp_path / "raw" / "evil").exists()


def test_one_of_several_files_is_taken_and_the_rest_is_named(tmp_path: Path) -> None:
    mine = tmp_path / "t10k-images-idx3-ubyte.gz"
    mine.write_bytes(gzip.compress(struct.pack(">4I", 0x803, 1, 28, 28) + bytes(784)))
    md5 = hashlib.md5(mine.read_bytes()).hexdigest()
    config = DownloadConfig(dataset="mnist", root=tmp_path / "raw", archive=mine)
    report = run(config, published={"mnist": (PublishedFile(name=mine.name, md5=md5),)})
    assert report.num_samples is None
    assert report.remark is not None
    assert "alone" in report.remark


def test_a_missing_archive_and_an_unknown_data_set(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is no file"):
        run(DownloadConfig(dataset="nmnist", root=tmp_path, archive=tmp_path / "nowhere.zip"))
    assert not any(tmp_path.iterdir())
    with pytest.raises(ValueError, match="no such data set; there are ncaltech101"):
        DownloadConfig(dataset="imagenet")


def test_the_table_of_published_files_is_whole() -> None:
    for dataset, files in PUBLISHED.items():
        assert dataset in SOURCES
        assert any(file.url for file in files)
        for file in files:
            assert file.url is None or (file.url.startswith("https://") and file.md5 is not None)
            assert file.md5 is None or bytes.fromhex(file.md5)
