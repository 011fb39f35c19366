"""Files of genome factors in a model's directory: which region each is of, and whether it belongs to the model."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from avocado.data.genome import Assembly, Region, file_stem
from avocado.errors import InputError
from avocado.model.tensor_files import opened, write_tensors
from avocado.utils.files import replacing, sha256

SHARED = "shared.safetensors"


def save_region(directory: Path, region: Region, genome: Tensor) -> None:
    """Add a region's genome factors (n_blocks, block_width) to the model whose shared parameters are in `directory`."""
    layout = {"name": region.name, "segments": region.plain(), "shared_sha256": sha256(directory / SHARED)}
    metadata = {"region": json.dumps(layout)}  # one entry: safetensors writes several in random order
    file = directory / f"{file_stem(region.name)}.safetensors"
    with replacing(file) as temporary:
        write_tensors({"genome": genome.detach().cpu().contiguous()}, temporary, file, metadata)


def region_files(path: Path) -> list[Path]:
    """The files of genome factors in a directory."""
    files = sorted(path.glob("*.safetensors"))
    return [file for file in files if file.name != SHARED and not file.name.startswith(".")]


def regions_in(path: Path, makers: set[str], assembly: Assembly, only_of_width: int | None = None) -> dict[str, Region]:
    """Regions with a factors file, chromosomes in assembly order, other regions before them.

    makers: checksums of the shared parameters that files may have been made with. only_of_width: leave out the files
    that cannot be used.
    """
    found: dict[str, Region] = {}
    for file in region_files(path):
        try:
            region = region_of(file, makers, only_of_width)
        except InputError:
            if only_of_width is None:
                raise
            continue
        found[region.name] = region
    order = {chrom: number for number, chrom in enumerate(assembly.sizes)}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], -1)))


def region_of(file: Path, makers: set[str], width: int | None) -> Region:
    """The region of a factors file. Raises InputError where it does not belong to the model, or, with the `width` of a
    block's factors, has another shape. makers: see `regions_in`."""
    with opened(file) as tensors:
        metadata = tensors.metadata() or {}
        shape = tensors.get_slice("genome").get_shape() if "genome" in tensors.keys() else None  # noqa: SIM118
    try:
        layout = json.loads(metadata["region"])
        region = Region.of_plain(layout["name"], layout["segments"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{file} is not a file of genome factors: remove it, or train this region again") from None
    if layout.get("shared_sha256") not in makers:
        raise InputError(
            f"{file} was trained with other shared parameters than {file.parent / SHARED}: "
            f"remove it, or train this region again"
        )
    if file_stem(region.name) != file.stem:
        raise InputError(f"{file} holds the factors of {region.name}: remove it, or train this region again")
    if width is not None and shape != [region.n_blocks, width]:
        raise InputError(f"{file} holds factors of shape {shape}, not {[region.n_blocks, width]}: train it again")
    return region
