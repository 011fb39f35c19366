"""Further regions for the tracks that were given to a transferred model: read from their files, where these are."""

from __future__ import annotations

import logging
from pathlib import Path

from avocado.data.genome import Region
from avocado.data.ingest import ingest
from avocado.errors import InputError
from avocado.model.directory import Model
from avocado.model.transfers import given_stores

log = logging.getLogger(__name__)


def read_region(model: Model, region: Region, progress: bool = False) -> None:
    """Read a region of the given tracks into their stores, so that the baseline holds there, too.

    Where a file is gone, that is said, and new cell types are imputed by the factorization alone (baseline=none) there.
    """
    for transfer, store in zip(model.transfers, given_stores(model.path, model.transfers), strict=True):
        if region.name in store.regions:
            continue
        table = store.tracks.rename(columns={"source": "file"})[["cell", "assay", "file"]]
        if gone := [str(file) for file in table["file"] if not Path(file).is_file()]:
            log.warning("%s is not there: in %s, %s is imputed with baseline=none only", gone[0], region.name,
                        ", ".join([*transfer.cells, *transfer.assays]))  # fmt: skip
            continue
        try:
            regions = [*store.regions.values(), region]
            ingest(
                table, store.path, store.assembly, regions, dtype=store.dtype, arrays=transfer.arrays, progress=progress
            )
        except InputError as error:
            log.warning("tracks that were given to the model are not read in %s: %s", region.name, error)
