"""Files on other machines, over HTTP: what they are, and pieces of them, with patience and politely.

Built on fsspec, which Lightning brings along: connections, redirects, certificates, proxies and the streams are its
own. What it lacks is here: trying again, and waiting as long as a server asks to.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import avocado
from avocado.errors import InputError

if TYPE_CHECKING:
    from fsspec.implementations.http import HTTPFileSystem

log = logging.getLogger(__name__)

Result = TypeVar("Result")

ATTEMPTS = 6  # in a row that may fail, without anything gained, before a server is given up
PAUSE = 1.0  # seconds before the second attempt; each further one waits twice as long
LONGEST = 120.0  # seconds that a server may ask to wait
SILENCE = 60  # seconds without a byte after which a connection counts as broken
PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers that another attempt may change
CHUNK = 1 << 20  # bytes read at a time

_not_before: dict[str, float] = {}  # by server: when it may be asked again, as time.monotonic counts
_turns = threading.Lock()


@dataclass(frozen=True)
class Remote:
    """A file as its server describes it: what must stay the same while it is read."""

    url: str
    size: int  # bytes
    etag: str = ""
    modified: str = ""  # as the server writes it

    def is_same(self, other: Remote) -> bool:
        """Whether it has not changed. One of several servers behind a name may have another etag for the same file."""
        if self.size != other.size:
            return False
        marks = [(self.etag, other.etag), (self.modified, other.modified)]
        known = [mine == its for mine, its in marks if mine and its]
        return any(known) or not known


@dataclass(frozen=True)
class Answer:
    """An answer of a server whose body has yet to be read."""

    body: IO[bytes]
    start: int  # of the body in the file
    remote: Remote


def is_address(text: str) -> bool:
    """Whether a source is an address that can be read from, and not the path of a file."""
    return bool(re.match(r"https?://", text, re.IGNORECASE))


def server_of(url: str) -> str:
    """The name of a server, to be shown."""
    return urlsplit(url).netloc.rpartition("@")[2] or url


def describe(url: str, stop: threading.Event | None = None) -> Remote:
    """Size and version of a file. Raises InputError, in one line, where it is not there or the server does not say."""

    def ask() -> Remote:
        try:
            info = _files().info(url)
        except FileNotFoundError as error:
            raise (error.__cause__ if isinstance(error.__cause__, Exception) else error) from None
        if info["size"] is None:
            raise InputError(f"{url}: the server does not say how large it is: download it by other means")
        return Remote(url, info["size"], info.get("ETag", ""), info.get("Last-Modified", ""))

    return patiently(url, ask, stop)


def read_piece(remote: Remote | str, start: int, end: int, stop: threading.Event | None = None) -> tuple[bytes, Remote]:
    """Bytes `start` to `end` of a file, the latter not included, fewer only where it ends, and what file it is.

    Raises InputError where the server gives no pieces, or another file than `remote`.
    """
    url = remote if isinstance(remote, str) else remote.url

    def ask() -> tuple[bytes, Remote]:
        with answer(url, start, end) as its:
            if its.start != start:
                raise InputError(f"{server_of(url)} gives whole files only, no pieces of {url}: download it first")
            if not isinstance(remote, str) and not remote.is_same(its.remote):
                raise InputError(f"{url} has changed while it was read: run the same command again")
            wanted = min(end, its.remote.size) - start
            data = bytearray()
            while len(data) < wanted and (chunk := its.body.read(min(CHUNK, wanted - len(data)))):
                data += chunk
            if len(data) < wanted:
                raise ConnectionError("the connection broke")
            return bytes(data), its.remote

    return patiently(url, ask, stop)


def read_json(url: str) -> Any | None:
    """What an address answers; None where there is nothing (404). Raises InputError for anything but JSON."""

    def ask() -> Any | None:
        try:
            return json.loads(_files().cat_file(url))
        except FileNotFoundError:
            return None
        except ValueError:
            raise InputError(f"{url} answers with something else than JSON: check base=") from None

    return patiently(url, ask)


@contextlib.contextmanager
def answer(url: str, start: int = 0, end: int | None = None) -> Iterator[Answer]:
    """The stream of a file from byte `start` (to `end`), or of all of it where the server gives no pieces.

    One attempt: raises what fsspec does.
    """
    headers = {"Accept-Encoding": "identity"}
    if start or end is not None:
        headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
    # a size, so that fsspec does not ask for it first
    stream: Any = _files().open(url, block_size=0, size=1, headers=headers)
    with stream as body:
        got = body.r.headers
        found = re.match(r"bytes (\d+)-\d+/(\d+)", got.get("Content-Range", "")) if body.r.status == 206 else None
        size = int(found[2]) if found else int(got.get("Content-Length", -1))
        remote = Remote(url, size, got.get("ETag", ""), got.get("Last-Modified", ""))
        yield Answer(body, int(found[1]) if found else 0, remote)


def patiently(
    url: str,
    attempt: Callable[[], Result],
    stop: threading.Event | None = None,
    gained: Callable[[], bool] = lambda: False,
) -> Result:
    """`attempt()`, again where what failed may pass: broken connections, no answer, a server that is busy.

    Pauses get longer, and are as long as the server says where it does (Retry-After); all threads that ask it wait.
    stop: set to end a pause. gained: whether the last attempt brought something, so that the count begins anew.
    Raises InputError, in one line, for the rest, and KeyboardInterrupt once stopped.
    """
    _require_no_login(url)
    failures = 0
    while True:
        _wait_turn(url, stop)
        try:
            return attempt()
        except InputError:
            raise
        except Exception as error:
            said, passing, asked = _meaning(error)
            failures = 1 if gained() else failures + 1
            if not passing:
                raise InputError(f"{url}: {said}") from None
            if failures >= ATTEMPTS or asked > LONGEST:
                waits = f"; it asks to wait {asked / 60:.0f} minutes" if asked > LONGEST else ""
                raise InputError(f"{url}: {said}{waits}: try again later, the same command goes on") from None
            pause = asked or PAUSE * 2 ** (failures - 1) * random.uniform(0.75, 1.25)
            if pause >= 1:
                log.warning("%s: %s; trying again in %.0f s", server_of(url), said, pause)
            _pause(url, pause)


def _wait_turn(url: str, stop: threading.Event | None) -> None:
    while True:
        if stop is not None and stop.is_set():
            raise KeyboardInterrupt
        with _turns:
            left = _not_before.get(server_of(url), 0.0) - time.monotonic()
        if left <= 0:
            return
        (stop or threading.Event()).wait(left)


def _pause(url: str, seconds: float) -> None:
    with _turns:
        until = time.monotonic() + seconds
        _not_before[server_of(url)] = max(until, _not_before.get(server_of(url), 0.0))


def _meaning(error: Exception) -> tuple[str, bool, float]:
    """What an error says to people, whether it may pass, and how many seconds the server asks to wait, or 0."""
    import asyncio

    import aiohttp

    if isinstance(error, FileNotFoundError):
        return "no such file on the server (404): correct the address", False, 0.0
    if isinstance(error, aiohttp.ClientResponseError):
        with contextlib.suppress(ValueError):
            said = f"the server answers {error.status} ({HTTPStatus(error.status).phrase})"
            return said, error.status in PASSING, _asked_for((error.headers or {}).get("Retry-After", ""))
        return f"the server answers {error.status}", False, 0.0
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "its certificate is not trusted here", False, 0.0
    if isinstance(error, aiohttp.InvalidURL):
        return "no address that can be asked: correct it", False, 0.0
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect ({error.os_error.strerror or error.os_error})", True, 0.0
    if isinstance(error, asyncio.TimeoutError | TimeoutError):
        return f"no answer for {SILENCE} s", True, 0.0
    if isinstance(error, aiohttp.ClientError | ConnectionError):
        return "the connection broke", True, 0.0
    raise error


def _asked_for(text: str) -> float:
    """Seconds that a Retry-After means: a number, or a date."""
    if text.strip().isdecimal():
        return float(text)
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0


def _require_no_login(url: str) -> None:
    if urlsplit(url).password is not None:
        raise InputError(f"an address with a password ({server_of(url)}): put it into ~/.netrc, from where it is read")


@cache
def _files() -> HTTPFileSystem:
    """fsspec's file system of addresses; made when first asked for, as it takes a moment to import."""
    import aiohttp
    from fsspec.implementations.http import HTTPFileSystem

    about = f"avocado/{avocado.__version__} (epigenome imputation)"
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=SILENCE)
    client = {"headers": {"User-Agent": about}, "timeout": timeout, "trust_env": True}  # proxies and ~/.netrc
    return HTTPFileSystem(client_kwargs=client, skip_instance_cache=True)
