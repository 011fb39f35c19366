"""Writing the files of the demo compendium: GENCODE-like GTF, FANTOM5-like BED12."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from avocado.simulation.chromatin import Chromatin

README = """\
This is the demo compendium of avocado. All of it is made up: genome, genes, cell types, and signal.
Its files have the formats of a real compendium: bigWig (−log10 p), compendium.tsv, GTF, BED, narrowPeak, chrom.sizes.
Cell types of one lineage ({lineages}) resemble each other; {share} of all tracks are "measured".
truth.npz holds what nobody has in real life: chromatin states and the noise-free signal of every track.
Made by `avocado.simulation.compendium.simulate` with the settings in demo.json; delete the folder to make it anew.
"""
EXON = 200  # bp
EXON_SPACING = 4_000  # bp
PROMOTER = 2_000  # bp before a gene


def write_genes(path: Path, lands: Mapping[str, Chromatin]) -> None:
    """A GTF with GENCODE's attributes: gene, transcript and exons of every gene; 1-based, both ends included."""
    rows: list[tuple[object, ...]] = []
    number = 0
    for chrom, land in lands.items():
        genes = land.genes
        for start, end, forward, coding in zip(genes.start, genes.end, genes.forward, genes.coding, strict=True):
            number += 1
            kind, strand = "protein_coding" if coding else "lincRNA", "+" if forward else "-"
            gene_id = f'gene_id "DEMOG{number:011d}.1";'
            gene_name = f'gene_type "{kind}"; gene_name "DEMO{number}";'
            transcript = (
                f'{gene_id} transcript_id "DEMOT{number:011d}.1"; {gene_name} transcript_type "{kind}"; '
                f'transcript_name "DEMO{number}-001"; level 2; tag "basic";'
            )
            if coding:
                transcript += ' tag "appris_principal";'
            # evenly spaced, the first at the gene's first base and the last at its last
            exons = np.linspace(start, end - EXON, 2 + (end - start) // EXON_SPACING).astype(int)
            features = [
                ("gene", start, end, f"{gene_id} {gene_name} level 2;"),
                ("transcript", start, end, transcript),
                *(
                    ("exon", first, first + EXON, f"{transcript} exon_number {k};")
                    for k, first in enumerate(exons if forward else exons[::-1], 1)
                ),
            ]
            rows += [
                (chrom, "DEMO", what, first + 1, last, ".", strand, ".", text) for what, first, last, text in features
            ]
    write_gzip(path, rows, header="##description: made-up genes of the avocado demo\n##format: gtf\n")


def write_expression(
    path: Path, lands: Mapping[str, Chromatin], cells: Sequence[str], sizes: Mapping[str, int]
) -> None:
    """Which genes each cell type expresses, as `avocado downstream` takes it; a locus is the 2 kb before a gene."""
    rows: list[tuple[object, ...]] = []
    number = 0
    for chrom, land in lands.items():
        genes = land.genes
        for start, end, forward, activity in zip(genes.start, genes.end, genes.forward, genes.activity, strict=True):
            number += 1
            first, last = (start - PROMOTER, start + 1) if forward else (end - 1, end + PROMOTER)
            place = (chrom, max(first, 0), min(last, sizes[chrom]))
            rows += [(*place, int(its > 0), cell, f"DEMO{number}") for cell, its in zip(cells, activity, strict=True)]
    write_text(path, rows, header="chrom\tstart\tend\tlabel\tcell\tgene\n")


def write_enhancers(path: Path, lands: Mapping[str, Chromatin]) -> None:
    """BED12 as in FANTOM5: the enhancers active in some cell type, `thick` marking the middle."""
    rows = []
    for chrom, land in lands.items():
        known = land.enhancers[(land.enhancer_activity > 0).any(axis=1)]
        for start, middle, end in known:
            block = (end - start) // 3
            blocks = (2, f"{block},{block}", f"0,{end - start - block}")
            rows.append((chrom, start, end, f"{chrom}:{start}-{end}", 100, ".", middle, middle + 1, "0,0,0", *blocks))
    write_gzip(path, rows)


def write_text(path: Path, rows: Iterable[Iterable[object]], header: str = "") -> None:
    """Tab-separated text, one line for each row, after `header`."""
    path.write_text(_tabbed(rows, header), encoding="utf-8")


def write_gzip(path: Path, rows: Iterable[Iterable[object]], header: str = "") -> None:
    """The same, compressed, and without a time stamp so that equal content gives equal bytes."""
    path.write_bytes(gzip.compress(_tabbed(rows, header).encode(), mtime=0))


def _tabbed(rows: Iterable[Iterable[object]], header: str) -> str:
    return header + "".join("\t".join(map(str, row)) + "\n" for row in rows)
