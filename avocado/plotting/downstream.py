"""Scores of downstream tasks, in the layout of the Avocado paper's Fig. 5."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from avocado.downstream.evaluation import BASELINES, MAJORITY
from avocado.downstream.features import CODE, FACTORS, STATES
from avocado.evaluation.scores import AVERAGE
from avocado.plotting.plots import GRID, MUTED
from avocado.plotting.style import COLORS, colors_of

GREYS = ("#4d4d4d", "#767676", "#9b9b9b", "#bdbdbd")  # of the baselines but average activity
DARKER, LIGHTER = "#00563f", "#7fd1b4"
MANY = 8  # with more cell types, lines in place of bars, as in Fig. 5a


def plot_downstream(summary: pd.DataFrame, measure: str = "average precision") -> Figure:
    """Scores of feature sets in every cell type: a row of panels for each task, a column for each way of holding out.

    summary: of `downstream.evaluation.summarise`. Bars are means over folds and error bars their standard errors; a
    white line is the base rate. With more than 8 cell types these are lines with bands, cell types in the order of
    their base rates. Raises ValueError for an empty table.
    """
    if summary.empty:
        raise ValueError("no scores to draw: the table is empty")
    tasks = list(dict.fromkeys(summary["task"]))
    sets = feature_order(summary["features"])
    colors = feature_colors(sets)
    bars = max(len(part) for _, part in summary.groupby(["task", "held_out"]))
    size = (2 * min(7.7, max(4.2, 3.2 + 0.16 * bars)), 2.7 * len(tasks) + 0.8)
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    panels = figure.subplots(len(tasks), 2, squeeze=False)
    for task, row in zip(tasks, panels, strict=True):
        table = summary[summary["task"] == task]
        limit = (table["score"] + table["se"].fillna(0)).max() * 1.05
        for ax, held_out in zip(row, dict.fromkeys(table["held_out"]), strict=False):
            part = table[table["held_out"] == held_out]
            many = part["cell"].nunique() > MANY
            draw = _lines if many else _bars
            draw(ax, part, [name for name in sets if name in set(part["features"])], colors)
            held = held_out if held_out.startswith("random") else f"{held_out} held out"
            ax.set_title(f"{task}: {held}", loc="left", fontsize=9.5)
            lowest = table["score"].min()
            ax.set_ylim(lowest * 0.9 if many and lowest > 0 else min(0, lowest * 1.05), max(limit, 0.05))
            ax.spines[["top", "right"]].set_visible(False)
            ax.grid(axis="y", color=GRID)
            ax.set_axisbelow(True)
        row[0].set_ylabel(measure, fontsize=9)
    handles = [Patch(color=colors[name], label=name) for name in sets]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(sets)), frameon=False, fontsize=9)
    return figure


def feature_order(names: Sequence[str] | pd.Series) -> list[str]:
    """Baselines first, then the feature sets in the order of the table."""
    there = list(dict.fromkeys(names))
    return [name for name in BASELINES if name in there] + [name for name in there if name not in BASELINES]


def feature_colors(names: Sequence[str]) -> dict[str, str]:
    """Grey for baselines but average activity, Avocado's colour for factors, darker for states, lighter for codes."""
    greys = dict(zip((name for name in BASELINES if name != AVERAGE), GREYS, strict=True))
    fixed = {name: COLORS["Avocado"] for name in names if name.endswith(FACTORS)} | greys
    fixed |= {name: color for name, color in ((STATES, DARKER), (CODE, LIGHTER)) if name in names}
    return colors_of([name for name in names if name not in fixed]) | fixed


def _bars(ax: Axes, part: pd.DataFrame, sets: Sequence[str], colors: dict[str, str]) -> None:
    cells = list(dict.fromkeys(part["cell"]))
    width = 0.85 / len(sets)
    for number, name in enumerate(sets):
        its = part[part["features"] == name].set_index("cell").reindex(cells)
        x = np.arange(len(cells)) - 0.425 + width * (number + 0.5)
        ax.bar(x, its["score"], width * 0.92, color=colors[name])
        ax.errorbar(x, its["score"], its["se"], fmt="none", ecolor="#1f1f1f", elinewidth=0.8, capsize=1.5)
    rates = part.drop_duplicates("cell").set_index("cell")["base_rate"].reindex(cells)
    if MAJORITY in sets and (part.loc[part["features"] == MAJORITY, "score"] > 0).any():
        x = np.arange(len(cells))
        ax.hlines(rates, x - 0.45, x + 0.45, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    ax.set_xticks(range(len(cells)), [cell or "all" for cell in cells], fontsize=9)
    ax.tick_params(axis="y", labelsize=8)


def _lines(ax: Axes, part: pd.DataFrame, sets: Sequence[str], colors: dict[str, str]) -> None:
    cells = list(part.drop_duplicates("cell").sort_values("base_rate", ascending=False)["cell"])
    x = np.arange(len(cells))
    for name in sets:
        its = part[part["features"] == name].set_index("cell").reindex(cells)
        ax.plot(x, its["score"], color=colors[name], linewidth=1)
        ax.fill_between(
            x, its["score"] - its["se"], its["score"] + its["se"], color=colors[name], alpha=0.35, linewidth=0
        )
    ax.set_xticks(x, cells, rotation=90, fontsize=7)
    ax.tick_params(axis="y", labelsize=8)
