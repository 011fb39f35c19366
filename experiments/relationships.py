"""Do imputed assays stand to each other at genes as the measured ones do? (Avocado paper, pairwise relationships.)

    python -m experiments.relationships genes=gencode.v10.gtf.gz data=roadmap_pilot data.folder=roadmap-pilot

The cross-validation is that of `table1`, and so are its imputed tracks, where they are there. Only pairs of tracks of
one cell type of which both were held out, in whichever fold, can be compared. In the folder `out`:

    relationships.csv     every relationship, cell type and method
    summary.csv           means over cell types, with intervals
    significance.csv      paired tests against average activity, over cell types
    relationships.png, report.html
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import avocado  # noqa: F401  before torch, whose threads it has settings for
from avocado.cli import app

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from omegaconf import DictConfig

    from avocado.evaluation.relationships import Relationships
    from experiments.cross_validation import CrossValidation

MEASURES = ["error", "correlation_error"]
SHOWN = ["relationship", "measure", "method", "n_units", "difference", "low", "high", "won", "p_t_holm",
         "p_wilcoxon_holm", "note"]  # fmt: skip


def relationships(config: DictConfig) -> None:
    """Impute what is missing, then write tables, figure and report."""
    import pandas as pd

    from avocado.errors import InputError
    from avocado.evaluation.relationships import summarise
    from avocado.plotting.figures import plot_relationships
    from avocado.report.report import Picture, Report, Table, write_report
    from experiments.cross_validation import describe, impute_all, prepare, save, score
    from experiments.places import annotation_files

    cv = prepare(config)
    file = annotation_files(config, cv.store)["genes"]
    if file is None:
        raise InputError("relationships are looked at in genes: give genes= a GTF or BED6 file")
    windows = gene_windows(cv, file)
    impute_all(cv)
    found = compare(cv, *windows)
    if found.table.empty:
        lacking = "; ".join(f"{name}: {why}" for name, why in found.left_out.items())
        raise InputError(f"no relationship can be compared: {lacking}")
    summary, tests, out = summarise(found.table), significance(found.table), Path(config.out)
    figure = plot_relationships(summary)
    for name, table in {"relationships": found.table, "summary": summary, "significance": tests}.items():
        save(table, out / f"{name}.csv")
    save(figure, out / "relationships.png")
    left_out = pd.DataFrame(found.left_out.items(), columns=pd.Index(["relationship", "why"]))
    tables = [
        Table(
            "Errors of relationships", summary,
            "Mean over genes and cell types of |observed − imputed| difference or product of marks, and mean over cell "
            "types of the error of their correlation; 95 % intervals over cell types.",
            {"mean": "lower"}, ("relationship", "measure"),
        ),
        Table("Correlations", found.table, better=dict.fromkeys(MEASURES, "lower"), within=("relationship", "cell")),
        Table("Significance", tests[SHOWN], "Against average activity, over cell types; p adjusted (Holm) within each "
              "relationship."),
    ]  # fmt: skip
    if len(left_out):
        tables.append(Table("Relationships that cannot be compared", left_out))
        print("\n".join(f"left out: {name}: {why}" for name, why in found.left_out.items()))
    write_report(
        out / "report.html",
        Report(
            "Relationships between assays at genes", time.strftime("%Y-%m-%d %H:%M"), describe(config, cv), score(cv),
            tables, figures=[Picture("Errors of relationships", figure)],
        ),
    )  # fmt: skip
    print(f"tables, figure and report.html in {out}")


def gene_windows(cv: CrossValidation, file: str) -> tuple[np.ndarray, np.ndarray]:
    """Promoter and body of every gene of a file, int (n_genes, 2) each: bin ranks, [0, 0) outside the region."""
    from avocado.data.intervals import read_genes
    from avocado.evaluation.annotations import body_bins, promoter_bins, region_windows
    from avocado.evaluation.relationships import whole_windows

    genes, region = read_genes(file, cv.store.assembly), cv.store.region(cv.region)
    promoters, bodies = (
        whole_windows(bins, *region_windows(region, genes.chrom, bins))
        for bins in (promoter_bins(genes), body_bins(genes))
    )
    return promoters, bodies


def compare(cv: CrossValidation, promoters: np.ndarray, bodies: np.ndarray) -> Relationships:
    """Errors of all relationships, every one a mean over the seeds."""
    import pandas as pd

    from avocado.evaluation.relationships import Relationships, compare_relationships, gene_values

    observed = gene_values(cv.observed, promoters, bodies)
    found = [
        compare_relationships(
            observed, {name: gene_values(tracks, promoters, bodies) for name, tracks in cv.imputed(seed).items()}
        )
        for seed in cv.seeds
    ]
    keys = ["relationship", "kind", "cell", "method", "n_genes"]
    table = pd.concat([each.table for each in found]).groupby(keys, sort=False).mean().reset_index()
    return Relationships(table, found[0].left_out)


def significance(table: pd.DataFrame) -> pd.DataFrame:
    """Paired tests against average activity for each relationship; a cell type is one observation."""
    import pandas as pd

    from avocado.evaluation.scores import AVERAGE
    from avocado.evaluation.significance import compare_methods

    rows = []
    for name, group in table.groupby("relationship", sort=False):
        measures = [measure for measure in MEASURES if group[measure].notna().any()]
        tests = compare_methods(group.assign(assay=name), measures, AVERAGE, "cell")
        tests.insert(0, "relationship", name)
        rows.append(tests)
    return pd.concat(rows, ignore_index=True)


if __name__ == "__main__":
    sys.exit(app.run("relationships", relationships, sys.argv[1:]))
