"""A folder of a portal's tracks: what is to be had and how large it is, then the files, then the table."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from avocado.data.bigwig import chromosomes
from avocado.data.compendium import Pair, read_table
from avocado.errors import InputError
from avocado.portals.listing import Listing, Offer
from avocado.utils.download import download, there_already
from avocado.utils.files import locked, replacing
from avocado.utils.progress import bytes_shown, shown
from avocado.utils.remote import describe
from avocado.utils.workers import in_threads

TABLE = "tracks.tsv"
LEFT_OUT = "left_out.tsv"
MOST_CONNECTIONS = 8
SPARE_BYTES = 1 << 30  # that must stay free on the disk


@dataclass(frozen=True)
class Plan:
    """What a fetch would do."""

    tracks: Sequence[Offer]  # all with a size
    absent: Mapping[Pair, str]  # listed by the portal, but not to be had, and why
    there: int  # bytes that are in the folder
    free: int  # bytes of the disk

    @property
    def total(self) -> int:
        """Bytes of all tracks."""
        return sum(track.size or 0 for track in self.tracks)


def plan(listing: Listing, folder: Path, connections: int = 4, progress: bool = False) -> Plan:
    """Ask for sizes that the portal's list does not give, and look at what is in the folder. Writes nothing."""
    _require_connections(connections)

    def size_of(track: Offer, stop: threading.Event) -> Offer | str:
        try:
            return track if track.size is not None else replace(track, size=describe(track.url, stop).size)
        except InputError as error:
            return str(error)

    n_unknown = sum(track.size is None for track in listing.tracks)
    sizes = in_threads(size_of, listing.tracks, connections)
    results = list(shown(sizes, "asking for sizes", len(listing.tracks), progress and n_unknown > connections))
    tracks = [its for its in results if isinstance(its, Offer)]
    absent = {
        (track.cell, track.assay): its
        for track, its in zip(listing.tracks, results, strict=True)
        if isinstance(its, str)
    }
    if not tracks:
        raise InputError(f"none of the {len(absent)} files can be had: {next(iter(absent.values()))}")
    there = sum(min(there_already(folder / track.name), track.size or 0) for track in tracks)
    disk = next(its for its in (folder.absolute(), *folder.absolute().parents) if its.is_dir())
    return Plan(tracks, absent, there, shutil.disk_usage(disk).free)


def fetch(made: Plan, folder: Path, connections: int = 4, progress: bool = False) -> dict[Pair, str]:
    """Get the files that are not there; returns what went wrong, by track, while the others were got.

    Files appear under their names when they are whole, checked by the portal's checksum where it has one, and bigWigs.
    The same call goes on with what an interrupted one left. Raises InputError where the disk is too small for all, a
    file of another size is in the way, or another process is at work in the folder.
    """
    _require_connections(connections)
    todo = [track for track in made.tracks if not _is_there(track, folder)]
    needed = made.total - made.there
    if needed > 0 and needed + SPARE_BYTES > made.free:
        raise InputError(
            f"{folder} has {size_text(made.free)} free, and {size_text(needed)} are to come: choose another out=, "
            "fewer tracks, or download=false to read them from afar"
        )
    with _alone_in(folder), bytes_shown("getting tracks", made.total, progress) as advance:
        advance(sum(track.size or 0 for track in made.tracks if track not in todo))

        def get(track: Offer, stop: threading.Event) -> str:
            path = folder / track.name
            try:
                download(track.url, path, chromosomes, size=track.size, md5=track.md5, stop=stop, advance=advance)
            except InputError as error:
                return str(error)
            return ""

        problems = zip(todo, in_threads(get, todo, connections), strict=True)
        return {(track.cell, track.assay): problem for track, problem in problems if problem}


def write_tables(tracks: Sequence[Offer], left_out: Sequence[Mapping[str, str]], folder: Path, remote: bool) -> int:
    """Write tracks.tsv, and left_out.tsv where something was; returns the number of tracks in the table.

    remote: the column file holds addresses. Tracks that the folder's table has from earlier calls stay in it.
    """
    rows = [
        {
            **{"cell": its.cell, "assay": its.assay, "file": its.url if remote else its.name},
            **its.about,
            **{"assembly": its.assembly, "bytes": str(its.size), "url": its.url},
        }
        for its in tracks
    ]
    table = pd.DataFrame(rows)
    if (folder / TABLE).is_file():
        old = read_table(folder / TABLE)
        old["file"] = [file.removeprefix(f"{folder}/") for file in old["file"]]
        if "assembly" in old and set(old["assembly"]) - set(table["assembly"]):
            raise InputError(f"{folder / TABLE} is of assembly {old['assembly'].iloc[0]}: choose another out=")
        table = pd.concat([table, old]).drop_duplicates(["cell", "assay"]).fillna("")
    table = table.sort_values(["cell", "assay"])
    with replacing(folder / TABLE) as temporary:
        table.to_csv(temporary, sep="\t", index=False)
    if left_out:
        with replacing(folder / LEFT_OUT) as temporary:
            pd.DataFrame(left_out).to_csv(temporary, sep="\t", index=False)
    return len(table)


def size_text(n_bytes: int) -> str:
    """'1.24 GB': three digits, and units of 1,000."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes} bytes"


def _is_there(track: Offer, folder: Path) -> bool:
    path = folder / track.name
    if not path.exists():
        return False
    if path.stat().st_size != track.size:
        raise InputError(
            f"{path} has {path.stat().st_size:,} bytes, the portal's {track.size:,}: delete it, or choose another out="
        )
    return True


def _require_connections(connections: int) -> None:
    if not 1 <= connections <= MOST_CONNECTIONS:
        raise InputError(f"connections={connections}: 1 to {MOST_CONNECTIONS}, as portals serve everybody")


@contextmanager
def _alone_in(folder: Path):
    with locked(folder / ".fetch.lock", wait=False, what=folder, remedy="choose another out=") as mine:
        if not mine:
            raise InputError(f"{folder}: another fetch is at work here; wait for it to end, or stop it")
        yield
