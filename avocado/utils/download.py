"""Whole files from other machines: interrupted downloads go on, and no file appears that is not whole and checked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

from avocado.errors import InputError
from avocado.utils.files import replacing
from avocado.utils.remote import CHUNK, Answer, Remote, answer, patiently

log = logging.getLogger(__name__)


def part_of(path: Path) -> Path:
    """Where a file is kept until it is whole."""
    return path.with_name(f".{path.name}.part")


def there_already(path: Path) -> int:
    """Bytes of a file that are on this disk, in its own name or in part."""
    for its in (path, part_of(path)):
        with contextlib.suppress(FileNotFoundError):
            return its.stat().st_size
    return 0


def download(
    url: str,
    path: Path,
    check: Callable[[Path], object],
    *,
    size: int | None = None,
    md5: str | None = None,
    stop: threading.Event | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Make the file of an address appear at `path`, whole and checked, or go on with what an earlier call began.

    check: called with the whole file before it gets its name; raises InputError where it is not what it should be.
    size: in bytes, and md5, where they are known from elsewhere. advance: told of every byte that comes, and of those
    that were there, and with a negative number of those that were thrown away. What was begun lies in `part_of(path)`.
    A file with another checksum is thrown away and got once more. Raises InputError, in one line, and KeyboardInterrupt
    once stopped.
    """
    part, note = part_of(path), part_of(path).with_suffix(".json")
    for last in (False, True):
        remote = _whole_part(url, part, note, size, stop, advance)
        problem = _problem(part, path, remote, size, md5, check)
        if not problem:
            break
        advance(-part.stat().st_size)
        part.unlink()
        if last:
            raise InputError(f"{url}: {problem}; nothing of it was kept")
        log.warning("%s: %s; getting it once more", url, problem)
    os.replace(part, path)
    note.unlink(missing_ok=True)


def _whole_part(
    url: str,
    part: Path,
    note: Path,
    size: int | None,
    stop: threading.Event | None,
    advance: Callable[[int], None],
) -> Remote:
    """Read until the part is as long as the file that the server has. What was read of another version is dropped."""
    noted = _noted(note, url)
    if part.exists():
        if noted is None:
            part.unlink()
        else:
            advance(part.stat().st_size)
    gained = 0

    def attempt() -> Remote:
        nonlocal gained, noted
        gained = 0
        done = part.stat().st_size if part.exists() else 0
        if noted is not None and done == noted.size:
            return noted
        with _restarting(part, done, advance), answer(url, done) as its:
            if its.remote.size < 0:
                raise InputError(f"{url}: the server does not say how large it is: download it by other means")
            if size is not None and its.remote.size != size:
                raise InputError(f"{url}: {its.remote.size:,} bytes there, {size:,} by the portal: try again later")
            if done and (its.start != done or noted is None or not its.remote.is_same(noted)):
                _drop(part, done, advance)
                if its.start:
                    raise ConnectionError("a piece of another version")
            noted = its.remote
            with replacing(note) as temporary:
                temporary.write_text(json.dumps(vars(noted)))
            with part.open("ab") as file:
                for chunk in _chunks(its):
                    if stop is not None and stop.is_set():
                        raise KeyboardInterrupt
                    file.write(chunk)
                    gained += len(chunk)
                    advance(len(chunk))
        if part.stat().st_size != noted.size:
            raise ConnectionError
        return noted

    try:
        return patiently(url, attempt, stop, lambda: gained >= CHUNK)
    except OSError as error:
        raise InputError(f"cannot write {part}: {error.strerror or error}; what is there is kept") from None


def _chunks(its: Answer) -> Iterator[bytes]:
    left = its.remote.size - its.start
    while left > 0 and (chunk := its.body.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


@contextlib.contextmanager
def _restarting(part: Path, done: int, advance: Callable[[int], None]) -> Iterator[None]:
    """Begins anew, with the next attempt, where the server's file now ends before what was read of it."""
    try:
        yield
    except Exception as error:
        if not done or getattr(error, "status", None) != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        _drop(part, done, advance)
        raise ConnectionError("a shorter version") from None


def _drop(part: Path, done: int, advance: Callable[[int], None]) -> None:
    part.unlink()
    advance(-done)


def _problem(
    part: Path, path: Path, remote: Remote, size: int | None, md5: str | None, check: Callable[[Path], object]
) -> str:
    """What is wrong with a whole part, or ''."""
    if md5 is not None:
        with part.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != md5:
            return f"its md5 checksum is {found}, that of the portal {md5}"
    try:
        check(part)
    except InputError as error:
        return str(error).replace(str(part), path.name)
    return ""


def _noted(note: Path, url: str) -> Remote | None:
    """What file a part is of; None where it is another address', or nothing says so."""
    try:
        remote = Remote(**json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return remote if remote.url == url else None
