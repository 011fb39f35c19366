"""Latent factors as tables: of bins, windows and intervals of the genome, of cell types and of assays.

Genome factors are the same for all cell types; weighted by a cell type's own factors they are its states, what the
model knows of it at a position (`Model.cell_states`), and weighted by the inverse of the encoder's mixing they are its
code, what its own tracks have put into them. All are means over the bins of a row: what the Avocado paper gives to its
projections (promoters and enhancers, ± 250 bp) and downstream tasks (promoters, 40-kb bins). A chromosome is read and
passed on in pieces.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from avocado.data.genome import BIN_SIZE, BLOCK_BINS, Segment
from avocado.data.ingest import OWN_COLUMNS
from avocado.data.windows import chosen_bins, holder
from avocado.errors import InputError
from avocado.model.directory import Model
from avocado.model.network import split_block
from avocado.model.states import StatesNetwork, states_of

SCALES = ("25bp", "250bp", "5kbp")
PIECE = 1 << 22  # values of factors that are held at once


@dataclass(frozen=True)
class Part:
    """Some rows of an embedding."""

    positions: pd.DataFrame  # chrom, start, end in bp, 0-based and half-open; and what else the rows have, such as name
    factors: np.ndarray  # float32 (n, n_factors)


@dataclass(frozen=True)
class Embedding:
    """Genome factors of rows of the genome, or a cell type's states or code there, read piece by piece."""

    model: Model
    rows: pd.DataFrame  # source: the model's region; address: padded bin of the first one; n: bins; then the positions
    width: int  # bins of every row but those at the ends of segments; 0: rows are intervals of any size
    scale: str
    cell: str | None = None  # whose states; None: genome factors
    code: bool = False  # the cell type's code instead of its states

    def __len__(self) -> int:
        return int(self.rows["rows"].sum()) if self.width else len(self.rows)

    @property
    def names(self) -> list[str]:
        """Names of the factors: scale and number, as `25bp_0`; of kind 'states' program by program.

        Of a cell type's states: its own, and then `25bp_shared_0` and so on; of its code, its own.
        """
        if self.cell is None:
            return [f"{scale}_{number}" for scale, n in self._widths() for number in range(n)]
        programs = self.model.network.config.cell_factors
        widths = [(scale, n // programs) for scale, n in self._widths()]
        kinds = ("",) if self.code else ("", "shared_")
        return [f"{scale}_{its}{number}" for scale, n in widths for its in kinds for number in range(n)]

    def parts(self) -> Iterator[Part]:
        """All rows, in order, a piece at a time."""
        made = cell_code if self.code else cell_states
        for part in self._parts():
            if self.cell is None:
                yield part
            else:
                yield Part(part.positions, made(self.model, self.cell, part.factors, self.scale))

    def _parts(self) -> Iterator[Part]:
        factors = {source: self.model.rows(source) for source in self.rows["source"].unique()}
        if not self.width:
            columns = [name for name in self.rows.columns if name not in ("source", "address", "n")]
            step = max(1, PIECE // 16 // self._n)
            for first in range(0, len(self.rows), step):
                some = self.rows.iloc[first : first + step]
                means = [self._mean(factors[row.source], row.address, row.n) for row in some.itertuples()]  # type: ignore[arg-type]
                yield Part(some[columns].reset_index(drop=True), np.stack(means).astype(np.float32))
            return
        for row in self.rows.itertuples():
            yield from self._windows(factors[row.source], row)

    def _widths(self) -> list[tuple[str, int]]:
        return widths_of(self.model, self.scale)

    @property
    def _n(self) -> int:
        return sum(n for _, n in self._widths())

    def _windows(self, factors: Any, row: Any) -> Iterator[Part]:
        """The windows of a segment, whose borders are multiples of their size on the chromosome."""
        edges = np.arange(row.first // self.width, -(-(row.first + row.n) // self.width) + 1) * self.width
        edges = edges.clip(row.first, row.first + row.n)
        step = max(1, PIECE // self._n // self.width)
        for number in range(0, len(edges) - 1, step):
            some = edges[number : number + step + 1]
            offset, n = some[0] - row.first, some[-1] - some[0]
            sums = np.zeros((len(some) - 1, self._n), dtype=np.float64 if self.width > 1 else np.float32)
            for done, values in self._bins(factors, row.address + offset, n):
                if self.width == 1:
                    sums[done : done + len(values)] = values
                    continue
                # windows that begin in this piece, and the one that goes on from the piece before
                begins = np.searchsorted(some, some[0] + done, side="right") - 1
                ends = np.searchsorted(some, some[0] + done + len(values), side="left")
                cuts = (some[begins:ends] - some[0] - done).clip(0)
                sums[begins:ends] += np.add.reduceat(values.astype(np.float64), cuts, axis=0)
            means = sums if self.width == 1 else sums / np.diff(some)[:, None]
            positions = {"chrom": row.chrom, "start": some[:-1] * BIN_SIZE, "end": some[1:] * BIN_SIZE}
            yield Part(pd.DataFrame(positions), means.astype(np.float32))

    def _mean(self, factors: Any, address: int, n: int) -> np.ndarray:
        """Mean over n bins (n_factors,)."""
        return sum(values.sum(axis=0, dtype=np.float64) for _, values in self._bins(factors, address, n)) / n  # type: ignore[return-value]

    def _bins(self, factors: Any, address: int, n: int) -> Iterator[tuple[int, np.ndarray]]:
        """n consecutive bins of `Model.rows`, piece by piece: how many were before, and factors (bins, n_factors)."""
        config = self.model.network.config
        step = max(1, PIECE // BLOCK_BINS // config.genome_factors)
        first, last = address // BLOCK_BINS, -(-(address + n) // BLOCK_BINS)
        done = 0
        for block in range(first, last, step):
            blocks = factors[block : min(block + step, last)]
            scales = zip(SCALES, split_block(blocks, config), strict=True)
            chosen = [
                part.repeat_interleave(BLOCK_BINS // part.shape[1], dim=1).flatten(0, 1)
                for scale, part in scales
                if self.scale in ("all", scale)
            ]
            skip = max(0, address - block * BLOCK_BINS)
            values = torch.cat(chosen, dim=1)[skip : skip + n - done].float().numpy()
            yield done, values
            done += len(values)


def widths_of(model: Model, scale: str) -> list[tuple[str, int]]:
    """Scales and their numbers of genome factors, of one scale or of all."""
    sizes = zip(SCALES, model.network.config.scales, strict=True)
    return [(its, n) for its, n in sizes if scale in ("all", its)]


def cell_states(model: Model, cell: str, factors: np.ndarray, scale: str = "all") -> np.ndarray:
    """A cell type's states of genome factors, or of means of such: float32 (n, 2 × d of every scale).

    factors: (n, n_factors), as `embed_region` and `embed_intervals` have them. Of each scale the cell type's own states
    come first, then the shared ones. Raises what `Model.cell_states` raises.
    """
    loading = model.loading(cell)
    scales = torch.from_numpy(factors).split([n for _, n in widths_of(model, scale)], dim=1)
    return torch.cat([states_of(its, loading) for its in scales], dim=1).numpy()


def cell_code(model: Model, cell: str, factors: np.ndarray, scale: str = "all") -> np.ndarray:
    """A cell type's code from genome factors, or from means of such: float32 (n, d of every scale).

    factors: as in `cell_states`. The encoder makes a code of each cell type's own tracks, and mixes the codes of all of
    them into the programs; this is taken back by the pseudoinverse of the mixing. Exact where there are as many
    programs as cell types; of fewer programs it is the code of least norm, in which cell types are not told apart
    entirely. Raises what `Model.cell_states` raises, and InputError for a cell type that was added to a trained model,
    whose tracks are not in the factors.
    """
    weights = code_weights(model, cell)
    scales = torch.from_numpy(factors).split([n for _, n in widths_of(model, scale)], dim=1)
    return torch.cat([torch.einsum("nkd,k->nd", its.unflatten(1, (len(weights), -1)), weights) for its in scales],
                     dim=1).numpy()  # fmt: skip


def code_weights(model: Model, cell: str) -> Tensor:
    """Weights (programs,) by which a cell type's code is made of the programs. Raises what `cell_code` raises."""
    model.loading(cell)  # says where there are none
    network = model.network
    assert isinstance(network, StatesNetwork)
    number = model.cells.index(cell)
    if number >= network.encoded_cells:
        raise InputError(f"{cell} was added to model {model.path}: its tracks are not in the factors, it has no code")
    # the encoder divides its mixing by the root of the number of cell types
    return torch.linalg.pinv(network.cell_mixing.detach())[:, number] * math.sqrt(network.encoded_cells)


def embed_region(
    model: Model,
    region: str | Path,
    *,
    window: int = BIN_SIZE,
    scale: str = "all",
    cell: str | None = None,
    code: bool = False,
) -> Embedding:
    """Genome factors, or a cell type's states or code, of every bin, or window, of a region.

    region: as `data.windows.windows` takes it, a BED file among them: all bins that it touches. window: bp, a multiple
    of 25; windows begin at multiples of their size, and those at the ends of a region are means over the part that is
    in it. scale: 25bp, 250bp, 5kbp, or all of them, side by side. cell: whose states, or, with code, whose code. Raises
    InputError for a region without factors, and for what `cell_states` and `cell_code` refuse.
    """
    _require_scale(model, scale)
    _require_cell(model, cell, code)
    if not isinstance(window, int) or window < BIN_SIZE or window % BIN_SIZE:
        raise InputError(f"window={window}: expected a multiple of {BIN_SIZE} bp")
    width, rows = window // BIN_SIZE, []
    for source, layout in model.windows(region):
        for segment, (address, n, _) in zip(layout.segments, chosen_bins(model.regions[source], layout), strict=True):
            count = -(-segment.end // width) - segment.start // width
            rows.append((source, address, n, segment.chrom, segment.start, count))
    return Embedding(
        model, pd.DataFrame(rows, columns=["source", "address", "n", "chrom", "first", "rows"]), width, scale, cell,
        code,
    )  # fmt: skip


def embed_intervals(
    model: Model,
    intervals: pd.DataFrame,
    *,
    flank: int = 0,
    scale: str = "all",
    cell: str | None = None,
    code: bool = False,
) -> tuple[Embedding, pd.DataFrame]:
    """Mean genome factors, or states or code of a cell type, over every interval, and intervals that the model lacks.

    intervals: columns chrom, start, end in bp, 0-based and half-open; others, such as name, travel along. flank: bp
    by which each is extended on both sides, to the ends of its chromosome at most. A mean is over all bins that an
    interval touches. Raises InputError for an unknown chromosome or scale, where no interval is left, and for what
    `cell_states` and `cell_code` refuse.
    """
    _require_scale(model, scale)
    _require_cell(model, cell, code)
    if not isinstance(flank, int) or flank < 0:
        raise InputError(f"flank={flank}: expected bp, a whole number from 0")
    found = []
    for chrom in pd.unique(intervals["chrom"]):
        if chrom not in model.assembly.sizes:
            raise InputError(f"assembly {model.assembly.name} of model {model.path} has no chromosome '{chrom}'")
    first = (intervals["start"].to_numpy() - flank).clip(0) // BIN_SIZE
    last = -(-(intervals["end"].to_numpy() + flank) // BIN_SIZE)
    last = np.minimum(last, [model.assembly.n_bins(chrom) for chrom in intervals["chrom"]])
    for chrom, start, end in zip(intervals["chrom"], first, last, strict=True):
        held = holder(model.regions, Segment(chrom, int(start), int(end))) if start < end else None
        found.append(held and (*held, int(end - start)))
    rows = intervals.reset_index(drop=True)
    inside = np.array([its is not None for its in found], dtype=bool)
    if not inside.any():
        raise InputError(
            f"model {model.path} has factors of none of the {len(rows):,} intervals; "
            f"it has: {', '.join(model.regions) or 'no region'}"
        )
    where = pd.DataFrame([its for its in found if its is not None], columns=["source", "address", "n"])
    kept = rows[inside].reset_index(drop=True)
    return Embedding(model, pd.concat([where, kept], axis=1), 0, scale, cell, code), rows[~inside]


def _require_cell(model: Model, cell: str | None, code: bool) -> None:
    if cell is None:
        if code:
            raise InputError("a code is that of a cell type: give cell=")
    elif code:
        code_weights(model, cell)
    else:
        model.loading(cell)


def _require_scale(model: Model, scale: str) -> None:
    if scale not in ("all", *SCALES):
        raise InputError(f"scale={scale}: there is all, {', '.join(SCALES)}")
    widths = dict(zip(SCALES, model.network.config.scales, strict=True))
    if not (sum(widths.values()) if scale == "all" else widths[scale]):
        raise InputError(f"model {model.path} has no factors at {scale}")


def factor_table(model: Model, kind: str, tracks: pd.DataFrame | None = None) -> pd.DataFrame:
    """Cell-type or assay factors, by name, with the columns of the compendium's table that describe them.

    kind: cell or assay. tracks: that table, `SignalStore.tracks`; without it there are factors only. Columns of it that
    have one value for each name, such as lineage, come first; then factor_0, factor_1 and so on.
    """
    factors = model.cell_factors if kind == "cell" else model.assay_factors
    factors = factors.add_prefix("factor_")
    if tracks is None:
        return factors
    about = tracks[tracks[kind].isin(factors.index)].drop(columns=["file", *OWN_COLUMNS], errors="ignore")
    one_each = about.groupby(kind).nunique(dropna=False).max() <= 1
    described = about.drop_duplicates(kind).set_index(kind)[one_each.index[one_each]]
    return described.reindex(factors.index).join(factors)
