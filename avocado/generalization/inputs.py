"""What models see: the epigenome, which differs between cell types, and what is the same in all of them: the trap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from avocado.errors import InputError
from avocado.generalization.splits import Part
from avocado.generalization.tasks import Task

JOINED = 5  # windows of 200 bp whose states are counted together
GAUSSIANS = 32  # numbers that stand for a locus
LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)


@dataclass(frozen=True)
class Inputs:
    """Features of examples; one of the two may be absent."""

    name: str
    varying: np.ndarray | None = None  # float32 (n_loci, n_cells, n_features): of the cells of the task; NaN: not there
    constant: np.ndarray | None = None  # float32 (n_loci, n_features): the same in all cell types

    def of(self, part: Part) -> np.ndarray:
        """Float32 (n_examples, n_features), cell type by cell type."""
        blocks = []
        if self.varying is not None:
            blocks.append(np.concatenate([self.varying[part.loci, cell] for cell in part.cells]))
        if self.constant is not None:
            blocks.append(np.tile(self.constant[part.loci], (len(part.cells), 1)))
        return np.hstack(blocks)

    @property
    def n_features(self) -> int:
        """How many there are."""
        return sum(block.shape[-1] for block in (self.varying, self.constant) if block is not None)

    def __add__(self, other: Inputs) -> Inputs:
        """Both, side by side: an epigenome and something constant."""
        return Inputs(f"{self.name} + {other.name}", self.varying, other.constant)


def state_inputs(task: Task, joined: int = JOINED) -> Inputs:
    """How many of `joined` consecutive windows are in each chromatin state: NaN in cell types without states."""
    states = task.states
    if states is None:
        raise InputError(f"{task.name} has no chromatin states")
    n_loci, n_cells, n_windows = states.shape
    n_states, n_places = int(states.max()) + 1, -(-n_windows // joined)
    counts = np.zeros((n_loci, n_cells, n_places, n_states), dtype=np.float32)
    loci, cells = np.ogrid[:n_loci, :n_cells]
    for window in range(n_windows):
        counts[loci, cells, window // joined, states[:, :, window]] += 1 / joined
    found = counts[..., 1:].reshape(n_loci, n_cells, -1)
    varying = np.full((n_loci, len(task.cells), found.shape[2]), np.nan, dtype=np.float32)
    varying[:, [task.cells.index(cell) for cell in task.state_cells]] = found
    return Inputs("epigenome", varying)


def gaussian_inputs(task: Task, seed: int, n: int = GAUSSIANS) -> Inputs:
    """Random numbers that a locus has in all cell types: no biology at all (Fig. S2)."""
    return Inputs("Gaussian", constant=np.random.default_rng(seed).normal(size=(len(task.loci), n)).astype(np.float32))


def sequence_inputs(task: Task, length: int, fasta: str | Path | None = None, seed: int = 0) -> Inputs:
    """One-hot nucleotides of the `length` bp around the anchor of each locus; all 0 where there is N.

    fasta: of the genome; None: a made-up genome, whose letters are drawn at random.
    """
    if fasta is None:
        letters = np.random.default_rng(seed).choice(LETTERS, size=(len(task.loci), length))
        return Inputs("made-up sequence", constant=_one_hot(letters))
    return Inputs("sequence", constant=_one_hot(_read(Path(fasta), task.loci, length)))


def permuted(inputs: Inputs, seed: int) -> Inputs:
    """A sequence with the letters of each locus in random order: its composition is all that is left (Fig. S2)."""
    assert inputs.constant is not None
    letters = inputs.constant.reshape(len(inputs.constant), -1, len(LETTERS))
    mixed = np.random.default_rng(seed).permuted(np.argmax(letters, axis=2) + 4 * (letters.sum(axis=2) == 0), axis=1)
    return Inputs(f"permuted {inputs.name}", constant=_one_hot(np.append(LETTERS, ord("N"))[mixed]))


def _one_hot(letters: np.ndarray) -> np.ndarray:
    return (letters[..., None] == LETTERS).astype(np.float32).reshape(len(letters), -1)


def _read(path: Path, loci: pd.DataFrame, length: int) -> np.ndarray:
    import pyfaidx

    if not path.is_file():
        raise InputError(f"{path}: no such FASTA file; give the genome of the labels as fasta=")
    letters = np.full((len(loci), length), ord("N"), dtype=np.uint8)
    with pyfaidx.Fasta(str(path), sequence_always_upper=True, as_raw=True) as genome:
        missing = sorted(set(loci["chrom"]) - set(genome.keys()))
        if missing:
            raise InputError(f"{path} has no chromosome '{missing[0]}'; give the genome of the labels")
        first = loci["anchor"].to_numpy() - length // 2
        for row, (chrom, start) in enumerate(zip(loci["chrom"], first, strict=True)):
            begin = max(0, int(start))
            text = str(genome[chrom][begin : int(start) + length]).encode()
            letters[row, begin - int(start) : begin - int(start) + len(text)] = np.frombuffer(text, dtype=np.uint8)
    return letters
