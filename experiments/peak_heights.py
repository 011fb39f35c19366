"""Are imputed −log10 p values as high as observed ones? Means within 1 kb of genes' starts, and over whole tracks.

    python -m experiments.peak_heights STORE FOLDER GENES

STORE: signal store of the observed tracks; FOLDER: imputed held-out tracks, as `accuracy_by_size` (`imputed/` of its
out=) and `table1` (its cache=) keep them; GENES: GTF or BED6. For each method means over its tracks, of

    starts, whole       imputed / observed, median over tracks
    |starts|, |whole|   how far from 1 in either direction: 2^mean |log2 (imputed / observed)|
    mse, pearson        of −log10 p

with −log10 p as it is written (`scales.imputed_pval`), by sinh alone ("plain"), and multiplied by what gives the track
its observed mean ("known"), which nobody knows of a track that was not measured: what is left then is not the scale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd

from avocado.data.genome import BIN_SIZE, Region
from avocado.data.intervals import Intervals, read_genes
from avocado.data.store import SignalStore, open_store
from avocado.errors import InputError
from avocado.evaluation.annotations import region_windows
from avocado.evaluation.metrics import coverage, mse, pearson
from avocado.model.scales import imputed_pval, pval

NEAR = 1000  # bp on both sides of a start


def near_starts(region: Region, genes: Intervals) -> np.ndarray:
    """Bool (n_bins,): bins of a region within `NEAR` of the start of a gene."""
    start = np.where(genes.forward, genes.start, genes.end - 1)
    bins = np.stack([(start - NEAR) // BIN_SIZE, (start + NEAR) // BIN_SIZE + 1], axis=1)
    return coverage(region_windows(region, genes.chrom, bins)[0], region.n_bins) > 0


def heights(observed: np.ndarray, imputed: np.ndarray, near: np.ndarray) -> list[dict[str, float | str]]:
    """A row for each way back from imputed arcsinh signal (n_bins,) to −log10 p; `near`: bool (n_bins,)."""
    seen, plain = pval(observed.astype(np.float64)), pval(imputed.astype(np.float64))
    ways = {"written": imputed_pval(imputed.astype(np.float64)), "plain": plain}
    ways["known"] = plain * (seen.mean() / plain.mean())
    return [
        {
            "scale": way,
            "observed": seen[near].mean(),
            "imputed": its[near].mean(),
            "starts": its[near].mean() / seen[near].mean(),
            "whole": its.mean() / seen.mean(),
            "mse": mse(seen, its),
            "pearson": pearson(seen, its),
        }
        for way, its in ways.items()
    ]


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each method and scale: medians of the ratios, how far they are from 1, means of the rest."""
    groups = rows.groupby(["method", "scale"], sort=False)
    table = groups[["starts", "whole"]].median()
    for name in ("starts", "whole"):
        table[f"|{name}|"] = groups[name].apply(lambda ratio: 2 ** np.abs(np.log2(ratio)).mean())
    return table.join(groups[["mse", "pearson"]].mean()).assign(tracks=groups.size()).reset_index()


def kept(store: SignalStore, folder: Path) -> Iterator[tuple[str, str, str, str, Path]]:
    """Method, region, cell type, assay and file of every imputed track of this store in a folder."""
    for file in sorted(folder.glob("*/what.json")):
        what = json.loads(file.read_text())
        if what["store"] != store.checksum:
            continue
        settings = json.loads(what["settings"])
        method = " ".join([settings["imputer"], *(f"seed {settings[key]}" for key in ["seed"] if key in settings)])
        for track in sorted(file.parent.glob("*/*.npy")):
            cell, assay = (unquote(name) for name in track.stem.split(","))
            yield method, unquote(track.parent.name), cell, assay, track


def main(arguments: Sequence[str]) -> int:
    """Print both tables; returns the exit status."""
    if len(arguments) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        store = open_store(arguments[0])
        genes, rows, near = read_genes(arguments[2], store.assembly), [], {}
        for method, region, cell, assay, file in kept(store, Path(arguments[1])):
            if region not in near:
                near[region] = near_starts(store.region(region), genes)
            found = heights(store.read_track(cell, assay, region), np.load(file), near[region])
            rows += [{"method": method, "track": f"{cell} {assay}", **row} for row in found]
        if not rows:
            raise InputError(f"{arguments[1]}: no imputed tracks of store {store.path} there")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    table = pd.DataFrame(rows)
    for shown in (table.drop(columns=["mse", "pearson"]), summarise(table)):
        print(shown.to_string(index=False, float_format=lambda value: f"{value:.3g}"), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
