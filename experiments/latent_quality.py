"""How much do genome factors say about the genome, in the simplest way of asking: linear read-outs?

    python -m experiments.latent_quality

Without `model=` a compendium of two chromosomes is simulated, and a model trained on its pilot regions (stage=pilot)
and on both chromosomes (stage=genome). Everything is read out of the same bins or genes by the same linear model, from

    factors       all genome factors of the bin: 25 bp, and those of its 250 bp and 5 kbp, the same for all cell types
    states, code  those of the cell type in question (not of model.kind=paper)
    tracks        the training tracks of all cell types at the bin
    own tracks    those of the cell type in question only

and averaged over held-out tracks or cell types: R² of held-out tracks; chromatin states, and which genes are expressed,
where the truth is known; and R² of held-out tracks on one chromosome by a read-out that was fitted on another, which
says whether factors mean the same on both. `latent_quality.csv` has every track and cell type, the screen their means.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avocado.cli import app
from avocado.config.values import as_list
from avocado.errors import InputError
from experiments.benchmarks.workers import REPOSITORY

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from avocado.data.compendium import Pair
    from avocado.data.store import SignalStore
    from avocado.model.directory import Model

FACTORS, STATES, CODE, TRACKS, OWN = "factors", "states", "code", "tracks", "own tracks"
ELSEWHERE = "factors, fitted elsewhere"
SOURCES: tuple[str, ...] = (FACTORS, STATES, CODE, TRACKS, OWN, ELSEWHERE)
COLUMNS = ["question", "measure", "region", "unit", "source", "value"]
AROUND = 1_000  # bp on both sides of a transcription start site

Row = tuple[str, str, str, str, str, float]


@dataclass(frozen=True)
class Bins:
    """The drawn bins of a region."""

    region: str
    blocks: np.ndarray  # (n_blocks,), ascending
    mask: np.ndarray  # bool (n_blocks, 200): real ones
    factors: np.ndarray  # float32 (n_bins, n_factors)
    training: np.ndarray  # arcsinh (n_bins, n training tracks)
    held_out: np.ndarray  # arcsinh (n_bins, n held-out tracks)

    @property
    def groups(self) -> np.ndarray:
        """The block of every bin."""
        return np.repeat(self.blocks, self.mask.sum(axis=1))


@dataclass(frozen=True)
class Asked:
    """What is read out of which model."""

    model: Model
    store: SignalStore
    truth: Path | None
    regions: list[str]
    training: list[Pair]
    held_out: list[Pair]
    cells: list[str]
    folds: int
    seed: int


def study(config: DictConfig) -> None:
    """Train what is missing, read out, print the tables, write CSV and figure."""
    import pandas as pd
    import torch

    from experiments.cross_validation import save

    if config.threads:
        torch.set_num_threads(config.threads)
    asked = _asked(config)
    out = Path(config.out)
    table = pd.DataFrame(_answers(asked, config.blocks), columns=pd.Index(COLUMNS))
    spreads = deviations(asked.model, asked.regions)
    numbers: dict[str, Any] = {"index": False, "float_format": lambda value: f"{value:.4g}"}
    print(f"\nstandard deviation of the factors\n\n{spreads.to_string(**numbers)}\n")
    print(f"linear read-outs, means over held-out tracks or cell types\n\n{summarise(table).to_string(**numbers)}\n")
    save(spreads, out / "deviations.csv")
    save(table, out / "latent_quality.csv")
    save(plot_latent_quality(table), out / "latent_quality.png")
    print(f"tables and figure in {out}")


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each question, measure and region: means over units of every source, and factors over tracks."""
    keys = ["question", "measure", "region"]
    means = table.groupby([*keys, "source"], sort=False)["value"].mean().unstack("source", sort=False)
    units = table.dropna(subset=["value"]).groupby(keys, sort=False)["unit"].nunique()
    means = means.reindex(columns=[source for source in (*SOURCES, "by chance") if source in means])
    if TRACKS in means:
        means["factors / tracks"] = means[FACTORS] / means[TRACKS]
    if STATES in means and OWN in means:
        means["states / own tracks"] = means[STATES] / means[OWN]
    return means.assign(n=units.reindex(means.index)).reset_index().rename_axis(columns=None)


def deviations(model: Model, regions: Sequence[str]) -> pd.DataFrame:
    """Of every factor table: how many factors, their standard deviations, and how many hardly vary.

    Median, lowest and highest over the factors; dead: below a hundredth of the table's highest.
    """
    import pandas as pd

    from avocado.model.network import split_block

    tables = {}
    for name in ("cell_factors", "assay_factors"):
        factors = getattr(model.network, name, None)
        if factors is not None:
            tables["all", name.replace("_", " ")] = factors.detach().numpy()
    for region in regions:
        parts = split_block(model.genome(region), model.network.config)
        padded = model.regions[region].mask
        real = (padded, padded.reshape(len(padded), 20, -1).any(axis=2), padded.any(axis=1, keepdims=True))
        for name, part, kept in zip(("25 bp", "250 bp", "5 kbp"), parts, real, strict=True):
            tables[region, name] = part.numpy()[kept]
    rows = []
    for (region, name), factors in tables.items():
        if factors.shape[1] == 0:
            continue
        spread = factors.std(axis=0)
        dead = int((spread <= spread.max() / 100).sum())
        rows.append((region, name, len(spread), np.median(spread), spread.min(), spread.max(), dead))
    return pd.DataFrame(rows, columns=pd.Index(["region", "factors", "number", "median", "lowest", "highest", "dead"]))


def plot_latent_quality(table: pd.DataFrame) -> Figure:
    """Bars of every source side by side, one panel for each question and measure, means over regions and units."""
    from matplotlib.figure import Figure

    from avocado.plotting.plots import GRID, MUTED, quiet

    colors = dict(zip(SOURCES, ("#009e73", "#4d7a00", "#7fd1b4", "#0072b2", "#56b4e9", "#cc79a7"), strict=True))
    known = table[table["source"].isin(SOURCES)].dropna(subset=["value"])
    panels = list(dict.fromkeys(zip(known["question"], known["measure"], strict=True)))
    figure = Figure(figsize=(2.9 * len(panels), 3.6), facecolor="white", layout="constrained")
    for ax, (question, measure) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        chosen = table[(table["question"] == question) & (table["measure"] == measure)]
        means = chosen.groupby("source", sort=False)["value"].mean()
        shown = [source for source in SOURCES if source in means]
        values = [float(means[source]) for source in shown]
        bars = ax.bar(range(len(shown)), values, color=[colors[source] for source in shown])
        ax.bar_label(bars, [f"{value:.2f}" for value in values], fontsize=8)
        if "by chance" in means:
            ax.axhline(float(means["by chance"]), color=MUTED, linestyle=":", linewidth=1)
        ax.set_xticks(range(len(shown)), [source.replace(" ", "\n", 1) for source in shown], fontsize=8)
        ax.set_ylim(min(0, *values) * 1.2, max(0.1, *values) * 1.12)
        ax.set_title(question, fontsize=10)
        ax.set_ylabel(measure)
        ax.grid(axis="y", color=GRID)
        quiet(ax)
    return figure


def _asked(config: DictConfig) -> Asked:
    from avocado.data.compendium import pairs_in
    from avocado.data.store import open_store
    from avocado.model.directory import load_model

    regions = as_list(config.regions)
    if not regions or config.blocks < 1 or config.folds < 2:
        raise InputError(f"regions={regions}, blocks={config.blocks}, folds={config.folds}: give one, 1 and 2 at least")
    folder, place, truth = config.model, config.store, config.truth
    if folder is None:
        folder, place, truth = _trained(config, regions)
    model = load_model(folder)
    store = open_store(place or str(model.training["store"]))
    for region in regions:
        model.genome(region)  # says what is missing
        if store.region(region) != model.regions[region]:
            raise InputError(f"region {region} of store {store.path} is not the one that {folder} has factors of")
    rng = np.random.default_rng(config.seed)
    test, training = pairs_in(model.tracks, "test"), pairs_in(model.tracks, "train")
    if not test:
        raise InputError(f"model {folder} holds no track out, so there is nothing to read out: train it with fold=0")
    cells = sorted({cell for cell, _ in training})
    return Asked(
        model, store, None if truth is None else Path(truth), regions, training, _some(rng, test, config.tracks),
        _some(rng, cells, config.cells), config.folds, config.seed,
    )  # fmt: skip


def _trained(config: DictConfig, regions: Sequence[str]) -> tuple[Path, str, Path]:
    """Model, store and simulated compendium, each made where it is missing."""
    from experiments.compendia import simulated

    out = Path(config.out)
    made = simulated(as_list(config.simulate), out / "compendia", None, config.processes)
    runs = made.folder.parent / "runs"
    settings = [*as_list(config.train), f"store={made.data['store']}", f"runs={runs}", f"fold={config.fold}"]
    settings.append(f"seed={config.seed}")
    if config.threads:
        settings.append(f"trainer.threads={config.threads}")
    for region in regions:
        # a process of its own, as Hydra runs one command at a time; a pilot run that is missing comes first
        command = [sys.executable, str(REPOSITORY / "train.py"), "stage=genome", f"chrom={region}", *settings]
        path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
        status = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": path}).returncode
        if status == 130:
            raise KeyboardInterrupt
        if status != 0:
            raise InputError(f"training on {region} ended with status {status}; its output stands above")
    return runs / "model" / f"fold{config.fold}" / f"seed{config.seed}", made.data["store"], made.folder


def _answers(asked: Asked, n_blocks: int) -> Iterator[Row]:
    """All read-outs, a row for each."""
    drawn = [_draw(asked, region, n_blocks) for region in asked.regions]
    for bins in drawn:
        print(f"{bins.region}: held-out tracks from {len(bins.groups):,} bins", flush=True)
        yield from _tracks(asked, bins)
    if len(drawn) > 1:
        yield from _elsewhere(asked, drawn[0], drawn[1])
    if asked.truth is not None:
        for bins in drawn:
            print(f"{bins.region}: chromatin states of {len(asked.cells)} cell types", flush=True)
            yield from _states(asked, bins)
        print("expression", flush=True)
        yield from _expression(asked)


def _draw(asked: Asked, region: str, n_blocks: int) -> Bins:
    """Random blocks of a region, with factors and signal of their bins."""
    layout = asked.store.region(region)
    if layout.n_blocks < 2 * asked.folds:
        raise InputError(f"region {region} has {layout.n_blocks} blocks, too few for folds={asked.folds}")
    blocks = np.array(_some(np.random.default_rng(asked.seed), range(layout.n_blocks), n_blocks))
    mask = layout.mask[blocks]
    signal = asked.store.signal(region)[blocks][mask]
    columns = [[asked.store.track_index(*track) for track in tracks] for tracks in (asked.training, asked.held_out)]
    training, held_out = (signal[:, chosen].astype(np.float32) for chosen in columns)
    return Bins(region, blocks, mask, _factors(asked.model, region, blocks)[mask], training, held_out)


def _factors(model: Model, region: str, blocks: np.ndarray) -> np.ndarray:
    from avocado.model.network import split_block
    from experiments.readout import bin_factors

    rows = model.genome(region)[blocks]
    return bin_factors(*(part.numpy() for part in split_block(rows, model.network.config)))


def _tracks(asked: Asked, bins: Bins) -> Iterator[Row]:
    from experiments.readout import readout_r2

    def scored(source: str, features: np.ndarray, columns: Sequence[int]) -> Iterator[Row]:
        scores = readout_r2(features, bins.held_out[:, columns], bins.groups, asked.folds, asked.seed)
        for column, score in zip(columns, scores, strict=True):
            yield "held-out tracks", "R²", bins.region, " ".join(asked.held_out[column]), source, float(score)

    for source, features in ((FACTORS, bins.factors), (TRACKS, bins.training)):
        yield from scored(source, features, range(len(asked.held_out)))
    for cell in dict.fromkeys(cell for cell, _ in asked.held_out):
        columns = [number for number, (of, _) in enumerate(asked.held_out) if of == cell]
        for source, features in _of_cell(asked, cell, bins.factors, bins.training):
            yield from scored(source, features, columns)


def _elsewhere(asked: Asked, first: Bins, second: Bins) -> Iterator[Row]:
    from experiments.readout import readout_r2, transfer_r2

    within = readout_r2(second.factors, second.held_out, second.groups, asked.folds, asked.seed)
    across = transfer_r2(
        first.factors, first.held_out, first.groups, second.factors, second.held_out, asked.seed
    )  # fmt: skip
    place = f"{first.region} → {second.region}"
    for source, scores in ((FACTORS, within), (ELSEWHERE, across)):
        for track, score in zip(asked.held_out, scores, strict=True):
            yield "other chromosome", "R²", place, " ".join(track), source, float(score)


def _states(asked: Asked, bins: Bins) -> Iterator[Row]:
    from experiments.readout import state_scores

    states, _, cells = _truth(asked, bins.region)
    layout = asked.store.region(bins.region)
    for cell in asked.cells:
        of_cell = layout.to_blocks(states[cells.index(cell)])[bins.blocks][bins.mask]
        for source, features in _sources(asked, cell, bins.factors, bins.training):
            scores = state_scores(features, of_cell, bins.groups, asked.folds, asked.seed)
            for measure, score in zip(("balanced accuracy", "average precision"), scores, strict=True):
                yield "chromatin states", measure, bins.region, cell, source, score


def _expression(asked: Asked) -> Iterator[Row]:
    """Genes of all regions together, as one has few."""
    from avocado.data.intervals import read_genes
    from experiments.readout import expression_score

    assert asked.truth is not None
    genes = read_genes(asked.truth / "genes.gtf.gz", asked.store.assembly, None)
    factors, tracks, expressed = [], [], []
    cells: list[str] = []
    for region in asked.regions:
        _, activity, cells = _truth(asked, region)
        chosen = np.flatnonzero(genes.chrom == region)
        if len(activity) != len(chosen):
            raise InputError(f"{asked.truth}: genes.gtf.gz and truth.npz disagree about the genes of {region}")
        sites = np.where(genes.forward[chosen], genes.start[chosen], genes.end[chosen] - 1)
        of_factors, of_tracks = _promoters(asked, region, sites)
        factors.append(of_factors)
        tracks.append(of_tracks)
        expressed.append(activity > 0)
    is_expressed = np.concatenate(expressed)
    for cell in asked.cells:
        of_cell = is_expressed[:, cells.index(cell)]
        for source, features in _sources(asked, cell, np.concatenate(factors), np.concatenate(tracks)):
            score = expression_score(features, of_cell, asked.folds, asked.seed)
            yield "expression", "average precision", "all", cell, source, score
        yield "expression", "average precision", "all", cell, "by chance", float(of_cell.mean())


def _promoters(asked: Asked, region: str, sites: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors and training tracks of genes by their transcription start sites (bp), means over the bins around.

    The 5-kbp factors are those of the site itself.
    """
    from avocado.data.genome import BIN_SIZE

    layout = asked.store.region(region)
    every = layout.from_blocks(_factors(asked.model, region, np.arange(layout.n_blocks)))
    coarse = asked.model.network.config.scales[2]
    signal = asked.store.read_tracks([asked.store.track_index(*track) for track in asked.training], region)
    factors, tracks = [], []
    for site in sites:
        middle = min(int(site) // BIN_SIZE, layout.n_bins - 1)  # a chromosome's bins are numbered from its start
        around = slice(max(0, middle - AROUND // BIN_SIZE), middle + AROUND // BIN_SIZE + 1)
        fine = every[around, : every.shape[1] - coarse].mean(axis=0)
        factors.append(np.concatenate([fine, every[middle, every.shape[1] - coarse :]]))
        tracks.append(signal[around].mean(axis=0))
    return np.array(factors), np.array(tracks)


def _sources(asked: Asked, cell: str, factors: np.ndarray, tracks: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield from ((FACTORS, factors), (TRACKS, tracks), *_of_cell(asked, cell, factors, tracks))


def _of_cell(asked: Asked, cell: str, factors: np.ndarray, tracks: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What belongs to a cell type: its states, where the model has some, and its own tracks, where any trained."""
    from avocado.latent.embeddings import cell_code, cell_states

    if asked.model.network.config.kind == "states":
        yield from ((STATES, cell_states(asked.model, cell, factors)), (CODE, cell_code(asked.model, cell, factors)))
    own = [number for number, (of, _) in enumerate(asked.training) if of == cell]
    if own:
        yield OWN, tracks[:, own]


def _truth(asked: Asked, region: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """States (n_cells, n_bins), gene activity (n_genes, n_cells) and the cell types of a simulated chromosome."""
    assert asked.truth is not None
    file = asked.truth / "truth.npz"
    try:
        with np.load(file, allow_pickle=False) as truth:
            if f"states.{region}" not in truth:
                raise InputError(f"{file} knows no chromosome '{region}'; give other regions=")
            cells = [str(cell) for cell in truth["cells"]]
            states, activity = truth[f"states.{region}"], truth[f"gene_activity.{region}"]
    except OSError:
        raise InputError(f"{file}: no such file; truth= is the folder of a simulated compendium") from None
    missing = [cell for cell in asked.cells if cell not in cells]
    if missing or states.shape[1] != asked.store.region(region).n_bins:
        raise InputError(f"{file} is not the truth of store {asked.store.path}: other cell types or chromosomes")
    return states, activity, cells


def _some(rng: np.random.Generator, values: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the values, drawn, in their order."""
    if len(values) <= most:
        return list(values)
    return [values[number] for number in sorted(rng.choice(len(values), most, replace=False))]


if __name__ == "__main__":
    sys.exit(app.run("latent_quality", study, sys.argv[1:]))
