"""How soon does our default impute as well as the original's small model at its best? Held-out error against time.

    python -m experiments.benchmarks.quality data=roadmap_pilot data.folder=roadmap-pilot

Both sides train on the same tracks of the pilot regions and are scored on the same held-out ones, over all bins, after
every epoch; scoring and start-up are off the clock. The original has no schedule: it is trained epoch by epoch, and
its best moment is chosen by looking at the held-out tracks, which flatters it. Ours is one run of the default recipe,
whose learning rate falls to zero over a number of epochs that is fixed beforehand: what it reaches on the way counts,
and the held-out tracks, its validation tracks here, change nothing in it. It is scored once per epoch and, as epoch 0,
before the first one: then it imputes what the regression says that it departs from. On the Roadmap pilot tracks,
remember that our defaults were chosen on folds of these very tracks (`experiments/ablation.py`).
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from avocado.cli import app
from avocado.config.overrides import composed
from avocado.config.values import as_list
from avocado.data.compendium import pairs_in
from avocado.data.splits import split
from avocado.imputers.average import AverageActivity
from experiments.benchmarks.original import BATCH, prepare_original, write_track_major
from experiments.benchmarks.our_worker import prepare_columns
from experiments.benchmarks.synthetic_run import scratch
from experiments.benchmarks.timing import report
from experiments.benchmarks.workers import Worker, original_environment, start_original

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from avocado.data.store import SignalStore
    from avocado.runs.run import RunSpec
    from avocado.utils.hardware import Hardware

REGION = "pilot"
SIZE = "small"  # the model of the original's README
OURS, ORIGINAL = "ours", "original"


class Point(NamedTuple):
    """A moment of a training: seconds on the clock, and the error on the held-out tracks."""

    epoch: int
    seconds: float
    mse: float  # of arcsinh signal over all bins, averaged over tracks


def study(config: DictConfig) -> None:
    """Train both sides with every seed; print the curves and the times, write both as CSV, and draw them."""
    import torch

    from avocado.plotting.plots import save_png

    folder = Path(config.folder).absolute()
    python = original_environment(Path(config.environment), config.python, folder / "logs" / "environment.log")
    store, run, hardware = plan_ours(config)
    held = [str(name) for name in config.hold_out] or one_per_assay(store, config.fold)
    test = split(store.tracks, None, hold_out=held) == "test"
    columns, held_out = np.flatnonzero(~test).tolist(), np.flatnonzero(test).tolist()
    if config.threads:
        torch.set_num_threads(config.threads)
    average = average_activity(store, columns, held_out)
    print(f"held out: {', '.join(held)}; MSE of average activity {average:.4f}", flush=True)
    curves: dict[tuple[str, int], list[Point]] = {}
    with scratch(folder) as inside:
        signal = inside / "signal.npy"
        write_track_major(store, REGION, columns, signal)
        for seed in list[int](config.seeds):
            curves[OURS, seed] = our_curve(replace(run, seed=seed), store, hardware, columns, held_out)
            print(f"seed {seed}, {OURS}: {described(curves[OURS, seed])}", flush=True)
            with start_original(python, folder / "logs" / f"seed{seed}.original.log", config.threads) as original:
                prepare_original(original, store, columns, signal, SIZE, seed)
                curves[ORIGINAL, seed] = original_curve(
                    original, store, held_out, config.original_epochs, inside / "predicted.npy"
                )
            print(f"seed {seed}, {ORIGINAL}: {described(curves[ORIGINAL, seed])}", flush=True)
    report(
        f"Error on {len(held)} held-out tracks after every epoch; average activity {average:.4f}",
        pd.DataFrame([(side, seed, *point) for (side, seed), curve in curves.items() for point in curve],
                     columns=pd.Index(["side", "seed", *Point._fields])),
        folder / "curves.csv",
    )  # fmt: skip
    report("Seconds of training to the best error of the original", times_to_best(curves), folder / "quality.csv")
    save_png(plot_curves(curves, average), folder / "quality.png")
    print(f"figure in {folder / 'quality.png'}")


def described(curve: Sequence[Point]) -> str:
    """The best moment of a curve, for a progress line."""
    best = min(curve, key=lambda point: point.mse)
    return f"best MSE {best.mse:.4f} after {best.seconds:.1f} s, epoch {best.epoch} of {len(curve)}"


def plan_ours(config: DictConfig) -> tuple[SignalStore, RunSpec, Hardware]:
    """The store of `data=`, and the run that `train.py` would carry out on its pilot regions, on the CPU."""

    from avocado.config.store import prepare_store
    from avocado.config.training import hardware_of, plan

    train_config = composed("train", [*as_list(config.ours), "stage=pilot", "fit.validate_every=1", "trainer=cpu"])
    train_config.data.merge_with(config.data)
    train_config.store = config.data.store
    store = prepare_store(train_config)
    return store, plan(train_config, store, "pilot"), hardware_of(train_config)


def one_per_assay(store: SignalStore, fold: int) -> list[str]:
    """'CELL:ASSAY' of one measured track per assay, each of another cell type; as many as that is possible for.

    Of all such choices, the one nearest to the diagonal number `fold` of the table of cell types × assays, wrapped
    round: what is held out then follows from the names alone.
    """
    from scipy.optimize import linear_sum_assignment

    cells, assays = store.cells, store.assays
    off = (np.arange(len(cells))[:, None] - np.arange(len(assays)) - fold) % len(cells)
    cost = np.full(off.shape, 1e6)  # of what was not measured
    for cell, assay in zip(store.tracks["cell"], store.tracks["assay"], strict=True):
        at = cells.index(cell), assays.index(assay)
        cost[at] = off[at]
    chosen = zip(*linear_sum_assignment(cost), strict=True)
    return [f"{cells[c]}:{assays[a]}" for c, a in sorted(chosen, key=lambda at: at[1]) if cost[c, a] < 1e6]


def average_activity(store: SignalStore, columns: Sequence[int], held_out: Sequence[int]) -> float:
    """MSE of average activity over the training tracks `columns`, averaged over the held-out ones."""
    average = AverageActivity()
    average.fit(store, columns, REGION)
    tracks = store.tracks.iloc[list(held_out)]
    return mean_squared_error(store, held_out, average.predict(pairs_in(tracks), REGION).T)


def mean_squared_error(store: SignalStore, held_out: Sequence[int], imputed: np.ndarray) -> float:
    """MSE over all bins, averaged over the held-out tracks; imputed: arcsinh signal (n_tracks, n_bins)."""
    observed = store.read_tracks(held_out, REGION).T
    return float(np.mean([np.square(o - i).mean(dtype=np.float64) for o, i in zip(observed, imputed, strict=True)]))


def our_curve(
    run: RunSpec, store: SignalStore, hardware: Hardware, columns: Sequence[int], held_out: Sequence[int]
) -> list[Point]:
    """One training of our side, a model of the original's kind; making its data is on the clock, too."""
    from avocado.training.fit import fit

    start = time.perf_counter()
    module, data = prepare_columns(run, store, hardware, columns, held_out)
    preparing = time.perf_counter() - start
    fit(module, data, run.fit, hardware=hardware, progress=False)
    seconds = itertools.islice(itertools.accumulate(module.seconds, initial=preparing), 1, None)
    return [Point(number, *point) for number, point in enumerate(zip(seconds, module.history.val_mse, strict=True), 1)]


def original_curve(
    original: Worker, store: SignalStore, held_out: Sequence[int], epochs: int, file: Path
) -> list[Point]:
    """One training of the original, epoch by epoch, each a pass over the bins; it writes its predictions to `file`."""
    n_bins = store.region(REGION).n_bins
    steps = -(-n_bins // BATCH[SIZE])
    tracks = store.tracks.iloc[list(held_out)]
    pairs = list(zip(tracks["cell"], tracks["assay"], strict=True))
    curve, seconds = [], 0.0
    for epoch in range(1, epochs + 1):
        seconds += original.ask("train", steps=steps, epochs=1)["seconds"]
        original.ask("predict", pairs=pairs, bins=n_bins, out=str(file))
        curve.append(Point(epoch, seconds, mean_squared_error(store, held_out, np.load(file))))
    return curve


def times_to_best(curves: Mapping[tuple[str, int], Sequence[Point]]) -> pd.DataFrame:
    """For every seed the original's best moment, and the first at which our side is as good; the last row: medians.

    curves: by side and seed. Where our side is never as good, its columns are empty.
    """
    rows = []
    for seed in sorted({seed for _, seed in curves}):
        best = min(curves[ORIGINAL, seed], key=lambda point: point.mse)
        reached = [point for point in curves[OURS, seed] if point.mse <= best.mse]
        ours = reached[0] if reached else Point(0, np.nan, np.nan)
        rows.append(
            {
                "seed": str(seed),
                "original's best MSE": best.mse,
                "in epoch": best.epoch,
                "after seconds": best.seconds,
                "our MSE": ours.mse,
                "after our seconds": ours.seconds,
                "ratio": best.seconds / ours.seconds,
                "our last MSE": curves[OURS, seed][-1].mse,
            }
        )
    table = pd.DataFrame(rows)
    return pd.concat([table, table.drop(columns="seed").median().to_frame().T.assign(seed="median")], ignore_index=True)


def plot_curves(curves: Mapping[tuple[str, int], Sequence[Point]], average: float) -> Figure:
    """Error on the held-out tracks against seconds of training, one line per side and seed, with average activity's."""
    from matplotlib.figure import Figure

    from avocado.plotting.plots import DASHED, SIGNAL
    from avocado.plotting.style import COLORS, OTHER_COLORS

    figure = Figure(figsize=(7, 4), facecolor="white", layout="constrained")
    ax = figure.subplots()
    named = {OURS: ("Avocado, default", COLORS["Avocado"]), ORIGINAL: ("the original, small", OTHER_COLORS[0])}
    for (side, _), curve in curves.items():
        label, color = named[side]
        times, errors = [point.seconds for point in curve], [point.mse for point in curve]
        known = label in ax.get_legend_handles_labels()[1]
        ax.plot(times, errors, color=color, marker="o", markersize=3, linewidth=1.5, label=None if known else label)
    ax.axhline(average, color=COLORS["average activity"], linestyle=DASHED, label="average activity")
    ax.set_xlim(left=0)
    ax.set_xlabel("seconds of training", fontsize=9)
    ax.set_ylabel(f"mean squared error of {SIGNAL}", fontsize=9)
    ax.set_title("Held-out tracks", loc="left", fontsize=12)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=9)
    return figure


if __name__ == "__main__":
    sys.exit(app.run("benchmark_quality", study, sys.argv[1:]))
