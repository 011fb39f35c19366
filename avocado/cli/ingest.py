"""`avocado ingest`: track files -> signal store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from avocado.cli import app

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from avocado.data.store import SignalStore


def make_store(config: DictConfig, out: str, workers: int | None, progress: bool) -> SignalStore:
    """The store that `config` (table or folder, assembly, regions, filters) describes, made where it is missing."""
    from avocado.data.compendium import five_by_five, read_table, scan_folder
    from avocado.data.genome import load_assembly, parse_regions
    from avocado.data.ingest import ingest
    from avocado.errors import InputError

    if config.folder is not None:
        table = scan_folder(config.folder, config.pattern)
    elif config.table is not None:
        table = read_table(config.table)
    else:
        raise InputError("no tracks given: set table= to a TSV or CSV file, or folder= and pattern=")
    table = five_by_five(table, config.min_assays, config.min_cells)
    assembly = load_assembly(config.assembly)
    regions = parse_regions(assembly, app.as_list(config.regions))
    workers = workers or os.cpu_count() or 1
    return ingest(
        table, out, assembly, regions, dtype=config.dtype, arrays=config.arrays, workers=workers, progress=progress
    )


def ingest(config: DictConfig) -> None:
    """Make the store and say what to type next."""
    from avocado.cli.inspect import describe_store

    store = make_store(config, config.out, config.workers, config.progress)
    print(describe_store(store))
    chromosomes = [name for name in store.regions if name in store.assembly.sizes]
    if "pilot" in store.regions and chromosomes:
        print(f"next: python train.py store={store.path} chrom={chromosomes[0]}")
    elif "pilot" in store.regions:
        print(f"next: python train.py store={store.path} stage=pilot")
    else:
        print(f"next: python train.py store={store.path} stage=joint chrom={next(iter(store.regions))}")


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    return app.run("ingest", ingest, arguments)
