"""The tree of simulated cell types: a root, lineages, branches of lineages, cell types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LINEAGES = 3  # unless more or fewer are asked for
NAMES = ("stem", "blood", "brain", "muscle", "heart", "gut", "liver", "skin", "lung", "kidney", "fat", "bone")


@dataclass(frozen=True)
class Tree:
    """Cell types and the branch each belongs to at every level of the tree, from lineages to the closest relatives."""

    cells: tuple[str, ...]
    lineages: tuple[str, ...]
    branches: np.ndarray  # index of the branch, (depth, n_cells); the first level are the lineages

    @property
    def lineage(self) -> np.ndarray:
        """Index into `lineages`, (n_cells,)."""
        return self.branches[0]

    @property
    def distance(self) -> np.ndarray:
        """Edges of the tree between cell types, (n_cells, n_cells); two lead to a closest relative."""
        shared = (self.branches[:, :, None] == self.branches[:, None, :]).sum(axis=0)
        return 2 * (len(self.branches) + 1 - shared - np.eye(len(self.cells), dtype=int))

    def evolve(self, rng: np.random.Generator, n: int, shares: tuple[float, float, float]) -> np.ndarray:
        """Standard normal liability of `n` elements in every cell type, (n, n_cells).

        shares: of the variance, what arises at the root, on the branches (as much at each level), and in the cell type.
        """
        root, branch, cell = np.sqrt([shares[0], shares[1] / len(self.branches), shares[2]])
        liability = root * rng.standard_normal((n, 1))
        for level, member in enumerate(self.branches):
            liability = liability + branch * rng.standard_normal((n, len(self.lineages) << level))[:, member]
        return liability + cell * rng.standard_normal((n, len(self.cells)))


def make_tree(n_cells: int, n_lineages: int = LINEAGES, depth: int = 1, cells: Sequence[str] | None = None) -> Tree:
    """Cell types shared out evenly over the lineages: stem1, stem2, ..., blood1, ...

    depth: levels of branches. The first are the lineages; each further one parts every branch in two.
    cells: their names, neighbours being relatives, instead of names after the lineages.
    """
    lineages = tuple([*NAMES, *(f"lineage{i + 1}" for i in range(len(NAMES), n_lineages))][:n_lineages])
    lineage = np.sort(np.arange(n_cells) % n_lineages)
    size = np.bincount(lineage, minlength=n_lineages)
    rank = np.concatenate([np.arange(n) for n in size])
    branches = [(lineage << level) + (rank << level) // size[lineage] for level in range(depth)]
    names = cells or [f"{lineages[i]}{k + 1}" for i, k in zip(lineage, rank, strict=True)]
    return Tree(tuple(names), lineages, np.array(branches))
