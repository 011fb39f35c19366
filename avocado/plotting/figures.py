"""Pictures of the evaluations: variable loci, relationships of assays, comparisons of methods.

Like those of `plots`, they take a table and return a matplotlib Figure, in the same colours.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from avocado.evaluation.scores import AVERAGE, LOCI_TITLES, TITLES
from avocado.evaluation.variable_loci import OBSERVED
from avocado.plotting.plots import DASHED, GRID, MUTED, SIGNAL, quiet
from avocado.plotting.style import COLORS, colors_of, markers_of
from avocado.utils.terminal import counted

LOCI_PANELS = {"mse": f"MSE of {SIGNAL}", "precision": "precision", "recall": "recall"}
FEW_POINTS = 30  # up to as many, the points of a curve are marked: between them there is nothing
RELATIONSHIP_PANELS = {"error": f"error of the value, {SIGNAL}", "correlation_error": "error of the correlation"}
COLUMNS = 3  # panels of a row of comparisons


def plot_variable_loci(table: pd.DataFrame) -> Figure:
    """MSE, precision and recall against the number of cell types with a peak, a row of panels per assay (Fig. 2).

    `table` comes from `variable_loci.variable_loci`. Lines are methods, average activity dashed; the thresholded
    experiment, where there is one, is grey. What a peak is, is defined below. Raises ValueError for an empty table.
    """
    if table.empty:
        raise ValueError("no variable loci to draw: the table is empty")
    assays, methods = list(dict.fromkeys(table["assay"])), _average_first(table)
    colors, markers = colors_of(methods) | {OBSERVED: MUTED}, markers_of(methods)
    figure = Figure(figsize=(11, 1 + 2.6 * len(assays)), facecolor="white", layout="constrained")
    panels = figure.subplots(len(assays), len(LOCI_PANELS), squeeze=False)
    for assay, row in zip(assays, panels, strict=True):
        loci = table[table["assay"] == assay]
        n_cells, is_sparse = int(loci["n_cells"].iloc[0]), loci["k"].nunique() <= FEW_POINTS
        for ax, (measure, title) in zip(row, LOCI_PANELS.items(), strict=True):
            for method in methods:
                line = loci[loci["method"] == method].sort_values("k")
                if line[measure].notna().any():
                    ax.plot(
                        line["k"], line[measure], color=colors[method], linewidth=1.6, zorder=_zorder(method),
                        linestyle=DASHED if method == AVERAGE else "-", marker=markers[method], markersize=4,
                        markevery=1 if is_sparse else 0.1,
                    )  # fmt: skip
            ax.set_xlim(0.5, n_cells + 0.5)
            if measure == "mse":
                ax.set_ylim(bottom=0)
                ax.set_title(f"{assay}, {n_cells} cell types", loc="left", fontsize=11, fontweight="bold")
            else:
                ax.set_ylim(-0.03, 1.03)
            ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
            ax.set_xlabel("cell types with a peak", fontsize=8, color=MUTED)
            ax.set_ylabel(title, fontsize=9)
            _grid(ax, "y")
    captions = {method: "experiment" if method == OBSERVED else method for method in methods}
    handles = [
        Line2D(
            [],
            [],
            color=colors[m],
            linewidth=1.6,
            linestyle=DASHED if m == AVERAGE else "-",
            label=captions[m],
            marker=markers[m],
            markersize=4,
        )
        for m in methods
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(5, len(methods)), frameon=False, fontsize=9)
    figure.supxlabel(f"peaks from {', '.join(dict.fromkeys(table['peaks']))}", fontsize=8, color=MUTED)
    return figure


def plot_relationships(summary: pd.DataFrame) -> Figure:
    """Errors of relationships between assays at genes: bars of each method, with their intervals.

    `summary` comes from `relationships.summarise`. On the left the errors of differences and products, on the right
    those of correlations, which products don't have. Raises ValueError for an empty table.
    """
    if summary.empty:
        raise ValueError("no relationships to draw: the table is empty")
    names, methods = list(dict.fromkeys(summary["relationship"])), _average_first(summary)
    colors = colors_of(methods)
    height = 0.8 / len(methods)
    figure = Figure(
        figsize=(11, 1.2 + len(names) * (0.3 + 0.2 * len(methods))), facecolor="white", layout="constrained"
    )
    panels = figure.subplots(1, len(RELATIONSHIP_PANELS), sharey=True)
    for ax, (measure, title) in zip(panels, RELATIONSHIP_PANELS.items(), strict=True):
        shown = summary[summary["measure"] == measure].set_index(["relationship", "method"])
        for row, name in enumerate(names):
            if name not in shown.index.get_level_values("relationship"):
                ax.annotate("a product has no correlation", (0, row), (4, 0), textcoords="offset points",
                            va="center", fontsize=8, color=MUTED)  # fmt: skip
                continue
            for place, method in enumerate(methods):
                bar, y = shown.loc[(name, method)], row + (place - (len(methods) - 1) / 2) * height
                ax.barh(y, bar["mean"], height * 0.9, color=colors[method])
                ax.plot([bar["low"], bar["high"]], [y, y], color=COLORS[OBSERVED], linewidth=1.2)
        ax.set_title(title, fontsize=10, fontweight="bold")
        ax.set_xlabel("← lower is better", fontsize=8, color=MUTED)
        ax.set_xlim(left=0)
        _grid(ax, "x")
    n_cells = summary.groupby("relationship", sort=False)["n_cells"].max()
    labels = [f"{name}\n{counted(n_cells[name], 'cell type')}" for name in names]
    panels[0].set_yticks(range(len(names)), labels)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    handles = [
        *(Patch(color=colors[method], label=method) for method in methods),
        Line2D([], [], color=COLORS[OBSERVED], linewidth=1.2, label="95 % interval over cell types"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(5, len(handles)), frameon=False, fontsize=9)
    return figure


def plot_comparisons(comparisons: pd.DataFrame) -> Figure:
    """Differences of methods from their reference with 95 % intervals, a panel per measure (a forest plot).

    `comparisons` comes from `significance.compare_methods`. A filled mark has an interval without 0, which is not
    adjusted for several comparisons. Above it stand the tracks that the method wins and both adjusted p values, and
    "few" where nothing can be concluded for lack of tracks.
    Raises ValueError for an empty table and for several references.
    """
    references = list(comparisons["reference"].unique())
    if len(references) != 1:
        raise ValueError(f"expected comparisons with one reference, got {', '.join(references) or 'none'}")
    measures, methods = (list(dict.fromkeys(comparisons[name])) for name in ("measure", "method"))
    colors, markers = colors_of([*references, *methods]), markers_of([*references, *methods])
    columns = min(COLUMNS, len(measures))
    lines = -(-len(measures) // columns)
    figure = Figure(
        figsize=(max(7, 1.6 + 3.6 * columns), 0.7 + lines * (0.9 + 0.55 * len(methods))),
        facecolor="white",
        layout="constrained",
    )
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for ax in panels[len(measures) :]:
        ax.set_visible(False)
    for ax, measure in zip(panels, measures, strict=False):
        rows = comparisons[comparisons["measure"] == measure].set_index("method")
        ax.axvline(0, color=COLORS[OBSERVED], linewidth=1, zorder=1)
        for y, method in enumerate(methods):
            row, color = rows.loc[method], colors[method]
            is_clear = not row["note"] and (row["low"] > 0 or row["high"] < 0)
            ax.plot([row["low"], row["high"]], [y, y], color=color, linewidth=2, zorder=2)
            ax.plot(
                row["difference"], y, markers[method], color=color, markersize=7, markeredgewidth=1.6, zorder=3,
                markerfacecolor=color if is_clear else "white",
            )  # fmt: skip
            ax.annotate(
                _evidence(row), (0.5, y), (0, 11), xycoords=("axes fraction", "data"), textcoords="offset points",
                ha="center", fontsize=7, color=MUTED, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
        ends = rows[["low", "high", "difference"]].abs().max(axis=None)
        limit = 1.15 * ends if ends > 0 else 1.0  # NaN, too, is not above 0
        ax.set_xlim(-limit, limit)
        ax.set_title((TITLES | LOCI_TITLES).get(measure, measure), fontsize=10, fontweight="bold")
        direction = "higher is better →" if rows["higher_is_better"].iloc[0] else "← lower is better"
        ax.set_xlabel(direction, fontsize=8, color=MUTED)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5))
        _grid(ax, "x")
    panels[0].set_yticks(range(len(methods)), methods)
    panels[0].set_ylim(len(methods) - 0.5, -0.75)
    units = {"track": "tracks", "cell": "cell types"}[comparisons["unit"].iloc[0]]
    figure.suptitle(
        f"difference from {references[0]}, 95 % bootstrap interval over {units}\nfilled: interval without 0; "
        "p, not the interval, is adjusted for all comparisons (Holm)",
        fontsize=10,
    )
    return figure


def _evidence(row: pd.Series) -> str:
    won = f"{round(row['won'] * row['n_tracks'])} of {row['n_tracks']}" if row["n_tracks"] else "no tracks"
    tests = {"t test": row["p_t_holm"], "Wilcoxon": row["p_wilcoxon_holm"]}
    text = ", ".join([f"wins {won}", *(f"{name} p {p:.2g}" for name, p in tests.items() if np.isfinite(p))])
    return f"{text}, few" if row["note"] else text


def _average_first(table: pd.DataFrame) -> list[str]:
    methods = list(dict.fromkeys(table["method"]))
    return sorted(methods, key=lambda method: (method == OBSERVED, method != AVERAGE))


def _zorder(method: str) -> int:
    return {OBSERVED: 1, AVERAGE: 2}.get(method, 3)


def _grid(ax: Axes, axis: str) -> None:
    ax.tick_params(labelsize=8, length=2)
    ax.grid(axis=axis, color=GRID, linewidth=0.8)  # pyright: ignore[reportArgumentType]
    quiet(ax)
