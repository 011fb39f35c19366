"""Imputed tracks on disk: fitted only when one is missing, kept under everything they depend on, whole or absent."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest

from avocado.errors import InputError
from avocado.imputers.average import AverageActivity
from avocado.imputers.cached import Cached, Cost, total_cost

TRAINING = [0, 1, 2, 4, 5, 7, 8, 9, 12]
TRACK = ("B cell", "H3K4me3")


class Counting(AverageActivity):
    """Average activity that counts its work, and adds a constant."""

    def __init__(self, constant: float = 0.0) -> None:
        self.constant, self.fits, self.predictions = constant, [], []

    def fit(self, store, experiments, region):
        self.fits.append(list(experiments))
        self.weights = {"a": 0.25}
        super().fit(store, experiments, region)

    def predict(self, pairs, region):
        self.predictions += [(*pair, region) for pair in pairs]
        return super().predict(pairs, region) + np.float32(self.constant)


class Dying(Counting):
    """Killed by the system in the middle of its second track."""

    def predict(self, pairs, region):
        if self.predictions:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(pairs, region)


def fitted(folder, store, imputer=None, key="key", training=TRAINING, region="pilot", **options) -> Cached:
    cached = Cached(imputer or Counting(), folder, key, **options)
    cached.fit(store, training, region)
    return cached


def test_what_another_version_imputed_is_not_used(tmp_path, tiny_store, monkeypatch):
    fitted(tmp_path, tiny_store).predict([TRACK], "pilot")
    assert fitted(tmp_path, tiny_store).has(*TRACK, "pilot")
    monkeypatch.setattr("avocado.__version__", "99")
    assert not fitted(tmp_path, tiny_store).has(*TRACK, "pilot")


def test_a_prediction_is_the_imputers_own_and_is_made_once(tmp_path, tiny_store):
    first = fitted(tmp_path, tiny_store)
    assert not first.has(*TRACK, "pilot")
    signal = first.predict([TRACK], "pilot")[:, 0]
    plain = AverageActivity()
    plain.fit(tiny_store, TRAINING, "pilot")
    np.testing.assert_array_equal(signal, plain.predict([TRACK], "pilot")[:, 0])
    assert first.has(*TRACK, "pilot")

    second = fitted(tmp_path, tiny_store)
    again = second.predict([TRACK], "pilot")[:, 0]
    np.testing.assert_array_equal(again, signal)
    assert again.dtype == np.float32
    assert type(again) is np.ndarray
    assert second.imputer.fits == second.imputer.predictions == []


def test_it_is_fitted_once_for_all_that_is_missing(tmp_path, tiny_store):
    fitted(tmp_path, tiny_store).predict([TRACK], "pilot")
    cached = fitted(tmp_path, tiny_store)
    for region in ("pilot", "chr20"):
        for cell in ("B cell", "E003", "liver"):
            cached.predict([(cell, "H3K4me3")], region)
    assert cached.imputer.fits == [TRAINING]
    assert len(cached.imputer.predictions) == 5  # of 6


@pytest.mark.parametrize(
    "change", [{"key": "other"}, {"training": TRAINING[:-1]}, {"region": "chr20"}], ids=["key", "training", "region"]
)
def test_whatever_a_prediction_depends_on_has_a_folder_of_its_own(tmp_path, tiny_store, change):
    fitted(tmp_path, tiny_store).predict([TRACK], "pilot")
    other = fitted(tmp_path, tiny_store, Counting(1.0), **change)
    assert not other.has(*TRACK, "pilot")
    other.predict([TRACK], "pilot")
    assert len(other.imputer.fits) == 1


def test_another_store_is_another_identity(tmp_path, tiny_store):
    from toy import make_store

    fitted(tmp_path, tiny_store).predict([TRACK], "pilot")
    same = make_store(tmp_path / "same")
    assert fitted(tmp_path, same).has(*TRACK, "pilot")
    import pandas as pd

    from avocado.data.store import open_store, write_metadata

    table = same.tracks.assign(sha256="of other files")
    assert isinstance(table, pd.DataFrame)
    write_metadata(tmp_path / "same", same.assembly, same.regions.values(), table, same.dtype)
    assert not fitted(tmp_path, open_store(tmp_path / "same")).has(*TRACK, "pilot")


def test_the_order_of_tracks_says_nothing(tmp_path, tiny_store):
    assert fitted(tmp_path, tiny_store).folder == fitted(tmp_path, tiny_store, training=TRAINING[::-1]).folder


def test_a_second_fit_of_the_same_object_is_another_one(tmp_path, tiny_store):
    cached = fitted(tmp_path, tiny_store)
    all_tracks = cached.predict([TRACK], "pilot")[:, 0].copy()
    cached.fit(tiny_store, [0, 1, 4, 5, 7], "pilot")
    fewer = cached.predict([TRACK], "pilot")[:, 0]
    assert cached.imputer.fits == [TRAINING, [0, 1, 4, 5, 7]]
    assert not np.array_equal(all_tracks, fewer)
    cached.fit(tiny_store, TRAINING, "pilot")
    np.testing.assert_array_equal(cached.predict([TRACK], "pilot")[:, 0], all_tracks)
    assert len(cached.imputer.fits) == 2


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None], ids=["empty", "cut", "short"])
def test_a_damaged_file_is_made_again(tmp_path, tiny_store, damage):
    cached = fitted(tmp_path, tiny_store)
    signal = cached.predict([TRACK], "pilot")[:, 0].copy()
    file = cached.file(*TRACK, "pilot")
    file.write_bytes(file.read_bytes()[:-4] if damage is None else damage)
    again = fitted(tmp_path, tiny_store)
    assert not again.has(*TRACK, "pilot")
    np.testing.assert_array_equal(again.predict([TRACK], "pilot")[:, 0], signal)
    assert again.imputer.fits == [TRAINING]


def test_names_are_quoted(tmp_path, tiny_store):
    cached = fitted(tmp_path, tiny_store)
    file = cached.file("../T cell, CD8+", "H2A/Z", "pilot")
    assert file.parent == cached.folder / "pilot"
    assert file.name == "..%2FT cell%2C CD8%2B,H2A%2FZ.npy"


def test_what_it_cost_is_beside_it(tmp_path, tiny_store):
    cached = fitted(tmp_path, tiny_store)
    with pytest.raises(InputError, match="nothing has been imputed"):
        cached.cost(*TRACK, "pilot")
    cached.predict([TRACK], "pilot")
    cost = fitted(tmp_path, tiny_store).cost(*TRACK, "pilot")
    assert 0 < cost.fit_seconds < 60
    assert 0 < cost.predict_seconds < 60
    assert cost.peak_bytes is None or cost.peak_bytes > 20_000_000  # Python and NumPy alone
    what = json.loads((cached.folder / "what.json").read_text())
    assert what["settings"] == "key"
    assert what["region"] == "pilot"
    assert what["training"][0] == ["B cell", "DNase"]
    assert len(what["training"]) == len(TRAINING)


def test_total_cost_counts_the_fit_once():
    costs = [Cost(10.0, 1.0, 5), Cost(10.0, 2.0, None), Cost(12.0, 3.0, 7)]
    assert total_cost(costs) == Cost(10.0, 6.0, 7)
    assert total_cost([Cost(1.0, 1.0, None)]).peak_bytes is None


def test_noted_attributes_survive(tmp_path, tiny_store):
    cached = fitted(tmp_path, tiny_store, recorded=("weights",))
    with pytest.raises(InputError, match="nothing has been imputed"):
        cached.note("weights")
    cached.predict([TRACK], "pilot")
    assert fitted(tmp_path, tiny_store, recorded=("weights",)).note("weights") == {"a": 0.25}


def test_a_refused_prediction_leaves_nothing(tmp_path, tiny_store):
    cached = fitted(tmp_path, tiny_store)
    with pytest.raises(InputError, match="no average activity"):
        cached.predict([("E003", "unheard of")], "pilot")
    assert not list(tmp_path.rglob("*.npy"))


def test_an_unknown_region_is_refused_before_any_work(tmp_path, tiny_store):
    with pytest.raises(InputError, match="no region 'chr1'"):
        fitted(tmp_path, tiny_store, region="chr1")


def _impute(imputer, folder, store):
    cached = fitted(folder, store, imputer)
    for cell in ("B cell", "E003", "liver"):
        cached.predict([(cell, "H3K4me3")], "pilot")


def test_killed_in_the_middle_it_goes_on_with_the_missing_tracks(tmp_path, tiny_store):
    process = multiprocessing.get_context("fork").Process(target=_impute, args=(Dying(), tmp_path, tiny_store))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    cached = fitted(tmp_path, tiny_store)
    assert [cached.has(cell, "H3K4me3", "pilot") for cell in ("B cell", "E003", "liver")] == [True, False, False]
    _impute(cached.imputer, tmp_path, tiny_store)
    assert [cell for cell, _, _ in cached.imputer.predictions] == ["E003", "liver"]


def test_two_processes_at_once_agree(tmp_path, tiny_store):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_impute, args=(Counting(), tmp_path, tiny_store)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    cached = fitted(tmp_path, tiny_store)
    plain = AverageActivity()
    plain.fit(tiny_store, TRAINING, "pilot")
    for cell in ("B cell", "E003", "liver"):
        expected = plain.predict([(cell, "H3K4me3")], "pilot")[:, 0]
        np.testing.assert_array_equal(cached.predict([(cell, "H3K4me3")], "pilot")[:, 0], expected)
    assert cached.imputer.fits == []
    assert not list(tmp_path.rglob("*.tmp"))
