"""Cross-validation: every track from the fold that lacked it, made once, members of ensembles among them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from toy import CELLS, PAIRS

from avocado.config.overrides import composed
from avocado.errors import InputError
from avocado.imputers.average import AverageActivity
from avocado.imputers.nearest import NearestCell, SimilarityAverage
from avocado.imputers.predictd import Predictd
from avocado.imputers.regression import Regression
from experiments.cross_validation import CrossValidation, impute_all, prepare, score, title_of
from experiments.places import annotation_files, peaks_of, places

BASELINES = {"average": ["imputer=average"], "nearest": ["imputer=nearest"], "similarity": ["imputer=similarity"]}
PREDICTD = ["imputer=predictd", "imputer.splits=2", "imputer.max_steps=20", "imputer.rank=2"]
ENSEMBLE = ["imputer=ensemble", "imputer.members=[nearest,similarity]"]


@pytest.fixture
def run(tiny_store, tmp_path):
    """`run(task, methods, "n_folds=3")`: what `task(config)` returns, in a table1 of the toy store."""

    def call(task, methods=None, *arguments):
        common = [f"data.store={tiny_store.path}", f"cache={tmp_path / 'cache'}", "threads=1", "n_folds=3"]
        config = composed("table1", [*common, *arguments])
        OmegaConf.set_struct(config, False)
        config.methods = methods or BASELINES
        return task(config)

    return call


def imputed(config) -> CrossValidation:
    cv = prepare(config)
    impute_all(cv)
    return cv


@pytest.fixture
def fits(monkeypatch):
    """Every fit of a baseline, as (name of the class, columns)."""
    done = []
    for imputer in (AverageActivity, NearestCell, SimilarityAverage, Predictd, Regression):

        def fit(self, store, experiments, region, original=imputer.fit):
            done.append((type(self).__name__, sorted(experiments)))
            original(self, store, experiments, region)

        monkeypatch.setattr(imputer, "fit", fit)
    return done


def test_every_track_is_imputed_by_the_fold_that_lacked_it(run, tiny_store):
    cv = run(imputed)
    assert cv.methods == ["average activity", "nearest", "similarity"]
    assert set(cv.tracks) <= set(PAIRS)
    assert len(cv.tracks) >= 11  # of 13: some always train
    assert sorted(cv.training) == [0, 1, 2]
    average = cv.imputed(0)["average activity"]
    assert list(average) == cv.tracks == list(cv.observed)
    for track, fold in cv.fold_of.items():
        assert PAIRS.index(track) not in cv.training[fold]
        direct = AverageActivity()
        direct.fit(tiny_store, cv.training[fold], "pilot")
        np.testing.assert_array_equal(average[track], direct.predict([track], "pilot")[:, 0])
        np.testing.assert_array_equal(cv.observed[track], tiny_store.read_track(*track, "pilot"))


def test_no_imputer_ever_sees_the_tracks_of_its_fold(run, fits, tmp_path):
    fitted = [*ENSEMBLE, "imputer.weights=fitted", "imputer.validation=3", "imputer.rounds=1"]
    methods = {**BASELINES, "ensemble": fitted}
    cv = run(imputed, methods)
    held_out = {fold: {PAIRS.index(track) for track in cv.tracks_of(fold)} for fold in cv.training}
    allowed = [set(range(len(PAIRS))) - held for held in held_out.values()]
    assert len(fits) == 3 * (3 + 2)  # the ensemble's members again, without the tracks that it sets apart
    for _, columns in fits:
        assert any(set(columns) <= some for some in allowed)
    # and every imputation on disk comes from a fit without it
    files = list((tmp_path / "cache").glob("*/pilot/*.npy"))
    assert files
    for file in files:
        what = json.loads((file.parents[1] / "what.json").read_text())
        assert file.stem.split(",") not in what["training"]


def test_what_is_there_is_not_made_again(run, fits):
    first = run(imputed).imputed(0)
    assert len(fits) == 9
    second = run(imputed).imputed(0)
    assert len(fits) == 9
    for name, tracks in first.items():
        for track, signal in tracks.items():
            np.testing.assert_array_equal(signal, second[name][track])


def test_nothing_is_fitted_where_all_is_read(run, fits):
    run(prepare)
    assert fits == []


def test_ones_own_store_needs_nothing_of_the_demo(tiny_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where there is no demo
    for key in ("store", "data.store"):
        config = composed("table1", [f"{key}={tiny_store.path}", "cache=cache", "only=average", "n_folds=3"])
        assert prepare(config).store.path == tiny_store.path
        assert set(annotation_files(config, tiny_store).values()) == {None}
    config = composed("table1", [f"store={tiny_store.path}", "region=chr1", "only=average", "n_folds=3"])
    with pytest.raises(InputError, match=r"no region 'chr1': give region=pilot\|chr20"):
        prepare(config)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_one_goes_on_where_it_stopped(run, monkeypatch, tmp_path):
    whole = AverageActivity.predict
    made = []

    def predict(self, pairs, region):
        if len(made) == 5:
            raise KeyboardInterrupt
        made.extend(pairs)
        return whole(self, pairs, region)

    monkeypatch.setattr(AverageActivity, "predict", predict)
    with pytest.raises(KeyboardInterrupt):
        run(imputed, {"average": []} | {"average": BASELINES["average"]})
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 5
    again = []
    monkeypatch.setattr(
        AverageActivity, "predict", lambda self, pairs, *region: again.extend(pairs) or whole(self, pairs, *region)
    )
    cv = run(imputed, {"average": BASELINES["average"]})
    assert set(again) == set(cv.tracks) - set(made)
    assert len(again) == len(set(again))


def test_an_ensemble_uses_the_tracks_of_its_members(run, fits):
    run(imputed)
    before = len(fits)
    cv = run(imputed, {**BASELINES, "ensemble": ENSEMBLE})
    assert len(fits) == before
    assert cv.ensembles == ["ensemble"]
    signals = cv.imputed(0)
    track = cv.tracks[4]
    mean = (signals["nearest"][track] + signals["similarity"][track]) / 2
    np.testing.assert_allclose(signals["ensemble"][track], mean, rtol=1e-6)
    weights = cv.weights()
    assert weights.groupby("fold")["member"].apply(list).tolist() == [["nearest", "similarity"]] * 3
    assert (weights["weight"] == 0.5).all()


def test_a_member_may_be_any_of_the_methods(run):
    methods = {
        "average": BASELINES["average"],
        "near_sharp": ["imputer=similarity", "imputer.sharpness=8"],
        "both": ["imputer=ensemble", "imputer.members=[average,near_sharp]"],
    }
    cv = run(imputed, methods)
    assert cv.methods == ["average activity", "near sharp", "both"]
    signals, track = cv.imputed(0), cv.tracks[0]
    mean = (signals["average activity"][track] + signals["near sharp"][track]) / 2
    np.testing.assert_allclose(signals["both"][track], mean, rtol=1e-6)


def test_other_settings_are_another_method(run, fits):
    run(imputed, {"average": [], **BASELINES})
    before = len(fits)
    run(imputed, {"average": BASELINES["average"], "similarity": ["imputer=similarity", "imputer.sharpness=3"]})
    assert [name for name, _ in fits[before:]] == ["SimilarityAverage"] * 3


def test_only_randomness_asks_for_several_seeds(run, fits):
    methods = {"average": BASELINES["average"], "predictd": PREDICTD, "regression": ["imputer=regression"]}
    cv = run(imputed, methods, "seeds=[0,1]", "folds=[0]")
    assert [name for name, _ in fits] == ["AverageActivity", *["Predictd"] * 2, *["Regression"] * 2]
    folders = {key: imputer.folder for key, imputer in cv.imputers.items()}
    assert folders["average activity", 0, 0] == folders["average activity", 1, 0]
    assert folders["PREDICTD", 0, 0] != folders["PREDICTD", 1, 0]
    assert folders["regression", 0, 0] != folders["regression", 1, 0]


def test_scores_are_means_over_seeds(run):
    cv = run(imputed, {"average": BASELINES["average"], "predictd": PREDICTD}, "seeds=[0,1]", "folds=[0]")
    found = score(cv).set_index(["cell", "assay", "method"])
    track = cv.tracks[0]
    errors = [float(np.mean((cv.imputed(s)["PREDICTD"][track] - cv.observed[track]) ** 2)) for s in (0, 1)]
    assert errors[0] != errors[1]
    row = found.loc[(*track, "PREDICTD")]
    assert row["mse"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert row["skill"] == pytest.approx(1 - row["mse"] / found.loc[(*track, "average activity"), "mse"])
    assert row["bins"] == cv.store.region("pilot").n_bins


def test_small_settings_are_added(run):
    fitted = ["imputer=ensemble", "imputer.members=[nearest,similarity]", "imputer.weights=fitted"]
    methods = {**BASELINES, "predictd": ["imputer=predictd"], "ensemble_fitted": fitted}
    cv = run(prepare, methods, "small=true")
    # each round of an ensemble fits all of its members again
    assert json.loads(cv.imputers["ensemble fitted", 0, 0].key)["settings"]["rounds"] == 1
    settings = json.loads(cv.imputers["PREDICTD", 0, 0].key)["settings"]
    assert (settings["splits"], settings["max_steps"]) == (2, 100)


def test_costs(run):
    costs = run(imputed, None, "folds=[0,1]").costs()
    assert costs.groupby("method").size().to_dict() == dict.fromkeys(["average activity", "nearest", "similarity"], 2)
    assert (costs[["fit_seconds", "predict_seconds"]] > 0).all(axis=None)
    assert isinstance(costs, pd.DataFrame)
    assert costs["tracks"].sum() == 3 * len(run(prepare, None, "folds=[0,1]").tracks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["only=nearst"], "unknown method 'nearst'; there is: average, nearest, similarity"),
        (["folds=[7]"], "there is no fold 7"),
        (["folds=[x]"], "expected whole numbers from 0"),
        (["seeds=[]"], "expected whole numbers from 0"),
        (["region=chr7"], "no region 'chr7'"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(run, fits, arguments, message):
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        run(imputed, None, *arguments)
    assert fits == []


def test_average_activity_is_always_there(run):
    assert run(prepare, None, "only=nearest").methods == ["average activity", "nearest"]
    assert run(prepare, {"nearest": BASELINES["nearest"]}).methods == ["average activity", "nearest"]


def test_folds_are_those_of_train_py(run, tiny_store):
    from avocado.data.splits import split

    cv = run(prepare, None, "split_seed=3")
    for fold, columns in cv.training.items():
        assert columns == np.flatnonzero(split(tiny_store.tracks, fold, 3, 3) == "train").tolist()
    assert cv.training != run(prepare).training


def test_titles():
    titles = {"average": "average activity", "avocado": "Avocado", "avocado_plain": "Avocado plain", "knn": "knn"}
    assert {name: title_of(name) for name in titles} == titles


# --- places ----------------------------------------------------------------------------------------------------------


def test_variance_comes_from_the_training_tracks_of_the_fold(run, tiny_store):
    cv = run(prepare)
    loci = places(cv, dict.fromkeys(("genes", "enhancers", "peaks", "blacklist")))
    for track in cv.tracks:
        columns = [c for c in cv.training[cv.fold_of[track]] if PAIRS[c][1] == track[1]]
        expected = tiny_store.read_tracks(columns, "pilot").var(axis=1)
        np.testing.assert_allclose(loci[track].variance, expected, atol=1e-5)
        assert loci[track].peaks is None


def test_peaks_of_every_track_are_looked_for_first(run, tmp_path):
    cv = run(prepare)
    for cell in CELLS[:2]:
        (tmp_path / f"{cell}-DNase.bed").write_text("chr1\t100\t201\n")
    pattern = {"peaks": str(tmp_path / "{cell}-{assay}.bed")}
    peaks = peaks_of(cv, pattern, [(cell, "DNase") for cell in CELLS[:2]])
    assert peaks is not None
    assert np.flatnonzero(peaks["E003", "DNase"]).tolist() == [4, 5, 6, 7, 8]
    with pytest.raises(InputError, match="no such file of peaks of NA DNase"):
        peaks_of(cv, pattern, [("NA", "DNase")])
    assert peaks_of(cv, {"peaks": None}, cv.tracks) is None


def test_the_demos_own_files_are_for_the_demo_only(run, tiny_store, tmp_path):
    def files(config):
        (tmp_path / "demo").mkdir()
        sizes = tmp_path / "demo" / "demo.chrom.sizes"
        sizes.write_text("chr20\t5000\n")
        config.data.simulate, config.data.assembly = str(tmp_path / "demo"), str(sizes)
        other = annotation_files(config, tiny_store)
        sizes.write_text("".join(f"{chrom}\t{size}\n" for chrom, size in tiny_store.assembly.sizes.items()))
        config.enhancers = "mine.bed"
        demo = annotation_files(config, tiny_store)
        config.store = str(tiny_store.path)
        own = annotation_files(config, tiny_store)
        config.store, config.data.assembly = None, str(tmp_path / "never made")
        return other, demo, own, annotation_files(config, tiny_store)

    other, demo, own, unmade = run(files)
    assert set(other.values()) == {None}
    assert own == unmade == {**other, "enhancers": "mine.bed"}
    assert demo["genes"] == str(tmp_path / "demo" / "genes.gtf.gz")
    assert demo["enhancers"] == "mine.bed"


def test_what_takes_long_is_foretold_once(run, capsys):
    methods = {
        "average": BASELINES["average"],
        "predictd": ["imputer=predictd", "imputer.splits=2", "imputer.max_steps=20"],
    }
    run(imputed, methods)
    assert capsys.readouterr().err.count("PREDICTD: ") == 3  # a fold each
    run(imputed, methods)
    assert "PREDICTD: " not in capsys.readouterr().err
