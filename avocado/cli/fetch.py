"""`avocado fetch`: public tracks of Roadmap or ENCODE -> a folder of bigWig files and their table."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.config.values import as_list
from avocado.data.compendium import Pair
from avocado.errors import InputError, did_you_mean
from avocado.portals import encode, roadmap
from avocado.portals import fetch as fetching
from avocado.portals.fetch import Plan, size_text
from avocado.portals.listing import Listing

if TYPE_CHECKING:
    from omegaconf import DictConfig

PORTALS = ("roadmap", "encode")
SHOWN = 20  # tracks that are listed one by one


def fetch(config: DictConfig) -> None:
    """Say what there is, get it, write the table, and say what to type next."""
    folder = Path(config.out)
    listing = _listing(config)
    made = fetching.plan(listing, folder, config.connections, config.progress)
    print(_described(listing, made, folder, config.download))
    if config.dry_run:
        print("dry run: nothing was written")
        return
    problems = {}
    if config.download:
        problems = fetching.fetch(made, folder, config.connections, config.progress)
    got = [track for track in made.tracks if (track.cell, track.assay) not in problems]
    if got:
        n_tracks = fetching.write_tables(got, listing.left_out, folder, remote=not config.download)
        earlier = f", {n_tracks - len(got)} of them of earlier calls" if n_tracks > len(got) else ""
        print(f"{folder / fetching.TABLE}: {n_tracks} tracks{earlier}")
    if problems:
        named = "; ".join(f"{cell} {assay}: {why}" for (cell, assay), why in list(problems.items())[:5])
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise InputError(f"{len(problems)} of {len(made.tracks)} tracks could not be got: {named}{more}")
    table = str(folder / fetching.TABLE)
    small = len({its.cell for its in got}) < 5 or len({its.assay for its in got}) < 5
    least = ["min_assays=1", "min_cells=1"] if small else []
    command = ["avocado", "ingest", f"table={table}", f"assembly={got[0].assembly}", "regions=pilot", *least]
    print("next:", shlex.join([*command, "out=my_store"]))


def _listing(config: DictConfig) -> Listing:
    cells, assays = as_list(config.cells), as_list(config.assays)
    if config.portal == "encode":
        return encode.offers(cells, assays, config.base, config.assembly or "hg38")
    if config.portal != "roadmap":
        raise InputError(f"unknown portal '{config.portal}'{did_you_mean(config.portal, PORTALS)}: roadmap or encode")
    if config.assembly not in (None, roadmap.ASSEMBLY):
        raise InputError(f"Roadmap's files are of hg19, not {config.assembly}: leave out assembly=")
    return roadmap.offers(cells, assays, config.base)


def _described(listing: Listing, made: Plan, folder: Path, copies: bool) -> str:
    tracks = made.tracks
    n_cells, n_assays = len({its.cell for its in tracks}), len({its.assay for its in tracks})
    lines = [
        f"{len(tracks)} tracks of {n_cells} cell types and {n_assays} assays, {tracks[0].assembly}: "
        f"{size_text(made.total)} in all"
    ]
    wide = max(len(f"{its.cell}  {its.assay}") for its in tracks[:SHOWN])
    for its in tracks[:SHOWN]:
        name = its.about.get("accession") or its.about.get("name", "")
        lines.append(f"  {f'{its.cell}  {its.assay}':<{wide}}  {size_text(its.size or 0):>9}  {name}")
    if len(tracks) > SHOWN:
        lines.append(f"  ... and {len(tracks) - SHOWN} more")
    if copies:
        lines.append(
            f"in {folder}: {size_text(made.there)} there, {size_text(made.total - made.there)} to come, "
            f"{size_text(made.free)} free"
        )
    if listing.left_out:
        lines.append(
            f"left out: {len(listing.left_out)} other files of the same pairs (left_out.tsv says which, and why): "
            + _some([f"{its['accession']} ({its['why']})" for its in listing.left_out])
        )
    if listing.missing:
        lines.append(f"not measured, or not to be had as −log10 p: {_some(_pairs(listing.missing))}")
    if made.absent:
        lines.append(f"not to be had now: {_some(_pairs(made.absent))} ({next(iter(made.absent.values()))})")
    return "\n".join(lines)


def _pairs(pairs: Iterable[Pair]) -> list[str]:
    return [f"{cell} {assay}".replace("* ", "").replace(" *", "") for cell, assay in pairs]


def _some(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
