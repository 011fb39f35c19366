"""`python train.py stage=transfer`: new tracks -> a trained model that knows their cell types and assays, too."""

from __future__ import annotations

import os
import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.cli import app
from avocado.config.values import as_list
from avocado.data.compendium import read_table
from avocado.data.store import open_store
from avocado.errors import InputError
from avocado.runs.transfer import TransferResult, TransferSpec
from avocado.runs.transfer import transfer as carry_out
from avocado.training.transfer_config import TransferConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig


def transfer(config: DictConfig) -> None:
    """Add new cell types or assays to the model `source`, and say what came out."""
    settings = config.transfer
    if config.source is None:
        raise InputError("stage=transfer adds to a trained model: give its directory, model=runs/model/fold0/seed0")
    if settings.table is None:
        raise InputError("stage=transfer learns from new tracks: give table=, a TSV or CSV file with cell, assay, file")
    out = settings.out or str(Path(config.runs) / "transfer" / Path(settings.table).stem)
    spec = TransferSpec(
        Path(config.source),
        read_table(settings.table),
        Path(out),
        TransferConfig(**{its.name: settings[its.name] for its in fields(TransferConfig)}),
        tuple(as_list(settings.regions)),
        settings.arrays,
        config.seed,
        settings.verdict,
    )
    store = None if config.store == config.data.store else open_store(config.store)
    result = carry_out(
        spec, store, workers=settings.workers or os.cpu_count() or 1, resume=config.resume,
        overwrite=config.overwrite, progress=config.trainer.progress,
    )  # fmt: skip
    _say(result)


def _say(result: TransferResult) -> None:
    new = [f"{len(names)} new {kind}{'s' if len(names) > 1 else ''}: {', '.join(names)}"
           for kind, names in (("cell type", result.cells), ("assay", result.assays)) if names]  # fmt: skip
    print(f"transfer {'done before' if result.was_done else 'done'}, {'; '.join(new)}")
    for name, nearest in result.nearest.items():
        print(f"  {name} began as the known one that fits best, {nearest}")
    if result.text:
        print(f"\n{result.text}")
    print(f"\nmodel    {result.model}")
    if result.text:
        print(f"verdict  {result.record / 'verdict.png'}")
    place = shlex.quote(f"model={result.model}")
    steps = [(f"avocado inspect {shlex.quote(f'path={result.model}')}", "what the model holds")]
    if result.cells:
        cell = shlex.quote(f"cell={result.cells[0]}")
        steps.insert(0, (f"avocado impute {place} {cell} pairs=unmeasured", "every assay that was not measured in it"))
    if result.held_out:
        steps.insert(0, (f"avocado score {place}", "the tracks that were held out, average activity beside"))
    app.say_next(steps)
