"""Do the experiments that `avocado next` chooses cover what they should? Measured on the truth of a simulation.

    python -m experiments.next_panel model=runs/model/fold0/seed0 truth=data/demo/compendium

The choice is made from imputed tracks alone. How well it covers all pairs is then measured on the expected signal of
all of them, which nobody knows in real life, beside random sets of the same size and the greedy choice on the truth.
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
from avocado.evaluation.next import Sample, coverage, lazy_greedy, next_experiments
from avocado.model.directory import Model, load_model
from avocado.plotting.plots import GRID, MUTED, save_png
from avocado.plotting.style import COLORS, OTHER_COLORS
from avocado.simulation.truth import truth_signal
from avocado.utils.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

CHUNK = 20_000  # bins


def run(config: DictConfig) -> None:
    """Choose, measure on the truth, print, write the table and the figure."""
    model = load_model(config.model, baseline=wants_baseline(config))
    panel = next_experiments(model, config.k, sample=Sample(config.blocks, config.seed))
    pairs, known = list(product(model.cells, model.assays)), set(pairs_in(model.tracks))
    measured = [number for number, pair in enumerate(pairs) if pair in known]
    candidates = [number for number, pair in enumerate(pairs) if pair not in known]
    chosen = [pairs.index(pair) for pair in zip(panel.table["cell"], panel.table["assay"], strict=True)]
    table = judged(true_similarity(model, Path(config.truth)), measured, candidates, chosen, config.random, config.seed)
    table.insert(1, "experiment", ["measured already", *(" ".join(pairs[number]) for number in chosen)])
    print(table.round(4).to_string(index=False))
    folder = Path(config.folder)
    with replacing(folder / "next_panel.csv") as temporary:
        table.to_csv(temporary, index=False)
    save_png(plot(table), folder / "next_panel.png")
    print(f"written to {folder}")


def true_similarity(model: Model, folder: Path) -> np.ndarray:
    """Squared Pearson correlations of the expected signal of all pairs, over the chromosomes that the model has."""
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
    found = np.clip((covariance / np.outer(spread, spread)) ** 2, 0, 1)
    np.fill_diagonal(found, 1)
    return found


def judged(
    similarity: np.ndarray,
    measured: Sequence[int],
    candidates: Sequence[int],
    chosen: Sequence[int],
    n_random: int,
    seed: int,
) -> pd.DataFrame:
    """Coverage of the first 0, 1, 2, ... chosen pairs, of random ones, and of those that the truth would choose."""
    covered = similarity[:, measured].max(axis=1)
    best = [number for number, _ in lazy_greedy(similarity, covered, candidates, len(chosen))]
    random, rows = np.random.default_rng(seed), []
    for size in range(len(chosen) + 1):
        ours = coverage(similarity, covered, chosen[:size])
        others = [
            coverage(similarity, covered, random.permutation(candidates)[:size].tolist()) for _ in range(n_random)
        ]
        low, high = np.quantile(others, [0.025, 0.975])
        rows.append(
            {
                "experiments": size,
                "chosen": ours,
                "random": np.mean(others),
                "random_low": low,
                "random_high": high,
                "random_worse": np.mean([other < ours for other in others]) if size else np.nan,
                "from_truth": coverage(similarity, covered, best[:size]),
            }
        )
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """The three curves, and where 95 % of random sets lie."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), facecolor="white", layout="constrained")
    ax, sizes = figure.subplots(), table["experiments"]
    ax.fill_between(sizes, table["random_low"], table["random_high"], color=MUTED, alpha=0.2, linewidth=0)
    ax.plot(sizes, table["from_truth"], "-^", color=OTHER_COLORS[0], markersize=4, label="chosen from the truth")
    ax.plot(sizes, table["chosen"], "-o", color=COLORS["Avocado"], markersize=4, label="chosen from imputed tracks")
    ax.plot(sizes, table["random"], "--s", color=MUTED, markersize=4, label="at random (95 % of sets)")
    ax.set_xlabel("further experiments")
    ax.set_ylabel("coverage of all pairs, on the true signal")
    ax.grid(axis="y", color=GRID)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="upper left")
    return figure


if __name__ == "__main__":
    sys.exit(app.run("next_panel", run, sys.argv[1:]))
