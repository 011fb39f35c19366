"""Which experiments next? Those whose imputed tracks resemble most of what nobody has measured.

The method of Schreiber, Bilmes and Noble (2021, "Prioritizing transcriptomic and epigenomic experiments using an
optimization strategy that leverages imputed data"): imputations stand for experiments that were never performed, and a
set of experiments covers all of them as well as each one's most similar member of the set does. With s the squared
Pearson correlation of two imputed tracks, the coverage of a set S of the n pairs of cell type and assay is

    1/n · sum over all pairs v of max over x in S of s(v, x)                              (facility location)

What is measured already is in S from the beginning. As coverage is submodular, taking the best experiment again and
again comes to within 1 − 1/e of what the best set of that size adds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch

from avocado.data.compendium import Pair, pairs_in
from avocado.data.genome import BLOCK_BINS, Region, Segment
from avocado.data.windows import Window
from avocado.errors import InputError
from avocado.inference.impute import impute_chunks, regions_to_impute
from avocado.model.directory import Model
from avocado.training.memory import GIB
from avocado.utils.free_memory import available_memory
from avocado.utils.hardware import Hardware

NOTHING = 1e-6  # of one track: a copy of what is chosen adds less than this, by rounding
RANDOM = 50  # panels that a chosen one is compared with
Watch = Callable[[Iterator[int]], Iterator[int]]


@dataclass(frozen=True)
class Sample:
    """Where imputed tracks are compared."""

    blocks: int = 200  # 5-kbp blocks, drawn at random
    seed: int = 0  # of these, and of the random panels

    def __post_init__(self) -> None:
        if not (type(self.blocks) is int and self.blocks > 0):
            raise InputError(f"blocks={self.blocks}: expected a whole number above 0")


@dataclass(frozen=True)
class Panel:
    """The experiments to do next, best first, and how much of all pairs they cover."""

    table: pd.DataFrame  # rank, cell, assay, gain, coverage (with it), random (mean of random panels of that size)
    measured: float  # coverage of what is measured already
    n_measured: int
    n_candidates: int
    n_pairs: int
    everything: float  # coverage of all candidates together


def next_experiments(
    model: Model,
    k: int = 10,
    *,
    cells: Sequence[str] = (),
    assays: Sequence[str] = (),
    regions: Sequence[str] = (),
    sample: Sample | None = None,
    hardware: Hardware | None = None,
    watch: Watch = iter,
) -> Panel:
    """The unmeasured experiments that say most about all others (Schreiber, Bilmes and Noble 2021).

    Parameters
    ----------
    model
        Whose imputations are compared. Training, validation and held-out tracks count as measured.
    k
        Budget: how many experiments. Fewer come back where no further one adds anything.
    cells
        Cell types that can be measured; none: all of the model.
    assays
        Assays that can be done; none: all of the model.
    regions
        Regions of the model that the sample is drawn from; none: all chromosomes, else the pilot regions.
    sample
        Number of 5-kbp blocks, and the seed.
    hardware
        Where to impute; None: the GPU where there is one.
    watch
        Sees the number of blocks done go by, for a progress bar.

    Returns
    -------
    Panel
        A row for each experiment, in the order in which to do them.

    Raises
    ------
    InputError
        For names that the model does not know, where nothing is left to measure, and for more pairs than memory holds.
    """
    if not (type(k) is int and k > 0):
        raise InputError(f"k={k}: expected a whole number of experiments above 0")
    for cell in cells:
        model.pair(cell, model.assays[0])
    for assay in assays:
        model.pair(model.cells[0], assay)
    pairs, known = list(product(model.cells, model.assays)), set(pairs_in(model.tracks))
    measured = [number for number, pair in enumerate(pairs) if pair in known]
    candidates = [
        number
        for number, (cell, assay) in enumerate(pairs)
        if (cell, assay) not in known and (not cells or cell in cells) and (not assays or assay in assays)
    ]
    if not candidates:
        raise InputError(f"model {model.path}: all of these pairs are measured: there is nothing to choose from")
    chosen_of = sample or Sample()
    windows = sampled_windows(model, list(regions) or regions_to_impute(model), chosen_of)
    similarity = similarities(model, pairs, windows, hardware, watch)
    covered = similarity[:, measured].max(axis=1) if measured else np.zeros(len(pairs), dtype=np.float32)
    chosen = lazy_greedy(similarity, covered, candidates, k)
    n = len(pairs)
    gains = np.array([gain for _, gain in chosen]) / n
    start = float(covered.sum(dtype=np.float64)) / n
    table = pd.DataFrame(
        {
            "rank": np.arange(1, len(chosen) + 1),
            "cell": [pairs[number][0] for number, _ in chosen],
            "assay": [pairs[number][1] for number, _ in chosen],
            "gain": gains,
            "coverage": start + np.cumsum(gains),
            "random": random_coverage(similarity, covered, candidates, len(chosen), chosen_of.seed),
        }
    )
    everything = coverage(similarity, covered, candidates)
    return Panel(table, start, len(measured), len(candidates), n, everything)


def similarities(
    model: Model,
    pairs: Sequence[Pair],
    windows: Sequence[Window],
    hardware: Hardware | None = None,
    watch: Watch = iter,
) -> np.ndarray:
    """Squared Pearson correlations of imputed arcsinh signal, float32 (n_pairs, n_pairs), 0 for constant tracks.

    Imputed and added up piece by piece: memory is that of the result, whatever the number of bins.
    """
    n = len(pairs)
    available = available_memory(torch.device("cpu"))
    if available is not None and 4 * n * n > available:
        raise InputError(
            f"the similarities of {n:,} pairs take {4 * n * n / GIB:.1f} GiB, and {available / GIB:.1f} are free: "
            "use a machine with more"
        )
    products, sums, n_bins = torch.zeros(n, n), torch.zeros(n, dtype=torch.float64), 0
    shift: torch.Tensor | None = None  # near the mean, or small differences of large sums would be lost

    def added() -> Iterator[int]:
        nonlocal sums, n_bins, shift
        for window in windows:
            for _, values in impute_chunks(model, pairs, window, hardware):
                piece = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
                shift = piece.mean(0) if shift is None else shift
                piece = piece - shift
                products.addmm_(piece.mT, piece)
                sums += piece.sum(0, dtype=torch.float64)
                n_bins += len(piece)
                yield -(-len(piece) // BLOCK_BINS)

    for _ in watch(added()):
        pass
    mean = sums / n_bins
    products.div_(n_bins).addr_(mean.float(), mean.float(), alpha=-1)
    variance = products.diagonal().clone()
    spread = variance > 1e-9  # below that a track is constant, to rounding
    scale = torch.where(spread, variance.clamp_min(1e-9).rsqrt(), 0.0)
    products.mul_(scale[:, None]).mul_(scale).square_().clamp_(max=1.0)
    products.fill_diagonal_(1.0)
    return products.numpy()


def sampled_windows(model: Model, regions: Sequence[str], sample: Sample) -> list[Window]:
    """Blocks of some regions of a model, drawn at random; all of them where there are no more."""
    layouts = []
    for name in regions:
        model.rows(name)  # raises where the model has no such factors, or not whole
        layouts.append(model.regions[name])
    places = [(number, block) for number, layout in enumerate(layouts) for block in range(layout.n_blocks)]
    random = np.random.default_rng(sample.seed)
    drawn = np.sort(random.permutation(len(places))[: sample.blocks])
    windows = []
    for number, layout in enumerate(layouts):
        blocks = [places[its][1] for its in drawn if places[its][0] == number]
        if blocks:
            windows.append(Window(layout.name, Region(f"{layout.name}.sample", tuple(_segments(layout, blocks)))))
    return windows


def _segments(layout: Region, blocks: Sequence[int]) -> Iterator[Segment]:
    """The bins of some blocks of a region, each as a segment."""
    waiting = list(reversed(blocks))
    for segment, _, first in layout.walk():
        while waiting and waiting[-1] < first + segment.n_blocks:
            start = segment.start + (waiting.pop() - first) * BLOCK_BINS
            yield Segment(segment.chrom, start, min(start + BLOCK_BINS, segment.end))


def coverage(similarity: np.ndarray, covered: np.ndarray, chosen: Sequence[int]) -> float:
    """Mean over all tracks of the similarity to the most similar one of a set, or to what is `covered` already."""
    best = covered.copy()
    for number in chosen:
        np.maximum(best, similarity[:, number], out=best)
    return float(best.mean(dtype=np.float64))


def lazy_greedy(
    similarity: np.ndarray, covered: np.ndarray, candidates: Sequence[int], k: int
) -> list[tuple[int, float]]:
    """Up to k candidates, each the one that adds most to those before it, and what each adds (sum over tracks).

    similarity: (n, n), not negative; covered: (n,), of what is chosen already. As a candidate never adds more later
    than it would have added before, only those are looked at again whose earlier gain could still be the highest
    (Minoux 1978). Of equal ones the first is taken. Ends where nothing adds anything.
    """
    best = covered.copy()

    def gain(number: int) -> float:
        return float(np.maximum(similarity[:, number] - best, 0).sum(dtype=np.float64))

    waiting = [(-gain(number), number) for number in candidates]
    heapq.heapify(waiting)
    chosen: list[tuple[int, float]] = []
    while waiting and len(chosen) < k:
        _, number = heapq.heappop(waiting)
        now = gain(number)
        if waiting and (-now, number) > waiting[0]:
            heapq.heappush(waiting, (-now, number))
        elif now <= NOTHING:
            break
        else:
            chosen.append((number, now))
            np.maximum(best, similarity[:, number], out=best)
    return chosen


def random_coverage(
    similarity: np.ndarray, covered: np.ndarray, candidates: Sequence[int], k: int, seed: int
) -> np.ndarray:
    """Mean coverage of random panels of 1 to k candidates, (k,)."""
    random, found = np.random.default_rng(seed), np.zeros(k)
    for _ in range(RANDOM):
        best = covered.copy()
        for size, number in enumerate(random.permutation(np.asarray(candidates))[:k]):
            np.maximum(best, similarity[:, number], out=best)
            found[size] += best.mean(dtype=np.float64) / RANDOM
    return found
