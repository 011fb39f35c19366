import numpy as np
import pandas as pd
import pytest
from toy import grid

from avocado.data.splits import balanced_folds, split
from avocado.errors import InputError


def test_balanced_folds_find_the_perfect_deal():
    # 2 folds of a 4 x 2 grid: a fold can hold one assay of each cell type and half of each assay
    table = grid(4, 2)
    folds = balanced_folds(table, 2, seed=0, n_shuffles=2000)
    counts = pd.crosstab(table["cell"], folds)
    assert (counts == 1).all(axis=None)
    assert (pd.crosstab(table["assay"], folds) == 2).all(axis=None)


def test_balanced_folds_depend_on_the_seed_and_not_on_the_order():
    table = grid(7, 5, drop=[("C0", "A3")])
    folds = balanced_folds(table, 5, seed=1, n_shuffles=200)
    assert sorted(np.bincount(folds)) == [6, 7, 7, 7, 7]
    assert (folds == balanced_folds(table, 5, seed=1, n_shuffles=200)).all()
    assert (folds != balanced_folds(table, 5, seed=2, n_shuffles=200)).any()
    shuffled = table.sample(frac=1, random_state=0)
    assert (balanced_folds(shuffled, 5, seed=1, n_shuffles=200) == folds[shuffled.index]).all()


@pytest.mark.parametrize("seed", range(5))
def test_no_fold_holds_all_of_a_cell_type_or_assay(seed):
    # most cell types have two or three tracks and a shuffle puts many pairs into one fold
    rng = np.random.default_rng(seed)
    pairs = {(f"C{rng.integers(40)}", f"A{min(rng.geometric(0.3), 9)}") for _ in range(90)}
    table = pd.DataFrame(sorted(pairs), columns=["cell", "assay"])
    folds = balanced_folds(table, 3, seed, n_shuffles=20)
    for column in ("cell", "assay"):
        for _, group in table.groupby(column):
            of_group = set(folds[group.index])
            assert of_group == {-1} if len(group) == 1 else len(of_group) > 1
    for fold in range(3):
        training = table[folds != fold]
        assert set(training["cell"]) == set(table["cell"])
        assert set(training["assay"]) == set(table["assay"])


def test_too_few_tracks_for_folds():
    with pytest.raises(InputError, match=r"cannot make 5 folds: .*split\.folds=.*fold=all"):
        balanced_folds(grid(2, 2), 5, seed=0)
    with pytest.raises(InputError, match="cannot make 1 folds"):
        balanced_folds(grid(2, 2), 1, seed=0)


def test_split_by_the_recipe_holds_out_each_track_once():
    table = grid(6, 5)
    held = np.array([split(table, fold, n_folds=3, seed=4) == "test" for fold in range(3)])
    assert (held.sum(axis=0) == 1).all()
    assert (split(table, None) == "train").all()
    with pytest.raises(InputError, match=r"no fold 3 .*; folds: 0, 1, 2"):
        split(table, 3, n_folds=3)


def test_split_by_the_tables_own_folds():
    table = grid(3, 2).assign(fold=["1", "2", "2", "-1", "1", "2"])
    assert split(table, 2).tolist() == ["train", "test", "test", "train", "train", "test"]
    with pytest.raises(InputError, match=r"no fold 0 .*; folds: 1, 2"):
        split(table, 0)
    with pytest.raises(InputError, match="fold of C0 A1 is 'x'"):
        split(table.assign(fold=["1", "x", "2", "-1", "1", "2"]), 1)
    with pytest.raises(InputError, match="cell type C1 has no training track left, so C1 A0"):
        split(table.assign(fold=["1", "2", "1", "1", "2", "2"]), 1)


def test_split_by_the_tables_split_column():
    table = grid(3, 2).assign(split=["train", "test", "val", "train", "train", "train"])
    assert split(table, 0, validation=0.5).tolist() == table["split"].tolist()
    assert (split(table, None) == "train").all()
    with pytest.raises(InputError, match=r"no fold 1 .*split column is fold 0.*; folds: 0"):
        split(table, 1)
    with pytest.raises(InputError, match="split of C0 A0 is 'training'; use train, val or test"):
        split(table.assign(split="training"), 0)


def test_hold_out_by_name():
    table = grid(3, 3)
    roles = split(table, None, hold_out=["C0 A1", "C2:A2"])
    assert np.flatnonzero(roles == "test").tolist() == [1, 8]
    assert np.flatnonzero(split(table, None, hold_out="C0 A1") == "test").tolist() == [1]
    with pytest.raises(InputError, match=r"'C0 A7' is not a track .* did you mean C0 A"):
        split(table, None, hold_out=["C0 A7"])
    with pytest.raises(InputError, match="tracks are named 'CELL ASSAY'"):
        split(table, None, hold_out=["liver"])
    with pytest.raises(InputError, match="cell type C0 has no training track left, so C0 A0"):
        split(table, None, hold_out=["C0 A0", "C0 A1", "C0 A2"])


def test_a_fold_gives_a_track_back_when_hold_out_takes_the_rest():
    table = grid(5, 2)
    folds = [split(table, fold, n_folds=2) for fold in (0, 1)]
    first = int(np.flatnonzero(folds[0] == "train")[0])  # its cell type's other track is in fold 0
    name = f"{table['cell'][first]} {table['assay'][first]}"
    roles = split(table, 0, n_folds=2, hold_out=[name])
    other = first ^ 1
    assert folds[0][other] == "test"
    assert (roles[first], roles[other]) == ("test", "train")


def test_validation_is_spread_in_proportion_and_repeatable():
    table = grid(10, 4)
    roles = split(table, None, validation=0.25, seed=3)
    chosen = table[roles == "val"]
    assert chosen["cell"].value_counts().tolist() == [1] * 10
    assert sorted(chosen["assay"].value_counts()) in ([2, 2, 3, 3], [2, 2, 2, 4])
    assert (roles == split(table, None, validation=0.25, seed=3)).all()
    assert (roles != split(table, None, validation=0.25, seed=4)).any()
    assert (split(table, 0, validation=7) == "val").sum() == 7
    assert (split(table, 0, validation=0.001) == "val").sum() == 1


def test_validation_never_takes_the_last_training_track():
    table = grid(3, 2)
    roles = split(table, None, validation=2)
    training = table[roles == "train"]
    assert (roles == "val").sum() == 2
    assert set(training["cell"]) == {"C0", "C1", "C2"}
    assert set(training["assay"]) == {"A0", "A1"}
    with pytest.raises(InputError, match=r"of 6 training tracks only [23] can be spared"):
        split(table, None, validation=5)
    for wrong in (-0.1, 1.5):
        with pytest.raises(InputError, match="give a share"):
            split(table, None, validation=wrong)


def test_the_same_file_twice_is_not_split():
    table = grid(3, 3).assign(sha256=list("abcdefgha"))
    assert (split(table, None) == "train").all()
    with pytest.raises(InputError, match=r"C0 A0 \(test\), C2 A2 \(train\) are the same file"):
        split(table, None, hold_out=["C0 A0"])
    assert (split(table, None, hold_out=["C0 A0", "C2 A2"]) == "test").sum() == 2
    assert (split(table, None, hold_out=["C0 A1"]) == "test").sum() == 1
