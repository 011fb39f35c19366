"""Pass 1 of ingest: a track's source becomes its part, a store of one track in a directory of its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avocado.data.genome import Assembly, Region, file_stem
from avocado.data.sources import at_hand, check_remote, check_source, read_signal
from avocado.data.store import write_region
from avocado.errors import InputError
from avocado.utils.files import replacing, sha256
from avocado.utils.provenance import fingerprint
from avocado.utils.remote import Remote, is_address


@dataclass(frozen=True)
class Track:
    """One source to be read, and where its part goes; sent to worker processes."""

    cell: str
    assay: str
    source: str
    assembly: Assembly
    regions: tuple[Region, ...]
    single: bool  # whether one region is asked for in all, which a nameless array may hold
    arrays: str
    dtype: str
    parts: Path
    remote: Remote | None = None  # what file is at an address

    @property
    def name(self) -> str:
        """Cell type and assay."""
        return f"{self.cell} {self.assay}"

    @property
    def directory(self) -> Path:
        """Of this track's part: named by the track, so that the part survives changes elsewhere in the table."""
        return self.parts / hashlib.sha256(f"{self.cell}\t{self.assay}".encode()).hexdigest()[:16]

    def identity(self) -> dict[str, Any]:
        """What must agree for a finished part to be used again."""
        if self.remote is not None:
            version = {"size": self.remote.size, "etag": self.remote.etag, "modified": self.remote.modified}
        else:
            stat = os.stat(self.source)
            version = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        return {
            "source": self.source,
            **version,
            "arrays": self.arrays,
            "dtype": self.dtype,
            "regions": {region.name: region.plain() for region in self.regions},
        }

    def finished(self) -> dict[str, Any] | None:
        """The record of the finished part, or None when the track has yet to be read."""
        try:
            record = json.loads((self.directory / "part.json").read_text())
            whole = all((self.directory / f"{file_stem(region.name)}.npy").is_file() for region in self.regions)
        except (FileNotFoundError, ValueError):
            return None
        return record if whole and record["identity"] == self.identity() else None


class Fault(NamedTuple):
    """What is wrong with the file of a track."""

    track: Track
    reason: str


def check_track(track: Track, stop: threading.Event | None = None) -> tuple[list[str], Remote | None] | str:
    """Warnings about a track's file, and what is at its address; or what is wrong with it."""
    try:
        if is_address(track.source):
            return check_remote(track.source, track.assembly, track.regions, stop)
        return check_source(track.source, track.assembly, track.regions, track.single), None
    except InputError as error:
        return str(error)


def read_track(track: Track) -> Fault | None:
    """Write one track's part. Returns what is wrong with the source, if anything; raises when the disk is full."""
    statistics: dict[str, Any] = {}
    warnings: list[str] = []
    shutil.rmtree(track.directory, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        try:
            identity = track.identity()
            if track.remote is None:
                path, digest = track.source, sha256(Path(track.source))
            else:
                track.directory.mkdir(parents=True)
                path = stack.enter_context(at_hand(track.remote, track.regions, track.directory))
                digest = f"ends-{fingerprint(Path(path))}"
        except InputError as error:
            return Fault(track, str(error))
        except OSError as error:
            return Fault(track, f"{track.source} cannot be read to its end: {error.strerror}")
        for region in track.regions:
            try:
                values = read_signal(path, region, track.single, track.arrays, track.dtype, warnings.append)
            except InputError as error:
                return Fault(track, str(error).replace(path, track.source))
            statistics[region.name] = {
                "n_bins": region.n_bins,
                "min": float(values.min()),
                "max": float(values.max()),
                "mean": float(values.mean(dtype=np.float64)),
                "zeros": float((values == 0).mean()),
            }
            write_region(track.directory, region, 1, track.dtype, [region.to_blocks(values)[:, :, None]])
    warnings = [text.replace(path, track.source) for text in warnings]
    with replacing(track.directory / "part.json") as temporary:
        temporary.write_text(
            json.dumps({"identity": identity, "sha256": digest, "statistics": statistics, "warnings": warnings})
        )
    return None
