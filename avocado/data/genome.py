"""Assemblies, 25-bp bins, 5-kbp blocks, and the regions that are stored and trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avocado.data.text import numbered_lines
from avocado.errors import InputError

if TYPE_CHECKING:
    import numpy as np

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

    @cached_property
    def checksum(self) -> str:
        """8 hex digits over the segments."""
        return hashlib.sha256(str([(s.chrom, s.start, s.end) for s in self.segments]).encode()).hexdigest()[:8]

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
        import numpy as np

        mask = np.zeros((self.n_blocks, BLOCK_BINS), dtype=bool)
        flat = mask.reshape(-1)
        for segment, _, block in self.walk():
            flat[block * BLOCK_BINS : block * BLOCK_BINS + segment.n_bins] = True
        return mask

    def to_blocks(self, values: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """Lay out a (n_bins, ...) array as (n_blocks, 200, ...), padding with `fill`."""
        import numpy as np

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

    def part(self, bins: slice) -> Region:
        """Consecutive bins of one segment, given by their ranks, as a region of its own, called chr20:<first bin>."""
        for segment, rank, _ in self.walk():
            if rank <= bins.start < bins.stop <= rank + segment.n_bins:
                first = segment.start + bins.start - rank
                own = Segment(segment.chrom, first, first + bins.stop - bins.start)
                return Region(f"{own.chrom}:{first}", (own,))
        raise IndexError(bins)


def file_stem(region: str) -> str:
    """What files and folders of a region are called: its name, with %2F for the / of a chromosome such as chr1/alt."""
    return region.replace("%", "%25").replace("/", "%2F")


def spelling_hint(chrom: str, known: Iterable[str]) -> str:
    """' (did you mean ...?)' when `chrom` and `known` differ only by the prefix 'chr', else ''."""
    other = chrom.removeprefix("chr") if chrom.startswith("chr") else f"chr{chrom}"
    return f" (did you mean '{other}'?)" if other in set(known) else ""


def load_assembly(source: str | Path) -> Assembly:
    """The assembly `hg19` or `hg38`, or one read from a chrom.sizes file (name, tab, size in bp)."""
    if str(source) in BUILT_IN:
        name = str(source)
        path = Path(str(files("avocado") / "assets" / f"{name}.chrom.sizes"))
    else:
        path = Path(source)
        if not path.is_file():
            raise InputError(f"unknown assembly '{source}': give one of {', '.join(BUILT_IN)}, or a chrom.sizes file")
        name = path.name.removesuffix(".gz").removesuffix(".chrom.sizes")
    sizes: dict[str, int] = {}
    for number, line in numbered_lines(path):
        if not line.strip() or line.startswith("#"):
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
    """All whole bins of one chromosome. Raises InputError for an unknown one, and one that is shorter than a bin."""
    if not assembly.n_bins(chrom):
        raise InputError(f"{chrom} has {assembly.size(chrom)} bp in {assembly.name}, less than a bin of {BIN_SIZE} bp")
    return Region(chrom, (Segment(chrom, 0, assembly.n_bins(chrom)),))
