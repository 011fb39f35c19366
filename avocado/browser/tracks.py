"""What a genome browser shows: rows of track files, their names, colours and heights, and the place it opens at.

Values are −log10 p. The height of a row is the same for all tracks of an assay, so that rows can be compared by eye.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avocado.data.bigwig import chromosomes, maxima, moments
from avocado.data.genome import Assembly, same_sizes
from avocado.data.intervals import read_genes
from avocado.errors import InputError
from avocado.plotting.style import OTHER_COLORS

OBSERVED, IMPUTED, SIGNAL = "observed", "imputed", "signal"  # signal: nothing says which of the two
OBSERVED_COLOR = "#8c8c8c"
ASSAY_COLORS = tuple(color for color in OTHER_COLORS if color != OBSERVED_COLOR)
SUFFIXES = (".bw", ".bigwig")
SPREAD = 6  # standard deviations above the mean that a row is high
UPPER = 0.75  # quantile of that over the files of an assay: the best tracks may be cut off, weak ones must be seen
PARTS = 1_000  # of the genome that are looked at for a place to open at
PEAK = 5_000  # bp, how closely that is found
VIEW = 100_000  # bp, at the start
STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
MOST_FILES = 10_000


@dataclass(frozen=True)
class Row:
    """One row of a browser: the files of one pair of cell type and assay, overlaid where there are two."""

    cell: str
    assay: str  # '' for a file that nothing is known of
    files: Mapping[str, str]  # by kind, OBSERVED, IMPUTED or SIGNAL: paths from the folder, with /
    role: str = ""  # of the pair in training: train, val or test
    color: str = OBSERVED_COLOR  # of what is imputed, or of unknown kind
    height: float = 1.0  # −log10 p at the upper end

    @property
    def name(self) -> str:
        """'stem1 H3K4me3', or the name of the file."""
        return f"{self.cell} {self.assay}".strip()

    @property
    def label(self) -> str:
        """The name, and what is shown of it."""
        kinds = [kind for kind in (OBSERVED, IMPUTED) if kind in self.files]
        seen = " (its track trained)" if IMPUTED in self.files and self.role == "train" else ""
        return f"{self.name} {' and '.join(kinds)}{seen}" if kinds else self.name


@dataclass(frozen=True)
class View:
    """All that a page, a session or a hub is made of."""

    title: str
    assembly: Assembly
    rows: Sequence[Row]
    shown: Sequence[int]  # numbers of the rows that are open at the start
    locus: str
    genes: str | None = None  # BED file, path from the folder


def safe_names(names: Iterable[str], kept: str = "A-Za-z0-9_.-") -> dict[str, str]:
    """For every name one of `kept` letters only, by default those of files and addresses; each another one."""
    found: dict[str, str] = {}
    taken = set()  # without regard to case, as some file systems have none
    for name in dict.fromkeys(names):
        plain = re.sub(f"[^{kept}]", "_", name).lstrip(".") or "_"
        unique, number = plain, 2
        while unique.lower() in taken:
            unique, number = f"{plain}_{number}", number + 1
        taken.add(unique.lower())
        found[name] = unique
    return found


def with_style(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The rows with their assay's colour and height, sorted by assay and cell type.

    The height is the mean and six standard deviations, as a quarter of the assay's observed files (of the imputed ones
    where there are no others) exceed it. A file that nothing is known of has a height of its own.
    """
    assays = sorted({row.assay for row in rows if row.assay})
    colors = {assay: ASSAY_COLORS[number % len(ASSAY_COLORS)] for number, assay in enumerate(assays)}
    heights = {assay: _height(folder, [row for row in rows if row.assay == assay]) for assay in assays}
    ordered = sorted(rows, key=lambda row: (row.assay, row.cell))
    return [
        replace(row, color=colors[row.assay], height=heights[row.assay])
        if row.assay
        else replace(row, color=ASSAY_COLORS[0], height=_height(folder, [row]))
        for row in ordered
    ]


def rounded_up(value: float) -> float:
    """The next number that is easy to read: 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten; at least 1."""
    if not value > 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in STEPS if step * power >= value * (1 - 1e-9))


def first_rows(rows: Sequence[Row], n: int) -> list[int]:
    """Rows to open at the start: overlaid ones first, and of as many assays as there are, in the order of the rows."""
    turn: dict[str, int] = {}
    ranks = []
    for number, row in enumerate(rows):
        key = f"{row.assay} {len(row.files)}"
        turn[key] = turn.get(key, -1) + 1
        ranks.append((-len(row.files), IMPUTED not in row.files, turn[key], number))
    return sorted(number for *_, number in sorted(ranks)[:n])


def first_locus(folder: Path, assembly: Assembly, rows: Sequence[Row]) -> str:
    """A place of 100 kb to open at, where the first row is as high as it is drawn: 'chr20:1,000,001-1,100,000'."""
    chrom, start, end = next(iter(assembly.sizes)), 0, 0
    if rows:
        file, height = folder / next(iter(rows[0].files.values())), rows[0].height
        here = {name: size for name, size in chromosomes(file).items() if name in assembly.sizes}
        part = max(1, sum(here.values()) // PARTS)
        found = [(*_closest(file, name, 0, size, max(1, size // part), height), name) for name, size in here.items()]
        if found:
            _, start, end, chrom = min(found)
            start, end = max(0, start - part // 2), min(end + part // 2, here[chrom])  # zoom levels are not exact
        while end - start > PEAK:
            _, start, end = _closest(file, chrom, start, end, min(100, end - start), height)
    first = max(0, min((start + end) // 2 - VIEW // 2, assembly.sizes[chrom] - VIEW)) // 1_000 * 1_000
    return f"{chrom}:{first + 1:,}-{min(first + VIEW, assembly.sizes[chrom]):,}"


def _closest(file: Path, chrom: str, start: int, end: int, n: int, height: float) -> tuple[float, int, int]:
    """Of `n` parts of a stretch the one whose highest value is closest to a height: (how far off, first bp, end)."""
    off = np.abs(maxima(file, chrom, start, end, n) - height)
    if np.isnan(off).all():
        return math.inf, start, end
    part = int(np.nanargmin(off))
    return float(off[part]), start + (end - start) * part // n, start + (end - start) * (part + 1) // n


def genes_bed(path: str | Path, assembly: Assembly) -> str:
    """Genes of a GTF or BED6 file as the text of a BED6 file, in the order of the genome.

    Raises InputError for what `intervals.read_genes` refuses: a file of another assembly, one without genes.
    """
    genes = read_genes(path, assembly)
    rank = {chrom: number for number, chrom in enumerate(assembly.sizes)}
    rows = zip(genes.chrom, genes.start, genes.end, genes.name, genes.forward, strict=True)
    ordered = sorted(rows, key=lambda row: (rank[str(row[0])], int(row[1])))
    return "".join(
        f"{chrom}\t{start}\t{end}\t{name or '.'}\t0\t{'+' if forward else '-'}\n"
        for chrom, start, end, name, forward in ordered
    )


def sizes_text(assembly: Assembly) -> str:
    """The text of a chrom.sizes file."""
    return "".join(f"{chrom}\t{size}\n" for chrom, size in assembly.sizes.items())


def view_of_folder(folder: Path, assembly: Assembly | None, n_shown: int, only: Path | None = None) -> View:
    """What there is to see of the bigWig files in a folder, or of one of them.

    Files that `avocado` wrote say themselves which cell type and assay they are of. assembly: None for that of the
    files. Raises InputError for a folder without bigWig files, and for files of different assemblies.
    """
    files = [only] if only else bigwigs_in(folder)
    if not files:
        raise InputError(
            f"{folder}: no bigWig file in it or below it; `avocado impute` and `avocado hub` write some, to imputed/"
            " and hub/"
        )
    sizes: dict[str, int] = {}
    for file in files:
        for chrom, size in chromosomes(file).items():
            known = assembly.sizes.get(chrom, size) if assembly else sizes.setdefault(chrom, size)
            if known != size:
                what = f"assembly {assembly.name}" if assembly else "another file there"
                raise InputError(
                    f"{file} and {what} are of different assemblies: {chrom} has {size:,} and {known:,} bp"
                )
    own = assembly or Assembly(same_sizes(sizes) or "bigWig", sizes)
    if not set(own.sizes) & set(chromosomes(files[0])):
        raise InputError(f"{files[0]} and assembly {own.name} have no chromosome in common")
    rows = with_style(folder, _rows(folder, files))
    shown = first_rows(rows, n_shown)
    return View(folder.resolve().name, own, rows, shown, first_locus(folder, own, [rows[n] for n in shown]))


def bigwigs_in(folder: Path) -> list[Path]:
    """All bigWig files in and below a folder, sorted; hidden ones and what links lead to outside are left out."""
    root = folder.resolve()
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in parts) and path.is_file():
            if path.resolve().is_relative_to(root):
                found.append(path)
            if len(found) > MOST_FILES:
                raise InputError(f"{folder} holds more than {MOST_FILES:,} bigWig files: give a folder in it")
    return found


def _rows(folder: Path, files: Sequence[Path]) -> list[Row]:
    """Files of one pair of cell type and assay share a row, where they lie in one folder or in folders by kind."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for file in files:
        name, record = file.relative_to(folder).as_posix(), _record(file)
        place = file.parent.parent if file.parent.name in (OBSERVED, IMPUTED) else file.parent
        kind = OBSERVED if record.get(OBSERVED) else IMPUTED if record else SIGNAL
        key = (str(record["cell"]), str(record["assay"]), str(place)) if record else (name, "")
        if kind in rows.setdefault(key, {}):
            key = (*key, name)
            rows[key] = {}
        rows[key][kind] = name
    return [Row(key[0], key[1], kinds) for key, kinds in rows.items()]


def _record(file: Path) -> dict[str, object]:
    """What the record beside a file says of a track in −log10 p; {} where there is none."""
    try:
        made = json.loads(file.with_name(f".{file.name}.json").read_text())["made"]
        return made if {"cell", "assay"} <= set(made) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _height(folder: Path, rows: Sequence[Row]) -> float:
    files = [row.files[OBSERVED] for row in rows if OBSERVED in row.files]
    values = [moments(folder / name) for name in files or (its for row in rows for its in row.files.values())]
    return rounded_up(float(np.quantile([mean + SPREAD * sd for mean, sd in values], UPPER)))
