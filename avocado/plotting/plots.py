"""Pictures: functions that take arrays or a table of scores and return a matplotlib Figure.

A figure belongs to no global state: save it with `save_png`, show it by ending a notebook cell with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from avocado.data.genome import BIN_SIZE
from avocado.evaluation.metrics import is_higher_better
from avocado.evaluation.scores import AVERAGE, TITLES, mean_rows, require_average, track_rows
from avocado.latent.projections import principal_components
from avocado.plotting.style import COLORS, OTHER_COLORS, OTHER_MARKERS, colors_of, markers_of
from avocado.utils.files import replacing

MUTED, GRID, BAND = "#6b6b6b", "#ececec", "#f6f7f8"
DASHED = (0, (4, 3))
SIGNAL = "arcsinh(−log₁₀ p)"
MAX_POINTS = 2000  # more than a page has dots across; longer tracks show the maximum of neighbouring bins
MAX_NAMED_TRACKS = 40  # with more, the rows of a plot of scores are assays


def save_png(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure as PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)


def plot_tracks(
    experiments: Mapping[str, Mapping[str, np.ndarray]], chrom: str, start: int, title: str | None = None
) -> Figure:
    """Signal along the genome, as in a genome browser.

    `experiments` maps the name of each experiment ('E003 H3K4me3') to its rows ('observed', 'Avocado',
    'average activity'), each an arcsinh signal (n_bins,) of consecutive 25-bp bins from bp `start` of `chrom`. The
    rows of an experiment share their y axis. Raises ValueError when there is nothing to draw or lengths differ.
    """
    lengths = {len(signal) for rows in experiments.values() for signal in rows.values()}
    if len(lengths) != 1 or 0 in lengths or not all(experiments.values()):
        raise ValueError(f"expected experiments with signals of one length, got lengths {sorted(lengths)}")
    (n_bins,) = lengths
    end = start + n_bins * BIN_SIZE
    colors = colors_of([name for rows in experiments.values() for name in rows])
    n_rows = sum(map(len, experiments.values()))
    # an empty row parts the experiments; the numbers after it are inches
    heights = np.concatenate([[0.3, *[0.55] * len(rows)] for rows in experiments.values()])
    top, bottom, left, right, width = 0.4, 0.55, 1.6, 0.2, 10.0
    height = heights.sum() + top + bottom
    figure = Figure(figsize=(width, height), facecolor="white")
    grid = figure.add_gridspec(
        n_rows + len(experiments), 1, height_ratios=heights, hspace=0.18, left=left / width, right=1 - right / width,
        top=1 - top / height, bottom=bottom / height,
    )  # fmt: skip
    line, axes = 0, []
    for experiment, rows in experiments.items():
        highest = max(float(np.max(signal)) for signal in rows.values())
        limit = max(highest * 1.1, 0.1)
        line += 1
        for number, (name, signal) in enumerate(rows.items()):
            ax = figure.add_subplot(grid[line])
            position, steps = outline(np.asarray(signal), start)
            ax.fill_between(position, 0, np.clip(steps, 0, None), step="post", color=colors[name], linewidth=0)
            ax.set(xlim=(start / 1e6, end / 1e6), ylim=(0, limit))
            ax.set_yticks([0, _round_height(highest)])
            ax.tick_params(axis="y", labelsize=7, colors=MUTED, length=2)
            ax.tick_params(axis="x", bottom=False, labelbottom=False)
            ax.spines[["top", "right"]].set_visible(False)
            ax.spines[["left", "bottom"]].set(color="#b5b5b5", linewidth=0.6)
            ax.annotate(
                name, (0, 0.5), (-26, 0), xycoords="axes fraction", textcoords="offset points", ha="right", va="center",
                fontsize=9, color=colors[name],
            )  # fmt: skip
            if number == 0:
                ax.set_title(experiment, loc="left", fontsize=10, fontweight="bold", pad=4)
            axes.append(ax)
            line += 1
    axes[-1].tick_params(axis="x", bottom=True, labelbottom=True, labelsize=8)
    axes[-1].ticklabel_format(axis="x", useOffset=False, style="plain")
    axes[-1].set_xlabel(f"{chrom} position (Mb)", fontsize=9)
    figure.text(left / width, 1 - 0.32 / height, title or f"{chrom}:{start:,}–{end:,}", fontsize=12, va="center")
    figure.text(
        1 - right / width, 1 - 0.32 / height, f"height: {SIGNAL}", fontsize=8, color=MUTED, ha="right", va="center"
    )
    return figure


def outline(signal: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges in Mb and heights (the last one repeated) of a step outline of at most MAX_POINTS steps."""
    bins = -(-len(signal) // MAX_POINTS)
    first = np.arange(0, len(signal), bins)
    heights = np.maximum.reduceat(signal, first)
    edges = np.append(first, len(signal)) * BIN_SIZE + start
    return edges / 1e6, np.append(heights, heights[-1])


def _round_height(highest: float) -> float:
    """The largest of 1, 2 or 5 times a power of ten that is not above `highest`, and at least 0.1."""
    power = 10 ** np.floor(np.log10(max(highest, 0.1)))
    return float(max(step * power for step in (1, 2, 5) if step * power <= max(highest, power)))


def peak_window(observed: np.ndarray, width: int) -> slice:
    """The `width` consecutive bins in which the observed signal varies most: a place worth looking at.

    `observed` is (n_bins,) or (n_bins, n_tracks), of one stretch of the genome. Variance within the window, each
    track's in units of its own variance overall, summed over tracks; signal above a track's 99.5th percentile is
    cut to it, so that many peaks count for more than one extreme one. The first such window wins.
    """
    signal = np.asarray(observed, dtype=np.float64).reshape(len(observed), -1)
    width = min(width, len(signal))
    signal = np.minimum(signal, np.percentile(signal, 99.5, axis=0))
    signal = (signal - signal.mean(axis=0)) / np.maximum(signal.std(axis=0), 1e-9)
    sums = np.cumsum(np.concatenate([np.zeros((2, 1, signal.shape[1])), [signal, signal**2]], axis=1), axis=1)
    mean, mean_of_squares = (sums[:, width:] - sums[:, : len(signal) - width + 1]) / width
    first = int((mean_of_squares - mean**2).sum(axis=1).argmax())
    return slice(first, first + width)


def plot_scores(table: pd.DataFrame) -> Figure:
    """Every measure of every track, one panel per measure and one mark per method, average activity among them.

    `table` comes from `score_table`. A row is a track, sorted by assay; where that would be more than 40 rows, it is
    an assay with the marks of all its tracks. Each method has a line of its own in a row and a shape of its own, so
    that none hides another. Dashed lines are means over tracks. Raises ValueError for a table without average activity.
    """
    require_average(table)
    tracks = track_rows(table).sort_values(["assay", "cell"], kind="stable")
    methods = [AVERAGE, *(m for m in tracks["method"].unique() if m != AVERAGE)]
    colors, markers = colors_of(methods), markers_of(methods)
    names = tracks["cell"].astype(str) + " " + tracks["assay"].astype(str)
    crowded = names.nunique() > MAX_NAMED_TRACKS
    codes, labels = pd.factorize(tracks["assay"] if crowded else names)
    # inches of a row and of a line in it
    line = 0.07 if crowded else 0.085
    row = max(0.28, line * (len(methods) + 1.5))
    shifts = (np.arange(len(methods)) - (len(methods) - 1) / 2) * line / row
    columns = min(6, len(methods) + 1)
    top = 0.5 + 0.2 * -(-(len(methods) + 1) // columns)
    figure = Figure(figsize=(12, top + 0.7 + len(labels) * row), facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(TITLES), sharey=True)
    means = mean_rows(table).set_index("method")
    for ax, (measure, title) in zip(panels, TITLES.items(), strict=True):
        for y in range(0, len(labels), 2):
            ax.axhspan(y - 0.5, y + 0.5, color=BAND, linewidth=0, zorder=0)
        for method, shift in zip(methods, shifts, strict=True):
            chosen = (tracks["method"] == method).to_numpy()
            ax.plot(
                tracks[measure][chosen], codes[chosen] + shift, linestyle="none", label=method, color=colors[method],
                marker=markers[method], markersize=4 if crowded else 5.5, alpha=0.7 if crowded else 1,
                markeredgecolor="white", markeredgewidth=0 if crowded else 0.4, zorder=3,
            )  # fmt: skip
            mean = means[measure].get(method, np.nan)
            if np.isfinite(mean):
                ax.axvline(mean, color=colors[method], linewidth=1, linestyle=DASHED, zorder=1)
        ax.set_title(title, fontsize=10, fontweight="bold")
        direction = "higher is better →" if is_higher_better(measure) else "← lower is better"
        ax.set_xlabel(direction, fontsize=8, color=MUTED)
        if not is_higher_better(measure):
            ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
        ax.tick_params(labelsize=8, length=2)
        quiet(ax)
    panels[0].set_yticks(range(len(labels)), list(labels))
    panels[0].set_ylim(len(labels) - 0.5, -0.5)
    panels[0].set_ylabel("assay" if crowded else "held-out track: cell type and assay", fontsize=9)
    handles = [*panels[0].get_legend_handles_labels()[0], Line2D([], [], color=MUTED, linewidth=1, linestyle=DASHED)]
    figure.legend(
        handles, [*methods, "mean over tracks"], loc="outside upper center", ncols=columns, frameon=False, fontsize=9
    )
    return figure


def plot_learning_curve(
    train: Sequence[float],
    validation: Sequence[float] | None = None,
    average_activity: float | None = None,
    title: str = "Learning curve",
) -> Figure:
    """Mean squared error after each epoch (1, 2, ...) on training and on validation tracks, in arcsinh space.

    NaN marks an epoch without a measurement. `average_activity` is its MSE on the validation tracks, drawn as the
    line to get below. The best validation epoch is marked.
    """
    figure = Figure(figsize=(7, 4), facecolor="white", layout="constrained")
    ax = figure.subplots()
    _curve(ax, train, "training tracks", OTHER_COLORS[0])
    if validation is not None:
        errors = _curve(ax, validation, "validation tracks", COLORS["Avocado"])
        if np.isfinite(errors).any():
            best = int(np.nanargmin(errors))
            ax.plot(
                best + 1, errors[best], "o", color=COLORS["Avocado"], markersize=8, markerfacecolor="white", zorder=4
            )
            ax.annotate(
                f"{errors[best]:.4f} at epoch {best + 1}", (best + 1, errors[best]), xytext=(0, -14),
                textcoords="offset points", ha="center", va="top", fontsize=8, color=MUTED,
            )  # fmt: skip
    if average_activity is not None:
        ax.axhline(average_activity, color=COLORS[AVERAGE], linestyle=DASHED, label=f"{AVERAGE}, validation tracks")
    ax.set_title(title, loc="left", fontsize=12)
    ax.set_xlabel("epoch", fontsize=9)
    ax.set_ylabel(f"mean squared error of {SIGNAL}", fontsize=9)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(labelsize=8)
    ax.margins(y=0.15)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    quiet(ax)
    ax.legend(frameon=False, fontsize=9)
    return figure


def plot_factors(
    tables: Mapping[str, tuple[np.ndarray, Sequence[str]]],
    groups: Mapping[str, tuple[str, Sequence[str]]] | None = None,
) -> Figure:
    """Latent factors in two dimensions: a panel for each table, a named mark for each of its rows.

    `tables` maps a title ('cell types') to factors (n_rows, n_factors) and the names of the rows. The axes are the
    first two principal components, with the share of the variance that each holds, on one scale: rows that lie
    together are alike to the model. `groups` maps a title to what colours its marks: a name ('lineage') and each
    row's group. Raises ValueError when there is nothing to draw.
    """
    if not tables or not all(len(factors) for factors, _ in tables.values()):
        raise ValueError("expected factors of at least one row")
    figure = Figure(figsize=(6 * len(tables), 6), facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for ax, (title, (factors, names)) in zip(panels, tables.items(), strict=True):
        places, shares = principal_components(np.asarray(factors, dtype=np.float64))
        column, of = (groups or {}).get(title, ("", [""] * len(names)))
        kinds = list(dict.fromkeys(of))
        colors = dict(zip(kinds, cycle(OTHER_COLORS if column else [COLORS["Avocado"]]), strict=False))
        markers = dict(zip(kinds, cycle(OTHER_MARKERS if column else "o"), strict=False))
        for kind in kinds:
            mine = places[[its == kind for its in of]]
            ax.plot(
                mine[:, 0], mine[:, 1], color=colors[kind], marker=markers[kind], linestyle="none", markersize=6,
                markeredgecolor="white", label=kind,
            )  # fmt: skip
        size = 8 if len(names) <= MAX_NAMED_TRACKS else 5
        for place, name in zip(places, names, strict=True):
            ax.annotate(name, tuple(place), (4, 3), textcoords="offset points", fontsize=size, color=MUTED)
        if column:
            ax.legend(title=column, fontsize=8, title_fontsize=8, frameon=False)
        ax.set_title(f"factors of {title}", loc="left", fontsize=12)
        ax.set_xlabel(f"first component, {shares[0]:.0%} of the variance", fontsize=9)
        ax.set_ylabel(f"second component, {shares[1]:.0%}", fontsize=9)
        ax.set_aspect("equal", adjustable="datalim")
        ax.margins(0.15)
        ax.tick_params(labelsize=8)
        quiet(ax)
    return figure


def _curve(ax: Axes, errors: Sequence[float], label: str, color: str) -> np.ndarray:
    values = np.asarray(errors, dtype=float)
    measured = np.flatnonzero(np.isfinite(values))
    ax.plot(measured + 1, values[measured], color=color, linewidth=1.8, label=label, marker="o", markersize=3)
    return values


def quiet(ax: Axes) -> None:
    """Axes without what draws the eye away from the data."""
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(color="#b5b5b5")
