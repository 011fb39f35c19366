import logging

import pandas as pd
import pytest
from toy import grid

from avocado.data.compendium import five_by_five, read_table, scan_folder
from avocado.errors import InputError


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
