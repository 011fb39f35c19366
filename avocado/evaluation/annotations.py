"""Genes, enhancers, peaks and blacklists → places of a region, for scores and downstream work.

Places are given as ranks among the bins of a `genome.Region`, which a track's array is indexed by. What lies outside
the region's segments is left out: a window over a segment's border is cut there.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from avocado.data.genome import BIN_SIZE, Assembly, Region
from avocado.data.intervals import Intervals, read_intervals
from avocado.errors import InputError
from avocado.evaluation.metrics import AnnotationWindows

log = logging.getLogger(__name__)

PROMOTER_BINS = 80  # 2 kb upstream of the transcription start site (Avocado paper, Methods)
WINDOWS = ("avocado", "challenge")  # whose promoters: with the bin of the TSS, or without it


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
