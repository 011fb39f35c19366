"""A made genome: letters at random, with islands of G and C at the starts of genes that are active in many cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from avocado.utils.files import replacing

LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)
GC, ISLAND_GC = 0.41, 0.65  # share of G and C, as in the human genome and its CpG islands
ISLAND = 1_000  # bp
WITH_ISLAND = 0.15, 0.9  # share of the starts with one: where a gene is never active, and where it always is
LINE = 100  # letters


def write_fasta(
    path: Path, sizes: Mapping[str, int], starts: Mapping[str, np.ndarray], activity: Mapping[str, np.ndarray],
    seed: int = 0,
) -> None:  # fmt: skip
    """The genome as a FASTA file; of every chromosome its size, the starts of genes and how often each is active.

    sizes: bp; starts: int (n_genes,) bp; activity: (n_genes,), share of the cell types, 0 to 1.
    """
    rng = np.random.default_rng(seed)
    with replacing(path) as temporary, temporary.open("wb") as file:
        for chrom, size in sizes.items():
            share = np.full(size, GC, dtype=np.float32)
            low, high = WITH_ISLAND
            chosen = rng.random(len(starts[chrom])) < low + (high - low) * activity[chrom]
            for start in starts[chrom][chosen]:
                share[max(0, start - ISLAND // 2) : start + ISLAND // 2] = ISLAND_GC
            strong = rng.random(size, dtype=np.float32) < share
            either = rng.integers(0, 2, size)
            letters = LETTERS[np.where(strong, 1 + either, 3 * either)]  # C or G, A or T
            file.write(f">{chrom}\n".encode())
            for first in range(0, size, LINE):
                file.write(letters[first : first + LINE].tobytes() + b"\n")
