"""`avocado inspect`: what is in this store, model, run or bigWig?"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.cli import app
from avocado.data.bigwig import chromosomes
from avocado.data.genome import same_sizes
from avocado.data.store import SignalStore, open_store
from avocado.errors import InputError
from avocado.evaluation.scores import format_scores, read_scores
from avocado.model.directory import Model, load_model, unusable_regions
from avocado.utils.terminal import counted, terminal_width, wrapped

if TYPE_CHECKING:
    from omegaconf import DictConfig


MAX_CELLS = 40  # rows of the grid of experiments


def inspect(config: DictConfig) -> None:
    """Print what lies at `path`."""
    path = Path(str(config.path))
    if (path / "store.json").is_file():
        store = open_store(path)
        print(describe_store(store))
        app.say_next(after_store(store))
    elif (path / "model.yaml").is_file():
        model = model_at(path)
        print(describe_model(model))
        if model.regions:
            app.say_next([
                (app.typed("impute", f"model={path}"), "bigWig files of every pair that was never measured"),
                (app.typed("hub", f"model={path}"), "imputed and observed tracks in a genome browser"),
            ])  # fmt: skip
    elif (path / "settings.yaml").is_file():
        print(_describe_run(path))
        app.say_next(_after_run(path))
    elif path.suffix.lower() in (".bw", ".bigwig"):
        print(_describe_bigwig(path))
        app.say_next([(app.typed("view", str(path)), "look at it in the web browser")])
    elif path.exists():
        raise InputError(f"{path} is neither a store, nor a model, nor a run, nor a bigWig")
    else:
        raise InputError(f"{path}: no such file or folder")


def after_store(store: SignalStore) -> list[tuple[str, str]]:
    """What can be typed next, where there is a store."""
    chromosomes = [name for name in store.regions if name in store.assembly.sizes]
    if "pilot" in store.regions:
        what = f"chrom={chromosomes[0]}" if chromosomes else "stage=pilot"
    else:
        what = f"stage=joint chrom={next(iter(store.regions))}"
    command = shlex.join(["python", "train.py", f"store={store.path}", *what.split()])
    return [(command, "a model, and scores of tracks that are held out")]


def describe_store(store: SignalStore) -> str:
    """Tracks, regions and warnings of a store."""
    tracks = store.tracks
    lines = [
        f"signal store {store.path}",
        f"  {len(tracks)} tracks: {tracks['cell'].nunique()} cell types, {tracks['assay'].nunique()} assays",
        f"  assembly {store.assembly.name}, 25-bp bins, arcsinh(−log10 p), {store.dtype}, "
        f"checksum {store.tracks_checksum}",
        "  regions:",
        *_regions(store.regions),
        "",
        _grid(tracks.assign(role="train")),
    ]
    warned = tracks[tracks["warning"] != ""] if "warning" in tracks else tracks[:0]
    lines += [f"  warning: {row.cell} {row.assay}: {row.warning}" for row in warned.itertuples()]
    return "\n".join(lines)


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
        *_regions(model.regions),
        *_completeness(model),
        "",
        _grid(model.tracks) if len(model.tracks) else _names(model),
    ]
    return "\n".join(lines)


def _names(model: Model) -> str:
    """Cell types and assays of a published model that does not say which experiments it was trained on."""
    lines = ["  which experiments trained is not known"]
    for kind, names in (("cell types", model.cells), ("assays", model.assays)):
        more = f", ... and {len(names) - MAX_CELLS} more" if len(names) > MAX_CELLS else ""
        lines.append(f"  {len(names)} {kind}: {', '.join(names[:MAX_CELLS])}{more}")
    return "\n".join(lines)


def _regions(regions: dict) -> list[str]:
    width = max((len(name) for name in regions), default=0)
    return [
        f"    {name:<{width}}  {region.n_bins:>12,} bins in {counted(len(region.segments), 'piece')}"
        for name, region in regions.items()
    ]


def _grid(tracks) -> str:
    """Cell types × assays: ■ trains, + was given to a transfer, v validates, □ is held out, · was never measured."""
    signs = {"train": "■", "given": "+", "val": "v", "test": "□"}
    cells, assays = sorted(set(tracks["cell"])), sorted(set(tracks["assay"]))
    role = {(cell, assay): signs[r] for cell, assay, r in tracks[["cell", "assay", "role"]].itertuples(index=False)}
    width = max(map(len, cells))
    lines = [f"  {'':<{width}}  " + "  ".join(assays)]
    for cell in cells[:MAX_CELLS]:
        row = "  ".join(f"{role.get((cell, assay), '·'):^{len(assay)}}" for assay in assays)
        lines.append(f"  {cell:<{width}}  {row}")
    if len(cells) > MAX_CELLS:
        lines.append(f"  ... and {len(cells) - MAX_CELLS} more cell types")
    held = "" if set(tracks["role"]) <= {"train", "given"} else ", v validation, □ held out"
    given = ", + new cell types and assays were learned from it" if "given" in set(tracks["role"]) else ""
    return "\n".join([*lines, f"  ■ {'measured' if not held else 'training'}{given}{held}, · never measured"])


def _describe_run(path: Path) -> str:
    state = "done" if (path / "done.json").is_file() else "not finished: the same command goes on"
    lines = [f"run {path}: {state}", (path / "settings.yaml").read_text().rstrip()]
    if (path / "scores.csv").is_file():
        lines += [""]
        lines.append(format_scores(read_scores(path), color=sys.stdout.isatty(), width=terminal_width()))
    if (path / "report.html").is_file():
        lines += ["", f"report   {path / 'report.html'}  (all of it on one page: open it in a browser)"]
    return "\n".join(lines)


def _after_run(path: Path) -> list[tuple[str, str]]:
    """What can be typed next, where there is a run: its models lie in it, or beside all of the stage's runs."""
    whole = path.resolve()
    beside = whole.parents[3] / "model" / whole.parent.name / whole.name
    if not path.is_absolute():
        beside = Path(os.path.relpath(beside))
    model = next((its for its in (path / "model", beside) if (its / "model.yaml").is_file()), None)
    return (
        []
        if model is None
        else [(app.typed("inspect", str(model)), "its model: which tracks trained, what is missing")]
    )


def _describe_bigwig(path: Path) -> str:
    sizes = chromosomes(path)
    known = same_sizes(sizes)
    lines = [f"bigWig {path}: {len(sizes)} chromosomes, assembly {known or 'unknown'}"]
    lines += [f"  {name:<12}{size:>14,} bp" for name, size in list(sizes.items())[:30]]
    return "\n".join(lines)
