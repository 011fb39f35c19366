"""From the settings of data to a signal store, made where it is missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avocado.config.values import as_list
from avocado.data.compendium import scan_folder
from avocado.data.genome import load_assembly
from avocado.data.intake import ingest
from avocado.data.store import SignalStore, open_store
from avocado.errors import InputError
from avocado.simulation.assay_shapes import ROADMAP_ASSAYS
from avocado.simulation.compendium import DemoSettings, simulate
from avocado.simulation.measured import read_pairs

if TYPE_CHECKING:
    from omegaconf import DictConfig


def prepare_store(config: DictConfig) -> SignalStore:
    """The store of a training config: the user's own, or that of data=, made on first use."""
    path = Path(config.store)
    # a store of the user's own is only opened; that of data= is made on first use
    if config.store != config.data.store or (path / "store.json").is_file():
        return open_store(path)
    if config.data.simulate is not None:
        print(f"making the demo compendium in {config.data.simulate}")
        simulate(Path(config.data.simulate))
    return make_store(config.data, config.store, None, config.trainer.progress)


def make_store(config: DictConfig, out: str, workers: int | None, progress: bool) -> SignalStore:
    """The store that `config` (table or folder, assembly, regions, filters) describes, made where it is missing."""
    if config.folder is None and config.table is None:
        raise InputError("no tracks given: set table= to a TSV or CSV file, or folder= and pattern=")
    return ingest(
        config.table if config.folder is None else scan_folder(config.folder, config.pattern),
        out,
        config.assembly,
        as_list(config.regions, load_assembly(config.assembly).sizes),
        min_assays=config.min_assays,
        min_cells=config.min_cells,
        dtype=config.dtype,
        arrays=config.arrays,
        workers=workers or os.cpu_count() or 1,
        progress=progress,
    )


def demo_settings(config: DictConfig) -> DemoSettings:
    """The plain settings. Raises InputError for values of the wrong kind, and where a table says otherwise."""
    given: dict[str, Any] = {}
    if config.chromosomes is not None:
        given["sizes"] = _sizes(config.chromosomes)
    if config.cells is not None:
        given["n_cells"] = config.cells
    if config.assays is not None:
        assays = as_list(config.assays)
        given["assays"] = ROADMAP_ASSAYS if assays == ["roadmap"] else tuple(assays)
    if config.measured_pairs is not None:
        pairs = read_pairs(config.measured_pairs)
        n_cells, assays = len({pair.cell for pair in pairs}), {pair.assay for pair in pairs}
        if given.get("n_cells", n_cells) != n_cells or set(given.get("assays", assays)) != assays:
            raise InputError(
                f"{config.measured_pairs} has {n_cells} cell types and {len(assays)} assays, but cells= or assays= say "
                "otherwise: leave these out, as the table decides"
            )
        given["measured_pairs"] = pairs
    depths = list(config.read_depth) if hasattr(config.read_depth, "__iter__") else []
    if len(depths) != 2 or not all(isinstance(depth, int | float) for depth in depths):
        raise InputError(f"read_depth={config.read_depth}: give the lowest and the highest, as read_depth=[0.8,2.2]")
    return DemoSettings(
        **given,
        measured=config.measured,
        pilot=config.pilot,
        lineages=config.lineages,
        tree_depth=config.tree_depth,
        read_depth=(float(depths[0]), float(depths[1])),
        enrichment_spread=config.enrichment_spread,
    )


def _sizes(chromosomes: Any) -> tuple[tuple[str, int], ...]:
    if not hasattr(chromosomes, "items") or not all(type(size) is int for size in chromosomes.values()):
        raise InputError(
            f"chromosomes={chromosomes}: give names and sizes in bp, as '{{chr20: 2500000, chr21: 2500000}}'"
        )
    return tuple((str(chrom), size) for chrom, size in chromosomes.items())
