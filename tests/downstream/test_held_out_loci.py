"""Which loci train, validate and are scored."""

import numpy as np
import pandas as pd
import pytest

from avocado.downstream.splits import places_to_hold_out, random_splits, repeated_splits, whole_splits
from avocado.errors import InputError


def test_random_folds_are_those_of_the_paper():
    order = np.arange(103)
    np.random.RandomState(0).shuffle(order)
    splits = random_splits(103)
    for fold, split in enumerate(splits):
        assert split.test.tolist() == order[fold::20].tolist()
        assert split.validation.tolist() == order[(fold + 1) % 20 :: 20].tolist()
        assert sorted(np.concatenate(split)) == list(range(103))


def test_whole_groups_stay_together():
    groups = np.array(["chr1"] * 50 + ["chr2"] * 30 + ["chr3"] * 20 + ["chr4"] * 10 + ["chr5"] * 10)
    splits = whole_splits(groups, 3)
    assert len(splits) == 3
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(120))
    for split in splits:
        parts = [set(groups[rows]) for rows in split]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts))
    assert len(whole_splits(groups)) == 5  # not more folds than groups


def test_repeated_folds_differ_and_need_no_validation():
    splits = repeated_splits(np.arange(40), folds=5, repeats=3)
    assert len(splits) == 15
    for first in range(0, 15, 5):
        assert sorted(np.concatenate([split.test for split in splits[first : first + 5]])) == list(range(40))
    assert splits[0].test.tolist() != splits[5].test.tolist()
    assert not any(len(split.validation) for split in splits)
    whole = repeated_splits(np.repeat(np.arange(8), 5), folds=4, repeats=2)
    assert all(not set(split.test // 5) & set(split.train // 5) for split in whole)


def test_chromosomes_are_held_out_or_stretches_of_them():
    many = pd.DataFrame({"chrom": [f"chr{n % 5}" for n in range(20)], "start": range(20), "end": range(1, 21)})
    groups, what = places_to_hold_out(many)
    assert what == "whole chromosomes"
    assert groups.tolist() == many["chrom"].tolist()
    one = pd.DataFrame({"chrom": "chr1", "start": np.arange(100)[::-1] * 10, "end": 0})
    groups, what = places_to_hold_out(one)
    assert what == "whole stretches"
    assert groups[::-1].tolist() == np.repeat(np.arange(20), 5).tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_splits(19), "19 loci are fewer than folds=20: give more loci, or fewer folds"),
        (lambda: whole_splits(np.array([1, 1, 2])), "2 folds: at least 3 are needed"),
        (lambda: repeated_splits(np.arange(4)), "4 groups of loci are fewer than folds=5"),
    ],
)
def test_too_few(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value)
