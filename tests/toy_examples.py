"""Labelled examples that several test files share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def examples(n_loci: int, cells: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Loci on nine chromosomes in all cell types, 1 as often as the place has it, and what each place has."""
    rng, n = np.random.default_rng(0), len(cells)
    place = np.repeat(rng.random(n_loci), n)
    table = pd.DataFrame(
        {
            "chrom": np.repeat([f"chr{1 + i % 9}" for i in range(n_loci)], n),
            "start": np.repeat(np.arange(n_loci) * 1000, n),
            "end": np.repeat(np.arange(n_loci) * 1000 + 200, n),
            "cell": np.tile(cells, n_loci),
            "label": (rng.random(n * n_loci) < place).astype(int),
        }
    )
    return table, place
