"""The page of a checked split: the verdict, and the tables behind it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.generalization.check import PLACE, SplitCheck
from avocado.imputers.average import AVERAGE
from avocado.plotting.generalization import plot_groups
from avocado.report.report import Picture, Report, Table, write_report

if TYPE_CHECKING:
    import pandas as pd


def write_split_report(path: str | Path, check: SplitCheck) -> None:
    """Write what `avocado.check_split` found as one HTML file that loads nothing from elsewhere."""
    write_report(Path(path), split_report(check))


def split_report(check: SplitCheck) -> Report:
    """The same as a Report."""
    over = f"{check.measure[:1].upper()}{check.measure[1:]}, with 95 % bootstrap intervals over {check.drawn}"
    tables = [
        Table(
            "Scores", check.scores, f"{over}. Place identity is what a model gets that only knows which locus it is; "
            f"{AVERAGE} is the mean label of the training cell types at the locus. Within loci: of two test cell types "
            "with different labels at a locus, how often the right one is first; 0.5 knows only the place.",
            {"value": "higher"},
        ),
        Table("Models less what needs no model", check.differences, "Above 0 the model is better.", {}),
        Table(
            "By variability of the locus", check.groups,
            f"{over}. Within a group {AVERAGE} has little to say: memorising it gives the base rate.",
            {"value": "higher"}, ("group",),
        ),
        Table("By test cell type", check.cells, "The most similar training cell type is found by the test labels."),
        Table("What test shares with training", check.overlap, "Test examples that have it in training, too."),
        Table(
            "Similarity of cell types", check.similarity.sort_values(["cell", "value"], ascending=[True, False]),
            f"The labels of one training cell type as the predictor: {check.measure}.", {"value": "higher"}, ("cell",),
        ),
    ]  # fmt: skip
    # place identity is average activity wherever that is known and in training: one line for both
    known = (
        check.groups[check.groups["predictor"] != PLACE] if AVERAGE in set(check.scores["predictor"]) else check.groups
    )
    figures = [Picture("Scores by variability", plot_groups(known, check.measure))] if len(known) else []
    return Report(
        "Which pitfall does this split risk?",
        time.strftime("%Y-%m-%d %H:%M"),
        {"split": str(check.scheme), "finding": str(check.finding), **check.summary},
        None,
        [replace(table, frame=_titled(table.frame)) for table in tables if len(table.frame)],
        figures=figures,
        verdict=check.verdict,
    )


def _titled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns=lambda name: str(name).replace("_", " "))
