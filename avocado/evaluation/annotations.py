"""Genes, enhancers, peaks and blacklists: annotation files → places of a region, for scores and downstream work.

Files are plain or gzipped, and are read as intervals in bp, 0-based and half-open. Of a genome with more chromosomes
than the assembly (chrM, unplaced contigs) the others are skipped; a file that shares no chromosome name with the
assembly, or goes beyond a chromosome's end, is of another assembly and refused.

Places are given as ranks among the bins of a `genome.Region`, which a track's array is indexed by. What lies outside
the region's segments is left out: a window over a segment's border is cut there.
"""

from __future__ import annotations

import gzip
import logging
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avocado.data.genome import BIN_SIZE, Assembly, Region, spelling_hint
from avocado.errors import InputError
from avocado.evaluation.metrics import AnnotationWindows

log = logging.getLogger(__name__)

PROMOTER_BINS = 80  # 2 kb upstream of the transcription start site (Avocado paper, Methods)
WINDOWS = ("avocado", "challenge")  # whose promoters: with the bin of the TSS, or without it


@dataclass(frozen=True)
class Intervals:
    """Intervals of the genome, in the order of their file; `len` is their number."""

    chrom: np.ndarray  # str (n,)
    start: np.ndarray  # int64 (n,), bp
    end: np.ndarray  # int64 (n,), bp, the first base behind the interval
    name: np.ndarray  # str (n,): gene name or column 4 of a BED file, '' where there is none
    forward: np.ndarray  # bool (n,): False on the minus strand

    def __len__(self) -> int:
        return len(self.chrom)


def read_genes(path: str | Path, assembly: Assembly, gene_type: str | None = "protein_coding") -> Intervals:
    """Genes of a GTF file (its `gene` lines of that `gene_type`; None: of all) or of a BED file with strands (BED6).

    A BED file does not say what type its genes are: all of them are taken. Raises InputError for a missing or damaged
    file, one of another assembly, one without genes, and genes without a strand.
    """
    path, rows, types = Path(path), [], set()
    for number, fields in _lines(path):
        is_gtf = len(fields) >= 9 and not fields[1].isdigit()
        if is_gtf:
            if fields[2] != "gene":
                continue
            found = re.search(r'gene_(?:bio)?type "([^"]*)"', fields[8])
            types.add(found[1] if found else "of unknown type")
            if gene_type is not None and (found is None or found[1] != gene_type):
                continue
            label = re.search(r'gene_name "([^"]*)"', fields[8]) or re.search(r'gene_id "([^"]*)"', fields[8])
            # GTF counts from 1 and includes the end
            start, end, strand = int(fields[3]) - 1, int(fields[4]), fields[6]
            name = label[1] if label else ""
        else:
            start, end = int(fields[1]), int(fields[2])
            name, strand = fields[3] if len(fields) > 3 else "", fields[5] if len(fields) > 5 else "."
        if strand not in ("+", "-"):
            raise InputError(f"{path} line {number}: a gene needs its strand, + or -: give a GTF or a BED6 file")
        rows.append((number, fields[0], start, end, name, strand))
    if not rows:
        known = f" of type {gene_type} (it has: {', '.join(sorted(types))})" if types else ""
        raise InputError(f"{path}: no genes{known} in it; give a GTF with gene lines, or a BED6 file")
    return _intervals(path, rows, assembly)


def read_intervals(path: str | Path, assembly: Assembly) -> Intervals:
    """Intervals of a BED file of any number of columns: enhancers (BED12), peak calls (narrowPeak), a blacklist.

    The blocks and the `thick` part of BED12 are not used. Raises InputError for a missing or damaged file and for one
    of another assembly. A file without intervals is fine: there are tracks without a peak.
    """
    rows = []
    for number, fields in _lines(Path(path)):
        if not fields[1].isdigit():
            raise InputError(f"{path} line {number}: this looks like a GTF file; a BED file is wanted here")
        name, strand = fields[3] if len(fields) > 3 else "", fields[5] if len(fields) > 5 else "."
        rows.append((number, fields[0], int(fields[1]), int(fields[2]), name, strand))
    return _intervals(Path(path), rows, assembly)


def promoter_bins(genes: Intervals, windows: str = "avocado") -> np.ndarray:
    """Bins [first, last) of their chromosome, int (n_genes, 2), of the 2 kb before each gene's start; may be negative.

    With s = start // 25 and e = end // 25 + 1, 'avocado' has bins s−80 .. s on the plus and e .. e+80 on the minus
    strand: 81 bins, the paper's. 'challenge', as in the ENCODE Imputation Challenge, has s−80 .. s−1 and e .. e+79.
    """
    _require_known(windows)
    tss_bin = 1 if windows == "avocado" else 0
    first = np.where(genes.forward, genes.start // BIN_SIZE - PROMOTER_BINS, genes.end // BIN_SIZE + 1)
    return np.stack([first, first + PROMOTER_BINS + tss_bin], axis=1)


def body_bins(intervals: Intervals) -> np.ndarray:
    """Bins [first, last) of their chromosome, int (n, 2): start // 25 to end // 25, both included.

    What both the Avocado paper's and the ENCODE Imputation Challenge's scores call a gene body and an enhancer. It is
    one bin more than the interval touches where its end is a multiple of 25.
    """
    return np.stack([intervals.start // BIN_SIZE, intervals.end // BIN_SIZE + 1], axis=1)


def touched_bins(intervals: Intervals) -> np.ndarray:
    """Bins [first, last) of their chromosome, int (n, 2), that the intervals touch with a base at least."""
    return np.stack([intervals.start // BIN_SIZE, -(-intervals.end // BIN_SIZE)], axis=1)


def region_windows(region: Region, chrom: np.ndarray, bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts of chromosome bins [first, last) that lie in a region: their ranks, and which of the `bins` each is of.

    chrom (n,) and bins (n, 2) go in; int (m, 2) ranks [start, end) and int (m,) come out, in the order of `bins`. A
    window outside the region has no part in it, and one that reaches into several segments a part in each.
    """
    parts, sources = [np.zeros((0, 2), dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    on = {name: np.flatnonzero(chrom == name) for name in {segment.chrom for segment in region.segments}}
    for segment, rank, _ in region.walk():
        rows = on[segment.chrom]
        part = np.clip(bins[rows], segment.start, segment.end)
        inside = part[:, 0] < part[:, 1]
        parts.append(part[inside] - segment.start + rank)
        sources.append(rows[inside])
    ranks, source = np.concatenate(parts), np.concatenate(sources)
    order = np.argsort(source, kind="stable")
    return ranks[order], source[order]


def region_mask(region: Region, intervals: Intervals) -> np.ndarray:
    """Bool (n_bins,): the region's bins that some interval touches with a base at least."""
    mask = np.zeros(region.n_bins, dtype=bool)
    for start, end in region_windows(region, intervals.chrom, touched_bins(intervals))[0]:
        mask[start:end] = True
    return mask


def loci_of(
    region: Region,
    genes: Intervals | None = None,
    enhancers: Intervals | None = None,
    blacklist: Intervals | None = None,
    windows: str = "avocado",
) -> AnnotationWindows:
    """The places of a region for `metrics.score_track`; `windows` as in `promoter_bins`.

    Bins that the blacklist touches are left out of every score. Logs a warning where there are genes or enhancers, but
    none in the region. Raises InputError for unknown `windows` and where the blacklist leaves no bins.
    """
    _require_known(windows)
    promoters = bodies = enhanced = kept = None
    if genes is not None:
        promoters = region_windows(region, genes.chrom, promoter_bins(genes, windows))[0]
        bodies = region_windows(region, genes.chrom, body_bins(genes))[0]
    if enhancers is not None:
        enhanced = region_windows(region, enhancers.chrom, body_bins(enhancers))[0]
    for what, places in (("gene", bodies), ("enhancer", enhanced)):
        if places is not None and not len(places):
            log.warning("no %s lies in region %s: its score is undefined there", what, region.name)
    if blacklist is not None:
        kept = ~region_mask(region, blacklist)
        if not kept.any():
            raise InputError(f"the blacklist covers all of region {region.name}: there is nothing left to score")
    return AnnotationWindows(promoters, bodies, enhanced, kept=kept)


def read_peaks(path: str | Path, assembly: Assembly, region: Region) -> np.ndarray:
    """Bool (n_bins,): the region's bins that a peak of a narrowPeak or BED file touches, as Ernst and Kellis count."""
    return region_mask(region, read_intervals(path, assembly))


def _require_known(windows: str) -> None:
    if windows not in WINDOWS:
        raise InputError(f"unknown windows '{windows}'; there is: {', '.join(WINDOWS)}")


def _intervals(path: Path, rows: list[tuple[int, str, int, int, str, str]], assembly: Assembly) -> Intervals:
    """The rows (line number, chrom, start, end, name, strand) on the assembly's chromosomes."""
    kept = [row for row in rows if row[1] in assembly.sizes]
    if rows and not kept:
        chrom = rows[0][1]
        raise InputError(
            f"{path} and assembly {assembly.name} have no chromosome in common: it has '{chrom}'"
            f"{spelling_hint(chrom, assembly.sizes)}, the assembly {', '.join(list(assembly.sizes)[:3])}, ..."
        )
    for number, chrom, start, end, _, _ in kept:
        if not start < end:
            raise InputError(f"{path} line {number}: {chrom}:{start}-{end} is empty; correct or remove it")
        if end > assembly.sizes[chrom]:
            raise InputError(
                f"{path} line {number}: {chrom}:{start}-{end} is beyond the end of {chrom} in {assembly.name} "
                f"({assembly.sizes[chrom]:,} bp): the file is of another assembly; give one of {assembly.name}"
            )
    _, chroms, starts, ends, names, strands = zip(*kept, strict=True) if kept else [()] * 6
    return Intervals(
        np.array(chroms, dtype=str),
        np.array(starts, dtype=np.int64),
        np.array(ends, dtype=np.int64),
        np.array(names, dtype=str),
        np.array([strand != "-" for strand in strands], dtype=bool),
    )


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number from 1 and fields of every data line, which has three of them at least."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rt", errors="replace") if zipped else path.open(errors="replace") as file:
            for number, line in enumerate(file, 1):
                if not line.strip() or line.startswith(("#", "track", "browser")):
                    continue
                fields = line.rstrip("\r\n").split("\t" if "\t" in line else None)
                interval = fields[3:5] if len(fields) >= 9 and not fields[1].isdigit() else fields[1:3]
                if len(interval) < 2 or not all(text.isdigit() for text in interval):
                    raise InputError(f"{path} line {number}: neither BED (chromosome, start, end) nor GTF")
                yield number, fields
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct its path") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}): get it again, or check its permissions") from None
