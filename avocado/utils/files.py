"""Files that are whole or absent: atomic writes, checksums, and locks between processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from avocado.errors import InputError

log = logging.getLogger(__name__)


def sha256(path: Path) -> str:
    """Hex digest of a file, read to its end."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def temporary_name(path: Path, pid: int) -> Path:
    """What `replacing` calls the file until it is whole, in the process of that number."""
    return path.with_name(f".{path.name}.{pid}.tmp")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`: renamed to it on success, removed on any failure or interrupt.

    Nobody ever sees a half-written file under its final name. A full disk or a missing permission becomes an
    InputError that names the file.
    """
    temporary = temporary_name(path, os.getpid())
    ours = {temporary, path, *path.parents}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None and Path(error.filename) not in ours:
            raise
        raise InputError(f"cannot write {path}: {error.strerror or error}; nothing was left behind") from error
    finally:
        with contextlib.suppress(OSError):  # there is none after success, or where the place cannot hold a file
            temporary.unlink()


def lock(file: IO, wait: bool) -> bool:
    """Lock an open file for this process until it is closed. False where another process has it, unless `wait`.

    Some cluster file systems have no locks: a warning says so, and the file counts as locked.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        log.warning("%s: this file system has no locks; do not start the same work twice at once", file.name)
    return True


@contextlib.contextmanager
def claimed(paths: Sequence[Path], wait: bool = False) -> Iterator[list[Path]]:
    """Those of the files that no other process has claimed; nobody else gets them as long as the context is open.

    wait: for all of them, until the others are done or gone. A claim is a lock on `.<name>.lock` beside the file.
    """
    with contextlib.ExitStack() as stack:
        mine = []
        for path in sorted(paths):  # in one order everywhere: no two processes wait for each other
            place = path.with_name(f".{path.name}.lock")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                while True:
                    file = place.open("w")
                    stack.callback(file.close)
                    if not lock(file, wait):
                        break
                    if os.fstat(file.fileno()).st_nlink:
                        stack.callback(_remove, place)
                        mine.append(path)
                        break
                    # who had it has removed it meanwhile: this one is nobody's any more
            except OSError as error:
                raise InputError(f"cannot write {path}: {error.strerror or error}") from None
        yield mine


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
