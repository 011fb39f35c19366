"""The regions that users ask for: pilot regions, chromosomes, autosomes, BED files."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from avocado.data.genome import BIN_SIZE, BUILT_IN, Assembly, Region, Segment, chromosome_region
from avocado.data.intervals import read_intervals
from avocado.errors import InputError

log = logging.getLogger(__name__)

NUMBERED = re.compile(r"(?:chr)?\d+[A-Z]?", re.IGNORECASE)  # also fly's 2L, chimpanzee's 2A and wheat's 1D
SUFFIXES = re.compile(r"(\.(bed|narrowPeak|broadPeak|gappedPeak))?(\.b?gz)?$")  # of BED files
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV", "XVI")
RESERVED = ("shared", "chromosomes")  # files of a model, a table of scores


def is_bed(name: str) -> bool:
    """Whether what a user typed as a place is the path of a BED file: by its name, or as there is such a file."""
    return name.endswith((".bed", ".bed.gz")) or Path(name).is_file()


def bed_name(path: str | Path) -> str:
    """What the region of a BED file is called: its file name without the endings .bed (.narrowPeak, ...) and .gz."""
    return SUFFIXES.sub("", Path(path).name)


def bed_region(assembly: Assembly, path: str | Path, name: str | None = None) -> Region:
    """The bins that the intervals of a BED file touch, merged where they overlap, in assembly order.

    The rule for every BED, one called something.pilot.bed among them; `pilot_region` says why `pilot` has another.
    """
    found = read_intervals(path, assembly, what="BED file", skip_foreign=False)
    segments = touched(assembly, zip(found.chrom.tolist(), found.start.tolist(), found.end.tolist(), strict=True))
    if not segments:
        raise InputError(f"{path}: no intervals in it")
    return Region(name or bed_name(path), tuple(segments))


def touched(assembly: Assembly, intervals: Iterable[tuple[str, int, int]]) -> list[Segment]:
    """The bins that intervals (chrom, start, end in bp) touch, merged where they overlap, in assembly order."""
    chosen: dict[str, list[tuple[int, int]]] = {}
    for chrom, start, end in intervals:
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
    return segments


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
    bed = read_intervals(str(files("avocado") / "assets" / f"{assembly.name}.pilot.bed"), assembly, skip_foreign=False)
    segments = tuple(
        Segment(chrom, max(start // BIN_SIZE - 1, 0), end // BIN_SIZE + 1)
        for chrom, start, end in zip(bed.chrom.tolist(), bed.start.tolist(), bed.end.tolist(), strict=True)
        if chrom != "chrX"
    )
    return Region("pilot", segments)


def pilot_note(assembly: Assembly, region: Region) -> str:
    """' (...)' where `region` has the built-in pilot regions one bin too far right, as earlier versions; else ''."""
    if region.name != "pilot" or assembly.name not in BUILT_IN:
        return ""
    earlier = tuple(Segment(s.chrom, s.start + 1, s.end + 1) for s in pilot_region(assembly).segments)
    return " (earlier versions had each pilot region 25 bp further right)" if region.segments == earlier else ""


def parse_regions(assembly: Assembly, names: Iterable[str]) -> list[Region]:
    """Regions from what a user types: `pilot`, a chromosome, `autosomes`, `all`, or the path of a BED file.

    Raises InputError for what is none of these, and for two different regions of one name.
    """
    regions: dict[str, Region] = {}
    for name in names:
        for region in _named(assembly, name):
            if regions.setdefault(region.name, region) != region:
                raise InputError(f"{name}: another region is called {region.name}, too: give the BED file another name")
    if not regions:
        raise InputError("no regions asked for: give regions=[pilot,chr20], a chromosome, or a BED file")
    return list(regions.values())


def _named(assembly: Assembly, name: str) -> list[Region]:
    if name == "pilot":
        return [pilot_region(assembly)]
    if name in ("all", "autosomes") and name not in assembly.sizes:
        chroms = list(assembly.sizes) if name == "all" else _autosomes(assembly)
        whole = [chrom for chrom in chroms if assembly.n_bins(chrom)]
        if len(whole) < len(chroms):
            log.info("%d contigs shorter than a bin of %d bp are left out", len(chroms) - len(whole), BIN_SIZE)
        return [chromosome_region(assembly, chrom) for chrom in whole]
    if name in assembly.sizes or not is_bed(name):
        return [chromosome_region(assembly, name)]
    # a file called pilot.bed or demo.pilot.bed is the region that stage=pilot looks for
    stem = bed_name(name).split(".")[-1]
    if not stem or stem in RESERVED or stem in assembly.sizes:
        what = f"a chromosome of {assembly.name}" if stem in assembly.sizes else "a name of the program's own"
        raise InputError(f"{name}: its region would be called '{stem}', {what}: give the BED file another name")
    return [bed_region(assembly, name, stem)]


def _autosomes(assembly: Assembly) -> Sequence[str]:
    """Chromosomes called by numbers; of yeast and worm by Roman ones, as far as they go without a gap."""
    if found := [chrom for chrom in assembly.sizes if NUMBERED.fullmatch(chrom)]:
        return found
    for prefix in ("chr", ""):
        if found := list(itertools.takewhile(assembly.sizes.__contains__, (prefix + number for number in ROMAN))):
            return found
    raise InputError(
        f"{assembly.name} has no chromosomes called by numbers, so which are autosomes is unknown: list them in "
        f"regions= ({', '.join(list(assembly.sizes)[:3])}, ...), or give regions=all"
    )
