"""Factors and attributions as data frames."""

import numpy as np
import pandas as pd
import pytest
from toy import STATES
from toy_model import save

import avocado


@pytest.fixture
def model(tmp_path, tiny_store):
    save(tmp_path / "model", STATES, store=tiny_store)
    return avocado.load_model(tmp_path / "model", tiny_store)


def test_bins_have_the_factors_of_their_scales(model):
    table = avocado.embed(model, "chr20:4,001-6,000")
    factors = model.genome_factors("chr20:4,001-6,000")
    n25, n250, n5k = model.network.config.scales
    assert len(table) == 80
    assert table["start"].iloc[0] == 4000
    np.testing.assert_array_equal(table.filter(like="25bp_"), factors.bp25)
    np.testing.assert_array_equal(table.filter(like="250bp_")[::10], factors.bp250)
    assert table.filter(like="5kbp_").shape[1] == n5k
    assert table.shape[1] == 3 + n25 + n250 + n5k


def test_a_cell_type_has_states(model):
    one, other = (avocado.embed(model, "chr20:4,001-6,000", cell=cell) for cell in ("B cell", "NA"))
    assert list(one.columns) == list(other.columns)
    assert not np.allclose(one.iloc[:, 3:], other.iloc[:, 3:])


def test_intervals_have_means_and_keep_their_columns(model, tmp_path):
    bins = avocado.embed(model, "chr20", scale="25bp")
    genes = pd.DataFrame(
        {"chrom": ["chr20", "chr1"], "start": [1000, 40_000], "end": [1100, 40_100], "gene": ["a", "b"]}
    )
    table = avocado.embed(model, genes, flank=50, scale="25bp")
    assert table["gene"].tolist() == ["a"]  # the model has no factors of the other
    inside = bins[(bins["start"] >= 950) & (bins["start"] < 1150)].filter(like="25bp_")
    np.testing.assert_allclose(table.filter(like="25bp_").iloc[0], inside.mean(), rtol=1e-5)
    bed = tmp_path / "genes.bed"
    bed.write_text("chr20\t1000\t1100\n")
    pd.testing.assert_frame_equal(
        avocado.embed(model.path, bed, flank=50, scale="25bp"), table.drop(columns="gene"), check_dtype=False
    )


def test_parts_add_up_to_what_the_factorization_imputes(model):
    alone = avocado.load_model(model.path, baseline=False)
    pair = ("B cell", "DNase")
    table = avocado.attribute(model, pair, "chr20:1,001-21,000")
    assert table["start"].tolist() == list(range(1000, 21_000, 25))
    parts = table[["cell", "assay", "25bp", "250bp", "5kbp"]].sum(axis=1)
    reference = avocado.impute(alone, pair, "chr20:1,001-21,000") - parts  # the same everywhere, to rounding
    assert np.abs(reference - reference.mean()).mean() < 0.01 * np.abs(parts).mean()
