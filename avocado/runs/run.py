"""A training run: its place on disk, what it needs, what it leaves behind, and when it is already done.

<runs>/<stage>/<region>/fold<k>/seed<s>/   settings.yaml, checkpoint.ckpt while it trains, then split.tsv,
                                           history.csv, scores.csv, scores.json, *.png, report.html and done.json
<runs>/model/fold<k>/seed<s>/              the model directory that a pilot run makes and its genome runs complete
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from pytorch_lightning.loggers import Logger

import avocado
from avocado.data.compendium import pairs_in
from avocado.data.genome import file_stem
from avocado.data.splits import split
from avocado.data.store import SignalStore, Tracks, tracks_of
from avocado.errors import InputError
from avocado.evaluation.scores import read_scores
from avocado.model.directory import SHARED, Model, load_model, save_region, save_shared, unusable_regions
from avocado.model.own_store import require_tracks
from avocado.model.states import StatesNetwork
from avocado.plotting.held_out import LINEAGE
from avocado.runs.card import update_card
from avocado.runs.given import read_region
from avocado.runs.record import write_record
from avocado.training.loop import Trained, TrainingSpec, carry_out, initial_network
from avocado.training.memory import GIB, describe_memory, predict_memory, require_memory
from avocado.training.stages import stage_named
from avocado.utils import files
from avocado.utils.files import replacing, sha256
from avocado.utils.hardware import Hardware, device_of
from avocado.utils.settings import changes, flat

log = logging.getLogger(__name__)

FORMAT_VERSION = 1  # of a run's directory: settings and checkpoint
CHECKPOINT = "checkpoint.ckpt"
# settings that change how a run is carried out and not what comes out of it (min_steps is in the epochs already)
INCIDENTAL = ("min_steps", "memory_limit", "workers", "checkpoint_every")


@dataclass(frozen=True)
class SplitConfig:
    """Who trains, validates and tests; see `splits.split`."""

    fold: int | None = 0
    n_folds: int = 5
    seed: int = 0
    hold_out: tuple[str, ...] = ()
    validation: float = 0
    like: str | None = None  # directory of a model, whose roles these are instead; tracks that it lacks have none

    @property
    def name(self) -> str:
        """The fold in the names of folders."""
        return "foldall" if self.fold is None else f"fold{self.fold}"

    def n_training(self, store: SignalStore) -> int:
        """Number of training tracks."""
        return int((self.roles(store)["role"] == "train").sum())

    def roles(self, store: SignalStore) -> pd.DataFrame:
        """The tracks of a store, cell and assay, and their `role`: train, val or test."""
        if self.like is not None:
            known = load_model(self.like, only_whole=True).own_tracks
            role = dict(zip(pairs_in(known), known["role"], strict=True))
            return store.tracks[["cell", "assay"]].assign(role=[role.get(pair, "") for pair in pairs_in(store.tracks)])
        roles = split(store.tracks, self.fold, self.n_folds, self.seed, self.hold_out, self.validation)
        return store.tracks[["cell", "assay"]].assign(role=roles)


@dataclass(frozen=True)
class RunSpec(TrainingSpec):
    """Everything that decides what a run's result is."""

    split: SplitConfig = SplitConfig()

    def directory(self, runs: Path) -> Path:
        """Where this run's record lies."""
        if self.split.like is not None:
            return Path(self.split.like) / self.stage / file_stem(self.region)
        return runs / self.stage / file_stem(self.region) / self.split.name / f"seed{self.seed}"

    def model_directory(self, runs: Path) -> Path:
        """The model that this run makes or completes."""
        if self.split.like is not None:
            return Path(self.split.like)
        if not stage_named(self.stage).shares_model:
            return self.directory(runs) / "model"
        return runs / "model" / self.split.name / f"seed{self.seed}"


@dataclass(frozen=True)
class RunResult:
    """What a run left."""

    directory: Path
    model: Path
    scores: pd.DataFrame | None  # None where no track was held out
    was_done: bool


def train(
    run: RunSpec,
    store: SignalStore,
    runs: Path,
    *,
    resume: bool = True,
    overwrite: bool = False,
    hardware: Hardware | None = None,
    progress: bool = True,
    logger: Logger | bool = False,
    color_by: str = LINEAGE,
) -> RunResult:
    """Carry out one run, or go on with it, or find that it is done.

    Leaves the model directory complete before the run counts as done. color_by: the column of the store's table that
    colours cell types or assays in the picture of their factors, where they have it. Raises InputError for a run
    directory that was begun with other settings (unless `overwrite`), a missing pilot model, and everything a user can
    get wrong.
    """
    directory, model_dir = run.directory(runs), run.model_directory(runs)
    hardware = hardware or Hardware()
    tracks = run.split.roles(store)
    with locked(directory):
        pilot = _pilot(model_dir, store, tracks) if stage_named(run.stage).needs else None
        settings = _settings(run, store, pilot)
        if overwrite:
            for name in ("settings.yaml", "done.json", CHECKPOINT):
                (directory / name).unlink(missing_ok=True)
        require_same_settings(directory, settings)
        if _is_done(directory, model_dir, run.region):
            table = read_scores(directory) if (directory / "scores.csv").is_file() else None
            return RunResult(directory, model_dir, table, was_done=True)
        if not resume:
            (directory / CHECKPOINT).unlink(missing_ok=True)
        with replacing(directory / "settings.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(settings, sort_keys=False))
        with replacing(directory / "split.tsv") as temporary:
            tracks.to_csv(temporary, sep="\t", index=False)
        begun = time.monotonic()
        try:
            trained = _fit(run, store, tracks, pilot, directory, hardware, progress, logger)
        except InputError:
            if not (directory / CHECKPOINT).is_file():  # nothing was begun that other settings could not go on with
                (directory / "settings.yaml").unlink()
            raise
        training = {
            "stage": run.stage,
            "region": run.region,
            "fold": run.split.fold,
            "seed": run.seed,
            "store": str(store.path.resolve()),
            "store_checksum": store.tracks_checksum,
            "avocado": avocado.__version__,
        }
        if pilot is None:
            fitted = None if trained.baseline is None else trained.baseline.fitted
            save_shared(model_dir, trained.network, store.cells, store.assays, store.assembly, tracks, training, fitted)
            # factors that were trained with other shared parameters are of no use
            for stale in unusable_regions(model_dir):
                (model_dir / f"{stale}.safetensors").unlink()
        save_region(model_dir, store.region(run.region), trained.genome)
        if pilot is not None and pilot.transfers:
            read_region(pilot, store.region(run.region), progress)
        table = write_record(
            run, run.split.name, trained.history, load_model(model_dir, store, only_whole=True), store, directory,
            hardware, color_by, time.monotonic() - begun,
        )  # fmt: skip
        update_card(model_dir, lambda model: _scores_of(run, runs, model))
        with replacing(directory / "done.json") as temporary:
            made = {"model": str(model_dir), "shared_sha256": sha256(model_dir / SHARED), **training}
            temporary.write_text(json.dumps(made, indent=1))
        (directory / CHECKPOINT).unlink(missing_ok=True)
    return RunResult(directory, model_dir, table, was_done=False)


def _scores_of(run: RunSpec, runs: Path, model: Model) -> dict[str, pd.DataFrame]:
    """Scores that the runs which made a model left, by region."""
    found = {}
    for stage, region in product(dict.fromkeys((str(model.training["stage"]), run.stage)), model.regions):
        directory = replace(run, stage=stage, region=region).directory(runs)
        if (directory / "scores.csv").is_file():
            found[region] = read_scores(directory)
    return found


def _fit(
    run: RunSpec,
    store: SignalStore,
    tracks: pd.DataFrame,
    pilot: Model | None,
    directory: Path,
    hardware: Hardware,
    progress: bool,
    logger: Logger | bool,
) -> Trained:
    cells, assays = (pilot.cells, pilot.assays) if pilot else (store.cells, store.assays)
    train_tracks, val_tracks = (_tracks(store, tracks, role, cells, assays) for role in ("train", "val"))
    generator = torch.Generator().manual_seed(run.seed)
    network = pilot.network if pilot else initial_network(run.model, store, run.region, train_tracks, generator)
    memory = predict_memory(
        network, run.stage, run.fit, run.optimizer, hardware,
        n_blocks=store.region(run.region).n_blocks, n_tracks=len(train_tracks.columns),
        n_validation=len(val_tracks.columns), signal_bytes=np.dtype(store.dtype).itemsize,
        scored="test" in set(tracks["role"]),
    )  # fmt: skip
    if stage_named(run.stage).trains_network or not isinstance(network, StatesNetwork):
        log.info(run.fit.describe(store.region(run.region).n_bins // hardware.processes))
    log.info(describe_memory(memory))
    require_memory(memory, device_of(hardware.device))
    if isinstance(logger, Logger):
        logger.log_hyperparams(_settings(run, store, pilot))
        logger.log_metrics({"memory/predicted_gib": memory.total / GIB})
    return carry_out(
        run, store, network, (cells, assays), generator, train_tracks, val_tracks, hardware,
        directory / CHECKPOINT, progress, logger,
    )  # fmt: skip


def _tracks(store: SignalStore, tracks: pd.DataFrame, role: str, cells: list[str], assays: list[str]) -> Tracks:
    columns = [column for column, its in enumerate(tracks["role"]) if its == role]
    return tracks_of(store, columns, (cells, assays))


def _pilot(model_dir: Path, store: SignalStore, tracks: pd.DataFrame) -> Model:
    """The pilot model of a genome run, which must come from the same experiments in the same roles."""
    if not (model_dir / "model.yaml").is_file():
        raise InputError(f"no pilot model at {model_dir}: train it first, with stage=pilot and the same fold and seed")
    pilot = load_model(model_dir, only_whole=True)
    mine, theirs = (
        {(cell, assay): role for cell, assay, role in table[["cell", "assay", "role"]].itertuples(index=False)}
        for table in (tracks[tracks["role"] != ""], pilot.own_tracks)
    )
    for track in {**theirs, **mine}:
        if mine.get(track) != theirs.get(track):
            raise InputError(
                f"{' '.join(track)} is '{theirs.get(track, 'unknown')}' in the pilot model {model_dir} and "
                f"'{mine.get(track, 'unknown')}' here: use the same store and split as the pilot run, or another runs="
            )
    require_tracks(store, model_dir, pilot.own_tracks, pilot.training)
    return replace(pilot, store=store)


def _settings(run: RunSpec, store: SignalStore, pilot: Model | None) -> dict[str, Any]:
    """What must agree for a run to be continued or to count as done: plain values only."""
    settings = asdict(replace(run, model=pilot.network.config if pilot else run.model))
    settings["split"]["hold_out"] = list(run.split.hold_out)
    del settings["split"]["like"]  # what it says of the model is in 'pilot'
    for name in INCIDENTAL:
        settings["fit"].pop(name)
    settings |= {"avocado": avocado.__version__, "format_version": FORMAT_VERSION}
    settings["signal"] = f"{run.region} {store.region(run.region).n_bins} {store.tracks_checksum}"
    if pilot is not None:
        settings["pilot"] = pilot.shared_checksum[:16]
    return settings


def state(run: RunSpec, store: SignalStore, runs: Path) -> str:
    """What `train` would find: 'done', 'begun' (there is a checkpoint to go on from) or 'to do'.

    Raises InputError for a run that was begun with other settings, and a genome run whose pilot has other tracks.
    """
    directory, model_dir = run.directory(runs), run.model_directory(runs)
    if stage_named(run.stage).needs and not (model_dir / "model.yaml").is_file():
        return "to do"
    pilot = _pilot(model_dir, store, run.split.roles(store)) if stage_named(run.stage).needs else None
    require_same_settings(directory, _settings(run, store, pilot))
    if _is_done(directory, model_dir, run.region):
        return "done"
    return "begun" if (directory / CHECKPOINT).is_file() else "to do"


def require_same_settings(directory: Path, settings: dict[str, Any], place: str = "runs=...") -> None:
    """Raise InputError for a run's directory that was begun with other settings, or by a version with other files."""
    file = directory / "settings.yaml"
    if not file.is_file():
        return
    try:
        before = flat(yaml.safe_load(file.read_text()))
    except (yaml.YAMLError, AttributeError):
        raise InputError(f"{file} is damaged: set overwrite=true to train this run again") from None
    now = flat(settings)
    theirs, mine = (its.pop("avocado", None) for its in (before, now))
    remedy = f"choose another place with {place}, or overwrite=true to train it again"
    if before.pop("format_version", 1) != now.pop("format_version", 1):
        raise InputError(f"{directory} is of avocado {theirs}, whose runs version {mine} cannot go on with: {remedy}")
    changed = changes(before, now)
    if changed:
        by = f" by avocado {theirs}" if theirs != mine else ""
        raise InputError(f"{directory} was begun{by} with other settings ({'; '.join(changed[:4])}): {remedy}")


def _is_done(directory: Path, model_dir: Path, region: str) -> bool:
    """Whether a run is done, and the model still the one that it made or completed."""
    if not (directory / "done.json").is_file() or not _has_region(model_dir, region):
        return False
    made = json.loads((directory / "done.json").read_text()).get("shared_sha256")  # runs of older versions do not say
    if made not in (None, yaml.safe_load((model_dir / "model.yaml").read_text())["shared_sha256"]):
        raise InputError(
            f"{model_dir} is another model than the one that {directory} made: move it away, or set overwrite=true to "
            "train this run again in its place"
        )
    return True


def _has_region(model_dir: Path, region: str) -> bool:
    """Whether the model has factors of the region that fit it."""
    there = all((model_dir / name).is_file() for name in ("model.yaml", f"{file_stem(region)}.safetensors"))
    return there and not unusable_regions(model_dir, region)


def locked(directory: Path) -> contextlib.AbstractContextManager[bool]:
    """Hold a run's directory for this process alone; a second one waits and then finds the run done."""
    waiting = f"{directory} is being trained by another process; waiting for it"
    return files.locked(directory / ".lock", waiting=waiting, remedy="choose another place with runs=...")
