"""bigWig files on other machines: only those pieces of them are read that a region needs.

They are put at their places into a file of the same size that is empty elsewhere and takes up no more disk space than
they do; everything that reads a bigWig reads that one. Which pieces these are says the file's index: an R-tree of the
stretches of its chromosomes (Kent et al. 2010, Bioinformatics 26:2204, supplement).
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from avocado.data.bigwig import MAGIC, chromosomes
from avocado.data.genome import BIN_SIZE, Segment
from avocado.errors import InputError
from avocado.utils.provenance import ENDS
from avocado.utils.remote import Remote, read_piece
from avocado.utils.workers import in_threads

HEAD = 1 << 16  # bytes that are read first: header and, but for assemblies of many scaffolds, the chromosomes
GAP = 1 << 16  # bytes that are read along rather than asked for around
PIECE = 8 << 20  # bytes of one request at most
CONNECTIONS = 2  # at once, of each process
INDEX_HEAD = 48  # bytes
MOST_CHILDREN = 1 << 15  # of a node of the index; known programs write 256 at most

Span = tuple[int, int]  # of bytes: start, and end, which is not included
Place = tuple[int, int, int]  # number of a chromosome in the file, start and end in bp


@dataclass(frozen=True)
class PartialCopy:
    """A file with the size of a remote one and some of its pieces, at their places."""

    path: Path
    remote: Remote
    _write: Callable[[Iterable[Span]], None]

    def add(self, segments: Sequence[Segment]) -> None:
        """Read all that the bins of `segments` need; of chromosomes that the file lacks, nothing."""
        number = {chrom: index for index, chrom in enumerate(chromosomes(self.path))}
        places = [
            (number[its.chrom], its.start * BIN_SIZE, its.end * BIN_SIZE) for its in segments if its.chrom in number
        ]
        try:
            with self.path.open("rb", buffering=0) as file:  # which is written to meanwhile
                self._write(list(self._data(file, places)))
        except struct.error:
            raise InputError(f"{self.path} is truncated or damaged in its index: get it again") from None

    def _data(self, file: IO[bytes], places: Sequence[Place]) -> Iterator[Span]:
        """Where the data of these places are: the index is read from its root down, only where it leads to them."""
        file.seek(24)  # in the header: where the index is
        (index,) = struct.unpack("<Q", file.read(8))
        file.seek(index + 4)
        (n_children,) = struct.unpack("<I", file.read(4))
        if n_children > MOST_CHILDREN:
            raise InputError(f"{self.path} is damaged: its index has {n_children:,} branches at a node: get it again")
        nodes, seen = {index + INDEX_HEAD}, set()
        while nodes:
            self._write([(node, node + 4 + 32 * n_children) for node in nodes])
            found = [child for node in sorted(nodes) for child in _children(file, node, places)]
            yield from ((start, start + size) for start, size in found if size is not None)
            seen |= nodes
            nodes = {start for start, size in found if size is None} - seen


@contextlib.contextmanager
def partial_copy(
    source: Remote | str, folder: Path | None = None, stop: threading.Event | None = None
) -> Iterator[PartialCopy]:
    """The headers of a remote bigWig as a file, to which `add` adds signal; gone when the context ends.

    source: an address, or what is known of the file there, which must be the same now. folder: where it is kept.
    stop: ends a pause between two attempts. Raises InputError, in one line, for what cannot be read; whether it is a
    bigWig at all, what reads the copy finds out.
    """
    url = source if isinstance(source, str) else source.url
    head, remote = read_piece(source, 0, HEAD, stop)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".remote-") as home, _named(url, Path(home)) as path:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.truncate(descriptor, remote.size)
            _put(descriptor, path, 0, head)

            def write(spans: Iterable[Span]) -> None:
                def get(span: Span, stop: threading.Event) -> None:
                    _put(descriptor, path, span[0], read_piece(remote, *span, stop)[0])

                for _ in in_threads(get, pieces(spans, remote.size), CONNECTIONS):
                    pass

            if len(head) >= 64 and head.startswith(MAGIC):
                data, index = struct.unpack("<QQ", head[16:32])
                wanted = [(HEAD, data), (index, index + INDEX_HEAD), (max(0, remote.size - ENDS), remote.size)]
                write([(start, min(end, remote.size)) for start, end in wanted if start < min(end, remote.size)])
            yield PartialCopy(path, remote, write)
        finally:
            os.close(descriptor)


def pieces(spans: Iterable[Span], size: int) -> list[Span]:
    """What to ask for to have these spans of a file of `size` bytes: near ones together, long ones in pieces."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1] + GAP:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return [
        (first, min(first + PIECE, end, size)) for start, end in merged for first in range(start, min(end, size), PIECE)
    ]


def _children(file: IO[bytes], node: int, places: Sequence[Place]) -> Iterator[tuple[int, int | None]]:
    """The children of a node that may hold one of the places: where they are, and the size of data, None for a node."""
    file.seek(node)
    is_leaf, count = struct.unpack("<BxH", file.read(4))
    layout = "<IIIIQQ" if is_leaf else "<IIIIQ"
    for first_chrom, start, last_chrom, end, offset, *size in struct.iter_unpack(
        layout, file.read(count * struct.calcsize(layout))
    ):
        # as one line of all chromosomes; touching counts, so that never less is read than whoever reads the copy needs
        if any((first_chrom, start) <= (its[0], its[2]) and its[:2] <= (last_chrom, end) for its in places):
            yield offset, size[0] if size else None


def _put(descriptor: int, path: Path, start: int, data: bytes) -> None:
    try:
        while data:
            written = os.pwrite(descriptor, data, start)
            start, data = start + written, data[written:]
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; pieces of a remote file need disk space") from None


@contextlib.contextmanager
def _named(url: str, home: Path) -> Iterator[Path]:
    """A path in `home`, which errors call by the address."""
    path = home / "remote.bw"
    try:
        yield path
    except InputError as error:
        raise InputError(str(error).replace(str(path), url)) from None
