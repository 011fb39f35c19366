"""`avocado impute`: model -> imputed tracks as bigWig or .npz."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.cli import app
from avocado.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from avocado.hardware import Hardware
    from avocado.modeldir import Model

SETS = ("unmeasured", "held_out", "all")


def impute(config: DictConfig) -> None:
    """Write the tracks that are asked for and not there yet."""
    from avocado.hardware import Hardware
    from avocado.impute import regions_to_impute
    from avocado.modeldir import load_model

    hardware = Hardware(config.device, config.precision)
    model = load_model(config.model)
    chosen = _pairs(model, app.as_list(config.cell), app.as_list(config.assay), config.pairs)
    if not chosen:
        print("nothing to impute: no such pairs in this model")
        return
    regions = app.as_list(config.regions) or regions_to_impute(model)
    files = {(cell, assay): _file(config.out, cell, assay, len(chosen)) for cell, assay in chosen}
    for path in files.values():
        if path.is_dir():
            raise InputError(f"{path} is a folder: give the name of a file, out={path}/{{cell}}-{{assay}}.bigWig")
    missing = {pair: path for pair, path in files.items() if config.overwrite or not path.exists()}
    if len(missing) < len(files):
        print(f"{len(files) - len(missing)} of {len(files)} files are there already (overwrite=true writes them again)")
    if missing:
        write(model, missing, regions, config.scale, hardware, config.progress, config.workers)
        first = next(iter(missing.values()))
        unit = "−log10 p" if config.scale == "pval" else "arcsinh(−log10 p)"
        print(
            f"{len(missing)} tracks over {', '.join(regions)} as {unit}: {first}{', ...' if len(missing) > 1 else ''}"
        )


def write(
    model: Model,
    files: dict[tuple[str, str], Path],
    regions: Sequence[str],
    scale: str,
    hardware: Hardware,
    progress: bool,
    workers: int | None = None,
) -> None:
    """`impute.write_tracks` behind a progress bar."""
    from rich.console import Console
    from rich.progress import Progress

    from avocado.impute import write_tracks

    for region in regions:
        model.genome(region)  # a missing or damaged file is said before any work
    total = sum(model.regions[region].n_blocks for region in regions) * len(files)
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task(f"imputing {len(files)} tracks", total=total)
        write_tracks(
            model,
            files,
            regions,
            scale,
            hardware,
            lambda blocks: bar.advance(task, blocks),
            workers or os.cpu_count() or 1,
        )


def _pairs(model: Model, cells: Sequence[str], assays: Sequence[str], named: str | None) -> list[tuple[str, str]]:
    from avocado.evaluation.held_out import held_out

    if named is not None and named not in SETS:
        raise InputError(f"unknown pairs '{named}'; there is: {', '.join(SETS)}")
    for cell in cells:
        model.pair(cell, model.assays[0])
    for assay in assays:
        model.pair(model.cells[0], assay)
    if named is None:
        named = "all" if cells or assays else "unmeasured"
    if named == "unmeasured":
        pairs = model.unmeasured()
    elif named == "held_out":
        pairs = held_out(model)
    else:
        pairs = [(cell, assay) for cell in model.cells for assay in model.assays]
    return [(cell, assay) for cell, assay in pairs if (not cells or cell in cells) and (not assays or assay in assays)]


def _file(pattern: str, cell: str, assay: str, n_pairs: int) -> Path:
    if n_pairs > 1 and not ("{cell}" in pattern and "{assay}" in pattern):
        raise InputError(f"out={pattern}: {n_pairs} tracks need {{cell}} and {{assay}} in the name")
    # a cell type such as 'CD8/naive' must not become a folder
    names = (name.replace("/", "_") for name in (cell, assay))
    return Path(pattern.replace("{cell}", next(names)).replace("{assay}", next(names)))


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    return app.run("impute", impute, arguments)
