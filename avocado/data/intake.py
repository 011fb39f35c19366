"""From a table of tracks, as a user has it, to a signal store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from avocado.data.compendium import five_by_five, read_table
from avocado.data.genome import Assembly, load_assembly
from avocado.data.ingest import ingest as ingest_tracks
from avocado.data.regions import parse_regions
from avocado.data.store import SignalStore


def ingest(
    table: str | Path | pd.DataFrame,
    out: str | Path,
    assembly: str | Path | Assembly = "hg38",
    regions: Sequence[str] = ("pilot",),
    *,
    min_assays: int = 5,
    min_cells: int = 5,
    dtype: str = "float16",
    arrays: str = "arcsinh",
    workers: int = 1,
    progress: bool = False,
) -> SignalStore:
    """Read tracks into a signal store, or open the store where it is there (Avocado paper, Data).

    Parameters
    ----------
    table
        TSV or CSV file, or data frame, with the columns cell, assay and file (bigWig of −log10 p, .npy or .npz).
    out
        Folder of the store.
    assembly
        hg19, hg38, a chrom.sizes file, or an `Assembly`.
    regions
        pilot, chromosomes, autosomes, or BED files.
    min_assays
        Cell types with fewer assays are left out.
    min_cells
        Assays in fewer cell types are left out.
    dtype
        Of the store: float16, or float32.
    arrays
        What .npy and .npz files hold: arcsinh, or raw −log10 p.
    workers
        Processes that read.
    progress
        Whether to show a progress bar.

    Returns
    -------
    SignalStore
        arcsinh(−log10 p) in 25-bp bins.

    Raises
    ------
    InputError
        For files that are missing, damaged or of another assembly, all of them at once.
    """
    tracks = table if isinstance(table, pd.DataFrame) else read_table(table)
    tracks = five_by_five(tracks, min_assays, min_cells)
    known = assembly if isinstance(assembly, Assembly) else load_assembly(assembly)
    asked = parse_regions(known, regions)
    return ingest_tracks(tracks, out, known, asked, dtype=dtype, arrays=arrays, workers=workers, progress=progress)
