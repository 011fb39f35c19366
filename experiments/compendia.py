"""Simulated compendia of the experiments: made once for their settings, with a signal store of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avocado.config.overrides import composed, read_arguments
from avocado.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig


class Compendium(NamedTuple):
    """Where a simulated compendium lies."""

    folder: Path  # bigWig files, annotations, truth.npz
    data: dict[str, Any]  # what the group `data` of train.py says about it


def simulated(
    settings: Sequence[str],
    root: Path,
    regions: Sequence[str] | None = None,
    processes: int = 1,
    progress: bool = False,
) -> Compendium:
    """The compendium that these keys of `avocado simulate` describe, in a folder of `root`, made where it is missing.

    regions: of its store; None: the pilot regions and every chromosome. Raises InputError for keys that do not exist
    and values that make no sense.
    """
    from omegaconf import OmegaConf

    from avocado.config.store import demo_settings, make_store
    from avocado.simulation.compendium import simulate

    config, data = _composed(settings)
    demo = demo_settings(config)
    identity = json.dumps([config.seed, asdict(demo)], sort_keys=True)
    place = root / hashlib.sha256(identity.encode()).hexdigest()[:12]
    folder = simulate(place / "compendium", config.seed, demo, processes=processes, progress=progress)
    OmegaConf.set_struct(data, False)
    data.update(
        store=str(place / "store"),
        table=str(folder / "compendium.tsv"),
        assembly=str(folder / "demo.chrom.sizes"),
        regions=list(regions or [str(folder / "demo.pilot.bed"), *dict(demo.sizes)]),
        simulate=None,
        min_assays=1,  # all tracks that were asked for
        min_cells=1,
    )
    make_store(data, data.store, processes, progress)  # or opens it, and adds regions that it lacks
    return Compendium(folder, dict(OmegaConf.to_container(data, resolve=True)))  # type: ignore[arg-type]


def _composed(settings: Sequence[str]) -> tuple[DictConfig, DictConfig]:
    """The config of `avocado simulate` with these keys, and the group `data` of train.py."""
    try:
        return composed("simulate", read_arguments(settings, "simulate")[0]), composed("train", ["data=demo"]).data
    except InputError as error:
        raise InputError(f"a simulated compendium, {' '.join(settings)}: {error}") from None
