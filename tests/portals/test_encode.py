"""The ENCODE portal: what is asked, and which file of a pair is taken.

encode_answer.json has the form of an answer of the portal's search, cut down to the fields that are asked for; its
accessions, sizes and checksums are made up.
"""

import json
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from file_server import serving

from avocado.errors import InputError
from avocado.portals import encode

ANSWER = json.loads((Path(__file__).parent / "encode_answer.json").read_text())
T_CELL = "CD4-positive, alpha-beta T cell"


@pytest.fixture
def portal(tmp_path):
    """A portal with the files of ANSWER, which filters as the real one does."""

    def search(query):
        asked = parse_qs(query)

        def fits(file):
            values = {
                "biosample_ontology.term_name": file["biosample_ontology"]["term_name"],
                "target.label": file.get("target", {}).get("label"),
                "assay_term_name": file["assay_term_name"],
                "assembly": file["assembly"],
            }
            return all(value in asked.get(key, [value]) for key, value in values.items())

        found = [file for file in ANSWER["@graph"] if fits(file)]
        return (200 if found else 404), json.dumps({**ANSWER, "@graph": found, "total": len(found)}).encode()

    with serving(tmp_path) as server:
        server.answers["/search/"] = search
        yield server


def test_one_file_for_each_pair(portal):
    listing = encode.offers(["K562", T_CELL], ["H3K4me3", "H3K27ac", "ATAC"], portal.address)
    assert {(its.cell, its.assay): its.about["accession"] for its in listing.tracks} == {
        ("K562", "H3K4me3"): "ENCFF001AAA",
        ("K562", "ATAC"): "ENCFF003AAA",
        (T_CELL, "H3K27ac"): "ENCFF002AAA",  # nothing but the accession decides
    }
    assert {its["accession"]: its["why"] for its in listing.left_out} == {
        "ENCFF001AAB": "not of the default analysis",
        "ENCFF001AAC": "older",
        "ENCFF001AAD": "a treated or modified sample",
        "ENCFF002AAB": "accession",
    }
    assert sorted(listing.missing) == [(T_CELL, "ATAC"), (T_CELL, "H3K4me3"), ("K562", "H3K27ac")]


@pytest.mark.parametrize(
    ("change", "chosen"),
    [
        ({"preferred_default": False}, "ENCFF001AAC"),
        ({"biological_replicates": [1]}, "ENCFF001AAC"),
        ({"date_created": "2010-01-01T10:00:00.000000+00:00"}, "ENCFF001AAC"),
        ({"simple_biosample_summary": "genetically modified (insertion)"}, "ENCFF001AAC"),
    ],
)
def test_what_decides(portal, monkeypatch, change, chosen):
    first = ANSWER["@graph"][0]
    monkeypatch.setitem(ANSWER, "@graph", [{**first, **change}, *ANSWER["@graph"][1:]])
    (track,) = encode.offers(["K562"], ["H3K4me3"], portal.address).tracks
    assert track.about["accession"] == chosen


def test_what_is_known_of_a_track(portal):
    (track,) = encode.offers([T_CELL], [], portal.address).tracks
    assert track.url == f"{portal.address}/files/ENCFF002AAA/@@download/ENCFF002AAA.bigWig"
    assert track.name == "ENCFF002AAA.bigWig"
    assert (track.size, track.md5, track.assembly) == (5000, "00000000000000000000000000000005", "hg38")
    assert track.about == {
        "name": f"{T_CELL} female adult (51 years)",
        "kind": "primary cell",
        "anatomy": "blood",
        "accession": "ENCFF002AAA",
        "experiment": "ENCSR000BAA",
        "replicates": "1",
        "created": "2020-10-02",
        "md5": "00000000000000000000000000000005",
    }


def test_what_is_asked(portal):
    encode.offers(["K562"], ["H3K4me3", "CTCF"], portal.address)
    ((_, asked, _),) = portal.requests
    query = parse_qs(asked.partition("?")[2])
    assert query.pop("field") == list(encode.FIELDS)
    assert query == {
        "type": ["File"],
        "status": ["released"],
        "file_format": ["bigWig"],
        "output_type": ["signal p-value"],
        "assembly": ["GRCh38"],
        "biosample_ontology.term_name": ["K562"],
        "target.label": ["H3K4me3", "CTCF"],
        "format": ["json"],
        "limit": ["all"],
    }


def test_many_names_are_several_queries(portal):
    encode.offers([f"cell {number}" for number in range(100)] + ["K562"], ["H3K4me3"], portal.address)
    assert len(portal.requests) == 3


def test_files_that_are_not_what_was_asked_for_are_not_taken(portal):
    listing = encode.offers(["K562"], ["H3K4me3"], portal.address)
    named = {its.about["accession"] for its in listing.tracks} | {its["accession"] for its in listing.left_out}
    assert not named & {"ENCFF004AAA", "ENCFF005AAA"}  # a path that leads elsewhere; an archived file


def test_nothing_there(portal):
    with pytest.raises(InputError, match="no released bigWig of signal p-value on hg19"):
        encode.offers(["K562"], ["H3K4me3"], portal.address, "hg19")
    with pytest.raises(InputError, match="give cells=, assays= or both"):
        encode.offers([], [], portal.address)


def test_another_server(portal):
    portal.answers["/search/"] = lambda _: (200, b"[1, 2]")
    with pytest.raises(InputError, match="does not answer as ENCODE's portal does"):
        encode.offers(["K562"], [], portal.address)
