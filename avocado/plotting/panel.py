"""How much of all experiments a panel covers, as it grows."""

from __future__ import annotations

from matplotlib.figure import Figure

from avocado.evaluation.next import Panel
from avocado.plotting.plots import GRID, MUTED
from avocado.plotting.style import COLORS

NAMED = 24  # experiments whose names fit below the axis


def plot_coverage(panel: Panel) -> Figure:
    """Coverage with 0, 1, 2, ... of the chosen experiments, and of random ones: means of panels of the same size."""
    table = panel.table
    sizes = range(len(table) + 1)
    width = min(12.0, max(5.5, 2.5 + 0.42 * len(table)))
    figure = Figure(figsize=(width, 4.4), facecolor="white", layout="constrained")
    ax = figure.subplots()
    lines = {"chosen": (table["coverage"], COLORS["Avocado"], "-o"), "at random": (table["random"], MUTED, "--s")}
    for name, (values, color, style) in lines.items():
        ax.plot(sizes, [panel.measured, *values], style, color=color, markersize=4, label=name)
    if len(table) <= NAMED:
        names = [f"{row.cell} {row.assay}" for row in table.itertuples()]
        ax.set_xticks(sizes, ["measured", *names], rotation=45, ha="right", fontsize=8)
        ax.set_xlabel("with one more experiment each")
    else:
        ax.set_xlabel("further experiments")
    ax.set_ylabel(f"coverage of all {panel.n_pairs:,} pairs")
    ax.grid(axis="y", color=GRID)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="upper left")
    return figure
