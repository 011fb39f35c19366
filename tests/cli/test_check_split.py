"""`avocado check-split`, as typed."""

import numpy as np
import pandas as pd
import pytest
from toy_examples import examples

from avocado.cli.app import command


@pytest.fixture
def table(tmp_path):
    table, place = examples(300, list("ABCD"))
    table.assign(fold=np.tile([0, 0, 1, 1], 300)).to_csv(tmp_path / "examples.tsv", sep="\t", index=False)
    np.save(tmp_path / "place.npy", place)
    pd.DataFrame({"one": place, "two": np.random.default_rng(1).random(1200)}).to_csv(
        tmp_path / "models.csv", index=False
    )
    return tmp_path


def test_prints_the_verdict_and_writes_the_page(table, capsys):
    page = table / "split.html"
    arguments = [f"table={table}/examples.tsv", f"predictions={table}/place.npy", "fold=1", f"out={page}"]
    assert command("check-split", arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("Cross-cell-type split: 100 % of the test loci")
    assert "average activity" in out
    assert "Cross-cell-type split" in page.read_text(encoding="utf-8")


def test_several_models_and_features(table, capsys):
    models = f"{table}/models.csv"
    assert command("check-split", [f"table={table}/examples.tsv", f"predictions={models}", f"features={models}"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 features are the same in all cell types at a locus" in out
    assert "beats two, average precision" in out


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("no such file", ["table={table}/none.tsv"]),
        ("the page is an .html file", ["table={table}/examples.tsv", "out=page.txt"]),
        ("cannot be read as .npy", ["table={table}/examples.tsv", "predictions={table}/none.npy"]),
        ("have no test ones", ["table={table}/examples.tsv", "fold=7"]),
        ("table=", []),
    ],
)
def test_errors_are_one_line(table, capsys, message, arguments):
    assert command("check-split", [argument.format(table=table) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
