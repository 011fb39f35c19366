"""What a GPU computes beside what the CPU computes; needs a CUDA card."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy import (
    ASSAYS,
    CELLS,
    MISSING,
    PAIRS,
    RUN,
    STATES,
    TINY,
    TRAIN,
    genome_run,
    make_data,
    make_module,
    with_fit,
)

from avocado.data.datamodule import Draw
from avocado.inference.impute import impute
from avocado.model.baseline import fit_regression
from avocado.model.directory import load_model
from avocado.model.regression import piece_blocks
from avocado.runs.run import train
from avocado.utils.hardware import Hardware

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")

GPU = "cuda"
RUNS = [
    with_fit(replace(RUN, model=model), epochs=4, tracks_per_bin=tracks, masked=0.25, masked_weight=3.0)
    for model, tracks in ((TINY, 1), (replace(STATES, layers=2, nodes=32), 4), (STATES, 99))
]


def trained(run, store, runs, device, precision="float32"):
    """The model directory that a pilot and a genome run leave, loaded, and the MSE of its held-out tracks."""
    hardware = Hardware(device, precision)
    for its in (run, genome_run(run)):
        outcome = train(its, store, runs, hardware=hardware, progress=False)
    scores = outcome.scores.set_index("method")["mse"]
    return load_model(outcome.model, store), float(scores["Avocado"].mean())


@pytest.mark.parametrize("run", RUNS)
def test_a_run_is_that_of_the_cpu(tiny_store, tmp_path, run):
    """The same start, order and draws: in float32 what comes out differs by rounding."""
    found = [trained(run, tiny_store, tmp_path / device, device) for device in ("cpu", GPU)]
    imputed = [
        impute(model, [*MISSING, PAIRS[0]], "chr20", Hardware(device, "float32"))
        for (model, _), device in zip(found, ("cpu", GPU), strict=True)
    ]
    assert np.abs(imputed[0] - imputed[1]).mean() < 1e-3 * imputed[0].std()
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-3)


@pytest.mark.parametrize("run", RUNS)
def test_bf16_scores_like_float32(tiny_store, tmp_path, run):
    exact, rounded = (trained(run, tiny_store, tmp_path / name, GPU, name)[1] for name in ("float32", "bf16"))
    assert rounded == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("run", RUNS)
def test_streamed_signal_is_that_in_memory(tiny_store, tmp_path, run):
    found = [
        trained(with_fit(run, memory_limit=limit, workers=1), tiny_store, tmp_path / str(limit), GPU)[0]
        for limit in (None, 0)
    ]
    kept, streamed = (model.genome("chr20") for model in found)
    torch.testing.assert_close(streamed, kept, rtol=1e-4, atol=1e-4)


def test_regression_is_that_of_the_cpu(tiny_store):
    prior = fit_regression(tiny_store, "pilot", np.array(TRAIN), CELLS, ASSAYS)
    cell, assay = (index.reshape(-1) for index in np.indices((len(CELLS), len(ASSAYS))))
    found = []
    for name in ("cpu", GPU):
        device = Hardware(name, "float32").use()
        steps = tiny_store.region("chr20").pieces(piece_blocks(len(TRAIN), device))
        found.append(torch.cat([blocks.cpu() for blocks in prior.blocks("chr20", cell, assay, steps, device)]))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tracks_per_bin", [1, 4, 99])
@pytest.mark.parametrize("stage", ["pilot", "genome"])
@pytest.mark.parametrize("config", [TINY, replace(STATES, layers=2, dropout=0.5)])
def test_a_step_does_not_wait_for_the_gpu(tiny_store, tmp_path, monkeypatch, config, stage, tracks_per_bin):
    data = make_data(tiny_store, tracks_per_bin=tracks_per_bin, device=GPU)
    module = make_module(tiny_store, stage=stage, config=config, compute=torch.bfloat16).to(GPU)
    module.trainer = SimpleNamespace(num_training_batches=3, max_epochs=1, current_epoch=0, global_rank=0)
    optimizers = module.configure_optimizers()
    monkeypatch.setattr(module, "_optimizers", lambda: optimizers)
    module.on_train_epoch_start()
    for number in range(3):  # libraries that are set up in the first step may wait
        torch.cuda.set_sync_debug_mode("error" if number else "default")
        try:
            module.training_step(data.training[Draw(np.arange(2), 0, 0, 0, number)], number)
        finally:
            torch.cuda.set_sync_debug_mode("default")
