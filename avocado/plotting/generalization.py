"""Pictures of how models generalise: by variability of loci, by similarity of cell types, by size of the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from avocado.evaluation.scores import AVERAGE, mean_rows
from avocado.generalization.groups import VARYING
from avocado.plotting.plots import DASHED, GRID, MUTED, quiet
from avocado.plotting.style import COLORS, OTHER_COLORS, colors_of, markers_of

BASE = "base rate"
BASELINES = {AVERAGE: (COLORS[AVERAGE], DASHED), "nearest cell type": ("#5c5c8a", ":"), BASE: (MUTED, "-")}


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


def plot_sizes(rows: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Average precision against the size of models, a panel for each scheme, a colour for each input (Fig. 1d–i, S1).

    rows: of one task, target and kind of model, as `Study.run` makes them: a dot is a trained model, a line joins the
    means of one size, of networks with as many layers. baselines: of `Study.baselines`. Raises ValueError for an empty
    table.
    """
    if rows.empty:
        raise ValueError("no models to draw: the table is empty")
    schemes, inputs = list(dict.fromkeys(rows["scheme"])), sorted(set(rows["inputs"]))  # one colour in all pictures
    colors, markers = colors_of(inputs), markers_of(inputs)
    figure = Figure(figsize=(3.4 * len(schemes) + 0.6, 3.9), facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(schemes), sharey=True, squeeze=False)[0]
    for ax, scheme in zip(panels, schemes, strict=True):
        for name in inputs:
            its = rows[(rows["scheme"] == scheme) & (rows["inputs"] == name)]
            if len(its):
                ax.scatter(
                    its["size"], its["ap"], 16, color=colors[name], marker=markers[name], alpha=0.7, linewidths=0
                )
                for _, alike in its.groupby("layers", dropna=False):
                    mean = alike.groupby("size")["ap"].mean()
                    ax.plot(mean.index, mean, color=colors[name], linewidth=1.2, alpha=0.8)
        for name, value in baselines.set_index("predictor")["ap"].items():
            style = BASELINES[str(name)]
            ax.axhline(value, color=style[0], linestyle=style[1], linewidth=1.4, zorder=1)
        ax.set_xscale("log")
        ax.set_title(scheme, fontsize=10, fontweight="bold")
        ax.set_xlabel("trees" if (rows["model"] == "trees").all() else "parameters", fontsize=9)
        _finish(ax, "average precision" if ax is panels[0] else "")
    handles = [
        *(Line2D([], [], color=colors[name], marker=markers[name], linewidth=1.2, label=name) for name in inputs),
        *(Line2D([], [], color=BASELINES[name][0], linestyle=BASELINES[name][1], label=name)
          for name in baselines["predictor"]),
    ]  # fmt: skip
    title = f"{rows['task'].iloc[0]}, tested in {rows['target'].iloc[0]}"
    figure.legend(
        handles=handles, title=title, loc="outside upper center", ncols=4, frameon=False, fontsize=8, title_fontsize=10
    )
    return figure


def plot_numbers(table: pd.DataFrame) -> Figure:
    """Average precision at loci that are 1 in the same number of training cell types, a line a predictor (Fig. S4).

    table: of `study.by_number`. Raises ValueError for an empty one.
    """
    if table.empty:
        raise ValueError("no groups to draw: the table is empty")
    predictors = list(dict.fromkeys(table["predictor"]))
    colors, markers = colors_of(predictors), markers_of(predictors)
    figure = Figure(figsize=(7.5, 4), facecolor="white", layout="constrained")
    ax = figure.subplots()
    base = table.drop_duplicates("number").set_index("number")["base_rate"]
    ax.plot(base.index, base, color=MUTED, linewidth=1.4, label=BASE)
    for name in predictors:
        its = table[table["predictor"] == name]
        ax.plot(
            its["number"], its["ap"], color=colors[name], marker=markers[name], markersize=4, linewidth=1.2, label=name,
            linestyle=DASHED if name == AVERAGE else "-",
        )  # fmt: skip
    ax.set_xlabel("training cell types in which the locus is 1", fontsize=9)
    _finish(ax, "average precision within the group")
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


def plot_single_cells(table: pd.DataFrame, target: str) -> Figure:
    """Average precision of each cell type alone as the predictor of the target (Fig. S5).

    table: of `Study.single_cells`, best first.
    """
    cells = table[~table["cell"].str.startswith((AVERAGE, BASE))]
    lines = table[table["cell"].str.startswith((AVERAGE, BASE))].set_index("cell")["ap"]
    figure = Figure(figsize=(9, 3.6), facecolor="white", layout="constrained")
    ax = figure.subplots()
    ax.bar(np.arange(len(cells)), cells["ap"], color=OTHER_COLORS[0], width=0.8)
    for name, value in lines.items():
        color, style = BASELINES[AVERAGE if str(name).startswith(AVERAGE) else BASE]
        ax.axhline(value, color=color, linestyle=style, linewidth=1.6, label=name)
    ax.set_xticks(np.arange(len(cells)), _shortened(list(cells["cell"])), rotation=90)
    ax.set_title(f"one cell type's labels as the predictor of {target}", fontsize=10, fontweight="bold")
    ax.set_ylim(0, 1.02)
    _finish(ax, "average precision")
    ax.tick_params(axis="x", labelsize=6)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return figure


def _shortened(names: Sequence[str]) -> list[str]:
    """Names up to the first _ at which all of them differ."""
    parts, length = [name.split("_") for name in names], 1
    while len({tuple(its[:length]) for its in parts}) < len(set(names)):
        length += 1
    return ["_".join(its[:length]) for its in parts]


def plot_strata(strata: pd.DataFrame) -> Figure:
    """Skill of imputers in bins by how much cell types differ there, a line for each; average activity has 0.

    strata: of `scores.stratified`, of which the means are drawn. Methods far below are cut off.
    """
    means = mean_rows(strata)
    names, methods = list(dict.fromkeys(means["stratum"])), list(dict.fromkeys(means["method"]))
    colors, markers = colors_of(methods), markers_of(methods)
    figure = Figure(figsize=(8, 4.4), facecolor="white", layout="constrained")
    ax = figure.subplots()
    for method in methods:
        its = means[means["method"] == method].set_index("stratum").reindex(names)
        ax.plot(
            its["skill"].to_numpy(), color=colors[method], marker=markers[method], markersize=5, linewidth=1.3,
            label=method, linestyle=DASHED if method == AVERAGE else "-",
        )  # fmt: skip
    ax.set_xticks(range(len(names)), names)
    ax.set_ylim(max(-0.5, ax.get_ylim()[0]), None)
    ax.set_xlabel("bins by their standard deviation over training cell types (0: none, then percentiles)", fontsize=9)
    _finish(ax, "skill: 1 − MSE / MSE of average activity")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _finish(ax: Axes, measure: str) -> None:
    ax.set_ylabel(measure, fontsize=9)
    ax.tick_params(labelsize=8, length=2)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    quiet(ax)
