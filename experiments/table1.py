"""All imputers side by side, on tracks that none of them had seen (Avocado paper, Table 1).

    python -m experiments.table1 store=my_store                                      # as `avocado ingest` made it
    python -m experiments.table1 data=roadmap_pilot data.folder=roadmap-pilot

Every method of `conf/table1.yaml` imputes every held-out track of a cross-validation. What is done is not repeated, so
it can be interrupted, and extended by adding methods or seeds. In the folder `out`:

    table1.csv          mean scores of every method, average activity first, and on how many tracks it is better
    assays.csv          the same for each assay
    scores.csv, .json   every track
    significance.csv    paired tests against average activity and the best single method, over tracks and cell types
    strata.csv          scores where cell types agree and where they differ
    costs.csv           seconds and memory of every fit
    weights.csv         of the members of ensembles
    *.png, report.html  pictures, and all of it in one file that opens anywhere
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import avocado  # noqa: F401  before torch, whose threads it has settings for
from avocado.cli import app

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from avocado.report.panels import Locus
    from avocado.report.report import Report
    from experiments.cross_validation import CrossValidation

TITLE = "Imputers side by side"
FIGURES = {
    "scores": (
        "Scores of every held-out track",
        "A row is a track, a mark a method, a dashed line the mean of a method over all tracks.",
    ),
    "strata": (
        "Skill by how much cell types differ",
        "1 − MSE / MSE of average activity, in bins by the standard deviation of their assay over training cell types.",
    ),
    "comparisons": (
        "Differences from average activity",
        "Method less average activity with the 95 % bootstrap interval over tracks; filled where that is without 0.",
    ),
}
TESTED = ("mse", "mse_1obs", "mse_1imp", "mse_prom", "mse_gene", "mse_enh", "pearson", "spearman")
# columns of the comparisons that the report shows; significance.csv has all of them
COMPARED = ["measure", "method", "reference", "unit", "n_units", "difference", "low", "high", "effect_size", "won",
            "p_t_holm", "p_wilcoxon_holm", "note"]  # fmt: skip


def table1(config: DictConfig) -> None:
    """Impute what is missing, then print the table and write tables, figures and the report."""
    from avocado.evaluation.scores import AVERAGE, LOCI_TITLES, RAW_TITLES, TITLES, stratified, write_scores
    from avocado.plotting.figures import plot_comparisons
    from avocado.plotting.generalization import plot_strata
    from avocado.plotting.plots import plot_scores
    from avocado.report.panels import differing_loci
    from avocado.report.report import assay_means, write_report
    from experiments.cross_validation import impute_all, prepare, save, score
    from experiments.places import annotation_files, places

    cv = prepare(config)
    loci = places(cv, annotation_files(config, cv.store), config.windows)  # a wrong file should not cost a night
    impute_all(cv)
    out = Path(config.out)
    scores = score(cv, loci)
    summary = summarise(scores)
    titles = TITLES | RAW_TITLES | LOCI_TITLES
    main = ["method", *(name for name in titles if name in summary), "skill", "better"]
    print(summary[main].rename(columns=titles).to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    write_scores(scores, out)
    comparisons = compare(scores, cv.ensembles)
    imputed = cv.imputed(cv.seeds[0])
    strata = stratified(cv.observed, imputed, cv.variability)
    tables = {
        "table1": summary,
        "assays": assay_means(scores),
        "significance": comparisons,
        "strata": strata,
        "costs": cv.costs(),
        "weights": cv.weights(),
    }
    for name, table in tables.items():
        save(table, out / f"{name}.csv")
    shown = comparisons[(comparisons["reference"] == AVERAGE) & (comparisons["unit"] == "track")]
    figures = {"scores": plot_scores(scores), "strata": plot_strata(strata)} | (
        {"comparisons": plot_comparisons(shown)} if len(shown) else {}
    )
    for name, figure in figures.items():
        save(figure, out / f"{name}.png")
    panels = (
        differing_loci(cv.observed, imputed, cv.store.region(cv.region), config.loci) if len(cv.methods) > 1 else []
    )
    write_report(out / "report.html", report(config, cv, scores, tables, panels, list(figures.items())))
    if config.small:
        print("small=true: settings so small that these scores say nothing of how good methods are")
    print(f"tables, figures and report.html in {out}")


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean scores, a row per method, average activity first, and on how many tracks each beats it by MSE."""
    from avocado.evaluation.scores import AVERAGE, mean_rows, track_rows

    means = mean_rows(scores).drop(columns=["cell", "assay", "bins"])
    means = means.sort_values("method", key=lambda method: method != AVERAGE, kind="stable").reset_index(drop=True)
    tracks = track_rows(scores)
    wins = (tracks["skill"] > 0).groupby(tracks["method"]).sum().loc[means["method"]].to_numpy()
    n_tracks = len(tracks) // len(means)
    better = ["" if name == AVERAGE else f"{n} of {n_tracks}" for name, n in zip(means["method"], wins, strict=True)]
    return means.assign(better=better)


def compare(scores: pd.DataFrame, ensembles: list[str]) -> pd.DataFrame:
    """Paired tests of every method against average activity and against the best single one, over tracks and cells.

    The best single method, by mean MSE, is chosen on the very tracks of the test, which favours it a little. Empty
    where there is one method. p values are adjusted within each reference and unit.
    """
    import pandas as pd

    from avocado.evaluation.scores import AVERAGE, mean_rows
    from avocado.evaluation.significance import UNITS, compare_methods

    means = mean_rows(scores).set_index("method")["mse"]
    best = str(means.drop(ensembles).idxmin())
    measures = [measure for measure in TESTED if measure in scores]
    if len(means) < 2:
        return pd.DataFrame(columns=pd.Index(COMPARED))
    references = dict.fromkeys([AVERAGE, best])
    return pd.concat(
        [compare_methods(scores, measures, reference, unit) for reference in references for unit in UNITS],
        ignore_index=True,
    )


def report(
    config: DictConfig,
    cv: CrossValidation,
    scores: pd.DataFrame,
    tables: dict[str, pd.DataFrame],
    loci: Sequence[Locus],
    figures: Sequence[tuple[str, Figure]],
) -> Report:
    """All of it for `write_report`."""
    from avocado.evaluation.scores import mean_rows
    from avocado.report.report import Picture, Report, Table
    from experiments.cross_validation import describe

    costs = tables["costs"]
    means = costs.assign(predict_seconds=costs["predict_seconds"] / costs["tracks"]).groupby("method", sort=False)
    costs = means.agg({"fit_seconds": "median", "predict_seconds": "median", "peak_gb": "max"}).reset_index()
    costs = costs.rename(columns={"fit_seconds": "fit, s", "predict_seconds": "a track, s", "peak_gb": "peak, GB"})
    strata = mean_rows(tables["strata"])[["stratum", "method", "variability", "mse", "pearson", "skill"]]
    weights = tables["weights"].groupby(["method", "member"], sort=False)["weight"].agg(["mean", "min", "max"])
    shown = [
        Table(
            "Significance", tables["significance"][COMPARED],
            "Differences are method − reference, with 95 % bootstrap intervals; p values are adjusted (Holm) for all "
            "methods and measures of one reference and unit. The best single method was chosen on these tracks.",
        ),
        Table(
            "Where cell types agree, and where they differ", strata,
            "Bins by the standard deviation of their assay over the training cell types; means over tracks, all bins, "
            f"seed {cv.seeds[0]}. Imputation is tested on places that were trained on: a method that only remembers "
            "them is no better than average activity where cell types differ. Place alone knows neither cell type nor "
            "assay.", {"mse": "lower", "pearson": "higher", "skill": "higher"}, ("stratum",),
        ),
        Table(
            "Time and memory", costs,
            "Medians over folds and seeds of wall time. Memory is the highest of the whole process, Python and PyTorch "
            "included. What an ensemble takes comes on top of its members.",
        ),
    ]  # fmt: skip
    if len(weights):
        shown.append(Table("Weights of ensembles", weights.reset_index(), "Over folds and seeds."))
    return Report(
        TITLE, time.strftime("%Y-%m-%d %H:%M"), describe(config, cv), scores, shown, loci,
        [Picture(FIGURES[name][0], figure, FIGURES[name][1]) for name, figure in figures],
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(app.run("table1", table1, sys.argv[1:]))
