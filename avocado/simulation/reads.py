"""Sequencing of simulated tracks: reads, their pile-up, its score, and what to expect of it.

Reads are drawn from simulated chromatin (see `chromatin.py`), piled up, and turned into −log10 p as MACS2 does it:
the chance that a Poisson background of the track's mean coverage piles up more reads. Noise, depth, runs of constant
value and gaps of the bigWig files therefore look like those of a real compendium.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import convolve1d
from scipy.special import gammainc, gammaln

from avocado.data.genome import BIN_SIZE
from avocado.simulation.chromatin import Chromatin

FRAGMENT = {"DNase": 100}  # bp that a read is extended to; 200 in the ChIP-seq assays
PEAK_CUTOFF = 2.0  # −log10 p of a peak, MACS2 at p = 0.01 as in the Roadmap peak files
PEAK_MAX_GAP = 50  # bp below the cutoff that a peak may bridge
MAX_COVERAGE = 400  # expected; no peak is higher
DEPTHS = (0.2, 20.0)  # that a track may have: below, one read in the background counts as a peak
ENRICHMENTS = (0.05, 10.0)


@dataclass(frozen=True)
class Experiment:
    """How one track was sequenced. Truth needs it for tracks that were not measured, too."""

    cell: str
    assay: str
    depth: float  # mean coverage of the genome's background, which is also the Poisson rate of the null
    enrichment: float  # how well the antibody worked
    bias: float  # how strongly mappability shows
    measured: bool

    @property
    def fragment(self) -> int:
        """Length of an extended read in bp."""
        return FRAGMENT.get(self.assay, 200)

    @property
    def name(self) -> str:
        """Of the track in its files."""
        return f"{self.cell}-{self.assay}".replace("/", "_")

    @property
    def file(self) -> str:
        """The bigWig file, relative to the compendium."""
        return f"bigwig/{self.name}.pval.signal.bigwig"


@dataclass(frozen=True)
class Track:
    """Intervals of one track on one chromosome, sorted and disjoint; places in no interval were not mappable."""

    starts: np.ndarray  # bp
    ends: np.ndarray
    coverage: np.ndarray  # reads piled up
    values: np.ndarray  # −log10 p


@lru_cache(maxsize=2)
def score_table(depth: float) -> np.ndarray:
    """−log10 p of 0, 1, 2, ... reads piled up: P(X > reads) for X ~ Poisson(depth), as MACS2 computes it.

    Rounded as in a bedGraph. Beyond double precision the leading term of the tail stands for the whole.
    """
    reads = np.arange(2 * MAX_COVERAGE)
    tail = gammainc(reads + 1, depth)
    leading = depth - (reads + 1) * np.log(depth) + gammaln(reads + 2)
    representable = tail > 1e-300
    return np.where(representable, -np.log10(np.where(representable, tail, 1)), leading / np.log(10)).round(3)


@lru_cache(maxsize=2)
def _mean_scores(depth: float) -> tuple[np.ndarray, np.ndarray]:
    """Expected pile-ups, densely where coverage is low, and the mean arcsinh(−log10 p) of each, both (n,)."""
    scores = score_table(depth)
    rates = np.linspace(0.05, np.sqrt(MAX_COVERAGE), 200) ** 2
    reads = np.arange(len(scores))
    log_mass = reads * np.log(rates)[:, None] - rates[:, None] - gammaln(reads + 1)
    return rates, np.exp(log_mass) @ np.arcsinh(scores)


def read_rate(land: Chromatin, cell: int, experiment: Experiment) -> np.ndarray:
    """Expected number of reads in every bin of a track, float32 (n_bins,); cell: its index."""
    fold = 1 + experiment.enrichment * land.enrichment.track(cell, experiment.assay)
    # a good antibody leaves fewer reads for the background
    background = 0.55 / experiment.enrichment**0.3
    coverage = experiment.depth * background * land.background**experiment.bias * fold
    return np.minimum(coverage, MAX_COVERAGE) * (BIN_SIZE / experiment.fragment)


def expected_signal(rate: np.ndarray, experiment: Experiment, unmappable: np.ndarray) -> np.ndarray:
    """Mean arcsinh(−log10 p) of every bin over repeated sequencing, (n_bins,): what a perfect imputation returns."""
    # an extended read covers its own bin and its neighbours, the outermost ones by half
    kernel = np.ones(experiment.fragment // BIN_SIZE + 1)
    kernel[[0, -1]] = 0.5
    expected = convolve1d(rate, kernel, mode="constant")
    return np.where(unmappable, 0, np.interp(expected, *_mean_scores(experiment.depth)))


def sequence(
    rng: np.random.Generator, rate: np.ndarray, size: int, experiment: Experiment, unmappable: np.ndarray
) -> Track:
    """Draw reads at `rate` per bin, extend them to fragments, pile them up, and score the pile-up."""
    fragment, scores = experiment.fragment, score_table(experiment.depth)
    bins = np.repeat(np.arange(len(rate)), rng.poisson(rate))
    middle = bins * BIN_SIZE + rng.integers(BIN_SIZE, size=len(bins))
    starts, ends = np.clip(middle - fragment // 2, 0, size), np.clip(middle + fragment // 2, 0, size)
    # borders of unmappable stretches cut intervals without changing the coverage
    edges = np.flatnonzero(np.diff(unmappable)) * BIN_SIZE + BIN_SIZE
    position = np.concatenate([[0, size], edges, starts, ends])
    change = np.concatenate([np.zeros(2 + len(edges), dtype=int), np.ones(len(starts), int), -np.ones(len(ends), int)])
    order = np.argsort(position, kind="stable")
    position, coverage = position[order], np.minimum(np.cumsum(change[order]), len(scores) - 1)
    kept = np.append(position[1:] > position[:-1], False)  # the last of several events at one place
    start, coverage = position[kept], coverage[kept]
    mappable = ~unmappable[start // BIN_SIZE]
    # neighbours with the same value are one interval
    new = np.append(True, (np.diff(coverage) != 0) | (np.diff(mappable.astype(int)) != 0))
    start, coverage, mappable = start[new], coverage[new], mappable[new]
    end = np.append(start[1:], size)
    return Track(start[mappable], end[mappable], coverage[mappable], scores[coverage[mappable]])


def call_peaks(tracks: Mapping[str, Track], experiment: Experiment) -> list[tuple[object, ...]]:
    """Rows of a narrowPeak file as MACS2 calls it: above the cutoff, short dips bridged, at least a fragment long."""
    rows: list[tuple[object, ...]] = []
    for chrom, track in tracks.items():
        above = np.flatnonzero(track.values >= PEAK_CUTOFF)
        apart = np.flatnonzero(track.starts[above[1:]] - track.ends[above[:-1]] > PEAK_MAX_GAP) + 1
        for run in np.split(above, apart):
            if not len(run) or track.ends[run[-1]] - track.starts[run[0]] < experiment.fragment:
                continue
            start, end = track.starts[run[0]], track.ends[run[-1]]
            top = run[track.values[run].argmax()]
            summit = (track.starts[top] + track.ends[top]) // 2 - start
            fold = (track.coverage[top] + 1) / (experiment.depth + 1)
            score = min(int(10 * track.values[top]), 1000)
            name = f"{experiment.name}_peak_{len(rows) + 1}"
            # q-values are not computed, for which the format has −1
            rows.append((chrom, start, end, name, score, ".", f"{fold:.5f}", track.values[top], -1, summit))
    return rows
