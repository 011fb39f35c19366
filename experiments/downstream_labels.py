"""Labels of the paper's downstream tasks, out of files as they are published: tables of loci and labels.

Coordinates are hg19. All but `fires` and `published_features` take a folder that holds the files named in their texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avocado.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from avocado.downstream.tasks import Task

HIGH = 0.5  # RPKM, and mean of the arcsinh RNA track, from which on a gene counts as expressed
UPSTREAM = 2_000  # bp of a promoter
ROADMAP = {"H1": "E003", "H9": "E008"}  # cell lines of replication timing
PUBLISHED = {  # feature sets of the published example, and how their files are called
    "Roadmap": "Roadmap", "ChromImpute": "ChromImpute", "PREDICTD": "PREDICTD", "Avocado, imputed": "AvocadoImp",
    "Avocado, latent factors": "AvocadoFac",
}  # fmt: skip
GENOME_FACTORS = 110  # columns of the published factors; those of the cell type follow, the same at every locus


def expression(folder: str | Path, numbers: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Promoters of protein-coding genes, 2 kb upstream, and whether 56 Roadmap epigenomes express them (n, cells).

    folder: 57epigenomes.RPKM.pc.gz and genes.gencode_v10.hg19.tsv.gz. numbers: arcsinh(RPKM) instead of RPKM ≥ 0.5.
    """
    import pandas as pd

    from avocado.generalization.tasks import read_expression

    genes, rpkm = read_expression(folder)
    forward = genes["strand"] == "+"
    start = np.where(forward, genes["start"] - UPSTREAM, genes["end"] - 1).clip(0)
    end = np.where(forward, genes["start"] + 1, genes["end"] + UPSTREAM)
    loci = pd.DataFrame({"chrom": genes["chrom"], "start": start, "end": end})
    once = ~loci.duplicated()
    values = rpkm.map(np.arcsinh) if numbers else (rpkm >= HIGH).astype(int)
    return loci[once].reset_index(drop=True), values[once].reset_index(drop=True)


def replication_timing(folder: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Loci of 40 kb, and whether they replicate early in H1, H9 and HCT116; folder: rt_40kb.hg19.npz."""
    import pandas as pd

    from avocado.generalization.tasks import loci_40kb

    with np.load(_file(folder, "rt_40kb.hg19.npz")) as file:
        values, cells = file["log2_early_late"], [str(cell) for cell in file["cell"]]
    early = np.where(np.isnan(values), np.nan, values > 0)
    return loci_40kb(), pd.DataFrame(early, columns=pd.Index([ROADMAP.get(cell, cell) for cell in cells]))


def tad_boundaries(folder: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Loci of 40 kb, and whether a TAD begins or ends there in 37 cell types; folder: tad_boundary_40kb.npz, cells.tsv.

    Cell types with a Roadmap number have it as their name.
    """
    import pandas as pd

    from avocado.generalization.tasks import loci_40kb

    with np.load(_file(folder, "tad_boundary_40kb.npz")) as file:
        boundary, cells = file["boundary"], [str(cell) for cell in file["cell"]]
    about = pd.read_csv(_file(folder, "cells.tsv"), sep="\t").set_index("cell")["roadmap_eid"].loc[cells]
    named = about.where(about.notna() & ~about.duplicated(), pd.Series(cells, index=about.index))
    return loci_40kb(), pd.DataFrame(boundary.astype(int), columns=pd.Index(named))


def fires(published: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Loci of 40 kb, and whether they are FIREs in GM12878; published: the folder with FIREs.E116.y.npy."""
    import pandas as pd

    from avocado.generalization.tasks import loci_40kb

    return loci_40kb(), pd.DataFrame({"E116": np.load(_file(published, "FIREs.E116.y.npy")).astype(int)})


def interactions(folder: str | Path) -> dict[str, pd.DataFrame]:
    """TargetFinder's pairs of an enhancer and a promoter, by cell type; folder: CELL.EID.pairs.tsv.gz.

    Columns chrom, start, end (enhancer), start2, end2 (promoter), label.
    """
    import pandas as pd

    found = {}
    for file in sorted(Path(folder).glob("*.pairs.tsv.gz")):
        table = pd.read_csv(file, sep="\t").drop(columns="distance")
        names = {"enhancer_start": "start", "enhancer_end": "end", "promoter_start": "start2", "promoter_end": "end2"}
        found[file.name.split(".")[1]] = table.rename(columns=names)
    if not found:
        raise InputError(f"{folder}: no files called CELL.EID.pairs.tsv.gz")
    return found


def published_features(folder: str | Path) -> list[tuple[Task, dict[str, np.ndarray]]]:
    """The published example: expression in IMR90 and FIREs in GM12878, each with its feature sets.

    folder: RNAseq.E017.*.npy and FIREs.E116.*.npy of the original program. Genes come without coordinates, in the order
    of the genome: their place is their number. FIREs are those of the first 3,000 loci of 40 kb.
    """
    import pandas as pd

    from avocado.downstream.tasks import Task
    from avocado.generalization.tasks import loci_40kb

    found = []
    for name, cell, prefix in (("gene expression", "E017", "RNAseq"), ("FIREs", "E116", "FIREs")):
        files = {its: Path(folder) / f"{prefix}.{cell}.{stem}.npy" for its, stem in PUBLISHED.items()}
        features = {its: np.load(file)[:, :GENOME_FACTORS] for its, file in files.items() if file.is_file()}
        if not features:
            raise InputError(f"{folder}: no files called {prefix}.{cell}.*.npy, such as {prefix}.{cell}.Roadmap.npy")
        n = len(next(iter(features.values())))
        values = np.load(_file(folder, f"{prefix}.{cell}.y.npy"))[:n]
        loci = loci_40kb()[:n]
        if prefix == "RNAseq":
            loci = pd.DataFrame({"chrom": "genome", "start": np.arange(n), "end": np.arange(1, n + 1)})
        arrays = {its: values.astype(np.float32) for its, values in features.items()}
        found.append((Task(name, cell, loci, values >= HIGH), arrays))
    return found


def long_table(loci: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """A row for each locus and cell type: what `tasks_of` takes."""
    import pandas as pd

    joined = pd.concat([loci.reset_index(drop=True), values.reset_index(drop=True)], axis=1)
    return joined.melt(id_vars=list(loci.columns), var_name="cell", value_name="label")


def _file(folder: str | Path, name: str) -> Path:
    path = Path(folder) / name
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the folder that holds it")
    return path
