"""Pictures of the latent representation: projections, trees, profiles (Fig. 3), attributions (Fig. 6 and S8).

Like those of `plots`, they take arrays or a table and return a matplotlib Figure, with what was measured below it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from avocado.data.genome import BIN_SIZE
from avocado.latent.projections import Projection, tree
from avocado.plotting.plots import GRID, MAX_NAMED_TRACKS, MUTED, SIGNAL, outline, quiet
from avocado.plotting.style import COLORS, OTHER_COLORS, OTHER_MARKERS

WIDTH = 95  # characters of a caption below a panel of 6 inches
PROFILE_COLORS = {"H3K4me3": "#c0392b", "H3K27ac": OTHER_COLORS[0]}  # as in Fig. 3b
PART_TITLES = {"cell": "cell type", "assay": "assay", "25bp": "25 bp", "250bp": "250 bp", "5kbp": "5 kbp"}


@dataclass(frozen=True)
class Panel:
    """A projection, and what is to be seen in it: names of its rows (none for many), their groups and a caption."""

    title: str
    projection: Projection
    groups: Sequence[str]
    caption: str
    names: Sequence[str] = ()
    colors: Mapping[str, str] = field(default_factory=dict)  # of groups; the others' in order of appearance


def plot_projections(panels: Sequence[Panel]) -> Figure:
    """A scatter plot for each panel, side by side. Raises ValueError where there is none."""
    if not panels:
        raise ValueError("expected a projection at least")
    figure = Figure(figsize=(6.6 * len(panels), 6.9), facecolor="white", layout="constrained")
    parts = figure.subfigures(1, len(panels), squeeze=False)[0]
    for part, panel in zip(parts, panels, strict=True):
        ax = part.subplots()
        _scatter(ax, panel)
        _caption(part, f"{panel.projection.how}. {panel.caption}")
    return figure


def _scatter(ax: Axes, panel: Panel) -> None:
    places, kinds = panel.projection.places, list(dict.fromkeys(panel.groups))
    colors, markers = group_colors(panel.groups, panel.colors), cycle(OTHER_MARKERS)
    crowded = len(places) > 10 * MAX_NAMED_TRACKS
    for kind, marker in zip(kinds, markers, strict=False):
        mine = places[[its == kind for its in panel.groups]]
        ax.plot(
            mine[:, 0], mine[:, 1], color=colors[kind], marker=marker, linestyle="none", markersize=3 if crowded else 6,
            markeredgecolor="white", markeredgewidth=0 if crowded else 0.5, alpha=0.6 if crowded else 1,
            label=f"{kind} ({len(mine)})",
        )  # fmt: skip
    size = 8 if len(panel.names) <= MAX_NAMED_TRACKS else 5
    for place, name in zip(places, panel.names, strict=False):
        ax.annotate(name, tuple(place), (4, 3), textcoords="offset points", fontsize=size, color=MUTED)
    few = len(kinds) <= 6
    ax.legend(fontsize=8, frameon=False, loc="best" if few else "center left", bbox_to_anchor=None if few else (1, 0.5))
    ax.set_title(panel.title, loc="left", fontsize=12)
    ax.set_xlabel(panel.projection.axes[0], fontsize=9)
    ax.set_ylabel(panel.projection.axes[1], fontsize=9)
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.12)
    ax.tick_params(labelsize=8)
    quiet(ax)


def group_colors(groups: Sequence[str], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """A colour for every group: the known ones' own, the others' in order of appearance."""
    known = known or {}
    rest = [name for name in dict.fromkeys(groups) if name not in known]
    return {**known, **dict(zip(rest, cycle(OTHER_COLORS), strict=False))}


def plot_trees(
    tables: Mapping[str, tuple[np.ndarray, str]],
    names: Sequence[str],
    groups: Sequence[str],
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Distances of every two rows as heat maps, in the order of a tree, which stands beside each (Fig. S5).

    tables: of each title, distances (n, n) and a caption. groups: of the rows, shown as a strip of colours.
    """
    from scipy.cluster.hierarchy import dendrogram

    chosen = group_colors(groups, colors)
    size = 5.2 + 0.08 * len(names)
    figure = Figure(figsize=(size * len(tables), size + 0.6), facecolor="white", layout="constrained")
    parts = figure.subfigures(1, len(tables), squeeze=False)[0]
    for part, (title, (apart, caption)) in zip(parts, tables.items(), strict=True):
        left, strip, ax = part.subplots(1, 3, width_ratios=[1, 0.16, 5])
        found = dendrogram(tree(apart), ax=left, orientation="left", no_labels=True, color_threshold=0,
                           above_threshold_color=MUTED)  # fmt: skip
        order = [int(leaf) for leaf in found["leaves"]]
        left.set_axis_off()
        strip.imshow([[to_rgb(chosen[groups[row]])] for row in order], aspect="auto", origin="lower")
        strip.set_axis_off()
        shown = np.where(np.eye(len(apart), dtype=bool), np.nan, apart)[np.ix_(order, order)]
        image = ax.imshow(shown, aspect="auto", origin="lower", cmap="viridis_r")
        ax.set_xticks([])
        ax.yaxis.tick_right()
        ax.set_yticks(range(len(order)), [names[row] for row in order], fontsize=8 if len(order) <= 25 else 5)
        ax.tick_params(length=0)
        ax.set_title(title, loc="left", fontsize=12)
        part.colorbar(image, ax=ax, orientation="horizontal", shrink=0.5, aspect=40, pad=0.02).ax.tick_params(
            labelsize=7
        )
        _caption(part, caption)
    handles = [Patch(color=chosen[name], label=name) for name in dict.fromkeys(groups)]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(8, len(handles)), frameon=False, fontsize=8)
    return figure


def plot_profiles(
    means: Mapping[str, Mapping[str, np.ndarray]], assays: Sequence[str], around: int, caption: str
) -> Figure:
    """Mean profiles of assays around the elements of each part: columns are parts, rows are kinds (Fig. 3b).

    means: by part ('A'), by kind ('promoter (40)'), arcsinh (n_bins, n_assays) over ± around bp.
    """
    rows = max(map(len, means.values()))
    figure = Figure(figsize=(3.2 * len(means), 1.1 + 2.3 * rows), facecolor="white", layout="constrained")
    panels = figure.subplots(rows, len(means), squeeze=False, sharey=True, sharex=True)
    colors = group_colors(assays, {name: PROFILE_COLORS[name] for name in assays if name in PROFILE_COLORS})
    for column, (part, kinds) in zip(panels.T, means.items(), strict=True):
        for ax, (kind, values) in zip(column, kinds.items(), strict=False):
            at = np.linspace(-around, around, len(values)) / 1000
            for number, assay in enumerate(assays):
                ax.plot(at, values[:, number], color=colors[assay], linewidth=1.6, label=assay)
            ax.set_title(f"{part}: {kind}", loc="left", fontsize=9)
            ax.set_ylim(bottom=0)
            ax.tick_params(labelsize=8)
            ax.grid(axis="y", color=GRID, linewidth=0.8)
            quiet(ax)
        column[-1].set_xlabel("kb from the middle", fontsize=8, color=MUTED)
    panels[0, 0].set_ylabel(SIGNAL, fontsize=9)
    handles = [Line2D([], [], color=colors[assay], label=assay) for assay in assays]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(assays), frameon=False, fontsize=9)
    _caption(figure, caption, 32 * len(means))
    return figure


def plot_attribution(
    columns: Mapping[str, Mapping[str, np.ndarray]], chrom: str, start: int, caption: str
) -> Figure:  # fmt: skip
    """Observed and imputed signal, and what each part of a model adds; a column for each track (Fig. 6).

    columns: by track ('E003 H3K4me3'), by row: 'observed' (where there is one), 'imputed' and the five parts, each
    (n_bins,) of consecutive 25-bp bins from bp `start`, arcsinh. Signal has one y axis in all columns, and parts have
    another. Raises ValueError where there is nothing to draw.
    """
    if not columns or not all(columns.values()):
        raise ValueError("expected a track at least")
    names = list(dict.fromkeys(name for rows in columns.values() for name in rows))
    figure = Figure(
        figsize=(1.2 + 5.4 * len(columns), 0.9 + 0.85 * len(names)), facecolor="white", layout="constrained"
    )
    panels = figure.subplots(len(names), len(columns), squeeze=False, sharex=True)
    colors = {"observed": COLORS["observed"], "imputed": COLORS["Avocado"]}
    limits = {of_parts: _limits(columns, of_parts) for of_parts in (True, False)}
    for column, (track, rows) in zip(panels.T, columns.items(), strict=True):
        column[0].set_title(track, loc="left", fontsize=10, fontweight="bold")
        for ax, name in zip(column, names, strict=True):
            ax.spines[["top", "right", "bottom"]].set_visible(False)
            ax.tick_params(axis="x", bottom=False)
            ax.tick_params(axis="y", labelsize=7, colors=MUTED, length=2)
            ax.axhline(0, color="#b5b5b5", linewidth=0.6)
            ax.set_ylim(*limits[name in PART_TITLES])
            ax.yaxis.set_major_locator(MaxNLocator(nbins=3))
            if name in rows:
                signs = [(1, colors.get(name, OTHER_COLORS[0])), (-1, OTHER_COLORS[2])]
                for sign, color in signs:
                    position, heights = outline(np.clip(sign * rows[name], 0, None), start)
                    ax.fill_between(position, 0, sign * heights, step="post", color=color, linewidth=0)
        column[-1].tick_params(axis="x", bottom=True, labelsize=8)
        column[-1].ticklabel_format(axis="x", useOffset=False, style="plain")
        column[-1].set_xlim(start / 1e6, (start + BIN_SIZE * len(next(iter(rows.values())))) / 1e6)
        column[-1].set_xlabel(f"{chrom} position (Mb)", fontsize=9)
    for ax, name in zip(panels[:, 0], names, strict=True):
        ax.set_ylabel(PART_TITLES.get(name, name), fontsize=9, rotation=0, ha="right", va="center")
    _caption(figure, caption, 85 * len(columns))
    return figure


def _limits(columns: Mapping[str, Mapping[str, np.ndarray]], of_parts: bool) -> tuple[float, float]:
    """The y axis of signal, or of parts, in all columns."""
    values = [its for rows in columns.values() for name, its in rows.items() if (name in PART_TITLES) == of_parts]
    low, high = min(0.0, *(float(its.min()) for its in values)), max(0.1, *(float(its.max()) for its in values))
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def plot_stratified(table: pd.DataFrame, caption: str) -> Figure:
    """Mean attribution of each part by the number of cell types with a peak, a row of panels per assay (Fig. S8).

    `table` comes from `attributed.stratified`; its assays without any peak are left out. Raises ValueError where none
    is left.
    """
    table = table[table.groupby("assay")["k"].transform("max") > 0]
    if table.empty:
        raise ValueError("no attributions to draw: there is no peak")
    assays, parts = (list(dict.fromkeys(table[name])) for name in ("assay", "part"))
    figure = Figure(figsize=(2.5 * len(parts), 1.2 + 1.7 * len(assays)), facecolor="white", layout="constrained")
    panels = figure.subplots(len(assays), len(parts), squeeze=False, sharey="row", sharex="row")
    colors = {True: COLORS["Avocado"], False: OTHER_COLORS[2]}
    for row, assay in zip(panels, assays, strict=True):
        for ax, part in zip(row, parts, strict=True):
            ax.axhline(0, color="#b5b5b5", linewidth=0.8)
            for peak, color in colors.items():
                its = table[(table["assay"] == assay) & (table["part"] == part) & (table["peak"] == peak)]
                its = its.sort_values("k")
                ax.plot(its["k"], its["mean"], color=color, linewidth=1.6, marker="o", markersize=3)
            ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            ax.tick_params(labelsize=7)
            ax.grid(axis="y", color=GRID, linewidth=0.8)
            quiet(ax)
        row[0].set_ylabel(assay, fontsize=9)
    for ax, part in zip(panels[0], parts, strict=True):
        ax.set_title(PART_TITLES.get(part, part), fontsize=10)
    figure.supylabel(f"mean attribution, {SIGNAL}", fontsize=9)
    handles = [
        Line2D([], [], color=color, marker="o", markersize=3, label=f"in cell types with{'' if peak else 'out'} a peak")
        for peak, color in colors.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    _caption(figure, f"Horizontally: number of cell types with a peak. {caption}", 36 * len(parts))
    return figure


def _caption(part: Figure | SubFigure, text: str, width: int = WIDTH) -> None:
    part.supxlabel(textwrap.fill(text, width), fontsize=8, color=MUTED, x=0.02, ha="left")
