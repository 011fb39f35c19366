"""The comparison with the original: its processes' line protocol, its tables, and the clock of our side."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from toy import CHR20, PILOT, RUN, TINY, TRAIN, VAL, with_fit

from avocado.cli import app
from avocado.config.overrides import composed
from avocado.data.genome import BLOCK_BINS, Region, Segment
from avocado.errors import InputError
from avocado.inference.impute import impute
from avocado.training.fit import fit
from avocado.utils.hardware import Hardware
from experiments.benchmarks import original, our_worker, quality
from experiments.benchmarks.original import ALL, MEMORY, ONE, TRAINING, Measured
from experiments.benchmarks.quality import OURS, Point
from experiments.benchmarks.workers import REPOSITORY, Worker, original_environment, start_original

FLOAT32 = Hardware("cpu", "float32")

# --- the processes ---------------------------------------------------------------------------------------------------

FAKE = f"""
import os, sys
sys.path.insert(0, {str(REPOSITORY)!r})
from experiments.benchmarks.original_worker import serve

class Commands:
    def add(self, a, b):
        print("a progress bar on standard output")
        os.system("echo and one of a child")
        return {{"sum": a + b, "threads": os.environ.get("TF_NUM_INTRAOP_THREADS")}}
    def fail(self):
        raise ValueError("no such thing")
    def die(self):
        os._exit(3)

serve(Commands())
"""


def fake_worker(tmp_path: Path, **options) -> Worker:
    return Worker("the fake", [sys.executable, "-c", FAKE], tmp_path / "logs" / "fake.log", tmp_path, **options)


def test_a_worker_answers_and_its_chatter_goes_to_the_log(tmp_path):
    with fake_worker(tmp_path, threads=3) as worker:
        assert worker.ask("add", a=2, b=3) == {"sum": 5, "threads": "3"}
        assert worker.ask("add", a=[1], b=[2])["sum"] == [1, 2]
    assert worker.process.returncode == 0
    log = worker.log.read_text()
    assert "a progress bar on standard output" in log
    assert "and one of a child" in log


def test_a_failed_command_is_one_line_and_the_worker_goes_on(tmp_path):
    with fake_worker(tmp_path) as worker:
        with pytest.raises(
            InputError, match=r"^the fake failed to fail \(ValueError: no such thing\): see .*fake\.log$"
        ):
            worker.ask("fail")
        assert worker.ask("add", a=1, b=1)["sum"] == 2
    assert "Traceback" in worker.log.read_text()


def test_a_worker_that_is_gone_is_an_error_that_names_its_log(tmp_path):
    with fake_worker(tmp_path) as worker:
        for _ in range(2):
            with pytest.raises(InputError, match=r"^the fake ended \(status 3\) when asked to die: see .*fake\.log$"):
                worker.ask("die")


def test_a_worker_does_not_outlive_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), fake_worker(tmp_path) as worker:
        raise KeyboardInterrupt
    assert worker.process.returncode is not None


def test_the_originals_worker_needs_nothing_of_ours(tmp_path):
    with start_original(Path(sys.executable), tmp_path / "original.log", threads=None) as worker:
        assert worker.process.args[1] == "-I"
        assert worker.ask("memory") > 1e6


def test_an_environment_of_something_else_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has not avocado-epigenome 0\.3\.6 and tensorflow-cpu 2\.15\.1: remove it"):
        original_environment(tmp_path, None, tmp_path / "logs" / "environment.log")


def test_an_environment_that_cannot_be_made_leaves_nothing_under_its_name(tmp_path):
    with pytest.raises(InputError, match=r"python=/no/python: TensorFlow 2\.15 needs Python 3\.9 to 3\.11"):
        original_environment(tmp_path / "env", "/no/python", tmp_path / "environment.log")
    assert not (tmp_path / "env").exists()


# --- the table -------------------------------------------------------------------------------------------------------


def test_ratios_are_taken_pair_by_pair_and_more_is_better_but_for_memory():
    # the machine was slow in the second round, for both sides: the ratio does not see it
    row = Measured("pilot", "small", TRAINING, [(60, 10), (12, 2), (70, 10)]).row()
    assert row == {
        "region": "pilot", "model": "small", "figure": TRAINING, "ours": 60, "original": 10, "ratio": 6,
        "range": "6 to 7", "wanted": "6",
    }  # fmt: skip
    row = Measured("chr1", "medium", MEMORY, [(500, 1500)]).row()
    assert (row["ratio"], row["range"], row["wanted"]) == (3, "", "2")
    assert Measured("chr1", "medium", ONE, [(1, 2)]).row()["wanted"] == ""


class Script:
    """A worker that answers from a table and remembers what it was asked."""

    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    def ask(self, command, **arguments):
        self.asked.append((command, arguments))
        answer = self.answers.get(command)
        return answer(**arguments) if callable(answer) else answer


def test_both_sides_are_measured_in_turn(tmp_path, capsys):
    ours = Script(
        train=lambda steps, epochs: {"seconds": 2.0, "samples": 1000.0 * steps},
        predict=lambda pairs: {"seconds": 0.5 * len(pairs), "bins": 1000},
        memory=300_000_000,
    )
    theirs = Script(train={"seconds": 4.0, "samples": 4000}, predict={"seconds": 4.0, "bins": 1000}, memory=900_000_000)
    found = original.measure((ours, theirs), (["A", "B"], ["x", "y"]), (8, 2), 1000, 3, tmp_path)
    assert found == {TRAINING: [(4, 1)] * 3, ONE: [(2, 0.25)] * 3, ALL: [(2, 0.25)] * 3, MEMORY: [(300, 900)]}
    # memory is read after training and before anything is predicted, and one round warms up
    assert [name for name, _ in ours.asked[:4]] == ["train", "memory", "save", "predict"]
    assert [name for name, _ in theirs.asked] == ["train", "memory", "predict", *["train", "predict"] * 3]
    assert theirs.asked[0][1] == {"steps": 2, "epochs": 2}
    assert ours.asked[-1][1] == {"pairs": [("A", "x"), ("A", "y"), ("B", "x"), ("B", "y")]}
    assert capsys.readouterr().out.count("\n") == 3


# --- our side --------------------------------------------------------------------------------------------------------


def test_the_first_bins_of_a_region_are_in_its_first_blocks():
    assert our_worker.first_bins(PILOT, PILOT.n_bins) == PILOT
    assert our_worker.first_bins(CHR20, 10**9) == CHR20
    part = our_worker.first_bins(PILOT, 500)  # of segments of 450, 201 and 200 bins
    assert part == Region("pilot", (PILOT.segments[0], Segment("chr1", 1000, 1050)))
    assert (part.n_bins, part.n_blocks) == (500, 4)


def test_our_side_trains_the_steps_it_is_told_and_predicts(tiny_store, tmp_path):
    ours = our_worker.Ours()
    ours.prepare(
        str(tiny_store.path), "chr20", vars(TINY), batch_size=400, precision="float32"
    )  # 1,892 bins: 10 blocks, 5 steps
    for steps, samples in ((2, 800), (5, 1892), (100, 1892)):
        trained = ours.train(steps, epochs=2)
        assert trained["samples"] == samples
        assert 0 < trained["seconds"] < 60
        assert len(ours.module.seconds) == 2
    ours.save(str(tmp_path / "model"), bins=1000)
    pairs = [("E003", "RNA"), ("liver", "DNase")]
    assert ours.predict(pairs)["bins"] == 1000
    assert impute(ours.model, pairs, "chr20", FLOAT32).shape == (1000, 2)
    with torch.no_grad():
        rows = ours.module.genome[:5]
        whole = ours.module.network.eval().predict(rows, torch.tensor([1, 3]), torch.tensor([3, 0]))
    np.testing.assert_allclose(impute(ours.model, pairs, "chr20", FLOAT32), whole.reshape(-1, 2), atol=1e-5)


def test_the_clock_stands_still_during_validation(tiny_store):
    run = with_fit(RUN, epochs=2, sampling="sequential")
    module, data = our_worker.prepare_columns(run, tiny_store, FLOAT32, TRAIN, VAL)
    step = module.validation_step

    def slow(batch, batch_idx):
        time.sleep(0.3)
        step(batch, batch_idx)

    module.validation_step = slow
    start = time.perf_counter()
    fit(module, data, run.fit, hardware=FLOAT32, progress=False)
    assert time.perf_counter() - start > 1.2  # 2 epochs × 2 batches of validation blocks or more
    assert len(module.seconds) == len(module.history.val_mse) == 2
    assert sum(module.seconds) < 0.6


def test_validation_is_the_error_over_all_bins(tiny_store, tmp_path):
    ours = our_worker.Ours()
    ours.prepare(str(tiny_store.path), "pilot", vars(TINY), batch_size=400, precision="float32")
    ours.module, ours.data = our_worker.prepare_columns(with_fit(RUN, epochs=1), tiny_store, FLOAT32, TRAIN, VAL)
    fit(ours.module, ours.data, with_fit(RUN, epochs=1).fit, hardware=FLOAT32, progress=False)
    assert len(ours.data.validation.blocks) * BLOCK_BINS >= PILOT.n_bins
    ours.save(str(tmp_path / "model"), PILOT.n_bins)
    tracks = tiny_store.tracks.iloc[VAL]
    imputed = impute(ours.model, list(zip(tracks["cell"], tracks["assay"], strict=True)), "pilot", FLOAT32)
    error = quality.mean_squared_error(tiny_store, VAL, imputed.T)
    assert error == pytest.approx(ours.module.history.val_mse[-1], rel=1e-4)


def test_our_curve_has_a_point_for_every_epoch(tiny_store):
    curve = quality.our_curve(with_fit(RUN, epochs=2), tiny_store, FLOAT32, TRAIN, VAL)
    assert [point.epoch for point in curve] == [1, 2]
    assert 0 < curve[0].seconds < curve[1].seconds


def test_the_original_gets_the_same_signal_track_by_track(tiny_store, tmp_path):
    original.write_track_major(tiny_store, "pilot", TRAIN, tmp_path / "signal.npy")
    signal = np.load(tmp_path / "signal.npy", mmap_mode="r")
    assert signal.dtype == np.float32
    np.testing.assert_array_equal(signal, tiny_store.read_tracks(TRAIN, "pilot").T)


# --- time to quality -------------------------------------------------------------------------------------------------


def test_held_out_tracks_are_measured_and_of_different_cell_types_and_assays(tiny_store):
    measured = set(zip(tiny_store.tracks["cell"], tiny_store.tracks["assay"], strict=True))
    choices = [quality.one_per_assay(tiny_store, fold) for fold in range(4)]
    for names in choices:
        pairs = [tuple(name.split(":")) for name in names]
        assert set(pairs) <= measured
        assert len({cell for cell, _ in pairs}) == len({assay for _, assay in pairs}) == 4
    assert len({tuple(names) for names in choices}) > 1
    # the diagonal itself, where all of it was measured
    assert choices[0] == ["B cell:DNase", "E003:H3K27ac", "NA:H3K4me3", "liver:RNA"]


def test_average_activity_is_scored_on_the_held_out_tracks(tiny_store):
    signal = tiny_store.read_tracks(range(13), "pilot")
    assays = tiny_store.tracks["assay"]
    errors = []
    for column in VAL:
        others = [other for other in TRAIN if assays.iloc[other] == assays.iloc[column]]
        errors.append(np.square(signal[:, column] - signal[:, others].mean(axis=1)).mean())
    assert quality.average_activity(tiny_store, TRAIN, VAL) == pytest.approx(np.mean(errors), rel=1e-5)


CURVES = {
    (OURS, 0): [Point(1, 2.0, 0.4), Point(2, 4.0, 0.2), Point(3, 6.0, 0.1)],
    (quality.ORIGINAL, 0): [Point(1, 10.0, 0.5), Point(2, 20.0, 0.3), Point(3, 30.0, 0.35)],
    (OURS, 1): [Point(1, 2.0, 0.4)],
    (quality.ORIGINAL, 1): [Point(1, 10.0, 0.3)],
}


def test_time_to_the_originals_best():
    first, second, median = quality.times_to_best(CURVES).to_dict(orient="records")
    assert (first["original's best MSE"], first["in epoch"], first["after seconds"]) == (0.3, 2, 20)
    assert (first["our MSE"], first["after our seconds"], first["ratio"], first["our last MSE"]) == (0.2, 4, 5, 0.1)
    assert np.isnan(second["ratio"])  # never as good
    assert second["our last MSE"] == 0.4
    assert (median["seed"], median["ratio"]) == ("median", 5)


def test_the_figure_names_each_side_once():
    figure = quality.plot_curves(CURVES, 0.25)
    assert isinstance(figure, Figure)
    (ax,) = figure.axes
    assert ax.get_legend_handles_labels()[1] == ["Avocado, default", "the original, small", "average activity"]
    assert len(ax.lines) == 5


def test_the_original_is_trained_pass_by_pass_and_scored_by_us(tiny_store, tmp_path):
    predicted = iter([0.0, 0.5])
    tracks = tiny_store.read_tracks(VAL, "pilot").T

    def predict(pairs, bins, out):
        assert (len(pairs), bins) == (len(VAL), PILOT.n_bins)
        np.save(out, tracks + next(predicted))
        return {"seconds": 1.0, "bins": bins}

    script = Script(train={"seconds": 3.0, "samples": 10_000}, predict=predict)
    curve = quality.original_curve(script, tiny_store, VAL, 2, tmp_path / "predicted.npy")
    assert [point[:2] for point in curve] == [(1, 3.0), (2, 6.0)]
    assert [point.mse for point in curve] == pytest.approx([0.0, 0.25], abs=1e-6)
    assert script.asked[0] == ("train", {"steps": 1, "epochs": 1})  # 851 bins


# --- the configs -----------------------------------------------------------------------------------------------------


def test_configs_compose_and_agree_with_the_code():
    config = composed("benchmark_original", [])
    other = composed("benchmark_quality", ["data.folder=somewhere"])
    assert list(config.sizes) == list(original.BATCH) == list(config.predict)
    assert tuple(config.regions) == original.REGIONS
    assert set(config.ours) == set(config.original) <= {f"{r}_{s}" for r in config.regions for s in config.sizes}
    assert config.repeats >= 5
    assert {f"{region}_{size}" for region, size, figure in original.WANTED if figure != MEMORY} == set(config.ours)
    assert config.environment == other.environment
    assert other.data.folder == "somewhere"


@pytest.mark.parametrize(("key", "message"), [("sizes=[huge]", "sizes=huge: there is small, medium, paper"),
                                              ("regions=[chr2]", "regions=chr2: there is pilot, chr1")])  # fmt: skip
def test_unknown_models_and_regions_are_named(key, message, capsys, tmp_path):
    assert app.run("benchmark_original", original.benchmark, [key, f"folder={tmp_path}"]) == 2
    assert message in capsys.readouterr().err
