"""The picture of a verdict: MSE of each left-out track by the number of tracks that its cell type was learned from."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from avocado.evaluation.scores import AVERAGE
from avocado.evaluation.trials import LEFT_OUT, MASKED
from avocado.plotting.plots import DASHED, quiet
from avocado.plotting.style import COLORS, MARKERS

COLUMNS = 4  # panels in a row
MODEL = "Avocado"


def plot_verdict(table: pd.DataFrame) -> Figure:
    """A panel for each track, average activity's MSE as a line. table: of `verdict.verdict_table`.

    Of a track that is the only one of its cell type, the dot is its own MSE on masked blocks. Raises ValueError for an
    empty table.
    """
    if table.empty:
        raise ValueError("no verdict to draw: the table is empty")
    groups = list(table.groupby(["cell", "assay"], sort=False))
    n_columns = min(COLUMNS, len(groups))
    n_rows = math.ceil(len(groups) / n_columns)
    figure = Figure(figsize=(2.4 * n_columns + 0.6, 2.1 * n_rows + 0.8), facecolor="white", layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).flatten()
    for ax, ((cell, assay), rows) in zip(panels, groups, strict=False):
        left_out = rows[rows["kind"] == LEFT_OUT].sort_values("tracks")
        shown = left_out if len(left_out) else rows[rows["kind"] == MASKED]
        ax.axhline(rows["mse_average"].iloc[0], color=COLORS[AVERAGE], linestyle=DASHED, linewidth=1.4, label=AVERAGE)
        ax.plot(shown["tracks"], shown["mse"], color=COLORS[MODEL], marker=MARKERS[MODEL], markersize=4, label=MODEL)
        ax.set_title(f"{cell} {assay}", fontsize=9, fontweight="bold")
        ax.set_xticks(sorted(set(shown["tracks"])))
        ax.set_ylim(0, 1.15 * max(rows["mse_average"].max(skipna=True), shown["mse"].max()))
        ax.set_xlabel("other tracks learned from" if len(left_out) else "on masked blocks, from itself", fontsize=8)
        ax.tick_params(labelsize=8)
        quiet(ax)
    for ax in panels[len(groups) :]:
        ax.set_visible(False)
    figure.supylabel("MSE, arcsinh", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure
