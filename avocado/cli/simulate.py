"""`avocado simulate`: make the demo compendium."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.cli import app

if TYPE_CHECKING:
    from omegaconf import DictConfig


def simulate(config: DictConfig) -> None:
    """Make it and say what to type next."""
    from avocado.synthetic import simulate

    out = simulate(Path(config.out), config.seed)
    print(f"demo compendium in {out}; next:")
    print(f"  avocado ingest table={out}/compendium.tsv assembly={out}/demo.chrom.sizes \\")
    print(f"    regions={out}/demo.pilot.bed,chr20 out=demo_store")


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    return app.run("simulate", simulate, arguments)
