"""Evaluation across cell types rewards memorising places (Schreiber et al. 2020, "A pitfall", Fig. 1, S1, S2, S4, S5).

    python -m experiments.pitfall small=true                # a simulated genome, less than three minutes
    python -m experiments.pitfall labels=labels             # expression of 56 epigenomes, TAD boundaries of 37

Boosted trees and networks of growing size are trained under three schemes, on what differs between cell types and on
what does not, and compared with average activity. What is done is not repeated. In the folder `out`:

    models.csv        every model: scheme, inputs, size, average precision, balanced skill
    baselines.csv     average activity, nearest cell type and base rate of every test set
    groups.csv        average precision by the number of training cell types in which a locus is 1
    cell_types.csv    single cell types as the predictor
    remedies.csv      average activity as a feature, and the difference from it
    *.png, report.html
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import avocado  # noqa: F401  before torch, whose threads it has settings for
from avocado.cli import app
from experiments.pitfall_plan import announcement, missing, plan, read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from avocado.generalization.check import SplitCheck
    from avocado.report.report import Report
    from experiments.pitfall_plan import Part, Settings


def pitfall(config: DictConfig) -> None:
    """Train what is missing, then write tables, figures and the report."""
    import pandas as pd
    import torch

    from avocado.report.report import write_report
    from experiments.cross_validation import save

    torch.set_num_threads(config.threads)
    settings = read_settings(config)
    parts, out = plan(settings), Path(settings.out)
    print(announcement(settings, parts))
    models = pd.concat([part.study.run([*part.jobs, *part.remedies], settings.progress) for part in parts])
    baselines = pd.concat(
        [part.study.baselines(its).assign(task=part.study.task.name) for part in parts for its in part.designs]
    )
    groups = pd.concat([groups_of(part).assign(task=part.study.task.name) for part in parts])
    cells = pd.concat([single_cells_of(part) for part in parts])
    tables = {"models": models, "baselines": baselines, "groups": groups, "cell_types": cells,
              "remedies": remedies_of(models, baselines)}  # fmt: skip
    for name, table in tables.items():
        save(table, out / f"{name}.csv")
    figures = draw(parts, models, baselines, groups, cells)
    for name, figure in figures.items():
        save(figure, out / f"{name}.png")
    check = check_largest(parts[0])
    write_report(out / "report.html", report(settings, parts, tables, figures, check))
    print(largest(models).to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    print(f"\n{check.verdict}\n\ntables, figures and report.html in {out}")


def single_cells_of(part: Part) -> pd.DataFrame:
    """Every cell type alone as the predictor of the first design's target."""
    target = part.designs[0].target
    return part.study.single_cells(target).assign(target=target, task=part.study.task.name)


def groups_of(part: Part) -> pd.DataFrame:
    """Average activity and the largest trees of the first design by variability of the locus."""
    from avocado.generalization.study import by_number
    from avocado.generalization.verdict import Scheme
    from avocado.imputers.average import AVERAGE

    design = part.designs[0]
    label, known = part.study.truth(design)
    predictors = {AVERAGE: known.astype(float)}
    for job in part.jobs:
        if job.design == design and job.model == "trees" and job.scheme is Scheme.CROSS_CELL_TYPE and not job.seed:
            predictors[job.inputs] = part.study.predictions(job)["scores"][-1].astype(float)
    return by_number(label, predictors, known)


def check_largest(part: Part) -> SplitCheck:
    """What `avocado.check_split` says of the cross-cell-type split of the first design, and of its largest trees."""
    import numpy as np

    from avocado.generalization.check import check_split
    from avocado.generalization.splits import split_table
    from avocado.generalization.verdict import Scheme

    design, task = part.designs[0], part.study.task
    split = part.study.splits(design)[Scheme.CROSS_CELL_TYPE]
    table = split_table(split, task.loci, task.cells, task.label)
    predictions, test = {}, (table["split"] == "test").to_numpy()
    for job in part.jobs:
        if job.design == design and job.model == "trees" and job.scheme is Scheme.CROSS_CELL_TYPE and not job.seed:
            values = np.full(len(table), np.nan)
            values[test] = part.study.predictions(job)["scores"][-1]
            predictions[f"trees on {job.inputs}"] = values
    return check_split(table, predictions)


def remedies_of(models: pd.DataFrame, baselines: pd.DataFrame) -> pd.DataFrame:
    """Trees with and without remedies, and average activity: means over targets of AP and balanced skill."""
    import pandas as pd

    from avocado.imputers.average import AVERAGE

    tried = models[models["remedy"] != ""]
    if tried.empty:
        return tried
    same = models.merge(
        tried[["task", "target", "test_chroms", "scheme", "inputs", "model", "size"]].drop_duplicates()
    )  # fmt: skip
    keys = ["task", "scheme", "inputs", "remedy"]
    table = same.groupby(keys, sort=False)[["ap", "balanced"]].mean().reset_index()
    chosen = tried[["task", "target", "test_chroms"]].drop_duplicates()
    average = baselines[baselines["predictor"] == AVERAGE].merge(chosen)[["ap", "balanced"]].mean()
    first = pd.DataFrame([{"task": table["task"][0], "scheme": "any", "inputs": AVERAGE, "remedy": "", **average}])
    return pd.concat([first, table], ignore_index=True)


def largest(models: pd.DataFrame) -> pd.DataFrame:
    """Average precision of the smallest and largest models of each kind, by scheme: means over targets and seeds."""
    plain = models[models["remedy"] == ""]
    keys = ["task", "model", "inputs", "size"]
    means = plain.groupby([*keys, "scheme"], sort=False)["ap"].mean().unstack("scheme").reset_index()
    ends = means.groupby(["task", "model", "inputs"], sort=False)["size"].agg(["min", "max"]).reset_index()
    means = means.merge(ends)
    return means[(means["size"] == means["min"]) | (means["size"] == means["max"])].drop(columns=["min", "max"])


def draw(
    parts: Sequence[Part], models: pd.DataFrame, baselines: pd.DataFrame, groups: pd.DataFrame, cells: pd.DataFrame
) -> dict[str, Figure]:
    """Figures by the names of their files."""
    from avocado.plotting.generalization import plot_numbers, plot_single_cells, plot_sizes

    figures = {}
    for part in parts:
        name, design = part.study.task.name, part.designs[0]
        slug = name.lower().replace(",", "").replace(" ", "_")
        its = models[(models["task"] == name) & (models["remedy"] == "")]
        its = its[(its["target"] == design.target) & (its["test_chroms"] == ",".join(design.test_chroms))]
        lines = baselines[(baselines["task"] == name) & (baselines["target"] == design.target)]
        lines = lines[lines["test_chroms"] == ",".join(design.test_chroms)]
        for model in sorted(set(its["model"])):
            figures[f"{slug}_{model}"] = plot_sizes(its[its["model"] == model], lines)
        if (groups["task"] == name).any():
            figures[f"{slug}_groups"] = plot_numbers(groups[groups["task"] == name])
        figures[f"{slug}_cell_types"] = plot_single_cells(cells[cells["task"] == name], design.target)
    return figures


def report(
    settings: Settings, parts: Sequence[Part], tables: dict[str, pd.DataFrame], figures: dict[str, Figure],
    check: SplitCheck,
) -> Report:  # fmt: skip
    """All of it for `write_report`."""
    from avocado.report.report import Picture, Report, Table

    models, baselines = tables["models"], tables["baselines"]
    summary = {
        part.study.task.name: f"{len(part.study.task.loci):,} loci, {len(part.study.task.cells)} cell types; tested in "
        + ", ".join(f"{its.target} ({' '.join(its.test_chroms)})" for its in part.designs)
        for part in parts
    } | {f"not there: {name}": why for name, why in missing(settings, parts).items() if settings.labels}
    shown = [
        Table(
            "The smallest and the largest models", largest(models),
            "Average precision on the same test examples under each scheme; means over targets, test sets and seeds.",
        ),
        Table("What needs no model", baselines, "Of every test set.", {"ap": "higher"}, ("target", "test_chroms")),
        Table(
            "Remedies", tables["remedies"],
            "100 trees with average activity as a feature, or starting from its log odds: means over targets. Balanced:"
            " mean over groups of equal variability of 2 × area under the ROC curve − 1: average activity has 0.",
            {"ap": "higher", "balanced": "higher"}, ("scheme",),
        ),
        Table("By variability of the locus", tables["groups"], "Largest trees, across cell types.", {"ap": "higher"},
              ("task", "number")),
        Table("Single cell types as the predictor", tables["cell_types"], "All loci.", {"ap": "higher"}, ("task",)),
        Table("Every model", models, "A row for each."),
    ]  # fmt: skip
    return Report(
        "A pitfall of evaluation across cell types", time.strftime("%Y-%m-%d %H:%M"), summary, None,
        [table for table in shown if len(table.frame)],
        figures=[Picture(name.replace("_", " "), figure) for name, figure in figures.items()],
        verdict=f"{check.verdict}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(app.run("pitfall", pitfall, sys.argv[1:]))
