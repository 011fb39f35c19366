import numpy as np
import pytest
import torch
from toy import (
    ASSAYS,
    CELLS,
    PAIRS,
    TRAIN,
    VAL,
    make_data,
    make_store,
    tracks,
)

from avocado.data.datamodule import BlockSampler, SignalDataModule
from avocado.errors import InputError
from avocado.model.baseline import fit_regression


def epoch_of(data, epoch=0, rank=0, world=1):
    """The batches of one epoch, as a trainer would get them."""
    sampler = data.sampler(rank, world)
    sampler.set_epoch(epoch)
    return [data.training[draw] for draw in sampler]


def same(batches, others):
    return len(batches) == len(others) and all(
        (mine is None and theirs is None) or torch.equal(torch.as_tensor(mine), torch.as_tensor(theirs))
        for batch, other in zip(batches, others, strict=True)
        for mine, theirs in zip(batch, other, strict=True)
    )


def samples(batches):
    """Padded bin, cell, assay and signal of all real samples: numpy (n,) each."""
    parts = []
    for batch in batches:
        position = (batch.blocks[:, None] * 200 + torch.arange(200))[..., None]
        real = batch.real[..., None].expand_as(batch.signal).bool()
        parts.append(
            [part.expand_as(batch.signal)[real].numpy() for part in (position, batch.cell, batch.assay, batch.signal)]
        )
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def columns_of(batch):
    """Columns of the store that a batch's samples come from, (blocks, 200, tracks)."""
    cell, assay = (index.expand_as(batch.signal) for index in (batch.cell, batch.assay))
    return np.vectorize(lambda c, a: PAIRS.index((CELLS[c], ASSAYS[a])))(cell, assay)


@pytest.mark.parametrize("sampling", ["shuffled", "sequential"])
@pytest.mark.parametrize("batch_size", [200, 500, 100_000])
def test_an_epoch_has_every_bin_once(tiny_store, sampling, batch_size):
    region = tiny_store.region("pilot")
    batches = epoch_of(make_data(tiny_store, batch_size=batch_size, order=sampling), epoch=3)
    blocks = np.concatenate([batch.blocks.numpy() for batch in batches])
    assert np.bincount(blocks, minlength=region.n_blocks).tolist() == [1] * region.n_blocks
    sizes = [len(batch.blocks) for batch in batches]
    assert max(sizes) <= batch_size // 200
    assert max(sizes) - min(sizes) <= 1
    # padding never counts
    real = torch.cat([batch.real for batch in batches]).numpy().reshape(len(blocks), 200)
    np.testing.assert_array_equal(real, region.mask[blocks])
    assert real.sum() == region.n_bins
    position, *_ = samples(batches)
    counts = np.bincount(position, minlength=region.n_blocks * 200).reshape(-1, 200)
    assert set(counts[region.mask]) == {counts.max()}
    assert set(counts[~region.mask]) == {0}
    if sampling == "sequential":
        assert blocks.tolist() == list(range(region.n_blocks))


@pytest.mark.parametrize("region", ["pilot", "chr20"])
@pytest.mark.parametrize("memory_limit", [1 << 30, 0])
@pytest.mark.parametrize("draws", [{}, {"tracks_per_bin": 3}, {"tracks_per_bin": 4, "masked": 0.3, "unmask_at": 1}])
def test_signal_is_that_of_the_track_at_the_bin(tiny_store, region, memory_limit, draws):
    signal = tiny_store.signal(region).reshape(-1, len(PAIRS))
    data = make_data(tiny_store, region, memory_limit=memory_limit, **draws)
    assert data.streams == (memory_limit == 0)
    position, cell, assay, found = samples(epoch_of(data))
    column = [PAIRS.index((CELLS[c], ASSAYS[a])) for c, a in zip(cell, assay, strict=True)]
    assert set(column) == set(TRAIN)
    np.testing.assert_array_equal(found, signal[position, column])


@pytest.mark.parametrize("region", ["pilot", "chr20"])
def test_parts_of_a_batch(tiny_store, region):
    data = make_data(tiny_store, region, batch_size=100_000, tracks_per_bin=4, masked=0.3, unmask_at=1)
    (batch,) = epoch_of(data)
    parts = list(batch.parts(2))
    assert [len(part.blocks) for part in parts] == [len(blocks) for blocks in batch.blocks.split(2)]
    assert {part.n_masked for part in parts} == {batch.n_masked} != {0}
    for name in ("blocks", "cell", "assay", "signal", "real"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
    assert list(batch.parts(100)) == [batch]


@pytest.mark.parametrize("region", ["pilot", "chr20"])
def test_memory_limit_counts_signal(tiny_store, region):
    size = tiny_store.region(region).n_blocks * 200 * len(TRAIN) * 4
    assert not make_data(tiny_store, region, memory_limit=size).streams
    assert make_data(tiny_store, region, memory_limit=size - 1).streams


def test_prior_of_an_assay_with_one_track(tiny_store):
    """Nothing to average: the track's expected mean, at every bin."""
    only = [PAIRS.index(("E003", "RNA")), *(PAIRS.index((cell, "DNase")) for cell in ("B cell", "E003"))]
    prior = fit_regression(tiny_store, "pilot", np.array(only), CELLS, ASSAYS)
    data = tracks(tiny_store, only)
    found = next(prior.blocks("pilot", data.cell, data.assay, [(0, 6)])).numpy()[tiny_store.region("pilot").mask[:6]]
    assert found[:, 0].std() == 0 < found[:, 0].mean()
    assert (found[:, 1:].std(axis=0) > 0.1).all()


@pytest.mark.parametrize("tracks_per_bin", [1, 3])
def test_tracks_are_drawn_alike(tiny_store, tracks_per_bin):
    data = make_data(tiny_store, tracks_per_bin=tracks_per_bin)
    counts = np.zeros(len(PAIRS))
    for epoch in range(30):
        _, cell, assay, _ = samples(epoch_of(data, epoch))
        np.add.at(counts, [PAIRS.index((CELLS[c], ASSAYS[a])) for c, a in zip(cell, assay, strict=True)], 1)
    expected = counts.sum() / len(TRAIN)
    chi_square = ((counts[TRAIN] - expected) ** 2 / expected).sum()
    assert chi_square < 26.1  # 0.1 % of draws with 8 degrees of freedom exceed it; the seed is fixed
    assert counts.sum() == counts[TRAIN].sum() == 30 * 851 * tracks_per_bin


def test_all_tracks_of_every_bin(tiny_store):
    for tracks_per_bin in (9, 50):
        for batch in epoch_of(make_data(tiny_store, tracks_per_bin=tracks_per_bin)):
            assert batch.signal.shape[2] == len(TRAIN)
            np.testing.assert_array_equal(
                np.sort(columns_of(batch), axis=2), np.broadcast_to(TRAIN, batch.signal.shape)
            )


@pytest.mark.parametrize("tracks_per_bin", [4, 9])
def test_every_block_hides_its_own_tracks(tiny_store, tracks_per_bin):
    """A third of 9 tracks: the same ones in every epoch, never among the others, until they are revealed."""
    data = make_data(tiny_store, "chr20", tracks_per_bin=tracks_per_bin, masked=1 / 3, unmask_at=30)
    masked, shown = ([set() for _ in range(10)] for _ in range(2))
    for epoch in range(30):
        for batch in epoch_of(data, epoch):
            assert batch.n_masked == (3 if tracks_per_bin == 9 else 1)  # of 4 drawn, a third
            for block, columns in zip(batch.blocks, columns_of(batch), strict=True):
                masked[block] |= set(columns[:, : batch.n_masked].ravel())
                shown[block] |= set(columns[:, batch.n_masked :].ravel())
    assert all(len(h) == 3 and h | s == set(TRAIN) and not h & s for h, s in zip(masked, shown, strict=True))
    assert len({frozenset(h) for h in masked}) > 3
    assert set.union(*masked) == set(TRAIN)
    for batch in epoch_of(data, 30):
        assert batch.n_masked == 0


DRAWS = [{}, {"tracks_per_bin": 4, "masked": 0.3, "unmask_at": 9}, {"tracks_per_bin": 9, "masked": 0.3, "unmask_at": 9}]


def test_epochs_and_seeds_differ_and_repeat(tiny_store):
    data = make_data(tiny_store)
    first, second = epoch_of(data, 0), epoch_of(data, 1)
    assert [b.blocks.tolist() for b in first] != [b.blocks.tolist() for b in second]
    assert same(first, epoch_of(make_data(tiny_store), 0))
    assert same(second, epoch_of(data, 1))
    assert not same(first, epoch_of(make_data(tiny_store, seed=1), 0))
    # along the genome the order stays, but every epoch draws other tracks
    scans = make_data(tiny_store, order="sequential")
    first, second = epoch_of(scans, 0), epoch_of(scans, 1)
    assert [b.blocks.tolist() for b in first] == [b.blocks.tolist() for b in second]
    assert not torch.equal(first[0].signal, second[0].signal)


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("sampling", ["shuffled", "sequential"])
def test_ranks_share_an_epoch(world, sampling):
    samplers = [BlockSampler(23, 4, sampling, 5, rank, world) for rank in range(world)]
    for sampler in samplers:
        sampler.set_epoch(2)
    draws = [list(sampler) for sampler in samplers]
    assert len({len(batches) for batches in draws}) == 1
    assert all(len(batches) == len(sampler) for batches, sampler in zip(draws, samplers, strict=True))
    assert all(0 < len(draw.blocks) <= 5 for batches in draws for draw in batches)
    # process r has every n-th block from block r on
    blocks = [draw.blocks * world + rank for rank, batches in enumerate(draws) for draw in batches]
    assert sorted(np.concatenate(blocks)) == list(range(23))
    seeds = [draw[1:] for batches in draws for draw in batches]
    assert len(set(seeds)) == len(seeds)


def test_ranks_draw_different_tracks_for_the_same_data(tiny_store):
    data, found = make_data(tiny_store, "chr20", batch_size=100_000, processes=2), []
    for rank in range(2):
        data.load(torch.device("cpu"), rank)
        found += epoch_of(data, 0, rank, 2)
    first, second = found
    assert first.blocks.sort().values.tolist() == second.blocks.sort().values.tolist() == list(range(5))
    assert not torch.equal(first.cell, second.cell)


@pytest.mark.parametrize("memory_limit", [1 << 30, 0])
def test_processes_load_their_own_blocks(tiny_store, memory_limit):
    """Drawn alike, as there is nothing to draw, their batches are those of one process."""
    options = {"order": "sequential", "tracks_per_bin": 99, "batch_size": 200, "memory_limit": memory_limit}
    alone = make_data(tiny_store, "chr20", val=True, **options | {"batch_size": 400})
    shared = make_data(tiny_store, "chr20", val=True, processes=2, **options)
    whole = epoch_of(alone)
    for rank in range(2):
        shared.load(torch.device("cpu"), rank)
        for batch, both in zip(epoch_of(shared, 0, rank, 2), whole, strict=True):
            mine = both.blocks % 2 == rank
            assert torch.equal(batch.blocks * 2 + rank, both.blocks[mine])
            assert torch.equal(batch.signal, both.signal[mine])
            assert torch.equal(batch.real, both.real[mine])
        if memory_limit:
            assert len(shared.training.signal) == 5
        for batch in shared.val_dataloader():
            held = tiny_store.signal("chr20")[batch.blocks.numpy() * 2 + rank][..., VAL]
            np.testing.assert_array_equal(batch.signal.numpy(), held)


@pytest.mark.parametrize("draws", DRAWS)
def test_streaming_draws_the_same_batches(tiny_store, draws):
    kept = epoch_of(make_data(tiny_store, "chr20", **draws), 4)
    assert same(kept, epoch_of(make_data(tiny_store, "chr20", memory_limit=0, **draws), 4))


def test_streaming_by_another_process_draws_the_same_batches(tiny_store):
    data = make_data(tiny_store, "chr20", memory_limit=0, workers=1)
    loader = data.train_dataloader()
    assert loader.num_workers == 1
    loader.sampler.set_epoch(4)
    streamed = [type(batch)(*(part.clone() if torch.is_tensor(part) else part for part in batch)) for batch in loader]
    assert same(epoch_of(make_data(tiny_store, "chr20"), 4), streamed)


def test_an_accelerator_validates_in_few_batches(tiny_store):
    # each costs it as much time as its host takes to ask for it
    on_cpu, elsewhere = (make_data(tiny_store, batch_size=200, device=device).validation for device in ("cpu", "meta"))
    assert len(on_cpu) == 6
    assert len(elsewhere) == 1
    assert all(torch.equal(whole, torch.cat(parts)) for whole, *parts in zip(elsewhere[0], *on_cpu, strict=True)
               if whole is not None)  # fmt: skip


def test_a_loader_in_this_process_yields_the_batches(tiny_store):
    data = make_data(tiny_store)
    assert data.train_dataloader().num_workers == 0
    assert same(list(data.train_dataloader()), epoch_of(data, 0))


@pytest.mark.parametrize("memory_limit", [1 << 30, 0])
@pytest.mark.parametrize("poison", [777.0, np.nan])
@pytest.mark.parametrize("draws", DRAWS)
def test_held_out_tracks_cannot_be_reached(tmp_path, memory_limit, poison, draws):
    held = [column for column in range(len(PAIRS)) if column not in TRAIN]
    store = make_store(tmp_path / "poisoned", **{f"t{column}": poison for column in held})
    clean = make_store(tmp_path / "clean")
    found = []
    for each in (store, clean):
        data = make_data(each, val=False, memory_limit=memory_limit, **draws)
        found.append([batch for epoch in range(5) for batch in epoch_of(data, epoch)])
    batches, expected = found
    assert same(batches, expected)
    position, cell, assay, signal = samples(batches)
    assert len(position) >= 5 * store.region("pilot").n_bins
    assert signal.max() < 10
    assert {(CELLS[c], ASSAYS[a]) for c, a in zip(cell, assay, strict=True)} == {PAIRS[column] for column in TRAIN}


def test_validation_holds_validation_tracks_only(tmp_path, tiny_store):
    others = [column for column in range(len(PAIRS)) if column not in VAL]
    store = make_store(tmp_path, **{f"t{column}": 777.0 for column in others})
    region = store.region("pilot")
    batches = list(make_data(store).val_dataloader())
    blocks = torch.cat([batch.blocks for batch in batches]).numpy()
    assert blocks.tolist() == list(range(region.n_blocks))
    np.testing.assert_array_equal(torch.cat([batch.real for batch in batches]).numpy(), region.mask)
    signal = torch.cat([batch.signal for batch in batches]).numpy()
    np.testing.assert_array_equal(signal, tiny_store.signal("pilot")[:, :, VAL])


def test_validation_looks_at_a_spread_of_bins(tiny_store):
    blocks = torch.cat([batch.blocks for batch in make_data(tiny_store, "chr20", val_bins=800).val_dataloader()])
    assert blocks.tolist() == [0, 3, 6, 9]
    assert make_data(tiny_store, val=False).val_dataloader() == []


@pytest.mark.parametrize("columns", [[], VAL])
def test_what_cannot_be_trained_on(tiny_store, columns):
    with pytest.raises(InputError, match="no training tracks" if not columns else "no region 'chr7'"):
        SignalDataModule(tiny_store, "chr7" if columns else "pilot", tracks(tiny_store, columns))


def test_other_mistakes_are_named(tiny_store):
    with pytest.raises(InputError, match=r"batch_size=199: at least one block of 200"):
        make_data(tiny_store, batch_size=199)
    with pytest.raises(InputError, match=r"unknown sampling 'random'; there is: shuffled, sequential"):
        make_data(tiny_store, order="random")
    with pytest.raises(InputError, match=r"tracks_per_bin=0: expected at least 1"):
        make_data(tiny_store, tracks_per_bin=0)
    with pytest.raises(InputError, match=r"masked=1: expected a share from 0 to below 1"):
        make_data(tiny_store, masked=1)
    with pytest.raises(InputError, match=r"2 blocks cannot be split over 3 processes"):
        BlockSampler(2, 1, world=3)
