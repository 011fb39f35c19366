"""Factors and attributions as data frames, whole ones, where `embeddings` and `attribution` go piece by piece."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from avocado.data.compendium import Pair
from avocado.data.genome import BIN_SIZE
from avocado.data.intervals import read_intervals
from avocado.data.regions import is_bed
from avocado.latent import attribution
from avocado.latent.embeddings import Embedding, embed_intervals, embed_region
from avocado.model.directory import Model, load_model


def embed(
    model: str | Path | Model,
    rows: str | Path | pd.DataFrame,
    *,
    window: int = BIN_SIZE,
    flank: int = 0,
    scale: str = "all",
    cell: str | None = None,
    code: bool = False,
) -> pd.DataFrame:
    """Genome factors as a table: of every bin or window of a region, or means over intervals (Avocado paper, Fig. 3).

    Parameters
    ----------
    model
        A model, or its directory.
    rows
        A region of the model or `chrom:start-end`, for its windows; a BED file or a data frame with the columns chrom,
        start and end (bp, 0-based, half-open; others travel along), for its intervals.
    window
        bp of a row of a region, a multiple of 25.
    flank
        bp by which intervals are extended on both sides.
    scale
        25bp, 250bp or 5kbp; all: side by side.
    cell
        The states of this cell type instead: what its factors make of the genome factors.
    code
        Of this cell type its code: what its own tracks have put into the genome factors.

    Returns
    -------
    pandas.DataFrame
        chrom, start, end, and a column for each factor, such as 250bp_0. Intervals that the model has no factors of
        are not there.

    Raises
    ------
    InputError
        For places and scales that the model has no factors of.
    """
    known = load_model(model, baseline=False) if isinstance(model, str | Path) else model
    found = _embedding(known, rows, window, flank, scale, cell, code)
    names = pd.Index(found.names)
    parts = [part.positions.join(pd.DataFrame(part.factors, columns=names)) for part in found.parts()]
    return pd.concat(parts, ignore_index=True)


def attribute(model: str | Path | Model, pair: Pair, place: str | Path, *, reference: str = "zeros") -> pd.DataFrame:
    """Divide an imputation among the parts of the model that it comes from (Avocado paper, Fig. 6).

    Parameters
    ----------
    model
        A model, or its directory.
    pair
        Cell type and assay.
    place
        A region of the model, `chrom:start-end`, or a BED file.
    reference
        Where the path of integrated gradients begins: zeros, as in the paper, or mean, of all factors.

    Returns
    -------
    pandas.DataFrame
        A row for each 25-bp bin: chrom, start, end in bp, and what cell, assay, 25bp, 250bp and 5kbp factors add to
        what the factorization imputes, arcsinh(−log10 p).

    Raises
    ------
    InputError
        For names that the model does not know, and places that it has no factors of.
    """
    known = load_model(model, baseline=False) if isinstance(model, str | Path) else model
    tables = []
    for window in known.windows(place):
        for piece in attribution.attribute(known, *pair, window, reference):
            bins = [(its.chrom, bin_) for its in piece.segments for bin_ in range(its.start, its.end)]
            where = pd.DataFrame(bins, columns=pd.Index(["chrom", "start"]))
            where["start"] *= BIN_SIZE
            where["end"] = where["start"] + BIN_SIZE
            tables.append(where.join(pd.DataFrame(piece.parts, columns=pd.Index(attribution.PARTS))))
    return pd.concat(tables, ignore_index=True)


def _embedding(
    model: Model, rows: str | Path | pd.DataFrame, window: int, flank: int, scale: str, cell: str | None, code: bool
) -> Embedding:
    if not isinstance(rows, pd.DataFrame):
        if str(rows) in model.regions or not is_bed(str(rows)):
            return embed_region(model, rows, window=window, scale=scale, cell=cell, code=code)
        found = read_intervals(rows, model.assembly)
        rows = pd.DataFrame({"chrom": found.chrom, "start": found.start, "end": found.end})
    return embed_intervals(model, rows, flank=flank, scale=scale, cell=cell, code=code)[0]
