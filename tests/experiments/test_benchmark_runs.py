"""The training benchmarks at toy size: what they count, what they measure, what they write."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from toy import plain_fit, plain_model

from avocado.cli import app
from avocado.errors import InputError
from avocado.training.module import FactorizationModule
from avocado.utils.hardware import Hardware
from experiments.benchmarks import limit, projection, scaling, steps
from experiments.benchmarks.synthetic_run import (
    REGION,
    Setting,
    epoch_bins,
    model_of,
    multiply_adds,
    operations,
    prepare,
    synthetic_store,
    timed_epochs,
)
from experiments.benchmarks.timing import machine

ON_CPU = ["device=cpu", "precision=float32"]
TINY = Setting(model_of("tiny"), "pilot", plain_fit(epochs=1, batch_size=400), Hardware("cpu", "float32"))


def read(path) -> pd.DataFrame:
    table = pd.read_csv(path)
    assert set(table["machine"]) == {machine()}
    return table


# --- what is shared ----------------------------------------------------------------------------------------------


def test_operations_of_the_papers_model_counted_by_hand():
    paper = model_of("paper")
    assert paper.inputs == 32 + 256 + 25 + 40 + 45 == 398
    assert multiply_adds(paper) == 398 * 2048 + 2048 * 2048 + 2048 == 5_011_456
    assert operations(paper, "pilot") == operations(paper, "joint") == 6 * 5_011_456
    assert operations(paper, "genome") == 4 * 5_011_456


def test_operations_of_other_depths():
    one, none, three = (plain_model(layers=layers, nodes=10) for layers in (1, 0, 3))
    assert multiply_adds(one) == 398 * 10 + 10
    assert multiply_adds(none) == 398
    assert multiply_adds(three) == 398 * 10 + 2 * 10 * 10 + 10


@pytest.mark.parametrize("name", ["small", "medium", "paper"])
def test_models_have_no_dropout(name):
    model = model_of(name)
    assert model.dropout == 0


def test_unknown_model_is_one_line():
    with pytest.raises(InputError, match=r"unknown model 'huge'; there is: .*paper"):
        model_of("huge")


def test_synthetic_store_has_the_asked_shape_and_distinct_pairs(tmp_path):
    store = synthetic_store(tmp_path, 650, 30)
    assert store.signal(REGION).shape == (4, 200, 30)
    assert store.region(REGION).n_bins == 650
    assert not store.tracks.duplicated(["cell", "assay"]).any()
    assert 0 <= store.signal(REGION).min() < store.signal(REGION).max() <= 2
    with pytest.raises(InputError, match="expected 1 to 3048 tracks"):
        synthetic_store(tmp_path / "more", 650, 3049)


def test_epochs_are_whole_batches():
    assert epoch_bins(TINY, 1000) == 800
    assert epoch_bins(TINY, 100) == 400
    assert epoch_bins(TINY, 0) == 1_126_469 // 400 * 400
    assert 40_000 <= epoch_bins(replace(TINY, model=model_of("paper")), 0) < 200_000


@pytest.mark.parametrize("stage", ["pilot", "genome"])
def test_the_module_is_a_users(tmp_path, stage):
    setting = Setting(TINY.model, stage, TINY.fit, Hardware("cpu", "bf16"))
    module, data = prepare(FactorizationModule, setting, synthetic_store(tmp_path, 1200, 5))
    assert module.network.compute == setting.dtype == torch.bfloat16
    assert module.genome.shape == (6, TINY.model.block_width)
    assert len(data.training.columns) == 5
    assert not data.streams


def test_epochs_are_timed_one_by_one_without_what_lies_between(tmp_path):
    calls = []
    times = timed_epochs(TINY, synthetic_store(tmp_path, 1200, 5), 3, lambda: (calls.append(1), time.sleep(0.5)))
    assert len(times) == 3
    assert len(calls) == 4  # one epoch warms up
    assert all(0 < seconds < 0.5 for seconds in times)


# --- the commands ------------------------------------------------------------------------------------------------


def test_limit(tmp_path, capsys):
    arguments = ["models=[tiny]", "bins=2000", "tracks=5", "epochs=2", "batch_size.other=400", "product=[64,64,64]"]
    arguments += ["product_seconds=0.01"]
    assert app.run("benchmark_limit", limit.benchmark, [*arguments, *ON_CPU, f"folder={tmp_path}"]) == 0
    table = read(tmp_path / "limit.csv")
    assert list(table["stage"]) == ["pilot", "genome"]
    assert set(table["type"]) == {"float32"}
    for row, per_sample in zip(table.to_dict("records"), (6 * 144, 4 * 144), strict=True):  # 17 × 8 + 8
        assert row["step GFLOP/s"] == pytest.approx(row["samples/s"] * per_sample / 1e9)
        assert row["ms per step"] == pytest.approx(400 / row["samples/s"] * 1e3)
        assert 0 < row["fraction"] < 1
    assert list(tmp_path.iterdir()) == [tmp_path / "limit.csv"]  # the signal is gone
    assert machine() in capsys.readouterr().out


def test_rate_of_the_product_counts_its_operations(monkeypatch):
    clock = iter(np.arange(100.0))  # a second between any two looks
    monkeypatch.setattr(limit.time, "perf_counter", lambda: float(next(clock)))
    # looks: start, two products after the next two, enough at the fourth, and the last to say how long it took
    rate = limit.product_rate(torch.device("cpu"), torch.float32, [2, 3, 4], at_least=2.5)
    assert rate == 2 * (2 * 2 * 3 * 4) / 4


def test_target_is_for_the_papers_model_in_bf16():
    bf16 = Setting(model_of("paper"), "pilot", TINY.fit, Hardware("cpu", "bf16"))
    assert limit.verdict("paper", bf16, 0.8) == "75%: met"
    assert limit.verdict("paper", bf16, 0.7) == "75%: missed"
    assert limit.verdict("small", bf16, 0.8) == ""
    assert limit.verdict("paper", TINY, 0.8) == ""


def test_projection_of_given_rates():
    stages = [projection.Stage("pilot", 1_000_000, 800, 1e6), projection.Stage("genome", 100_000_000, 200, 4e7)]
    table = projection.projected(stages)
    assert list(table["hours"]) == pytest.approx([800 / 3600, 500 / 3600, 1300 / 3600])


def test_projection(tmp_path, capsys):
    arguments = ["model=tiny", "bins=2000", "batch_size=400", "tracks=5", "timed=1", f"folder={tmp_path}", *ON_CPU]
    arguments += ["chr20=true", "chr20_bins=900", "chr20_epochs=3"]
    assert app.run("benchmark_projection", projection.benchmark, arguments) == 0
    out = capsys.readouterr().out
    assert "pilot stage: 1,126,469 bins × 800 epochs at" in out
    assert "genome stage: 115,241,319 bins × 200 epochs at" in out
    assert "batch: 400 bins; products in float32" in out
    assert "left out: ingest" in out
    table = read(tmp_path / "projection.csv")
    assert table["hours"].iloc[2] == pytest.approx(table["hours"].iloc[:2].sum())
    rate = float(table["samples/s"].iloc[1].replace(",", ""))
    assert table["hours"].iloc[1] == pytest.approx(115_241_319 * 200 / rate / 3600, rel=1e-4)
    (full,) = read(tmp_path / "chr20.csv").to_dict("records")
    assert (full["bins"], full["epochs"]) == (900, 3)
    assert full["training s"] >= 2 * full["s per epoch"]


def test_chr20_is_not_trained_on_a_cpu_unasked(tmp_path, capsys):
    arguments = ["model=tiny", "bins=400", "batch_size=400", "tracks=5", "timed=1", f"folder={tmp_path}", *ON_CPU]
    assert app.run("benchmark_projection", projection.benchmark, arguments) == 0
    assert not (tmp_path / "chr20.csv").exists()
    assert app.run("benchmark_projection", projection.benchmark, [*arguments, "chr20=perhaps"]) == 2
    assert "chr20=perhaps: there is auto, true, false" in capsys.readouterr().err


def test_steps(tmp_path):
    arguments = ["model=tiny", "batch_size=400", "tracks=5", f"folder={tmp_path}", *ON_CPU]
    assert app.run("benchmark_steps", steps.benchmark, arguments) == 0
    for stage in ("pilot", "genome"):
        table = read(tmp_path / f"{stage}.csv")
        assert 5 < len(table) <= 20
        assert table["ms"].is_monotonic_decreasing
        assert 50 < table["share %"].sum() <= 100.001
        trace = json.loads((tmp_path / f"{stage}.trace.json").read_text())
        names = {event.get("name") for event in trace["traceEvents"]}
        assert {"aten::mm", "aten::index"} <= names
    # one step only, and of the shared parameters only in stage=pilot
    assert "Optimizer.step#AdamW.step" in set(read(tmp_path / "pilot.csv")["operation"])
    assert "Optimizer.step#AdamW.step" not in names


def test_scaling_of_ingest_and_imputation(tmp_path):
    (tmp_path / "toy.chrom.sizes").write_text("chr1\t50000\n")
    arguments = ["parts=[ingest,imputation]", "model=tiny", f"folder={tmp_path / 'out'}", "device=cpu"]
    arguments += [f"ingest.assembly={tmp_path / 'toy.chrom.sizes'}", "ingest.chrom=chr1", "ingest.files=2"]
    arguments += ["impute.bins=1000", "impute.tracks=[1,3]", "impute.repeats=1"]
    assert app.run("benchmark_scaling", scaling.benchmark, arguments) == 0
    ingest = read(tmp_path / "out" / "ingest.csv")
    assert ingest["workers"].iloc[0] == 1
    assert list(ingest["tracks/min"]) == pytest.approx(list(120 / ingest["s"]))
    imputation = read(tmp_path / "out" / "imputation.csv")
    assert list(imputation["tracks"]) == [1, 3]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["imputation.csv", "ingest.csv"]


def test_unknown_part_is_one_line(tmp_path, capsys):
    assert app.run("benchmark_scaling", scaling.benchmark, ["parts=[scoring]", f"folder={tmp_path}"]) == 2
    assert "unknown part 'scoring'; there is: training, ingest, imputation" in capsys.readouterr().err


def test_peak_memory_is_that_of_the_other_process():
    mine = bytearray(b"x") * (400 << 20)
    result, peak = scaling.in_process(eval, "len(bytes(100 << 20).hex())")  # 200 MB of text, soon forgotten
    assert result == 200 << 20 < peak < 400 << 20 == len(mine)


def test_scaling_of_regression(tmp_path):
    arguments = ["parts=[regression]", "tracks=[20,40]", "regression.bins=2000", "regression.cells=2"]
    assert app.run("benchmark_scaling", scaling.benchmark, [*arguments, *ON_CPU, f"folder={tmp_path}"]) == 0
    table = read(tmp_path / "regression.csv")
    assert table["tracks"].tolist() == [20, 40]
    assert table["pairs"].tolist() == [48, 48]
    assert (table[["fitting s", "imputing s"]] > 0).all(axis=None)


@pytest.mark.slow
def test_scaling_of_training(tmp_path):
    arguments = ["parts=[training]", "model=tiny", "bins=100000", "sizes=[1,4]", "tracks=[500]", "epochs=1"]
    assert app.run("benchmark_scaling", scaling.benchmark, [*arguments, *ON_CPU, f"folder={tmp_path}"]) == 0
    table = read(tmp_path / "training.csv").set_index(["read from", "bins"])
    peak = table["peak MB"] - table["factors, moments MB"]
    assert peak["memory", 400_000] > peak["memory", 100_000] + 200  # of 300 MB more signal
    assert abs(peak["disk", 400_000] - peak["disk", 100_000]) < 60
