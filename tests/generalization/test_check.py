import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

import avocado
from avocado.errors import InputError
from avocado.generalization.check import BASE_RATE, PLACE
from avocado.generalization.verdict import Finding, Scheme
from avocado.imputers.average import AVERAGE

N_LOCI, N_CELLS = 2000, 10


@pytest.fixture(scope="module")
def examples():
    """Labels that hang mostly on the place: 2,000 loci on 10 chromosomes, 10 cell types; `truth` is P(label)."""
    rng = np.random.default_rng(0)
    place = rng.beta(0.4, 0.6, N_LOCI)
    own = np.clip(place[:, None] + rng.normal(0, 0.3, (N_LOCI, N_CELLS)), 0, 1)
    return pd.DataFrame(
        {
            "chrom": np.repeat([f"chr{1 + i % 10}" for i in range(N_LOCI)], N_CELLS),
            "start": np.repeat(np.arange(N_LOCI) * 10_000, N_CELLS),
            "end": np.repeat(np.arange(N_LOCI) * 10_000 + 500, N_CELLS),
            "cell": np.tile([f"E{i:03}" for i in range(N_CELLS)], N_LOCI),
            "label": (rng.random((N_LOCI, N_CELLS)) < own).ravel().astype(int),
            "place": np.repeat(place, N_CELLS),
            "truth": own.ravel(),
        }
    )


CELLS = ["E008", "E009"]
CHROMS = ["chr1", "chr2", "chr3"]


def is_new(table, cells=(), chroms=()):
    return table["cell"].isin(cells) | table["chrom"].isin(chroms)


def cross_cell(table):
    return table.assign(split=np.where(is_new(table, CELLS), "test", "train"))


def hybrid(table):
    tested = table["cell"].isin(CELLS) & table["chrom"].isin(CHROMS)
    return table.assign(split=np.where(tested, "test", np.where(is_new(table, CELLS, CHROMS), "none", "train")))


def test_a_model_that_memorised_places_is_found_out(examples):
    check = avocado.check_split(cross_cell(examples), examples["place"].to_numpy())
    assert check.scheme is Scheme.CROSS_CELL_TYPE
    scores = check.scores.set_index("predictor")
    noisy = avocado.check_split(cross_cell(examples), np.random.default_rng(0).normal(examples["place"], 0.3))
    assert noisy.finding is Finding.NOT_BETTER
    assert noisy.verdict.startswith(
        "Cross-cell-type split: 100 % of the test loci or their neighbours are in training, 0 % of the test examples "
        "are of cell types that are in training. Average activity beats your model, average precision "
    )
    assert "no evidence that it learned anything specific to the cell type" in noisy.verdict
    assert scores.loc["model", "within_loci"] == 0.5  # it says the same in both cell types
    assert scores.loc[PLACE, "value"] == scores.loc[AVERAGE, "value"]


def test_scores_are_those_of_scikit_learn(examples):
    table = cross_cell(examples)
    scores = avocado.check_split(table, examples["truth"].to_numpy()).scores.set_index("predictor")["value"]
    test = table["split"] == "test"
    average = table[~test].groupby("start")["label"].mean()
    label = table.loc[test, "label"]
    assert scores[BASE_RATE] == pytest.approx(label.mean())
    assert scores[AVERAGE] == pytest.approx(average_precision_score(label, table.loc[test, "start"].map(average)))
    assert scores["model"] == pytest.approx(average_precision_score(label, table.loc[test, "truth"]))


def test_a_model_that_knows_the_cell_type_is_seen_to(examples):
    check = avocado.check_split(cross_cell(examples), {"good": examples["truth"], "poor": examples["place"] * 0})
    assert check.finding is Finding.BETTER
    assert "Good beats average activity" in check.verdict
    assert "Average activity beats poor" in check.verdict
    better = check.differences.set_index(["predictor", "reference"])
    assert better.loc[("good", AVERAGE), "low"] > 0 > better.loc[("poor", AVERAGE), "high"]
    assert check.scores.set_index("predictor").loc["good", "within_loci"] > 0.6
    assert set(check.cells["cell"]) == set(CELLS)
    assert (check.cells["good"] > check.cells["it alone"]).all()


def test_groups_by_variability_take_the_power_of_average_activity_away(examples):
    groups = avocado.check_split(cross_cell(examples), examples["truth"].to_numpy()).groups
    shown = groups.pivot(index="group", columns="predictor", values="value")
    base = groups.drop_duplicates("group").set_index("group")["base_rate"]
    for extreme in ("high in none", "in all"):  # one value of average activity: its score is the base rate
        assert shown.loc[extreme, AVERAGE] == pytest.approx(base[extreme])
    assert (shown["model"] > shown[AVERAGE]).all()
    counted = groups.drop_duplicates("group").set_index("group")["examples"]
    assert counted.drop("all that vary").sum() == N_LOCI * len(CELLS)


@pytest.mark.parametrize(
    ("scheme", "tested", "finding"),
    [
        (Scheme.CROSS_CHROMOSOME, lambda t: t["chrom"].isin(CHROMS), Finding.PLACES_NEW),
        (Scheme.CROSS_LOCUS, lambda t: t["start"] % 30_000 == 0, Finding.PLACES_NEW),
        (Scheme.CROSS_CELL_TYPE, lambda t: t["cell"].isin(CELLS), Finding.AT_RISK),
        (Scheme.RANDOM, lambda t: np.arange(len(t)) % 7 == 0, Finding.AT_RISK),
    ],
)
def test_schemes_are_named_by_what_they_share(examples, scheme, tested, finding):
    check = avocado.check_split(examples.assign(split=np.where(tested(examples), "test", "train")))
    assert (check.scheme, check.finding) == (scheme, finding)
    scores = check.scores.set_index("predictor")["value"]
    if finding is Finding.PLACES_NEW:
        assert scores[PLACE] == pytest.approx(scores[BASE_RATE])  # nothing to be remembered
    else:
        assert scores[PLACE] > scores[BASE_RATE] + 0.2
        assert f"gets average precision {scores[PLACE]:.3f}" in check.verdict


def test_in_a_hybrid_split_average_activity_comes_from_untrained_labels(examples):
    table = hybrid(examples)
    check = avocado.check_split(table, examples["place"].to_numpy())
    assert check.scheme is Scheme.HYBRID
    scores = check.scores.set_index("predictor")["value"]
    test = table["split"] == "test"
    average = table[~table["cell"].isin(CELLS)].groupby("start")["label"].mean()
    expected = average_precision_score(table.loc[test, "label"], table.loc[test, "start"].map(average))
    assert scores[AVERAGE] == pytest.approx(expected)
    assert scores[PLACE] == pytest.approx(scores[BASE_RATE])
    without = avocado.check_split(table[table["split"] != "none"])
    assert AVERAGE not in set(without.scores["predictor"])
    assert "add these labels, with split none" in without.verdict


def test_an_example_in_training_and_test_is_a_leak(examples):
    table = cross_cell(examples)
    copied = table[table["split"] == "test"].iloc[:100].assign(split="train")
    check = avocado.check_split(pd.concat([table, copied]))
    assert check.finding is Finding.LEAK
    assert "2 % of the test examples are in training themselves" in check.verdict  # 100 of 4,000
    assert check.overlap.set_index("what").loc["locus and cell type", "test_examples"] == 100


def test_the_own_cell_types_label_is_not_in_its_average(examples):
    table = cross_cell(examples)
    copied = table[table["split"] == "test"].assign(split="train")
    one, other = (avocado.check_split(each) for each in (table, pd.concat([table, copied])))
    averages = [each.scores.set_index("predictor").loc[AVERAGE, "value"] for each in (one, other)]
    # the other test cell type is a training cell type now, and the average a little better; with the own one it is 1
    assert averages[0] < averages[1] < averages[0] + 0.03


def test_neighbours_give_a_place_away(examples):
    """Windows that overlap others of the other side of the split; labels of neighbours are the same."""
    near = examples[examples["cell"] == "E000"].copy()
    twin = near.assign(start=near["start"] + 300, end=near["end"] + 300, split="test")
    check = avocado.check_split(pd.concat([near.assign(split="train"), twin]), near=0)
    assert check.scheme is Scheme.RANDOM
    assert check.scores.set_index("predictor").loc[PLACE, "value"] == 1
    shares = check.overlap.set_index("what")["share"]
    assert shares["locus"] == 0
    assert shares["a locus overlapping or within 0 bp"] == 1
    apart = near.assign(start=near["start"] + 600, end=near["end"] + 600, split="test")
    both = pd.concat([near.assign(split="train"), apart])
    assert avocado.check_split(both, near=0).scheme is Scheme.CROSS_LOCUS
    assert avocado.check_split(both, near=101).scheme is Scheme.RANDOM


def test_folds_may_be_given_in_place_of_a_split(examples):
    table = examples.assign(fold=examples["cell"].isin(CELLS) * 1)
    assert avocado.check_split(table, fold=1).scheme is Scheme.CROSS_CELL_TYPE
    assert avocado.check_split(table).summary["test"].startswith("16,000 examples")


def test_labels_that_are_no_classes_are_scored_by_correlation(examples):
    table = cross_cell(examples.assign(label=examples["truth"]))
    check = avocado.check_split(table, examples["truth"].to_numpy())
    assert check.measure == "Pearson correlation"
    test = table["split"] == "test"
    average = table[~test].groupby("start")["label"].mean()
    scores = check.scores.set_index("predictor")["value"]
    assert scores["model"] == pytest.approx(1)
    assert scores[AVERAGE] == pytest.approx(
        np.corrcoef(table.loc[test, "label"], table.loc[test, "start"].map(average))[0, 1]
    )
    assert check.finding is Finding.BETTER


def test_features_that_tell_the_place_are_counted(examples):
    rng = np.random.default_rng(0)
    same = np.repeat(rng.normal(size=(N_LOCI, 3)), N_CELLS, axis=0)
    features = np.column_stack([rng.normal(size=len(examples)), same, np.ones(len(examples))])
    assert (
        "3 of 5 features are the same in all cell types"
        in avocado.check_split(cross_cell(examples), features=features).verdict
    )
    with pytest.raises(InputError, match="give a row for each"):
        avocado.check_split(cross_cell(examples), features=features[1:])


def test_files_are_read_as_tables(examples, tmp_path):
    table = cross_cell(examples).drop(columns=["place", "truth"])
    expected = avocado.check_split(table)
    table.to_parquet(tmp_path / "a.parquet")
    table.rename(columns={"cell": "cell_type"}).to_csv(tmp_path / "a.tsv.gz", sep="\t", index=False)
    table.to_csv(tmp_path / "a.csv", index=False)
    for name in ("a.parquet", "a.tsv.gz", "a.csv"):
        assert avocado.check_split(tmp_path / name).verdict == expected.verdict


def test_what_is_printed_has_every_table(examples):
    text = str(avocado.check_split(cross_cell(examples), examples["place"].to_numpy()))
    titles = ("Cross-cell-type split", "average precision, with 95 % intervals over 10 chromosomes", "by variability",
              "by test cell type", "test examples that share with training", "all that vary")  # fmt: skip
    assert [title for title in titles if title not in text] == []


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("no column 'label' .did you mean labels.", lambda t: t.rename(columns={"label": "labels"})),
        ("needs a column split", lambda t: t.drop(columns="split")),
        ("split 'tset' is none of", lambda t: t.assign(split=t["split"].replace("test", "tset"))),
        ("no test ones", lambda t: t.assign(split="train")),
        ("all 4,000 test labels are 1", lambda t: t.assign(label=t["label"].where(t["split"] != "test", 1))),
        ("is empty", lambda t: t.iloc[:0]),
        ("are no interval", lambda t: t.assign(end=t["start"])),
        ("row 1 of the examples has no cell", lambda t: t.assign(cell=t["cell"].where(t.index > 0))),
        ("column label of the examples: row 2", lambda t: t.assign(label=t["label"].where(t.index != 1))),
        ("text that is no number", lambda t: t.assign(label="high")),
        ("not whole", lambda t: t.assign(start=t["start"] + 0.5)),
        ("4,000 test examples have none", lambda t: t.assign(prediction=np.nan)),
    ],
)
def test_what_is_wrong_with_a_table_is_said(examples, message, change):
    with pytest.raises(InputError, match=message):
        avocado.check_split(change(cross_cell(examples)))


def test_predictions_have_to_fit(examples):
    with pytest.raises(InputError, match="give one for each"):
        avocado.check_split(cross_cell(examples), np.ones(7))
    with pytest.raises(InputError, match="no such file"):
        avocado.check_split("nowhere.csv")


@pytest.mark.slow
def test_expression_of_roadmap_is_the_papers_example():
    """Average activity of the 55 other cell types predicts the expression of H1 with 0.983."""
    place = os.environ.get("AVOCADO_LABELS")
    if not place:
        pytest.skip("set AVOCADO_LABELS to the folder with expression/57epigenomes.RPKM.pc.gz")
    folder = Path(place) / "expression"
    rpkm = pd.read_csv(folder / "57epigenomes.RPKM.pc.gz", sep="\t", usecols=range(58), index_col=False)
    genes = pd.read_csv(folder / "genes.gencode_v10.hg19.tsv.gz", sep="\t")[["chrom", "start", "end", "gene_id"]]
    genes = genes[genes["chrom"].isin([f"chr{i}" for i in range(1, 23)])]
    long = genes.merge(rpkm.drop(columns="E000").melt("gene_id", var_name="cell", value_name="rpkm"), on="gene_id")
    long = long.assign(label=(long["rpkm"] >= 0.5).astype(int), split=np.where(long["cell"] == "E003", "test", "train"))
    check = avocado.check_split(long)
    scores = check.scores.set_index("predictor")["value"]
    assert scores[AVERAGE] == pytest.approx(0.983, abs=0.001)
    single = check.similarity.set_index("training_cell")["value"]
    assert single["E047"] == pytest.approx(0.830, abs=0.002)
