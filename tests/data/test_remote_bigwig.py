"""bigWigs on other machines: read to the same bins as here, from a part of their bytes."""

import json
import os

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from file_server import Fault, serving

from avocado.data import ingest as ingesting
from avocado.data import remote_bigwig
from avocado.data.bigwig import read_bins
from avocado.data.compendium import read_table
from avocado.data.genome import Assembly, Segment, chromosome_region
from avocado.data.ingest import ingest
from avocado.data.remote_bigwig import partial_copy, pieces
from avocado.errors import InputError
from avocado.utils import remote
from avocado.utils.provenance import fingerprint

TOY = Assembly("toy", {"chr1": 3_000_000, "chr2": 2_000_010, "chr3": 500_000})
CHR2 = chromosome_region(TOY, "chr2")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(remote, "PAUSE", 0.01)


def write(path, sizes=TOY.sizes, seed=0, mean=12):
    """A track of short intervals with gaps, and so many that its index has several levels."""
    rng = np.random.default_rng(seed)
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(sizes.items()), maxZooms=3)
        for chrom, size in sizes.items():
            edges = np.cumsum(rng.integers(1, 2 * mean, size // mean))
            edges = edges[edges < size]
            starts, ends = edges[:-1][::2], edges[1:][::2]
            values = rng.gamma(0.5, 2, len(starts))
            file.addEntries(np.full(len(starts), chrom), starts, ends=ends, values=values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("there")
    write(folder / "a.bw")
    write(folder / "b.bw", seed=1)
    return folder


@pytest.fixture
def server(folder):
    with serving(folder) as server:
        yield server


def test_random_places_are_read_to_the_bit(server, folder, monkeypatch):
    monkeypatch.setattr(remote_bigwig, "GAP", 0)  # nothing comes along by luck
    monkeypatch.setattr(remote_bigwig, "HEAD", 2048)
    monkeypatch.setattr(remote_bigwig, "PIECE", 20_000)
    rng = np.random.default_rng(0)
    for _ in range(12):
        segments = []
        for _ in range(rng.integers(1, 4)):
            chrom = str(rng.choice(list(TOY.sizes)))
            n_bins = TOY.sizes[chrom] // 25
            start = int(rng.integers(0, n_bins - 1))
            segments.append(Segment(chrom, start, int(min(n_bins, start + rng.integers(1, 4000)))))
        with partial_copy(f"{server.address}/a.bw") as copy:
            copy.add(segments)
            bins = read_bins(copy.path, segments)
        np.testing.assert_array_equal(bins, read_bins(folder / "a.bw", segments))
        assert bins.any()


def test_a_part_is_sent(server, folder):
    size = (folder / "a.bw").stat().st_size
    segments = [Segment("chr1", 1000, 2000), Segment("chr3", 10, 20)]
    with partial_copy(f"{server.address}/a.bw") as copy:
        copy.add(segments)
        assert copy.path.stat().st_size == size
        assert fingerprint(copy.path) == fingerprint(folder / "a.bw")
    assert not copy.path.exists()
    assert server.sent < size / 4
    assert len(server.requests) < 12


def test_pieces_are_near_ones_together_and_not_too_long(monkeypatch):
    monkeypatch.setattr(remote_bigwig, "GAP", 10)
    monkeypatch.setattr(remote_bigwig, "PIECE", 100)
    assert pieces([(50, 60), (0, 45), (200, 450), (1000, 1100)], 1050) == [
        *((0, 60), (200, 300), (300, 400), (400, 450), (1000, 1050))
    ]


def table(server, **more):
    return pd.DataFrame(
        {"cell": ["E1", "E2"], "assay": "DNase", "file": [f"{server.address}/{name}.bw" for name in "ab"], **more}
    )


def local(folder):
    return pd.DataFrame({"cell": ["E1", "E2"], "assay": "DNase", "file": [str(folder / f"{its}.bw") for its in "ab"]})


@pytest.mark.parametrize("workers", [1, 2])
def test_ingest_from_afar_makes_the_same_store(server, folder, tmp_path, workers):
    store = ingest(table(server), tmp_path / "far", TOY, [CHR2], workers=workers)
    near = ingest(local(folder), tmp_path / "near", TOY, [CHR2])
    assert (tmp_path / "far/chr2.npy").read_bytes() == (tmp_path / "near/chr2.npy").read_bytes()
    assert store.tracks["source"].tolist() == table(server)["file"].tolist()
    assert store.tracks["sha256"].tolist() == [f"ends-{fingerprint(folder / f'{its}.bw')}" for its in "ab"]
    assert near.tracks["sha256"].str.len().tolist() == [64, 64]


def test_the_same_file_at_two_addresses_is_warned_of(server, tmp_path, folder):
    (folder / "c.bw").write_bytes((folder / "a.bw").read_bytes())
    twice = table(server).assign(file=[f"{server.address}/{name}.bw" for name in "ac"])
    store = ingest(twice, tmp_path / "store", TOY, [chromosome_region(TOY, "chr3")])
    assert "the same file" in store.tracks["warning"].iloc[0]


def test_more_regions_later(server, folder, tmp_path):
    region = chromosome_region(TOY, "chr3")
    ingest(table(server), tmp_path / "far", TOY, [CHR2])
    store = ingest(table(server), tmp_path / "far", TOY, [CHR2, region])
    expected = np.arcsinh(read_bins(folder / "b.bw", region.segments)).astype(np.float16)
    np.testing.assert_array_equal(store.read_track("E2", "DNase", "chr3"), expected)


def test_an_interrupted_ingest_goes_on(server, tmp_path):
    out = tmp_path / "store"
    tracks = table(server)
    ingest(tracks, tmp_path / "whole", TOY, [CHR2])
    asked = server.count("GET", "/b.bw")
    # what is looked at first, before anything is read
    server.faults["/b.bw"] = [Fault()] * 3 + [Fault(cut=100)] * 1000
    with pytest.raises(InputError, match=r"1 of 2 tracks .*E2 DNase: http.*b\.bw: the connection broke"):
        ingest(tracks, out, TOY, [CHR2])
    assert not out.exists()
    assert not list(tmp_path.rglob("remote.bw"))
    server.faults["/b.bw"] = []
    server.requests.clear()
    ingest(tracks, out, TOY, [CHR2])
    assert (out / "chr2.npy").read_bytes() == (tmp_path / "whole/chr2.npy").read_bytes()
    assert server.count("GET", "/a.bw") <= 3  # only looked at: it was read before
    assert server.count("GET", "/b.bw") == asked


def test_a_file_that_changed_is_read_again(server, folder, tmp_path):
    write(folder / "changing.bw", seed=3)
    tracks = table(server).assign(file=[f"{server.address}/{name}.bw" for name in ("a", "changing")])
    server.faults["/a.bw"] = [Fault()] * 3 + [Fault(403)]
    with pytest.raises(InputError, match="1 of 2 tracks"):
        ingest(tracks, tmp_path / "store", TOY, [CHR2])
    write(folder / "changing.bw", seed=4)
    os.utime(folder / "changing.bw", (0, 0))
    store = ingest(tracks, tmp_path / "store", TOY, [CHR2])
    expected = np.arcsinh(read_bins(folder / "changing.bw", CHR2.segments)).astype(np.float16)
    np.testing.assert_array_equal(store.read_track("E2", "DNase", "chr2"), expected)
    write(folder / "changing.bw", seed=5)
    with pytest.raises(InputError, match=r"E2 DNase: http.* has changed since store"):
        ingest(tracks, tmp_path / "store", TOY, [CHR2, chromosome_region(TOY, "chr3")])


def test_all_bad_addresses_at_once(server, folder, tmp_path):
    (folder / "page.bw").write_text("<html>not here</html>")
    (folder / "short.bw").write_bytes((folder / "a.bw").read_bytes()[:200_000])
    (folder / "empty.bw").touch()
    names = ("page", "nothing", "short", "empty")
    bad = pd.DataFrame({"cell": list("1234"), "assay": "D", "file": [f"{server.address}/{its}.bw" for its in names]})
    with pytest.raises(InputError, match="4 of 4 tracks") as error:
        ingest(bad, tmp_path / "store", TOY, [CHR2])
    for said in (
        "page.bw is not a bigWig but a text file",
        "nothing.bw: no such file",
        "short.bw is truncated",
        "empty",
    ):
        assert said in str(error.value)
    assert "remote.bw" not in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_another_assembly(server, tmp_path):
    other = Assembly("other", {"chr2": 1_000_000})
    with pytest.raises(InputError, match=r"http://.*a\.bw is not of assembly other: chr2 has 2,000,010 bp"):
        ingest(table(server), tmp_path / "store", other, [chromosome_region(other, "chr2")])


def test_a_damaged_index_is_an_error(server, folder, tmp_path):
    content = bytearray((folder / "a.bw").read_bytes())
    index = int.from_bytes(content[24:32], "little")
    content[index + 4 : index + 8] = (2**31).to_bytes(4, "little")
    (folder / "damaged.bw").write_bytes(content)
    with (
        pytest.raises(InputError, match=r"http://.*damaged\.bw is damaged"),
        partial_copy(f"{server.address}/damaged.bw") as copy,
    ):
        copy.add([Segment("chr1", 0, 10)])


def test_a_server_without_pieces(server, tmp_path):
    server.ranges = False
    with pytest.raises(InputError, match="gives whole files only, no pieces of http"):
        ingest(table(server), tmp_path / "store", TOY, [CHR2])


def test_an_empty_track(server, folder):
    with pyBigWig.open(str(folder / "none.bw"), "w") as file:
        file.addHeader(list(TOY.sizes.items()))
        file.addEntries(["chr1"], [0], ends=[10], values=[1.0])
    with partial_copy(f"{server.address}/none.bw") as copy:
        copy.add(CHR2.segments)
        assert not read_bins(copy.path, CHR2.segments).any()


def test_overlaps_are_warned_of_by_the_address(server, folder, tmp_path):
    with pyBigWig.open(str(folder / "over.bw"), "w") as file:
        file.addHeader(list(TOY.sizes.items()))
        for start, end in ((100, 200), (150, 250)):
            file.addEntries(["chr3"], [start], ends=[end], values=[1.0], validate=False)
    tracks = table(server).head(1).assign(file=f"{server.address}/over.bw")
    store = ingest(tracks, tmp_path / "store", TOY, [chromosome_region(TOY, "chr3")])
    assert store.tracks["warning"].iloc[0].startswith(f"{server.address}/over.bw: intervals overlap")


def test_tables_keep_addresses(tmp_path):
    (tmp_path / "t.tsv").write_text("cell\tassay\tfile\nE1\tD\thttps://a.org/x.bw\nE2\tD\ty.bw\n")
    assert read_table(tmp_path / "t.tsv")["file"].tolist() == ["https://a.org/x.bw", str(tmp_path / "y.bw")]


def test_a_part_says_what_it_was_read_from(server, tmp_path, monkeypatch):
    tracks = table(server)
    monkeypatch.setattr(ingesting, "write_metadata", lambda *_: (_ for _ in ()).throw(InputError("stop")))
    with pytest.raises(InputError, match="stop"):
        ingest(tracks, tmp_path / "store", TOY, [CHR2])
    parts = [json.loads(its.read_text()) for its in (tmp_path / "store.partial").rglob("part.json")]
    assert {its["identity"]["source"] for its in parts} == set(tracks["file"])
    assert all(its["identity"]["etag"] and its["identity"]["modified"] for its in parts)
