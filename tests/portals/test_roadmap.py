"""Roadmap's tracks, from the table in the package."""

from collections import Counter

import pytest

from avocado.errors import InputError
from avocado.portals import roadmap
from avocado.simulation.assay_shapes import ROADMAP_ASSAYS


def test_the_tracks_of_the_paper():
    tracks = roadmap.offers([], []).tracks
    assert len(tracks) == 1014
    assert len({its.cell for its in tracks}) == 127
    assert not {"E060", "E064"} & {its.cell for its in tracks}
    n_cells = Counter(its.assay for its in tracks)
    assert n_cells.keys() == set(ROADMAP_ASSAYS)
    assert sorted(n_cells.values(), reverse=True) == [*[127] * 5, 98, 62, 53, 24, 23, 21, 19, *[7] * 8, *[6] * 3, 5]


def test_one_track():
    (track,) = roadmap.offers(["E003"], ["H3K4me3"]).tracks
    assert track.url == (
        "https://egg2.wustl.edu/roadmap/data/byFileType/signal/consolidated/macs2signal/pval/"
        "E003-H3K4me3.pval.signal.bigwig"
    )
    assert track.name == "E003-H3K4me3.pval.signal.bigwig"
    assert dict(track.about) == {"name": "H1 Cells", "lineage": "ESC", "anatomy": "ESC", "colour": "#924965"}
    assert (track.assembly, track.size, track.md5) == ("hg19", None, None)


def test_names_lineages_and_mirrors():
    by_name = roadmap.offers(["H1 Cells"], ["DNase"], "https://mirror.org/pval/").tracks
    assert [its.url for its in by_name] == ["https://mirror.org/pval/E003-DNase.pval.signal.bigwig"]
    brain = roadmap.offers(["Brain", "E003"], ["H3K4me3"]).tracks
    assert len(brain) > 5
    assert {its.about["lineage"] for its in brain} == {"Brain", "ESC"}


def test_what_was_not_measured():
    listing = roadmap.offers(["E001", "E003"], ["H2A.Z", "H3K9ac"])
    assert [(its.cell, its.assay) for its in listing.tracks] == [
        ("E001", "H3K9ac"),
        ("E003", "H2A.Z"),
        ("E003", "H3K9ac"),
    ]
    assert listing.missing == [("E001", "H2A.Z")]
    with pytest.raises(InputError, match="none of these pairs was measured"):
        roadmap.offers(["E001"], ["H2A.Z"])


@pytest.mark.parametrize(
    ("cells", "assays", "message"),
    [
        (["E060"], [], "no cell type 'E060'; it has E001 to E129"),
        (["brain"], [], r"no cell type 'brain' \(did you mean Brain"),
        (["E003"], ["H3K4me"], r"no assay 'H3K4me' \(did you mean H3K4me"),
    ],
)
def test_unknown_names(cells, assays, message):
    with pytest.raises(InputError, match=message):
        roadmap.offers(cells, assays)
