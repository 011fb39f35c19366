"""`avocado simulate`: make the demo compendium, or a larger one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avocado.cli import app
from avocado.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from avocado.simulation.compendium import DemoSettings


def simulate(config: DictConfig) -> None:
    """Make it and say what to type next."""
    from avocado.simulation.compendium import simulate

    settings = demo_settings(config)
    out = simulate(Path(config.out), config.seed, settings, processes=config.processes, progress=config.progress)
    print(f"demo compendium in {out}; next:")
    print(f"  avocado ingest table={out}/compendium.tsv assembly={out}/demo.chrom.sizes \\")
    print(f"    regions={out}/demo.pilot.bed,{settings.sizes[0][0]} out=demo_store")


def demo_settings(config: DictConfig) -> DemoSettings:
    """The plain settings. Raises InputError for values of the wrong kind, and where a table says otherwise."""
    from avocado.simulation.assay_shapes import ROADMAP_ASSAYS
    from avocado.simulation.compendium import DemoSettings
    from avocado.simulation.measured import read_pairs

    given: dict[str, Any] = {}
    if config.chromosomes is not None:
        given["sizes"] = _sizes(config.chromosomes)
    if config.cells is not None:
        given["n_cells"] = config.cells
    if config.assays is not None:
        assays = app.as_list(config.assays)
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


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    return app.run("simulate", simulate, arguments)
