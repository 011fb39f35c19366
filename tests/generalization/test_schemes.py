import numpy as np
import pandas as pd
import pytest

import avocado
from avocado.errors import InputError
from avocado.generalization.splits import SCHEMES, make_splits, split_table
from avocado.generalization.verdict import Finding

CHROM = np.repeat([f"chr{i}" for i in range(1, 11)], 4)
CELLS = ["A", "B", "C", "D"]
LOCI = pd.DataFrame({"chrom": CHROM, "start": np.arange(40) * 10_000, "end": np.arange(40) * 10_000 + 100})
LABEL = (np.random.default_rng(0).random((40, 4)) < 0.5).astype(np.uint8)


def pairs(part):
    return {(locus, cell) for locus in part.loci for cell in part.cells}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_example_has_two_roles_and_all_schemes_test_the_same(scheme):
    splits = make_splits(CHROM, CELLS, "B", ["chr1", "chr2"], ["chr3"], ["D"])
    split = splits[scheme]
    parts = [pairs(part) for part in (split.train, split.validation, split.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert parts[2] == {(locus, 1) for locus in range(8)}


def test_a_split_is_what_check_split_calls_it():
    for scheme, split in make_splits(CHROM, CELLS, "B", ["chr1", "chr2"], ["chr3"], ["D"]).items():
        check = avocado.check_split(split_table(split, LOCI, CELLS, LABEL))
        assert check.scheme is scheme
        assert check.finding is not Finding.LEAK
        assert check.summary["test"].startswith("8 examples: 8 loci on 2 chromosomes, 1 cell type")


def test_training_cell_types_may_be_chosen():
    split = make_splits(CHROM, CELLS, "B", ["chr1"], training_cells=["C", "A", "B"])[SCHEMES[1]]
    assert [CELLS[cell] for cell in split.train.cells] == ["C", "A"]
    assert len(split.train) == 80
    assert len(split.validation) == 0


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("no cell type 'E'", {"target": "E"}),
        ("no chromosome 'chrX'", {"test_chroms": ["chrX"]}),
        ("cannot be validated on", {"validation_chroms": ["chr1"]}),
        ("cannot be validated on", {"validation_cells": ["A"]}),
        ("no training or no test examples", {"training_cells": ["A"]}),
    ],
)
def test_refuses(message, changes):
    arguments = {"target": "A", "test_chroms": ["chr1"], **changes}
    with pytest.raises(InputError, match=message):
        make_splits(CHROM, CELLS, **arguments)
