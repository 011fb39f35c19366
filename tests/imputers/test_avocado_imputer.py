"""Avocado behind the protocol of imputers: the same model as a training run makes, and nothing from held-out tracks."""

from dataclasses import replace

import numpy as np
import pytest

from avocado.data.compendium import pairs_in
from avocado.data.store import write_region
from avocado.errors import InputError
from avocado.imputers.config import AvocadoConfig
from avocado.imputers.factorization import Avocado
from avocado.inference.impute import impute
from avocado.model.directory import load_model
from avocado.runs.run import train
from avocado.utils.hardware import Hardware
from tests.toy import RUN, STATES, TINY, make_store

FLOAT32 = Hardware("cpu", "float32")

FIT = replace(RUN.fit, epochs=1)


def fitted(store, columns, model=STATES, seed=0, models=1) -> Avocado:
    imputer = Avocado(model, RUN.optimizer, FIT, seed, FLOAT32, config=AvocadoConfig(models))
    imputer.fit(store, columns, "pilot")
    return imputer


@pytest.mark.parametrize("model", [TINY, STATES])
def test_it_is_the_model_that_a_run_trains(tmp_path, model):
    store = make_store(tmp_path / "store")
    outcome = train(replace(RUN, model=model, fit=FIT), store, tmp_path / "runs", hardware=FLOAT32, progress=False)
    run = load_model(outcome.model)
    experiments = [store.track_index(*track) for track in pairs_in(run.tracks, "train")]
    imputer = fitted(store, experiments, model)
    for track in pairs_in(run.tracks, "test"):
        imputed = imputer.predict([track], "pilot")[:, 0]
        assert imputed.dtype == np.float32
        np.testing.assert_array_equal(imputed, impute(run, [track], "pilot", FLOAT32)[:, 0])


def test_other_regions_are_trained_when_asked_for(tmp_path):
    store = make_store(tmp_path / "store")
    imputer = fitted(store, range(1, len(store.tracks)))
    track = tuple(store.tracks[["cell", "assay"]].iloc[0])
    imputed = imputer.predict([track], "chr20")[:, 0]
    assert imputed.shape == (store.region("chr20").n_bins,)
    assert imputed.std() > 0
    np.testing.assert_array_equal(imputer.predict([track], "chr20")[:, 0], imputed)


def test_several_models_are_averaged(tmp_path):
    store = make_store(tmp_path / "store")
    experiments = list(range(1, len(store.tracks)))
    track = tuple(store.tracks[["cell", "assay"]].iloc[0])
    alone = [fitted(store, experiments, seed=seed).predict([track], "pilot")[:, 0] for seed in (3, 4)]
    assert not np.array_equal(*alone)
    together = fitted(store, experiments, seed=3, models=2).predict([track], "pilot")[:, 0]
    np.testing.assert_allclose(together, np.mean(alone, axis=0), rtol=1e-6)


def test_held_out_tracks_leave_no_trace(tmp_path):
    imputed = []
    for number in range(2):
        store = make_store(tmp_path / f"store{number}")
        if number:
            for region in ("pilot", "chr20"):
                signal = np.array(store.signal(region))
                signal[:, :, 0] = np.nan
                write_region(store.path, store.region(region), signal.shape[2], store.dtype, [signal])
        track = tuple(store.tracks[["cell", "assay"]].iloc[0])
        imputer = fitted(store, range(1, len(store.tracks)))
        imputed.append([imputer.predict([track], region)[:, 0] for region in ("pilot", "chr20")])
    for before, after in zip(*imputed, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("models", [0, True, 1.5])
def test_wrong_numbers_of_models_are_refused(models):
    with pytest.raises(InputError, match="avocado: models="):
        AvocadoConfig(models)
