"""Features of loci: means over the bins that windows touch."""

import numpy as np
import pandas as pd
import pytest
from toy import ASSAYS, ASSEMBLY, CHR20, PAIRS, PILOT, STATES
from toy_model import save

from avocado.downstream.features import FeatureReader, factors_at, held, imputed_at, own_tracks, tracks_at
from avocado.downstream.tasks import Task, windows_of
from avocado.errors import InputError
from avocado.inference.impute import impute
from avocado.latent.embeddings import embed_intervals
from avocado.model.directory import load_model

LOCI = pd.DataFrame({
    "chrom": ["chr20", "chr1", "chr20"], "start": [30_010, 26_000, 0], "end": [40_000, 26_001, 47_320],
    "start2": [100, 100, 12_000], "end2": [200, 200, 12_025],
})  # fmt: skip


@pytest.fixture(scope="module")
def model(tiny_store, tmp_path_factory):
    path = tmp_path_factory.mktemp("downstream") / "model"
    save(path, STATES, store=tiny_store)
    return load_model(path, tiny_store)


def bins_of(values, region, chrom, start, end):
    return values[region.locate(chrom, start, end)].mean(axis=0)


def expected(values):
    """values: (n_bins, k) of pilot and of chr20."""
    pilot, chr20 = values
    rows = [
        [bins_of(chr20, CHR20, "chr20", 30_010, 40_000), bins_of(chr20, CHR20, "chr20", 100, 200)],
        [bins_of(pilot, PILOT, "chr1", 26_000, 26_001), bins_of(pilot, PILOT, "chr1", 100, 200)],
        [bins_of(chr20, CHR20, "chr20", 0, 47_320), bins_of(chr20, CHR20, "chr20", 12_000, 12_025)],
    ]
    return np.array(rows).reshape(3, -1)


def test_tracks_own_and_all(tiny_store):
    tracks = tracks_at(tiny_store, LOCI)
    wanted = expected([tiny_store.read_tracks(range(13), name) for name in ("pilot", "chr20")])
    np.testing.assert_allclose(tracks.to_numpy(), wanted, rtol=1e-5)
    own = own_tracks(tracks, "B cell")
    assert own.shape == (3, 2 * len(ASSAYS))
    columns = [PAIRS.index(("B cell", assay)) for assay in ASSAYS[:3]]
    np.testing.assert_allclose(own[:, :3], wanted[:, columns], rtol=1e-5)
    np.testing.assert_array_equal(own[:, [3, 7]], -1)  # RNA was not measured
    assert np.isnan(own_tracks(tracks, "B cell", np.nan)[:, [3, 7]]).all()
    with pytest.raises(InputError, match="the store has no tracks of K562; it has: B cell, E003, NA, liver"):
        own_tracks(tracks, "K562")


def test_factors(model):
    found = factors_at(model, LOCI)
    first = np.concatenate(
        [part.factors for part in embed_intervals(model, LOCI[["chrom", "start", "end"]])[0].parts()]
    )
    np.testing.assert_array_equal(found[:, : first.shape[1]], first)
    assert found.shape == (3, 2 * first.shape[1])
    assert factors_at(model, LOCI, "5kbp").shape == (3, 2 * model.network.config.scales[2])


def test_states_of_every_window(model):
    task = Task("toy", "liver", LOCI, np.array([True, False, True]))
    found = FeatureReader(LOCI, None, model).features(task, ["states"])["latent factors of the cell type"]
    wanted = [
        np.concatenate([part.factors for part in embed_intervals(model, window, cell="liver")[0].parts()])
        for window in windows_of(LOCI)
    ]
    np.testing.assert_allclose(found, np.concatenate(wanted, axis=1), rtol=1e-5, atol=1e-6)


def test_the_code_of_every_window(model):
    task = Task("toy", "liver", LOCI, np.array([True, False, True]))
    found = FeatureReader(LOCI, None, model).features(task, ["code"])["latent code of the cell type"]
    wanted = [
        np.concatenate([part.factors for part in embed_intervals(model, window, cell="liver", code=True)[0].parts()])
        for window in windows_of(LOCI)
    ]
    np.testing.assert_allclose(found, np.concatenate(wanted, axis=1), rtol=1e-5, atol=1e-6)


def test_a_cell_type_that_was_added_has_states_and_no_code(model, monkeypatch):
    monkeypatch.setattr(model.network, "encoded_cells", model.cells.index("liver"))
    task = Task("toy", "liver", LOCI, np.array([True, False, True]))
    reader = FeatureReader(LOCI, None, model)
    assert reader.possible("liver") == ["imputed", "factors", "states"]
    with pytest.raises(InputError, match="liver was added to model"):
        reader.features(task, ["code"])


def test_other_imputations_stand_behind_own_tracks(model, tiny_store):
    task = Task("toy", "liver", LOCI, np.array([True, False, True]))
    reader = FeatureReader(LOCI, tiny_store, model, {"ChromImpute": tiny_store})
    names = list(reader.features(task, reader.possible("liver")))
    assert names[:4] == ["own tracks", "own tracks, ChromImpute", "own tracks, imputed", "all tracks"]
    assert names[4:] == ["latent factors", "latent factors of the cell type", "latent code of the cell type"]


def test_imputed(model, monkeypatch):
    pairs = [("B cell", assay) for assay in ASSAYS]
    wanted = expected([impute(model, pairs, name) for name in ("pilot", "chr20")])
    found = imputed_at(model, pairs, LOCI)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("avocado.downstream.features.AT_ONCE", 1)  # a pair at a time
    again = imputed_at(model, pairs, LOCI)
    np.testing.assert_allclose(again, found, rtol=1e-4, atol=1e-5)


def test_loci_outside_of_the_regions():
    outside = pd.DataFrame(
        {"chrom": ["chr1", "chr1", "chr20"], "start": [12_000, 0, 47_310], "end": [13_000, 9, 47_320]}
    )
    assert held(outside, {"pilot": PILOT}, ASSEMBLY).tolist() == [False, True, False]
    assert held(outside, {"chr20": CHR20}, ASSEMBLY).tolist() == [False, False, False]  # the last one in no whole bin
    assert held(LOCI, {"pilot": PILOT, "chr20": CHR20}, ASSEMBLY).all()
