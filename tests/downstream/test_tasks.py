"""Tables of labels, and the tasks in them."""

import numpy as np
import pandas as pd
import pytest
from toy import ASSEMBLY

from avocado.downstream.tasks import read_labels, reduced_pairs, tasks_of, windows_of
from avocado.errors import InputError

TABLE = """#chrom\tstart\tend\tcell\tlabel\tnote
chr1\t0\t100\tE003\t1\ta
chr1\t200\t300\tE003\t0\tb
chr20\t50\t60\tE003\tNA\tc
chr1\t0\t100\tE017\t0\td
chr20\t50\t60\tE017\t1\te
chr1\t0\t100\tE116\t1\tf
chrX\t0\t10\tE116\t1\tg
"""


def read(tmp_path, text, **options):
    (tmp_path / "labels.tsv").write_text(text)
    return read_labels(tmp_path / "labels.tsv", ASSEMBLY, **options)


def test_a_task_for_each_cell_type_with_the_others_beside_it(tmp_path):
    table = read(tmp_path, TABLE)
    assert len(table) == 6  # chrX is not in the assembly
    (task,) = tasks_of(table, "toy", ["E003"])
    assert task.is_binary
    assert task.label.tolist() == [True, False]
    assert task.loci.to_dict("records") == [
        {"chrom": "chr1", "start": 0, "end": 100},
        {"chrom": "chr1", "start": 200, "end": 300},
    ]
    np.testing.assert_array_equal(task.others, [0.5, np.nan])
    (other,) = tasks_of(table, "toy", ["E017"])
    np.testing.assert_array_equal(other.others, [1, np.nan])


def test_a_locus_may_be_there_twice_with_one_label(tmp_path):
    (task,) = tasks_of(read(tmp_path, HEADER + "chr1\t0\t9\t1\nchr1\t0\t9\t1\nchr1\t10\t19\t0\n"), "toy")
    assert task.label.tolist() == [True, False]


def test_labels_are_classes_or_numbers_or_words(tmp_path):
    rows = "chrom,start,end,label\nchr1,0,9,{}\nchr1,10,19,{}\n"
    (task,) = tasks_of(read(tmp_path, rows.format(0.3, 2)), "toy")
    assert not task.is_binary
    assert task.label.tolist() == [0.3, 2.0]
    assert (task.cell, task.others) == ("", None)
    (task,) = tasks_of(read(tmp_path, rows.format(0.3, 2), threshold=0.5), "toy")
    assert task.label.tolist() == [False, True]
    (task,) = tasks_of(read(tmp_path, rows.format("activating", "neutral"), positive="activating"), "toy", ["K562"])
    assert task.label.tolist() == [True, False]
    assert task.cell == "K562"


def test_pairs(tmp_path):
    table = read(tmp_path, "chrom\tstart\tend\tstart2\tend2\tlabel\nchr1\t0\t9\t50\t60\t1\nchr1\t0\t9\t70\t80\t0\n")
    (task,) = tasks_of(table, "toy")
    assert task.is_pair
    first, second = windows_of(task.loci)
    assert first.to_numpy().tolist() == [["chr1", 0, 9], ["chr1", 0, 9]]
    assert second.to_numpy().tolist() == [["chr1", 50, 60], ["chr1", 70, 80]]


def test_each_element_in_one_pair():
    random = np.random.default_rng(0)
    first, second = random.integers(40, size=(2, 1000)) * 100
    pairs = pd.DataFrame({"chrom": "chr1", "start": first, "end": first + 10, "start2": second, "end2": second + 10})
    pairs["label"] = (random.random(1000) < 0.02).astype(int)
    reduced = reduced_pairs(pairs)
    assert not reduced["start"].duplicated().any()
    assert not reduced["start2"].duplicated().any()
    # positives first: none of those left out could have been added
    left = pairs[(pairs["label"] == 1) & ~pairs.index.isin(pairs.merge(reduced).index)]
    positive = reduced[reduced["label"] == 1]
    assert len(positive) > 5
    assert (left["start"].isin(positive["start"]) | left["start2"].isin(positive["start2"])).all()


HEADER = "chrom\tstart\tend\tlabel\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty; it needs a header line with chrom, start, end, label"),
        ("chrom\tstart\tend\nchr1\t0\t9\n", "no column 'label'; it has: chrom, start, end"),
        (HEADER + "chr1\t0\t9\n", "line 2: 3 fields, the header has 4"),
        (HEADER + "chr1\t0\tx\t1\n", "line 2: '0' to 'x' are no whole numbers of bp"),
        (HEADER + "chr1\t9\t9\t1\n", "line 2: chr1:9-9 is empty"),
        (HEADER + "chr1\t0\t70000\t1\n", "the file is of another assembly"),
        (HEADER + "1\t0\t9\t1\n", "have no chromosome in common: it has '1' (did you mean 'chr1'?)"),
        (HEADER + "chr1\t0\t9\t1\nchr1\t10\t19\thigh\n", "line 3: label 'high' is no number; positive= says"),
        (HEADER.replace("end", "end\tstart2") + "chr1\t0\t9\t1\t1\n", "pairs need both start2 and end2"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "cells", "message"),
    [
        (HEADER + "chr1\t0\t9\t1\nchr1\t10\t19\t1\n", [], "toy: all 2 labels are 1; there is nothing to learn"),
        (HEADER + "chr1\t0\t9\t1\nchr1\t0\t9\t0\n", [], "toy: chr1:0-9 has two labels; keep one"),
        (HEADER + "chr1\t0\t9\t1\n", ["a", "b"], "without a column cell, labels are of one cell type, not a, b"),
        (TABLE, ["E999"], "toy: no labels of E999; there are some of: E003, E017, E116"),
    ],
)
def test_labels_that_are_no_task(tmp_path, text, cells, message):
    with pytest.raises(InputError) as error:
        tasks_of(read(tmp_path, text), "toy", cells)
    assert message in str(error.value)


def test_an_unknown_word(tmp_path):
    with pytest.raises(InputError, match=r"no label is 'high'; there is: 1"):
        read(tmp_path, HEADER + "chr1\t0\t9\t1\n", positive="high")
