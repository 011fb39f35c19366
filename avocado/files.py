"""Files that are whole or absent: atomic writes and checksums."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from avocado.errors import InputError


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
