"""`avocado inspect` of a model, which needs PyTorch; stores and bigWig files do not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.cli import app
from avocado.cli.describe import MAX_CELLS, grid, region_lines
from avocado.data.store import open_store
from avocado.errors import InputError
from avocado.model.directory import Model, load_model, unusable_regions
from avocado.utils.terminal import terminal_width, wrapped

if TYPE_CHECKING:
    from omegaconf import DictConfig


def inspect_model(config: DictConfig) -> None:
    """Print what the model at `path` is."""
    path = Path(str(config.path))
    model = model_at(path)
    print(describe_model(model))
    if model.regions:
        app.say_next([
            (app.typed("impute", f"model={path}"), "bigWig files of every pair that was never measured"),
            (app.typed("hub", f"model={path}"), "imputed and observed tracks in a genome browser"),
        ])  # fmt: skip


def model_at(path: Path) -> Model:
    """A model with those of its regions that can be used."""
    return load_model(path, only_whole=True)


def lacking(path: Path, chroms: Sequence[str]) -> list[str]:
    """What a model lacks to be complete: files that cannot be used, and those of the chromosomes without factors."""
    model, unusable = model_at(path), unusable_regions(path)
    missing = [name for name in chroms if name not in model.regions and name not in unusable]
    return [*unusable.values(), *([f"no factors of {', '.join(missing)}"] if missing else [])]


def _chromosomes(model: Model) -> tuple[list[str], str]:
    """The chromosomes that a complete model has, and where they are from: its store, or else the assembly."""
    try:
        store = open_store(str(model.training.get("store")))
    except InputError:
        numbered = [name for name in model.assembly.sizes if name.removeprefix("chr").isdecimal()]
        return numbered or list(model.assembly.sizes), f"assembly {model.assembly.name}"
    return [name for name in store.assembly.sizes if name in store.regions], f"its store {store.path}"


def _completeness(model: Model) -> list[str]:
    chroms, source = _chromosomes(model)
    if model.training.get("stage") == "joint":
        chroms, source = [], "a joint model, which is of one region"
    problems = lacking(model.path, chroms)
    if problems:
        return [f"  not complete, against {source}:", *(f"    {problem}" for problem in problems)]
    return [f"  complete: factors of all chromosomes of {source}" if chroms else f"  complete: {source}"]


def describe_model(model: Model) -> str:
    """Sizes, training, regions and experiments of a model, and what is still missing."""
    c = model.network.config
    shared = sum(parameter.numel() for parameter in model.network.parameters())
    genome = sum(region.n_blocks for region in model.regions.values()) * c.block_width
    width = terminal_width()
    lines = [
        f"model {model.path}",
        wrapped(
            f"  {c.layers} × {c.nodes} nodes, dropout {c.dropout:g}; factors: {c.cell_factors} per cell type, "
            f"{c.assay_factors} per assay, {c.factors_25bp}/{c.factors_250bp}/{c.factors_5kbp} per 25 bp/250 bp/5 kbp",
            width,
            4,
        ),
        f"  {shared:,} shared parameters, {genome:,} genome factors",
        wrapped("  trained: " + ", ".join(f"{key} {value}" for key, value in model.training.items()), width, 4),
        *(f"  {its}" for its in model.transfers),
        "  regions:",
        *region_lines(model.regions),
        *_completeness(model),
        "",
        grid(model.tracks) if len(model.tracks) else _names(model),
    ]
    return "\n".join(lines)


def _names(model: Model) -> str:
    """Cell types and assays of a published model that does not say which experiments it was trained on."""
    lines = ["  which experiments trained is not known"]
    for kind, names in (("cell types", model.cells), ("assays", model.assays)):
        more = f", ... and {len(names) - MAX_CELLS} more" if len(names) > MAX_CELLS else ""
        lines.append(f"  {len(names)} {kind}: {', '.join(names[:MAX_CELLS])}{more}")
    return "\n".join(lines)
