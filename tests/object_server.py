"""A real S3-compatible server (moto's) on loopback, which can be told to fail; faults of an object store in memory."""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

BUCKET = "bucket"
_KEPT = "<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"


@dataclass
class ObjectServer:
    """Started by the fixture of that name. requests: method and path of each, as they came."""

    requests: list[tuple[str, str]] = field(default_factory=list)
    _refusal: tuple[int, str, str, range] | None = None
    _keeps: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server: Any = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self._answer = self._server._server.app
        self._server._server.app = self._serve

    def stop(self) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        host, port = self._server.get_host_and_port()
        return f"http://{host}:{port}"

    @property
    def client(self) -> Any:
        import boto3

        return boto3.client("s3", endpoint_url=self.url)

    def keys(self, prefix: str) -> list[str]:
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return [about["Key"] for about in found]

    @contextmanager
    def refusing(
        self, status: int, code: str, message: str, after: int = 0, times: int = sys.maxsize
    ) -> Iterator[None]:
        """Requests are refused in here, `times` of them and after the first `after`."""
        first = len(self.requests) + after
        self._refusal = (status, code, message, range(first, first + times))
        try:
            yield
        finally:
            self._refusal = None

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Nobody may delete in here. Asked to delete several, S3 says that it did, and of each that it did not."""
        self._keeps = True
        try:
            yield
        finally:
            self._keeps = False

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            number = len(self.requests)
            self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        is_of_many = environ["REQUEST_METHOD"] == "POST" and environ["QUERY_STRING"].startswith("delete")
        if self._keeps and is_of_many:
            asked = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
            kept = "".join(_KEPT.format(key=key) for key in re.findall("<Key>(.*?)</Key>", asked))
            return _respond(start_response, "200 OK", f"<?xml version='1.0'?><DeleteResult>{kept}</DeleteResult>")
        if self._keeps and environ["REQUEST_METHOD"] == "DELETE":
            message = _ERROR.format(code="AccessDenied", message="Access Denied")
            return _respond(start_response, "403 AccessDenied", message)
        if self._refusal is None or number not in self._refusal[3]:
            with self._lock:  # moto's tables are not for several threads: it fails where a listing meets a put
                answer: Iterable[bytes] = self._answer(environ, start_response)
            return answer
        status, code, message, _ = self._refusal
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        return _respond(start_response, f"{status} {code}", _ERROR.format(code=code, message=message))


def _respond(start_response: Callable[..., Any], status: str, text: str) -> Iterable[bytes]:
    body = text.encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


class KilledError(BaseException):
    """What ends a process at once, as far as a test in one process can do it."""


class MemoryFaults:
    """Counts the operations on `memory://` addresses, and lets them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from fsspec.implementations.memory import MemoryFileSystem

        self.count, self._at, self._error, self._lasts = 0, 0, BaseException(), False
        for name in ("cat_file", "pipe_file", "cp_file", "rm_file", "find", "ls", "info"):
            monkeypatch.setattr(MemoryFileSystem, name, self._failing(getattr(MemoryFileSystem, name)))

    def fail(self, at: int, error: BaseException, lasts: bool) -> None:
        """The operation number `at` from now, and with `lasts` all after it."""
        self.count, self._at, self._error, self._lasts = 0, at, error, lasts

    def heal(self) -> None:
        self.count = self._at = 0

    def _failing(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self._at and (self.count == self._at or (self._lasts and self.count > self._at)):
                raise self._error
            return operation(*arguments, **options)

        return failing
