"""The signal store: a compendium's signal on disk, position-major, one memory-mapped array per region.

A store is a directory:

    store.json      format version, assembly, bin size, transform, dtype, regions, and the table of tracks
    <region>.npy    (n_blocks, 200, n_tracks), so that a 5-kbp block of all tracks is one contiguous read

The signal is arcsinh(mean −log10 p over the 25 bp of a bin). In float16, the default, rounding moves a value by at
most 2^-11 of itself; on the twenty Roadmap tracks of the original program (values up to 6.7) that is 0.002 at most and
0.00012 root mean square, a thousandth of the error of the best imputation.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from avocado.data.compendium import Pair, pairs_in
from avocado.data.genome import BIN_SIZE, BLOCK_BINS, Assembly, Region, file_stem
from avocado.data.regions import is_bed, pilot_note
from avocado.data.windows import Window, windows
from avocado.errors import InputError
from avocado.utils.files import replacing

FORMAT_VERSION = 1
DTYPES = ("float16", "float32")
TRANSFORM = "arcsinh"


@dataclass(frozen=True)
class SignalStore:
    """An opened store. Opening reads `store.json` only; signal is read when asked for."""

    path: Path
    assembly: Assembly
    regions: dict[str, Region]
    tracks: pd.DataFrame  # one row per column of the arrays: cell, assay, source, sha256, ... (strings and numbers)
    dtype: str

    def region(self, name: str) -> Region:
        """The region called `name`. Raises InputError naming those that exist."""
        if name not in self.regions:
            raise InputError(f"store {self.path} has no region '{name}'; it has: {', '.join(self.regions)}")
        return self.regions[name]

    def windows(self, place: str | Path) -> list[Window]:
        """Where a place lies in the regions of this store, see `windows.windows`, which raises InputError."""
        name = str(place)
        if name in self.regions or not (":" in name or is_bed(name)):
            self.region(name)
        return windows(self.regions, self.assembly, place)

    def file(self, region: str) -> Path:
        """The .npy file of a region's signal."""
        return self.path / f"{file_stem(region)}.npy"

    def signal(self, region: str) -> np.memmap:
        """Memory-mapped arcsinh signal (n_blocks, 200, n_tracks), read-only; padding bins hold 0."""
        shape = (self.region(region).n_blocks, BLOCK_BINS, len(self.tracks))
        path = self.file(region)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise InputError(f"{path} is missing: the store is damaged, ingest this region again") from None
        except (ValueError, EOFError) as error:
            raise InputError(f"{path} is damaged ({error}): ingest this region again") from None
        if array.shape != shape or array.dtype != np.dtype(self.dtype):
            raise InputError(f"{path} holds {array.shape} {array.dtype}, store.json says {shape} {self.dtype}")
        return array

    def track_index(self, cell: str, assay: str) -> int:
        """Column of one experiment. Raises InputError where it was not measured."""
        found = self._columns.get((cell, assay))
        if found is None:
            known = "cell type" if cell not in self.cells else "assay" if assay not in self.assays else "pair"
            raise InputError(
                f"store {self.path} has no experiment {cell} {assay}: unknown {known}; "
                f"`avocado inspect {shlex.quote(f'path={self.path}')}` lists what it has"
            )
        return found

    def read_track(self, cell: str, assay: str, region: str) -> np.ndarray:
        """Arcsinh signal of one experiment, float32 (n_bins,)."""
        return self.read_tracks([self.track_index(cell, assay)], region)[:, 0]

    def read_tracks(self, columns: Iterable[int], region: str) -> np.ndarray:
        """Arcsinh signal of some columns, float32 (n_bins, n_columns), read block by block."""
        signal, layout, chosen = self.signal(region), self.region(region), list(columns)
        out = np.empty((layout.n_bins, len(chosen)), dtype=np.float32)
        done = 0
        for first in range(0, layout.n_blocks, chunk_blocks(len(self.tracks))):
            part = slice(first, first + chunk_blocks(len(self.tracks)))
            rows = signal[part][:, :, chosen][layout.mask[part]]
            out[done : done + len(rows)] = rows
            done += len(rows)
        return out

    @cached_property
    def checksum(self) -> str:
        """Identity of the content: 16 hex digits over tracks, their sources' checksums, and the layout."""
        content = _metadata(self.assembly, self.regions.values(), self.tracks, self.dtype)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def tracks_checksum(self) -> str:
        """Identity of the tracks, whatever the regions: 16 hex digits over assembly, names and sources' checksums."""
        return self.checksum_of(self._columns)

    def checksum_of(self, pairs: Iterable[tuple[str, str]]) -> str:
        """What `tracks_checksum` would be of only these (cell, assay) pairs, in this order."""
        columns = ["cell", "assay", *(name for name in ("sha256",) if name in self.tracks)]
        chosen = self.tracks.iloc[[self.track_index(*pair) for pair in pairs]][columns]
        return hashlib.sha256(f"{self.assembly.name} {chosen.to_csv(index=False)}".encode()).hexdigest()[:16]

    @cached_property
    def _columns(self) -> dict[Pair, int]:
        return {pair: column for column, pair in enumerate(pairs_in(self.tracks))}

    @cached_property
    def cells(self) -> list[str]:
        """Cell types, sorted: the order of their indices in a model."""
        return sorted(set(self.tracks["cell"]))

    @cached_property
    def assays(self) -> list[str]:
        """Assays, sorted likewise."""
        return sorted(set(self.tracks["assay"]))


@dataclass(frozen=True, eq=False)
class Tracks:
    """Some tracks of a store, and what they are called."""

    columns: np.ndarray  # (n_tracks,) int64, in the store's arrays
    cells: list[str]  # of each track
    assays: list[str]
    cell: np.ndarray  # (n_tracks,) int64: number of its cell type, in the order of a model
    assay: np.ndarray
    # bool (n_tracks,): which of them may speak for other cell types; the others speak for their own. None: all
    donors: np.ndarray | None = None

    @cached_property
    def rows(self) -> dict[Pair, int]:
        """The place of each (cell, assay) among these."""
        return {pair: row for row, pair in enumerate(zip(self.cells, self.assays, strict=True))}


def tracks_of(
    store: SignalStore, columns: Sequence[int] | np.ndarray, order: tuple[Sequence[str], Sequence[str]] | None = None
) -> Tracks:
    """The tracks in these columns. order: of cell types and assays; None: as the store has them."""
    table = store.tracks.iloc[list(columns)]
    names = table["cell"].tolist(), table["assay"].tolist()
    known = [{name: number for number, name in enumerate(its)} for its in order or (store.cells, store.assays)]
    numbers = (np.array([its[name] for name in own], dtype=np.int64) for its, own in zip(known, names, strict=True))
    return Tracks(np.array(columns, dtype=np.int64), *names, *numbers)


def chunk_blocks(n_tracks: int) -> int:
    """Blocks that make about 64 MB of signal, the unit of every pass over a store."""
    return max(1, (64 << 20) // (BLOCK_BINS * 2 * max(n_tracks, 1)))


def open_store(path: str | Path) -> SignalStore:
    """Open a store in milliseconds; signal is read when asked for.

    Parameters
    ----------
    path
        The directory that `avocado ingest` made.

    Raises
    ------
    InputError
        When it is missing, unfinished, or of another format.
    """
    path = Path(path)
    file = path / "store.json"
    if not file.is_file():
        partial = path.with_name(path.name + ".partial")
        if partial.is_dir():
            raise InputError(f"{path}: ingest has not finished; run the same `avocado ingest` again to go on")
        raise InputError(f"{path}: no signal store here (no store.json); `avocado ingest` makes one")
    try:
        meta = json.loads(file.read_text())
        if meta["format_version"] != FORMAT_VERSION:
            raise InputError(
                f"{path}: store format {meta['format_version']}, this program reads {FORMAT_VERSION}; ingest again"
            )
        regions = {name: Region.of_plain(name, segments) for name, segments in meta["regions"].items()}
        assembly = Assembly(meta["assembly"]["name"], meta["assembly"]["sizes"])
        store = SignalStore(path, assembly, regions, pd.DataFrame(meta["tracks"]), meta["dtype"])
        _require_placed_pilot(store)
        return store
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}): ingest again") from None


def _require_placed_pilot(store: SignalStore) -> None:
    """Raise InputError where the original program's pilot vectors lie in other places than they came from."""
    # bigWig files were read where the regions were then: stores of them are right, if not of `regions=pilot` now
    region = store.regions.get("pilot")
    note = "" if region is None or store.assembly.name != "hg19" else pilot_note(store.assembly, region)
    arrays = [name for name in store.tracks.get("source", ()) if str(name).endswith((".npy", ".npz"))]
    if note and arrays:
        raise InputError(
            f"{store.path} has the pilot regions of {Path(arrays[0]).name} one bin too far right{note}: "
            "delete the store, ingest again, and train again what was trained on it (overwrite=true)"
        )


def write_region(directory: Path, region: Region, n_tracks: int, dtype: str, chunks: Iterable[np.ndarray]) -> None:
    """Write `<region>.npy` from chunks of whole blocks, each (blocks, 200, n_tracks), in order."""
    done = 0
    # written, not memory-mapped: a full disk is then an error and not a killed process
    with replacing(directory / f"{file_stem(region.name)}.npy") as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file,
            {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (region.n_blocks, BLOCK_BINS, n_tracks)},
        )
        for chunk in chunks:
            if chunk.shape[1:] != (BLOCK_BINS, n_tracks):
                raise ValueError(f"region {region.name}: a chunk of shape {chunk.shape} for {n_tracks} tracks")
            file.write(np.ascontiguousarray(chunk, dtype=dtype).data)
            done += len(chunk)
        if done != region.n_blocks:
            raise ValueError(f"region {region.name}: {done} of {region.n_blocks} blocks written")


def write_metadata(
    directory: Path, assembly: Assembly, regions: Iterable[Region], tracks: pd.DataFrame, dtype: str
) -> None:
    """Write `store.json`, the last file of a store: a directory without it is not a store."""
    content = _metadata(assembly, regions, tracks, dtype)
    with replacing(directory / "store.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def _metadata(assembly: Assembly, regions: Iterable[Region], tracks: pd.DataFrame, dtype: str) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "assembly": {"name": assembly.name, "sizes": dict(assembly.sizes)},
        "bin_size": BIN_SIZE,
        "transform": TRANSFORM,
        "dtype": dtype,
        "regions": {r.name: r.plain() for r in regions},
        "tracks": tracks.astype(object).where(tracks.notna(), None).to_dict(orient="records"),
    }
