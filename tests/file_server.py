"""A web server on this machine for tests of downloads: ranges, and all that can go wrong on the way."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Fault:
    """What happens to one request."""

    status: int = 0  # answered instead of the file
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # bytes of the body after which the connection breaks


@dataclass
class FileServer:
    """The files of a folder, at `address`; what was asked for is counted."""

    folder: Path
    address: str = ""
    ranges: bool = True  # whether it gives pieces
    answers: dict[str, Callable[[str], tuple[int, bytes]]] = field(default_factory=dict)  # by path; of the query
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))  # by path, in order; of GETs
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path with query, range
    agents: set[str] = field(default_factory=set)
    sent: int = 0  # bytes of bodies
    now: int = 0  # requests at once
    most: int = 0
    delay: float = 0.0  # seconds of every GET
    pause: float = 0.0  # seconds between two chunks of a body
    kept: dict[tuple[Path, int], tuple[bytes, str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, file: Path) -> tuple[bytes, str]:
        """Content and ETag of a file, from memory where it has not changed."""
        key = file, file.stat().st_mtime_ns
        with self.lock:
            if key not in self.kept:
                content = file.read_bytes()
                self.kept[key] = content, f'"{hashlib.md5(content).hexdigest()}"'
            return self.kept[key]

    def count(self, method: str, path: str) -> int:
        """How often something was asked for."""
        return sum(asked[0] == method and urlsplit(asked[1]).path == path for asked in self.requests)


@contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    """A server of the files of a folder."""
    state = FileServer(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):  # the name that the library asks for
            self._answer(body=False)

        def do_GET(self):
            with state.lock:
                state.now += 1
                state.most = max(state.most, state.now)
            try:
                time.sleep(state.delay)
                self._answer(body=True)
            finally:
                with state.lock:
                    state.now -= 1

        def _answer(self, body: bool):
            path, asked = unquote(urlsplit(self.path).path), self.headers.get("Range", "")
            with state.lock:
                state.requests.append((self.command, self.path, asked))
                state.agents.add(self.headers.get("User-Agent", ""))
                fault = state.faults[path].pop(0) if body and state.faults[path] else Fault()
            if fault.status:
                return self._send(fault.status, b"busy", body, fault.headers)
            if path in state.answers:
                status, content = state.answers[path](urlsplit(self.path).query)
                return self._send(status, content, body, {"Content-Type": "application/json"})
            file = state.folder / path.lstrip("/")
            if not file.is_file():
                return self._send(404, b"not here", body, {})
            content, etag = state.read(file)
            headers = {
                "ETag": etag,
                "Last-Modified": formatdate(file.stat().st_mtime, usegmt=True),
            }
            if not (asked and state.ranges):
                return self._send(200, content, body, headers, fault.cut)
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(content)) + 1, len(content))
            if start >= len(content):
                return self._send(416, b"", body, {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
            return self._send(206, content[start:end], body, headers, fault.cut)

        def _send(self, status, content, body, headers, cut=None):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if not body:
                return
            sent = content if cut is None else content[:cut]
            for first in range(0, len(sent), 1 << 16):
                self.wfile.write(sent[first : first + (1 << 16)])
                with state.lock:
                    state.sent += len(sent[first : first + (1 << 16)])
                time.sleep(state.pause)
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()

        def handle(self):
            with suppress(ConnectionError, ValueError, OSError):  # whoever asked has left
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
