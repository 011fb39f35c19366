"""What made a file: a small hidden record beside it, so that another run's file is never taken for one's own.

The record of `track.bw` is `.track.bw.json`. It holds a fingerprint of the file and what decided its content. A file
without a record, or with that of a file that was replaced since, is foreign.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avocado.errors import InputError
from avocado.utils.files import replacing
from avocado.utils.settings import changes, flat

ENDS = 4096  # bytes


@dataclass(frozen=True)
class Made:
    """What decides a file's content, plain values, and the model directory or store that it was made from."""

    by: Mapping[str, Any]
    source: Path


def fingerprint(path: Path) -> str:
    """16 hex digits over the size of a file and both its ends: large files are not read through.

    The ends of a bigWig hold its sums and zoom levels, those of an .npz the checksums of its arrays.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.sha256(str(size).encode())
        for start in (0, max(0, size - ENDS)):
            file.seek(start)
            digest.update(file.read(ENDS))
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def recorded(path: Path, made: Made | None) -> Iterator[Path]:
    """`files.replacing` with a record, which is there when the file appears."""
    with replacing(path) as temporary:
        yield temporary
        if made is not None:
            content = {"made": made.by, "source": _source(path, made), "fingerprint": fingerprint(temporary)}
            with replacing(_record(path), path) as record:
                record.write_text(json.dumps(content, indent=1))


def is_there(path: Path, made: Made, remedy: str, renew: bool = False) -> bool:
    """Whether a file is there and was made by just this.

    Raises InputError, with the remedy, for one that was made otherwise. renew: not for one that was made from the same
    model directory, as it was at another time or with other settings: that is to be made again.
    """
    if not path.exists():
        return False
    content = _read(path)
    if content is None:
        raise InputError(f"{path} is there, and nothing says that it was made by this command: {remedy}")
    now = json.loads(json.dumps(made.by))
    if changed := changes(flat(content["made"]), flat(now)):
        if renew and content["source"] == _source(path, made):
            return False
        raise InputError(f"{path} is there and was made otherwise ({'; '.join(changed[:3])}): {remedy}")
    return True


def require_source(path: Path, source: Path, remedy: str) -> None:
    """Raise InputError, with the remedy, for a file that is there and was not made from this model directory."""
    content = _read(path)
    if path.exists() and (content is None or content["source"] != _source(path, Made({}, source))):
        made = f"made from {content['source']}" if content else "nothing says that it was made by this command"
        raise InputError(f"{path} is there, and {made}: {remedy}")


def _source(path: Path, made: Made) -> str:
    """As seen from the file, so that it holds when both are moved."""
    return os.path.relpath(made.source.resolve(), path.parent.resolve())


def _record(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")


def _read(path: Path) -> dict[str, Any] | None:
    """The record of a file; None where there is none, or it is not this file's."""
    try:
        content = json.loads(_record(path).read_text())
        return content if content["fingerprint"] == fingerprint(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
