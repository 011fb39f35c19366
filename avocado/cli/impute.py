"""`avocado impute`: a model, or any imputer and a store -> imputed tracks as bigWig or .npz."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from avocado.cli import app
from avocado.config.values import as_list, wants_baseline
from avocado.data.compendium import Pair, pairs_in, unmeasured
from avocado.data.store import SignalStore, open_store
from avocado.errors import InputError
from avocado.inference.impute import (
    places,
    provenance,
    regions_in_order,
    regions_to_impute,
    require_files,
    shared_out,
    write_tracks,
)
from avocado.inference.track_files import track_file
from avocado.model.directory import Model, load_model
from avocado.utils.files import remove_leftovers
from avocado.utils.hardware import Hardware
from avocado.utils.provenance import Made, is_there
from avocado.utils.terminal import counted

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

REMEDY = "overwrite=true writes it again, or choose another out="
MOVE = "move it away, or choose another place"  # where only what the same model made is written again
SETS = ("unmeasured", "held_out", "all")


def impute(config: DictConfig, settings: Sequence[str] = ()) -> None:
    """Write the tracks of a model that are asked for and not there yet. settings: of an imputer, as typed."""
    if (config.model is None) == (config.imputer is None):
        raise InputError("give model= the directory of a model, or imputer= and store=; --help shows both")
    if config.imputer is not None:
        raise InputError(f"imputer={config.imputer} learns from the tracks of a store: give store=")
    if settings:
        raise InputError(f"{settings[0]}: model={config.model} is trained; settings are for imputer=")
    hardware = Hardware(config.device, config.precision)
    store = None if config.store is None else open_store(config.store)
    model = load_model(config.model, store, baseline=wants_baseline(config))
    asked = as_list(config.cell, model.cells), as_list(config.assay, model.assays)
    for cell in asked[0]:
        model.pair(cell, model.assays[0])
    for assay in asked[1]:
        model.pair(model.cells[0], assay)
    sets = {"unmeasured": model.unmeasured(), "held_out": pairs_in(model.tracks, "test")}
    files = files_of(config, _pairs(*asked, config.pairs, sets, model.cells, model.assays))
    if not files:
        return
    regions = as_list(config.regions) or regions_to_impute(model)
    made = provenance(model, files, places(model, regions), config.scale, config.decimals)
    missing = missing_files(config, files, made)
    if missing:
        written = write(
            model, missing, regions, config.scale, hardware, config.progress, config.workers, config.decimals,
            is_missing=lambda path: config.overwrite or not is_there(path, made[path], REMEDY),
        )  # fmt: skip
        if len(written) < len(missing):
            print(f"{len(missing) - len(written)} tracks were written by another process meanwhile")
        if written:
            say_what_was_written(config, written, regions)


def files_of(config: DictConfig, chosen: Sequence[Pair]) -> dict[Pair, Path]:
    """The files of the chosen pairs. Raises InputError for an option that no file can be written with."""
    decimals_of(config)
    if not chosen:
        print("nothing to impute: no such pairs")
    files = {(cell, assay): _file(config.out, cell, assay, len(chosen)) for cell, assay in chosen}
    for path in files.values():
        if path.is_dir():
            raise InputError(f"{path} is a folder: give the name of a file, out={path}/{{cell}}-{{assay}}.bw")
    return files


def decimals_of(config: DictConfig) -> int | None:
    """Decimals of bigWig files. Raises InputError for what makes no sense."""
    decimals = config.decimals
    if decimals is not None and not (type(decimals) is int and 0 <= decimals <= 7):
        raise InputError(f"decimals={decimals}: expected a whole number from 0 to 7, or null for all digits")
    return decimals


def missing_files(config: DictConfig, files: Mapping[Pair, Path], made: Mapping[Path, Made]) -> dict[Pair, Path]:
    """The files that are still to be written. Raises InputError for one that is there and was made otherwise."""
    for folder in {path.parent for path in files.values()}:
        remove_leftovers(folder)
    missing = {pair: path for pair, path in files.items() if config.overwrite or not is_there(path, made[path], REMEDY)}
    if len(missing) < len(files):
        print(f"{len(files) - len(missing)} of {len(files)} files are there already (overwrite=true writes them again)")
    return missing


def say_what_was_written(config: DictConfig, files: Sequence[Path], regions: Sequence[str]) -> None:
    """Where they are, what they hold, and what to type next."""
    unit = "−log10 p" if config.scale == "pval" else "arcsinh(−log10 p)"
    more = ", ..." if len(files) > 1 else ""
    print(f"{counted(len(files), 'track')} over {', '.join(regions)} as {unit}: {files[0]}{more}")
    bigwigs = [path for path in files if path.suffix != ".npz"]
    steps = []
    if bigwigs:
        place = bigwigs[0] if len(files) == 1 else bigwigs[0].parent
        steps.append((app.typed("view", str(place)), "look at them in the web browser"))
    if config.model:
        steps.append(
            (app.typed("hub", f"model={config.model}"), "imputed and observed tracks together, in genome browsers")
        )
    else:
        score = app.typed("score", f"imputer={config.imputer}", f"store={config.store}", "fold=0")
        steps.append((score, "how good it is on tracks that it does not know"))
    app.say_next(steps)


def write(
    model: Model,
    files: dict[Pair, Path],
    regions: Sequence[str],
    scale: str,
    hardware: Hardware,
    progress: bool,
    workers: int | None,
    decimals: int | None,
    is_missing: Callable[[Path], bool],
) -> list[Path]:
    """`impute.write_tracks` behind a progress bar, beside other processes that write some of the same files.

    is_missing: whether a file is still to be written when its turn comes. Returns those that this process wrote.
    """
    # what is wrong is reported before any work
    require_files(list(files.values()), scale)
    layouts = [window.layout for window in places(model, regions)]
    bigwig = any(path.suffix != ".npz" for path in files.values())
    regions_in_order(model.assembly, layouts, bigwig)
    blocks = sum(layout.n_blocks for layout in layouts)
    written: list[Path] = []
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task(f"imputing {counted(len(files), 'track')}", total=blocks * len(files))
        for group, mine in shared_out(files, is_missing):
            if mine:
                write_tracks(
                    model,
                    mine,
                    regions,
                    scale,
                    hardware,
                    lambda done: bar.advance(task, done),
                    workers or os.cpu_count() or 1,
                    decimals,
                )
            bar.advance(task, blocks * (len(group) - len(mine)))
            written += mine.values()
    return written


def missing_of(
    model: Model, files: Mapping[Pair, Path], regions: Sequence[str], decimals: int | None
) -> Callable[[Path], bool]:
    """Whether a file of −log10 p is absent, or was made from the model as it was or with other regions.

    What it returns raises InputError for a file that anything else made.
    """
    made = provenance(model, files, places(model, regions), "pval", decimals)
    return lambda path: not is_there(path, made[path], MOVE, renew=True)


def pairs_of(
    named: str | None,
    store: SignalStore,
    tracks: pd.DataFrame,
    cells: Sequence[str] = (),
    assays: Sequence[str] = (),
) -> list[Pair]:
    """The pairs of a named set that are of these cell types and assays; tracks: the store's, with their roles."""
    sets = {"unmeasured": unmeasured(tracks, store.cells, store.assays), "held_out": pairs_in(tracks, "test")}
    return _pairs(cells, assays, named, sets, store.cells, store.assays)


def _pairs(
    cells: Sequence[str],
    assays: Sequence[str],
    named: str | None,
    sets: Mapping[str, Sequence[Pair]],
    all_cells: Sequence[str],
    all_assays: Sequence[str],
) -> list[Pair]:
    """The pairs of a named set that are of these cell types and assays, where any are given."""
    if named is not None and named not in SETS:
        raise InputError(f"unknown pairs '{named}'; there is: {', '.join(SETS)}")
    if named is None:
        named = "all" if cells or assays else "unmeasured"
    pairs = sets[named] if named != "all" else [(cell, assay) for cell in all_cells for assay in all_assays]
    return [(cell, assay) for cell, assay in pairs if (not cells or cell in cells) and (not assays or assay in assays)]


def _file(pattern: str, cell: str, assay: str, n_pairs: int) -> Path:
    if n_pairs > 1 and not ("{cell}" in pattern and "{assay}" in pattern):
        raise InputError(f"out={pattern}: {n_pairs} tracks need {{cell}} and {{assay}} in the name")
    return track_file(pattern, cell, assay)
