import copy
import logging
import math
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy import (
    FAST,
    PAIRS,
    TINY,
    TRAIN,
    VAL,
    make_data,
    make_module,
    make_network,
    make_store,
    plain_fit,
    plain_optimizer,
)

from avocado.data.datamodule import Draw
from avocado.errors import InputError
from avocado.model.network import reference
from avocado.training.callbacks import Steps
from avocado.training.fit import fit
from avocado.training.module import FactorizationModule
from avocado.training.optim import BlockAdam
from avocado.utils.hardware import Hardware

FOUR = plain_fit(epochs=4, batch_size=400)


def run(
    store, how=FOUR, region="pilot", stage="pilot", checkpoint=None, val=True, config=TINY, seed=0, network=None,
    reads=None, **options,
):  # fmt: skip
    """reads: whether data stays in memory, where not as it is by default."""
    draws = how.draws(stage)
    network = network or make_network(config, seed)
    data = make_data(
        store,
        region,
        val,
        draws.order,
        draws.tracks_per_bin,
        draws.masked,
        draws.unmask_at,
        batch_size=how.batch_size,
        **(reads or {}),
    )
    hiding = {"unmask_at": how.unmask_at(stage), "masked_weight": how.masked_weight}
    module = make_module(store, region, stage, network=network, seed=seed, **options, **hiding)
    return fit(module, data, how, checkpoint, hardware=Hardware("cpu"), progress=False)


def weights(module):
    return {name: tensor.clone() for name, tensor in module.named_parameters()}


def same(mine, theirs):
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def validation_mse(module, store, region="pilot"):
    """Mean over tracks of the MSE over the real bins, by the plain implementation."""
    layout, network, val = store.region(region), module.network.eval(), module.val
    position = torch.from_numpy(np.flatnonzero(layout.mask))
    index = torch.ones_like(position)
    scores = []
    for cell, assay, column in zip(val.cell, val.assay, val.columns, strict=True):
        with torch.no_grad():
            imputed = reference(network, module.genome, position, index * int(cell), index * int(assay))
        scores.append(np.square(imputed.numpy() - store.read_track(*PAIRS[column], region)).mean(dtype=np.float64))
    return float(np.mean(scores))


def test_training_learns(tiny_store):
    module = run(tiny_store, replace(FOUR, epochs=40))
    curve = module.history
    variance = tiny_store.signal("pilot")[tiny_store.region("pilot").mask][:, TRAIN].var()
    assert len(curve.train_mse) == len(curve.val_mse) == 40
    assert curve.val_epoch == list(range(40))
    assert curve.train_mse[-1] < 0.5 * variance
    assert 0.5 * variance < 0.6 * curve.train_mse[0]
    assert curve.val_mse[-1] < 0.5 * curve.val_mse[0]


@pytest.mark.parametrize("stage", ["pilot", "joint", "genome"])
def test_what_a_stage_trains(tiny_store, stage):
    region = "pilot" if stage == "pilot" else "chr20"
    before = weights(make_module(tiny_store, region, stage))
    module = run(tiny_store, region=region, stage=stage)
    after = weights(module)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == ({"genome"} if stage == "genome" else set(before))
    assert (before["genome"] != after["genome"]).any(dim=1).all()  # every block was visited


@pytest.mark.parametrize("masked", [0.0, 0.25])
@pytest.mark.parametrize("stage", ["pilot", "genome"])
@pytest.mark.parametrize("tracks_per_bin", [1, 4, len(TRAIN)])
@pytest.mark.parametrize("config", [TINY, replace(TINY, layers=2, dropout=0.5), replace(TINY, layers=0)])
def test_a_step_waits_for_no_number(tiny_store, config, tracks_per_bin, stage, masked, monkeypatch):
    # on an accelerator, reading a number waits for all that was asked for before; meta tensors have none to be read,
    # and cannot be added to those of another device
    data = make_data(tiny_store, tracks_per_bin=tracks_per_bin, masked=masked, unmask_at=1, device="meta")
    module = make_module(tiny_store, stage=stage, config=config, unmask_at=1, compute=torch.bfloat16).to("meta")
    module.trainer = SimpleNamespace(num_training_batches=3, max_epochs=2, current_epoch=0, global_rank=0)
    shared = [torch.optim.AdamW(module.network.parameters())] if stage != "genome" else []
    monkeypatch.setattr(module, "_optimizers", lambda: [BlockAdam(module.genome, 0.1), *shared])
    batch = data.training[Draw(np.arange(2), 0, 0, 0, 0)]
    assert batch.n_masked == ({1: 0, 4: 1, len(TRAIN): 2}[tracks_per_bin] if masked else 0)
    module.on_train_epoch_start()
    module.training_step(batch, 0)
    assert all(found.is_meta for found in (*batch[:4], module._squares, module._count))
    with pytest.raises(RuntimeError, match="meta"):
        float(module._squares)


def test_genome_stage_leaves_a_given_network_alone(tiny_store):
    network = make_network(replace(TINY, dropout=0.5), seed=5)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = replace(FAST, weight_decay=0.1, genome_weight_decay=0.1)
    module = run(tiny_store, region="chr20", stage="genome", network=network, optimizer=optimizer)
    assert same(before, module.network.state_dict())


@pytest.mark.parametrize("masked", [0, 0.4])
@pytest.mark.parametrize("implementation", ["blocks", "reference"])
def test_first_step_by_hand(tiny_store, masked, implementation):
    """One batch, one epoch: Adam's first step moves every weight by rate × g / (|g| + eps), which shows g itself."""
    how = plain_fit(1, 100_000, tracks_per_bin=6, masked=masked, masked_weight=2.0)
    optimizer = plain_optimizer(0.5, 0.25, eps=0.1, schedule="constant", warmup=0)
    network = make_network(TINY)
    plain = copy.deepcopy(network)
    data = make_data(tiny_store, "pilot", False, "shuffled", 6, masked, 1, batch_size=100_000)
    module = make_module(tiny_store, optimizer=optimizer, network=network, unmask_at=1, masked_weight=2.0,
                         implementation=implementation)  # fmt: skip
    before = weights(module)
    (draw,) = data.sampler()
    batch = data.training[draw]
    fit(module, data, how, hardware=Hardware("cpu"), progress=False)
    after = weights(module)

    genome = before["genome"].clone().requires_grad_()
    shape = batch.signal.shape
    position = (batch.blocks[:, None] * 200 + torch.arange(200)).view(-1, 200, 1).expand(shape)
    is_masked = (torch.arange(shape[2]) < batch.n_masked).expand(shape)
    errors = {}
    for kind, chosen in (("visible", ~is_masked), ("masked", is_masked)):
        real = batch.real.view(-1, 200, 1).expand(shape).bool() & chosen
        cell, assay = (index.expand(shape)[real] for index in (batch.cell, batch.assay))
        rows = genome if kind == "visible" else genome.detach()
        errors[kind] = reference(plain, rows, position[real], cell, assay) - batch.signal[real]
    assert (batch.n_masked > 0) == (masked > 0)
    loss = errors["visible"].square().mean()
    if masked:
        loss = loss + 2 * errors["masked"].square().mean()
    loss.backward()
    assert module.history.train_mse[0] == pytest.approx(errors["visible"].square().mean().item(), rel=1e-5)
    gradients = {f"network.{name}": tensor.grad for name, tensor in plain.named_parameters()} | {"genome": genome.grad}
    assert gradients.keys() == after.keys()
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 1e-4, name
        expected = -(0.25 if name == "genome" else 0.5) * gradient / (gradient.abs() + 0.1)
        torch.testing.assert_close(after[name] - before[name], expected, rtol=1e-3, atol=1e-5)


def test_genome_factors_do_not_learn_from_hidden_tracks(tiny_store):
    """Whatever the weight of the masked tracks in the first step, it moves the network alone."""
    how = plain_fit(1, 100_000, tracks_per_bin=9, masked=0.4)
    light, heavy = (weights(run(tiny_store, replace(how, masked_weight=weight))) for weight in (0, 50))
    assert torch.equal(light["genome"], heavy["genome"])
    assert not torch.equal(light["network.cell_factors"], heavy["network.cell_factors"])
    nothing_masked = weights(run(tiny_store, replace(how, masked=0)))
    assert not torch.equal(light["genome"], nothing_masked["genome"])


def test_the_network_rests_when_tracks_are_revealed(tiny_store):
    optimizer = replace(FAST, schedule="constant", warmup=0, weight_decay=0.1)
    how = plain_fit(4, 400, tracks_per_bin=4, masked=0.4, fine_tuning=0.5)
    assert [how.unmask_at(stage) for stage in ("pilot", "joint", "genome")] == [2, 2, 0]
    before = weights(run(tiny_store, replace(how, epochs=2, fine_tuning=0), optimizer=optimizer))
    after = weights(run(tiny_store, how, optimizer=optimizer))
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"genome"}
    assert (before["genome"] != after["genome"]).any(dim=1).all()


def test_dense_and_lazy_adam_agree_where_all_blocks_are_in_every_batch(tiny_store):
    config = plain_fit(5, 100_000)
    lazy, dense = (
        run(tiny_store, config, optimizer=replace(FAST, genome_optimizer=kind)) for kind in ("lazy", "dense")
    )
    torch.testing.assert_close(lazy.genome.detach(), dense.genome.detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("changes", [{"layers": 0}, {"layers": 2, "dropout": 0.3}])
def test_validation_curve_is_the_mse(tiny_store, changes):
    module = run(tiny_store, config=replace(TINY, **changes))
    assert module.history.val_mse[-1] == pytest.approx(validation_mse(module, tiny_store), rel=1e-5)


def test_validation_may_be_rare(tiny_store):
    module = run(tiny_store, replace(FOUR, epochs=5, validate_every=2))
    assert module.history.val_epoch == [1, 3]
    assert len(module.history.train_mse) == 5


def test_without_validation_there_is_no_curve(tiny_store):
    assert run(tiny_store, val=False).history.val_mse == []


@pytest.mark.parametrize("memory_limit", [1 << 30, 0])
def test_no_weight_depends_on_held_out_signal(tmp_path, memory_limit):
    """Bit for bit the same weights, whatever the held-out tracks hold."""
    held = [column for column in range(len(PAIRS)) if column not in TRAIN]
    found = []
    for name, poison in {"a": {}, "b": {f"t{c}": 777.0 for c in held}, "c": {f"t{c}": math.nan for c in held}}.items():
        store = make_store(tmp_path / name, **poison)
        reads = {"memory_limit": memory_limit, "workers": 0}
        module = run(store, val=False, reads=reads, config=replace(TINY, dropout=0.2))
        found.append((weights(module), module.history.train_mse))
    for others in found[1:]:
        assert same(found[0][0], others[0])
        assert found[0][1] == others[1]


def test_validation_tracks_change_the_curve_and_no_weight(tmp_path, tiny_store):
    config = TINY
    poisoned = run(make_store(tmp_path, **{f"t{column}": 777.0 for column in VAL}), config=config)
    clean = run(tiny_store, config=config)
    assert same(weights(clean), weights(poisoned))
    assert min(poisoned.history.val_mse) > 500_000 > max(clean.history.val_mse)


@pytest.mark.parametrize("config", [TINY, replace(TINY, layers=2)])
def test_streamed_training_is_the_same(tiny_store, config):
    kept = run(tiny_store, region="chr20", config=config)
    streamed = run(tiny_store, region="chr20", config=config, reads={"memory_limit": 0, "workers": 1})
    assert same(weights(kept), weights(streamed))


def test_seeds(tiny_store):
    config = replace(TINY, dropout=0.2)
    first, again = run(tiny_store, config=config), run(tiny_store, config=config)
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(run(tiny_store, config=config, seed=1)))


@pytest.mark.parametrize("rate", ["learning_rate", "genome_learning_rate"])
def test_divergence_is_an_error(tiny_store, rate):
    optimizer = replace(FAST, schedule="constant", warmup=0, **{rate: 1e30})
    with pytest.raises(InputError, match=r"training diverged in epoch \d+.*lower optimizer\.learning_rate"):
        run(tiny_store, optimizer=optimizer)


def test_early_stopping_keeps_the_best_weights(tmp_path):
    # validation tracks far from all others: the better the fit to the training tracks, the worse it does on them
    store = make_store(tmp_path, **{f"t{column}": -1.0 for column in VAL})
    module = run(store, replace(FOUR, epochs=50, patience=3))
    curve = module.history.val_mse
    best = curve.index(min(curve))
    assert len(curve) == best + 1 + 3 < 50
    assert validation_mse(module, store) == pytest.approx(min(curve), rel=1e-5)
    assert curve[-1] > 1.01 * curve[best]


def test_patience_needs_validation(tiny_store):
    with pytest.raises(InputError, match=r"patience needs validation tracks: set split\.validation"):
        run(tiny_store, replace(FOUR, patience=2), val=False)


@pytest.mark.parametrize("model", [TINY, replace(TINY, layers=2)])
@pytest.mark.parametrize("optimizer", ["lazy", "dense"])
def test_a_checkpoint_goes_on_where_it_was(tmp_path, tiny_store, optimizer, model):
    """Stopped by Ctrl-C in the fifth epoch."""
    options = {"config": replace(model, dropout=0.2), "optimizer": replace(FAST, genome_optimizer=optimizer)}
    config = plain_fit(8, 400, checkpoint_every=0)
    whole = run(tiny_store, config, **options)

    checkpoint, starts = tmp_path / "checkpoint.ckpt", []
    start = FactorizationModule.on_train_epoch_start

    def interrupted(module):
        starts.append(module.current_epoch)
        if len(starts) == 5:
            raise KeyboardInterrupt
        start(module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FactorizationModule, "on_train_epoch_start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_store, config, checkpoint=checkpoint, **options)
    assert starts == [0, 1, 2, 3, 4]
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.ckpt"]

    resumed = run(tiny_store, config, checkpoint=checkpoint, **options)
    assert same(weights(whole), weights(resumed))
    assert resumed.history == whole.history


def test_streamed_it_goes_on_where_it_was(tmp_path, tiny_store):
    """A worker that reads ahead draws the batches of the epoch that comes next, not of the first one again."""
    config, constant = plain_fit(4, 400, checkpoint_every=0), replace(FAST, schedule="constant", warmup=0)
    whole = run(tiny_store, config, optimizer=constant)
    streamed = {
        "optimizer": constant,
        "checkpoint": tmp_path / "checkpoint.ckpt",
        "reads": {"memory_limit": 0, "workers": 1},
    }
    run(tiny_store, replace(config, epochs=2), **streamed)
    resumed = run(tiny_store, config, **streamed)
    assert resumed.history == whole.history


def test_a_damaged_checkpoint_is_named(tmp_path, tiny_store):
    config, checkpoint = replace(FOUR, checkpoint_every=0), tmp_path / "checkpoint.ckpt"
    run(tiny_store, config, checkpoint=checkpoint)
    whole = checkpoint.read_bytes()
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2], whole[:-10]):
        checkpoint.write_bytes(damaged)
        with pytest.raises(InputError, match=r"checkpoint\.ckpt is damaged.*start again with resume=false") as caught:
            run(tiny_store, config, checkpoint=checkpoint)
        assert "\n" not in str(caught.value)


def test_what_cannot_be_fitted(tiny_store):
    with pytest.raises(InputError, match=r"unknown stage 'chr20'; there is: pilot, genome, joint"):
        make_module(tiny_store, stage="chr20")
    for name, value in {"epochs": 0, "batch_size": 0, "validate_every": -1}.items():
        with pytest.raises(InputError, match=rf"{name}={value}: expected a whole number of at least 1"):
            plain_fit(**{"epochs": 1, name: value})


def test_lightning_is_quiet(tiny_store, capfd):
    run(tiny_store, replace(FOUR, epochs=1))
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("pytorch_lightning").level == logging.WARNING


@pytest.mark.parametrize(("n_tracks", "steps"), [(1, 2_400), (96, 2_400), (180, 4_500), (811, 6_000)])
def test_steps_follow_the_number_of_training_tracks(n_tracks, steps):
    fit = plain_fit(epochs=2, batch_size=400, min_steps=None)
    assert fit.for_region(4_000, n_tracks).epochs == steps // 10
    assert fit.for_region(400 * 100_000, n_tracks).epochs == 2  # a large region has enough
    assert replace(fit, min_steps=50).for_region(4_000, n_tracks).epochs == 5
    assert fit.for_region(4_000, n_tracks).describe(4_000) == (
        f"training: {steps // 10:,} epochs, {steps:,} steps of up to 400 bins"
    )


def test_progress_is_a_line_now_and_then_where_nobody_looks(tiny_store, caplog):
    module, data = make_module(tiny_store), make_data(tiny_store, val=False, batch_size=400)
    with caplog.at_level("INFO", logger="avocado"):
        fit(module, data, plain_fit(epochs=3, batch_size=400), progress=False, callbacks=[Steps(every=0)])
    lines = [record.message for record in caplog.records if record.message.startswith("training, epoch")]
    steps = len(data.train_dataloader())
    assert len(lines) == 3 * steps
    assert re.fullmatch(rf"training, epoch 1 of 3: step 1 of {3 * steps}, about .+ left", lines[0])
    assert lines[-1].startswith("training, epoch 3 of 3, train/mse 0.")
    assert lines[-1].endswith(f": step {3 * steps} of {3 * steps}")


def test_how_long_training_takes_is_said_once_after_its_first_steps(tiny_store, caplog, monkeypatch):
    monkeypatch.setattr("avocado.training.callbacks.WARM", 1)
    monkeypatch.setattr("avocado.training.callbacks.TIMED", 3)
    module, data = make_module(tiny_store), make_data(tiny_store, val=False, batch_size=400)
    with caplog.at_level("INFO", logger="avocado"):
        fit(module, data, plain_fit(epochs=3, batch_size=400), progress=False, callbacks=[Steps()])
    (line,) = [record.message for record in caplog.records if "follow" in record.message]
    left = 3 * len(data.train_dataloader()) - 3
    assert re.fullmatch(
        rf"training: about .+ for {left} more steps, [\d.e+]+ per second; baseline, encoding and scores follow", line
    )


def test_progress_is_a_bar_on_a_terminal(tiny_store, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    module, data = make_module(tiny_store), make_data(tiny_store, val=False, batch_size=400)
    fit(module, data, plain_fit(epochs=2, batch_size=400), progress=False, callbacks=[Steps()])
    steps = 2 * len(data.train_dataloader())
    assert f"{steps}/{steps}" in capsys.readouterr().err
