"""Ingest: a table of track files becomes a signal store, in two passes that can be interrupted and continued.

Pass 1 reads one track after the other (in several processes) into `<out>.partial/parts/`, as one-track stores.
Pass 2 transposes the parts into the position-major regions, which then move to `<out>`; `store.json` comes last.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from avocado.data.compendium import copies
from avocado.data.genome import BLOCK_BINS, Assembly, Region, file_stem
from avocado.data.regions import pilot_note
from avocado.data.sources import ARRAYS
from avocado.data.store import DTYPES, SignalStore, chunk_blocks, open_store, write_metadata, write_region
from avocado.data.track_parts import Fault, Track, check_track, read_track
from avocado.errors import InputError
from avocado.utils.files import locked, replacing
from avocado.utils.progress import shown
from avocado.utils.remote import Remote, is_address
from avocado.utils.workers import in_processes, in_threads

log = logging.getLogger(__name__)

OWN_COLUMNS = ("source", "sha256", "min", "max", "mean", "zeros", "warning")  # that a store's table gets

SHOWN = 5  # bad tracks that an error message spells out
MOST_READERS = 4  # processes, or threads that only look, that ask for remote files at once


def ingest(
    compendium: pd.DataFrame,
    out: str | Path,
    assembly: Assembly,
    regions: Sequence[Region],
    *,
    dtype: str = "float16",
    arrays: str = "arcsinh",
    workers: int = 1,
    progress: bool = False,
) -> SignalStore:
    """Make the signal store `out` of the tracks in `compendium`, or add regions to it, or just open it.

    `compendium` has the columns cell, assay and file; others travel along into `store.tracks`, which also gets
    source, sha256, the statistics min, max, mean and zeros (share) of the stored arcsinh signal, and warning; columns
    of these names in `compendium` are called table_source, ... there. Tracks are in the order of cell types and assays,
    whatever that of the rows. Tracks that are the same file are warned of. Files:

    * bigWig (.bw, .bigWig): raw −log10 p; stored is the arcsinh of the mean over each 25-bp bin, gaps counting as 0.
    * the address of a bigWig (https://...), of which only the pieces are read that the regions need; as it is not read
      through, its checksum is that of its size and both ends, after the word `ends-`.
    * .npy: the bins of the one region asked for; .npz: arrays named by region, or one array for the one region.
      Their values are arcsinh values already, or raw −log10 p with `arrays="raw"`.

    All files are checked before any is read, and all bad ones reported at once. Work happens in `<out>.partial`;
    after an interrupt the same call goes on where it stopped. One process at a time may work on an `out`. A store that
    has the same tracks and all the regions is returned as it is, without looking for source files that are gone.
    Memory, whatever the number of tracks: about 10 bytes per bin of the largest region in each worker (100 MB for
    chr1), then a chunk of 64 MB (128 MB for float32).

    Raises InputError, in one line, for everything that a user can get wrong, a full disk included.
    """
    out = Path(out)
    scratch = out.with_name(f"{out.name}.partial")
    table = _checked_table(compendium)
    _check_options(dtype, arrays, workers, regions)
    existing, new = None, list(regions)
    if (out / "store.json").is_file():
        existing = open_store(out)
        table = _same_tracks(existing, table, assembly, regions, dtype)
        new = [region for region in regions if region.name not in existing.regions]
        if not new:
            log.info("%s is already there: %d tracks, regions %s", out, len(table), ", ".join(existing.regions))
            _warn_of_newer(existing, table)
            return existing
    elif out.exists() and not scratch.is_dir() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} exists and is not a signal store: choose another out, or delete it")

    tracks = [
        Track(cell, assay, file, assembly, tuple(new), len(regions) == 1, arrays, dtype, scratch / "parts")
        for cell, assay, file in zip(table["cell"], table["assay"], table["file"], strict=True)
    ]
    found = _check_sources(tracks, progress)
    tracks = [replace(track, remote=remote) for track, (_, remote) in zip(tracks, found, strict=True)]
    with locked(scratch / "lock", wait=False, remedy="choose another out") as mine:
        if not mine:
            raise InputError(f"{scratch}: another ingest is at work here; wait for it to end, or stop it")
        records = _read_tracks(tracks, workers, progress)
        described = _describe(table, tracks, records, [warning for warning, _ in found], existing)
        _write_regions(scratch, tracks, [record["sha256"] for record in records], progress)
        out.mkdir(exist_ok=True)
        for region in new:
            os.replace(scratch / f"{file_stem(region.name)}.npy", out / f"{file_stem(region.name)}.npy")
        write_metadata(out, assembly, [*(existing.regions.values() if existing else []), *new], described, dtype)
        shutil.rmtree(scratch, ignore_errors=True)
    return open_store(out)


# --- what the user asks for ---------------------------------------------------------------------------------------


def _checked_table(compendium: pd.DataFrame) -> pd.DataFrame:
    """The table with cell, assay and file as strings, in the order of cell types and assays, or InputError."""
    missing = [column for column in ("cell", "assay", "file") if column not in compendium]
    if missing:
        raise InputError(f"the table of tracks has no column {', '.join(missing)}; it needs cell, assay and file")
    if compendium.empty:
        raise InputError("the table of tracks is empty: nothing to ingest")
    table = compendium.reset_index(drop=True)
    for column in ("cell", "assay", "file"):
        empty = table[column].isna() | (table[column].astype(str) == "")
        if empty.any():
            raise InputError(f"row {int(empty.argmax()) + 1} of the table of tracks has no {column}")
        table[column] = table[column].astype(str)
    for column in ("cell", "assay"):
        table[column] = table[column].str.strip()
    taken = [column for column in OWN_COLUMNS if column in table]
    if taken:
        log.warning("columns %s of the table of tracks are kept as table_%s, ...", ", ".join(taken), taken[0])
        table = table.rename(columns={column: f"table_{column}" for column in taken})
    twice = table[table.duplicated(["cell", "assay"])]
    if len(twice):
        cell, assay = twice.iloc[0][["cell", "assay"]]
        raise InputError(f"the table of tracks has {cell} {assay} more than once: keep one row of it")
    # the same tracks in another order would be another store, and its model another model
    return table.sort_values(["cell", "assay"], ignore_index=True)


def _check_options(dtype: str, arrays: str, workers: int, regions: Sequence[Region]) -> None:
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype '{dtype}': choose {' or '.join(DTYPES)}")
    if arrays not in ARRAYS:
        raise InputError(f"unknown arrays '{arrays}': choose {' or '.join(ARRAYS)}")
    if workers < 1:
        raise InputError(f"workers={workers}: at least one is needed")
    names = [region.name for region in regions]
    if not names or len(set(names)) < len(names):
        raise InputError(f"regions [{', '.join(names)}]: give at least one, and each once")


def _same_tracks(
    store: SignalStore, table: pd.DataFrame, assembly: Assembly, regions: Sequence[Region], dtype: str
) -> pd.DataFrame:
    """The table in the order of the existing store's columns, or InputError where store and request differ."""
    have = list(zip(store.tracks["cell"], store.tracks["assay"], strict=True))
    want = list(zip(table["cell"], table["assay"], strict=True))
    difference = None
    if extra := [pair for pair in want if pair not in set(have)]:
        difference = f"lacks {len(extra)} of the tracks ({' '.join(extra[0])})"
    elif extra := [pair for pair in have if pair not in set(want)]:
        difference = f"has {len(extra)} other tracks ({' '.join(extra[0])})"
    elif store.dtype != dtype:
        difference = f"holds {store.dtype}, not {dtype}"
    elif store.assembly != assembly:
        difference = f"is of assembly {store.assembly.name} with other chromosome sizes or names than {assembly.name}"
    for region in regions:
        there = store.regions.get(region.name, region)
        if there != region:
            difference = f"has another region of the name {region.name}{pilot_note(assembly, there)}"
    if difference:
        raise InputError(f"store {store.path} exists and {difference}: choose another out, or delete it")
    rank = {pair: number for number, pair in enumerate(want)}
    return table.iloc[[rank[pair] for pair in have]].reset_index(drop=True)


def _warn_of_newer(store: SignalStore, table: pd.DataFrame) -> None:
    made = (store.path / "store.json").stat().st_mtime
    newer = [file for file in table["file"] if os.path.exists(file) and os.stat(file).st_mtime > made]
    if newer:
        log.warning(
            "%d of the files are newer than store %s (%s): if they have changed, delete the store and ingest again",
            len(newer),
            store.path,
            newer[0],
        )


def _check_sources(tracks: Sequence[Track], progress: bool) -> list[tuple[str, Remote | None]]:
    """Warnings about each track's file, and what is at an address; or one InputError for all bad files."""
    found: dict[str, tuple[str, Remote | None]] = {}
    faults = []
    local = [track for track in tracks if not is_address(track.source)]
    remote = [track for track in tracks if is_address(track.source)]
    checks = in_threads(check_track, remote, MOST_READERS)
    shown_checks = shown(checks, "looking at remote files", len(remote), progress and bool(remote))
    for track, result in [*((track, check_track(track)) for track in local), *zip(remote, shown_checks, strict=True)]:
        if isinstance(result, str):
            faults.append(Fault(track, result))
        else:
            found[track.name] = "; ".join(result[0]), result[1]
    _report(faults, len(tracks))
    return [found[track.name] for track in tracks]


def _report(faults: Sequence[Fault], n_tracks: int) -> None:
    """One InputError for all bad files, `<track>: <reason>` each; a reason that many of them share is given once."""
    if not faults:
        return
    alike: dict[str, list[Fault]] = {}
    for fault in faults:
        alike.setdefault(fault.reason.replace(str(fault.track.source), ""), []).append(fault)
    said, shown_ones = [], list(alike.values())[:SHOWN]
    for first, *others in shown_ones:
        names = [fault.track.name for fault in others[:SHOWN]] + ["..."] * (len(others) > SHOWN)
        same = f"; the same with {len(others)} more: {', '.join(names)}" if others else ""
        said.append(f"{first.track.name}: {first.reason}{same}")
    left = len(faults) - sum(map(len, shown_ones))
    rest = f"; and {left} more" if left else ""
    raise InputError(f"{len(faults)} of {n_tracks} tracks cannot be used: {'; '.join(said)}{rest}")


# --- pass 1: tracks to parts --------------------------------------------------------------------------------------


def _read_tracks(tracks: Sequence[Track], workers: int, progress: bool) -> list[dict[str, Any]]:
    """Read all tracks that have no finished part; the records of all parts, in order."""
    todo = [track for track in tracks if not track.finished()]
    if len(todo) < len(tracks):
        log.info("%d of %d tracks were read before", len(tracks) - len(todo), len(tracks))
    killed = (
        "a process that read tracks was killed, out of memory or by a damaged file: "
        "run the same command again to go on, with workers=1 to find the file"
    )
    if any(track.remote for track in todo):
        workers = min(workers, MOST_READERS)
    results = in_processes(read_track, todo, workers, killed)
    faults = [fault for fault in shown(results, "reading tracks", len(todo), progress) if fault]
    _report(faults, len(tracks))
    records = [record for track in tracks if (record := track.finished())]
    if len(records) < len(tracks):
        raise InputError("a track's file changed while it was read: run the same command again")
    return records


# --- pass 2: parts to regions -------------------------------------------------------------------------------------


def _write_regions(scratch: Path, tracks: Sequence[Track], checksums: Sequence[str], progress: bool) -> None:
    """Write the regions that are not yet written of just these parts."""
    regions, dtype = tracks[0].regions, tracks[0].dtype
    plan = {
        "tracks": [[track.cell, track.assay, checksum] for track, checksum in zip(tracks, checksums, strict=True)],
        "regions": {region.name: region.plain() for region in regions},
        "arrays": tracks[0].arrays,
        "dtype": dtype,
    }
    file = scratch / "plan.json"
    if not file.is_file() or json.loads(file.read_text()) != plan:
        for stale in scratch.glob("*.npy"):
            stale.unlink()
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(plan))
    for region in shown(regions, "writing regions", len(regions), progress):
        if not (scratch / f"{file_stem(region.name)}.npy").is_file():
            parts = [track.directory / f"{file_stem(region.name)}.npy" for track in tracks]
            write_region(scratch, region, len(parts), dtype, _transposed(parts, region, dtype))


def _transposed(parts: Sequence[Path], region: Region, dtype: str) -> Iterator[np.ndarray]:
    """The region in chunks (blocks, 200, n_tracks) of about 64 MB."""
    step = chunk_blocks(len(parts))
    for first in range(0, region.n_blocks, step):
        chunk = np.empty((min(step, region.n_blocks - first), BLOCK_BINS, len(parts)), dtype=dtype)
        for column, part in enumerate(parts):  # opened anew for each chunk: a process may not hold 1,000 files open
            chunk[:, :, column] = np.load(part, mmap_mode="r")[first : first + step, :, 0]
        yield chunk


def _describe(
    table: pd.DataFrame,
    tracks: Sequence[Track],
    records: Sequence[dict[str, Any]],
    warnings: Sequence[str],
    existing: SignalStore | None,
) -> pd.DataFrame:
    """The store's table of tracks: the user's columns, source, sha256, statistics over all regions, and warning."""
    old_bins = sum(region.n_bins for region in existing.regions.values()) if existing else 0
    rows: list[dict[str, Any]] = []
    for number, (track, record, warning) in enumerate(zip(tracks, records, warnings, strict=True)):
        regions = list(record["statistics"].values())
        if existing:
            old = existing.tracks.iloc[number]
            if old["sha256"] != record["sha256"]:
                raise InputError(
                    f"{track.name}: {track.source} has changed since store {existing.path} was made: "
                    "restore the file, or choose another out"
                )
            regions.append({"n_bins": old_bins, **old[["min", "max", "mean", "zeros"]].to_dict()})
        weights = [region["n_bins"] for region in regions]
        row = {
            "source": track.source,
            "sha256": record["sha256"],
            "min": min(region["min"] for region in regions),
            "max": max(region["max"] for region in regions),
            "mean": float(np.average([region["mean"] for region in regions], weights=weights)),
            "zeros": float(np.average([region["zeros"] for region in regions], weights=weights)),
        }
        found = [its for its in (warning, *record.get("warnings", ())) if its]
        if row["min"] == row["max"] == 0:
            found.append("no signal: all bins are 0")
        if row["min"] < 0:
            found.append(f"negative values down to {row['min']:.4g}: −log10 p has none")
        row["warning"] = "; ".join(found)
        if found:
            log.warning("%s (%s): %s", track.name, track.source, row["warning"])
        rows.append(row)
    described = existing.tracks.copy() if existing else table.drop(columns="file")
    for column in OWN_COLUMNS:
        described[column] = [row[column] for row in rows]
    for same in copies(described):
        pairs = same["cell"].str.cat(same["assay"], " ")
        log.warning("%s are the same file (%s): keep one of them", ", ".join(pairs), same["source"].iloc[0])
        note = described.loc[same.index, "warning"] + f"; the same file as {', '.join(pairs)}"
        described.loc[same.index, "warning"] = note.str.removeprefix("; ")
    return described
