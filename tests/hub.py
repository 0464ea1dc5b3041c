"""A stand-in for the model hub on this machine: the two requests that downloading needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


@dataclass
class FakeHub:
    """Repositories by name, and what was asked of them."""

    files: dict[str, dict[str, bytes]]
    """Repository -> path -> content."""
    break_at: int | None = None
    """Byte of a file at which the line breaks, again and again; None for a good line."""
    refuse: int | None = None
    """Status that answers everything."""
    gated: str | None = None
    """Repository whose files nobody gets before accepting its licence."""
    wrong_bytes: bool = False
    """Whether files arrive with other content than announced."""
    revisions: set[str] = field(default_factory=set)
    gets: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of each file asked for."""
    address: str = ""


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """The hub, answering at `hub.address`."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            """`/api/models/OWNER/NAME/paths-info/REVISION`."""
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            owner, name, _, revision = self.path.split("/")[3:]
            if hub.refuse:
                return self.answer(hub.refuse, b"{}")
            hub.revisions.add(revision)
            paths = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
            there = hub.files[f"{owner}/{name}"]
            listed = [describe(path, there[path]) for path in paths if path in there]
            self.answer(200, json.dumps(listed).encode())

        def do_GET(self) -> None:
            """`/OWNER/NAME/resolve/REVISION/PATH`."""
            if "/resolve/" not in self.path:
                return self.answer(404, b"")  # what the client likes to know of the real hub
            owner, name, _, _, path = self.path[1:].split("/", 4)
            if f"{owner}/{name}" == hub.gated:
                return self.answer(403, b"{}")
            asked = self.headers.get("Range")
            hub.gets.append((path, asked))
            content = hub.files[f"{owner}/{name}"][path]
            if hub.wrong_bytes:
                content = bytes(len(content))
            start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if asked:
                whole = len(content)
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            self.end_headers()
            self.wfile.write(content[start : hub.break_at])

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            if status == 403:
                self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def describe(path: str, content: bytes) -> dict[str, object]:
    """A file as the hub lists it; large ones with their SHA-256."""
    entry: dict[str, object] = {
        "type": "file",
        "path": path,
        "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
    }
    if len(content) > 1000:
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 100}
    return entry
