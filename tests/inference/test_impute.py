import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyBigWig
import pytest
import torch
from toy import ASSAYS, ASSEMBLY, CELLS, CHR20, PAIRS, PILOT, STATES, TINY
from toy_model import save

from avocado.errors import InputError
from avocado.inference import impute as impute_module
from avocado.inference.impute import (
    impute,
    impute_chunks,
    places,
    provenance,
    regions_to_impute,
    shared_out,
    write_tracks,
)
from avocado.model.directory import load_model
from avocado.model.network import reference
from avocado.model.scales import imputed_pval
from avocado.utils.files import claimed
from avocado.utils.hardware import Hardware
from avocado.utils.provenance import is_there

TWO = [("NA", "RNA"), ("B cell", "DNase")]
EXACT = Hardware("cpu", "float32")
TWO_BLOCKS = 2 * 200 * len(TWO) * 4  # bytes


@pytest.fixture(scope="module", params=[TINY, STATES], ids=["paper", "states"])
def model(request, tiny_store, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    # large factors, so that some of the imputed signal is below 0
    save(path, replace(request.param, factor_init=1.0), store=tiny_store)
    return load_model(path)


def by_reference(model, pair, region):
    position = torch.from_numpy(np.flatnonzero(region.mask))
    cell, assay = (torch.full_like(position, index) for index in model.pair(*pair))
    if model.network.config.kind == "states":
        index = [np.array([number]) for number in model.pair(*pair)]
        baseline = next(model.baseline.blocks(region.name, *index, [(0, region.n_blocks)]))
        pairs = [torch.from_numpy(its) for its in index]
        found = model.network.float()(model.genome(region.name), *(its[None] for its in pairs)).detach()
        mean, deviation = model.network.expected[pairs[0], pairs[1]].unbind(-1)
        weights = model.network.gate
        combined = mean + weights[0] * deviation * found + weights[1] * (baseline - mean)
        return region.from_blocks(combined[..., 0].numpy())
    return reference(model.network, model.genome(region.name), position, cell, assay).numpy()


def read(path, segment):
    with pyBigWig.open(str(path)) as file:
        values = file.values(segment.chrom, segment.start * 25, segment.end * 25, numpy=True)
    bins = values.reshape(-1, 25)
    assert (bins == bins[:, :1]).all()
    return bins[:, 0]


@pytest.mark.parametrize("region", [PILOT, CHR20], ids=lambda region: region.name)
def test_imputes_what_the_paper_computes(model, region):
    found = impute(model, PAIRS, region.name, EXACT)
    assert found.shape == (region.n_bins, len(PAIRS))
    assert found.dtype == np.float32
    for column, pair in enumerate(PAIRS):
        np.testing.assert_allclose(found[:, column], by_reference(model, pair, region), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_bf16_is_close(tmp_path, tiny_store, layers):
    save(tmp_path, replace(TINY, factor_init=1.0, layers=layers), store=tiny_store)
    model = load_model(tmp_path)
    found = impute(model, TWO, "pilot", Hardware("cpu", "bf16"))
    assert found.dtype == np.float32
    expected = np.stack([by_reference(model, pair, PILOT) for pair in TWO], axis=1)
    # a number of 8 bits is off by at most 1/256 of itself; of sums over these few nodes remain 2 % at most, 1 % rms
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
    assert np.square(found - expected).mean() < 0.01**2 * np.square(expected).mean()
    if layers:
        assert (found != expected).any()
    else:  # a linear model has no matrix products that 16 bits would speed up
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_baseline_is_used(tmp_path, tiny_store):
    save(tmp_path, STATES, store=tiny_store)
    model = load_model(tmp_path)
    found = impute(model, TWO, "pilot", EXACT)
    for column, pair in enumerate(TWO):
        np.testing.assert_allclose(found[:, column], by_reference(model, pair, PILOT), rtol=1e-4, atol=1e-5)
    alone = impute(load_model(tmp_path, baseline=False), TWO, "pilot", EXACT)
    assert np.abs(found - alone).mean() > 0.1


def test_baseline_is_made_in_bounded_pieces(tmp_path, tiny_store, monkeypatch):
    """Moving means reach beyond a piece: what comes out does not depend on where it is cut."""
    save(tmp_path, STATES, store=tiny_store)
    model = load_model(tmp_path)
    whole = impute(model, TWO, "pilot", EXACT)
    monkeypatch.setattr("avocado.model.regression.PIECE", 1)
    assert len(list(impute_chunks(model, TWO, "pilot", EXACT))) == PILOT.n_blocks
    np.testing.assert_allclose(impute(model, TWO, "pilot", EXACT), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("output", "n_pieces"), [(0, PILOT.n_blocks), (TWO_BLOCKS, PILOT.n_blocks // 2), (1 << 30, 1)])
def test_pieces_cover_a_region_once(model, monkeypatch, output, n_pieces):
    whole = impute(model, TWO, "pilot", EXACT)
    monkeypatch.setattr(impute_module, "OUTPUT", output)
    pieces = list(impute_chunks(model, TWO, "pilot", EXACT))
    assert len(pieces) == n_pieces
    addresses = [(s.chrom, i) for segments, _ in pieces for s in segments for i in range(s.start, s.end)]
    assert addresses == [(s.chrom, i) for s in PILOT.segments for i in range(s.start, s.end)]
    for segments, values in pieces:
        assert values.shape == (sum(s.n_bins for s in segments), 2)
    np.testing.assert_allclose(np.concatenate([values for _, values in pieces]), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("region", [PILOT, CHR20], ids=lambda region: region.name)
@pytest.mark.parametrize(("ending", "workers"), [("bigWig", 1), ("bw", 2)])
def test_bigwigs_hold_minus_log10_p(model, tmp_path, monkeypatch, region, ending, workers):
    monkeypatch.setattr(impute_module, "OUTPUT", TWO_BLOCKS)
    files = {pair: tmp_path / "new" / f"{number}.{ending}" for number, pair in enumerate(TWO)}
    done = []
    write_tracks(model, files, [region.name], hardware=EXACT, progress=done.append, workers=workers, decimals=None)
    assert sum(done) == region.n_blocks * 2
    imputed = impute(model, TWO, region.name, EXACT)
    assert imputed.min() < -0.01
    for column, path in enumerate(files.values()):
        with pyBigWig.open(str(path)) as file:
            assert file.chroms() == ASSEMBLY.sizes
            assert file.header()["nLevels"] > 0
            assert file.header()["minVal"] == 0
        found = np.concatenate([read(path, segment) for segment in region.segments])
        np.testing.assert_allclose(found, imputed_pval(imputed[:, column]), rtol=1e-5, atol=1e-6)
    assert sorted(file.name for file in (tmp_path / "new").glob("*.*")) == [
        f".0.{ending}.json", f".1.{ending}.json", f"0.{ending}", f"1.{ending}"
    ]  # fmt: skip


def test_the_last_bin_has_its_place(model, tmp_path):
    path = tmp_path / "track.bigWig"
    write_tracks(model, {TWO[0]: path}, ["chr20"], scale="arcsinh", hardware=EXACT, decimals=None)
    with pyBigWig.open(str(path)) as file:
        # 1,892 whole bins end at 47,300; the 20 bp of the partial bin stay empty
        assert np.isfinite(file.values("chr20", 47_275, 47_300)).all()
        assert np.isnan(file.values("chr20", 47_300, 47_320)).all()
        last = file.values("chr20", 47_299, 47_300)[0]
        assert file.intervals("chr1") is None
    assert last == pytest.approx(by_reference(model, TWO[0], CHR20)[-1], rel=1e-4)


def test_arcsinh_is_the_output_as_it_is(model, tmp_path):
    files = {TWO[0]: tmp_path / "a.bigWig", TWO[1]: tmp_path / "b.npz"}
    write_tracks(model, files, ["chr20"], scale="arcsinh", decimals=None)
    imputed = impute(model, TWO, "chr20")
    np.testing.assert_array_equal(read(files[TWO[0]], CHR20.segments[0]), imputed[:, 0])
    np.testing.assert_array_equal(np.load(files[TWO[1]])["chr20"], imputed[:, 1])


def test_npz_files_hold_an_array_per_region(model, tmp_path, monkeypatch):
    monkeypatch.setattr(impute_module, "OUTPUT", TWO_BLOCKS)
    path = tmp_path / "track.npz"
    write_tracks(model, {TWO[0]: path}, ["chr20", "pilot"], hardware=EXACT)
    with np.load(path, allow_pickle=False) as arrays:
        assert set(arrays) == {"pilot", "chr20"}
        for region in (PILOT, CHR20):
            expected = imputed_pval(by_reference(model, TWO[0], region))
            assert arrays[region.name].shape == (region.n_bins,)
            assert arrays[region.name].dtype == np.float32
            np.testing.assert_allclose(arrays[region.name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("group", "workers"), [(3, 1), (7, 2), (100, 3)])
def test_many_tracks_are_written_group_by_group(model, tmp_path, monkeypatch, group, workers):
    monkeypatch.setattr(impute_module, "GROUP", group)
    monkeypatch.setattr(impute_module, "OUTPUT", 0)
    pairs = [(cell, assay) for cell in CELLS for assay in ASSAYS]
    files = {pair: tmp_path / f"{pair[0]}.{pair[1]}.npz" for pair in pairs}
    write_tracks(model, files, ["pilot"], scale="arcsinh", workers=workers)
    imputed = impute(model, pairs, "pilot")
    for column, path in enumerate(files.values()):
        np.testing.assert_allclose(np.load(path)["pilot"], imputed[:, column], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ending", ["bigWig", "npz"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("stopped")])
@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_left_of_a_failure(model, tmp_path, monkeypatch, ending, error, workers):
    monkeypatch.setattr(impute_module, "OUTPUT", 0)
    calls = []

    def stop(blocks):
        calls.append(blocks)
        if len(calls) == 3:
            raise error

    files = {pair: tmp_path / f"{number}.{ending}" for number, pair in enumerate(TWO)}
    with pytest.raises(type(error)):
        write_tracks(model, files, ["pilot"], progress=stop, workers=workers)
    assert list(tmp_path.iterdir()) == []


def test_a_chromosome_without_factors_leaves_nothing(model, tmp_path):
    with pytest.raises(InputError, match=r"no factors of 'chr1'; it has: pilot, chr20"):
        write_tracks(model, {TWO[0]: tmp_path / "track.bigWig"}, ["chr20", "chr1"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({TWO[0]: "a.bigWig", TWO[1]: "a.bigWig"}, {}, r"several tracks would be written to .*a\.bigWig"),
        ({TWO[0]: "a.wig"}, {}, r"a\.wig: unknown kind of file; name it \.bw or \.npz"),
        ({("NA", "ATAC"): "a.npz"}, {}, r"knows no assay 'ATAC'"),
        ({TWO[0]: "a.npz"}, {"scale": "log"}, r"unknown scale 'log'; there is: pval, arcsinh"),
    ],
)
def test_mistakes_leave_nothing(model, tmp_path, files, options, message):
    with pytest.raises(InputError, match=message):
        write_tracks(model, {pair: tmp_path / name for pair, name in files.items()}, ["pilot"], **options)
    assert list(tmp_path.iterdir()) == []


def test_chromosomes_are_imputed_before_pilot_regions(model, tmp_path):
    assert regions_to_impute(model) == ["chr20"]
    save(tmp_path / "pilot", regions=[PILOT])
    assert regions_to_impute(load_model(tmp_path / "pilot")) == ["pilot"]
    save(tmp_path / "none", regions=[])
    with pytest.raises(InputError, match=r"has no genome factors yet"):
        regions_to_impute(load_model(tmp_path / "none"))


def test_a_file_is_there_when_the_same_made_it(model, tmp_path, tiny_store):
    """Another model, track, scale, place or number of decimals, or a file that was changed, is another file."""
    path = tmp_path / "x.bigWig"

    def there(its=model, pair=TWO[0], places_=("chr20",), scale="pval", decimals=2):
        made = provenance(its, {pair: path}, places(its, places_), scale, decimals)[path]
        return is_there(path, made, "do this")

    assert not there()
    write_tracks(model, {TWO[0]: path}, ["chr20"], hardware=EXACT)
    assert there()
    assert there(load_model(model.path))
    other = tmp_path / "other"
    save(other, model.network.config, seed=5, store=tiny_store)
    for changed, said in (
        (dict(its=load_model(other)), "model was"),
        (dict(pair=TWO[1]), "cell was NA, is B cell"),
        (dict(scale="arcsinh"), "scale was pval, is arcsinh"),
        (dict(decimals=3), "decimals was 2, is 3"),
        (dict(places_=["pilot"]), "regions.chr20 was"),
        (dict(places_=["chr20:1-1,000"]), "regions.chr20 was"),
        *([(dict(its=load_model(model.path, baseline=False)), "baseline was regression")] if model.baseline else []),
    ):
        with pytest.raises(InputError, match=rf"x\.bigWig is there and was made otherwise \(.*{said}.*\): do this"):
            there(**changed)
    factors = model.path / "chr20.safetensors"
    before = factors.read_bytes()
    factors.write_bytes(before[:-4] + b"abcd")  # trained again, with another result
    try:
        with pytest.raises(InputError, match=r"regions\.chr20 was"):
            there()
    finally:
        factors.write_bytes(before)
    assert there()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="nothing says that it was made by this command"):
        there()


@pytest.mark.parametrize("workers", [1, 2])
def test_bigwigs_are_rounded_and_arrays_are_not(model, tmp_path, workers):
    imputed = imputed_pval(impute(model, TWO, "chr20", EXACT))
    for decimals, error in ((None, 0), (1, 0.05), (2, 0.005), (3, 0.0005)):
        files = {pair: tmp_path / f"{number}.bw" for number, pair in enumerate(TWO)}
        write_tracks(model, files, ["chr20"], hardware=EXACT, workers=workers, decimals=decimals)
        for column, path in enumerate(files.values()):
            found = read(path, CHR20.segments[0])
            assert np.abs(found - imputed[:, column]).max() <= error * 1.001 + 1e-5
            if decimals is not None:
                np.testing.assert_allclose(found, np.round(found, decimals), rtol=1e-6)
                assert (np.abs(found - imputed[:, column]) > error / 10).any()
    write_tracks(model, {TWO[0]: tmp_path / "a.npz"}, ["chr20"], hardware=EXACT, decimals=1)
    np.testing.assert_allclose(np.load(tmp_path / "a.npz")["chr20"], imputed[:, 0], rtol=1e-5, atol=1e-6)


def test_files_are_handed_out_once(tmp_path, monkeypatch):
    monkeypatch.setattr(impute_module, "GROUP", 2)
    files = {pair: tmp_path / "_".join(pair) for pair in PAIRS}

    def work(number):
        written = []
        for _, mine in shared_out(files, lambda path: not path.exists()):
            time.sleep(0.01)
            for path in mine.values():
                path.write_text("")
                written.append(path)
        assert all(path.exists() for path in files.values())  # at the end of either
        return written

    with ThreadPoolExecutor(2) as workers:
        written = list(workers.map(work, range(2)))
    assert all(written)
    assert sorted(written[0] + written[1]) == sorted(files.values())
    assert sorted(tmp_path.iterdir()) == sorted(files.values())


def test_files_of_another_process_come_last_and_are_left_out_if_they_are_there(tmp_path):
    files = {pair: tmp_path / "_".join(pair) for pair in PAIRS[:3]}
    paths = list(files.values())
    busy = claimed(paths[:1])
    busy.__enter__()
    handed = shared_out(files, lambda path: not path.exists())
    group, mine = next(handed)
    assert set(group) == set(mine) == set(PAIRS[1:3])
    paths[0].write_text("by the other")
    busy.__exit__(None, None, None)
    group, mine = next(handed)
    assert (set(group), mine) == ({PAIRS[0]}, {})
    assert list(handed) == []


def test_a_place_is_the_same_bins_of_the_whole(tmp_path, tiny_store):
    save(tmp_path, STATES, store=tiny_store)
    model = load_model(tmp_path, tiny_store)
    whole = impute(model, TWO, "chr20", EXACT)
    np.testing.assert_allclose(impute(model, TWO, "chr20:26-10,000", EXACT), whole[1:400], atol=1e-6)
    np.testing.assert_allclose(impute(model, TWO[0], "chr20:26-10,000", EXACT), whole[1:400, 0], atol=1e-6)
    bed = tmp_path / "mine.bed"
    bed.write_text("chr20\t100\t130\nchr20\t20000\t20025\n")
    np.testing.assert_allclose(impute(model, TWO, bed, EXACT), whole[[4, 5, 800]], atol=1e-6)


def test_two_places_of_one_name_are_refused(tmp_path):
    save(tmp_path / "model")
    files = [tmp_path / name / "mine.bed" for name in ("a", "b")]
    for number, bed in enumerate(files):
        bed.parent.mkdir()
        bed.write_text(f"chr20\t{1000 * number}\t{1000 * number + 500}\n")
    model, path = load_model(tmp_path / "model"), tmp_path / "track.npz"
    with pytest.raises(InputError, match="two of the places are called mine"):
        write_tracks(model, {TWO[0]: path}, [str(bed) for bed in files], hardware=EXACT)
    assert not path.exists()
    write_tracks(model, {TWO[0]: path}, [str(files[0])] * 2, hardware=EXACT)  # the same twice is one


def test_a_place_as_a_bigwig(tmp_path):
    save(tmp_path)
    model, path = load_model(tmp_path), tmp_path / "track.bigWig"
    write_tracks(model, {TWO[0]: path}, ["chr20:1,001-6,000"], scale="arcsinh", hardware=EXACT, decimals=None)
    with pyBigWig.open(str(path)) as written:
        assert written.stats("chr20", 0, 1000) == [None]
        found = written.values("chr20", 1000, 6000, numpy=True)[::25]
        assert written.stats("chr20", 6000, 6100) == [None]
    np.testing.assert_allclose(found, impute(model, TWO[0], "chr20:1,001-6,000", EXACT), atol=1e-6)
