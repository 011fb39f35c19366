"""The track hub: what UCSC's definition of a hub asks for, read back by a parser of its own."""

from __future__ import annotations

import pytest

from avocado.browser.hub import hub_files
from avocado.browser.tracks import Row, View
from avocado.data.genome import Assembly

pytest.importorskip("trackhub")

ASSEMBLY = Assembly("hg38", {"chr20": 2_000_000, "chr21": 1_000_000})
BOTH = {"observed": "observed/a.bw", "imputed": "imputed/a.bw"}


def view(*rows: Row, shown=(0,)) -> View:
    return View("Test", ASSEMBLY, rows, list(shown), "chr20:1,001-101,000")


ROWS = (
    Row("E003", "H3K4me3", BOTH, "test", "#0072b2", 40),
    Row("E017", "H3K4me3", {"imputed": "imputed/b.bw"}, "", "#0072b2", 40),
    Row("E003", "DNase", {"observed": "observed/c.bw"}, "train", "#cc79a7", 15),
)


def stanzas(text: str) -> list[dict[str, str]]:
    """The records of a file of UCSC's: `key value` lines, an empty line between records."""
    found = []
    for part in text.strip().split("\n\n"):
        lines = [line.strip().partition(" ") for line in part.splitlines()]
        keys = [key for key, _, _ in lines]
        assert len(set(keys)) == len(keys), f"a setting twice: {part}"
        found.append({key: value for key, _, value in lines})
    return found


def tracks(*rows: Row, **more) -> dict[str, dict[str, str]]:
    found = stanzas(hub_files(view(*rows, **more), "hg38")["hg38/trackDb.txt"])
    names = [stanza["track"] for stanza in found]
    assert len(set(names)) == len(names)
    return {stanza["track"]: stanza for stanza in found}


def test_hub_and_genomes_point_at_each_other():
    files = hub_files(view(*ROWS), "hg38", "me@example.org")
    assert set(files) == {"hub.txt", "genomes.txt", "hg38/trackDb.txt"}
    (hub,), (genome,) = stanzas(files["hub.txt"]), stanzas(files["genomes.txt"])
    assert hub["genomesFile"] == "genomes.txt"
    assert hub["email"] == "me@example.org"
    assert genome["genome"] == "hg38"
    assert genome["trackDb"] == "hg38/trackDb.txt"
    assert genome["defaultPos"] == "chr20:1001-101000"
    assert "email" not in hub_files(view(*ROWS), "hg38")["hub.txt"]


def test_every_track_has_what_ucsc_asks_for_and_a_parent_that_is_there():
    found = tracks(*ROWS)
    for name, stanza in found.items():
        assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
        assert len(stanza["shortLabel"]) <= 17
        assert len(stanza["longLabel"]) <= 76
        assert stanza["longLabel"].isascii()
        if "parent" in stanza:
            assert stanza["parent"].split()[0] in found
        if "bigDataUrl" in stanza:
            assert stanza["type"].startswith("bigWig 0 ")
            assert stanza["bigDataUrl"].startswith("../")
    assert {stanza["bigDataUrl"] for stanza in found.values() if "bigDataUrl" in stanza} == {
        "../observed/a.bw", "../imputed/a.bw", "../imputed/b.bw", "../observed/c.bw"
    }  # fmt: skip


def test_a_matrix_of_cell_types_and_assays():
    found = tracks(*ROWS)
    matrix = found["avocadoTracks"]
    assert matrix["compositeTrack"] == "on"
    assert matrix["dimensions"] == "dimX=assay dimY=cell"
    lines = [line.split() for key, line in matrix.items() if key.startswith("subGroup")]
    groups = {name: values for name, _, *values in lines}
    assert len(groups) == len(lines) == 3
    assert groups["cell"] == ["E003=E003", "E017=E017"]
    assert groups["assay"] == ["DNase=DNase", "H3K4me3=H3K4me3"]
    assert groups["view"] == ["observed=observed", "imputed=imputed"]
    assert found["avocadoObserved"]["view"] == "observed"
    assert found["avocadoObserved"]["parent"] == "avocadoTracks"
    own = dict(part.split("=") for part in found["imputed_E017_H3K4me3"]["subGroups"].split())
    assert own == {"view": "imputed", "cell": "E017", "assay": "H3K4me3"}


def test_an_assay_has_one_range_and_observed_is_grey():
    found = tracks(*ROWS)
    limits = {stanza["viewLimits"] for name, stanza in found.items() if "H3K4me3" in name}
    assert limits == {"0:40"}
    assert found["imputed_E003_H3K4me3"]["color"] == found["imputed_E017_H3K4me3"]["color"] == "0,114,178"
    assert found["observed_E003_H3K4me3"]["color"] == "140,140,140"
    assert all(stanza["autoScale"] == "off" for stanza in found.values() if "bigDataUrl" in stanza)


def test_observed_and_imputed_are_drawn_over_each_other():
    found = tracks(*ROWS)
    overlay = found["overlay_E003_H3K4me3"]
    assert overlay["container"] == "multiWig"
    assert overlay["aggregate"] == "transparentOverlay"
    assert overlay["visibility"] == "full"
    assert overlay["parent"] == "avocadoOverlays"
    parts = [name for name, stanza in found.items() if stanza.get("parent", "").split()[:1] == ["overlay_E003_H3K4me3"]]
    assert parts == ["both_observed_E003_H3K4me3", "both_imputed_E003_H3K4me3"]
    # not in the matrix at the same time
    assert found["imputed_E003_H3K4me3"]["parent"] == "avocadoImputed off"
    assert found["avocadoOverlays"]["superTrack"] == "on show"
    assert "avocadoOverlays" not in tracks(*ROWS[1:])


def test_shown_ones_are_on_and_others_off():
    found = tracks(*ROWS, shown=[1])
    assert found["imputed_E017_H3K4me3"]["parent"] == "avocadoImputed on"
    assert found["observed_E003_DNase"]["parent"] == "avocadoObserved off"
    assert found["overlay_E003_H3K4me3"]["visibility"] == "hide"


def test_names_that_ucsc_has_no_letters_for():
    rows = [Row(cell, assay, {"imputed": f"imputed/{n}.bw"}) for n, (cell, assay) in enumerate(
        [("T cell (β), naïve", "H3K4me3"), ("T cell (γ), naïve", "H3K4me3"), ("a_b", "c"), ("a", "b_c"), ("x=y", "c")]
    )]  # fmt: skip
    found = tracks(*rows)
    assert len([name for name in found if name.startswith("imputed_")]) == 5
    for stanza in found.values():
        assert stanza["shortLabel"].isascii()
        for key, line in stanza.items():
            if key.startswith("subGroup"):
                assert line.isascii()
                assert all(part.count("=") == 1 for part in line.split()[2:])


def test_a_trained_track_is_named_as_such():
    found = tracks(Row("E003", "H3K4me3", {"imputed": "imputed/a.bw"}, "train"))
    assert "its track trained" in found["imputed_E003_H3K4me3"]["longLabel"]
