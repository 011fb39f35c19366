"""Hydra's own way into a command: it reads the command line and calls the task once, or, with -m, for each run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from avocado.config.schema import hydra_config

if TYPE_CHECKING:
    from omegaconf import DictConfig


def by_hydra(verb: str, task: Callable[[DictConfig], None], arguments: Sequence[str]) -> None:
    """`@hydra.main` on the config of a command, where `task` is not so decorated. Exceptions are for the caller."""
    import hydra

    folder, name = hydra_config(verb)
    decorated: Callable[..., None] = task  # as train.py has it
    if not hasattr(task, "__wrapped__"):
        decorated = hydra.main(version_base="1.3", config_path=folder, config_name=name)(task)
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [sys.argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        decorated()
    finally:
        sys.argv = before[0]
        if before[1] is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before[1]
