"""Attributions by the number of cell types with a peak (Avocado paper, Fig. S8).

What a part of the model adds at peaks that all cell types share is not what it adds at those of one. Bins are grouped
by k, the number of cell types in which they lie in a peak of an assay, as in `variable_loci`; at each k the
attributions of cell types with a peak there are averaged, and those of cell types without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from avocado.data.compendium import Pair
from avocado.data.genome import BLOCK_BINS, Region, Segment
from avocado.errors import InputError
from avocado.latent.attribution import PARTS


def stratified(attributions: Iterable[tuple[Pair, np.ndarray]], peaks: Mapping[Pair, np.ndarray]) -> pd.DataFrame:
    """Mean attribution of every part by assay, number of cell types with a peak, and whether the cell type has one.

    attributions: of (cell, assay) pairs, arcsinh (n_bins, 5), one after the other. peaks: bool (n_bins,) of each of
    these pairs, and of whatever others count towards k. Columns: assay, k (0, too), n_cells (with peaks of the assay),
    peak, n (pairs of bin and cell type), part, mean. Raises InputError for a pair without peaks or of another length.
    """
    cells: dict[str, list[str]] = {}
    for cell, assay in peaks:
        cells.setdefault(assay, []).append(cell)
    counts: dict[str, np.ndarray] = {}
    sums: dict[str, np.ndarray] = {}
    for (cell, assay), parts in attributions:
        if cell not in cells.get(assay, ()):
            raise InputError(f"no peaks of {cell} {assay}, whose attributions are to be grouped by peaks")
        if assay not in counts:
            counts[assay] = np.stack([peaks[other, assay] for other in cells[assay]]).sum(axis=0, dtype=np.int64)
            sums[assay] = np.zeros((2, len(cells[assay]) + 1, len(PARTS) + 1))
        k, is_peak = counts[assay], np.asarray(peaks[cell, assay], dtype=bool)
        if not len(k) == len(parts) == len(is_peak):
            raise InputError(f"{cell} {assay}: {len(parts):,} bins with attributions, {len(is_peak):,} with peaks")
        for chosen, total in zip((~is_peak, is_peak), sums[assay], strict=True):
            of = [None, *parts[chosen].T]  # how many there are, then each part
            total += np.stack([np.bincount(k[chosen], its, len(total)) for its in of], axis=1)
    rows = [
        (assay, k, len(cells[assay]), bool(peak), int(total[k, 0]), part, total[k, 1 + number] / total[k, 0])
        for assay, both in sums.items()
        for peak, total in enumerate(both)
        for k in np.flatnonzero(total[:, 0]).tolist()
        for number, part in enumerate(PARTS)
    ]
    return pd.DataFrame(rows, columns=pd.Index(["assay", "k", "n_cells", "peak", "n", "part", "mean"]))


def drawn_blocks(region: Region, n_blocks: int, seed: int = 0) -> Region:
    """5-kbp blocks that are drawn of a region, all of it where it has no more."""
    if n_blocks >= region.n_blocks:
        return region
    blocks = [
        Segment(its.chrom, start, min(start + BLOCK_BINS, its.end))
        for its in region.segments
        for start in range(its.start, its.end, BLOCK_BINS)
    ]
    chosen = np.sort(np.random.default_rng(seed).choice(len(blocks), n_blocks, replace=False))
    return Region(f"{region.name}: {n_blocks} blocks", tuple(blocks[number] for number in chosen))
