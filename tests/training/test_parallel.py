"""Two CPU processes that share a run, against one process that does it alone."""

import math
from dataclasses import replace

import pytest
import torch
from toy import FAST, TINY, make_data, make_module, make_network, make_store, plain_fit

from avocado.errors import InputError
from avocado.training.fit import fit
from avocado.utils.hardware import Hardware

# along the genome and with all tracks of every bin, nothing is drawn: both go through the same batches
SEQUENTIAL = {"order": "sequential", "tracks_per_bin": 99}
TWO = Hardware("cpu", "float32", processes=2)
ONE = Hardware("cpu", "float32")


def run(store, hardware, config, model=TINY, optimizer=FAST, checkpoint=None, stage="joint", **draws):
    """A run whose batches, over all processes, have two blocks."""
    network, processes = make_network(model), hardware.processes
    data = make_data(store, "chr20", batch_size=400 // processes, processes=processes, **draws)
    module = make_module(store, "chr20", stage, network=network, optimizer=optimizer,
                         unmask_at=draws.get("unmask_at", 0))  # fmt: skip
    return fit(module, data, config, checkpoint, hardware=hardware, progress=False)


@pytest.mark.parametrize("optimizer", ["lazy", "dense"])
def test_two_processes_do_what_one_does_with_the_double_batch(tiny_store, optimizer):
    options = {
        "config": plain_fit(4, 400),
        "optimizer": replace(FAST, genome_optimizer=optimizer),
        **SEQUENTIAL,
    }
    together, alone = (run(tiny_store, hardware, **options) for hardware in (TWO, ONE))
    assert together.history.train_mse == pytest.approx(alone.history.train_mse, rel=1e-4)
    assert together.history.val_mse == pytest.approx(alone.history.val_mse, rel=1e-4)
    assert together.history.train_mse[-1] != pytest.approx(together.history.train_mse[0], rel=0.05)
    mine, theirs = (dict(module.named_parameters()) for module in (together, alone))
    assert mine["genome"].shape == theirs["genome"].shape == (10, TINY.block_width)
    for name, parameter in theirs.items():
        torch.testing.assert_close(mine[name], parameter, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_of_two_processes_goes_on_where_it_was(tmp_path, tiny_store):
    """Trained for six epochs at once, or for three and then, from the checkpoint, for three more."""
    how = {"tracks_per_bin": 3, "masked": 0.3, "unmask_at": 4, "model": TINY}
    optimizer = replace(FAST, schedule="constant", warmup=0)
    config, checkpoint = plain_fit(6, 400, checkpoint_every=0), tmp_path / "checkpoint.ckpt"
    whole = run(tiny_store, TWO, config, optimizer=optimizer, **how)
    run(tiny_store, TWO, replace(config, epochs=3), optimizer=optimizer, checkpoint=checkpoint, **how)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.ckpt"]
    saved = torch.load(checkpoint, weights_only=True)
    assert saved["state_dict"]["genome"].shape[0] == 10  # of both processes
    assert saved["optimizer_states"][0]["state"][0]["visits"].tolist() == [3] * 10
    resumed = run(tiny_store, TWO, config, optimizer=optimizer, checkpoint=checkpoint, **how)
    assert resumed.history == whole.history
    theirs = dict(whole.named_parameters())
    assert all(torch.equal(parameter, theirs[name]) for name, parameter in resumed.named_parameters())
    # nothing is left to do, and still the first process has all factors
    again = run(tiny_store, TWO, config, optimizer=optimizer, checkpoint=checkpoint, **how)
    assert torch.equal(again.genome, whole.genome)


def test_streamed_by_two_processes(tiny_store):
    """Each reads its own blocks from disk, with a worker of its own."""
    kept, streamed = (
        run(tiny_store, TWO, plain_fit(2, 400), TINY, memory_limit=limit, workers=1, tracks_per_bin=2)
        for limit in (1 << 30, 0)
    )
    assert torch.equal(kept.genome, streamed.genome)
    assert kept.history == streamed.history


def test_an_error_in_a_process_is_one_line(tmp_path):
    store = make_store(tmp_path, **{"t0": math.nan})
    with pytest.raises(InputError, match=r"^training diverged in epoch 0: the loss is nan; lower [^\n]*$"):
        run(store, TWO, plain_fit(2, 400))


def test_patience_is_for_one_process(tiny_store):
    with pytest.raises(InputError, match=r"patience needs a single process"):
        run(tiny_store, TWO, plain_fit(2, 400, patience=1))


def test_how_many_processes():
    for processes in (0, 1.5, "two"):
        with pytest.raises(InputError, match=rf"processes={processes!r}: expected a whole number"):
            Hardware("cpu", processes=processes)


def test_precisions_and_formulations():
    with pytest.raises(InputError, match=r"unknown precision 'fp8'; there is: auto, bf16, tf32, float32"):
        Hardware("cpu", "fp8")
    with pytest.raises(InputError, match=r"unknown implementation 'fast'; there is: blocks, reference"):
        Hardware("cpu", implementation="fast")
    with pytest.raises(InputError, match="precision=tf32 is for CUDA devices"):
        Hardware("cpu", "tf32")
    assert Hardware("cpu", "float32").compute_type() == torch.float32
    assert Hardware("cpu", "bf16").compute_type() == torch.bfloat16
    assert Hardware("cpu").compute_type() in (torch.float32, torch.bfloat16)
