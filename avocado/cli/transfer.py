"""`python train.py stage=transfer`: new tracks -> a trained model that knows their cell types and assays, too."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.cli import app
from avocado.config.schema import options_of
from avocado.config.sections import Transfer
from avocado.config.values import as_list
from avocado.errors import InputError
from avocado.training.transfer_config import TransferConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from avocado.runs.transfer import TransferResult

SHORT = [its.name for its in fields(Transfer) if its.name not in {its.name for its in fields(TransferConfig)}]


def as_settings(arguments: Sequence[str]) -> list[str]:
    """Arguments of train.py, with a model's directory, model=DIRECTORY, as the key that it is.

    model= otherwise chooses the size of a model that is to be trained. With stage=transfer, its keys table=, out= and
    so on need no `transfer.` before them.
    """
    transfers = "stage=transfer" in arguments
    return [_as_setting(argument, transfers) for argument in arguments]


def _as_setting(argument: str, transfers: bool) -> str:
    key, equals, value = argument.partition("=")
    if not equals:
        return argument
    if key == "model" and value not in options_of("model") and not value.endswith((".yaml", ".yml")):
        first = value.split(",")[0].strip("'\"")
        if transfers or Path(first).is_dir():
            return f"source={value}"
    return f"transfer.{argument}" if transfers and key in SHORT else argument


def transfer(config: DictConfig) -> None:
    """Add new cell types or assays to the model `source`, and say what came out."""
    from avocado.data.compendium import read_table
    from avocado.data.store import open_store
    from avocado.runs.transfer import TransferSpec
    from avocado.runs.transfer import transfer as carry_out

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
