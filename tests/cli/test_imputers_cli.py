"""Any imputer behind `imputer=`: train.py, avocado impute and avocado score."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from omegaconf import DictConfig

from avocado.cli import app
from avocado.config.imputers import IMPUTERS, build_imputer, imputer_settings
from avocado.config.overrides import composed as compose
from avocado.data.store import open_store
from avocado.errors import InputError
from avocado.model.scales import imputed_pval

pytest_plugins = ["demo"]

CONF = Path(__file__).resolve().parents[2] / "conf"
OPTIONS = sorted(path.stem for path in (CONF / "imputer").glob("*.yaml"))
FAST = {
    "average": [],
    "place": [],
    "nearest": [],
    "similarity": ["imputer.sharpness=2"],
    "regression": [],
    "predictd": ["imputer.rank=3", "imputer.splits=2", "imputer.bins=200", "imputer.max_steps=20"],
    "chromimpute": ["imputer.positions=200", "imputer.wide_window=20"],
    "avocado": ["imputer.models=2"],
    "ensemble": ["imputer.members=[similarity,avocado]"],
}


def composed(*overrides: str) -> DictConfig:
    return compose("train", overrides)


def scores(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "scores.csv").set_index(["cell", "assay", "method"])


# --- build_imputer ---------------------------------------------------------------------------------------------------


def test_every_imputer_has_a_file_and_every_file_an_imputer():
    assert {composed(f"imputer={option}").imputer.name for option in OPTIONS} == set(IMPUTERS)
    assert set(IMPUTERS) <= set(OPTIONS)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_builds_and_its_keys_are_the_settings(option):
    config = composed(f"imputer={option}", "seed=7", "trainer=cpu")
    imputer = build_imputer(config)
    settings = imputer_settings(config, imputer)
    json.dumps(settings)  # plain values
    if option not in ("avocado", "ensemble"):
        assert set(settings) - {"seed"} | {"name"} == set(config.imputer)
        assert all(settings[key] == value for key, value in config.imputer.items() if key != "name")
        assert settings.get("seed", 7) == 7


RANDOM = {
    "regression": ["imputer.features=8", "imputer.bins=200"],
    "predictd": FAST["predictd"],
    "chromimpute": [*FAST["chromimpute"], "imputer.bags=1", "imputer.min_leaf=5"],
    "avocado": ["fit.min_steps=3", "epochs.pilot=1", "model.nodes=4"],
    "ensemble": ["imputer.members=[regression,similarity]"],
}


@pytest.mark.parametrize("name", sorted(set(IMPUTERS)))
def test_whatever_is_random_in_an_imputer_follows_the_seed_of_the_run(tiny_store, name):
    def imputed(seed: int) -> np.ndarray:
        imputer = build_imputer(composed(f"imputer={name}", f"seed={seed}", "trainer=cpu", *RANDOM.get(name, [])))
        imputer.fit(tiny_store, range(1, len(tiny_store.tracks)), "pilot")
        return imputer.predict([tuple(tiny_store.tracks[["cell", "assay"]].iloc[0])], "pilot")[:, 0]

    first, again, other = imputed(3), imputed(3), imputed(4)
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) == (name not in RANDOM)


def test_members_of_an_ensemble_are_imputers_with_their_own_settings():
    config = composed("imputer=ensemble", "imputer.members=[predictd_paper,similarity]", "trainer=cpu")
    imputer = build_imputer(config)
    assert list(imputer.members) == ["predictd_paper", "similarity"]
    assert imputer.members["predictd_paper"].config.rank == 100
    settings = imputer_settings(config, imputer)
    assert settings["members"]["predictd_paper"]["cell_penalty"] == 3.66
    assert settings["members"]["similarity"] == {"name": "similarity", "sharpness": 1.0}


def test_what_cannot_be_built():
    config = composed("imputer=predictd", "trainer=cpu")
    config.imputer.name = "oracle"
    with pytest.raises(InputError, match=f"unknown imputer 'oracle'; there is: {', '.join(IMPUTERS)}"):
        build_imputer(config)
    for name in IMPUTERS:
        with pytest.raises(InputError, match=r"unknown key 'imputer\.seed': .* follows seed="):
            composed(f"imputer={name}", "imputer.seed=3")
    for name in ("average", "nearest", "similarity", "predictd"):
        with pytest.raises(InputError, match=r"unknown key 'imputer\.depth'"):
            composed(f"imputer={name}", "imputer.depth=3")
    for members, said in (
        ("oracle", "unknown imputer 'oracle' in imputer.members"),
        ("ensemble", "an ensemble cannot"),
    ):
        with pytest.raises(InputError, match=said):
            build_imputer(composed("imputer=ensemble", f"imputer.members=[{members}]"))


# --- train -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("average", "predictd", "ensemble") else pytest.param(name, marks=pytest.mark.slow)
        for name in FAST
    ],
)
def test_train_scores_every_imputer_beside_average_activity(avocado, store, quick, tmp_path, name):
    answer = avocado("train", *quick, f"store={store}", "stage=pilot", f"imputer={name}", *FAST[name])
    assert answer.status == 0, answer
    run = tmp_path / "runs" / name / "pilot" / "fold0" / "seed0"
    assert f"{name} pilot: done, runs/{name}/pilot/fold0/seed0" in answer.out
    assert {path.name for path in run.iterdir()} == {
        "settings.yaml", "split.tsv", "scores.csv", "scores.json", "scores.png", "tracks.png", "done.json"
    }  # fmt: skip
    split = pd.read_csv(run / "split.tsv", sep="\t")
    held_out = split[split["role"] == "test"]
    table = scores(run)
    method = {"average": "average activity", "avocado": "Avocado"}.get(name, name)
    assert set(table.index.get_level_values("method")) == {"average activity", method}
    assert len(table) == (len(held_out) + 1) * len({"average activity", method})
    # only what was typed differs from the option's file
    typed = dict(setting.removeprefix("imputer.").split("=") for setting in FAST[name])
    settings = yaml.safe_load((run / "settings.yaml").read_text())
    assert settings["imputer"]["name"] == name
    assert all(settings["imputer"][key] == float(value) for key, value in typed.items() if key != "members")
    # nothing else is left, models least of all
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [name]


def test_scores_are_those_of_the_imputer_fitted_to_the_training_tracks_on_the_pilot_regions(
    avocado, store, quick, tmp_path
):
    from avocado.imputers.nearest import NearestCell

    keys = [*quick, f"store={store}", "stage=genome", "chrom=chr21", "imputer=nearest", "fold=1"]
    answer = avocado("train", *keys)
    assert answer.status == 0, answer
    # scores without files are not done where files are asked for
    assert not (tmp_path / "runs/imputed").exists()
    assert "nearest chr21: done, " in avocado("train", *keys, "stage.impute=true").out
    assert list((tmp_path / "runs/imputed/nearest/fold1/seed0").glob("*.bw"))
    run = tmp_path / "runs/nearest/chr21/fold1/seed0"
    split, opened = pd.read_csv(run / "split.tsv", sep="\t"), open_store(store)
    imputer = NearestCell()
    imputer.fit(opened, np.flatnonzero(split["role"] == "train").tolist(), "pilot")
    for cell, assay in split[split["role"] == "test"][["cell", "assay"]].itertuples(index=False):
        error = imputer.predict([(cell, assay)], "chr21")[:, 0] - opened.read_track(cell, assay, "chr21")
        assert scores(run).loc[(cell, assay, "nearest"), "mse"] == pytest.approx(np.square(error).mean(), rel=1e-4)


def test_the_whole_road_writes_the_held_out_tracks_once(avocado, store, quick, tmp_path):
    from avocado.data.bigwig import read_bins
    from avocado.data.genome import Segment
    from avocado.imputers.nearest import SimilarityAverage

    arguments = [*quick, f"store={store}", "imputer=similarity"]
    first = avocado("train", *arguments)
    assert first.status == 0, first
    assert first.out.index("similarity pilot: done,") < first.out.index("similarity chr20: done,")
    split = pd.read_csv(tmp_path / "runs/similarity/chr20/fold0/seed0/split.tsv", sep="\t")
    test = split[split["role"] == "test"][["cell", "assay"]].to_numpy().tolist()
    folder = tmp_path / "runs/imputed/similarity/fold0/seed0"
    assert {path.name for path in folder.glob("[!.]*")} == {f"{cell}-{assay}.bw" for cell, assay in test}
    imputer = SimilarityAverage()
    imputer.fit(open_store(store), np.flatnonzero(split["role"] == "train").tolist(), "pilot")

    def require(chrom: str, n_bins: int) -> None:
        written = read_bins(folder / "{}-{}.bw".format(*test[0]), [Segment(chrom, 0, n_bins)])
        np.testing.assert_allclose(
            written, imputed_pval(imputer.predict([test[0]], chrom)[:, 0]), rtol=1e-5, atol=0.005
        )

    require("chr20", 6_000)
    # the same command finds all done; a file that is gone is made again; another chromosome is added
    again = avocado("train", *arguments)
    assert again.out.count("done before") == 2
    assert (
        again.out.partition("chr20: done")[2].partition("\n")[2]
        == first.out.partition("chr20: done")[2].partition("\n")[2]
    )
    (folder / "{}-{}.bw".format(*test[0])).unlink()
    (folder / "{}-{}.bw".format(*test[0])).write_text("somebody's own")
    assert "nothing says that it was made by this command: move it away" in avocado("train", *arguments).err
    (folder / "{}-{}.bw".format(*test[0])).unlink()
    repaired = avocado("train", *arguments)
    assert "similarity pilot: done before" in repaired.out
    assert "similarity chr20: done, " in repaired.out
    assert avocado("train", *arguments, "chrom=chr21").status == 0
    require("chr20", 6_000)
    require("chr21", 4_000)


def test_other_settings_are_refused_unless_overwritten(avocado, store, quick, unchanged, tmp_path):
    arguments = [*quick, f"store={store}", "imputer=similarity", "stage=pilot"]
    assert avocado("train", *arguments).status == 0
    with unchanged():
        error = avocado("train", *arguments, "imputer.sharpness=3").error
    assert "imputer.sharpness was 1.0, is 3.0" in error
    assert "overwrite=true" in error
    assert "pilot: done, " in avocado("train", *arguments, "imputer.sharpness=3", "overwrite=true").out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["imputer=oracle"], ["unknown imputer 'oracle'", "average", "chromimpute", "nearest"]),
        (["imputer=predictd", "imputer.positions=3"], ["unknown key 'imputer.positions'"]),
        (["imputer=predictd", "imputer.rank=many"], ["imputer.rank=many", "whole number"]),
        (["imputer=similarity", "imputer.sharpness=0"], ["sharpness=0"]),
        (["imputer=similarity", "imputer.sharpness=high"], ["imputer.sharpness=high", "a number"]),
        (["imputer=nearest", "fold=all"], ["no track is held out", "avocado impute imputer=nearest"]),
        (["imputer=nearest", "fold=9"], ["no fold 9"]),
        (["imputer=nearest", "seed=-1"], ["seed=-1"]),
        (["imputer=nearest", "stage=genome", "chrom=chr99"], ["unknown chrom 'chr99'"]),
    ],
)
def test_train_refuses_in_one_line_and_writes_nothing(avocado, store, quick, unchanged, arguments, named):
    with unchanged():
        error = avocado("train", *quick, f"store={store}", "stage=pilot", *arguments).error
    for word in named:
        assert word in error


def test_a_store_without_pilot_regions(avocado, demo, quick, tmp_path):
    assert avocado("ingest", *demo.source, "regions=chr21", "out=s").status == 0
    answer = avocado("train", *quick, "store=s", "chrom=chr21", "imputer=nearest")
    assert answer.status == 0, answer
    assert (tmp_path / "runs/nearest/chr21/fold0/seed0/done.json").is_file()
    assert "pilot" not in answer.out


# --- impute ----------------------------------------------------------------------------------------------------------


def test_impute_one_pair_without_a_model(avocado, store, tmp_path):
    from avocado.imputers.config import PredictdConfig
    from avocado.imputers.predictd import Predictd

    arguments = [f"store={store}", "imputer=predictd", *FAST["predictd"], "device=cpu", "progress=false"]
    arguments += ["cell=stem1", "assay=DNase"]
    answer = avocado("impute", *arguments, "scale=arcsinh", "out=o/x.npz", "regions=chr21,chr20")
    assert answer.status == 0, answer
    assert answer.out.startswith("1 track over chr20, chr21 as arcsinh(−log10 p): o/x.npz\nnext:\n")
    opened = open_store(store)
    imputer = Predictd(PredictdConfig(rank=3, splits=2, bins=200, max_steps=20), 0, "cpu")
    imputer.fit(opened, range(len(opened.tracks)), "pilot")
    with np.load(tmp_path / "o/x.npz") as arrays:
        np.testing.assert_allclose(arrays["chr20"], imputer.predict([("stem1", "DNase")], "chr20")[:, 0], rtol=1e-5)
        assert arrays["chr21"].shape == (4_000,)
    arguments += ["scale=arcsinh", "out=o/x.npz", "regions=chr20,chr21"]
    assert "1 of 1 files are there already" in avocado("impute", *arguments).out
    for typed, said in (
        (["seed=1"], "settings.seed was 0, is 1"),
        (["imputer.rank=2"], "settings.rank was 3, is 2"),
        (["fold=0"], "tracks was "),
        (["regions=chr20"], "regions.chr21 was "),
    ):
        error = avocado("impute", *arguments, *typed).error
        assert error.startswith(f"o/x.npz is there and was made otherwise ({said}"), error


def test_impute_with_a_fold_learns_from_its_training_tracks_only(avocado, store, tmp_path):
    from avocado.data.compendium import pairs_in
    from avocado.imputers.average import AverageActivity
    from avocado.runs.run import SplitConfig

    keys = [f"store={store}", "imputer=average", "progress=false", "regions=chr21", "scale=arcsinh"]
    answer = avocado("impute", *keys, "fold=0", "pairs=held_out", "out=h/{cell}-{assay}.npz")
    assert answer.status == 0, answer
    opened = open_store(store)
    roles = SplitConfig(fold=0).roles(opened)
    test = pairs_in(roles, "test")
    assert {path.stem for path in (tmp_path / "h").glob("[!.]*")} == {f"{cell}-{assay}" for cell, assay in test}
    imputer = AverageActivity()
    imputer.fit(opened, np.flatnonzero(roles["role"] == "train").tolist(), "chr21")
    for cell, assay in test:
        with np.load(tmp_path / f"h/{cell}-{assay}.npz") as arrays:
            np.testing.assert_allclose(arrays["chr21"], imputer.predict([(cell, assay)], "chr21")[:, 0], rtol=1e-6)
    # without a fold, no pair is held out, and what was never measured is imputed
    assert "nothing to impute" in avocado("impute", *keys, "pairs=held_out").out
    answer = avocado("impute", *keys)
    assert answer.status == 0, answer
    assert len(list((tmp_path / "imputed").glob("*.bw"))) == 36 - len(opened.tracks)


def test_places_are_imputed_by_any_imputer_as_by_a_model(avocado, store, tmp_path):
    from avocado.imputers.average import AverageActivity

    keys = [f"store={store}", "imputer=average", "progress=false", "cell=stem1", "assay=DNase", "scale=arcsinh"]
    (tmp_path / "two.bed").write_text("chr20\t50000\t50100\nchr20\t60000\t60050\n")
    answer = avocado("impute", *keys, "regions=['chr20:10,001-20,000',two.bed,chr21]", "out=w.npz")
    assert answer.status == 0, answer
    imputer, opened = AverageActivity(), open_store(store)
    imputer.fit(opened, range(len(opened.tracks)), "pilot")
    whole = imputer.predict([("stem1", "DNase")], "chr20")[:, 0]
    with np.load(tmp_path / "w.npz") as arrays:
        np.testing.assert_array_equal(arrays["chr20:10,001-20,000"], whole[400:800])
        np.testing.assert_array_equal(arrays["two"], whole[[2000, 2001, 2002, 2003, 2400, 2401]])
        assert arrays["chr21"].shape == (4_000,)
    assert "no chromosome 'chr1'" in avocado("impute", *keys, "regions='chr1:1-2000'", "out=x.npz").error
    assert "no region 'chr9'" in avocado("impute", *keys, "regions=chr9", "out=x.npz").error


def test_pairs_that_an_imputer_cannot_impute_are_left_out_and_named(avocado, store, tmp_path, monkeypatch):
    from avocado.imputers.average import AverageActivity

    predict = AverageActivity.predict

    def without_brain(self, pairs, region):
        for cell, assay in pairs:
            if cell.startswith("brain"):
                raise InputError(f"no {cell} {assay}")
        return predict(self, pairs, region)

    monkeypatch.setattr(AverageActivity, "predict", without_brain)
    keys = [f"store={store}", "imputer=average", "progress=false", "regions=chr21", "assay=DNase"]
    answer = avocado("impute", *keys)
    assert answer.status == 0, answer
    assert "left out: no brain1 DNase\n" in answer.out
    assert {path.name.split("-")[0] for path in (tmp_path / "imputed").iterdir()} >= {"stem1", "blood1"}
    assert not list((tmp_path / "imputed").glob("brain*"))
    assert avocado("impute", *keys, "cell=brain1").error == "no brain1 DNase"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["store="]),
        (["store={store}", "model=m"], ["model=", "imputer="]),
        (["store={store}", "imputer.sharpnes=3"], ["unknown key 'imputer.sharpnes'", "imputer.sharpness"]),
        (["store={store}", "imputer=oracle"], ["unknown imputer 'oracle'", "chromimpute"]),
        (["store={store}", "cell=E003"], ["cell type 'E003'", "blood1"]),
        (["store={store}", "cell=stem1", "assay=CTCF"], ["assay 'CTCF'", "DNase"]),
        (["store={store}", "pairs=everything"], ["'everything'", "unmeasured, held_out, all"]),
        (["store={store}", "cell=stem1", "assay=DNase", "regions=chr9"], ["'chr9'", "pilot, chr20, chr21"]),
        (["store={store}", "cell=stem1", "assay=DNase", "regions=pilot,chr20"], ["chr20", "pilot", "overlap"]),
        (["store={store}", "cell=stem1", "assay=DNase", "scale=log"], ["'log'", "pval, arcsinh"]),
        (["store={store}", "cell=stem1", "assay=DNase", "out=x.txt"], ["x.txt", ".bw or .npz"]),
        (["store={store}", "cell=stem1", "assay=DNase", "out=."], ["folder"]),
        (["store={store}", "cell=stem1", "out={assay}.bw"], ["{cell}"]),
        (["store={store}", "fold=9"], ["no fold 9"]),
    ],
)
def test_impute_refuses_in_one_line_and_writes_nothing(avocado, store, unchanged, arguments, named):
    typed = [argument.replace("{store}", str(store)) for argument in arguments]
    chosen = [] if any(argument.startswith("imputer=") for argument in typed) else ["imputer=similarity"]
    with unchanged():
        error = avocado("impute", *chosen, "progress=false", *typed).error
    for word in named:
        assert word in error


def test_settings_of_an_imputer_do_not_go_with_a_model(avocado, model, store, unchanged):
    with unchanged():
        assert (
            "nothing to impute"
            in avocado(
                "impute", f"model={model}", f"store={store}", "cell=stem1", "assay=H3K4me3", "pairs=unmeasured"
            ).out
        )
        assert "imputer.rank" in avocado("impute", f"model={model}", "imputer.rank=3").error
        assert "imputer.rank" in avocado("score", f"model={model}", f"store={store}", "imputer.rank=3").error
        assert "not both" in avocado("score", f"model={model}", f"store={store}", "imputer=average").error


# --- score -----------------------------------------------------------------------------------------------------------


def test_score_agrees_with_train(avocado, store, quick, demo, tmp_path):
    settings = ["imputer=chromimpute", *FAST["chromimpute"], "seed=3"]
    assert avocado("train", *quick, f"store={store}", "stage=pilot", *settings, "fold=2").status == 0
    places = f"genes={demo.path / 'genes.gtf.gz'}"
    answer = avocado("score", f"store={store}", *settings, "fold=2", "region=pilot", places, "strata=true", "out=s")
    assert answer.status == 0, answer
    assert answer.out.startswith("pilot:\n")
    mine, theirs = scores(tmp_path / "s/pilot"), scores(tmp_path / "runs/chromimpute/pilot/fold2/seed3")
    pd.testing.assert_frame_equal(mine[["mse", "pearson", "skill"]], theirs[["mse", "pearson", "skill"]])
    assert mine["mse_prom"].notna().all()
    assert set(pd.read_csv(tmp_path / "s/pilot/strata.csv")["method"]) == {"average activity", "chromimpute"}
    assert (tmp_path / "s/pilot/tracks.png").stat().st_size > 1_000


def test_score_all_regions_and_chosen_tracks(avocado, store, unchanged):
    from avocado.data.compendium import pairs_in
    from avocado.runs.run import SplitConfig

    roles = SplitConfig(fold=0).roles(open_store(store))
    (cell, assay), (learned, its) = pairs_in(roles, "test")[0], pairs_in(roles, "train")[0]
    keys = ["imputer=nearest", f"store={store}"]
    with unchanged():
        answer = avocado("score", *keys, f"tracks={cell}:{assay}")
        assert answer.status == 0, answer
        assert re.findall(r"^(\w+):$", answer.out, re.MULTILINE) == ["pilot", "chr20", "chr21", "chromosomes"]
        assert f"{cell} {assay}" in answer.out
        assert "training track" in avocado("score", *keys, f"tracks={learned}:{its}").error
        assert "E003" in avocado("score", *keys, "tracks=E003:DNase").error
        assert "chr22" in avocado("score", *keys, "region=chr22").error
        assert "nothing to score" in avocado("score", *keys, "fold=all").error
        assert "store=" in avocado("score", "imputer=nearest").error
        assert app.help_text("train") in avocado("train", "--help").out
