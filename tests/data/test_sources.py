"""Track files through the whole of ingest, as a user meets them. bigWigs: see also test_bigwig.py."""

import numpy as np
import pandas as pd
import pytest

from avocado.data.genome import Assembly, chromosome_region
from avocado.data.ingest import ingest
from avocado.errors import InputError

TOY = Assembly("toy", {"chr1": 12_510, "chr2": 5_000})  # 500 and 200 bins
CHR1, CHR2 = (chromosome_region(TOY, chrom) for chrom in TOY.sizes)
SIGNAL = np.random.default_rng(0).gamma(0.5, 2, 700).astype(np.float32)  # raw −log10 p; chr1, then chr2
STORED = np.arcsinh(SIGNAL)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "store"


def one(path):
    return pd.DataFrame({"cell": ["E1"], "assay": ["DNase"], "file": [str(path)]})


@pytest.mark.parametrize(("arrays", "values"), [("arcsinh", STORED), ("raw", SIGNAL)])
def test_npy_of_arcsinh_or_raw_values(tmp_path, out, arrays, values):
    np.save(tmp_path / "a.npy", values[:500].astype(np.float64))
    store = ingest(one(tmp_path / "a.npy"), out, TOY, [CHR1], arrays=arrays)
    np.testing.assert_array_equal(store.read_track("E1", "DNase", "chr1"), STORED[:500].astype(np.float16))


def test_npz_named_by_region_or_with_one_array(tmp_path, out):
    np.savez_compressed(tmp_path / "two.npz", chr1=STORED[:500], chr2=STORED[500:])
    np.savez(tmp_path / "one.npz", STORED[500:])
    store = ingest(one(tmp_path / "two.npz"), out, TOY, [CHR2, CHR1])
    np.testing.assert_array_equal(store.read_track("E1", "DNase", "chr1"), STORED[:500].astype(np.float16))
    np.testing.assert_array_equal(store.read_track("E1", "DNase", "chr2"), STORED[500:].astype(np.float16))
    store = ingest(one(tmp_path / "one.npz"), tmp_path / "other", TOY, [CHR2])
    np.testing.assert_array_equal(store.read_track("E1", "DNase", "chr2"), STORED[500:].astype(np.float16))
    with pytest.raises(InputError, match=r"one\.npz has no array 'chr1' \(it has: arr_0\)"):
        ingest(one(tmp_path / "one.npz"), tmp_path / "third", TOY, [CHR1, CHR2])


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("a.npy", np.zeros(199), "wrong length: it holds 199 values, region chr2 has 200 bins"),
        ("a.npz", np.zeros(201), "wrong length: it holds 201 values, region chr2 has 200 bins"),
        ("a.npy", np.zeros((200, 1)), r"an array of shape \(200, 1\)"),
        ("a.npy", np.array(["x"] * 200), "not numbers"),
        ("a.npy", np.where(np.arange(200) % 100 == 7, np.nan, 0), "has 2 NaN .* in region chr2, the first at bin 7 "),
        ("a.npz", np.where(np.arange(200) == 9, np.inf, 0), "has 1 NaN .* in region chr2, the first at bin 9 "),
        ("a.npy", np.full(200, 7e4), "values beyond float16: if they are raw"),
    ],
)
def test_bad_arrays(tmp_path, out, name, values, message):
    (np.save if name.endswith("npy") else np.savez)(tmp_path / name, values)
    with pytest.raises(InputError, match=message) as error:
        ingest(one(tmp_path / name), out, TOY, [CHR2])
    assert name in str(error.value)
    assert not out.exists()


def test_an_array_of_objects_is_not_unpickled(tmp_path, out):
    np.save(tmp_path / "a.npy", np.array([{}] * 200), allow_pickle=True)
    with pytest.raises(InputError, match="not numbers"):
        ingest(one(tmp_path / "a.npy"), out, TOY, [CHR2])


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("keep", [0, 60, 700])
def test_truncated_arrays(tmp_path, out, name, keep):
    path = tmp_path / name
    (np.save if name.endswith("npy") else np.savez)(path, np.ones(200))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=rf"{name} is (no|truncated)"):
        ingest(one(path), out, TOY, [CHR2])
    assert not out.with_name("store.partial").exists()  # found before anything is made


def test_one_array_cannot_serve_two_regions(tmp_path, out):
    np.save(tmp_path / "a.npy", np.ones(200))
    with pytest.raises(InputError, match=r"a\.npy holds one array for several regions: give an \.npz"):
        ingest(one(tmp_path / "a.npy"), out, TOY, [CHR1, CHR2])
