"""How much faster and smaller than the original? Both train and predict the same models on the same signal, in turn.

    python -m experiments.benchmarks.original environment=results/original_env

The original (`avocado-epigenome`) runs unmodified, in an environment of its own that is made on first use. Each side
is a process, a fresh one for every model, on the CPU. They train as their users do, through their `fit`, along the
genome with one track per bin; of every measurement the second epoch counts. Both are measured in turn, and the ratio is
the median of the ratios of neighbouring measurements, so that what else the machine does falls on both.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from avocado.cli import app
from avocado.config.values import as_list
from avocado.data.genome import chromosome_region, load_assembly
from avocado.data.regions import pilot_region
from avocado.data.store import SignalStore, open_store, write_metadata, write_region
from avocado.errors import InputError
from experiments.benchmarks.store import chunks
from experiments.benchmarks.synthetic_run import model_of, scratch
from experiments.benchmarks.timing import report
from experiments.benchmarks.workers import Worker, original_environment, start_original, start_ours

if TYPE_CHECKING:
    from omegaconf import DictConfig

REGIONS = ("pilot", "chr1")  # of hg19: 1.1 and 10 million bins
BATCH = {"small": 10_000, "medium": 40_000, "paper": 40_000}  # bins
Sides = tuple[Worker, Worker]  # ours, the original
SHAPE = {  # the original's names of the structural hyperparameters
    "cell_factors": "n_celltype_factors",
    "assay_factors": "n_assay_factors",
    "factors_25bp": "n_25bp_factors",
    "factors_250bp": "n_250bp_factors",
    "factors_5kbp": "n_5kbp_factors",
    "layers": "n_layers",
    "nodes": "n_nodes",
}
TRAINING, ONE, ALL = "training, 1000 samples/s", "one track, 1000 bins/s", "all pairs at once, 1000 bins/s per track"
RATES = (TRAINING, ONE, ALL)
MEMORY = "peak memory of training, MB"
WANTED = {  # times better than the original that our side sets out to be
    ("pilot", "small", TRAINING): 6.0,
    ("pilot", "medium", TRAINING): 4.0,
    ("pilot", "paper", TRAINING): 1.6,
    ("chr1", "small", TRAINING): 20.0,
    ("chr1", "medium", TRAINING): 5.0,
    ("pilot", "small", ONE): 1.5,
    ("pilot", "paper", ONE): 2.5,
    **{("pilot", size, ALL): 3.0 for size in BATCH},
    **{(region, size, MEMORY): 2.0 for region in REGIONS for size in BATCH},
}


@dataclass(frozen=True)
class Measured:
    """One figure of one model on one region: pairs of measurements in the figure's unit."""

    region: str
    model: str
    figure: str
    pairs: Sequence[tuple[float, float]]  # ours, the original's

    def row(self) -> dict[str, object]:
        """Medians of both sides, and how many times better ours is: the median and range of the pairs' ratios.

        Better is more, but for memory, where it is less.
        """
        ours, original = np.asarray(self.pairs).T
        ratios = original / ours if self.figure == MEMORY else ours / original
        wanted = WANTED.get((self.region, self.model, self.figure))
        return {
            "region": self.region,
            "model": self.model,
            "figure": self.figure,
            "ours": float(np.median(ours)),
            "original": float(np.median(original)),
            "ratio": float(np.median(ratios)),
            "range": f"{ratios.min():.3g} to {ratios.max():.3g}" if len(ratios) > 1 else "",
            "wanted": f"{wanted:g}" if wanted else "",
        }


def benchmark(config: DictConfig) -> None:
    """Measure every model on every region, print the table and write it as CSV."""
    regions, sizes = as_list(config.regions), as_list(config.sizes)
    for key, chosen, known in (("regions", regions, REGIONS), ("sizes", sizes, BATCH)):
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise InputError(f"{key}={','.join(chosen)}: there is {', '.join(known)}")
    folder = Path(config.folder).absolute()
    logs = folder / "logs"
    python = original_environment(Path(config.environment), config.python, logs / "environment.log")
    given = open_store(Path(config.store).absolute()) if config.store else None
    measured: list[Measured] = []
    for region in regions:
        with scratch(folder) as inside:
            store = given if given and region in given.regions else synthetic_store(inside / "store", region)
            signal = inside / "signal.npy"
            every = range(len(store.tracks))
            write_track_major(store, region, every, signal)
            for size in sizes:
                name = f"{region}_{size}"
                if name not in config.original:
                    print(f"{region} {size}: left out, the original would take too long")
                    continue
                with (
                    start_ours(logs / f"{name}.ours.log", config.threads) as ours,
                    start_original(python, logs / f"{name}.original.log", config.threads) as original,
                ):
                    model = asdict(model_of(size))  # of the paper's kind, as the original has no other
                    ours.ask("prepare", store=str(store.path), region=region, model=model, batch_size=BATCH[size],
                             precision=config.precision)  # fmt: skip
                    prepare_original(original, store, every, signal, size, seed=0)
                    bins = min(config.predict[size], store.region(region).n_bins)
                    steps = (config.ours[name], config.original[name])
                    print(f"{region} {size}: {config.repeats} rounds of {steps[0]} steps and {steps[1]}", flush=True)
                    found = measure(
                        (ours, original), (store.cells, store.assays), steps, bins, config.repeats, inside / name
                    )
                measured += [Measured(region, size, figure, pairs) for figure, pairs in found.items()]
    table = pd.DataFrame([figure.row() for figure in measured])
    report(f"Our side and the original, threads: {config.threads or 'all cores'}", table, folder / "original.csv")


def prepare_original(
    original: Worker, store: SignalStore, columns: Sequence[int], signal: Path, size: str, seed: int
) -> None:
    """Have the original load tracks and build a model.

    columns: of the store, which `write_track_major` wrote to `signal`.
    """
    tracks = store.tracks.iloc[list(columns)]
    model = asdict(model_of(size))
    original.ask(
        "prepare",
        signal=str(signal),
        tracks=list(zip(tracks["cell"], tracks["assay"], strict=True)),
        cells=store.cells,
        assays=store.assays,
        shape={theirs: model[ours] for ours, theirs in SHAPE.items()},
        batch_size=BATCH[size],
        seed=seed,
    )


def measure(
    sides: Sides,
    known: tuple[list[str], list[str]],
    steps: tuple[int, int],
    bins: int,
    repeats: int,
    folder: Path,
) -> dict[str, list[tuple[float, float]]]:
    """Every figure's pairs of measurements, our side's and the original's, taken in turn in `repeats` rounds.

    known: cell types and assays. steps: of a measurement of training, ours and the original's. bins: how many are
    predicted, from the first one on. folder: where our side writes its model.
    """
    ours, original = sides
    pairs = list(itertools.product(*known))
    found: dict[str, list[tuple[float, float]]] = {figure: [] for figure in (*RATES, MEMORY)}

    def train() -> tuple[float, float]:
        mine, theirs = (side.ask("train", steps=n, epochs=2) for side, n in zip(sides, steps, strict=True))
        return mine["samples"] / mine["seconds"] / 1e3, theirs["samples"] / theirs["seconds"] / 1e3

    def predict() -> tuple[float, float]:
        mine, theirs = ours.ask("predict", pairs=pairs[:1]), original.ask("predict", pairs=pairs[:1], bins=bins)
        return mine["bins"] / mine["seconds"] / 1e3, theirs["bins"] / theirs["seconds"] / 1e3

    train()  # warms up; and what the processes have needed so far is what training needs
    found[MEMORY].append((ours.ask("memory") / 1e6, original.ask("memory") / 1e6))
    ours.ask("save", folder=str(folder), bins=bins)
    predict()
    for number in range(1, repeats + 1):
        found[TRAINING].append(train())
        found[ONE].append(predict())
        together = ours.ask("predict", pairs=pairs)
        # the original takes one pair after the other, each as long as the one just measured
        found[ALL].append((together["bins"] * len(pairs) / together["seconds"] / 1e3, found[ONE][-1][1]))
        now = "; ".join(f"{figure} {found[figure][-1][0]:.4g} and {found[figure][-1][1]:.4g}" for figure in RATES)
        print(f"  {number}: {now}", flush=True)
    return found


def synthetic_store(folder: Path, name: str) -> SignalStore:
    """A float16 store of one region of hg19: 5 cell types × 5 assays less 5, 20 tracks of random signal."""
    assembly = load_assembly("hg19")
    region = pilot_region(assembly) if name == "pilot" else chromosome_region(assembly, name)
    pairs = [(f"cell{c}", f"assay{a}") for c, a in itertools.product(range(5), range(5)) if c != a]
    write_region(folder, region, len(pairs), "float16", chunks(region, len(pairs)))
    write_metadata(folder, assembly, [region], pd.DataFrame(pairs, columns=pd.Index(["cell", "assay"])), "float16")
    return open_store(folder)


def write_track_major(store: SignalStore, region: str, columns: Sequence[int], file: Path) -> None:
    """Write some columns of a store as the original wants them: .npy of float32 (n_tracks, n_bins)."""
    shape = (len(columns), store.region(region).n_bins)
    array = np.lib.format.open_memmap(file, "w+", np.float32, shape)
    for first in range(0, len(columns), 5):
        array[first : first + 5] = store.read_tracks(columns[first : first + 5], region).T
    array.flush()


if __name__ == "__main__":
    sys.exit(app.run("benchmark_original", benchmark, sys.argv[1:]))
