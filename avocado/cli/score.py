"""`avocado score`: held-out tracks of a model, or any two files, beside average activity."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.cli import app
from avocado.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from omegaconf import DictConfig

    from avocado.modeldir import Model


def score(config: DictConfig) -> None:
    """Print tables, and write them where `out` is given."""
    from avocado.evaluation.scores import format_scores, write_scores

    if config.model is not None and config.store is not None:
        tables = _score_model(config)
    elif config.observed is not None and config.imputed is not None:
        tables = {"": _score_files(config)}
    else:
        raise InputError("give model= and store=, or observed= and imputed= (two track files); --help shows both")
    for region, table in tables.items():
        if region:
            print(f"{region}:")
        print(format_scores(table, color=sys.stdout.isatty()))
        if config.out is not None:
            write_scores(table, Path(config.out) / region)


def _score_model(config: DictConfig) -> dict[str, pd.DataFrame]:
    from avocado.evaluation.held_out import held_out, picture, score_model
    from avocado.files import replacing
    from avocado.hardware import Hardware
    from avocado.modeldir import load_model
    from avocado.store import open_store

    model, store = load_model(config.model), open_store(config.store)
    hardware = Hardware(config.device, config.precision)
    asked = [_pair(model, name) for name in app.as_list(config.tracks)]
    for pair in asked:
        store.track_index(*pair)
    tracks = asked or held_out(model)
    regions = app.as_list(config.region) or [name for name in model.regions if name in store.regions]
    if not regions:
        raise InputError(f"model {model.path} and store {store.path} share no region")
    tables = {}
    for region in regions:
        tables[region] = score_model(model, store, region, tracks, hardware)
        if config.out is not None:
            with replacing(Path(config.out) / region / "tracks.png") as temporary:
                picture(model, store, region, tracks, hardware).savefig(temporary, format="png", dpi=150)
    return tables


def _score_files(config: DictConfig) -> pd.DataFrame:
    import numpy as np

    from avocado.evaluation.scores import AVERAGE, score_table
    from avocado.genome import load_assembly, parse_regions
    from avocado.sources import check_source, read_signal

    if config.assembly is None or config.region is None:
        raise InputError("two files need assembly= (hg19, hg38, a chrom.sizes file) and region= (chr20, pilot, a BED)")
    others = app.as_list(config.average)
    if not others:
        raise InputError(
            "give average= the files of the same assay in other cell types: a score says little "
            "without average activity beside it"
        )
    assembly = load_assembly(config.assembly)
    regions = parse_regions(assembly, app.as_list(config.region))
    if len(regions) > 1:
        raise InputError(f"region={config.region}: two files are compared on one region at a time")
    region = regions[0]
    for file in (config.observed, config.imputed, *others):
        check_source(file, assembly, [region], single=True)

    def read(file: str) -> np.ndarray:
        return read_signal(file, region, True, config.arrays, "float32")

    track = (Path(config.observed).name, "")
    average = np.mean([read(file) for file in others], axis=0)
    methods = {AVERAGE: {track: average}, Path(config.imputed).name: {track: read(config.imputed)}}
    return score_table({track: read(config.observed)}, methods)


def _pair(model: Model, name: str) -> tuple[str, str]:
    """The pair called 'CELL:ASSAY' or 'CELL ASSAY'; both names may have blanks and colons in them."""
    for cell in model.cells:
        if name.startswith((f"{cell}:", f"{cell} ")) and name[len(cell) + 1 :] in model.assays:
            return cell, name[len(cell) + 1 :]
    cell, colon, assay = name.partition(":")
    if not colon:
        cell, _, assay = name.rpartition(" ")
    if not cell:
        raise InputError(f"'{name}' is no track: write CELL:ASSAY, for instance E003:H3K4me3")
    model.pair(cell, assay)  # says which of the two is unknown
    return cell, assay


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    return app.run("score", score, arguments)
