"""Distances of cell types by their states: against the definition, and of cell types that are known to be alike."""

import numpy as np
import pytest
from toy import CELLS, STATES, TINY
from toy_model import save

from avocado.errors import InputError
from avocado.latent import cell_distances
from avocado.latent.cell_distances import centred_distances, state_distances
from avocado.latent.embeddings import embed_region
from avocado.model.directory import load_model


@pytest.fixture
def model(tiny_store, tmp_path):
    save(tmp_path / "model", STATES, store=tiny_store)
    return load_model(tmp_path / "model", tiny_store)


@pytest.mark.parametrize("region", ["pilot", "chr20"])
@pytest.mark.parametrize("piece", [1, 64])
def test_against_the_states_of_every_bin(model, region, piece, monkeypatch):
    monkeypatch.setattr(cell_distances, "PIECE", piece)
    states = []
    for cell in CELLS:
        embedding = embed_region(model, region, cell=cell)
        own = [number for number, name in enumerate(embedding.names) if "shared" not in name]
        states.append(np.concatenate([part.factors[:, own] for part in embedding.parts()]).astype(np.float64))
    centred = np.array(states) - np.mean(states, axis=0)
    centred = (centred - centred.mean(axis=1, keepdims=True)).reshape(len(CELLS), -1)
    alike = centred @ centred.T
    size = np.sqrt(np.diag(alike))
    expected = 1 - alike / size / size[:, None]
    np.testing.assert_allclose(state_distances(model, region), expected, rtol=1e-4, atol=1e-5)


def test_programs_that_are_the_same_under_other_names():
    factors = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3], [0, 0, 6]])  # the first two cell types are alike
    products = np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    found = centred_distances(factors, products)
    assert found[0, 1] == pytest.approx(0, abs=1e-12)
    assert found[2, 3] < 0.3  # the same one, twice as strong
    assert found[:2, 2:].min() > 1
    assert np.linalg.norm(factors[0] - factors[1]) > np.linalg.norm(factors[2] - factors[3])
    np.testing.assert_array_equal(np.diag(found), 0)


def test_the_paper_s_model_has_no_programs(tiny_store, tmp_path):
    save(tmp_path / "paper", TINY, store=tiny_store)
    with pytest.raises(InputError, match="is of kind 'paper', which has no programs"):
        state_distances(load_model(tmp_path / "paper", tiny_store), "pilot")
