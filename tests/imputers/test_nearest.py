import logging

import numpy as np
import pandas as pd
import pytest

from avocado.data.genome import Assembly, Region, Segment
from avocado.data.store import open_store, write_metadata, write_region
from avocado.errors import InputError
from avocado.imputers.average import AverageActivity
from avocado.imputers.config import SimilarityConfig
from avocado.imputers.nearest import NearestCell, SimilarityAverage

TRACKS = [
    *(("A", assay) for assay in ("DNase", "H3K27ac")),
    *(("B", assay) for assay in ("DNase", "H3K27ac", "H3K4me3")),
    *(("C", assay) for assay in ("DNase", "H3K4me3")),
    ("D", "H3K4me3"),
    ("E", "H3K9me3"),
]
COLUMN = {track: column for column, track in enumerate(TRACKS)}
REGIONS = [
    Region("pilot", (Segment("chr1", 0, 250), Segment("chr1", 300, 530))),
    Region("chr2", (Segment("chr2", 0, 90),)),
]


def make(path, **changed):
    """Nine tracks of noise; C's DNase follows A's, B's DNase and H3K27ac follow A's less."""
    random = np.random.default_rng(0)
    assembly = Assembly("toy", {"chr1": 20_000, "chr2": 3_000})
    for region in REGIONS:
        values = random.gamma(1.0, 1.0, (region.n_bins, len(TRACKS)))
        values[:, COLUMN["C", "DNase"]] = values[:, COLUMN["A", "DNase"]] + 0.1 * values[:, COLUMN["C", "DNase"]]
        for assay in ("DNase", "H3K27ac"):
            values[:, COLUMN["B", assay]] += values[:, COLUMN["A", assay]]
        for name, value in changed.items():
            values[:, int(name[1:])] = value
        write_region(path, region, len(TRACKS), "float32", [region.to_blocks(values)])
    table = pd.DataFrame(TRACKS, columns=pd.Index(["cell", "assay"]))
    write_metadata(path, assembly, REGIONS, table, "float32")
    return open_store(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make(tmp_path_factory.mktemp("nearest"))


ALL = tuple(range(len(TRACKS)))


def fitted(imputer, store, columns=ALL):
    imputer.fit(store, list(columns), "pilot")
    return imputer


def pearson(store, cell, other, assay):
    signal = store.read_tracks([COLUMN[cell, assay], COLUMN[other, assay]], "pilot")
    return np.corrcoef(signal.astype(np.float64), rowvar=False)[0, 1]


def test_similarity_is_the_mean_correlation_over_common_assays(store):
    imputer = fitted(NearestCell(), store)
    similar = imputer.similarities("A", ["B", "C", "D"], without="H3K4me3")
    b = (pearson(store, "A", "B", "DNase") + pearson(store, "A", "B", "H3K27ac")) / 2
    assert similar[:2] == pytest.approx([b, pearson(store, "A", "C", "DNase")], abs=1e-6)
    assert 0.5 < similar[0] < similar[1]
    assert np.isnan(similar[2])
    # the assay that is imputed has no say
    assert imputer.similarities("A", ["B"], without="DNase") == pytest.approx([pearson(store, "A", "B", "H3K27ac")])


@pytest.mark.parametrize("region", ["pilot", "chr2"])
def test_the_nearest_cell_types_track(store, region):
    imputed = fitted(NearestCell(), store).predict([("A", "H3K4me3")], region)[:, 0]
    assert imputed.dtype == np.float32
    assert np.array_equal(imputed, store.read_track("C", "H3K4me3", region))
    # without C, it is B, which is a little similar, and not D, of which nothing is known
    rest = [column for (cell, _), column in COLUMN.items() if cell != "C"]
    assert np.array_equal(
        fitted(NearestCell(), store, rest).predict([("A", "H3K4me3")], region)[:, 0],
        store.read_track("B", "H3K4me3", region),
    )


def test_of_equally_similar_cell_types_the_first_by_name(tmp_path):
    store = make(tmp_path)
    signal = np.load(store.file("pilot"))
    signal[..., COLUMN["B", "DNase"]] = signal[..., COLUMN["C", "DNase"]] = signal[..., COLUMN["A", "H3K27ac"]]
    signal[..., COLUMN["A", "DNase"]] = signal[..., COLUMN["A", "H3K27ac"]]
    np.save(store.file("pilot"), signal)
    columns = [COLUMN[track] for track in reversed(TRACKS) if track[1] != "H3K27ac"]
    imputer = fitted(NearestCell(), open_store(tmp_path), columns)
    assert imputer.similarities("A", ["B", "C"], without="H3K4me3") == pytest.approx([1, 1])
    assert np.array_equal(imputer.predict([("A", "H3K4me3")], "pilot")[:, 0], store.read_track("B", "H3K4me3", "pilot"))


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_the_weighted_mean(store, sharpness):
    imputer = fitted(SimilarityAverage(SimilarityConfig(sharpness)), store)
    similar = imputer.similarities("A", ["B", "C"], without="H3K4me3")
    weights = similar**sharpness / (similar**sharpness).sum()
    tracks = store.read_tracks([COLUMN["B", "H3K4me3"], COLUMN["C", "H3K4me3"]], "chr2")
    np.testing.assert_allclose(imputer.predict([("A", "H3K4me3")], "chr2")[:, 0], tracks @ weights, rtol=1e-5)


def test_a_large_sharpness_is_the_nearest_cell(store):
    sharp = fitted(SimilarityAverage(SimilarityConfig(5000.0)), store).predict([("A", "H3K4me3")], "chr2")[:, 0]
    np.testing.assert_allclose(sharp, store.read_track("C", "H3K4me3", "chr2"), rtol=1e-6)


@pytest.mark.parametrize("kind", [NearestCell, SimilarityAverage])
def test_average_activity_where_nothing_is_known(store, kind, caplog):
    average, imputer = fitted(AverageActivity(), store), fitted(kind(), store)
    with caplog.at_level(logging.INFO):
        for cell in ("E", "never measured"):
            imputed = imputer.predict([(cell, "H3K4me3")], "chr2")[:, 0]
            np.testing.assert_allclose(imputed, average.predict([(cell, "H3K4me3")], "chr2")[:, 0], rtol=1e-6)
    assert "E H3K4me3 is imputed as average activity" in caplog.text


@pytest.mark.parametrize("kind", [NearestCell, SimilarityAverage])
def test_neither_held_out_tracks_nor_the_asked_one_have_a_part(store, tmp_path, kind):
    asked, held = COLUMN["B", "H3K4me3"], COLUMN["A", "DNase"]
    training = [column for column in ALL if column != held]
    spoiled = make(tmp_path, **{f"t{asked}": 9.0, f"t{held}": 7.0})
    mine, theirs = (
        fitted(kind(), one, training).predict([("B", "H3K4me3")], "pilot")[:, 0] for one in (store, spoiled)
    )
    assert np.array_equal(mine, theirs)
    assert np.array_equal(mine, store.read_track("C", "H3K4me3", "pilot"))  # not that of D, which is not known


@pytest.mark.parametrize("kind", [NearestCell, SimilarityAverage])
def test_what_cannot_be_imputed(store, kind):
    with pytest.raises(InputError, match="at least two of them; there is: A"):
        fitted(kind(), store, [0, 1])
    imputer = fitted(kind(), store)
    with pytest.raises(InputError, match="cannot impute E H3K9me3: H3K9me3 has no training track in another"):
        imputer.predict([("E", "H3K9me3")], "pilot")
    with pytest.raises(InputError, match="no region 'chr9'"):
        imputer.predict([("A", "H3K4me3")], "chr9")


@pytest.mark.parametrize("sharpness", [0, -1.0, float("inf"), True, "high"])
def test_bad_sharpness(sharpness):
    with pytest.raises(InputError, match="similarity: sharpness="):
        SimilarityConfig(sharpness)
