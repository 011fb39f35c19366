"""What stands behind the protocol of imputers: many pairs in one pass, in groups that fit into memory, over windows."""

import numpy as np
import pytest
from toy import PAIRS

from avocado.data.store import SignalStore
from avocado.errors import InputError
from avocado.imputers import protocol
from avocado.imputers.average import AverageActivity
from avocado.imputers.chromimpute import ChromImpute, ChromImputeConfig
from avocado.imputers.ensemble import Ensemble
from avocado.imputers.nearest import NearestCell, SimilarityAverage
from avocado.imputers.place import PlaceOnly
from avocado.imputers.predictd import Predictd, PredictdConfig
from avocado.imputers.protocol import groups, possible, predict_window
from avocado.imputers.regression import Regression
from avocado.model.regression import RegressionConfig

HELD = [PAIRS[0], PAIRS[5]]
TRAINING = [column for column, pair in enumerate(PAIRS) if pair not in HELD]
MAKE = {
    "average": AverageActivity,
    "place": PlaceOnly,
    "nearest": NearestCell,
    "similarity": SimilarityAverage,
    "regression": lambda: Regression(RegressionConfig(features=8, bins=300)),
    "predictd": lambda: Predictd(PredictdConfig(rank=2, splits=2, bins=200, max_steps=20), device="cpu"),
    "chromimpute": lambda: ChromImpute(ChromImputeConfig(positions=200, bags=1, wide_window=20)),
    "ensemble": lambda: Ensemble({"average": AverageActivity(), "nearest": NearestCell()}),
}


@pytest.fixture(params=MAKE)
def imputer(request, tiny_store):
    made = MAKE[request.param]()
    made.fit(tiny_store, TRAINING, "pilot")
    return made


def test_many_pairs_are_each_pair_alone_and_take_no_further_pass(tiny_store, imputer, monkeypatch):
    opened, signal = [], SignalStore.signal
    alone = np.concatenate([imputer.predict([pair], "chr20") for pair in HELD], axis=1)  # trees are grown, too
    monkeypatch.setattr(SignalStore, "signal", lambda store, region: opened.append(region) or signal(store, region))
    imputer.predict(HELD[:1], "chr20")
    once = opened.count("chr20")
    together = imputer.predict(HELD, "chr20")
    assert opened.count("chr20") == 2 * once
    assert together.shape == (tiny_store.region("chr20").n_bins, len(HELD))
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_what_cannot_be_imputed_is_named_and_the_others_are(tiny_store, imputer):
    pairs = [HELD[0], ("E003", "unheard of"), HELD[1]]
    with pytest.raises(InputError, match="unheard of"):
        imputer.predict(pairs, "pilot")
    window, layout = tiny_store.windows("pilot")[0], tiny_store.region("pilot")
    found, refused = possible(imputer, pairs, window, layout)
    assert list(found) == [HELD[0], HELD[1]]
    assert len(refused) == 1
    assert "unheard of" in refused[0]
    np.testing.assert_allclose(np.stack([*found.values()], 1), imputer.predict(HELD[:2], "pilot"), atol=1e-5)
    assert possible(imputer, [], window, layout) == ({}, [])


def test_a_window_is_cut_from_its_region(tiny_store, imputer):
    (window,) = tiny_store.windows("chr20:10,001-20,000")
    found = predict_window(imputer, HELD, window, tiny_store.region("chr20"))
    np.testing.assert_allclose(found, imputer.predict(HELD, "chr20")[400:800], atol=1e-6)


def test_groups_are_as_large_as_memory_allows(monkeypatch):
    monkeypatch.setattr(protocol, "GROUP", 4 * 1000 * 3)
    assert list(groups(PAIRS[:7], 1000)) == [PAIRS[:3], PAIRS[3:6], PAIRS[6:7]]
    assert list(groups(PAIRS[:2], 10**9)) == [PAIRS[:1], PAIRS[1:2]]
    assert list(groups([], 1000)) == []
