"""Do the experiments that `avocado next` chooses cover what they should? Measured on the truth of a simulation.

    python -m experiments.next_panel model=runs/model/fold0/seed0 truth=data/demo/compendium

The choice is made from imputed tracks alone: of further experiments, as `avocado next` does, and of a panel from
nothing, as if none had been done. On the expected signal of all pairs, which nobody knows in real life, is
then measured how well it covers them, and how well those that nobody has measured then are predicted from what has been
measured, by linear regression; beside random sets of the same size, and for coverage the greedy choice on the truth.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from avocado.cli import app
from avocado.config.values import wants_baseline
from avocado.data.compendium import pairs_in
from avocado.errors import InputError
from avocado.evaluation.next import (
    Sample,
    coverage,
    lazy_greedy,
    next_experiments,
    sampled_windows,
    similarities,
)
from avocado.inference.impute import regions_to_impute
from avocado.model.directory import Model, load_model
from avocado.plotting.plots import GRID, MUTED, save_png
from avocado.plotting.style import COLORS, OTHER_COLORS
from avocado.simulation.truth import truth_signal
from avocado.utils.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

CHUNK = 20_000  # bins
RIDGE = 0.05  # of regressions between true tracks, in units of their variance: as noise of as much would


def run(config: DictConfig) -> None:
    """Choose, measure on the truth, print, write the table and the figure."""
    model = load_model(config.model, baseline=wants_baseline(config))
    sample = Sample(config.blocks, config.seed)
    panel = next_experiments(model, config.k, sample=sample)
    pairs, known = list(product(model.cells, model.assays)), set(pairs_in(model.tracks))
    measured = [number for number, pair in enumerate(pairs) if pair in known]
    candidates = [number for number, pair in enumerate(pairs) if pair not in known]
    further = [pairs.index(pair) for pair in zip(panel.table["cell"], panel.table["assay"], strict=True)]
    windows = sampled_windows(model, regions_to_impute(model), sample)
    imputed = similarities(model, pairs, windows)
    every = list(range(len(pairs)))
    panel_of = [number for number, _ in lazy_greedy(imputed, np.zeros(len(pairs)), every, config.k)]
    correlation, tables = true_correlation(model, Path(config.truth)), {}
    for name, done, possible, chosen in (("further", measured, candidates, further), ("panel", [], every, panel_of)):
        table = judged(correlation, done, possible, chosen, config.random, config.seed)
        table.insert(1, "experiment", ["measured already" if done else "", *(" ".join(pairs[n]) for n in chosen)])
        print(f"{name}:\n{table.round(4).to_string(index=False)}\n")
        tables[name] = table.assign(what=name)
    table = pd.concat(tables.values(), ignore_index=True)
    folder = Path(config.folder)
    with replacing(folder / "next_panel.csv") as temporary:
        table.to_csv(temporary, index=False)
    save_png(plot(table), folder / "next_panel.png")
    print(f"written to {folder}")


def true_correlation(model: Model, folder: Path) -> np.ndarray:
    """Pearson correlations of the expected signal of all pairs, over the chromosomes that the model has."""
    chroms = [name for name in model.regions if name in model.assembly.sizes]
    if not chroms:
        raise InputError(f"model {model.path} has no chromosome: python train.py stage=genome chrom=...")
    truth_signal(folder, chroms[0])  # says what is wrong with the folder
    with np.load(folder / "truth.npz") as truth:
        cells, assays = truth["cells"].tolist(), truth["assays"].tolist()
    rows = np.array([cells.index(c) * len(assays) + assays.index(a) for c, a in product(model.cells, model.assays)])
    n_bins, sums, products = 0, np.zeros(len(rows)), np.zeros((len(rows), len(rows)))
    for chrom in chroms:
        signal = truth_signal(folder, chrom)
        signal = signal.reshape(-1, signal.shape[-1])
        for first in range(0, signal.shape[1], CHUNK):
            part = signal[:, first : first + CHUNK][rows].astype(np.float64)
            n_bins, sums = n_bins + part.shape[1], sums + part.sum(axis=1)
            products += part @ part.T
    covariance = products / n_bins - np.outer(sums, sums) / n_bins**2
    spread = np.sqrt(np.clip(np.diag(covariance), 1e-12, None))
    found = np.clip(covariance / np.outer(spread, spread), -1, 1)
    np.fill_diagonal(found, 1)
    return found


def explained(correlation: np.ndarray, known: Sequence[int], rest: Sequence[int]) -> float:
    """Mean over `rest` of the share of a track's variance that linear regression on the `known` ones explains."""
    if not (len(known) and len(rest)):
        return np.nan if len(known) else 0.0
    own = correlation[np.ix_(known, known)] + RIDGE * np.eye(len(known))
    both = correlation[np.ix_(known, rest)]
    return float((both * np.linalg.solve(own, both)).sum(axis=0).mean())


def judged(
    correlation: np.ndarray,
    measured: Sequence[int],
    candidates: Sequence[int],
    chosen: Sequence[int],
    n_random: int,
    seed: int,
) -> pd.DataFrame:
    """Coverage by the first 0, 1, 2, ... chosen pairs, by random ones, and by those that the truth would choose.

    predicted, and so on: `explained` of the candidates that are not among them.
    """
    similarity = correlation**2

    def predicted(more: Sequence[int]) -> float:
        return explained(correlation, [*measured, *more], [number for number in candidates if number not in more])

    covered = similarity[:, measured].max(axis=1, initial=0)
    best = [number for number, _ in lazy_greedy(similarity, covered, candidates, len(chosen))]
    random, rows = np.random.default_rng(seed), []
    for size in range(len(chosen) + 1):
        ours = coverage(similarity, covered, chosen[:size])
        sets = [random.permutation(candidates)[:size].tolist() for _ in range(n_random)]
        others = [coverage(similarity, covered, its) for its in sets]
        (low, high), share = np.quantile(others, [0.025, 0.975]), predicted(chosen[:size])
        shares = [predicted(its) for its in sets]
        (share_low, share_high) = np.quantile(shares, [0.025, 0.975])
        rows.append(
            {
                "experiments": size,
                "chosen": ours,
                "random": np.mean(others),
                "random_low": low,
                "random_high": high,
                "random_worse": np.mean([other < ours for other in others]) if size else np.nan,
                "from_truth": coverage(similarity, covered, best[:size]),
                "predicted": share,
                "predicted_from_truth": predicted(best[:size]),
                "predicted_random": np.mean(shares),
                "predicted_low": share_low,
                "predicted_high": share_high,
                "predicted_worse": np.mean([other < share for other in shares]) if size else np.nan,
            }
        )
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Coverage and prediction, and where 95 % of random sets lie: a row of panels for each of `what`."""
    from matplotlib.figure import Figure

    names = {"further": "further experiments", "panel": "experiments, none done before"}
    figure = Figure(figsize=(9.6, 3.6 * table["what"].nunique()), facecolor="white", layout="constrained")
    panels = figure.subplots(table["what"].nunique(), 2, squeeze=False)
    for row, (what, its) in zip(panels, table.groupby("what", sort=False), strict=True):
        for ax, prefix, ours, label in (
            (row[0], "random", "chosen", "coverage of all pairs, on the true signal"),
            (row[1], "predicted", "predicted", "variance of the unmeasured rest explained"),
        ):
            sizes, random = its["experiments"], "predicted_random" if prefix == "predicted" else "random"
            low, high = its[f"{prefix}_low"], its[f"{prefix}_high"]
            ax.fill_between(sizes, low, high, color=MUTED, alpha=0.2, linewidth=0)
            best = its["from_truth" if ours == "chosen" else "predicted_from_truth"]
            ax.plot(sizes, best, "-^", color=OTHER_COLORS[0], markersize=4, label="chosen from the truth")
            ax.plot(sizes, its[ours], "-o", color=COLORS["Avocado"], markersize=4, label="chosen from imputed tracks")
            ax.plot(sizes, its[random], "--s", color=MUTED, markersize=4, label="at random (95 % of sets)")
            ax.set_xlabel(names[str(what)])
            ax.set_ylabel(label)
            ax.grid(axis="y", color=GRID)
            ax.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(frameon=False, loc="upper left")
    return figure


if __name__ == "__main__":
    sys.exit(app.run("next_panel", run, sys.argv[1:]))
