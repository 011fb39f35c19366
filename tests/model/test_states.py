"""The default model: what the encoder sees, what the decoder computes, and masked training."""

import numpy as np
import pytest
import torch
from toy import (
    ASSAYS,
    CELLS,
    CHR20,
    PAIRS,
    PILOT,
    RUN,
    STATES,
    TEST,
    TRAIN,
    make_states,
    make_store,
    plain_model,
    tracks,
)

from avocado.data.datamodule import Draw
from avocado.data.genome import BLOCK_BINS
from avocado.model.encoding import COARSE, WINDOWS, pieces, surroundings
from avocado.model.network import split_block
from avocado.model.states import GATE, MOST, STRONGEST, StatesNetwork, states_of
from avocado.training.loop import carry_out
from avocado.training.masked import PRIOR_TRACKS, MaskedDataModule, encode_region, fit_gate, set_apart
from avocado.utils.hardware import Hardware

CPU = Hardware("cpu", "float32")
SCALES = np.stack([np.linspace(0.1, 0.9, len(TRAIN)), np.linspace(0.5, 2.0, len(TRAIN))])


def plain_surroundings(store, region):
    """Segment by segment, window by window."""
    layout, found = store.region(region), []
    signal = store.signal(region)[:, :, TRAIN]
    for segment, _, block in layout.walk():
        values = signal[block : block + segment.n_blocks].reshape(-1, len(TRAIN))[: segment.n_bins]
        values = (values - SCALES[0]) / SCALES[1]
        means = np.zeros((segment.n_blocks * COARSE, len(TRAIN), len(WINDOWS)))
        for at in range(len(means)):
            for number, window in enumerate(WINDOWS):
                bins = values[max(0, at - window // 2) * 10 : (at + window // 2 + 1) * 10]
                means[at, :, number] = bins.mean(axis=0) if len(bins) else 0
        found.append(means.reshape(segment.n_blocks, COARSE, len(TRAIN), len(WINDOWS)))
    return np.concatenate(found)


@pytest.mark.parametrize("region", ["pilot", "chr20"])
def test_surroundings_are_moving_means(tiny_store, region):
    layout, signal = tiny_store.region(region), tiny_store.signal(region)
    whole = surroundings(signal, layout, np.array(TRAIN), SCALES, 0, layout.n_blocks)
    np.testing.assert_allclose(whole.float().numpy(), plain_surroundings(tiny_store, region), rtol=2e-3, atol=2e-3)
    for first in range(layout.n_blocks):  # wherever a region is cut
        part = surroundings(signal, layout, np.array(TRAIN), SCALES, first, first + 1)
        torch.testing.assert_close(part[0].float(), whole[first].float(), rtol=1e-3, atol=1e-3)


def test_pieces_cover_every_block_once(tiny_store, monkeypatch):
    signal, columns = tiny_store.signal("chr20"), np.array(TRAIN)
    monkeypatch.setattr("avocado.model.encoding.PIECE", 200 * len(TRAIN) * 4 * 3)
    found = list(pieces(signal, CHR20, columns, SCALES))
    assert [(first, last) for first, last, *_ in found] == [(0, 3), (3, 6), (6, 9), (9, 10)]
    values = torch.cat([its[2] for its in found]).numpy()
    expected = (signal[:, :, TRAIN] - SCALES[0]) / SCALES[1] * CHR20.mask[..., None]
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)


def encoded(network, store, visible, change=None):
    columns = np.array(TRAIN)
    _, _, values, around = next(iter(pieces(store.signal("pilot"), PILOT, columns, SCALES)))
    if change is not None:
        values[..., change] += 3
        around[:, :, change] -= 1
    return network.encode(values, around, visible.expand(len(values), -1))


def test_hidden_tracks_have_no_influence_and_visible_ones_do(tiny_store):
    network = make_states(tiny_store)
    visible = torch.ones(1, len(TRAIN))
    visible[0, 4] = 0
    with torch.no_grad():
        rows = encoded(network, tiny_store, visible)
        assert torch.equal(rows, encoded(network, tiny_store, visible, change=4))
        assert not torch.equal(rows, encoded(network, tiny_store, visible, change=3))
        assert not torch.equal(rows, encoded(network, tiny_store, torch.ones(1, len(TRAIN))))


def test_decoder_by_hand(tiny_store):
    """State of the cell type and the shared program, bin by bin, through the layers."""
    network = make_states(tiny_store)
    with torch.no_grad():
        network.first_gain.weight.normal_(generator=torch.Generator().manual_seed(0))
        network.output_bias.normal_(generator=torch.Generator().manual_seed(1))
        rows = torch.randn(2, STATES.block_width, generator=torch.Generator().manual_seed(2))
        cell, assay = torch.tensor([[0, 3], [2, 2]]), torch.tensor([[1, 1], [0, 3]])
        found = network(rows, cell, assay)
        parts = [part.unflatten(-1, (STATES.cell_factors, -1)) for part in split_block(rows, STATES)]
        for block, bin_, pair in ((0, 0, 0), (0, 199, 1), (1, 57, 0), (1, 123, 1)):
            c, a = network.cell_factors[cell[block, pair]], network.assay_factors[assay[block, pair]]
            programs = [part[block, bin_ // wide] for part, wide in zip(parts, (1, 10, 200), strict=True)]
            x = torch.cat([c @ its for its in programs] + [its[-1] for its in programs])
            x = network.first(x) * (1 + network.first_gain.weight @ a) + network.first_assay.weight @ a
            expected = x.relu() @ network.output[assay[block, pair]] + network.output_bias[assay[block, pair]]
            torch.testing.assert_close(found[block, bin_, pair], expected, rtol=1e-4, atol=1e-5)


def test_a_scale_without_factors_is_no_reason_to_warn(recwarn):
    config = plain_model(kind="states", cell_factors=2, factors_25bp=3, factors_250bp=0, factors_5kbp=2)
    network = StatesNetwork(config, n_cells=2, n_assays=3, n_tracks=4).initialise(torch.Generator().manual_seed(0))
    signal, around = torch.randn(1, BLOCK_BINS, 4), torch.randn(1, 20, 4, len(WINDOWS))
    assert network.encode(signal, around, torch.ones(1, 4)).shape == (1, config.block_width)
    assert not recwarn.list


def masked_data(store, memory_limit=None, unmask_at=2, masked=0.3):
    from avocado.data.sampling import Sampling

    apart = set_apart(len(TRAIN), 0)
    data = MaskedDataModule(
        store, "chr20", tracks(store, TRAIN), batch_size=400, sampling=Sampling("shuffled", 2, masked),
        memory_limit=memory_limit, scales=SCALES, apart=apart, unmask_at=unmask_at,
    )  # fmt: skip
    return data, apart


@pytest.mark.parametrize("masked", [0.3, 0.99])
def test_what_is_asked_for_is_hidden_and_tracks_set_apart_come_last(tiny_store, masked):
    data, apart = masked_data(tiny_store, masked=masked)
    assert apart.sum() == 2
    asked = {epoch: set() for epoch in range(6)}
    for epoch in asked:
        for batch in range(5):
            its = data.training[Draw(np.arange(10), 0, epoch, 0, batch)]
            assert (its.visible.gather(1, its.asked) == 0).all()
            assert (its.visible.sum(dim=1) >= 1).all()
            asked[epoch] |= set(its.asked.flatten().tolist())
            if epoch < 2:
                assert (its.visible[:, torch.from_numpy(apart)] == 1).all()
    held = set(np.flatnonzero(apart).tolist())
    assert not held & (asked[0] | asked[1])
    assert held <= asked[2] | asked[3] | asked[4] | asked[5]


def test_streamed_batches_are_those_in_memory(tiny_store):
    draw = Draw(np.array([7, 2, 9]), 0, 3, 0, 1)
    kept, streamed = (masked_data(tiny_store, limit)[0] for limit in (1 << 30, 0))
    assert (kept.streams, streamed.streams) == (False, True)
    for mine, theirs in zip(kept.training[draw], streamed.training[draw], strict=True):
        torch.testing.assert_close(mine.float(), theirs.float(), rtol=1e-3, atol=1e-3)


def fitted(store, epochs=5, checkpoint=None, config=STATES):
    network = make_states(store, config)
    from dataclasses import replace

    run = replace(RUN, model=config, fit=replace(RUN.fit, epochs=epochs, masked=0.3, tracks_per_bin=4))
    names = CELLS, ASSAYS
    return carry_out(run, store, network, names, torch.Generator().manual_seed(0), tracks(store, TRAIN), None, CPU)


def test_held_out_tracks_touch_nothing(tmp_path, tiny_store):
    clean = fitted(tiny_store)
    held = {f"t{column}": np.nan for column in range(len(PAIRS)) if column not in TRAIN}
    poisoned = fitted(make_store(tmp_path, **held))
    assert torch.equal(clean.genome, poisoned.genome)
    mine, theirs = clean.network.state_dict(), poisoned.network.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert mine["gate"].tolist() != list(GATE)  # learned, on tracks set apart
    assert clean.history.train_mse == poisoned.history.train_mse


def test_factors_move_and_impute_better_than_a_constant(tiny_store):
    few, many = fitted(tiny_store, 1), fitted(tiny_store, 60)
    assert many.history.train_mse[-1] < 0.7 * few.history.train_mse[0]
    assert many.genome.std() > 0.1
    network, layout = many.network, PILOT
    for column in TEST:
        cell, assay = CELLS.index(PAIRS[column][0]), ASSAYS.index(PAIRS[column][1])
        index = torch.tensor([cell]), torch.tensor([assay])
        imputed = layout.from_blocks(network.predict(many.genome, *index)[..., 0].numpy())
        observed = tiny_store.read_track(*PAIRS[column], "pilot")
        assert np.corrcoef(imputed, observed)[0, 1] > 0.4, PAIRS[column]


def test_a_region_is_encoded_alike_in_any_pieces(tiny_store, monkeypatch):
    network = fitted(tiny_store, 2).network
    whole = encode_region(network, tiny_store, "chr20", np.array(TRAIN), CPU)
    monkeypatch.setattr("avocado.model.encoding.PIECE", 1)
    torch.testing.assert_close(encode_region(network, tiny_store, "chr20", np.array(TRAIN), CPU), whole)


@pytest.mark.parametrize("baseline", ["none", "regression"])
def test_gate_is_least_squares_on_what_was_set_apart(tiny_store, baseline):
    """Blocks whose truth is 0.5 × what was found: many tracks say so, and the start counts for eight."""
    network, columns = make_states(tiny_store), np.array(TRAIN)
    before = network.gate.clone()
    fit_gate(network, tiny_store, "pilot", columns, {}, None)
    assert torch.equal(network.gate, before)
    if baseline == "regression":
        return
    signal, track = tiny_store.signal("pilot"), torch.arange(len(TRAIN))
    cell, assay = network.cell, network.assay
    mean, deviation = network.expected[cell, assay].unbind(-1)
    blocks = torch.arange(len(TRAIN)) % PILOT.n_blocks
    values = [signal[b][:, TRAIN[t]] for b, t in zip(blocks.tolist(), track.tolist(), strict=True)]
    observed = torch.from_numpy(np.stack(values))
    found = 2 * (observed - mean[:, None]) / deviation[:, None]
    fit_gate(network, tiny_store, "pilot", columns, {"blocks": blocks, "track": track, "found": found}, None)
    n = len(TRAIN)
    expected = (0.5 * n + PRIOR_TRACKS * GATE[2]) / (n + PRIOR_TRACKS)
    assert network.gate.tolist() == pytest.approx([expected, 0, expected], rel=1e-4)


def test_deviations_of_imputations_differ_half_as_much(tiny_store):
    network, region = make_states(tiny_store), tiny_store.region("pilot")
    genome = torch.randn(region.n_blocks, network.config.block_width, generator=torch.Generator().manual_seed(3))
    mask = torch.from_numpy(region.mask)
    cells = torch.arange(network.n_cells).repeat_interleave(network.n_assays)
    assays = torch.arange(network.n_assays).repeat(network.n_cells)

    def deviations():
        found = network.predict(genome, cells, assays)[mask]
        return found.std(0) / (network.expected[cells, assays, 1] * network.gate[2])

    with torch.no_grad():
        network.output[1].mul_(10)
    before = deviations()
    assert before.log().std() > 0.3
    network.set_limits(genome, mask)
    after, typical = deviations(), before.log().mean()
    assert after.max() < STRONGEST
    torch.testing.assert_close(after.log() - typical, (before.log() - typical) / 2, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        network.output[0].div_(1e3)  # an assay of which it knows hardly anything
        network.output[1].mul_(1e3)  # and one that it imputes far too strongly
    network.limits.fill_(1)
    before = deviations()[assays == 0]
    network.set_limits(genome, mask)
    after = deviations()
    torch.testing.assert_close(after[assays == 0], MOST * before, rtol=1e-3, atol=0)
    torch.testing.assert_close(after[assays == 1], torch.full((network.n_cells,), STRONGEST), rtol=1e-3, atol=0)


def test_the_decoder_is_given_a_cell_type_s_states_and_nothing_else_of_it(tiny_store):
    network, generator = make_states(tiny_store), torch.Generator().manual_seed(1)
    programs, d = STATES.cell_factors, STATES.factors_250bp
    factors, loading = torch.randn(3, 20, programs * d, generator=generator), network.cell_factors[1].detach()
    states = states_of(factors, loading)
    assert states.shape == (3, 20, 2 * d)
    by_hand = sum(loading[k] * factors[..., k * d : (k + 1) * d] for k in range(programs))
    torch.testing.assert_close(states[..., :d], by_hand)
    torch.testing.assert_close(states[..., d:], factors[..., (programs - 1) * d :])
    weights = torch.randn(6, 2 * d, generator=generator)
    of_decoder = network._first(factors, loading.expand(3, 1, -1), *weights.split(d, dim=1))[:, 0]
    torch.testing.assert_close(of_decoder, states @ weights.mT)
