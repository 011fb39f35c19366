"""Signal as the epigenome that models see: tracks of a store, real or simulated, and read counts of five marks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from avocado.data.store import SignalStore
from avocado.downstream.features import held, own_tracks, tracks_at
from avocado.errors import InputError
from avocado.generalization.inputs import Inputs
from avocado.generalization.tasks import AUTOSOMES, Task, existing, read_expression

PLACES, PLACE = 10, 1_000  # windows around the anchor of a locus, and bp of each
MARKS_FILE = Path("deepdiff_E123_E003", "counts.npz")
MARKS_CELLS = ("E123", "E003")
MARKS_JOINED = 10  # bins of 100 bp whose counts are summed


def with_tracks(task: Task, store: SignalStore) -> Task:
    """The loci whose surroundings a store holds, in the cell types that it has tracks of.

    Raises InputError where there are fewer than two of these, or no locus.
    """
    cells = [number for number, cell in enumerate(task.cells) if cell in store.cells]
    kept = _held(task, store)
    if len(cells) < 2 or not kept.any():
        raise InputError(
            f"{store.path} holds {len(cells)} cell types and {int(kept.sum())} loci of {task.name}: "
            "give a store of the same assembly with tracks of two of its cell types"
        )
    return replace(
        task, loci=task.loci[kept].reset_index(drop=True), cells=tuple(task.cells[number] for number in cells),
        label=task.label[kept][:, cells], states=None, state_cells=(),
    )  # fmt: skip


def track_inputs(task: Task, store: SignalStore) -> Inputs:
    """Mean arcsinh signal of every assay in 10 windows of 1 kb around the anchor; −1 where it was not measured."""
    windows = [tracks_at(store, its) for its in _windows(task.loci)]
    by_cell = [np.concatenate([own_tracks(its, cell) for its in windows], axis=1) for cell in task.cells]
    return Inputs("tracks", np.stack(by_cell, axis=1))


def marks_task(folder: str | Path, high: float) -> tuple[Task, Inputs]:
    """Is a gene expressed in K562 and H1, with reads of the five core marks around its start? 557 genes of autosomes.

    folder: with deepdiff_E123_E003/counts.npz, reads in 200 bins of 100 bp, and expression/. What the marks are called
    is not known. The features are log(1 + reads) of 1 kb.
    """
    genes, rpkm = read_expression(Path(folder) / "expression")
    with np.load(existing(Path(folder) / MARKS_FILE), allow_pickle=False) as found:
        counts, names = [found[cell] for cell in MARKS_CELLS], found["gene"]
    rows = pd.Index(genes["gene_id"]).get_indexer(pd.Index(names))
    kept = (rows >= 0) & genes["chrom"].isin(AUTOSOMES).to_numpy()[rows]
    its = genes.iloc[rows[kept]].reset_index(drop=True)
    loci = its[["chrom", "start", "end"]].assign(anchor=np.where(its["strand"] == "-", its["end"] - 1, its["start"]))
    label = (rpkm.iloc[rows[kept]][list(MARKS_CELLS)].to_numpy() >= high).astype(np.uint8)
    joined = [
        np.log1p(its[kept].reshape(kept.sum(), -1, MARKS_JOINED, its.shape[2]).sum(axis=2)).reshape(kept.sum(), -1)
        for its in counts
    ]
    return Task("expression, five marks", loci, MARKS_CELLS, label), Inputs(
        "marks", np.stack(joined, axis=1, dtype="f4")
    )


def _windows(loci: pd.DataFrame) -> list[pd.DataFrame]:
    first = loci["anchor"].to_numpy() - PLACES // 2 * PLACE
    return [
        pd.DataFrame({"chrom": loci["chrom"], "start": first + number * PLACE, "end": first + (number + 1) * PLACE})
        for number in range(PLACES)
    ]


def _held(task: Task, store: SignalStore) -> np.ndarray:
    """Whether a store holds all that lies around a locus, bool (n_loci,)."""
    windows = _windows(task.loci)
    whole = pd.DataFrame({"chrom": task.loci["chrom"], "start": windows[0]["start"], "end": windows[-1]["end"]})
    inside = (whole["start"] >= 0) & whole["chrom"].isin(list(store.assembly.sizes))
    found = np.zeros(len(whole), dtype=bool)
    found[inside] = held(whole[inside], store.regions, store.assembly)
    return found
