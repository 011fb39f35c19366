import logging

import numpy as np
import pandas as pd
import pytest

from avocado.data.compendium import balanced_folds, five_by_five, read_table, scan_folder, split
from avocado.errors import InputError


def grid(n_cells, n_assays, drop=()):
    pairs = [(f"C{c}", f"A{a}") for c in range(n_cells) for a in range(n_assays)]
    return pd.DataFrame([p for p in pairs if p not in drop], columns=["cell", "assay"])


def write(path, text):
    path.write_text(text)
    return path


def test_read_table_keeps_names_as_strings_and_other_columns(tmp_path):
    path = write(tmp_path / "t.tsv", "biosample\tassay\tlab\tpath\nNA\tDNase\tnull\ta.bw\n\n01\tH2A.Z\t7\t/data/b.bw\n")
    table = read_table(path)
    assert list(table.columns) == ["cell", "assay", "lab", "file"]
    assert table.values.tolist() == [
        ["NA", "DNase", "null", str(tmp_path / "a.bw")],
        ["01", "H2A.Z", "7", "/data/b.bw"],
    ]


def test_read_table_with_commas_byte_order_mark_and_windows_lines(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffCell Type,Assay,file\r\n"liver, adult",DNase , a.bw\r\n'.encode())
    assert read_table(path)[["cell", "assay"]].values.tolist() == [["liver, adult", "DNase"]]


def test_a_synonym_does_not_compete_with_the_name_itself(tmp_path):
    table = read_table(write(tmp_path / "t.csv", "cell,biosample,assay,file\nK562,ENCBS1,DNase,a.bw\n"))
    assert table["cell"].tolist() == ["K562"]
    assert table["biosample"].tolist() == ["ENCBS1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "table is empty"),
        ("cell,assay,file\n", "no tracks below"),
        ("cell,mark,file\nE1,DNase,a\n", "no column 'assay'; it has: cell, mark, file"),
        ("cell_type,biosample,assay,file\nE1,E2,DNase,a\n", "cell_type and biosample all mean 'cell'"),
        ("cell,assay,file,lab,lab\nE1,DNase,a,x,y\n", "column 'lab' is there twice"),
        ("cell,assay,file\nE1,,a\n", "line 2: assay is empty"),
        ("cell,assay,file\nE1,DNase\n", "line 2: 2 fields, the header has 3"),
        ("cell,assay,file\nE1,DNase,a\nE2,DNase,b\nE1,DNase,c\n", "E1 DNase is there twice, on lines 2 and 4"),
    ],
)
def test_read_table_says_what_is_wrong(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_table(write(tmp_path / "t.csv", text))


def test_read_table_missing(tmp_path):
    with pytest.raises(InputError, match="no such table"):
        read_table(tmp_path / "t.csv")


def test_scan_folder_gives_the_first_field_the_shortest_text(tmp_path):
    for name in ("E003.H2A.Z.r1.npz", "E017.DNase.r1.npz", "._E017.DNase.r1.npz", "notes.txt"):
        (tmp_path / name).touch()
    table = scan_folder(tmp_path, "{cell}.{assay}.{replicate}.npz")
    assert list(table.columns) == ["cell", "assay", "file", "replicate"]
    assert table[["cell", "assay", "replicate"]].values.tolist() == [["E003", "H2A", "Z.r1"], ["E017", "DNase", "r1"]]
    table = scan_folder(tmp_path, "{cell}.{assay}.r1.npz")
    assert table[["cell", "assay"]].values.tolist() == [["E003", "H2A.Z"], ["E017", "DNase"]]
    assert table["file"].tolist() == [str(tmp_path / "E003.H2A.Z.r1.npz"), str(tmp_path / "E017.DNase.r1.npz")]


def test_scan_folder_with_folders_and_a_repeated_placeholder(tmp_path):
    (tmp_path / "liver").mkdir()
    (tmp_path / "liver" / "liver-DNase[1].bw").touch()
    (tmp_path / "liver" / "heart-DNase[1].bw").touch()
    table = scan_folder(tmp_path, "{cell}/{cell}-{assay}[1].bw")
    assert table[["cell", "assay"]].values.tolist() == [["liver", "DNase"]]


def test_scan_folder_errors(tmp_path):
    with pytest.raises(InputError, match="no files in it"):
        scan_folder(tmp_path, "{cell}-{assay}.bw")
    (tmp_path / "E003_DNase.bw").touch()
    with pytest.raises(InputError, match=r"pattern '\{cell\}-\{assay\}.bw'; files there look like 'E003_DNase.bw'"):
        scan_folder(tmp_path, "{cell}-{assay}.bw")
    with pytest.raises(InputError, match=r"needs \{cell\} and \{assay\}"):
        scan_folder(tmp_path, "{cell}.bw")
    for wrong in ("{cell}{assay}.bw", "/data/{cell}-{assay}.bw"):
        with pytest.raises(InputError, match="relative to the folder, with text between"):
            scan_folder(tmp_path, wrong)
    with pytest.raises(InputError, match="no such folder"):
        scan_folder(tmp_path / "none", "{cell}-{assay}.bw")
    (tmp_path / "E003_DNase.r1.bw").touch()
    (tmp_path / "E003_DNase.r2.bw").touch()
    with pytest.raises(InputError, match=r"r1.bw and .*r2.bw both are E003 DNase"):
        scan_folder(tmp_path, "{cell}_{assay}.{replicate}.bw")


def test_five_by_five_repeats_until_nothing_changes(caplog):
    # A2 is in one cell type only; without it C2 has one assay; the 2 x 2 block stays
    table = grid(2, 2)
    table.loc[len(table)] = ["C2", "A0"]
    table.loc[len(table)] = ["C2", "A2"]
    with caplog.at_level(logging.INFO):
        kept = five_by_five(table, min_assays=2, min_cells=2)
    pd.testing.assert_frame_equal(kept, grid(2, 2), check_dtype=False)
    assert "4 of 6 tracks kept" in caplog.text
    assert "dropped cell types: C2" in caplog.text
    assert "dropped assays: A2" in caplog.text


def test_five_by_five_with_nothing_left():
    with pytest.raises(InputError, match="none of the 16 tracks"):
        five_by_five(grid(4, 4))


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


def test_comment_rows_are_no_tracks(tmp_path, caplog):
    text = "# mine\ncell,assay,file\nE1,DNase,a\n#E2,DNase,b\n# old, not used\nE3,DNase,#c\n"
    with caplog.at_level(logging.INFO):
        table = read_table(write(tmp_path / "t.csv", text))
    assert table["cell"].tolist() == ["E1", "E3"]
    assert caplog.messages == [f"{tmp_path / 't.csv'}: 3 lines that begin with # are left out"]


def test_a_tilde_that_is_no_home(tmp_path):
    table = read_table(write(tmp_path / "t.csv", "cell,assay,file\nE1,DNase,~t.bw\n"))
    assert table["file"].tolist() == [str(tmp_path / "~t.bw")]


def test_blanks_in_file_names_are_no_part_of_names(tmp_path):
    (tmp_path / "E1-H3K27ac .bw").touch()
    assert scan_folder(tmp_path, "{cell}-{assay}.bw")["assay"].tolist() == ["H3K27ac"]
    (tmp_path / "E1-H3K27ac.bw").touch()
    with pytest.raises(InputError, match="both are E1 H3K27ac; keep one"):
        scan_folder(tmp_path, "{cell}-{assay}.bw")


def test_the_same_file_twice_is_not_split():
    table = grid(3, 3).assign(sha256=list("abcdefgha"))
    assert (split(table, None) == "train").all()
    with pytest.raises(InputError, match=r"C0 A0 \(test\), C2 A2 \(train\) are the same file"):
        split(table, None, hold_out=["C0 A0"])
    assert (split(table, None, hold_out=["C0 A0", "C2 A2"]) == "test").sum() == 2
    assert (split(table, None, hold_out=["C0 A1"]) == "test").sum() == 1
