"""Genome factors with coordinates, as those who read them want them: one table for each scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from avocado.data.genome import BIN_SIZE, BINS_PER_250BP, BLOCK_BINS, Region
from avocado.data.windows import Window, chosen_bins
from avocado.model.config import ModelConfig
from avocado.model.network import split_block
from avocado.model.states import states_of


@dataclass(frozen=True)
class GenomeFactors:
    """Genome factors of some bins at three scales, and where they are: data frames chrom, start, end in bp.

    Of kind 'states' the factors of a scale are programs × factors, program by program. A cell type's states come as the
    same tables: its own, then the shared ones. The 250-bp stretches and 5-kbp blocks are those that the bins lie in;
    they are counted from the start of a region's segment.
    """

    bp25: np.ndarray  # float32 (n_bins, factors)
    bp250: np.ndarray  # float32 (n_stretches, factors)
    bp5k: np.ndarray  # float32 (n_blocks, factors)
    positions_25bp: pd.DataFrame
    positions_250bp: pd.DataFrame
    positions_5kbp: pd.DataFrame


def factors_at(genome: Tensor, config: ModelConfig, layout: Region, window: Window) -> GenomeFactors:
    """The factors of a window's bins. genome: (n_blocks, block_width) of the region `layout` that holds them."""
    bins = np.concatenate([np.arange(first, first + n) for first, n, _ in chosen_bins(layout, window.layout)])
    chroms, starts, firsts = (np.array(its) for its in zip(
        *((segment.chrom, segment.start, block * BLOCK_BINS) for segment, _, block in layout.walk()), strict=True
    ))  # fmt: skip
    arrays, tables = [], []
    for part, width in zip(split_block(genome, config), (1, BINS_PER_250BP, BLOCK_BINS), strict=True):
        places = np.unique(bins // width)
        segment = np.searchsorted(firsts, places * width, side="right") - 1
        start = (starts[segment] + places * width - firsts[segment]) * BIN_SIZE
        arrays.append(part.flatten(0, 1).numpy()[places])
        tables.append(pd.DataFrame({"chrom": chroms[segment], "start": start, "end": start + width * BIN_SIZE}))
    return GenomeFactors(arrays[0], arrays[1], arrays[2], *tables)


def states_at(factors: GenomeFactors, loading: Tensor) -> GenomeFactors:
    """A cell type's states at the places of genome factors. loading: its factors (programs,)."""
    bp25, bp250, bp5k = (
        states_of(torch.from_numpy(its), loading).numpy() for its in (factors.bp25, factors.bp250, factors.bp5k)
    )
    return replace(factors, bp25=bp25, bp250=bp250, bp5k=bp5k)


def joined(parts: Sequence[GenomeFactors]) -> GenomeFactors:
    """Several windows' factors, one after the other."""

    def rows(name: str) -> np.ndarray:
        return np.concatenate([getattr(its, name) for its in parts])

    def table(name: str) -> pd.DataFrame:
        return pd.concat([getattr(its, name) for its in parts], ignore_index=True)

    positions = (table(f"positions_{scale}") for scale in ("25bp", "250bp", "5kbp"))
    return GenomeFactors(rows("bp25"), rows("bp250"), rows("bp5k"), *positions)
