"""Intervals of the genome out of annotation files: genes, enhancers, peaks, blacklists, regions (BED, narrowPeak, GTF).

They are in bp, 0-based and half-open. Of a genome with more chromosomes than the assembly (chrM, unplaced contigs) the
others are skipped, which is logged with their number; a file that shares no chromosome name with the assembly, or goes
beyond a chromosome's end, is of another assembly and refused.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avocado.data.genome import Assembly, spelling_hint
from avocado.data.text import interval_lines, is_gtf
from avocado.errors import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Intervals:
    """Intervals of the genome, in the order of their file; `len` is their number."""

    chrom: np.ndarray  # str (n,)
    start: np.ndarray  # int64 (n,), bp
    end: np.ndarray  # int64 (n,), bp, the first base behind the interval
    name: np.ndarray  # str (n,): gene name or column 4 of a BED file, '' where there is none
    forward: np.ndarray  # bool (n,): False on the minus strand

    def __len__(self) -> int:
        return len(self.chrom)


def read_genes(path: str | Path, assembly: Assembly, gene_type: str | None = "protein_coding") -> Intervals:
    """Genes of a GTF file (its `gene` lines of that `gene_type`; None: of all) or of a BED file with strands (BED6).

    A BED file does not say what type its genes are: all of them are taken. Raises InputError for a missing or damaged
    file, one of another assembly, one without genes, and genes without a strand.
    """
    path, rows, types = Path(path), [], set()
    for number, fields in interval_lines(path):
        if is_gtf(fields):
            if fields[2] != "gene":
                continue
            found = re.search(r'gene_(?:bio)?type "([^"]*)"', fields[8])
            types.add(found[1] if found else "of unknown type")
            if gene_type is not None and (found is None or found[1] != gene_type):
                continue
            label = re.search(r'gene_name "([^"]*)"', fields[8]) or re.search(r'gene_id "([^"]*)"', fields[8])
            # GTF counts from 1 and includes the end
            start, end, strand = int(fields[3]) - 1, int(fields[4]), fields[6]
            name = label[1] if label else ""
        else:
            start, end = int(fields[1]), int(fields[2])
            name, strand = fields[3] if len(fields) > 3 else "", fields[5] if len(fields) > 5 else "."
        if strand not in ("+", "-"):
            raise InputError(f"{path} line {number}: a gene needs its strand, + or -: give a GTF or a BED6 file")
        rows.append((number, fields[0], start, end, name, strand))
    if not rows:
        known = f" of type {gene_type} (it has: {', '.join(sorted(types))})" if types else ""
        raise InputError(f"{path}: no genes{known} in it; give a GTF with gene lines, or a BED6 file")
    return intervals_of(path, rows, assembly)


def read_intervals(path: str | Path, assembly: Assembly, *, what: str = "file", skip_foreign: bool = True) -> Intervals:
    """Intervals of a BED file of any number of columns: enhancers (BED12), peak calls (narrowPeak), a blacklist.

    The blocks and the `thick` part of BED12 are not used. what: the kind of file, for the error where there is none.
    skip_foreign: whether chromosomes that the assembly does not have are skipped, or refused. Raises InputError for a
    missing or damaged file and for one of another assembly. A file without intervals is fine: there are tracks without
    a peak.
    """
    rows = []
    for number, fields in interval_lines(Path(path), what):
        if is_gtf(fields):
            raise InputError(f"{path} line {number}: this looks like a GTF file; a BED file is wanted here")
        name, strand = fields[3] if len(fields) > 3 else "", fields[5] if len(fields) > 5 else "."
        rows.append((number, fields[0], int(fields[1]), int(fields[2]), name, strand))
    return intervals_of(Path(path), rows, assembly, skip_foreign)


def intervals_of(
    path: Path, rows: list[tuple[int, str, int, int, str, str]], assembly: Assembly, skip_foreign: bool = True
) -> Intervals:
    """The rows (line number, chrom, start, end, name, strand) of a file that lie on the assembly's chromosomes.

    Others are left out and counted in the log, or refused where `skip_foreign` is false. Raises InputError for a file
    of another assembly, and for an empty interval.
    """
    kept = [row for row in rows if row[1] in assembly.sizes]
    if rows and not kept:
        chrom = rows[0][1]
        raise InputError(
            f"{path} and assembly {assembly.name} have no chromosome in common: it has '{chrom}'"
            f"{spelling_hint(chrom, assembly.sizes)}, the assembly {', '.join(list(assembly.sizes)[:3])}, ..."
        )
    if len(kept) < len(rows):
        foreign = list(dict.fromkeys(row[1] for row in rows if row[1] not in assembly.sizes))
        if not skip_foreign:
            assembly.size(foreign[0])  # raises
        hint = next((found for chrom in foreign if (found := spelling_hint(chrom, assembly.sizes))), "")
        log.log(
            logging.WARNING if hint else logging.INFO,
            "%s: %s of %s intervals are left out, as %s has no chromosome %s%s",
            path,
            f"{len(rows) - len(kept):,}",
            f"{len(rows):,}",
            assembly.name,
            ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else ""),
            hint,
        )
    for number, chrom, start, end, _, _ in kept:
        if not start < end:
            raise InputError(f"{path} line {number}: {chrom}:{start}-{end} is empty; correct or remove it")
        if end > assembly.sizes[chrom]:
            raise InputError(
                f"{path} line {number}: {chrom}:{start}-{end} is beyond the end of {chrom} in {assembly.name} "
                f"({assembly.sizes[chrom]:,} bp): the file is of another assembly; give one of {assembly.name}"
            )
    _, chroms, starts, ends, names, strands = zip(*kept, strict=True) if kept else [()] * 6
    return Intervals(
        np.array(chroms, dtype=str),
        np.array(starts, dtype=np.int64),
        np.array(ends, dtype=np.int64),
        np.array(names, dtype=str),
        np.array([strand != "-" for strand in strands], dtype=bool),
    )
