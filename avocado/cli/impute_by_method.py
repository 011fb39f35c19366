"""`avocado impute imputer=`: a method is fitted to the tracks of a store, and imputes others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import Progress

from avocado.cli.impute import files_of, missing_files, pairs_of, say_what_was_written
from avocado.config import imputers
from avocado.config.training import split_of
from avocado.config.values import as_list
from avocado.data.compendium import pairs_in
from avocado.data.store import open_store
from avocado.errors import InputError
from avocado.imputers.protocol import foretell, groups, possible, predict_window
from avocado.inference.impute import distinct, regions_in_order, require_files
from avocado.runs import baselines
from avocado.utils.terminal import counted

if TYPE_CHECKING:
    from omegaconf import DictConfig


def impute_by_method(config: DictConfig, settings: Sequence[str]) -> None:
    """Fit an imputer to a store's tracks, all of them or the training tracks of a fold, and write what it imputes."""
    composed = imputers.train_config(config, settings)
    store = open_store(config.store)
    tracks = split_of(composed).roles(store)
    cells, assays = as_list(config.cell, store.cells), as_list(config.assay, store.assays)
    for names, known, kind in ((cells, store.cells, "cell type"), (assays, store.assays, "assay")):
        for name in names:
            if name not in known:
                raise InputError(f"store {store.path} has no {kind} '{name}'; it has: {', '.join(known[:30])}")
    every = files_of(config, pairs_of(config.pairs, store, tracks, cells, assays))
    if not every:
        return
    chromosomes = [name for name in store.assembly.sizes if name in store.regions]
    regions = as_list(config.regions, store.regions) or chromosomes or list(store.regions)
    require_files(list(every.values()), config.scale)
    bigwig = any(path.suffix != ".npz" for path in every.values())
    places = {its.layout.name: its for its in distinct(its for place in regions for its in store.windows(place))}
    layouts = regions_in_order(store.assembly, [its.layout for its in places.values()], disjoint=bigwig)
    windows = [places[layout.name] for layout in layouts]
    learned_on = baselines.region_of_fit(store, windows[0].source)
    imputer = imputers.build_imputer(composed, learned_on)
    settings_of = {"name": composed.imputer.name, "seed": composed.seed, **imputers.imputer_settings(composed, imputer)}
    made = baselines.provenance(store, every, settings_of, tracks, layouts, learned_on, config.scale, config.decimals)
    missing = missing_files(config, every, made)
    if not missing:
        return
    imputer = baselines.fitted(imputer, store, pairs_in(tracks, "train"), learned_on)
    foretell(imputer, list(missing), windows[0].source)
    written, refused = [], []
    n_bins = max(store.region(window.source).n_bins for window in windows)
    with Progress(console=Console(stderr=True), disable=not config.progress) as bar:
        task = bar.add_task(f"imputing {counted(len(missing), 'track')}", total=len(missing))
        for group in groups(list(missing), n_bins, imputer):
            first, reasons = possible(imputer, group, windows[0], store.region(windows[0].source))
            refused += reasons
            if first:
                paths, pairs = [missing[pair] for pair in first], list(first)
                signals = (
                    (its.layout, np.stack(list(first.values()), axis=1) if its is windows[0]
                     else predict_window(imputer, pairs, its, store.region(its.source)))
                    for its in windows
                )  # fmt: skip
                baselines.write_imputed(paths, store.assembly, signals, config.scale, made, config.decimals)
                written += paths
            bar.advance(task, len(group))
    if refused and not written:
        one = len(missing) == 1
        raise InputError(refused[0] if one else f"none of {len(refused)} tracks can be imputed: {refused[0]}")
    for reason in refused:
        print(f"left out: {reason}")
    say_what_was_written(config, written, [layout.name for layout in layouts])
