"""Tasks of the study: a label for every locus in every cell type, and what is known of the loci."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from avocado.data.genome import BIN_SIZE, load_assembly
from avocado.errors import InputError
from avocado.simulation.assay_shapes import ROADMAP_ASSAYS
from avocado.simulation.chromatin import simulate_chromatin
from avocado.simulation.lineages import make_tree

HIGH = 0.5  # RPKM, from which a gene counts as expressed
AUTOSOMES = [f"chr{number}" for number in range(1, 23)]
WINDOWS = 50  # of 200 bp around a gene's start
WINDOW = 200
WIDTH = 40_000  # bp of a locus of TADs


@dataclass(frozen=True)
class Task:
    """Labels of loci in cell types."""

    name: str
    loci: pd.DataFrame  # chrom, start, end, and anchor: its middle, or the start of a gene
    cells: tuple[str, ...]
    label: np.ndarray  # uint8 (n_loci, n_cells)
    states: np.ndarray | None = None  # uint8 (n_loci, n_state_cells, n_windows), 0 where there is none
    state_cells: tuple[str, ...] = ()

    @property
    def chrom(self) -> np.ndarray:
        """Chromosome of every locus."""
        return self.loci["chrom"].to_numpy()

    def of(self, cells: Sequence[str]) -> Task:
        """The same of some cell types, which have states."""
        states = None if self.states is None else self.states[:, [self.state_cells.index(cell) for cell in cells]]
        label = self.label[:, [self.cells.index(cell) for cell in cells]]
        return replace(self, cells=tuple(cells), label=label, states=states, state_cells=tuple(cells))


def expression_task(folder: str | Path, high: float = HIGH) -> Task:
    """Is a protein-coding gene expressed? In 56 Roadmap epigenomes, with promoter states of 6 of them.

    folder: with expression/57epigenomes.RPKM.pc.gz and genes.gencode_v10.hg19.tsv.gz, and
    promoter_states/states25.tss5kb.npz (25 chromatin states in 50 windows of 200 bp around the gene's start). A locus
    is a gene of an autosome; it counts as expressed from `high` RPKM.
    """
    folder = Path(folder)
    genes, rpkm = read_expression(folder / "expression")
    kept = genes["chrom"].isin(AUTOSOMES).to_numpy()
    genes, rpkm = genes[kept].reset_index(drop=True), rpkm[kept]
    with np.load(existing(folder / "promoter_states" / "states25.tss5kb.npz")) as states:
        cells = [str(cell) for cell in states["cell"]]
        if list(states["gene"][kept]) != list(genes["gene_id"]):
            raise InputError(f"{folder}: the promoter states are of other genes than the expression")
        used = [number for number, cell in enumerate(cells) if cell in rpkm]
        windows = states["state"][kept][:, used]
    anchor = np.where(genes["strand"] == "-", genes["end"] - 1, genes["start"])
    loci = genes[["chrom", "start", "end"]].assign(anchor=anchor)
    label = (rpkm.to_numpy() >= high).astype(np.uint8)
    return Task("expression", loci, tuple(rpkm.columns), label, windows, tuple(cells[number] for number in used))


def read_expression(folder: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Protein-coding genes (chrom, start, end, strand, ...), and RPKM of these in 56 Roadmap epigenomes, row by row.

    folder: 57epigenomes.RPKM.pc.gz and genes.gencode_v10.hg19.tsv.gz.
    """
    # data lines have a field more than the header: without these options every column would be the next one's
    file = existing(Path(folder) / "57epigenomes.RPKM.pc.gz")
    rpkm = pd.read_csv(file, sep="\t", usecols=range(58), index_col=False).set_index("gene_id")
    genes = pd.read_csv(existing(Path(folder) / "genes.gencode_v10.hg19.tsv.gz"), sep="\t")
    # the universal reference, E000, is no cell type
    return genes, rpkm.drop(columns="E000").loc[genes["gene_id"]].reset_index(drop=True)


def loci_40kb() -> pd.DataFrame:
    """The 72,036 loci of 40 kb of the autosomes of hg19, the last one of a chromosome shorter: chrom, start, end."""
    sizes = load_assembly("hg19").sizes
    starts = {chrom: np.arange(0, sizes[chrom], WIDTH) for chrom in AUTOSOMES}
    tables = [
        pd.DataFrame({"chrom": chrom, "start": its, "end": np.minimum(its + WIDTH, sizes[chrom])})
        for chrom, its in starts.items()
    ]
    return pd.concat(tables, ignore_index=True)


def tads_task(folder: str | Path) -> Task:
    """Does a 40-kb bin hold a TAD boundary? In 37 cell types, without any epigenome.

    folder: with tads/tad_boundary_40kb.npz, the bins of chr1 to chr22 of hg19 in order, and tads/cells.tsv.
    """
    with np.load(existing(Path(folder) / "tads" / "tad_boundary_40kb.npz")) as found:
        label, cells = found["boundary"], [str(cell) for cell in found["cell"]]
    loci = loci_40kb()
    if len(loci) != len(label):
        raise InputError(f"{folder}: {len(label):,} TAD bins, but chr1 to chr22 of hg19 have {len(loci):,} of 40 kb")
    loci = loci.assign(end=loci["start"] + WIDTH, anchor=loci["start"] + WIDTH // 2)
    return Task("TAD boundaries", loci, tuple(cells), label.astype(np.uint8))


def simulated_task(seed: int = 0, n_cells: int = 12, n_chroms: int = 22, size: int = 6_000_000) -> Task:
    """Expression and promoter states of a simulated genome, as those of Roadmap, of all its cell types.

    A gene is expressed where its activity is at least half of a typical active gene's. How much of the label hangs on
    the gene, its lineage and the cell type is the simulation's (see `simulation.chromatin`).
    """
    rng, tree = np.random.default_rng(seed), make_tree(n_cells)
    tables, labels, windows = [], [], []
    for number in range(1, n_chroms + 1):
        land = simulate_chromatin(rng, size, tree, (ROADMAP_ASSAYS[0],))
        genes = land.genes
        tables.append(
            pd.DataFrame({"chrom": f"chr{number}", "start": genes.start, "end": genes.end, "anchor": genes.tss})
        )
        labels.append((genes.activity >= HIGH).astype(np.uint8))
        offsets = (np.arange(WINDOWS) - WINDOWS // 2) * WINDOW + WINDOW // 2  # middles of the windows, upstream first
        middles = genes.tss[:, None] + np.where(genes.forward[:, None], offsets, -offsets)
        inside = (middles >= 0) & (middles < size)
        bins = np.clip(middles // BIN_SIZE, 0, land.states.shape[1] - 1)
        windows.append(np.where(inside, land.states[:, bins] + 1, 0).swapaxes(0, 1))  # (n_genes, n_cells, n_windows)
    loci = pd.concat(tables, ignore_index=True)
    states = np.concatenate(windows).astype(np.uint8)
    return Task("simulated expression", loci, tuple(tree.cells), np.concatenate(labels), states, tuple(tree.cells))


def table_task(name: str, path: str | Path) -> Task:
    """Labels 0 and 1 of a table with the columns chrom, start, end, label and cell, at loci with all of them.

    The anchor of a locus is its middle, such as that of the promoters that `avocado simulate` writes.
    """
    rows = pd.read_csv(existing(Path(path)), sep="\t")
    wide = rows.pivot_table(index=["chrom", "start", "end"], columns="cell", values="label", aggfunc="max").dropna()
    loci = wide.index.to_frame(index=False)
    loci["anchor"] = (loci["start"] + loci["end"]) // 2
    return Task(name, loci, tuple(map(str, wide.columns)), wide.to_numpy(np.uint8))


def existing(path: Path) -> Path:
    """The file itself. Raises InputError where there is none."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the folder that holds it as labels=")
    return path
