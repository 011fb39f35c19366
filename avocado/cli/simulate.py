"""`avocado simulate`: make the demo compendium, or a larger one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.config.store import demo_settings
from avocado.simulation import compendium

if TYPE_CHECKING:
    from omegaconf import DictConfig


def simulate(config: DictConfig) -> None:
    """Make it and say what to type next."""
    settings = demo_settings(config)
    out = compendium.simulate(
        Path(config.out), config.seed, settings, processes=config.processes, progress=config.progress
    )
    print(f"demo compendium in {out}; README.txt there says what its files are\nnext:")
    table, assembly, regions = map(
        shlex.quote,
        (
            f"table={out}/compendium.tsv",
            f"assembly={out}/demo.chrom.sizes",
            f"regions={out}/demo.pilot.bed,{settings.sizes[0][0]}",
        ),
    )
    print(f"  avocado ingest {table} {assembly} \\\n    {regions} out=demo_store")
