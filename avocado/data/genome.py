"""Assemblies, 25-bp bins, 5-kbp blocks, and the regions that are stored and trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from avocado.errors import InputError

BIN_SIZE = 25  # bp
BINS_PER_250BP = 10
BLOCK_BINS = 200  # bins of a 5-kbp block, which no factor of another block touches
BUILT_IN = ("hg19", "hg38")


@dataclass(frozen=True)
class Assembly:
    """A genome assembly: its name and its chromosome sizes in bp, in file order."""

    name: str
    sizes: Mapping[str, int]

    def size(self, chrom: str) -> int:
        """Length of `chrom` in bp. Raises InputError for an unknown chromosome."""
        if chrom not in self.sizes:
            raise InputError(
                f"unknown chromosome '{chrom}' in assembly {self.name}{spelling_hint(chrom, self.sizes)}; "
                f"it has: {', '.join(self.sizes)}"
            )
        return self.sizes[chrom]

    def n_bins(self, chrom: str) -> int:
        """Whole 25-bp bins of `chrom`; the last partial bin is dropped, as in the published models."""
        return self.size(chrom) // BIN_SIZE


@dataclass(frozen=True)
class Segment:
    """Consecutive 25-bp bins [start, end) of one chromosome."""

    chrom: str
    start: int
    end: int

    @property
    def n_bins(self) -> int:
        """Number of 25-bp bins."""
        return self.end - self.start

    @property
    def n_blocks(self) -> int:
        """Number of 200-bin blocks, the last one possibly partial."""
        return -(-self.n_bins // BLOCK_BINS)


@dataclass(frozen=True)
class Region:
    """A named set of segments that is stored in one file and trained as one unit: a chromosome or a BED.

    Blocks never span two segments: every segment starts a block of its own and its last block is padded. A bin
    therefore has two addresses: its rank among the region's bins, `0 <= i < n_bins` (what a track array uses),
    and its padded address `block * 200 + offset` (what the store and the genome factors use).
    """

    name: str
    segments: tuple[Segment, ...]

    @classmethod
    def of_plain(cls, name: str, segments: Iterable[Sequence[Any]]) -> Region:
        """The region of `plain` segments. Raises TypeError or ValueError for anything else."""
        return cls(name, tuple(Segment(*segment) for segment in segments))

    def plain(self) -> list[list[Any]]:
        """The segments as JSON files have them: chromosome, first bin, last bin + 1."""
        return [[segment.chrom, segment.start, segment.end] for segment in self.segments]

    @cached_property
    def n_bins(self) -> int:
        """Number of real 25-bp bins."""
        return sum(s.n_bins for s in self.segments)

    @cached_property
    def n_blocks(self) -> int:
        """Number of 200-bin blocks, padding included."""
        return sum(s.n_blocks for s in self.segments)

    def walk(self) -> Iterator[tuple[Segment, int, int]]:
        """Yield (segment, rank of its first bin, its first block)."""
        rank = block = 0
        for segment in self.segments:
            yield segment, rank, block
            rank += segment.n_bins
            block += segment.n_blocks

    def pieces(self, size: int) -> list[tuple[int, int]]:
        """Blocks [first, last) of consecutive pieces of `size` blocks; the last one may be smaller."""
        return [(first, min(first + size, self.n_blocks)) for first in range(0, self.n_blocks, size)]

    @cached_property
    def mask(self) -> np.ndarray:
        """Bool (n_blocks, 200): True for real bins, False for the padding at segment ends."""
        mask = np.zeros((self.n_blocks, BLOCK_BINS), dtype=bool)
        flat = mask.reshape(-1)
        for segment, _, block in self.walk():
            flat[block * BLOCK_BINS : block * BLOCK_BINS + segment.n_bins] = True
        return mask

    def to_blocks(self, values: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """Lay out a (n_bins, ...) array as (n_blocks, 200, ...), padding with `fill`."""
        if values.shape[0] != self.n_bins:
            raise InputError(f"region {self.name} has {self.n_bins:,} bins, the array {values.shape[0]:,}")
        blocks = np.full((self.n_blocks, BLOCK_BINS, *values.shape[1:]), fill, dtype=values.dtype)
        blocks[self.mask] = values
        return blocks

    def from_blocks(self, blocks: np.ndarray) -> np.ndarray:
        """Inverse of `to_blocks`: (n_blocks, 200, ...) to (n_bins, ...)."""
        return blocks[self.mask]

    def locate(self, chrom: str, start: int, end: int) -> slice:
        """Ranks of the bins that cover bp [start, end) of `chrom`, clipped to the one segment holding `start`."""
        first = start // BIN_SIZE
        for segment, rank, _ in self.walk():
            if segment.chrom == chrom and segment.start <= first < segment.end:
                last = min(-(-end // BIN_SIZE), segment.end)
                return slice(rank + first - segment.start, rank + last - segment.start)
        raise InputError(f"{chrom}:{start}-{end} is not in region {self.name}")


def spelling_hint(chrom: str, known: Iterable[str]) -> str:
    """' (did you mean ...?)' when `chrom` and `known` differ only by the prefix 'chr', else ''."""
    other = chrom.removeprefix("chr") if chrom.startswith("chr") else f"chr{chrom}"
    return f" (did you mean '{other}'?)" if other in set(known) else ""


def load_assembly(source: str | Path) -> Assembly:
    """The assembly `hg19` or `hg38`, or one read from a chrom.sizes file (name, tab, size in bp)."""
    if str(source) in BUILT_IN:
        name = str(source)
        text = (files("avocado") / "assets" / f"{name}.chrom.sizes").read_text()
    else:
        path = Path(source)
        if not path.is_file():
            raise InputError(f"unknown assembly '{source}': give one of {', '.join(BUILT_IN)}, or a chrom.sizes file")
        name = path.name.removesuffix(".chrom.sizes")
        text = path.read_text(errors="replace")
    sizes: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        fields = line.split()
        if len(fields) < 2 or not fields[1].isdigit() or int(fields[1]) == 0 or fields[0] in sizes:
            raise InputError(f"{source} line {number}: expected a new chromosome name and its size in bp")
        sizes[fields[0]] = int(fields[1])
    if not sizes:
        raise InputError(f"{source}: no chromosomes in it")
    return Assembly(name, sizes)


def same_sizes(sizes: Mapping[str, int]) -> str | None:
    """Name of the built-in assembly whose chromosome sizes agree with all of `sizes` that it knows, if any."""
    for name in BUILT_IN:
        known = load_assembly(name).sizes
        shared = [c for c in sizes if c in known]
        if shared and all(sizes[c] == known[c] for c in shared):
            return name
    return None


def chromosome_region(assembly: Assembly, chrom: str) -> Region:
    """All whole bins of one chromosome."""
    return Region(chrom, (Segment(chrom, 0, assembly.n_bins(chrom)),))


def bed_region(assembly: Assembly, path: str | Path, name: str | None = None) -> Region:
    """The bins that the intervals of a BED file touch, merged where they overlap, in assembly order.

    The rule for every BED, one called something.pilot.bed among them; `pilot_region` says why `pilot` has another.
    """
    chosen: dict[str, list[tuple[int, int]]] = {}
    for chrom, start, end in read_bed(assembly, Path(path)):
        last = min(-(-end // BIN_SIZE), assembly.n_bins(chrom))
        if start // BIN_SIZE < last:
            chosen.setdefault(chrom, []).append((start // BIN_SIZE, last))
    segments: list[Segment] = []
    for chrom in assembly.sizes:
        for start, end in sorted(chosen.get(chrom, [])):
            if segments and segments[-1].chrom == chrom and start <= segments[-1].end:
                segments[-1] = Segment(chrom, segments[-1].start, max(end, segments[-1].end))
            else:
                segments.append(Segment(chrom, start, end))
    if not segments:
        raise InputError(f"{path}: no intervals in it")
    return Region(name or Path(path).name.removesuffix(".bed"), tuple(segments))


def pilot_region(assembly: Assembly) -> Region:
    """The 42 autosomal ENCODE pilot regions of hg19 or hg38 in chromosome order.

    An interval [a, b) in bp has bins a//25 − 1 to b//25, both included (none below 0), on either assembly: one bin
    more on both sides than lies within it. This is how the original program's hg19 vectors of 1,126,469 bins, which
    come without coordinates, are laid out: no other count has their borders, and on real tracks peaks of the same
    experiment fit best there. A BED of your own follows the plain rule of `bed_region`, the bins that it touches, as
    there is no vector that it has to agree with.
    """
    if assembly.name not in BUILT_IN:
        raise InputError(
            f"assembly {assembly.name} has no built-in pilot regions (only {', '.join(BUILT_IN)}): "
            "give a BED file, for instance regions=my.pilot.bed"
        )
    bed = files("avocado") / "assets" / f"{assembly.name}.pilot.bed"
    segments = tuple(
        Segment(chrom, max(start // BIN_SIZE - 1, 0), end // BIN_SIZE + 1)
        for chrom, start, end in _parse_bed(assembly, bed.read_text(), bed.name)
        if chrom != "chrX"
    )
    return Region("pilot", segments)


def pilot_note(assembly: Assembly, region: Region) -> str:
    """' (...)' where `region` has the built-in pilot regions one bin too far right, as earlier versions; else ''."""
    if region.name != "pilot" or assembly.name not in BUILT_IN:
        return ""
    earlier = tuple(Segment(s.chrom, s.start + 1, s.end + 1) for s in pilot_region(assembly).segments)
    return " (earlier versions had each pilot region 25 bp further right)" if region.segments == earlier else ""


def read_bed(assembly: Assembly, path: Path) -> list[tuple[str, int, int]]:
    """(chrom, start, end) in bp of every line of a BED file, checked against the assembly."""
    if not path.is_file():
        raise InputError(f"{path}: no such BED file")
    return _parse_bed(assembly, path.read_text(errors="replace"), str(path))


def _parse_bed(assembly: Assembly, text: str, source: str) -> list[tuple[str, int, int]]:
    intervals = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith(("#", "track", "browser")):
            continue
        fields = line.split()
        if len(fields) < 3 or not (fields[1].isdigit() and fields[2].isdigit()):
            raise InputError(f"{source} line {number}: expected chromosome, start and end")
        chrom, start, end = fields[0], int(fields[1]), int(fields[2])
        if not start < end <= assembly.size(chrom):
            raise InputError(
                f"{source} line {number}: {chrom}:{start}-{end} is empty or outside {assembly.name}, "
                f"where {chrom} has {assembly.size(chrom):,} bp"
            )
        intervals.append((chrom, start, end))
    return intervals


def parse_regions(assembly: Assembly, names: Iterable[str]) -> list[Region]:
    """Regions from what a user types: `pilot`, a chromosome, `autosomes`, `all`, or the path of a BED file."""
    regions: dict[str, Region] = {}
    for name in names:
        if name == "pilot":
            found = [pilot_region(assembly)]
        elif name in ("all", "autosomes"):
            chroms = [c for c in assembly.sizes if name == "all" or c.removeprefix("chr").isdigit()]
            found = [chromosome_region(assembly, c) for c in chroms]
        elif name.endswith(".bed"):
            # a file called pilot.bed or demo.pilot.bed is the region that stage=pilot looks for
            stem = Path(name).name.removesuffix(".bed").split(".")[-1]
            found = [bed_region(assembly, name, stem)]
        else:
            found = [chromosome_region(assembly, name)]
        regions.update({region.name: region for region in found})
    if not regions:
        raise InputError("no regions asked for: give regions=[pilot,chr20], a chromosome, or a BED file")
    return list(regions.values())
