"""Where imputations fail: at peaks of one cell type, of some, or of all (Avocado paper, Fig. 2).

    python -m experiments.fig2_variable_loci data=roadmap_pilot data.folder=roadmap-pilot

The cross-validation is that of `table1`, and so are its imputed tracks, where they are there. Writes
variable_loci.csv, variable_loci.png and report.html into the folder `out`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import avocado  # noqa: F401  before torch, whose threads it has settings for
from avocado.cli import app

if TYPE_CHECKING:
    from omegaconf import DictConfig

MEASURES = ["mse", "precision", "recall"]
KEYS = ["assay", "k", "n_cells", "n_loci", "n_pairs", "peaks", "method"]


def fig2(config: DictConfig) -> None:
    """Impute what is missing, then write table, figure and report."""
    import pandas as pd

    from avocado.evaluation.comparison import Lazy
    from avocado.evaluation.variable_loci import variable_loci
    from avocado.plotting.figures import plot_variable_loci
    from avocado.report.report import Picture, Report, Table, write_report
    from experiments.cross_validation import describe, impute_all, prepare, save, score
    from experiments.places import annotation_files, peaks_of

    cv = prepare(config)
    # which loci are variable is a property of the compendium, so all of its tracks count, held out or not
    pairs = list(zip(cv.store.tracks["cell"], cv.store.tracks["assay"], strict=True))
    observed = Lazy(pairs, lambda cell, assay: cv.store.read_track(cell, assay, cv.region))
    peaks = peaks_of(cv, annotation_files(config, cv.store), pairs)
    impute_all(cv)
    tables = [variable_loci(observed, cv.imputed(seed), peaks) for seed in cv.seeds]
    # NaN is a precision without imputed peaks: the mean is over the seeds that have some
    table = pd.concat(tables).groupby(KEYS, sort=False)[MEASURES].mean().reset_index()
    figure, out = plot_variable_loci(table), Path(config.out)
    save(table, out / "variable_loci.csv")
    save(figure, out / "variable_loci.png")
    shown = Table(
        "Scores by the number of cell types with a peak", table.drop(columns="peaks"),
        "k is the number of cell types in which a locus lies in a peak of the assay, out of n_cells; loci without any "
        f"are left out. Peaks: {', '.join(table['peaks'].unique())}.",
        {"mse": "lower", "precision": "higher", "recall": "higher"}, ("assay", "k"),
    )  # fmt: skip
    write_report(
        out / "report.html",
        Report(
            "Imputations at variable loci", time.strftime("%Y-%m-%d %H:%M"), describe(config, cv), score(cv), [shown],
            figures=[Picture("MSE, precision and recall by the number of cell types with a peak", figure)],
        ),
    )  # fmt: skip
    print(f"table, figure and report.html in {out}")


if __name__ == "__main__":
    sys.exit(app.run("fig2_variable_loci", fig2, sys.argv[1:]))
