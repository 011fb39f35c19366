import numpy as np
import pandas as pd
import pytest

from avocado.data.genome import Assembly, Region, Segment
from avocado.data.store import open_store, write_metadata, write_region
from avocado.errors import InputError
from avocado.imputers.place import PlaceOnly

TRACKS = [("E1", "DNase"), ("E2", "DNase"), ("E2", "H3K4me3"), ("E3", "H3K4me3"), ("E3", "DNase")]


@pytest.fixture
def store(tmp_path):
    """Every track is a place's signal times the track's own height, and a bit of noise."""
    rng = np.random.default_rng(0)
    region = Region("toy", (Segment("chr1", 0, 400),))
    values = rng.gamma(1, 1, (400, 1)) * np.array([1, 2, 3, 4, 5]) + rng.normal(0, 0.1, (400, 5))
    write_region(tmp_path, region, 5, "float32", [region.to_blocks(values)])
    table = pd.DataFrame(TRACKS, columns=["cell", "assay"])
    write_metadata(tmp_path, Assembly("toy", {"chr1": 10_000}), [region], table, "float32")
    return open_store(tmp_path)


def test_one_signal_is_brought_to_the_height_of_each_assay(store):
    imputer = PlaceOnly()
    imputer.fit(store, range(5), "toy")
    imputed = imputer.predict([("E1", "DNase"), ("E1", "H3K4me3")], "toy")
    assert imputed.dtype == np.float32
    assert np.corrcoef(imputed.T)[0, 1] == pytest.approx(1)
    for column, its in enumerate(([1, 4], [2, 3])):  # E1's own track is not among them
        average = store.read_tracks(its, "toy").mean(axis=1)
        assert imputed[:, column].mean() == pytest.approx(average.mean(), rel=1e-4)
        assert np.mean((imputed[:, column] - average) ** 2) < 0.02 * average.var()


def test_held_out_tracks_are_not_used_and_an_assay_needs_another_cell_type(store):
    one, other = PlaceOnly(), PlaceOnly()
    one.fit(store, [0, 1, 2], "toy")
    other.fit(store, [1, 2], "toy")
    pair = [("E1", "DNase")]
    assert (one.predict(pair, "toy") == other.predict(pair, "toy")).all()
    with pytest.raises(InputError, match="nothing is known of H3K4me3 but in E2"):
        one.predict([("E2", "H3K4me3")], "toy")
