"""A signal store in words, and what to type next; regions and experiments, of models too."""

from __future__ import annotations

import shlex

from avocado.data.store import SignalStore
from avocado.utils.terminal import counted

MAX_CELLS = 40  # rows of the grid of experiments


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
        *region_lines(store.regions),
        "",
        grid(tracks.assign(role="train")),
    ]
    warned = tracks[tracks["warning"] != ""] if "warning" in tracks else tracks[:0]
    lines += [f"  warning: {row.cell} {row.assay}: {row.warning}" for row in warned.itertuples()]
    return "\n".join(lines)


def region_lines(regions: dict) -> list[str]:
    """Names, bins and pieces of regions, a line each."""
    width = max((len(name) for name in regions), default=0)
    return [
        f"    {name:<{width}}  {region.n_bins:>12,} bins in {counted(len(region.segments), 'piece')}"
        for name, region in regions.items()
    ]


def grid(tracks) -> str:
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
