"""Which tracks of a simulated compendium are measured, and how well each was sequenced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avocado.data.compendium import read_table
from avocado.errors import InputError
from avocado.simulation.reads import DEPTHS, ENRICHMENTS, Experiment

MIN_MEASURED = 5  # the papers keep cell types and assays with at least five tracks
QUALITIES = {"depth": DEPTHS, "enrichment": ENRICHMENTS}  # columns that are read, and their ranges
OWN_COLUMNS = ("cell", "assay", "file", "lineage", *QUALITIES)  # of a table; others travel along


class MeasuredPair(NamedTuple):
    """A track to be measured."""

    cell: str
    assay: str
    depth: float | None = None  # reads that cover a place of the background on average; None: drawn
    enrichment: float | None = None  # how well the antibody worked, 1 is typical; None: drawn
    others: tuple[tuple[str, str], ...] = ()  # further columns of the compendium's table, and their values


def read_pairs(path: str | Path) -> tuple[MeasuredPair, ...]:
    """Measured tracks from a TSV or CSV table with the columns cell and assay.

    Its columns depth and enrichment are used where they hold a number; others, such as split, travel along into the
    compendium's table. Raises InputError for what `read_table` refuses, and for a depth or enrichment out of range.
    """
    table = read_table(path, ("cell", "assay"))
    others = [str(column) for column in table if column not in OWN_COLUMNS]
    pairs = []
    for values in table.to_numpy(dtype=str).tolist():
        row = dict(zip(map(str, table.columns), values, strict=True))
        qualities = {key: _quality(path, row, key, span) for key, span in QUALITIES.items()}
        travelling = tuple((column, row[column]) for column in others)
        pairs.append(MeasuredPair(row["cell"], row["assay"], **qualities, others=travelling))
    return tuple(pairs)


def draw_experiments(
    rng: np.random.Generator,
    cells: Sequence[str],
    assays: Sequence[str],
    measured: float | Sequence[MeasuredPair],
    depth: tuple[float, float],
    spread: float,
) -> list[Experiment]:
    """One experiment for every (cell, assay), cell by cell.

    measured: the share that is, or the tracks that are. depth: lowest and highest. spread: standard deviation of the
    logarithm of the enrichment.
    """
    if isinstance(measured, float | int):
        drawn = np.argwhere(draw_design(rng, len(cells), len(assays), measured))
        measured = [MeasuredPair(cells[int(i)], assays[int(j)]) for i, j in drawn]
    given = {(pair.cell, pair.assay): pair for pair in measured}
    low, high = np.log(depth[0]), np.log(depth[1])
    experiments = []
    for cell in cells:
        for assay in assays:
            pair = given.get((cell, assay), MeasuredPair(cell, assay))
            # drawn where it is given, too, so that the others do not depend on that
            of_depth = float(np.exp(rng.uniform(low, high)))
            of_enrichment = float(np.exp(spread * rng.standard_normal()))
            bias = float(rng.uniform(0.7, 1.3))
            experiments.append(
                Experiment(
                    cell,
                    assay,
                    depth=of_depth if pair.depth is None else pair.depth,
                    enrichment=of_enrichment if pair.enrichment is None else pair.enrichment,
                    bias=bias,
                    measured=(cell, assay) in given,
                )
            )
    return experiments


def draw_design(rng: np.random.Generator, n_cells: int, n_assays: int, share: float) -> np.ndarray:
    """Bool (n_cells, n_assays): which tracks are measured, at least five per cell type and assay where there are five.

    Tracks are dropped one by one, from the best-covered cell types first, until `share` of them is left.
    """
    measured = np.ones((n_cells, n_assays), dtype=bool)
    while measured.sum() > share * measured.size:
        per_cell, per_assay = measured.sum(axis=1, keepdims=True), measured.sum(axis=0, keepdims=True)
        spare = measured & (per_cell > MIN_MEASURED) & (per_assay > MIN_MEASURED)
        if not spare.any():
            break
        cells, assays = np.nonzero(spare & (per_cell == per_cell[spare.any(axis=1)].max()))
        drop = rng.integers(len(cells))
        measured[cells[drop], assays[drop]] = False
    return measured


def _quality(path: str | Path, row: dict[str, str], key: str, span: tuple[float, float]) -> float | None:
    """The depth or enrichment in a row of the table, None where it has none."""
    text = row.get(key, "")
    if text in ("", "NA", "nan", "NaN"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not span[0] <= value <= span[1]:
        raise InputError(
            f"{path}: {key} of {row['cell']} {row['assay']} is '{text}'; give a number from {span[0]:g} to "
            f"{span[1]:g}, or leave it empty to have it drawn"
        )
    return value
