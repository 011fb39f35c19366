"""Toy data and models that several test files share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from avocado.data.datamodule import SignalDataModule
from avocado.data.genome import Assembly, Region, Segment
from avocado.data.sampling import Sampling
from avocado.data.store import SignalStore, Tracks, open_store, tracks_of, write_metadata, write_region
from avocado.model.config import ModelConfig
from avocado.model.network import Network, genome_factors
from avocado.model.states import StatesNetwork
from avocado.runs.run import RunSpec, SplitConfig, train
from avocado.training.config import FitConfig, OptimizerConfig
from avocado.training.loop import initial_network
from avocado.training.module import FactorizationModule
from avocado.utils.hardware import Hardware

CELLS = ["B cell", "E003", "NA", "liver"]  # a space, and a name that a table would read as missing
ASSAYS = ["DNase", "H3K27ac", "H3K4me3", "RNA"]
MISSING = [("B cell", "RNA"), ("NA", "H3K27ac"), ("liver", "DNase")]
PAIRS = [(cell, assay) for cell in CELLS for assay in ASSAYS if (cell, assay) not in MISSING]

ASSEMBLY = Assembly("toy", {"chr1": 60_013, "chr20": 47_320})  # 2,400 and 1,892 bins, and a part of one
PILOT = Region("pilot", (Segment("chr1", 0, 450), Segment("chr1", 1000, 1201), Segment("chr20", 100, 300)))
CHR20 = Region("chr20", (Segment("chr20", 0, 1892),))


def plain_model(
    cell_factors=32, assay_factors=256, factors_25bp=25, factors_250bp=40, factors_5kbp=45, layers=2, nodes=2048, **more
) -> ModelConfig:
    """The paper's, without dropout and baseline."""
    given = {"kind": "paper", "dropout": 0.0, "baseline": "none", **more}
    return ModelConfig(
        cell_factors=cell_factors, assay_factors=assay_factors, factors_25bp=factors_25bp,
        factors_250bp=factors_250bp, factors_5kbp=factors_5kbp, layers=layers, nodes=nodes, **given,
    )  # fmt: skip


def plain_fit(epochs=1, batch_size=10_000, **more) -> FitConfig:
    """One track per bin, none masked, as many epochs as are asked for."""
    given = {"tracks_per_bin": 1, "masked": 0.0, "fine_tuning": 0.15, "min_steps": 0, "checkpoint_every": 120.0, **more}
    return FitConfig(epochs, batch_size, **given)


def plain_optimizer(learning_rate=0.001, genome_learning_rate=0.01, **more) -> OptimizerConfig:
    """Adam without decay."""
    given = {"beta2": 0.999, "weight_decay": 0.0, "warmup": 0.02, **more}
    return OptimizerConfig(learning_rate, genome_learning_rate, **given)


TINY = plain_model(cell_factors=3, assay_factors=4, factors_25bp=2, factors_250bp=3, factors_5kbp=2, layers=1, nodes=8)
STATES = replace(
    TINY, kind="states", factors_25bp=1, factors_250bp=1, factors_5kbp=1, encoder_nodes=4, baseline="regression",
    baseline_features=8,
)  # fmt: skip


def make_signal(n_bins: int, seed: int) -> np.ndarray:
    """Positive signal of rank 3, with some noise: float32 (n_bins, 13)."""
    random = np.random.default_rng(seed)
    cell, assay = random.gamma(1.0, 1.0, (4, 3)), random.gamma(1.0, 1.0, (4, 3))
    place = random.gamma(0.5, 1.0, (n_bins // 10 + 1, 3)).repeat(10, axis=0)[:n_bins]
    loads = np.stack([cell[CELLS.index(c)] * assay[ASSAYS.index(a)] for c, a in PAIRS], axis=1)
    return np.arcsinh(place @ loads + random.random((n_bins, len(PAIRS))) * 0.1).astype(np.float32)


def make_store(path: Path, **columns: float) -> SignalStore:
    """A store of both regions; `columns`, such as t3=777, replace the signal of a track everywhere."""
    signals = {PILOT: make_signal(PILOT.n_bins, 1), CHR20: make_signal(CHR20.n_bins, 2)}
    for region, signal in signals.items():
        for name, value in columns.items():
            signal[:, int(name[1:])] = value
        write_region(path, region, len(PAIRS), "float32", [region.to_blocks(signal)])
    table = pd.DataFrame(PAIRS, columns=pd.Index(["cell", "assay"]))
    table["sha256"] = [f"{number:064x}" for number in range(len(PAIRS))]
    write_metadata(path, ASSEMBLY, signals, table, "float32")
    return open_store(path)


def grid(n_cells: int, n_assays: int, drop: Collection[tuple[str, str]] = ()) -> pd.DataFrame:
    """A compendium of all pairs but those of `drop`."""
    pairs = [(f"C{c}", f"A{a}") for c in range(n_cells) for a in range(n_assays)]
    return pd.DataFrame([p for p in pairs if p not in drop], columns=pd.Index(["cell", "assay"]))


def tracks(store: SignalStore, columns: list[int]) -> Tracks:
    return tracks_of(store, columns, (CELLS, ASSAYS))


TRAIN, VAL, TEST = [0, 1, 2, 4, 5, 7, 8, 9, 12], [3, 11], [6, 10]  # columns


def make_data(
    store: SignalStore,
    region: str = "pilot",
    val: bool = True,
    order: str = "shuffled",
    tracks_per_bin: int = 1,
    masked: float = 0.0,
    unmask_at: int = 0,
    batch_size: int = 400,
    **options,
) -> SignalDataModule:
    return SignalDataModule(
        store,
        region,
        tracks(store, TRAIN),
        tracks(store, VAL) if val else None,
        batch_size=batch_size,
        sampling=Sampling(order, tracks_per_bin, masked, unmask_at),
        **options,
    )


def make_network(config: ModelConfig = TINY, seed: int = 0, mean: float = 0.0) -> Network:
    return Network(config, len(CELLS), len(ASSAYS)).initialise(torch.Generator().manual_seed(seed), mean)


def make_states(store: SignalStore, config: ModelConfig = STATES, seed: int = 0) -> StatesNetwork:
    generator = torch.Generator().manual_seed(seed)
    network = initial_network(config, store, "pilot", tracks(store, TRAIN), generator)
    assert isinstance(network, StatesNetwork)
    return network


def make_module(
    store: SignalStore,
    region: str = "pilot",
    stage: str = "pilot",
    config: ModelConfig = TINY,
    optimizer: OptimizerConfig | None = None,
    seed: int = 0,
    network: Network | None = None,
    **options,
) -> FactorizationModule:
    network = network or make_network(config, seed)
    genome = genome_factors(network.config, store.region(region).n_blocks, torch.Generator().manual_seed(seed + 1))
    return FactorizationModule(network, genome, stage, optimizer or FAST, seed, tracks(store, VAL), **options)


FAST = plain_optimizer(learning_rate=0.01, genome_learning_rate=0.05)

RUN = RunSpec(
    stage="pilot",
    region="pilot",
    split=SplitConfig(fold=0, n_folds=4),
    seed=0,
    model=TINY,
    optimizer=FAST,
    fit=plain_fit(epochs=2, batch_size=400, checkpoint_every=0),
)


def with_fit(run: RunSpec, **changes) -> RunSpec:
    return replace(run, fit=replace(run.fit, **changes))


def genome_run(run: RunSpec = RUN) -> RunSpec:
    return replace(run, stage="genome", region="chr20")


def train_elsewhere(run: RunSpec, store: Path, runs: Path) -> None:
    """What another process carries out; started by multiprocessing, so it must be importable."""
    train(run, open_store(store), runs, hardware=Hardware("cpu"), progress=False)
