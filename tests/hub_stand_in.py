"""A hub of models and data sets on this machine, as far as the library's pushing and pulling asks for it.

It keeps what was committed, takes weights by the LFS protocol (as real hubs do) and the rest within the commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stand_in"


@dataclass
class Repository:
    visibility: str
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{}])

    @property
    def sha(self) -> str:
        return f"{len(self.commits):040x}"

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1]


@dataclass
class Hub:
    """repositories: by "models/user/name" and "datasets/user/name".  by_lfs: the contents that came by it."""

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    by_lfs: dict[str, bytes] = field(default_factory=dict)
    cards: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body, path = self._body(), unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"POST {path}")
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer(401, {"error": "Invalid credentials"})
        if path == "/api/validate-yaml":
            self.hub.cards.append(json.loads(body)["content"])
            return self._answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('type') or 'model'}s/{asked['organization']}/{asked['name']}"
            known = name in self.hub.repositories
            visibility = asked.get("visibility") or ("private" if asked.get("private") else "public")
            self.hub.repositories.setdefault(name, Repository(visibility))
            return self._answer(409 if known else 200, {"url": f"{self.hub.endpoint}/{name.removeprefix('models/')}"})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.hub.endpoint}/lfs/{each['oid']}", "header": {}}}}
                for each in json.loads(body)["objects"]
            ]
            return self._answer(200, {"transfer": "basic", "objects": objects})
        found = re.fullmatch(r"/api/(\w+/[^/]+/[^/]+)/(preupload|commit)/main", path)
        if found is None or found[1] not in self.hub.repositories:
            return self._answer(404, {"error": "Repository not found"})
        if found[2] == "preupload":
            files = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for each in json.loads(body)["files"]
            ]
            return self._answer(200, {"files": files})
        repository = self.hub.repositories[found[1]]
        files = dict(repository.files)
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                files[entry["value"]["path"]] = self.hub.by_lfs[entry["value"]["oid"]]
        repository.commits.append(files)
        url = f"{self.hub.endpoint}/{found[1].removeprefix('models/')}/commit/{repository.sha}"
        return self._answer(200, {"success": True, "commitUrl": url, "commitOid": repository.sha})

    def do_PUT(self) -> None:
        content, digest = self._body(), self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == digest
        self.hub.by_lfs[digest] = content
        self._answer(200, {})

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if found := re.fullmatch(r"/((?:datasets/)?)([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)", path):
            name = f"{found[1] or 'models/'}{found[2]}"
            content = self.hub.repositories[name].commits[int(found[3], 16) - 1].get(found[4])
            if content is None:
                return self._answer(404, {"error": "Entry not found"})
            headers = {"X-Repo-Commit": found[3], "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            return self._send(200, content, headers)
        found = re.fullmatch(r"/api/(\w+/[^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path)
        if found is None or found[1] not in self.hub.repositories:
            return self._answer(404, {"error": "Repository not found"})
        repository = self.hub.repositories[found[1]]
        if found[2] == "tree":
            files = repository.files.items()
            entries = [{"type": "file", "path": name, "size": len(of), "oid": "0" * 40} for name, of in files]
            folders = {name.rpartition("/")[0] for name in repository.files if "/" in name}
            return self._answer(
                200, [{"type": "directory", "path": each, "oid": "1" * 40} for each in folders] + entries
            )
        siblings = [{"rfilename": name} for name in repository.files]
        about = {"id": found[1].partition("/")[2], "sha": repository.sha, "siblings": siblings, "private": True}
        return self._answer(200, {**about, "tags": [], "downloads": 0, "likes": 0})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _answer(self, status: int, document: Any) -> None:
        headers = {"Content-Type": "application/json"}
        headers |= {"X-Error-Code": "RepoNotFound"} if status == 404 else {}
        self._send(status, json.dumps(document).encode(), headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def stand_in() -> Iterator[Hub]:
    """A hub that listens on this machine while the context lasts."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
