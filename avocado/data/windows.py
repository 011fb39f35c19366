"""Places as a biologist types them: `chr20`, `chr20:1,000,000-1,200,000`, `pilot`, a BED file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avocado.data.genome import BIN_SIZE, BLOCK_BINS, Assembly, Region, Segment, spelling_hint
from avocado.data.regions import bed_name, bed_region, is_bed
from avocado.errors import InputError

PLACE = re.compile(r"([^:\s]+):([\d,]+)-([\d,]+)")


class Window(NamedTuple):
    """Bins of one stored region: all of them, or those of some place in it."""

    source: str  # name of the stored region
    layout: Region  # what is asked for, by the name that was typed


def windows(regions: Mapping[str, Region], assembly: Assembly, place: str | Path) -> list[Window]:
    """Where a place lies in stored regions, in the order of the assembly.

    place: the name of a stored region; `chrom:start-end` in bp, both ends included and counted from 1 as genome
    browsers do, commas allowed; or a BED file. What is asked for is every bin that the place touches. A place inside a
    chromosome that is stored only in parts has to lie in one of them. Raises InputError for a place that no region
    holds, and for one that cannot be read.
    """
    name = str(place)
    if name in regions:
        return [Window(name, regions[name])]
    typed = PLACE.fullmatch(name)
    if typed:
        chrom, first, last = typed[1], *(int(its.replace(",", "")) for its in typed.groups()[1:])
        _require_chromosome(assembly, chrom)
        if not 1 <= first <= last or first > assembly.sizes[chrom]:
            raise InputError(f"{name}: expected first and last bp from 1 to {assembly.sizes[chrom]:,}")
        end = min(-(-last // BIN_SIZE), assembly.n_bins(chrom))
        segments: tuple[Segment, ...] = (Segment(chrom, min((first - 1) // BIN_SIZE, end - 1), end),)
    elif is_bed(name):
        segments = bed_region(assembly, name).segments
    elif ":" in name:
        raise InputError(f"cannot read the place '{name}': give chrom:start-end, such as chr20:1,000,000-1,200,000")
    else:
        known = ", ".join(regions) or "no region"
        raise InputError(f"no factors or signal of '{name}'{spelling_hint(name, regions)}; there is: {known}")
    found: dict[str, list[Segment]] = {}
    for segment in segments:
        found.setdefault(_holding(regions, segment, name), []).append(segment)
    label = name if typed else bed_name(name)
    names = {source: label if len(found) == 1 else f"{label}.{source}" for source in found}
    return [Window(source, Region(names[source], tuple(parts))) for source, parts in found.items()]


def _require_chromosome(assembly: Assembly, chrom: str) -> None:
    if chrom not in assembly.sizes:
        raise InputError(f"assembly {assembly.name} has no chromosome '{chrom}'{spelling_hint(chrom, assembly.sizes)}")
    if not assembly.n_bins(chrom):
        raise InputError(f"{chrom} has {assembly.sizes[chrom]} bp in {assembly.name}, less than a bin of {BIN_SIZE} bp")


def holder(regions: Mapping[str, Region], segment: Segment) -> tuple[str, int] | None:
    """The stored region that holds all of a segment, its chromosome where there is one, and the padded bin there."""
    for name in sorted(regions, key=lambda name: name != segment.chrom):
        if (address := _address(regions[name], segment)) is not None:
            return name, address[0]
    return None


def _holding(regions: Mapping[str, Region], segment: Segment, place: str) -> str:
    found = holder(regions, segment)
    if found is not None:
        return found[0]
    where = f"{segment.chrom}:{segment.start * BIN_SIZE + 1:,}-{segment.end * BIN_SIZE:,}"
    raise InputError(f"{place}: no stored region holds all of {where}; there is: {', '.join(regions) or 'no region'}")


def _address(layout: Region, segment: Segment) -> tuple[int, int] | None:
    """Padded address and rank of a segment's first bin, where one segment of the region holds all of it."""
    for its, rank, block in layout.walk():
        if its.chrom == segment.chrom and its.start <= segment.start and segment.end <= its.end:
            offset = segment.start - its.start
            return block * BLOCK_BINS + offset, rank + offset
    return None


def chosen_bins(layout: Region, part: Region) -> list[tuple[int, int, int]]:
    """Where the segments of a part lie in the region that holds it: (first padded bin, number of bins, rank)."""
    if part.segments == layout.segments:
        return [(block * BLOCK_BINS, segment.n_bins, rank) for segment, rank, block in layout.walk()]
    found = []
    for segment in part.segments:
        address = _address(layout, segment)
        if address is None:
            raise InputError(f"{part.name} is not in region {layout.name}")
        found.append((address[0], segment.n_bins, address[1]))
    return found


def pieces(layout: Region, part: Region, step: int) -> Iterator[tuple[int, int, list[Segment], np.ndarray]]:
    """The blocks of a region that a part of it touches, `step` of them at most at a time.

    Yields (first, last, segments, wanted): blocks [first, last), the part's bins in them as segments, and bool
    (last − first, 200), True for these bins.
    """
    # where the part's segments lie: padded bins [start, end), which grow, as both are in the order of the genome
    starts = np.array([first for first, _, _ in chosen_bins(layout, part)])
    ends = starts + [segment.n_bins for segment in part.segments]
    wanted = np.zeros_like(layout.mask)
    for start, end in zip(starts, ends, strict=True):
        wanted.reshape(-1)[start:end] = True
    touched = np.flatnonzero(wanted.any(axis=1))
    for run in np.split(touched, np.flatnonzero(np.diff(touched) > 1) + 1):
        for start in range(0, len(run), step):
            first, last = int(run[start]), int(run[min(start + step, len(run)) - 1]) + 1
            low, high = first * BLOCK_BINS, last * BLOCK_BINS
            inside = range(*np.searchsorted(ends, [low], side="right"), *np.searchsorted(starts, [high]))
            segments = [
                Segment(its.chrom, its.start + max(0, low - int(starts[n])), its.end - max(0, int(ends[n]) - high))
                for n, its in ((n, part.segments[n]) for n in inside)
            ]
            yield first, last, segments, wanted[first:last]
