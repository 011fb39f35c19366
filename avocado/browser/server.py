"""A server of one folder for the browser on this computer: 127.0.0.1 only, with ranges of bytes, and nothing outside.

Others who are logged in to this computer cannot read along: every address begins with a random word. Hidden files and
whatever a link leads to outside the folder are not there. A page of another site cannot ask for files by a name that
it made to mean this computer, as the header `Host` is checked.
"""

from __future__ import annotations

import errno
import mimetypes
import re
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from avocado.errors import InputError

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
TYPES = {".html": "text/html; charset=utf-8", ".json": "application/json", ".xml": "application/xml"}
TYPES |= dict.fromkeys((".txt", ".sizes", ".bed"), "text/plain; charset=utf-8")
TYPES |= dict.fromkeys((".bw", ".bigwig"), "application/octet-stream")
COPY = 1 << 20  # bytes at a time


class FolderServer(ThreadingHTTPServer):
    """Serves `folder`, and `pages`, texts by their paths that come first. `address` is what a browser opens."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, folder: Path, pages: Mapping[str, bytes], port: int | None = None) -> None:
        self.folder, self.pages, self.word = folder.resolve(), dict(pages), secrets.token_urlsafe(12)
        if port is not None and not (type(port) is int and 1 <= port <= 65535):
            raise InputError(f"port={port}: expected a whole number from 1 to 65535, or null for any that is free")
        try:
            super().__init__((HOST, port or 0), _Handler)
        except OSError as error:
            why = {errno.EADDRINUSE: "taken", errno.EACCES: "not for users"}.get(error.errno or 0, error.strerror)
            raise InputError(f"port {port} is {why}: choose another one, or leave port= out") from None

    @property
    def address(self) -> str:
        """http://127.0.0.1:<port>/<random word>/"""
        return f"http://{HOST}:{self.server_address[1]}/{self.word}/"

    def handle_error(self, request, client_address) -> None:
        """A browser that goes away in the middle of a file is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: FolderServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "avocado", ""
    timeout = 60

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what a browser reads is of no interest."""

    def _answer(self, body: bool) -> None:
        if self.headers.get("Host", "").rpartition(":")[0] not in NAMES:
            return self._refuse(HTTPStatus.FORBIDDEN)
        name = self._name()
        if name is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        if name in self.server.pages:
            return self._page(name, body)
        try:
            file = self._opened(name)
        except OSError:
            file = None
        if file is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        with file:
            size = file.seek(0, 2)
            self._send(name, size, body, lambda start, n: self._copy(file, start, n))

    def _name(self) -> str | None:
        """The path from the folder that is asked for; None for one that is not below the random word."""
        word, _, name = unquote(urlsplit(self.path).path, errors="replace").removeprefix("/").partition("/")
        return (name or "index.html") if secrets.compare_digest(word.encode(), self.server.word.encode()) else None

    def _opened(self, name: str) -> BinaryIO | None:
        """A file of the folder; None for what is hidden, outside, no file, or of a kind that nothing here needs."""
        parts = name.split("/")
        if "\\" in name or "\0" in name or any(part in ("", "..") or part.startswith(".") for part in parts):
            return None
        path = (self.server.folder / name).resolve()
        if not path.is_relative_to(self.server.folder) or path.suffix.lower() not in TYPES or not path.is_file():
            return None
        return path.open("rb")

    def _page(self, name: str, body: bool) -> None:
        text = self.server.pages[name]
        self._send(name, len(text), body, lambda start, n: self.wfile.write(text[start : start + n]))

    def _send(self, name: str, size: int, body: bool, write) -> None:
        span = self._range(size)
        if span == ():
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self._headers(0, name)
            return
        start, end = span or (0, size)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self._headers(end - start, name)
        if body:
            write(start, end - start)

    def _range(self, size: int) -> tuple[int, int] | tuple[()] | None:
        """Bytes [start, end) of the header `Range`; () for one beyond the file, None for none that is understood."""
        found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", self.headers.get("Range", "").strip())
        if found is None or found.groups() == ("", ""):
            return None
        if not found[1]:
            return (max(0, size - int(found[2])), size) if int(found[2]) and size else ()
        start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
        return (start, end) if start < size else ()

    def _headers(self, length: int, name: str) -> None:
        kind = TYPES.get(Path(name).suffix.lower()) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")  # the random word is for nobody else
        self.end_headers()

    def _copy(self, file: BinaryIO, start: int, n: int) -> None:
        file.seek(start)
        while n > 0 and (part := file.read(min(COPY, n))):
            self.wfile.write(part)
            n -= len(part)

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
