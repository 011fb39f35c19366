"""Pictures of how models generalise: by variability of loci, by similarity of cell types, by size of the model."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avocado.evaluation.scores import AVERAGE
from avocado.generalization.groups import VARYING
from avocado.plotting.plots import DASHED, GRID, MUTED, quiet
from avocado.plotting.style import colors_of, markers_of

BASE = "base rate"


def plot_groups(groups: pd.DataFrame, measure: str) -> Figure:
    """A score within groups of loci by variability between cell types, a line for each predictor (Fig. S4).

    groups: as `SplitCheck` has them, columns group, predictor, value, low, high and base_rate; bars are intervals, the
    grey line is the base rate of each group. Raises ValueError for an empty table.
    """
    if groups.empty:
        raise ValueError("no groups to draw: the table is empty")
    names, predictors = list(dict.fromkeys(groups["group"])), list(dict.fromkeys(groups["predictor"]))
    colors, markers = colors_of(predictors), markers_of(predictors)
    figure = Figure(figsize=(1.5 + 1.1 * len(names), 4), facecolor="white", layout="constrained")
    ax = figure.subplots()
    x = np.arange(len(names), dtype=float)
    if VARYING in names:  # which is no group, and no line leads from it to one
        names.insert(1, "")
        x = np.concatenate([[0.0, 0.6], x[1:] + 0.2])
    base = groups.drop_duplicates("group").set_index("group")["base_rate"]
    ax.plot(x, base.reindex(names), color=MUTED, linewidth=1.2, marker=".", label=BASE)
    for number, name in enumerate(predictors):
        its = groups[groups["predictor"] == name].set_index("group").reindex(names)
        at = x + 0.08 * (number - (len(predictors) - 1) / 2)  # intervals side by side
        errors = np.abs(its[["low", "high"]].to_numpy() - its[["value"]].to_numpy()).T
        ax.errorbar(
            at, its["value"], errors, color=colors[name], marker=markers[name], markersize=5, linewidth=1.4,
            elinewidth=1, label=name, linestyle=DASHED if name == AVERAGE else "-",
        )  # fmt: skip
    counts = groups.drop_duplicates("group").set_index("group")["examples"]
    ticks = [(place, f"{name}\n{counts[name]:,}") for place, name in zip(x, names, strict=True) if name]
    ax.set_xticks(*zip(*ticks, strict=True), fontsize=8)
    ax.set_xlabel("test examples by label in the training cell types", fontsize=8, color=MUTED)
    _finish(ax, measure)
    figure.legend(loc="outside upper center", ncols=min(4, len(predictors) + 1), frameon=False, fontsize=9)
    return figure


def _finish(ax: Axes, measure: str) -> None:
    ax.set_ylabel(measure, fontsize=9)
    ax.tick_params(labelsize=8, length=2)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    quiet(ax)
