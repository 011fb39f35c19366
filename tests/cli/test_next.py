"""Every command ends with what one can look at next, and that can be typed."""

import shlex

import pytest

from avocado.cli import VERBS

pytest_plugins = ["demo"]


def commands(said: str) -> list[list[str]]:
    """The commands below 'next:'."""
    lines = [line.strip() for line in said.partition("next:\n")[2].splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line and not line.startswith("#")]


def test_store_and_model(avocado, store, model):
    assert commands(avocado("inspect", store).out) == [["python", "train.py", f"store={store}", "chrom=chr20"]]
    said = commands(avocado("inspect", model).out)
    assert [words[:3] for words in said] == [["avocado", verb, f"model={model}"] for verb in ("impute", "hub")]


def test_tracks_scores_and_factors(avocado, store, model):
    options = [f"model={model}", "regions=chr20:1-50000", "cell=stem1", "assay=H3K4me3", "progress=false"]
    said = commands(avocado("impute", *options, "out=a.bw").out)
    assert said[-1] == ["avocado", "hub", f"model={model}"]
    said = commands(avocado("score", f"model={model}", f"store={store}", "region=chr20").out)
    assert said[0][1:] == ["score", f"model={model}", f"store={store}", "out=scores", "strata=true"]
    assert avocado(*said[0][1:], "region=chr20").status == 0
    said = commands(avocado("embed", f"model={model}", "what=cells", "out=cells.tsv").out)
    assert said == [["avocado", "embed", f"model={model}", "out=factors.parquet"]]
    said = commands(avocado("embed", f"model={model}", "regions=chr20:1-50000", "out=a.npz", "progress=false").out)
    assert said == [["avocado", "downstream", "labels=labels.tsv", f"model={model}"]]


@pytest.mark.parametrize(("given", "expected"), [((), 2), (("out=split.html",), 1)])
def test_a_split(avocado, tmp_path, given, expected):
    rows = [
        f"chr1\t{place * 1000}\t{place * 1000 + 500}\t{cell}\t{(place + n) % 3 % 2}\t{'test' if n == 2 else 'train'}"
        for place in range(60) for n, cell in enumerate("abc")
    ]  # fmt: skip
    (tmp_path / "examples.tsv").write_text("\n".join(["chrom\tstart\tend\tcell\tlabel\tsplit", *rows]) + "\n")
    said = commands(avocado("check_split", "table=examples.tsv", *given).out)
    assert len(said) == expected
    assert all(words[:3] == ["avocado", "check-split", "table=examples.tsv"] for words in said)


def test_what_it_says_is_a_command():
    assert {"impute", "hub", "inspect", "score", "embed", "downstream", "check-split"} <= set(VERBS)
