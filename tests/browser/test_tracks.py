"""What browsers show: names, heights, places, and what is found in a folder."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pyBigWig
import pytest

from avocado.browser.sessions import igv_desktop, igv_js
from avocado.browser.tracks import (
    Row,
    View,
    bigwigs_in,
    first_locus,
    first_rows,
    genes_bed,
    rounded_up,
    safe_names,
    view_of_folder,
    with_style,
)
from avocado.data.bigwig import bigwig_writer, maxima, moments
from avocado.data.genome import Assembly, Segment
from avocado.errors import InputError
from avocado.utils.provenance import Made

ASSEMBLY = Assembly("toy", {"chr20": 1_000_000, "chr21": 300_000})
BOTH = {"observed": "observed/a.bw", "imputed": "imputed/a.bw"}


def signal(peak: int | None = None, height: float = 50.0) -> dict[str, np.ndarray]:
    """Background of 1 on both chromosomes, and on chr20 a peak of 200 bp at a position in bp."""
    values = {chrom: np.ones(size // 25, dtype=np.float32) for chrom, size in ASSEMBLY.sizes.items()}
    if peak is not None:
        values["chr20"][peak // 25 : peak // 25 + 8] = height
    return values


def write(path, values=None, made=None, assembly=ASSEMBLY):
    path.parent.mkdir(parents=True, exist_ok=True)
    with bigwig_writer(path, assembly, made=made) as add:
        for chrom, its in (values or signal()).items():
            add(Segment(chrom, 0, len(its)), its)


def imputed(path, cell, assay, **more):
    write(path, **more, made=Made({"cell": cell, "assay": assay, "scale": "pval"}, path.parent))


def observed(path, cell, assay, **more):
    write(path, **more, made=Made({"cell": cell, "assay": assay, "scale": "pval", "observed": True}, path.parent))


def test_names_are_safe_and_each_another_one():
    names = safe_names(["T cell", "T/cell", "t_cell", ".x", "β", "plain-1.2", "T cell"])
    assert names == {
        "T cell": "T_cell", "T/cell": "T_cell_2", "t_cell": "t_cell_3", ".x": "x", "β": "_", "plain-1.2": "plain-1.2"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 1), (0.3, 1), (1, 1), (1.01, 1.5), (7, 8), (8.5, 10), (10, 10), (11, 15), (104, 150), (float("nan"), 1)],
)
def test_heights_are_easy_to_read(value, expected):
    assert rounded_up(value) == pytest.approx(expected)


def test_an_assay_has_one_height_and_one_colour(tmp_path):
    write(tmp_path / "a.bw", signal(500_000, 400))
    write(tmp_path / "b.bw", signal(500_000, 10))
    write(tmp_path / "c.bw")
    rows = [Row("x", "H3K4me3", {"observed": "a.bw"}), Row("y", "H3K4me3", {"imputed": "b.bw"}),
            Row("z", "DNase", {"imputed": "c.bw"})]  # fmt: skip
    styled = with_style(tmp_path, rows)
    assert [row.assay for row in styled] == ["DNase", "H3K4me3", "H3K4me3"]
    assert styled[1].color == styled[2].color != styled[0].color
    mean, sd = moments(tmp_path / "a.bw")  # of what was observed, as there is some
    assert styled[1].height == styled[2].height == rounded_up(mean + 6 * sd)
    assert styled[0].height == 1


def test_moments_and_maxima_of_a_file(tmp_path):
    values = signal(123_000, 40)
    write(tmp_path / "a.bw", values)
    every = np.concatenate(list(values.values()))
    mean, sd = moments(tmp_path / "a.bw")
    assert mean == pytest.approx(every.mean())
    assert sd == pytest.approx(every.std(), rel=1e-4)
    highest = maxima(tmp_path / "a.bw", "chr20", 0, 1_000_000, 100)
    assert np.flatnonzero(highest == 40).tolist() == [12]
    with pyBigWig.open(str(tmp_path / "empty.bw"), "w") as file:
        file.addHeader([("chr20", 1000)])
    assert moments(tmp_path / "empty.bw") == (0, 0)
    assert np.isnan(maxima(tmp_path / "empty.bw", "chr20", 0, 1000, 4)).all()


def test_overlaid_rows_come_first_and_every_assay_has_one():
    rows = [Row(cell, assay, BOTH if cell == "b" else {"imputed": "x"}) for assay in ("A", "B") for cell in "abcd"]
    assert first_rows(rows, 2) == [1, 5]
    assert first_rows(rows, 4) == [0, 1, 4, 5]
    assert first_rows(rows, 100) == list(range(8))


def test_it_opens_at_a_peak(tmp_path):
    write(tmp_path / "a.bw", signal(700_000, 40))
    row = Row("x", "A", {"imputed": "a.bw"}, height=40)
    chrom, _, place = first_locus(tmp_path, ASSEMBLY, [row]).partition(":")
    start, end = (int(its.replace(",", "")) for its in place.split("-"))
    assert chrom == "chr20"
    assert start < 700_000 < end
    assert end - start + 1 == 100_000
    assert first_locus(tmp_path, ASSEMBLY, []) == "chr20:1-100,000"


def test_a_folder_with_files_of_avocado(tmp_path):
    imputed(tmp_path / "imputed" / "one.bw", "stem1", "DNase", values=signal(600_000))
    observed(tmp_path / "observed" / "two.bw", "stem1", "DNase", values=signal(600_000))
    imputed(tmp_path / "imputed" / "three.bw", "stem2", "H3K4me3")
    write(tmp_path / "mine.bigWig")
    view = view_of_folder(tmp_path, None, 12)
    assert [(row.cell, row.assay, dict(row.files)) for row in view.rows] == [
        ("mine.bigWig", "", {"signal": "mine.bigWig"}),
        ("stem1", "DNase", {"observed": "observed/two.bw", "imputed": "imputed/one.bw"}),
        ("stem2", "H3K4me3", {"imputed": "imputed/three.bw"}),
    ]
    assert dict(view.assembly.sizes) == dict(ASSEMBLY.sizes)
    assert view.locus.startswith("chr20:")


def test_files_of_one_pair_in_two_folders_are_two_rows(tmp_path):
    for run in ("a", "b"):
        imputed(tmp_path / run / "one.bw", "stem1", "DNase")
    assert len(view_of_folder(tmp_path, None, 12).rows) == 2


def test_hidden_files_and_links_to_elsewhere_are_not_there(tmp_path):
    write(tmp_path / "elsewhere" / "a.bw")
    folder = tmp_path / "folder"
    write(folder / ".hidden" / "a.bw")
    write(folder / "b.bw")
    (folder / "link.bw").symlink_to(tmp_path / "elsewhere" / "a.bw")
    (folder / "c.txt").write_text("no")
    assert bigwigs_in(folder) == [folder / "b.bw"]


def test_a_folder_without_tracks(tmp_path):
    with pytest.raises(InputError, match=r"no bigWig file in it or below it"):
        view_of_folder(tmp_path, None, 12)


def test_files_of_two_assemblies(tmp_path):
    write(tmp_path / "a.bw")
    other = Assembly("other", {"chr20": 1_000_025})
    write(tmp_path / "b.bw", {"chr20": np.ones(100, np.float32)}, assembly=other)
    with pytest.raises(InputError, match=r"b\.bw and another file there are of different assemblies: chr20 has"):
        view_of_folder(tmp_path, None, 12)
    with pytest.raises(InputError, match=r"b\.bw and assembly toy are of different assemblies"):
        view_of_folder(tmp_path, ASSEMBLY, 12)
    with pytest.raises(InputError, match="have no chromosome in common"):
        view_of_folder(tmp_path, Assembly("plants", {"Chr1": 100}), 12)


def test_genes_in_the_order_of_the_genome(tmp_path):
    path = tmp_path / "genes.bed"
    path.write_text("chr21\t5\t9\tLATE\t0\t-\nchr20\t70\t90\tB\t0\t+\nchr20\t10\t30\tA\t0\t+\n")
    assert genes_bed(path, ASSEMBLY) == "chr20\t10\t30\tA\t0\t+\nchr20\t70\t90\tB\t0\t+\nchr21\t5\t9\tLATE\t0\t-\n"


VIEW = View(
    "Test", Assembly("hg38", dict(ASSEMBLY.sizes)),
    [Row("stem 1", "A & B", BOTH, color="#0072b2", height=40), Row("x", "B", {"imputed": "imputed/#1 %.bw"})],
    [0, 1], "chr20:1,001-101,000", "genes.bed",
)  # fmt: skip


def test_a_session_of_igv_js():
    session = json.loads(json.dumps(igv_js(VIEW, "hg38.chrom.sizes")))
    assert session["reference"] == {
        "id": "hg38", "name": "hg38", "format": "chromsizes", "fastaURL": "hg38.chrom.sizes"
    }  # fmt: skip
    genes, both, one = session["tracks"]
    assert genes["url"] == "genes.bed"
    assert both["type"] == "merged"
    assert [part["url"] for part in both["tracks"]] == ["observed/a.bw", "imputed/a.bw"]
    assert [part["color"] for part in both["tracks"]] == ["#8c8c8c", "#0072b2"]
    assert {(part["min"], part["max"], part["autoscale"]) for part in [both, *both["tracks"]]} == {(0, 40, False)}
    assert one["url"] == "imputed/%231%20%25.bw"


def test_a_session_of_igv():
    root = ElementTree.fromstring(igv_desktop(VIEW, "hg38.chrom.sizes"))
    assert root.attrib["genome"] == "hg38"
    assert root.attrib["locus"] == "chr20:1001-101000"
    paths = [its.attrib["path"] for its in root.iter("Resource")]
    assert paths == ["genes.bed", "observed/a.bw", "imputed/a.bw", "imputed/#1 %.bw"]
    (panel,) = root.iter("Panel")
    assert [track.attrib["id"] for track in panel.iter("Track") if len(track) == 1] == paths[1:]
    assert {its.attrib["maximum"] for its in root.iter("DataRange")} == {"40", "1.0"}
    own = View("t", ASSEMBLY, VIEW.rows, [0], "chr20:1-2")
    assert ElementTree.fromstring(igv_desktop(own, "toy.chrom.sizes")).attrib["genome"] == "toy.chrom.sizes"
