import numpy as np
import pandas as pd
import pytest

import avocado.imputers.average as average
from avocado.data.genome import Assembly, Region, Segment
from avocado.data.store import open_store, write_metadata, write_region
from avocado.errors import InputError
from avocado.imputers.average import AverageActivity

TRACKS = [("E1", "DNase"), ("E2", "DNase"), ("E3", "DNase"), ("E1", "H3K4me3"), ("E2", "H3K27ac")]


@pytest.fixture(params=["float16", "float32"])
def store(tmp_path, request):
    """Five tracks on two segments of 250 and 30 bins: column i holds 2^i, plus the bin's rank / 256."""
    region = Region("toy", (Segment("chr1", 0, 250), Segment("chr1", 300, 330)))
    assembly = Assembly("toy", {"chr1": 10_000})
    values = 2.0 ** np.arange(5) + np.arange(280)[:, None] / 256
    blocks = region.to_blocks(values)
    write_region(tmp_path, region, 5, request.param, [blocks])
    write_metadata(tmp_path, assembly, [region], pd.DataFrame(TRACKS, columns=["cell", "assay"]), request.param)
    return open_store(tmp_path)


@pytest.mark.parametrize("chunk", [1, 1000])
def test_mean_of_the_training_tracks_of_the_assay(store, monkeypatch, chunk):
    monkeypatch.setattr(average, "CHUNK_BLOCKS", chunk)
    imputer = AverageActivity()
    imputer.fit(store, [0, 1, 3, 4], "toy")
    imputed = imputer.predict([("E3", "DNase")], "toy")[:, 0]
    assert imputed.dtype == np.float32
    assert imputed.shape == (280,)
    np.testing.assert_allclose(imputed, store.read_tracks([0, 1], "toy").mean(axis=1), rtol=1e-6)
    assert imputed[:2].tolist() == [1.5, 1.5 + 1 / 256]


def test_a_training_track_is_left_out_of_its_own_average(store):
    imputer = AverageActivity()
    imputer.fit(store, range(5), "toy")
    np.testing.assert_allclose(
        imputer.predict([("E2", "DNase")], "toy")[:, 0], store.read_tracks([0, 2], "toy").mean(axis=1)
    )
    assert imputer.predict([("never measured", "DNase")], "toy")[:, 0][0] == pytest.approx(7 / 3)


def test_an_assay_without_another_training_track(store):
    imputer = AverageActivity()
    imputer.fit(store, [0, 1, 3], "toy")
    with pytest.raises(InputError, match="E1 H3K4me3: H3K4me3 has no training track in another cell type"):
        imputer.predict([("E1", "H3K4me3")], "toy")
    with pytest.raises(InputError, match=r"H3K27ac has no training track .*: DNase, H3K4me3"):
        imputer.predict([("E1", "H3K27ac")], "toy")
    with pytest.raises(InputError, match="no region 'chr9'"):
        imputer.fit(store, [0], "chr9")
