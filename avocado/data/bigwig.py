"""bigWig files: check, read 25-bp bins, write. The only file that knows pyBigWig.

One rule for gaps: a base without a value, or with NaN, counts as 0, and *then* the mean of a bin's 25 bases is taken
(the original program's order). `stats()` of pyBigWig divides by the covered bases only, and is slow; it is not used.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyBigWig

from avocado.data.genome import BIN_SIZE, Assembly, Region, Segment, same_sizes
from avocado.errors import InputError
from avocado.utils.provenance import Made, recorded

log = logging.getLogger(__name__)

READ_BINS = 100_000  # bins read at a time: 2.5 Mb, 10 MB of bases
WRITE_BINS = 1_000_000  # bins written at a time
EXACT = 10_000_000  # bp of which maxima are taken from the values themselves
SPARE_BYTES = 64 << 20  # disk space that must stay free while writing

MAGIC = b"\x26\xfc\x8f\x88"
FOREIGN = {
    MAGIC[::-1]: "a big-endian bigWig, which is not supported: write it again on a current machine",
    b"\xeb\xf2\x89\x87": "a bigBed file: give the bigWig of the signal, not the peaks",
    b"\x1f\x8b": "a gzip file: decompress it, and if it holds text, convert it with bedGraphToBigWig",
    b"PK\x03\x04": "a zip or .npz file: correct its name",
    b"\x93NUMPY": "a NumPy array: name it .npy",
}


def check_bigwig(path: str | Path, assembly: Assembly, regions: Iterable[Region]) -> list[str]:
    """Check that a bigWig is whole and has the chromosomes of `regions` at the assembly's sizes.

    Reads headers only. Returns warnings (usually none). Raises InputError, one line that names the file and a
    remedy: missing, unreadable, not a bigWig, truncated, other chromosome names, another assembly.
    """
    path = Path(path)
    warnings = _check_structure(path)
    with _open(path) as file:
        sizes: dict[str, int] = file.chroms()
    for chrom in dict.fromkeys(segment.chrom for region in regions for segment in region.segments):
        if chrom not in sizes:
            raise InputError(_missing_chromosome(path, chrom, sizes, assembly))
        if sizes[chrom] != assembly.size(chrom):
            fits = same_sizes(sizes)
            fitting = f"it fits {fits}: give assembly={fits}, or a model of {fits}"
            remedy = fitting if fits else "give assembly=<its chrom.sizes file>"
            raise InputError(
                f"{path} is not of assembly {assembly.name}: {chrom} has {sizes[chrom]:,} bp in the file and "
                f"{assembly.size(chrom):,} bp in the assembly; {remedy}"
            )
    return warnings


def chromosomes(path: str | Path) -> dict[str, int]:
    """Chromosome sizes in bp, in the order of the file. Raises InputError for anything but a whole bigWig."""
    path = Path(path)
    _check_structure(path)
    with _open(path) as file:
        return dict(file.chroms())


def read_bins(path: str | Path, segments: Iterable[Segment], warn: Callable[[str], None] = log.warning) -> np.ndarray:
    """Mean signal of the 25-bp bins of `segments`, one after the other: float32 (n_bins,), as stored (−log10 p).

    Bases without a value and NaN count as 0. Raises InputError, with the position, for infinite values and where
    the file is damaged. Calls `warn` where intervals of the file overlap: the last one counts there. Opens the
    file anew, as a handle must not be shared between processes.
    """
    path, segments = Path(path), tuple(segments)
    overlapping = None
    bins = np.empty(sum(segment.n_bins for segment in segments), dtype=np.float32)
    done = 0
    with _open(path) as file:
        for segment in segments:
            for first in range(segment.start, segment.end, READ_BINS):
                last = min(first + READ_BINS, segment.end)
                chunk = Segment(segment.chrom, first, last)
                bins[done : done + last - first], n_covered = _read_chunk(path, file, chunk)
                overlapping = overlapping or _overlap(file, chunk, n_covered)
                done += last - first
    if overlapping:
        warn(f"{path}: intervals overlap, first at {overlapping}, where the last one counts: have the file made anew")
    return bins


def moments(path: str | Path) -> tuple[float, float]:
    """Mean and standard deviation of the bases that have a value, from the header; (0, 0) where none has."""
    with _open(Path(path)) as file:
        header = file.header()
    n = header["nBasesCovered"]
    mean = header["sumData"] / n if n else 0.0
    return mean, max(0.0, header["sumSquared"] / n - mean**2) ** 0.5 if n else 0.0


def maxima(path: str | Path, chrom: str, start: int, end: int, n: int) -> np.ndarray:
    """Highest value in each of `n` equal parts of bp [start, end): float64 (n,), NaN where there is no value.

    Of more than 10 Mb it is what zoom levels say, which reach a little over the parts' ends. Raises InputError for a
    damaged file.
    """
    with _open(Path(path)) as file:
        try:
            highest = file.stats(chrom, start, end, type="max", nBins=n, exact=end - start <= EXACT)
        except RuntimeError:
            raise InputError(_damaged(Path(path), f"{chrom}:{start}-{end}")) from None
    return np.array(highest, dtype=np.float64)  # None becomes NaN


@contextlib.contextmanager
def bigwig_writer(
    path: str | Path, assembly: Assembly, decimals: int | None = None, made: Made | None = None
) -> Iterator[Callable[[Segment, np.ndarray], None]]:
    """A bigWig with zoom levels, written piece by piece: yields `add(segment, values)`, values (n_bins,) in any unit.

    decimals: that values are rounded to, which makes the file smaller. made: what its record says (`provenance`).

    The header has all chromosomes of the assembly. Pieces must come in the assembly's order and not overlap. A last
    bin that overhangs its chromosome is clipped to it. The file appears under its name when the context ends without
    an error. Raises InputError for NaN, infinite values and a full disk, ValueError for pieces out of order or of the
    wrong shape; nothing is left behind.
    """
    path = Path(path)
    rank = {chrom: number for number, chrom in enumerate(assembly.sizes)}
    with recorded(path, made) as temporary:
        file = pyBigWig.open(str(temporary), "w")
        end = (-1, 0)

        def add(segment: Segment, values: np.ndarray) -> None:
            nonlocal end
            _check_piece(assembly, segment, values)
            if (rank[segment.chrom], segment.start) < end:
                raise ValueError(f"pieces must be in the order of {assembly.name} without overlaps, got {segment}")
            end = (rank[segment.chrom], segment.end)
            for first in range(0, segment.n_bins, WRITE_BINS):
                chunk = Segment(
                    segment.chrom, segment.start + first, min(segment.start + first + WRITE_BINS, segment.end)
                )
                _require_space(temporary, chunk.n_bins)
                part = values[first : first + chunk.n_bins]
                _write_chunk(path, file, assembly, chunk, part if decimals is None else np.round(part, decimals))

        with file:
            file.addHeader(list(assembly.sizes.items()))
            yield add
        try:
            incomplete = bool(_check_structure(temporary))
        except InputError:
            incomplete = True
        if incomplete:  # pyBigWig only prints to the terminal when the disk fills up
            raise InputError(f"cannot write {path}: the disk may be full; nothing was left behind")


def write_bigwig(path: str | Path, assembly: Assembly, pieces: Iterable[tuple[Segment, np.ndarray]]) -> None:
    """Write (segment, values) pieces, consumed one at a time, as a bigWig; see `bigwig_writer`."""
    with bigwig_writer(path, assembly) as add:
        for segment, values in pieces:
            add(segment, values)


def write_intervals(
    path: Path, sizes: Mapping[str, int], intervals: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> None:
    """A bigWig of variable resolution, as peak callers write them.

    sizes: chromosome sizes in bp, in the order of the file. intervals: for each chromosome starts and ends in bp,
    sorted and disjoint, and values without NaN, each (n,).
    """
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(sizes.items()), maxZooms=4)
        for chrom in sizes:
            starts, ends, values = intervals[chrom]
            file.addEntries(np.full(len(starts), chrom), starts, ends=ends, values=values)


def _check_structure(path: Path) -> list[str]:
    """Check magic bytes and that every offset of the headers lies inside the file; pyBigWig does neither."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
            _check_magic(path, head)
            if len(head) < 64:
                raise InputError(_truncated(path))
            n_zooms, tree, data, index, summary = struct.unpack("<6xHQQQ12xQ12x", head)
            zooms = file.read(24 * n_zooms)
            if len(zooms) < 24 * n_zooms:
                raise InputError(_truncated(path))
            indices = [index]
            for zoom_data, zoom_index in struct.iter_unpack("<8xQQ", zooms):
                data = max(data, zoom_data)
                indices.append(zoom_index)
            if max(tree + 32, data + 4, summary + 40 * (summary > 0), max(indices) + 48) > size:
                raise InputError(_truncated(path))
            for offset in indices:
                file.seek(offset + 32)
                (end,) = struct.unpack("<Q", file.read(8))  # where the R-tree's data end
                if end > size:
                    raise InputError(_truncated(path))
            file.seek(-4, os.SEEK_END)
            if file.read(4) != MAGIC:
                return ["no end mark: written by an old program, or truncated in its zoom levels"]
    except FileNotFoundError:
        hint = (
            "; of addresses only http:// and https:// are read: download it first"
            if ":/" in str(path)
            else "; correct its path"
        )
        raise InputError(f"{path}: no such file{hint}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a directory: give the bigWig file in it") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check its permissions") from None
    return []


def _check_magic(path: Path, head: bytes) -> None:
    if head.startswith(MAGIC):
        return
    if not head:
        raise InputError(f"{path} is empty: get it again")
    what = next((what for magic, what in FOREIGN.items() if head.startswith(magic)), None)
    if what is None and all(byte in b"\t\n\r" or byte >= 32 for byte in head):
        what = "a text file: convert it with bedGraphToBigWig or wigToBigWig; if it is an error page, download it again"
    raise InputError(f"{path} is not a bigWig but {what or 'something unknown: get it again'}")


def _truncated(path: Path) -> str:
    return f"{path} is truncated: get it again, and compare its size or checksum with the source's"


def _damaged(path: Path, place: str) -> str:
    return f"{path} is truncated or damaged (reading {place} failed): get it again, or leave the track out"


def _missing_chromosome(path: Path, chrom: str, sizes: dict[str, int], assembly: Assembly) -> str:
    other = chrom.removeprefix("chr") if chrom.startswith("chr") else f"chr{chrom}"
    if other in sizes:
        return (
            f"{path} names its chromosomes otherwise than assembly {assembly.name}: '{other}', not '{chrom}'; "
            "give assembly=<a chrom.sizes file with the file's names>, or rename them in the file"
        )
    known = ", ".join(list(sizes)[:5]) + (", ..." if len(sizes) > 5 else "")
    return f"{path} has no chromosome '{chrom}' (it has: {known}); leave out the chromosome or the track"


def _open(path: Path):  # -> pyBigWig's handle, which has no type to name
    try:
        return pyBigWig.open(str(path))
    except RuntimeError:
        raise InputError(_damaged(path, "its header")) from None


def _overlap(file, chunk: Segment, n_covered: int) -> str | None:
    """Where two intervals of a chunk overlap, if any do. n_covered: bases of the chunk that have a value."""
    start, end = chunk.start * BIN_SIZE, chunk.end * BIN_SIZE
    # the sum of the intervals' lengths costs next to nothing, the intervals themselves more than reading the signal
    covered = file.stats(chunk.chrom, start, end, type="coverage", exact=True)[0] or 0
    if round(covered * (end - start)) <= n_covered:
        return None
    reached = 0
    for first, last, _ in sorted(its for its in file.intervals(chunk.chrom, start, end) if not np.isnan(its[2])):
        if first < reached:
            return f"{chunk.chrom}:{first + 1:,}"
        reached = last
    return None


def _read_chunk(path: Path, file, chunk: Segment) -> tuple[np.ndarray, int]:
    """Mean of each bin, float64 (n_bins,), and the number of bases that have a value."""
    start, end = chunk.start * BIN_SIZE, chunk.end * BIN_SIZE
    try:
        bases = file.values(chunk.chrom, start, end, numpy=True)
    except RuntimeError:
        raise InputError(_damaged(path, f"{chunk.chrom}:{start}-{end}")) from None
    if len(bases) == 0:  # what pyBigWig gives for a file without any value
        return np.zeros(chunk.n_bins), 0
    missing = np.isnan(bases)
    bases[missing] = 0
    infinite = np.isinf(bases)
    if infinite.any():
        place = start + int(infinite.argmax())
        raise InputError(
            f"{path} has an infinite value at {chunk.chrom}:{place}: cap such values, or leave the track out"
        )
    # float64, as a sum of 25 float32 may overflow
    return bases.reshape(-1, BIN_SIZE).mean(axis=1, dtype=np.float64), int(np.count_nonzero(~missing))


def _check_piece(assembly: Assembly, segment: Segment, values: np.ndarray) -> None:
    size = assembly.size(segment.chrom)
    if not 0 <= segment.start < segment.end or (segment.end - 1) * BIN_SIZE >= size:
        raise ValueError(f"{segment} is empty or outside {segment.chrom}, which has {size:,} bp")
    if values.shape != (segment.n_bins,):
        raise ValueError(f"values of shape {values.shape} for {segment}, which has {segment.n_bins:,} bins")


def _require_space(temporary: Path, n_bins: int) -> None:
    """Raise the operating system's 'disk full' while there is some space left: pyBigWig aborts the process."""
    if shutil.disk_usage(temporary.parent).free < SPARE_BYTES + 8 * n_bins:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(temporary))


def _write_chunk(path: Path, file, assembly: Assembly, chunk: Segment, values: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, dtype=np.float32)
    bad = ~np.isfinite(values)
    if bad.any():
        place = (chunk.start + int(bad.argmax())) * BIN_SIZE
        raise InputError(f"cannot write {path}: the signal at {chunk.chrom}:{place} is NaN or infinite")
    size = assembly.size(chunk.chrom)
    overhang = chunk.end * BIN_SIZE > size
    whole = chunk.n_bins - overhang
    if whole:
        file.addEntries(chunk.chrom, chunk.start * BIN_SIZE, values=values[:whole], span=BIN_SIZE, step=BIN_SIZE)
    if overhang:
        start = (chunk.end - 1) * BIN_SIZE
        file.addEntries([chunk.chrom], [start], ends=[size], values=[float(values[-1])])
