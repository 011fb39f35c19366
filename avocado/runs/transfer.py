"""A transfer: a trained model and new tracks become a model that knows their cell types and assays, too.

<out>/                 the new model directory; genome factors are those of its source, without a second copy
<out>/given/1/         the store of the new tracks (2, 3, ... where the source was a transferred model itself, with the
                       verdict of 1)
<out>/transfer/        settings.yaml, checkpoints while it learns, then history.csv, the verdict and done.json
<out>/README.md        the model card: what was added, from which tracks, and the verdict
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

import avocado
from avocado.data.compendium import pairs_in
from avocado.data.genome import file_stem
from avocado.data.ingest import ingest
from avocado.data.store import SignalStore
from avocado.errors import InputError, did_you_mean
from avocado.evaluation.verdict import read_verdict
from avocado.model.directory import SHARED, Model, load_model, save_shared
from avocado.model.transfers import GIVEN, RECORD, VERDICT, Transfer
from avocado.runs.card import update_card
from avocado.runs.run import locked, require_same_settings
from avocado.runs.verdict import carry_out, gates_of, judge, store_at_hand, write
from avocado.training.newcomers import Learned, Newcomers, divided, extended, learn, samples
from avocado.training.transfer_config import TransferConfig
from avocado.utils.files import remove_leftovers, replacing, sha256

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
GIVEN_FOLDER = "given"
REPLACED = (
    "average activity is here the mean of what the model imputes for its own cell types, as the store of its tracks is "
    "not at hand (store= says where it is)"
)


@dataclass(frozen=True)
class TransferSpec:
    """Everything that decides what a transfer makes."""

    source: Path  # directory of the model that is added to
    tracks: pd.DataFrame  # cell, assay, file; with split: test for those that are only scored
    out: Path
    config: TransferConfig = field(default_factory=TransferConfig)
    regions: tuple[str, ...] = ()  # of the model; none: all
    arrays: str = "arcsinh"
    seed: int = 0
    verdict: bool = True


@dataclass(frozen=True)
class TransferResult:
    """What a transfer left."""

    model: Path
    record: Path  # the folder of curves and verdict
    cells: list[str]  # new ones
    assays: list[str]
    nearest: dict[str, str]  # of each of them, the known one that its learning began with
    held_out: list[str]  # tracks that came with them and nothing was learned from
    was_done: bool
    verdict: pd.DataFrame | None = None  # see `evaluation.verdict`; None where it was not asked for, or of assays alone
    text: str = ""  # the same as a table to print, and in words


def transfer(
    spec: TransferSpec,
    store: SignalStore | None = None,
    *,
    workers: int = 1,
    resume: bool = True,
    overwrite: bool = False,
    progress: bool = False,
) -> TransferResult:
    """Add the cell types and assays of new tracks to a model; goes on with what an interrupted call left.

    store: that of the model's own tracks, where it is no longer where it was. Raises InputError for new tracks that do
    not fit the model, an `out` that is something else, and everything that a user can get wrong.
    """
    spec = replace(spec, tracks=spec.tracks.sort_values(["cell", "assay"], ignore_index=True))
    source = load_model(spec.source, store)
    roles, regions = roles_of(source, spec.tracks), _regions(source, spec.regions)
    record = spec.out / RECORD
    settings = _settings(spec, source, roles, regions)
    _require_place(spec, record)
    with locked(record):
        if overwrite:
            _clear(spec.out, source)
        require_same_settings(record, settings, "out=...")
        if (record / "done.json").is_file() and (spec.out / "model.yaml").is_file():
            return _result(spec.out, record, was_done=True)
        if not resume:
            for checkpoint in record.glob("*.ckpt"):
                checkpoint.unlink()
        begun = (record / "settings.yaml").is_file()
        with replacing(record / "settings.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(settings, sort_keys=False))
        number = len(source.transfers) + 1
        try:
            given = _read(spec, source, spec.out / GIVEN_FOLDER / str(number), regions, workers, progress)
        except InputError:
            if not begun:  # nothing was read that other settings could not go on with
                (record / "settings.yaml").unlink()
            raise
        new = Newcomers(source, given, pairs_in(roles, GIVEN), region_of_learning(source, regions))
        blocks = divided(source.regions[new.region].n_blocks, spec.config, spec.seed)
        drawn = samples(new, blocks, spec.config, spec.seed)
        learned = learn(new, drawn, spec.config, spec.seed, record, progress)
        _write_history(record, learned)
        tried, own = None, None
        if spec.verdict and new.cells:
            own = store_at_hand(source, new.region)
            tried = carry_out(
                new, learned.assays, drawn, blocks[2], own, spec.config, spec.seed, record / "trials.ckpt", progress
            )
        _save(spec, source, new, learned, gates_of(new, tried), roles, given)
        if tried is not None:
            write(judge(new, tried, blocks[2], own), record, "" if own is not None else REPLACED)
        update_card(spec.out)
        made = {
            "model": str(spec.out), "source": str(spec.source), "shared_sha256": sha256(spec.out / SHARED),
            "cells": new.cells, "assays": new.assays, "nearest": learned.nearest,
            "held_out": [" ".join(pair) for pair in pairs_in(roles, "test")], "avocado": avocado.__version__,
        }  # fmt: skip
        with replacing(record / "done.json") as temporary:
            temporary.write_text(json.dumps(made, indent=1))
        for checkpoint in record.glob("*.ckpt"):
            checkpoint.unlink()
    return _result(spec.out, record, was_done=False)


def roles_of(model: Model, tracks: pd.DataFrame) -> pd.DataFrame:
    """Cell, assay and role of new tracks: given, or test. Raises InputError for what cannot be added to the model."""
    roles = pd.Series("train", index=tracks.index) if "split" not in tracks else tracks["split"].replace("", "train")
    wrong = sorted(set(roles) - {"train", "test"})
    if wrong:
        raise InputError(f"the table of new tracks has '{wrong[0]}' in its column split: write train or test")
    table = tracks[["cell", "assay"]].assign(role=roles.map({"train": GIVEN, "test": "test"}))
    for cell, assay in pairs_in(table):
        if cell not in model.cells or assay not in model.assays:
            continue
        measured = (cell, assay) in pairs_in(model.tracks)
        raise InputError(
            f"{cell} is a cell type that model {model.path} has{f', {assay} of it included' if measured else ''}: "
            "a transfer adds new cell types and assays; give the cell type another name, or train again with its track"
        )
    given = table[table["role"] == GIVEN]
    for assay in sorted(set(table["assay"]) - set(model.assays)):
        if not given[(given["assay"] == assay) & given["cell"].isin(model.cells)].empty:
            continue
        hint = did_you_mean(assay, model.assays)
        raise InputError(
            f"model {model.path} knows no assay '{assay}'{hint}; it knows: {', '.join(model.assays)}; as a new assay "
            "it needs a track in a cell type that the model knows"
        )
    for cell in sorted(set(table["cell"]) - set(model.cells)):
        if given[given["cell"] == cell].empty:
            raise InputError(f"{cell} has only tracks that are held out (split=test): it needs one to learn from")
    return table


def region_of_learning(model: Model, regions: Sequence[str]) -> str:
    """The region that a model's network was trained on, where new tracks are read there, or else the largest one."""
    trained = str(model.training.get("region"))
    return trained if trained in regions else max(regions, key=lambda name: model.regions[name].n_bins)


def _regions(model: Model, asked: Sequence[str]) -> list[str]:
    if not model.regions:
        raise InputError(f"model {model.path} has no genome factors, from which new cell types are learned")
    for name in asked:
        model.rows(name)  # raises where there is no such region, or a damaged file
    return list(asked) or list(model.regions)


def _settings(spec: TransferSpec, source: Model, roles: pd.DataFrame, regions: Sequence[str]) -> dict[str, Any]:
    config = asdict(spec.config)
    del config["checkpoint_every"]
    files = spec.tracks["file"].astype(str)
    named = zip(pairs_in(roles), roles["role"], files, strict=True)
    return {
        "source": source.shared_checksum[:16],
        "tracks": {" ".join(pair): f"{role} {file}" for pair, role, file in named},
        "regions": list(regions), "arrays": spec.arrays, "seed": spec.seed, "verdict": spec.verdict, "transfer": config,
        "avocado": avocado.__version__, "format_version": FORMAT_VERSION,
    }  # fmt: skip


def _require_place(spec: TransferSpec, record: Path) -> None:
    if spec.out.resolve() == spec.source.resolve():
        raise InputError(f"out={spec.out} is the model that is added to: choose another out")
    there = spec.out.exists() and not (spec.out.is_dir() and not any(spec.out.iterdir()))
    if there and not record.is_dir():
        raise InputError(f"{spec.out} exists and was not made by a transfer: choose another out")


def _clear(out: Path, source: Model) -> None:
    """Remove what an earlier transfer made there."""
    for file in [out / "model.yaml", *out.glob("*.safetensors"), *out.glob("regressions.*"),
                 *(out / RECORD).glob("[!.]*.*")]:  # fmt: skip
        file.unlink()
    for folder in (out / GIVEN_FOLDER).glob("*"):
        shutil.rmtree(folder, ignore_errors=True)


def _read(
    spec: TransferSpec, source: Model, out: Path, regions: Sequence[str], workers: int, progress: bool
) -> SignalStore:
    layouts = [source.regions[name] for name in regions]
    dtype = source.store.dtype if source.store is not None else "float16"
    return ingest(
        spec.tracks, out, source.assembly, layouts, dtype=dtype, arrays=spec.arrays, workers=workers, progress=progress
    )


def _save(
    spec: TransferSpec,
    source: Model,
    new: Newcomers,
    learned: Learned,
    gates: torch.Tensor,
    roles: pd.DataFrame,
    given: SignalStore,
) -> None:
    """Write the new model: genome factors and earlier stores of its source, shared parameters, model.yaml."""
    remove_leftovers(spec.out)
    for name in source.regions:
        file = f"{file_stem(name)}.safetensors"
        _share(source.path / file, spec.out / file)
    for before in source.transfers:
        for file in sorted((source.path / before.store).glob("*.*")):
            _share(file, spec.out / before.store / file.name)
    if source.transfers and (source.path / RECORD / VERDICT).is_file():
        _share(source.path / RECORD / VERDICT, spec.out / source.transfers[-1].store / VERDICT)
    added = Transfer(
        str(source.path), source.shared_checksum, new.region, new.cells, new.assays,
        str(given.path.relative_to(spec.out)), given.tracks_checksum,
        spec.arrays,
    )  # fmt: skip
    scales = new.scales if source.given_scales is None else np.concatenate([source.given_scales, new.scales], axis=1)
    save_shared(
        spec.out, extended(new, learned, gates), *new.names, source.assembly,
        pd.concat([source.tracks, roles], ignore_index=True), source.training, source.regression,
        [*source.transfers, added], scales,
    )  # fmt: skip


def _share(file: Path, place: Path) -> None:
    """The same file at another place: a second name for it, or a copy where the disk is another."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(file, temporary)
        except OSError:
            shutil.copyfile(file, temporary)


def _write_history(record: Path, learned: Learned) -> None:
    rows = [(what, *row) for what, curve in learned.curves.items() for row in curve]
    columns = pd.Index(["learned", "step", "train_mse", "masked_mse"])
    with replacing(record / "history.csv") as temporary:
        pd.DataFrame(rows, columns=columns).to_csv(temporary, index=False)


def _result(out: Path, record: Path, was_done: bool) -> TransferResult:
    made = json.loads((record / "done.json").read_text())
    table, text = None, ""
    if (record / "verdict.csv").is_file():
        table, text = read_verdict(record / "verdict.csv"), (record / VERDICT).read_text(encoding="utf-8")
    held_out = made.get("held_out", [])  # transfers of earlier versions do not say
    return TransferResult(out, record, made["cells"], made["assays"], made["nearest"], held_out, was_done, table, text)
