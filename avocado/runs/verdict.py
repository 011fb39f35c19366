"""What a transfer is worth: its trials, the gate of each new cell type that follows from them, and the verdict's files.

verdict.csv, verdict.png and verdict.txt (see `evaluation.verdict`), similarity.csv: how near new tracks are to known
ones.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from avocado.data.compendium import pairs_in
from avocado.data.store import SignalStore
from avocado.errors import InputError
from avocado.evaluation.trials import Imputed, averages, gate_of, impute_trials, trials_of
from avocado.evaluation.verdict import far_sentences, format_verdict, relatives, sentences, verdict_table
from avocado.model.baseline import RegressionBaseline
from avocado.model.directory import Model, own_store_of
from avocado.model.states import StatesNetwork
from avocado.model.transfers import VERDICT, TransferredBaseline
from avocado.plotting.plots import save_png
from avocado.plotting.verdict import plot_verdict
from avocado.training.frozen import Assays
from avocado.training.newcomers import Newcomers, signal_of
from avocado.training.transfer import Sample
from avocado.training.transfer_config import TransferConfig
from avocado.utils.files import replacing

log = logging.getLogger(__name__)

# what a factorization counts for of a cell type that it was not trained with, against one that it was: measured in
# docs/transfer.md
NEW_SHARE = 0.7


@dataclass(frozen=True)
class Verdict:
    """What was found of the new cell types."""

    table: pd.DataFrame  # see `evaluation.verdict`
    similarity: pd.DataFrame
    sentences: list[str]


def first_gate(model: Model) -> np.ndarray:
    """Weights, for a new cell type, of factorization and baseline and of the factorization alone, before any trial."""
    network = model.network
    if not isinstance(network, StatesNetwork):
        return np.array([1.0, 0.0, 1.0])
    return network.gate.double().numpy() * [NEW_SHARE, 1.0, NEW_SHARE]


def store_at_hand(model: Model, region: str) -> SignalStore | None:
    """The store of a model's own tracks, where it is there and has the region; else None, and why is said."""
    try:
        store = own_store_of(model)
        if store.regions.get(region) == model.regions[region]:
            return store
        why = f"store {store.path} lacks region {region}"
    except InputError as error:
        why = str(error)
    log.warning("average activity is what the model imputes of its own cell types, on average: %s", why)
    return None


def baseline_at_hand(model: Model, region: str, store: SignalStore | None) -> RegressionBaseline | None:
    """The baseline of a model's known pairs, for which its store is needed."""
    if model.regression is None or store is None or not len(pairs_in(model.tracks, "train")):
        return None
    baseline = model.baseline
    return baseline.own if isinstance(baseline, TransferredBaseline) else baseline


def training_columns(model: Model, store: SignalStore | None) -> dict[str, list[int]]:
    """Of every assay the columns that a model's training tracks have in a store; empty without one."""
    columns: dict[str, list[int]] = {}
    if store is not None:
        for cell, assay in pairs_in(model.tracks, "train"):
            columns.setdefault(assay, []).append(store.track_index(cell, assay))
    return columns


@dataclass(frozen=True)
class Trials:
    """All trials of a transfer, imputed."""

    imputed: list[Imputed]
    signal: np.ndarray  # of the new tracks at the judged bins (n_bins, n_pairs)


def carry_out(
    new: Newcomers,
    assays: Assays,
    drawn: tuple[Sample, Sample],
    blocks: np.ndarray,
    store: SignalStore | None,
    config: TransferConfig,
    seed: int,
    checkpoint: Path | None,
    progress: bool,
) -> Trials:
    """Impute the tracks of all new cell types, left out and on masked blocks."""
    mask = new.model.regions[new.region].mask[blocks]
    of_cells = [[column for column, pair in enumerate(new.pairs) if pair[0] == cell] for cell in new.cells]
    trials = [trial for columns in of_cells for trial in trials_of(columns, seed)]
    baseline = baseline_at_hand(new.model, new.region, store)
    imputed = impute_trials(new, assays, trials, drawn, blocks, baseline, config, seed, checkpoint, progress)
    return Trials(imputed, signal_of(new.store, new.region, blocks, new.columns)[mask])


def gates_of(new: Newcomers, trials: Trials | None) -> torch.Tensor:
    """Weights of each new cell type (n_cells, 3), as `StatesNetwork.added_gate`."""
    start, found = first_gate(new.model), []
    for cell in new.cells:
        its = [] if trials is None else [one for one in trials.imputed if new.pairs[one.trial.column][0] == cell]
        found.append(start if trials is None else gate_of(its, trials.signal, start))
    return torch.from_numpy(np.array(found).reshape(-1, 3)).float()


def judge(new: Newcomers, trials: Trials, blocks: np.ndarray, store: SignalStore | None) -> Verdict:
    """The verdict of all trials. Each left-out track is imputed with a gate that it had no part in."""
    start, gates = first_gate(new.model), []
    by_cell: dict[str, list[Imputed]] = {cell: [] for cell in new.cells}
    for its in trials.imputed:
        by_cell[new.pairs[its.trial.column][0]].append(its)
    if isinstance(new.model.network, StatesNetwork):
        found: dict[int, np.ndarray] = {}
        for its in trials.imputed:
            column = its.trial.column
            if column not in found:
                found[column] = gate_of(by_cell[new.pairs[column][0]], trials.signal, start, without=column)
            gates.append(found[column])
    else:
        gates = [start] * len(trials.imputed)
    columns = training_columns(new.model, store)
    average = averages(new, blocks, store, columns)
    table = verdict_table(new.pairs, trials.imputed, trials.signal, average, gates)
    of_cells = [number for number, pair in enumerate(new.pairs) if pair[0] in new.cells]
    similarity = relatives(
        [new.pairs[number] for number in of_cells], trials.signal[:, of_cells], _known(new, blocks, store, columns)
    )
    return Verdict(table, similarity, [*sentences(table), *far_sentences(similarity)])


def _known(
    new: Newcomers, blocks: np.ndarray, store: SignalStore | None, columns: dict[str, list[int]]
) -> dict[str, tuple[list[str], np.ndarray]]:
    """The model's own tracks of the new tracks' assays at the judged bins, with their cell types."""
    if store is None:
        return {}
    mask, found = new.model.regions[new.region].mask[blocks], {}
    for assay in {assay for _, assay in new.pairs} & columns.keys():
        signal = signal_of(store, new.region, blocks, np.array(columns[assay]))[mask]
        found[assay] = store.tracks["cell"].iloc[columns[assay]].tolist(), signal
    return found


def write(verdict: Verdict, folder: Path, note: str) -> None:
    """The verdict's files. note: what average activity is, where it is not that of the model's store."""
    for name, table in (("verdict.csv", verdict.table), ("similarity.csv", verdict.similarity)):
        with replacing(folder / name) as temporary:
            table.to_csv(temporary, index=False)
    lines = [format_verdict(verdict.table), "", *verdict.sentences, *([note] if note else [])]
    with replacing(folder / VERDICT) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    save_png(plot_verdict(verdict.table), folder / "verdict.png")
