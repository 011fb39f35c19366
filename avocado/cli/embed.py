"""`avocado embed`: latent factors of a model as a table for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from avocado.cli import app
from avocado.config.values import as_list
from avocado.data.intervals import read_intervals
from avocado.data.regions import is_bed
from avocado.data.store import open_store
from avocado.errors import InputError
from avocado.latent.embeddings import Embedding, embed_intervals, embed_region, factor_table
from avocado.latent.files import require_writable, write_embedding, write_table
from avocado.model.directory import Model, load_model, store_of
from avocado.utils.progress import shown

if TYPE_CHECKING:
    from omegaconf import DictConfig

WHAT = ("genome", "cells", "assays")


def embed(config: DictConfig) -> None:
    """Write the factors that the config asks for."""
    out = Path(config.out)
    if config.what not in WHAT:
        raise InputError(f"what={config.what}: there is {', '.join(WHAT)}")
    require_writable(out)
    if out.exists() and not config.overwrite:
        raise InputError(f"{out} is there already: give another out=, or overwrite=true")
    if config.cell is not None and config.what != "genome":
        raise InputError(f"cell={config.cell} goes with positions of the genome; without it what={config.what} has all")
    if config.code and config.cell is None:
        raise InputError("code=true goes with cell=, whose code it is")
    model = load_model(config.model, open_store(config.store) if config.store else None, baseline=False)
    if config.what != "genome":
        table = factor_table(model, config.what.removesuffix("s"), _table_of(model))
        write_table(out, table)
        print(f"{out}: {len(table)} {'cell types' if config.what == 'cells' else 'assays'}, {_widths(table)} factors")
        app.say_next([(app.typed("embed", f"model={config.model}", "out=factors.parquet"), "those of the genome")])
        return
    embedding = _embedding(config, model)
    total = len(embedding)
    write_embedding(out, embedding, lambda parts: shown(parts, "factors", None, config.progress))
    kind = "numbers of the code" if config.code else "states"
    whose = "factors" if config.cell is None else f"{kind} of {config.cell}"
    print(f"{out}: {total:,} rows, {len(embedding.names)} {whose}")
    labels = app.typed("downstream", "labels=labels.tsv", f"model={config.model}")
    app.say_next([(labels, "how well they predict labels of your own, beside tracks and baselines")])


def _embedding(config: DictConfig, model: Model) -> Embedding:
    """Rows of the one BED file, whose intervals are rows, or of a region in bins or windows."""
    regions = as_list(config.regions) or list(model.regions)
    if len(regions) > 1:
        more = "several regions" if config.regions else "the model has several regions"
        raise InputError(f"{more}, and a table is of one: give regions={' or regions='.join(regions)}, or a BED file")
    region = regions[0]
    if region in model.regions or not is_bed(region):
        if config.flank:
            raise InputError("flank= goes with a BED file, whose intervals it extends")
        return embed_region(model, region, window=config.window, scale=config.scale, cell=config.cell, code=config.code)
    if config.window != 25:
        raise InputError("window= goes with a chromosome or a place; the rows of a BED file are its intervals")
    found = read_intervals(region, model.assembly)
    table = pd.DataFrame({"chrom": found.chrom, "start": found.start, "end": found.end})
    if any(found.name):
        table["name"] = found.name
    embedding, left_out = embed_intervals(
        model, table, flank=config.flank, scale=config.scale, cell=config.cell, code=config.code
    )
    if len(left_out):
        print(f"left out: {len(left_out):,} of {len(table):,} intervals, of which the model has no factors")
    return embedding


def _table_of(model: Model) -> pd.DataFrame | None:
    """The table of the store that the model learned from; None where that is gone, or another one now."""
    try:
        return store_of(model).tracks
    except InputError:
        return None


def _widths(table: pd.DataFrame) -> int:
    return sum(name.startswith("factor_") for name in table.columns)
