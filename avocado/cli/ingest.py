"""`avocado ingest`: track files -> signal store."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from avocado.cli import app
from avocado.config.store import make_store

if TYPE_CHECKING:
    from omegaconf import DictConfig


def ingest(config: DictConfig) -> None:
    """Make the store and say what to type next."""
    from avocado.cli.inspect import describe_store

    store = make_store(config, config.out, config.workers, config.progress)
    print(describe_store(store))
    chromosomes = [name for name in store.regions if name in store.assembly.sizes]
    if "pilot" in store.regions:
        what = f"chrom={chromosomes[0]}" if chromosomes else "stage=pilot"
    else:
        what = f"stage=joint chrom={next(iter(store.regions))}"
    print("next:", shlex.join(["python", "train.py", f"store={store.path}", *what.split()]))


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    return app.run("ingest", ingest, arguments)
