"""The stages of training, one file each; adding one takes a file here and one in conf/stage."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from avocado.errors import InputError
from avocado.training.stage import Stage

_found = [import_module(f"{__name__}.{module.name}").STAGE for module in iter_modules(__path__)]
_found.sort(key=lambda stage: (not stage.shares_model, stage.needs is not None, stage.name))  # as they are carried out
STAGES: dict[str, Stage] = {stage.name: stage for stage in _found}


def stage_named(name: str) -> Stage:
    """The stage of that name. Raises InputError, which lists the names, where there is none."""
    if name not in STAGES:
        raise InputError(f"unknown stage '{name}'; there is: {', '.join(STAGES)}")
    return STAGES[name]
