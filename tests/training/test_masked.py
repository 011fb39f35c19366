"""Masked training: what is masked and asked for, the gate, the factors of a region, and that it learns."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from toy import (
    ASSAYS,
    ASSEMBLY,
    CELLS,
    FAST,
    PILOT,
    TEST,
    TRAIN,
    VAL,
    make_store,
    plain_fit,
    plain_model,
    plain_optimizer,
    tracks,
)

from avocado.data.datamodule import Draw
from avocado.data.genome import BLOCK_BINS, Region, Segment
from avocado.data.store import SignalStore, Tracks, open_store, tracks_of, write_metadata, write_region
from avocado.errors import InputError
from avocado.imputers.average import AverageActivity
from avocado.model import encoding
from avocado.model.states import GATE, StatesNetwork, sized
from avocado.training.fit import fit
from avocado.training.loop import Trained, TrainingSpec, carry_out, fit_baseline, gate_line, initial_network, prepare
from avocado.training.masked import (
    PRIOR_TRACKS,
    MaskedBatch,
    MaskedBlocks,
    MaskedDataModule,
    MaskedModule,
    columns_of,
    encode_region,
    first_part,
    fit_gate,
    set_apart,
)
from avocado.utils.hardware import Hardware

FLOAT32 = Hardware("cpu", "float32")
CONFIG = plain_model(kind="states", cell_factors=3, assay_factors=3, factors_25bp=1, factors_250bp=2, factors_5kbp=1,
                     layers=1, nodes=8, dropout=0.2, encoder_nodes=4, baseline="regression",
                     baseline_features=8)  # fmt: skip
PLAN = TrainingSpec("pilot", "pilot", 0, CONFIG, FAST,
            plain_fit(epochs=5, batch_size=400, masked=0.3, tracks_per_bin=2, checkpoint_every=0))  # fmt: skip
APART = set_apart(len(TRAIN), PLAN.seed)
N_BLOCKS = PILOT.n_blocks


def network_of(store: SignalStore, plan: TrainingSpec = PLAN, train: Tracks | None = None) -> StatesNetwork:
    generator = torch.Generator().manual_seed(plan.seed)
    network = initial_network(plan.model, store, plan.region, train or tracks(store, TRAIN), generator)
    assert isinstance(network, StatesNetwork)
    return network


def prepared(store: SignalStore, plan: TrainingSpec = PLAN, val: bool = True) -> tuple[MaskedModule, MaskedDataModule]:
    held = tracks(store, VAL) if val else None
    module, data = prepare(plan, store, network_of(store, plan), torch.Generator(), tracks(store, TRAIN), held, FLOAT32)
    assert isinstance(module, MaskedModule)
    assert isinstance(data, MaskedDataModule)
    return module, data


def trained_on(store: SignalStore, plan: TrainingSpec = PLAN, val: bool = False) -> Trained:
    held, names = tracks(store, VAL) if val else None, (CELLS, ASSAYS)
    return carry_out(
        plan, store, network_of(store, plan), names, torch.Generator(), tracks(store, TRAIN), held, FLOAT32
    )


def with_fit(plan: TrainingSpec = PLAN, **changes) -> TrainingSpec:
    return replace(plan, fit=replace(plan.fit, **changes))


def epoch(data: MaskedDataModule, number: int) -> list[MaskedBatch]:
    sampler = data.sampler()
    sampler.set_epoch(number)
    blocks: MaskedBlocks = data.training  # type: ignore[assignment]
    return [blocks[draw] for draw in sampler]


def same(one: StatesNetwork, other: StatesNetwork) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("masked", "asked", "counts"), [(0.3, 2, (3, 2)), (0.3, 16, (3, 3)), (0.0, 4, (1, 1))])
def test_every_asked_track_is_masked(tiny_store, masked, asked, counts):
    _, data = prepared(tiny_store, with_fit(masked=masked, tracks_per_bin=asked))
    for number in range(5):
        for batch in epoch(data, number):
            assert batch.asked.shape[1] == counts[1]
            assert ((batch.visible == 0).sum(1) == counts[0]).all()
            assert (batch.visible.gather(1, batch.asked) == 0).all()
            assert all(len(set(row)) == len(row) for row in batch.asked.tolist())


@pytest.mark.parametrize("masked", [0.3, 0.95])
def test_tracks_set_apart_are_shown_and_not_asked_for_until_they_are_revealed(tiny_store, masked):
    module, data = prepared(tiny_store, with_fit(epochs=20, masked=masked, tracks_per_bin=8))
    assert (module.unmask_at, APART.sum()) == (12, 2)
    masked_after, asked_after = set(), set()
    for number in range(20):
        for batch in epoch(data, number):
            if number < 12:
                assert (batch.visible[:, APART] == 1).all()
                assert not APART[batch.asked].any()
                assert (batch.visible == 0).any(1).all()
            else:
                masked_after |= set((batch.visible == 0).nonzero()[:, 1].tolist())
                asked_after |= set(batch.asked.flatten().tolist())
    assert masked_after == asked_after == set(range(len(TRAIN)))


def test_what_is_hidden_changes_from_block_to_block_and_epoch_to_epoch(tiny_store):
    _, data = prepared(tiny_store)
    shown = torch.cat([batch.visible[batch.blocks.argsort()] for number in range(5) for batch in epoch(data, number)])
    assert len(shown.unique(dim=0)) > 15  # of 5 epochs × 6 blocks


def test_every_block_comes_once_per_epoch_with_its_signal(tiny_store):
    _, data = prepared(tiny_store)
    signal = tiny_store.signal("pilot")[:, :, TRAIN]
    orders = set()
    for number in range(4):
        batches = epoch(data, number)
        blocks = torch.cat([batch.blocks for batch in batches])
        assert sorted(blocks.tolist()) == list(range(N_BLOCKS))
        orders.add(tuple(blocks.tolist()))
        np.testing.assert_array_equal(torch.cat([batch.signal for batch in batches]), signal[blocks])
        np.testing.assert_array_equal(torch.cat([batch.real for batch in batches]), PILOT.mask[blocks])
    assert len(orders) > 1


def test_the_same_draw_gives_the_same_batch_streamed_or_in_memory(tiny_store):
    (_, kept), (_, again), (_, streamed) = (
        prepared(tiny_store, with_fit(memory_limit=limit)) for limit in (None, None, 0)
    )
    assert (kept.streams, streamed.streams) == (False, True)
    draw = Draw(np.array([4, 1, 5]), 0, 1, 0, 2)
    for other in (again, streamed):
        for name, mine, theirs in zip(MaskedBatch._fields, kept.training[draw], other.training[draw], strict=True):
            assert torch.equal(mine, theirs), name
    assert not torch.equal(kept.training[draw].visible, kept.training[draw._replace(seed=1)].visible)
    in_memory = [weakref.ref(its) for its in (kept.training.source.signal, kept.training.source.around)]
    kept.release()  # and where the signal was given away after training
    assert [its() for its in in_memory] == [None, None]
    for name, mine, theirs in zip(MaskedBatch._fields, kept.training[draw], again.training[draw], strict=True):
        assert torch.equal(mine, theirs), name


def test_what_comes_after_training_does_not_keep_its_signal(tiny_store, monkeypatch):
    made, kept = [], []

    def prepared_for(*arguments):
        made.append(prepare(*arguments))
        return made[-1]

    def regression(*arguments):
        kept.extend(data.training.source.signal for _, data in made)
        return fit_baseline(*arguments)

    monkeypatch.setattr("avocado.training.loop.prepare", prepared_for)
    monkeypatch.setattr("avocado.training.loop.fit_baseline", regression)
    trained_on(tiny_store, with_fit(epochs=1))
    assert kept == [None]


def test_sizes_follow_the_compendium(tiny_store, caplog):
    asked = replace(CONFIG, cell_factors=0, nodes=0, baseline_features=None)
    with caplog.at_level("INFO"):
        config = network_of(tiny_store, replace(PLAN, model=asked)).config
    assert (config.cell_factors, config.nodes, config.baseline_features) == (len(CELLS) + 1, 64, 256)
    sizes = f"model.cell_factors={len(CELLS) + 1} model.nodes=64 model.baseline_features=256"
    assert f"for {len(CELLS)} cell types and {len(TRAIN)} training tracks: {sizes}" in caplog.text
    assert [sized(asked, 99, n).nodes for n in (16, 99, 100, 811)] == [64, 64, 128, 128]
    assert [sized(asked, 99, n).baseline_features for n in (16, 99, 100, 811)] == [256, 256, 512, 512]
    assert [sized(asked, n, 16).cell_factors for n in (1, 5, 24, 31, 32, 127)] == [2, 6, 25, 32, 32, 32]
    assert sized(CONFIG, 99, 811) == CONFIG  # what was asked for stays


def test_memory_limit_counts_signal_and_what_surrounds_it(tiny_store):
    data = prepared(tiny_store)[1]
    source = data.training.source
    size = source.signal.nbytes + source.around.nbytes
    assert source.around.nbytes > 0
    assert not prepared(tiny_store, with_fit(memory_limit=size))[1].streams
    assert prepared(tiny_store, with_fit(memory_limit=size - 1))[1].streams


def test_processes_share_the_blocks(tiny_store):
    module, _ = prepared(tiny_store)
    options = {"batch_size": 400, "sampling": PLAN.fit.draws("pilot"), "processes": 2, "unmask_at": 3}
    scales = module.network.scales.double().numpy()
    whole = epoch(prepared(tiny_store)[1], 0)
    signal, around = (torch.cat([getattr(its, name) for its in whole]) for name in ("signal", "around"))
    place = torch.cat([its.blocks for its in whole]).argsort()
    for limit in (None, 0):
        for rank in range(2):
            data = MaskedDataModule(tiny_store, "pilot", tracks(tiny_store, TRAIN), scales=scales, apart=APART,
                                    memory_limit=limit, **options)  # fmt: skip
            data.load(torch.device("cpu"), rank)
            own = torch.arange(rank, N_BLOCKS, 2)
            batch = data.training[Draw(np.arange(len(own)), 0, 0, rank, 0)]
            assert torch.equal(batch.signal, signal[place][own])
            assert torch.equal(batch.around, around[place][own])
            np.testing.assert_array_equal(batch.real, PILOT.mask[own])


def test_how_many_are_set_apart():
    assert [int(set_apart(n, 0).sum()) for n in (2, 4, 5, 10, 100)] == [0, 0, 1, 2, 20]
    assert np.array_equal(set_apart(50, 3), set_apart(50, 3))
    assert not np.array_equal(set_apart(50, 3), set_apart(50, 4))
    assert [first_part(plain_fit(epochs=n)) for n in (1, 2, 5, 10)] == [0, 1, 3, 6]


def test_one_training_track_cannot_be_masked(tiny_store):
    with pytest.raises(InputError, match="needs at least two training tracks"):
        network_of(tiny_store, train=tracks(tiny_store, [0]))


# --- the gate --------------------------------------------------------------------------------------------------------

WEIGHTS = 0.3, 0.6  # of what is found and of the baseline in the planted truth


def planted_gate(n_tracks: int, baseline: str = "regression") -> tuple[StatesNetwork, tuple[float, ...]]:
    """A network whose gate was fitted to tracks that are a sum of what it found and of a baseline, in every block.

    Also what the gate was before, and the best weight of what was found alone.
    """
    layout = Region("pilot", (Segment("chr1", 0, 6 * BLOCK_BINS - 50),))
    random = np.random.default_rng(0)
    network = StatesNetwork(replace(CONFIG, baseline=baseline), n_tracks, 1, n_tracks)
    network.cell.copy_(torch.arange(n_tracks))
    network.expected.copy_(torch.from_numpy(random.uniform(0.5, 2, (n_tracks, 1, 2))))
    mean, deviation = network.expected[:, 0].numpy().T
    common = random.normal(size=(layout.n_bins, 1))  # found and baseline are alike
    found, base = (layout.to_blocks(common + random.normal(size=(layout.n_bins, n_tracks))) for _ in range(2))
    truth = (mean + deviation * (WEIGHTS[0] * found + WEIGHTS[1] * base)) * layout.mask[..., None]
    imputed = torch.from_numpy(mean + deviation * base).float()
    steps = [(block, track) for block in range(layout.n_blocks) for track in range(n_tracks)]
    blocks, track = torch.tensor(steps).T
    probe = {"blocks": blocks, "track": track, "found": torch.from_numpy(found)[blocks, :, track]}
    # padding says nothing
    probe["found"] = torch.where(torch.from_numpy(layout.mask)[blocks], probe["found"], 100.0)
    order = random.permutation(n_tracks)  # of the store's columns
    store = SimpleNamespace(signal=lambda region: truth[:, :, order].astype(np.float32), region=lambda region: layout)

    class Baseline:
        def blocks(self, region, cells, assays, steps):
            assert assays.tolist() == [0]
            yield from (imputed[first:last][:, :, cells] for first, last in steps)

    prior = Baseline() if baseline == "regression" else None
    before = network.gate.clone()
    fit_gate(network, store, "pilot", np.argsort(order), probe, prior)  # type: ignore[arg-type]
    f, w = ([its[block, layout.mask[block], track] for block, track in steps] for its in (found, truth))
    standard = [(its - mean[track]) / deviation[track] for its, (_, track) in zip(w, steps, strict=True)]
    alone = sum((a * b).mean() for a, b in zip(f, standard, strict=True)) / sum((a * a).mean() for a in f)
    return network, (*before.tolist(), float(alone))


def test_the_gate_is_said_in_words():
    assert gate_line([0.414, 0.602, 0.874], True) == (
        "imputation = 0.41 × factorization + 0.60 × cross-assay regression, as tracks set apart say; 0.87 × "
        "factorization where it stands alone"
    )
    assert gate_line([0.874, 0.0, 0.874], False) == "imputation = 0.87 × factorization, as tracks set apart say"


@pytest.mark.parametrize("n_tracks", [2, 8, 200])
def test_the_gate_finds_a_planted_sum(n_tracks):
    network, (*start, alone) = planted_gate(n_tracks)
    share = n_tracks / (n_tracks + PRIOR_TRACKS)  # the start counts for eight tracks
    wanted = torch.tensor([*WEIGHTS, alone]) * share + torch.tensor(start) * (1 - share)
    torch.testing.assert_close(network.gate, wanted, rtol=1e-3, atol=1e-4)
    if n_tracks == 200:
        assert network.gate[:2].tolist() == pytest.approx(WEIGHTS, abs=0.02)


def test_without_a_baseline_the_factorization_has_one_weight():
    network, (*start, alone) = planted_gate(50, "none")
    wanted = (50 * alone + PRIOR_TRACKS * start[2]) / (50 + PRIOR_TRACKS)
    assert network.gate.tolist() == pytest.approx([wanted, 0, wanted], rel=1e-4)


def test_without_a_probe_the_gate_stays_at_its_start(tiny_store):
    network = network_of(tiny_store)
    fit_gate(network, tiny_store, "pilot", np.array(TRAIN), {}, None)
    assert network.gate.tolist() == pytest.approx(GATE)
    trained = trained_on(tiny_store, with_fit(epochs=1))  # a single epoch sets nothing apart
    assert trained.network.gate.tolist() == pytest.approx(GATE)


def test_the_probe_is_of_tracks_set_apart_and_masked(tiny_store):
    module, data = prepared(tiny_store)
    fit(module, data, PLAN.fit, hardware=FLOAT32, progress=False)
    assert module.probe["blocks"].tolist() == list(range(N_BLOCKS))
    assert set(module.probe["track"].tolist()) == set(np.flatnonzero(APART).tolist())
    assert module.probe["found"].shape == (N_BLOCKS, BLOCK_BINS)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [TEST, VAL])
def test_held_out_tracks_influence_nothing(tiny_store, tmp_path, columns):
    other = make_store(tmp_path / "other", **{f"t{column}": 777.0 for column in columns})
    ours, theirs = (trained_on(store, val=True) for store in (tiny_store, other))
    assert same(ours.network, theirs.network)  # the gate is one of its tensors
    assert torch.equal(ours.genome, theirs.genome)
    assert ours.history.train_mse == theirs.history.train_mse
    assert (ours.history.val_mse == theirs.history.val_mse) == (columns is TEST)
    assert ours.network.gate.tolist() != pytest.approx(GATE)
    trained = make_store(tmp_path / "trained", t0=777.0)  # and this one would be seen
    assert not same(ours.network, trained_on(trained).network)


def test_validation_changes_nothing_but_its_curve(tiny_store):
    with_val, without = (trained_on(tiny_store, val=val) for val in (True, False))
    assert same(with_val.network, without.network)
    assert len(with_val.history.val_mse) == PLAN.fit.epochs
    assert without.history.val_mse == []


def test_validation_is_the_error_of_the_factorization_alone(tiny_store):
    logged = []

    class Log(pl.Callback):
        def on_validation_end(self, trainer, pl_module):
            logged.append(float(trainer.callback_metrics["val/mse"]))

    module, data = prepared(tiny_store)
    fit(module, data, PLAN.fit, hardware=FLOAT32, progress=False, callbacks=[Log()])
    assert module.history.val_mse == pytest.approx(logged)
    assert module.history.val_epoch == list(range(PLAN.fit.epochs))
    genome, val = encode_region(module.network, tiny_store, "pilot", np.array(TRAIN), FLOAT32), tracks(tiny_store, VAL)
    imputed = module.network.predict(genome, torch.from_numpy(val.cell), torch.from_numpy(val.assay))
    errors = np.square(PILOT.from_blocks(imputed.numpy()) - tiny_store.read_tracks(VAL, "pilot")).mean(axis=0)
    assert logged[-1] == pytest.approx(errors.mean(), rel=1e-4)


@pytest.mark.parametrize("stopped_at", [2, 3, 4])  # before the first part's end, at it, and after
def test_a_resumed_run_is_the_uninterrupted_one(tiny_store, tmp_path, stopped_at):
    whole, data = prepared(tiny_store)
    fit(whole, data, PLAN.fit, hardware=FLOAT32, progress=False)
    checkpoint = tmp_path / "checkpoint.ckpt"

    class Interrupt(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == stopped_at:
                raise KeyboardInterrupt

    module, data = prepared(tiny_store)
    with pytest.raises(KeyboardInterrupt):
        fit(module, data, PLAN.fit, checkpoint, hardware=FLOAT32, progress=False, callbacks=[Interrupt()])
    assert module.unmask_at == 3
    resumed, data = prepared(tiny_store)
    fit(resumed, data, PLAN.fit, checkpoint, hardware=FLOAT32, progress=False)
    assert same(whole.network, resumed.network)
    assert resumed.history == whole.history
    assert whole.probe.keys() == resumed.probe.keys() == {"blocks", "track", "found"}
    assert all(torch.equal(whole.probe[name], resumed.probe[name]) for name in whole.probe)


def test_streamed_training_is_the_same(tiny_store):
    kept, streamed = (trained_on(tiny_store, with_fit(epochs=2, memory_limit=limit, workers=0)) for limit in (None, 0))
    assert same(kept.network, streamed.network)
    assert torch.equal(kept.genome, streamed.genome)


def test_the_seed_decides(tiny_store):
    once, again, other = (trained_on(tiny_store, replace(with_fit(epochs=2), seed=seed)) for seed in (0, 0, 1))
    assert same(once.network, again.network)
    assert not same(once.network, other.network)


# --- the factors of a region -----------------------------------------------------------------------------------------


def test_factors_of_a_region_are_the_same_in_pieces_of_any_size(tiny_store, monkeypatch):
    network = network_of(tiny_store)
    columns = columns_of(network, tiny_store, CELLS, ASSAYS)
    assert columns.tolist() == TRAIN
    whole = encode_region(network, tiny_store, "chr20", columns)
    assert whole.shape == (10, network.config.block_width)
    assert torch.isfinite(whole).all()
    for blocks in (1, 3, 7):
        monkeypatch.setattr(encoding, "PIECE", blocks * BLOCK_BINS * len(TRAIN) * 4)
        torch.testing.assert_close(encode_region(network, tiny_store, "chr20", columns), whole, rtol=0, atol=1e-6)


def test_stage_genome_trains_nothing(tiny_store):
    pilot = trained_on(tiny_store)
    before = {name: tensor.clone() for name, tensor in pilot.network.state_dict().items()}
    plan, names = replace(PLAN, stage="genome", region="chr20"), (CELLS, ASSAYS)
    found = carry_out(
        plan, tiny_store, pilot.network, names, torch.Generator(), tracks(tiny_store, TRAIN), None, FLOAT32
    )
    assert found.history.train_mse == []
    assert all(torch.equal(before[name], tensor) for name, tensor in pilot.network.state_dict().items())
    assert torch.equal(found.genome, encode_region(pilot.network, tiny_store, "chr20", np.array(TRAIN), FLOAT32))
    # and of the pilot regions they are what the pilot stage left
    again = carry_out(
        replace(plan, region="pilot"), tiny_store, pilot.network, names, torch.Generator(), tracks(tiny_store, TRAIN),
        None, FLOAT32,
    )  # fmt: skip
    assert torch.equal(again.genome, pilot.genome)


def test_a_store_without_a_training_track_is_refused(tiny_store, tmp_path):
    network = network_of(tiny_store)
    table = tiny_store.tracks.drop(index=[0]).reset_index(drop=True)
    signal = tiny_store.read_tracks(range(1, 13), "pilot")
    write_region(tmp_path, PILOT, 12, "float32", [PILOT.to_blocks(signal)])
    write_metadata(tmp_path, ASSEMBLY, [PILOT], table, "float32")
    with pytest.raises(InputError, match="B cell"):
        columns_of(network, open_store(tmp_path), CELLS, ASSAYS)


# --- it learns -------------------------------------------------------------------------------------------------------


def planted_store(folder: Path) -> SignalStore:
    """6 cell types × 5 assays: programs of the genome × cell type × assay, of rank 3, with little noise."""
    random = np.random.default_rng(0)
    region = Region("pilot", (Segment("chr1", 0, 24 * BLOCK_BINS - 30),))
    cell, assay = random.gamma(0.5, 2, (6, 3)), random.gamma(0.5, 2, (5, 3))
    place = random.gamma(0.3, 2, (region.n_bins // 20 + 1, 3)).repeat(20, axis=0)[: region.n_bins]
    signal = np.einsum("nk,ck,ak->nca", place, cell, assay).reshape(region.n_bins, 30)
    signal = np.arcsinh(signal + 0.05 * random.random(signal.shape)).astype(np.float32)
    pairs = [(f"cell{number}", f"assay{its}") for number in range(6) for its in range(5)]
    write_region(folder, region, 30, "float32", [region.to_blocks(signal)])
    write_metadata(folder, ASSEMBLY, [region], pd.DataFrame(pairs, columns=pd.Index(["cell", "assay"])), "float32")
    return open_store(folder)


def test_planted_structure_is_imputed_better_than_by_average_activity(tmp_path):
    store = planted_store(tmp_path)
    test = [0, 6, 12, 18, 24, 25]
    known = [column for column in range(30) if column not in test]
    model = replace(CONFIG, cell_factors=0, nodes=24, layers=2, factors_25bp=3, encoder_nodes=16, assay_factors=4,
                    dropout=0.0, baseline="none")  # fmt: skip
    plan = TrainingSpec("pilot", "pilot", 0, model, plain_optimizer(learning_rate=0.01),
                plain_fit(epochs=60, batch_size=1000, masked=0.2, tracks_per_bin=16))  # fmt: skip
    train, held = (tracks_of(store, columns) for columns in (known, test))
    names = store.cells, store.assays
    network = network_of(store, plan, train)
    assert network.config.cell_factors == 7
    trained = carry_out(plan, store, network, names, torch.Generator(), train, None, FLOAT32)
    imputed = network.predict(trained.genome, torch.from_numpy(held.cell), torch.from_numpy(held.assay))
    observed = store.read_tracks(test, "pilot")
    mse = np.square(store.region("pilot").from_blocks(imputed.numpy()) - observed).mean()
    average = AverageActivity()
    average.fit(store, known, "pilot")
    pairs = [tuple(store.tracks.iloc[column][["cell", "assay"]]) for column in test]
    theirs = np.stack([average.predict([pair], "pilot")[:, 0] for pair in pairs], axis=1)
    assert mse < 0.7 * np.square(theirs - observed).mean()
    assert trained.history.train_mse[-1] < 0.5 * trained.history.train_mse[0]
