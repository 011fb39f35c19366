import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from toy import CHR20, PAIRS, RUN, STATES, TINY, genome_run, make_store, train_elsewhere, with_fit
from toy_figures import draw_nothing

from avocado.data.store import open_store
from avocado.errors import InputError
from avocado.inference.impute import impute
from avocado.model.directory import load_model
from avocado.runs import record as record_module
from avocado.runs import run as runs_module
from avocado.runs.run import RunSpec, SplitConfig, state, train
from avocado.utils.hardware import Hardware

# everything that draws random numbers
NOISY = with_fit(replace(RUN, model=replace(STATES, dropout=0.3)), epochs=30, tracks_per_bin=4, masked=0.4)
PATIENT = replace(
    with_fit(NOISY, epochs=60, patience=8),
    model=replace(TINY, dropout=0.3),
    split=SplitConfig(fold=0, n_folds=4, validation=0.2),
    optimizer=replace(RUN.optimizer, learning_rate=0.03, schedule="constant"),
)


def go(run, store, runs, **options):
    return train(run, store, runs, hardware=Hardware("cpu"), progress=False, **options)


def results(outcome):
    """All bits of the trained weights, and the curves."""
    files = sorted(outcome.model.glob("*.safetensors"))
    assert files
    weights = {file.name: {k: v.numpy().tobytes() for k, v in load_file(file).items()} for file in files}
    return weights | {"curve": (outcome.directory / "history.csv").read_text()}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    draw_nothing(monkeypatch)


@pytest.fixture(scope="module")
def uninterrupted(tiny_store, tmp_path_factory):
    """Results of a run that is never stopped."""
    known = {}

    def results_of(run):
        if run not in known:
            known[run] = results(go(run, tiny_store, tmp_path_factory.mktemp("whole")))
        return known[run]

    return results_of


@pytest.fixture(scope="module")
def processes():
    """Starts processes that have the package imported, and that can be killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["avocado.runs.run"])
    return context


@pytest.fixture(scope="module")
def trained(tiny_store, tmp_path_factory):
    """The runs folder of a pilot run; do not write into it."""
    runs = tmp_path_factory.mktemp("runs")
    go(RUN, tiny_store, runs)
    return runs


def test_what_a_pilot_run_leaves(tiny_store, tmp_path, monkeypatch):
    monkeypatch.undo()
    outcome = go(RUN, tiny_store, tmp_path)
    assert not outcome.was_done
    assert outcome.directory == tmp_path / "pilot" / "pilot" / "fold0" / "seed0"
    assert outcome.model == tmp_path / "model" / "fold0" / "seed0"
    names = {file.name for file in outcome.directory.iterdir()}
    assert names >= {"settings.yaml", "split.tsv", "history.csv", "scores.csv", "scores.json", "done.json"}
    assert names >= {"curve.png", "scores.png", "tracks.png", "factors.png", "report.html"}
    page = (outcome.directory / "report.html").read_text()
    for words in ("Learning curve", "Latent factors", "imputing and scoring held-out tracks", "How sure is that?"):
        assert words in page
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in outcome.directory.glob("*.png"))
    assert "checkpoint.ckpt" not in names
    assert not list(tmp_path.rglob("*.tmp"))
    made = {"README.md", "model.yaml", "shared.safetensors", "pilot.safetensors"}
    assert {file.name for file in outcome.model.iterdir()} == made
    curve = pd.read_csv(outcome.directory / "history.csv")
    assert curve["epoch"].tolist() == [1, 2]
    assert curve["train_mse"].notna().all()
    split = pd.read_csv(outcome.directory / "split.tsv", sep="\t", keep_default_na=False)
    assert list(zip(split["cell"], split["assay"], strict=True)) == PAIRS
    assert set(split["role"]) == {"train", "test"}
    assert outcome.scores is not None
    scored = outcome.scores[outcome.scores["cell"] != "mean"]
    held = split[split["role"] == "test"]
    assert set(zip(scored["cell"], scored["assay"], strict=True)) == set(zip(held["cell"], held["assay"], strict=True))
    assert set(scored["method"]) == {"Avocado", "average activity"}


def test_the_model_imputes_what_was_scored(tiny_store, trained):
    model = load_model(trained / "model" / "fold0" / "seed0")
    scores = pd.read_csv(trained / "pilot/pilot/fold0/seed0/scores.csv", keep_default_na=False)
    row = scores[(scores["method"] == "Avocado") & (scores["cell"] != "mean")].iloc[0]
    imputed = impute(model, [(row["cell"], row["assay"])], "pilot")[:, 0]
    mse = np.square(imputed - tiny_store.read_track(row["cell"], row["assay"], "pilot")).mean()
    assert float(row["mse"]) == pytest.approx(mse, rel=1e-4)


def test_a_run_is_not_done_by_another_model_in_its_place(tiny_store, tmp_path):
    first, other = go(RUN, tiny_store, tmp_path / "a"), go(replace(RUN, seed=1), tiny_store, tmp_path / "b")
    shutil.rmtree(first.model)
    shutil.copytree(other.model, first.model)
    with pytest.raises(InputError, match=r"is another model than the one that .* made: move it away"):
        go(RUN, tiny_store, tmp_path / "a")


def test_a_rerun_is_done(tiny_store, tmp_path):
    first = go(RUN, tiny_store, tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    again = go(with_fit(RUN, memory_limit=0, workers=0, checkpoint_every=5.0), tiny_store, tmp_path)
    assert again.was_done
    assert (again.directory, again.model) == (first.directory, first.model)
    pd.testing.assert_frame_equal(again.scores, first.scores)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": replace(TINY, nodes=9)}, r"model\.nodes was 8, is 9"),
        ({"fit": replace(RUN.fit, epochs=3)}, r"fit\.epochs was 2, is 3"),
        ({"optimizer": replace(RUN.optimizer, eps=1e-7)}, r"optimizer\.eps was 1e-08, is 1e-07"),
        ({"split": SplitConfig(fold=0, n_folds=5)}, r"split\.n_folds was 4, is 5"),
        (
            {"split": SplitConfig(fold=0, n_folds=4, hold_out=("E003 RNA",))},
            r"split\.hold_out was \[\], is \['E003 RNA'",
        ),
    ],
)
def test_other_settings_are_refused(tiny_store, trained, changes, message):
    with pytest.raises(InputError, match=rf"was begun with other settings \({message}.*overwrite=true") as caught:
        go(replace(RUN, **changes), tiny_store, trained)
    assert "\n" not in str(caught.value)


def test_other_signal_is_refused(tiny_store, trained):
    tracks = tiny_store.tracks.assign(sha256=[f"{number:064x}" for number in range(99, 99 + len(tiny_store.tracks))])
    with pytest.raises(InputError, match=r"other settings \(signal was pilot 851 \w+, is pilot 851 \w+"):
        go(RUN, replace(tiny_store, tracks=tracks), trained)


def test_overwrite_trains_again(tiny_store, tmp_path):
    first = go(RUN, tiny_store, tmp_path)
    genome = go(genome_run(), tiny_store, tmp_path)
    weights = results(first)
    second = go(with_fit(RUN, epochs=3), tiny_store, tmp_path, overwrite=True)
    assert not second.was_done
    assert results(second)["shared.safetensors"] != weights["shared.safetensors"]
    # factors that belong to the shared parameters of before are gone, and their run is not done any more
    assert not (genome.model / "chr20.safetensors").exists()
    with pytest.raises(InputError, match=r"other settings \(pilot was"):
        go(genome_run(), tiny_store, tmp_path)


def test_places_of_runs(tmp_path):
    assert RUN.model_directory(tmp_path) == genome_run().model_directory(tmp_path)
    joint = replace(RUN, stage="joint", region="chr20", seed=3)
    assert joint.directory(tmp_path) == tmp_path / "joint" / "chr20" / "fold0" / "seed3"
    assert joint.model_directory(tmp_path) == joint.directory(tmp_path) / "model"
    everything = replace(RUN, split=SplitConfig(fold=None))
    assert everything.directory(tmp_path) == tmp_path / "pilot" / "pilot" / "foldall" / "seed0"


def test_nothing_held_out(tiny_store, tmp_path):
    outcome = go(replace(RUN, split=SplitConfig(fold=None)), tiny_store, tmp_path)
    assert outcome.scores is None
    assert not (outcome.directory / "scores.csv").exists()
    again = go(replace(RUN, split=SplitConfig(fold=None)), tiny_store, tmp_path)
    assert again.was_done
    assert again.scores is None


def test_genome_completes_the_pilot_model(tiny_store, tmp_path):
    pilot = go(RUN, tiny_store, tmp_path)
    before = results(pilot)
    genome = go(genome_run(), tiny_store, tmp_path)
    assert genome.model == pilot.model
    after = results(genome)
    del after["curve"]
    assert set(after) == {"shared.safetensors", "pilot.safetensors", "chr20.safetensors"}
    assert all(after[name] == before[name] for name in ("shared.safetensors", "pilot.safetensors"))
    assert load_model(genome.model).regions["chr20"] == CHR20
    assert go(genome_run(), tiny_store, tmp_path).was_done
    assert go(RUN, tiny_store, tmp_path).was_done
    (genome.model / "chr20.safetensors").unlink()
    again = go(genome_run(), tiny_store, tmp_path)
    assert not again.was_done
    assert after.items() <= results(again).items()


STATES_RUN = replace(RUN, model=STATES, split=replace(RUN.split, validation=0.2))


def roles_of(outcome):
    table = pd.read_csv(outcome.directory / "split.tsv", sep="\t", keep_default_na=False)
    return {role: np.flatnonzero(table["role"] == role) for role in ("train", "val", "test")}


def test_the_model_with_a_baseline_imputes_what_was_scored(tiny_store, tmp_path):
    go(STATES_RUN, tiny_store, tmp_path)
    outcome = go(genome_run(STATES_RUN), tiny_store, tmp_path)
    model, scores = load_model(outcome.model), outcome.scores
    scored = scores[(scores["method"] == "Avocado") & (scores["cell"] != "mean")]
    assert len(scored)
    for row in scored.to_dict("records"):
        imputed = impute(model, [(row["cell"], row["assay"])], "chr20")[:, 0]
        mse = np.square(imputed - tiny_store.read_track(row["cell"], row["assay"], "chr20")).mean()
        assert row["mse"] == pytest.approx(mse, rel=1e-4)


def test_a_genome_run_in_a_store_of_its_own(tiny_store, tmp_path):
    """The pilot's store is gone: regressions are made of the tracks of the run's own, which are the same."""
    shutil.copytree(tiny_store.path, tmp_path / "first")
    go(STATES_RUN, open_store(tmp_path / "first"), tmp_path / "runs")
    (tmp_path / "first").rename(tmp_path / "second")
    outcome = go(genome_run(STATES_RUN), open_store(tmp_path / "second"), tmp_path / "runs")
    whole = tmp_path / "whole"
    go(STATES_RUN, tiny_store, whole)
    expected = load_file(go(genome_run(STATES_RUN), tiny_store, whole).model / "chr20.safetensors")
    assert torch.equal(load_file(outcome.model / "chr20.safetensors")["genome"], expected["genome"])


def test_joint_makes_a_model_of_its_own(tiny_store, tmp_path):
    outcome = go(replace(RUN, stage="joint", region="chr20"), tiny_store, tmp_path)
    assert outcome.model.is_relative_to(outcome.directory)
    assert list(load_model(outcome.model).regions) == ["chr20"]


def test_genome_needs_a_pilot_model(tiny_store, tmp_path):
    with pytest.raises(InputError, match=r"no pilot model at .*fold0/seed0: train it first, with stage=pilot"):
        go(genome_run(), tiny_store, tmp_path)


def test_genome_needs_the_split_of_its_pilot(tiny_store, trained):
    other = replace(RUN, split=SplitConfig(fold=0, n_folds=4, seed=5))
    with pytest.raises(
        InputError, match=r"\w+ is '(train|test)' in the pilot model .* and '(train|test)' here"
    ) as caught:
        go(genome_run(other), tiny_store, trained)
    assert "\n" not in str(caught.value)
    fewer = replace(tiny_store, tracks=tiny_store.tracks.iloc[:-1])
    with pytest.raises(InputError, match=r"in the pilot model .* (here|'unknown')"):
        go(genome_run(), fewer, trained)


def test_mistakes_leave_no_settings(tiny_store, tmp_path):
    with pytest.raises(InputError, match=r"unknown stage 'pilots'"):
        replace(RUN, stage="pilots")
    with pytest.raises(InputError, match=r"seed=-1"):
        replace(RUN, seed=-1)
    with pytest.raises(InputError, match=r"has no region 'chr7'"):
        go(replace(RUN, stage="joint", region="chr7"), tiny_store, tmp_path)
    with pytest.raises(InputError, match=r"patience needs validation tracks"):
        go(with_fit(RUN, patience=1), tiny_store, tmp_path)
    # the corrected run is not told that it was begun with other settings
    go(RUN, tiny_store, tmp_path)


def test_a_place_that_cannot_hold_runs(tiny_store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*Not a directory; choose another place with runs="):
        go(RUN, tiny_store, tmp_path / "file")


def test_damaged_settings(tiny_store, tmp_path):
    outcome = go(RUN, tiny_store, tmp_path)
    for damage in ("a: [1", "text", ""):
        (outcome.directory / "settings.yaml").write_text(damage)
        with pytest.raises(InputError, match=r"settings\.yaml is damaged: set overwrite=true"):
            go(RUN, tiny_store, tmp_path)
    assert not go(RUN, tiny_store, tmp_path, overwrite=True).was_done


def test_a_run_of_another_version(tiny_store, tmp_path):
    file = go(RUN, tiny_store, tmp_path).directory / "settings.yaml"
    settings = yaml.safe_load(file.read_text())
    # another version with the same kind of files is no reason to train again
    for same in (settings | {"avocado": "0.0.9"}, {k: v for k, v in settings.items() if "version" not in k}):
        file.write_text(yaml.safe_dump(same))
        assert go(RUN, tiny_store, tmp_path).was_done
    file.write_text(yaml.safe_dump(settings | {"avocado": "0.0.9", "momentum": 0.5}))
    with pytest.raises(InputError, match=r"begun by avocado 0\.0\.9 with other settings \(momentum was 0\.5, is None"):
        go(RUN, tiny_store, tmp_path)
    file.write_text(yaml.safe_dump(settings | {"avocado": "9.0", "format_version": 7, "momentum": 0.5}))
    with pytest.raises(InputError, match=r"is of avocado 9\.0, whose runs version \S+ cannot go on with: .*runs="):
        go(RUN, tiny_store, tmp_path)
    assert not go(RUN, tiny_store, tmp_path, overwrite=True).was_done


def test_states(tiny_store, tmp_path):
    genome = genome_run()
    assert state(RUN, tiny_store, tmp_path) == state(genome, tiny_store, tmp_path) == "to do"
    outcome = go(RUN, tiny_store, tmp_path)
    assert state(RUN, tiny_store, tmp_path) == "done"
    assert state(genome, tiny_store, tmp_path) == "to do"
    directory = genome.directory(tmp_path)
    directory.mkdir(parents=True)
    (directory / "checkpoint.ckpt").write_text("")
    assert state(genome, tiny_store, tmp_path) == "begun"
    (outcome.model / "pilot.safetensors").write_bytes(b"damaged")
    assert state(RUN, tiny_store, tmp_path) == "to do"
    with pytest.raises(InputError, match="other settings"):
        state(replace(RUN, seed=0, model=replace(RUN.model, nodes=9)), tiny_store, tmp_path)


def test_a_damaged_chromosome_is_trained_again_and_stops_no_other(tiny_store, tmp_path):
    go(RUN, tiny_store, tmp_path)
    outcome = go(genome_run(), tiny_store, tmp_path)
    file, pilot = outcome.model / "chr20.safetensors", outcome.model / "pilot.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[:-1], b"", pilot.read_bytes()):
        file.write_bytes(damaged)
        assert not go(genome_run(), tiny_store, tmp_path).was_done
        assert file.read_bytes() == whole
    pilot.write_bytes(b"damaged")
    file.unlink()
    assert not go(genome_run(), tiny_store, tmp_path).was_done
    # the pilot's parameters come out the same, so that the chromosome still fits
    assert not go(RUN, tiny_store, tmp_path).was_done
    assert file.read_bytes() == whole
    assert go(genome_run(), tiny_store, tmp_path).was_done


def test_settings_are_readable(trained):
    settings = yaml.safe_load((trained / "pilot/pilot/fold0/seed0/settings.yaml").read_text())
    assert settings["model"]["nodes"] == 8
    assert settings["stage"] == "pilot"
    done = json.loads((trained / "pilot/pilot/fold0/seed0/done.json").read_text())
    assert (done["fold"], done["seed"]) == (0, 0)


@pytest.mark.parametrize("run", [NOISY, PATIENT], ids=["to the end", "early stop"])
def test_killed_at_any_moment(run, tiny_store, tmp_path, processes, uninterrupted):
    """SIGKILL again and again, after random times: the weights are those of the uninterrupted run, bit for bit."""
    epochs = uninterrupted(run)["curve"].count("\n") - 1
    assert (epochs < run.fit.epochs) == (run.fit.patience > 0)
    random = np.random.default_rng(0)
    started = time.monotonic()
    killed = resumed = 0
    directory = run.directory(tmp_path / "killed")
    while not (directory / "done.json").is_file():
        resumed += (directory / "checkpoint.ckpt").is_file()
        process = processes.Process(target=train_elsewhere, args=(run, tiny_store.path, tmp_path / "killed"))
        process.start()
        if killed >= 3 and not resumed:
            # after some at random times, even before training has begun, one that leaves a checkpoint behind
            while process.is_alive() and not (directory / "checkpoint.ckpt").is_file():
                time.sleep(0.002)
        else:
            # patience of the test itself: after a while processes live longer, and end
            process.join(random.uniform(0.2, 0.7) + 2 * max(0, killed - 5) ** 2)
        if process.is_alive():
            process.kill()
            killed += 1
        process.join()
        assert process.exitcode in (0, -9)
        assert time.monotonic() - started < 60
    assert killed >= 2
    assert resumed >= 1
    outcome = go(run, tiny_store, tmp_path / "killed")
    assert outcome.was_done
    assert results(outcome) == uninterrupted(run)


@pytest.mark.parametrize("run", [NOISY, PATIENT], ids=["to the end", "early stop"])
@pytest.mark.parametrize("moment", ["save_shared", "save_region", "load_model", "write_scores", "picture"])
def test_stopped_after_training(run, moment, tiny_store, tmp_path, monkeypatch, uninterrupted):
    run = with_fit(run, epochs=12, patience=run.fit.patience and 2)
    with monkeypatch.context() as patch:

        def stop(*args, **kwargs):
            raise KeyboardInterrupt

        patch.setattr(runs_module if hasattr(runs_module, moment) else record_module, moment, stop)
        with pytest.raises(KeyboardInterrupt):
            go(run, tiny_store, tmp_path / "stopped")
    outcome = go(run, tiny_store, tmp_path / "stopped")
    assert not outcome.was_done
    assert results(outcome) == uninterrupted(run)


def test_best_weights_are_kept_where_training_had_ended(tiny_store, tmp_path, monkeypatch):
    """Stopped after the last epoch, with patience left: no epoch remains to be trained, the best weights do."""
    run = with_fit(PATIENT, epochs=15, patience=14)
    whole = go(run, tiny_store, tmp_path / "whole")
    curve = pd.read_csv(whole.directory / "history.csv")["val_mse"]
    assert len(curve) == 15
    assert curve.argmin() < 14
    with monkeypatch.context() as patch:
        patch.setattr(runs_module, "save_shared", lambda *args: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            go(run, tiny_store, tmp_path / "stopped")
    assert results(go(run, tiny_store, tmp_path / "stopped")) == results(whole)


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_checkpoint(damage, tiny_store, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(runs_module, "save_shared", lambda *args: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            go(RUN, tiny_store, tmp_path)
    checkpoint = RUN.directory(tmp_path) / "checkpoint.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000] if damage is None else damage)
    with pytest.raises(InputError, match=r"checkpoint\.ckpt is damaged.*start again with resume=false") as caught:
        go(RUN, tiny_store, tmp_path)
    assert "\n" not in str(caught.value)
    assert not go(RUN, tiny_store, tmp_path, resume=False).was_done


def test_two_processes_share_the_work(tiny_store, tmp_path, processes, uninterrupted):
    """The second waits for the first and finds the run done."""
    both = [processes.Process(target=train_elsewhere, args=(NOISY, tiny_store.path, tmp_path)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    outcome = go(NOISY, tiny_store, tmp_path)
    assert outcome.was_done
    assert results(outcome) == uninterrupted(NOISY)


@pytest.mark.parametrize("poison", [777.0, np.nan])
def test_held_out_signal_changes_no_weight(tiny_store, tmp_path, monkeypatch, poison):
    """The same runs on two stores that differ in the held-out tracks alone: bit for bit the same model."""
    # what is held out cannot be scored where it is no numbers
    monkeypatch.setattr(record_module, "pairs_in", lambda tracks, role: [])
    run = replace(NOISY, fit=replace(RUN.fit, epochs=3))
    clean = go(run, tiny_store, tmp_path / "a")
    split = pd.read_csv(clean.directory / "split.tsv", sep="\t", keep_default_na=False)
    held = split.index[split["role"] != "train"]
    assert len(held)
    poisoned = make_store(tmp_path / "store", **{f"t{column}": poison for column in held})
    assert results(clean) == results(go(run, poisoned, tmp_path / "b"))
    clean, other = (
        results(go(genome_run(run), store, tmp_path / name)) for store, name in ((tiny_store, "a"), (poisoned, "b"))
    )
    assert clean == other
    assert set(clean) == {"shared.safetensors", "pilot.safetensors", "chr20.safetensors", "curve"}


def test_validation_signal_changes_no_weight(tmp_path, tiny_store):
    """With a baseline, which validation tracks are compared with and have no part in."""
    clean = go(STATES_RUN, tiny_store, tmp_path / "a")
    poison = {f"t{column}": 777.0 for column in roles_of(clean)["val"]}
    other = go(STATES_RUN, make_store(tmp_path / "store", **poison), tmp_path / "b")
    mine, theirs = results(clean), results(other)
    assert mine.pop("curve") != theirs.pop("curve")
    assert mine == theirs


def test_seeds_and_folds_are_different_runs(tiny_store, tmp_path):
    first = go(RUN, tiny_store, tmp_path)
    second = go(replace(RUN, seed=1), tiny_store, tmp_path)
    third = go(replace(RUN, split=replace(RUN.split, fold=1)), tiny_store, tmp_path)
    assert len({each.model for each in (first, second, third)}) == 3
    assert results(first)["shared.safetensors"] != results(second)["shared.safetensors"]
    assert isinstance(RUN, RunSpec)
