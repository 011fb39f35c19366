"""Genome, cell-type and assay factors as tables: which rows, which means, and what other programs read."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from toy import ASSAYS, CELLS, CHR20, PILOT, STATES, TINY
from toy_model import save

from avocado.data.genome import BINS_PER_250BP, BLOCK_BINS
from avocado.errors import InputError
from avocado.latent import embeddings
from avocado.latent.embeddings import cell_code, cell_states, embed_intervals, embed_region, factor_table
from avocado.latent.files import WRITERS, write_embedding, write_table
from avocado.model.config import COARSE
from avocado.model.directory import load_model
from avocado.model.encoding import WINDOWS
from avocado.model.network import split_block


@pytest.fixture(scope="module", params=[TINY, STATES], ids=["paper", "states"])
def config(request):
    return request.param


@pytest.fixture
def model(config, tiny_store, tmp_path):
    save(tmp_path / "model", config, store=tiny_store)
    return load_model(tmp_path / "model", tiny_store)


@pytest.fixture(params=[1 << 24, 2000, 60], ids=["one piece", "pieces", "small pieces"])
def piece(request, monkeypatch):
    monkeypatch.setattr(embeddings, "PIECE", request.param)


def by_bin(model, region):
    """Factors of every bin, one after the other, from the definition: position i has 25bp[i], 250bp[i // 10], ..."""
    rows, (n25, n250, n5k) = model.genome(region.name), model.network.config.scales
    fine, middle, coarse = (
        part.numpy() for part in rows.split([BLOCK_BINS * n25, BLOCK_BINS // BINS_PER_250BP * n250, n5k], dim=1)
    )
    found = []
    for segment, _, block in region.walk():
        for i in range(segment.n_bins):
            b, o = block + i // BLOCK_BINS, i % BLOCK_BINS
            o250 = o // BINS_PER_250BP
            found.append([*fine[b, o * n25 : (o + 1) * n25], *middle[b, o250 * n250 : (o250 + 1) * n250], *coarse[b]])
    return np.array(found, dtype=np.float32)


def whole(embedding):
    parts = list(embedding.parts())
    factors = np.concatenate([part.factors for part in parts])
    assert len(embedding) == len(factors)
    assert factors.dtype == np.float32
    return pd.concat([part.positions for part in parts], ignore_index=True), factors


@pytest.mark.parametrize("region", [PILOT, CHR20], ids=lambda region: region.name)
def test_a_row_for_every_bin(model, region, piece):
    positions, factors = whole(embed_region(model, region.name))
    np.testing.assert_array_equal(factors, by_bin(model, region))
    expected = [(s.chrom, b * 25, b * 25 + 25) for s in region.segments for b in range(s.start, s.end)]
    assert list(positions.itertuples(index=False, name=None)) == expected


@pytest.mark.parametrize("scale", ["25bp", "250bp", "5kbp"])
def test_one_scale(model, scale, piece):
    embedding, everything = embed_region(model, "chr20", scale=scale), embed_region(model, "chr20")
    columns = [number for number, name in enumerate(everything.names) if name.startswith(f"{scale}_")]
    assert embedding.names == [f"{scale}_{number}" for number in range(len(columns))]
    np.testing.assert_array_equal(whole(embedding)[1], whole(everything)[1][:, columns])


@pytest.mark.parametrize("window", [50, 1_000, 7_025, 10_000_000])
def test_windows_are_means_and_begin_at_multiples_of_their_size(model, window, piece):
    positions, factors = whole(embed_region(model, "pilot", window=window))
    bins = by_bin(model, PILOT)
    expected, rank = [], 0
    for segment in PILOT.segments:
        its = np.arange(segment.start, segment.end) * 25 // window
        for number in np.unique(its):
            inside = np.flatnonzero(its == number)
            expected.append(
                (segment.chrom, (segment.start + inside[0]) * 25, (segment.start + inside[-1] + 1) * 25,
                 bins[rank + inside].mean(axis=0, dtype=np.float64))
            )  # fmt: skip
        rank += segment.n_bins
    assert list(positions.itertuples(index=False, name=None)) == [row[:3] for row in expected]
    np.testing.assert_allclose(factors, [row[3] for row in expected], rtol=0, atol=1e-6)


def test_part_of_a_chromosome(model):
    positions, factors = whole(embed_region(model, "chr20:10,001-10,100"))
    assert positions["start"].tolist() == [10_000, 10_025, 10_050, 10_075]
    np.testing.assert_array_equal(factors, by_bin(model, CHR20)[400:404])


def test_intervals_keep_their_order_and_names(model, piece):
    intervals = pd.DataFrame({
        "chrom": ["chr20", "chr1", "chr20", "chr1"],
        "start": [30_010, 26_000, 0, 12_000], "end": [40_000, 26_001, 47_000, 13_000],
        "name": ["wide", "base", "most", "outside"],
    })  # fmt: skip
    embedding, left_out = embed_intervals(model, intervals)
    assert left_out["name"].tolist() == ["outside"]
    positions, factors = whole(embedding)
    assert positions["name"].tolist() == ["wide", "base", "most"]
    assert positions["start"].tolist() == [30_010, 26_000, 0]
    chr20, pilot = by_bin(model, CHR20).astype(np.float64), by_bin(model, PILOT)
    expected = [chr20[1200:1600].mean(0), pilot[450 + 40], chr20[:1880].mean(0)]
    np.testing.assert_allclose(factors, expected, rtol=0, atol=1e-6)


def test_flank(model):
    point = pd.DataFrame({"chrom": ["chr20", "chr20"], "start": [10_000, 10], "end": [10_001, 11]})
    _, factors = whole(embed_intervals(model, point, flank=250)[0])
    bins = by_bin(model, CHR20)
    np.testing.assert_allclose(factors[0], bins[390:411].mean(0), atol=1e-6)  # 9,750 to 10,251 bp
    np.testing.assert_allclose(factors[1], bins[:11].mean(0), atol=1e-6)  # nothing before the chromosome's start


@pytest.fixture
def inferred(tiny_store, tmp_path):
    save(tmp_path / "inferred", STATES, store=tiny_store)
    return load_model(tmp_path / "inferred", tiny_store)


def states_by_bin(model, region, cell):
    """Own states, then shared ones, of each scale: from the definition."""
    bins, loading = by_bin(model, region), model.cell_factors.loc[cell].to_numpy()
    found, first = [], 0
    for n in model.network.config.scales:
        programs = bins[:, first : first + n].reshape(len(bins), len(loading), -1)
        found += [np.einsum("k,nkd->nd", loading, programs), programs[:, -1]]
        first += n
    return np.concatenate(found, axis=1)


def test_states_of_a_cell_type(inferred, piece):
    expected = states_by_bin(inferred, CHR20, "liver")
    embedding = embed_region(inferred, "chr20", cell="liver")
    _, states = whole(embedding)
    np.testing.assert_allclose(states, expected, rtol=1e-4, atol=1e-6)
    assert len(embedding.names) == len(set(embedding.names)) == states.shape[1]
    one = embed_region(inferred, "chr20", scale="250bp", cell="liver")
    columns = [number for number, name in enumerate(embedding.names) if name.startswith("250bp_")]
    assert one.names == [embedding.names[number] for number in columns]
    np.testing.assert_allclose(whole(one)[1], expected[:, columns], rtol=1e-4, atol=1e-6)
    place = pd.DataFrame({"chrom": ["chr20"], "start": [10_000], "end": [12_000]})
    mean = whole(embed_intervals(inferred, place, cell="liver")[0])[1]
    np.testing.assert_allclose(mean[0], expected[400:480].mean(axis=0), rtol=1e-4, atol=1e-6)
    factors = whole(embed_intervals(inferred, place)[0])[1]
    np.testing.assert_allclose(cell_states(inferred, "liver", factors), mean, rtol=1e-4, atol=1e-6)
    assert np.abs(expected - states_by_bin(inferred, CHR20, "E003")).max() > 0.01  # whose cell type it is matters


@pytest.fixture
def mixed(tiny_store, tmp_path):
    """As many programs as cell types and one more."""
    save(tmp_path / "mixed", replace(STATES, cell_factors=len(CELLS) + 1), store=tiny_store)
    return load_model(tmp_path / "mixed", tiny_store)


def test_the_code_of_a_cell_type_is_what_its_own_tracks_make(mixed):
    """Whatever the others have: the factors of a bin change with their tracks, and so do states, the code does not."""
    network, generator = mixed.network, torch.Generator().manual_seed(0)
    signal = torch.randn(3, BLOCK_BINS, len(network.cell), generator=generator)
    around = torch.randn(3, COARSE, len(network.cell), len(WINDOWS), generator=generator)
    shown = torch.ones(3, len(network.cell))
    liver = mixed.cells.index("liver")
    without_others, without_own = (shown * keep for keep in (network.cell == liver, network.cell != liver))

    def made(visible, of):
        fine, middle, coarse = split_block(network.encode(signal, around, visible), network.config)
        bins = (fine, middle.repeat_interleave(BINS_PER_250BP, 1), coarse.expand(-1, BLOCK_BINS, -1))
        return of(mixed, "liver", torch.cat(bins, dim=2).flatten(0, 1).numpy())

    whole_code = made(shown, cell_code)
    assert whole_code.shape == (3 * BLOCK_BINS, sum(network.config.scales) // network.config.cell_factors)
    np.testing.assert_allclose(made(without_others, cell_code), whole_code, atol=1e-4)
    assert np.abs(made(without_own, cell_code) - whole_code).max() > 0.01
    assert np.abs(made(without_others, cell_states) - made(shown, cell_states)).max() > 0.01


def test_rows_of_a_code(mixed):
    embedding = embed_region(mixed, "chr20", window=1_000, cell="liver", code=True)
    assert embedding.names == ["25bp_0", "250bp_0", "5kbp_0"]
    place = pd.DataFrame({"chrom": ["chr20"], "start": [10_000], "end": [11_000]})
    (interval,) = embed_intervals(mixed, place, cell="liver", code=True)[0].parts()
    np.testing.assert_allclose(whole(embedding)[1][10], interval.factors[0], rtol=1e-4, atol=1e-6)
    one = embed_region(mixed, "chr20", window=1_000, scale="5kbp", cell="liver", code=True)
    np.testing.assert_allclose(whole(one)[1], whole(embedding)[1][:, 2:], rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match="a code is that of a cell type: give cell="):
        embed_region(mixed, "chr20", code=True)
    mixed.network.encoded_cells = 2  # as if the others had been added to a trained model
    with pytest.raises(InputError, match="its tracks are not in the factors, it has no code"):
        embed_region(mixed, "chr20", cell="liver", code=True)


def test_states_with_coordinates(inferred):
    found, factors = inferred.cell_states("liver", "chr20"), inferred.genome_factors("chr20")
    n25, n250, _ = (n // inferred.network.config.cell_factors for n in inferred.network.config.scales)
    np.testing.assert_allclose(found.bp25, states_by_bin(inferred, CHR20, "liver")[:, : 2 * n25], rtol=1e-4, atol=1e-6)
    assert found.bp250.shape == (len(factors.bp250), 2 * n250)
    pd.testing.assert_frame_equal(found.positions_5kbp, factors.positions_5kbp)
    with pytest.raises(InputError, match="knows no cell type 'K562'"):
        inferred.cell_states("K562", "chr20")


def test_the_paper_s_model_has_no_states(tiny_store, tmp_path):
    save(tmp_path / "paper", TINY, store=tiny_store)
    model = load_model(tmp_path / "paper", tiny_store)
    for call in (
        lambda: model.cell_states("liver", "chr20"),
        lambda: embed_region(model, "chr20", cell="liver"),
        lambda: embed_region(model, "chr20", cell="liver", code=True),
    ):
        with pytest.raises(InputError, match="there are no states of liver; models of"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: embed_region(m, "chr2"), "has no factors of 'chr2'; it has: pilot, chr20"),
        (lambda m: embed_region(m, "chr20", window=30), "window=30: expected a multiple of 25 bp"),
        (lambda m: embed_region(m, "chr20", scale="1kb"), "scale=1kb: there is all, 25bp, 250bp, 5kbp"),
        (lambda m: embed_intervals(m, _bed("chrZ", 0, 9)), "has no chromosome 'chrZ'"),
        (lambda m: embed_intervals(m, _bed("chr1", 12_000, 13_000)), "has factors of none of the 1 intervals"),
        (lambda m: embed_intervals(m, _bed("chr20", 0, 100), flank=-1), "flank=-1: expected bp"),
    ],
)  # fmt: skip
def test_what_is_refused(model, call, message):
    with pytest.raises(InputError) as error:
        call(model)
    assert message in str(error.value)


def _bed(*row):
    return pd.DataFrame([row], columns=["chrom", "start", "end"])


def test_cell_types_and_assays_with_the_compendium_s_columns(model, tiny_store):
    cells = factor_table(model, "cell")
    assert cells.index.tolist() == CELLS
    np.testing.assert_array_equal(cells.to_numpy(), model.network.cell_factors.detach().numpy())
    table = tiny_store.tracks.assign(lineage=tiny_store.tracks["cell"].str[0], depth=range(len(tiny_store.tracks)))
    described = factor_table(model, "cell", table)
    assert described["lineage"].tolist() == ["B", "E", "N", "l"]
    assert "depth" not in described  # differs between the tracks of a cell type
    assert [name for name in described if name.startswith("factor_")] == cells.columns.tolist()
    assert factor_table(model, "assay", table).index.tolist() == ASSAYS


READERS = {
    ".parquet": lambda path: _of_table(pd.read_parquet(path)),
    ".tsv": lambda path: _of_table(pd.read_csv(path, sep="\t")),
    ".csv": lambda path: _of_table(pd.read_csv(path)),
    ".npz": lambda path: _of_npz(path),
    ".zarr": lambda path: _of_zarr(path),
    ".h5ad": lambda path: _of_h5ad(path),
}


def _of_table(table):
    names = [name for name in table.columns if "_" in name]
    return table.drop(columns=names), table[names].to_numpy(), names


def _of_npz(path):
    with np.load(path) as arrays:
        rest = {name: arrays[name] for name in arrays.files if name not in ("factors", "names")}
        return pd.DataFrame(rest), arrays["factors"], arrays["names"].tolist()


def _of_zarr(path):
    xarray = pytest.importorskip("xarray")
    with xarray.open_zarr(path, consolidated=False) as data:
        names = data["factor"].values.tolist()
        rest = {name: data[name].values for name in data.coords if name != "factor"}
        return pd.DataFrame(rest), data["factors"].values, names


def _of_h5ad(path):
    anndata = pytest.importorskip("anndata")
    data = anndata.read_h5ad(path)
    assert data.obs.index[0].count(":") == 1
    return data.obs.reset_index(drop=True), data.X, data.var.index.tolist()


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("named", [False, True])
def test_files(model, suffix, named, tmp_path, monkeypatch):
    package = WRITERS[suffix][1]
    if package:
        pytest.importorskip(package)
    monkeypatch.setattr(embeddings, "PIECE", 3000)
    intervals = pd.DataFrame({"chrom": ["chr20", "chr1"] * 40, "start": range(25_000, 25_080), "name": "a gène"})
    intervals["end"] = intervals["start"] + 10
    embedding = embed_intervals(model, intervals)[0] if named else embed_region(model, "pilot")
    positions, factors = whole(embedding)
    assert len(list(embedding.parts())) > 1 or named
    for _ in range(2):  # the second one replaces the first
        write_embedding(tmp_path / f"factors{suffix}", embedding)
    found, values, names = READERS[suffix](tmp_path / f"factors{suffix}")
    assert names == embedding.names
    np.testing.assert_allclose(values, factors, rtol=2e-5)
    pd.testing.assert_frame_equal(
        found[positions.columns.tolist()].astype(str), positions.astype(str), check_dtype=False, check_column_type=False
    )
    assert {path.name for path in tmp_path.iterdir()} == {"model", f"factors{suffix}"}


@pytest.mark.parametrize("suffix", [".parquet", ".h5ad", ".tsv", ".zarr", ".npz"])
def test_tables_of_cell_types(model, suffix, tmp_path):
    package = WRITERS[suffix][1]
    if package:
        pytest.importorskip(package)
    table = factor_table(model, "cell").assign(lineage=["a", "b", "c", "d"])
    write_table(tmp_path / f"cells{suffix}", table)
    if suffix == ".tsv":
        read = pd.read_csv(tmp_path / "cells.tsv", sep="\t", keep_default_na=False)
        assert read["cell"].tolist() == CELLS
        assert read["lineage"].tolist() == ["a", "b", "c", "d"]
    if suffix == ".h5ad":
        data = pytest.importorskip("anndata").read_h5ad(tmp_path / "cells.h5ad")
        assert data.obs.index.tolist() == CELLS
        assert data.obs["lineage"].tolist() == ["a", "b", "c", "d"]


def test_nothing_is_left_of_what_fails(model, tmp_path):
    def stop(parts):
        yield next(parts)
        raise KeyboardInterrupt

    for suffix, (_, package) in WRITERS.items():
        if package:
            pytest.importorskip(package)
        with pytest.raises(KeyboardInterrupt):
            write_embedding(tmp_path / f"factors{suffix}", embed_region(model, "pilot"), stop)
    with pytest.raises(InputError, match="expected a name that ends in"):
        write_embedding(tmp_path / "factors.doc", embed_region(model, "pilot"))
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
    assert torch.isfinite(model.genome("pilot")).all()
