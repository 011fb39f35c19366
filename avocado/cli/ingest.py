"""`avocado ingest`: track files -> signal store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avocado.cli import app
from avocado.cli.describe import after_store, describe_store
from avocado.config.store import make_store

if TYPE_CHECKING:
    from omegaconf import DictConfig


def ingest(config: DictConfig) -> None:
    """Make the store and say what to type next."""
    store = make_store(config, config.out, config.workers, config.progress)
    print(describe_store(store))
    app.say_next(after_store(store))
