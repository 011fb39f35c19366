"""The calls of a notebook or a script that take names and paths as users type them; the rest lies in the rooms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from avocado.data.compendium import Pair, pairs_in, read_table
from avocado.data.genome import BIN_SIZE
from avocado.data.joined import join
from avocado.data.store import SignalStore, open_store
from avocado.errors import InputError
from avocado.evaluation.held_out import score_model, stratify_model
from avocado.evaluation.scores import combine_regions
from avocado.model.config import ModelConfig
from avocado.model.directory import Model, load_model, own_store_of
from avocado.model.transfers import given_stores
from avocado.plotting.held_out import picture as draw_held_out
from avocado.runs.run import RunResult, RunSpec, SplitConfig
from avocado.runs.run import train as train_run
from avocado.runs.transfer import TransferSpec
from avocado.runs.transfer import transfer as transfer_run
from avocado.training.config import FitConfig, OptimizerConfig
from avocado.training.stages import stage_named
from avocado.training.transfer_config import TransferConfig
from avocado.utils.hardware import Hardware

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def transfer(
    model: str | Path | Model,
    table: str | Path | pd.DataFrame,
    out: str | Path,
    *,
    store: str | Path | SignalStore | None = None,
    regions: Sequence[str] = (),
    arrays: str = "arcsinh",
    verdict: bool = True,
    seed: int = 0,
    workers: int = 1,
    progress: bool = False,
    **settings: float,
) -> Model:
    """Add new cell types or assays to a trained model: only their own factors are learned (Schreiber et al. 2020b).

    Everything else of the new model is the old one's, bit for bit. The same as `python train.py stage=transfer`.

    Parameters
    ----------
    model
        A model, or its directory.
    table
        New tracks: TSV or CSV file, or data frame, with the columns cell, assay and file; tracks with `test` in a
        column split are only kept for a score.
    out
        Directory of the new model; what an interrupted call left there is gone on with.
    store
        With the model's own tracks, where their store is no longer where it was.
    regions
        Of the model, in which the new tracks are read; none: all.
    arrays
        What .npy and .npz files hold: arcsinh, or raw −log10 p.
    verdict
        Whether to judge each track by leaving it out (`transfer/verdict.txt` and others in `out`).
    seed
        Of the bins that are learned from.
    workers
        Processes that read tracks.
    progress
        Whether to show progress bars.
    settings
        Of `training.transfer_config.TransferConfig`, such as `steps=200`.

    Returns
    -------
    Model
        What `impute`, `score` and all others take.

    Raises
    ------
    InputError
        For tracks that do not fit the model: a cell type that it has, an unknown assay, another assembly.
    """
    source = model.path if isinstance(model, Model) else Path(model)
    tracks = table if isinstance(table, pd.DataFrame) else read_table(table)
    config = TransferConfig(**settings)  # type: ignore[arg-type]
    spec = TransferSpec(source, tracks, Path(out), config, tuple(regions), arrays, seed, verdict)
    opened = open_store(store) if isinstance(store, str | Path) else store
    if opened is None and isinstance(model, Model):
        opened = model.store
    return load_model(transfer_run(spec, opened, workers=workers, progress=progress).model, opened)


def score(
    model: str | Path | Model,
    store: str | Path | SignalStore | None = None,
    *,
    regions: Sequence[str] | None = None,
    role: str = "test",
) -> pd.DataFrame:
    """Score a model's held-out tracks, compared with average activity (Avocado paper, Evaluation).

    Parameters
    ----------
    model
        A model, or its directory.
    store
        With the observed tracks; None: the store that the model was trained on.
    regions
        Regions of the model; None: all that it has factors of.
    role
        test, or val for validation tracks.

    Returns
    -------
    pandas.DataFrame
        A row for each track and method, and their means: MSE, MSE1obs, MSE1imp, Pearson, Spearman, and more, in
        arcsinh space.

    Raises
    ------
    InputError
        Where no track is held out, and for a store that does not fit the model.
    """
    known, observed = _opened(model, store)
    tracks = _held_out(known, role)
    names = list(regions) if regions is not None else list(known.regions)
    return combine_regions([score_model(known, observed, region, tracks) for region in names])


def stratify(
    model: str | Path | Model, region: str, store: str | Path | SignalStore | None = None, *, role: str = "test"
) -> pd.DataFrame:
    """Score a model's held-out tracks by how much the bins differ between cell types (the pitfall paper).

    Average activity is strong where cell types agree and has nothing to say where they differ.

    Parameters
    ----------
    model
        A model, or its directory.
    region
        One of the model's.
    store
        With the observed tracks; None: the store that the model was trained on.
    role
        test, or val for validation tracks.

    Returns
    -------
    pandas.DataFrame
        A row for each track, method and stratum of bins ('0–50 %' are the bins whose standard deviation over the
        assay's training tracks is in the lower half), and their means: variability, bins, mse, pearson, skill.

    Raises
    ------
    InputError
        Where no track is held out, and for a store that does not fit the model.
    """
    known, observed = _opened(model, store)
    return stratify_model(known, observed, region, _held_out(known, role))


def picture(
    model: str | Path | Model,
    place: str | None = None,
    tracks: Sequence[Pair] | None = None,
    store: str | Path | SignalStore | None = None,
    *,
    width: int = 100_000,
) -> Figure:
    """Draw observed and imputed signal, and average activity, of up to three held-out tracks.

    Parameters
    ----------
    model
        A model, or its directory.
    place
        A region of the model, of which the most telling window is drawn, or `chrom:start-end` in bp (counted from 1,
        both ends included); None: the first of its chromosomes.
    tracks
        Held-out pairs of cell type and assay; None: those that have least in common.
    store
        With the observed tracks; None: the store that the model was trained on.
    width
        Of the window, bp.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each track and method, arcsinh(−log10 p) by position.

    Raises
    ------
    InputError
        For a place that the model has no factors of, tracks that it was trained on, and a store that does not fit it.
    """
    known, observed = _opened(model, store)
    held_out = _held_out(known, "test")
    for pair in tracks or ():
        known.pair(*pair)
        if tuple(pair) not in held_out:
            named = ", ".join(" ".join(its) for its in held_out[:10])
            raise InputError(f"{' '.join(pair)} is not held out: a picture of it would say nothing; held out: {named}")
    name = place or next((its for its in known.regions if its in known.assembly.sizes), next(iter(known.regions)))
    window, *more = known.windows(name)
    if window.layout == known.regions[window.source]:
        return draw_held_out(known, observed, window.source, tracks or held_out, width=width)
    segment, *others = window.layout.segments
    if more or others:
        raise InputError(f"{name}: a picture is of one place, such as chr20:1,000,001-1,100,000")
    bounds = (segment.chrom, segment.start * BIN_SIZE, segment.end * BIN_SIZE)
    return draw_held_out(known, observed, window.source, tracks or held_out, place=bounds)


def train(
    store: str | Path | SignalStore,
    stage: str = "pilot",
    chrom: str = "chr20",
    *,
    fold: int | None = 0,
    hold_out: Sequence[str] = (),
    seed: int = 0,
    epochs: int | None = None,
    min_steps: int | None = None,
    model: ModelConfig | None = None,
    optimizer: OptimizerConfig | None = None,
    hardware: Hardware | None = None,
    runs: str | Path = "runs",
    overwrite: bool = False,
    progress: bool = False,
) -> RunResult:
    """Train one stage, as `python train.py` does, or find that it is done (Avocado paper, Training).

    Parameters
    ----------
    store
        A signal store, or its folder.
    stage
        pilot: what all chromosomes share; genome: then the factors of a chromosome; joint: all of it on one region.
    chrom
        Region of the stages genome and joint.
    fold
        The fifth of the tracks that is held out, from 0; None: none, every track trains.
    hold_out
        Tracks 'CELL ASSAY' to hold out instead, with fold=None.
    seed
        Of everything random.
    epochs
        Passes over the bins; None: the stage's.
    min_steps
        More epochs where a small region would get fewer steps; None: 2,400 to 6,000, by the number of tracks.
    model
        Sizes of the network and of its factors; None: the default model.
    optimizer
        Learning rates and their schedule; None: the defaults.
    hardware
        What to compute on; None: the GPU where there is one.
    runs
        Folder of the runs: this one lies in `<stage>/<region>/fold<k>/seed<s>`.
    overwrite
        Train again what is done, or was begun with other settings.
    progress
        Whether to show progress bars.

    Returns
    -------
    RunResult
        `directory` of the run with its pictures and report.html, `model`, the directory that `load_model` takes, and
        `scores` of the held-out tracks, compared with average activity.

    Raises
    ------
    InputError
        For a stage or a region that is not there, and a run that was begun with other settings.
    """
    opened = open_store(store) if isinstance(store, str | Path) else store
    known = stage_named(stage)
    region, split = known.region_for(chrom), SplitConfig(fold, hold_out=tuple(hold_out))
    fit = FitConfig(known.epochs if epochs is None else epochs, min_steps=min_steps)
    run = RunSpec(
        stage, region, seed, model or ModelConfig(), optimizer or OptimizerConfig(),
        fit.for_region(opened.region(region).n_bins, split.n_training(opened)), split,
    )  # fmt: skip
    return train_run(run, opened, Path(runs), hardware=hardware, overwrite=overwrite, progress=progress)


def _opened(model: str | Path | Model, store: str | Path | SignalStore | None) -> tuple[Model, SignalStore]:
    """A model, and the store of its observed tracks."""
    opened = open_store(store) if isinstance(store, str | Path) else store
    known = load_model(model, opened) if isinstance(model, str | Path) else model
    return known, join([opened or own_store_of(known), *given_stores(known.path, known.transfers)])


def _held_out(model: Model, role: str) -> list[Pair]:
    tracks = pairs_in(model.tracks, role)
    if not tracks:
        raise InputError(f"model {model.path} has no {role} tracks: there is nothing to score")
    return tracks
