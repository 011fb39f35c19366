from avocado.data.store import open_store
from experiments.compendia import simulated

SMALL = ["cells=3", "assays=[DNase,H3K4me1]", "chromosomes={chr20: 60000, chr21: 60000}"]


def test_a_store_that_is_there_gets_the_regions_that_it_lacks(tmp_path):
    first = simulated(SMALL, tmp_path, ["chr20"])
    store = first.data["store"]
    assert list(open_store(store).regions) == ["chr20"]
    again = simulated(SMALL, tmp_path, ["chr20", "chr21"])
    assert again.data["store"] == store
    assert list(open_store(store).regions) == ["chr20", "chr21"]
