"""The three evaluation schemes as splits over (locus, cell type), made once and used by everything (Fig. 1a–c).

All three are tested on the same examples, those of the test chromosomes in the target cell type, so that their scores
and the base rate can be compared; the paper tested the cross-cell-type scheme on another chromosome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from avocado.errors import InputError
from avocado.generalization.verdict import Scheme

SCHEMES = (Scheme.CROSS_CHROMOSOME, Scheme.CROSS_CELL_TYPE, Scheme.HYBRID)


@dataclass(frozen=True)
class Part:
    """Examples: every one of some loci in every one of some cell types."""

    loci: np.ndarray  # int (n_loci,)
    cells: np.ndarray  # int (n_cells,)

    def __len__(self) -> int:
        return len(self.loci) * len(self.cells)


@dataclass(frozen=True)
class Split:
    """What a model is trained, stopped and tested on."""

    scheme: Scheme
    train: Part
    validation: Part
    test: Part


def make_splits(
    chrom: np.ndarray,
    cells: Sequence[str],
    target: str,
    test_chroms: Sequence[str],
    validation_chroms: Sequence[str] = (),
    validation_cells: Sequence[str] = (),
    training_cells: Sequence[str] | None = None,
) -> dict[Scheme, Split]:
    """The three splits that test `target` on some chromosomes.

    cross-chromosome    trains on the target, on the other chromosomes
    cross-cell-type     trains on the other cell types, on all chromosomes
    hybrid              trains on the other cell types, on the other chromosomes

    Each is validated as it is tested: on the validation chromosomes, in the target, in the validation cell types, or
    in these. Whatever is validated is not trained on; without validation chromosomes or cell types that part is empty.

    chrom: str (n_loci,); cells: all cell types; training_cells: those to be used besides the target, None for all.
    Raises InputError for names that do not exist, and where nothing is left to train on.
    """
    others = [cell for cell in (cells if training_cells is None else training_cells) if cell != target]
    for name, asked, known in (
        ("cell type", [target, *others, *validation_cells], cells),
        ("chromosome", [*test_chroms, *validation_chroms], np.unique(chrom)),
    ):
        missing = [each for each in asked if each not in known]
        if missing:
            raise InputError(f"there is no {name} '{missing[0]}'; there is: {', '.join(map(str, known))}")
    tested, validated = np.isin(chrom, test_chroms), np.isin(chrom, validation_chroms)
    if (tested & validated).any() or target in validation_cells:
        raise InputError("what is tested cannot be validated on: give other validation chromosomes and cell types")
    numbers = {cell: number for number, cell in enumerate(cells)}

    def part(loci: np.ndarray, its: Sequence[str]) -> Part:
        return Part(np.flatnonzero(loci), np.array([numbers[cell] for cell in its], dtype=np.int64))

    training = [cell for cell in others if cell not in validation_cells]
    test, new = part(tested, [target]), ~tested & ~validated
    splits = {
        Scheme.CROSS_CHROMOSOME: Split(
            Scheme.CROSS_CHROMOSOME, part(new, [target]), part(validated, [target]), test,
        ),
        Scheme.CROSS_CELL_TYPE: Split(
            Scheme.CROSS_CELL_TYPE, part(np.ones(len(chrom), dtype=bool), training), part(~tested, validation_cells),
            test,
        ),
        Scheme.HYBRID: Split(Scheme.HYBRID, part(new, training), part(validated, validation_cells), test),
    }  # fmt: skip
    empty = next((split for split in splits.values() if not len(split.train) or not len(split.test)), None)
    if empty is not None:
        raise InputError(f"the {empty.scheme} split of {target} has no training or no test examples")
    return splits


def split_table(split: Split, loci: pd.DataFrame, cells: Sequence[str], label: np.ndarray) -> pd.DataFrame:
    """A split as `check_split` takes it: a row for every locus and cell type, with the column split.

    loci: columns chrom, start, end; label: (n_loci, n_cells). What is neither trained, validated nor tested is 'none'.
    """
    roles = np.zeros(label.shape, dtype=np.int8)
    for code, part in enumerate((split.train, split.validation, split.test), 1):
        roles[np.ix_(part.loci, part.cells)] = code
    names = pd.Categorical.from_codes(roles.ravel(), dtype=pd.CategoricalDtype(["none", "train", "val", "test"]))
    table = loci[["chrom", "start", "end"]].loc[loci.index.repeat(len(cells))].reset_index(drop=True)
    return table.assign(cell=pd.Categorical(np.tile(cells, len(loci))), label=label.ravel(), split=names)
