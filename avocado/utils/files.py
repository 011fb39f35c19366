"""Files that are whole or absent: atomic writes, checksums, and locks between processes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import socket
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from avocado.errors import InputError

log = logging.getLogger(__name__)

POLL = 0.2  # seconds between two looks at a lock that another process holds


def sha256(path: Path) -> str:
    """Hex digest of a file, read to its end."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def temporary_name(path: Path, pid: int) -> Path:
    """What `replacing` calls the file until it is whole, in the process of that number on this host."""
    return path.with_name(f".{path.name}.{_host()}.{pid}.tmp")


@contextlib.contextmanager
def replacing(path: Path, what: Path | None = None) -> Iterator[Path]:
    """A temporary name beside `path`: renamed to it on success, removed on any failure or interrupt.

    Nobody ever sees a half-written file under its final name; what a killed process left of its own is removed when the
    next one writes into the folder. The file has the mode that new files have there, whoever writes it. A full disk or
    a missing permission becomes an InputError that names the file, or `what` it belongs to.
    """
    temporary = temporary_name(path, os.getpid())
    ours = {temporary, path, *path.parents}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers_once(path.parent.absolute())
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        if temporary.stat().st_mode != mode:  # some libraries write under names of their own, for their user alone
            temporary.chmod(mode)
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None and Path(error.filename) not in ours:
            raise
        raise InputError(f"cannot write {what or path}: {error.strerror or error}; nothing was left behind") from error
    finally:
        with contextlib.suppress(OSError):  # there is none after success, or where the place cannot hold a file
            temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files, and the locks of whole files, that killed processes of this host left in a folder."""
    with contextlib.suppress(OSError):  # there is no such folder, or it is not ours
        for entry in list(os.scandir(folder)):
            path = Path(entry.path)
            if found := re.fullmatch(rf"\..+\.{_host()}\.(\d+)\.tmp", entry.name):
                if not is_running(int(found[1])):
                    _remove(path)
            elif (found := re.fullmatch(r"\.(.+)\.lock", entry.name)) and path.with_name(found[1]).is_file():
                with locked(path, wait=False):  # which removes it
                    pass


def is_running(pid: int) -> bool:
    """Whether a process of this host has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@contextlib.contextmanager
def locked(
    file: Path, wait: bool = True, waiting: str = "", what: Path | None = None, remedy: str = "choose another place"
) -> Iterator[bool]:
    """Hold the lock `file`, made with its folder if need be. Yields False where another holds it, unless `wait`.

    waiting: logged if there is somebody to wait for. A killed process holds nothing. Some cluster file systems have no
    locks: a warning says so, and the file counts as locked. Raises InputError, with `what` it is for and the remedy,
    where the file cannot be written.
    """
    held, mine = FileLock(file), True
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=0)
        except Timeout:
            mine = wait
            if wait:
                if waiting:
                    log.warning(waiting)
                held.acquire(poll_interval=POLL)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise InputError(f"cannot write {what or file.parent}: {error.strerror or error}; {remedy}") from None
        log.warning("%s: this file system has no locks; do not start the same work twice at once", file)
    try:
        yield mine
    finally:
        if held.is_locked:
            _remove(file)  # while it is held: whoever waits for it makes a new one
        held.release()


@contextlib.contextmanager
def claimed(paths: Sequence[Path], wait: bool = False) -> Iterator[list[Path]]:
    """Those of the files that no other process has claimed; nobody else gets them as long as the context is open.

    wait: for all of them, until the others are done or gone. A claim is a lock on `.<name>.lock` beside the file.
    """
    with contextlib.ExitStack() as stack:
        mine = []
        for path in sorted(paths):  # in one order everywhere: no two processes wait for each other
            place = path.with_name(f".{path.name}.lock")
            if stack.enter_context(locked(place, wait, what=path)):
                mine.append(path)
        yield mine


_remove_leftovers_once = cache(remove_leftovers)


@cache
def _host() -> str:
    """Where the numbers of processes mean the same: the host, and on Linux its container."""
    try:
        container = os.readlink("/proc/self/ns/pid")
    except OSError:
        container = ""
    return hashlib.sha256(f"{socket.gethostname()} {container}".encode()).hexdigest()[:8]


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
