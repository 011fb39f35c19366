"""`avocado fetch` against a server on this machine: what is said, got, written, and what goes wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from file_server import Fault, serving

from avocado.data.genome import load_assembly
from avocado.data.store import open_store
from avocado.portals import fetch as fetching
from avocado.utils import remote

pytest_plugins = ["demo"]

CONSOLE = "from avocado.cli import main; main()"  # what the installed `avocado` script does

PAIRS = [(cell, assay) for cell in ("E003", "E116") for assay in ("H3K4me3", "DNase")]


@pytest.fixture(autouse=True)
def quick_and_roomy(monkeypatch):
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    monkeypatch.setattr(fetching, "SPARE_BYTES", 0)


def write(path, number):
    """A small track of hg19, with signal in the pilot region of chr21."""
    sizes = load_assembly("hg19").sizes
    rng = np.random.default_rng(number)
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(sizes.items()))
        starts = 33_000_000 + np.arange(200_000) * 10
        file.addEntries(np.full(len(starts), "chr21"), starts, ends=starts + 10, values=rng.gamma(1, 2, len(starts)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("there")
    for number, (cell, assay) in enumerate(PAIRS):
        write(folder / f"{cell}-{assay}.pval.signal.bigwig", number)
    return folder


@pytest.fixture
def server(folder):
    with serving(folder) as server:
        yield server


@pytest.fixture
def roadmap(avocado, server):
    def run(*more):
        wanted = ("cells=E003,E116", "assays=H3K4me3,DNase", "out=here", f"base={server.address}", "progress=false")
        return avocado("fetch", "roadmap", *wanted, *more)

    return run


def name(cell="E003", assay="H3K4me3"):
    return f"{cell}-{assay}.pval.signal.bigwig"


def test_a_folder_and_its_table(roadmap, avocado, server, folder, tmp_path):
    answer = roadmap()
    assert answer.status == 0, answer.err
    total = sum((folder / name(*pair)).stat().st_size for pair in PAIRS)
    assert "4 tracks of 2 cell types and 2 assays, hg19:" in answer.out
    assert f"0 bytes there, {total / 1e6:.3g} MB to come" in answer.out
    for pair in PAIRS:
        assert (tmp_path / "here" / name(*pair)).read_bytes() == (folder / name(*pair)).read_bytes()
    table = pd.read_csv(tmp_path / "here/tracks.tsv", sep="\t")
    assert list(table) == ["cell", "assay", "file", "name", "lineage", "anatomy", "colour", "assembly", "bytes", "url"]
    assert table["file"].tolist() == sorted(name(*pair) for pair in PAIRS)
    assert table["bytes"].sum() == total
    assert sorted(its.name for its in (tmp_path / "here").iterdir()) == [*table["file"], "tracks.tsv"]
    command = answer.out.splitlines()[-1].removeprefix("next: avocado ").split()
    assert avocado(*command, "workers=1", "progress=false").status == 0
    store = open_store(tmp_path / "my_store")
    assert store.tracks["lineage"].tolist() == table["lineage"].tolist()
    assert store.read_track("E116", "DNase", "pilot").max() > 1


def test_a_dry_run_writes_nothing(roadmap, server, tmp_path):
    answer = roadmap("dry_run=true")
    assert answer.status == 0
    assert "dry run: nothing was written" in answer.out
    assert not (tmp_path / "here").exists()
    assert server.sent == 0
    assert not server.count("GET", f"/{name()}")


def test_politely(roadmap, server):
    server.delay = 0.2
    roadmap("connections=2")
    assert server.most == 2
    assert all(agent.startswith("avocado/") for agent in server.agents)
    assert "connections=9: 1 to 8" in roadmap("connections=9").error


def test_the_same_command_again_gets_nothing(roadmap, server):
    roadmap()
    server.requests.clear()
    answer = roadmap()
    assert answer.status == 0
    assert ", 0 bytes to come" in answer.out
    assert all(asked[0] == "HEAD" for asked in server.requests)


def test_what_fails_is_said_and_the_rest_is_there(roadmap, server, tmp_path):
    server.faults[f"/{name()}"] = [Fault(403)]
    answer = roadmap()
    assert "1 of 4 tracks could not be got: E003 H3K4me3: http://127.0.0.1" in answer.error
    assert "403" in answer.error
    assert len(pd.read_csv(tmp_path / "here/tracks.tsv", sep="\t")) == 3
    assert roadmap().status == 0
    assert len(pd.read_csv(tmp_path / "here/tracks.tsv", sep="\t")) == 4


def test_busy_servers_and_broken_connections(roadmap, server, folder, tmp_path):
    server.faults[f"/{name()}"] = [Fault(503, {"Retry-After": "1"}), Fault(cut=200_000), Fault(429)]
    answer = roadmap()
    assert answer.status == 0, answer.err
    assert (tmp_path / "here" / name()).read_bytes() == (folder / name()).read_bytes()


def test_files_that_are_not_there_are_left_out_and_named(avocado, server, tmp_path):
    wanted = ("cells=E003,E004", "assays=H3K4me3,H4K91ac", "out=here", f"base={server.address}", "progress=false")
    answer = avocado("fetch", "portal=roadmap", *wanted)
    assert answer.status == 0, answer.err
    assert "not to be had now: E003 H4K91ac, E004 H3K4me3 (http" in answer.out
    assert "not measured, or not to be had as −log10 p: E004 H4K91ac" in answer.out
    assert pd.read_csv(tmp_path / "here/tracks.tsv", sep="\t")["file"].tolist() == [name()]


def test_later_calls_add_to_the_table(avocado, server, tmp_path):
    for cell in ("E116", "E003"):
        answer = avocado(
            *("fetch", "roadmap", f"cells={cell}", "assays=DNase", "out=here"),
            *(f"base={server.address}", "progress=false"),
        )
    assert "tracks.tsv: 2 tracks, 1 of them of earlier calls" in answer.out
    table = pd.read_csv(tmp_path / "here/tracks.tsv", sep="\t")
    assert table["file"].tolist() == [name("E003", "DNase"), name("E116", "DNase")]


def test_addresses_instead_of_copies(roadmap, avocado, server, tmp_path):
    answer = roadmap("download=false")
    assert answer.status == 0, answer.err
    assert [its.name for its in (tmp_path / "here").iterdir()] == ["tracks.tsv"]
    command = answer.out.splitlines()[-1].removeprefix("next: avocado ").split()
    assert avocado(*command, "workers=1", "progress=false").status == 0
    store = open_store(tmp_path / "my_store")
    assert store.tracks["source"].tolist() == [f"{server.address}/{its}" for its in sorted(name(*it) for it in PAIRS)]
    assert store.read_track("E116", "DNase", "pilot").max() > 1


def test_a_full_disk_is_seen_before(roadmap, server, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    error = roadmap().error
    assert "here has 1 kB free, and " in error
    assert "download=false" in error
    assert not (tmp_path / "here" / name()).exists()


def test_a_file_of_another_size_is_in_the_way(roadmap, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / name()).write_bytes(b"mine")
    assert "has 4 bytes, the portal's" in roadmap().error
    assert (tmp_path / "here" / name()).read_bytes() == b"mine"


def test_a_page_instead_of_a_track(roadmap, server, folder, tmp_path, tmp_path_factory):
    server.folder = tmp_path_factory.mktemp("pages")
    for pair in PAIRS:
        shutil.copy(folder / name(*pair), server.folder)
    (server.folder / name()).write_text("<html>Please log in</html>")
    error = roadmap().error
    assert f"{name()} is not a bigWig but a text file" in error
    assert not (tmp_path / "here" / name()).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["roadmp", "out=x"], "unknown portal 'roadmp' (did you mean roadmap?)"),
        (["roadmap"], "out"),
        ([], "out= is missing"),
        (["roadmap", "cells=E999", "out=x"], "no cell type 'E999'"),
        (["roadmap", "assembly=hg38", "out=x"], "Roadmap's files are of hg19"),
        (["encode", "out=x"], "give cells=, assays= or both"),
        (["roadmap", "cells=E003", "assays=DNase", "out=x", "base=http://127.0.0.1:9"], "cannot connect"),
        (["roadmap", "cells=E003", "assays=DNase", "out=x", "base=nowhere"], "nowhere"),
    ],
)
def test_bad_input(avocado, tmp_path, arguments, message):
    assert message in avocado("fetch", *arguments).error
    assert not (tmp_path / "x").exists()


def test_encode(avocado, server, folder, tmp_path, monkeypatch):
    content = (folder / name()).read_bytes()
    file = {
        **{"accession": "ENCFF001AAA", "href": "/files/ENCFF001AAA/@@download/ENCFF001AAA.bigWig"},
        **{"md5sum": hashlib.md5(content).hexdigest(), "file_size": len(content), "status": "released"},
        **{"output_type": "signal p-value", "assembly": "hg19", "date_created": "2020-01-01", "dataset": "/e/ENCSR1/"},
        **{"biological_replicates": [1, 2], "preferred_default": True, "assay_term_name": "ChIP-seq"},
        "target": {"label": "H3K4me3"},
        "biosample_ontology": {"term_name": "CD4-positive, alpha-beta T cell", "organ_slims": ["blood"]},
    }
    other = {**file, "accession": "ENCFF001AAB", "preferred_default": False}
    server.answers["/search/"] = lambda _: (200, json.dumps({"@graph": [other, file]}).encode())
    server.answers["/files/ENCFF001AAA/@@download/ENCFF001AAA.bigWig"] = lambda _: (200, content)
    wanted = ("cells=['CD4-positive, alpha-beta T cell']", "assembly=hg19", "out=here", f"base={server.address}")
    answer = avocado("fetch", "encode", *wanted, "progress=false")
    assert answer.status == 0, answer.err
    assert "left out: 1 other files of the same pairs" in answer.out
    asked = parse_qs(server.requests[0][1].partition("?")[2])
    assert asked["biosample_ontology.term_name"] == ["CD4-positive, alpha-beta T cell"]
    table = pd.read_csv(tmp_path / "here/tracks.tsv", sep="\t")
    assert table[["cell", "assay", "file", "accession", "assembly"]].values.tolist() == [
        ["CD4-positive, alpha-beta T cell", "H3K4me3", "ENCFF001AAA.bigWig", "ENCFF001AAA", "hg19"]
    ]
    left_out = pd.read_csv(tmp_path / "here/left_out.tsv", sep="\t")
    assert left_out[["accession", "why", "chosen"]].values.tolist() == [
        ["ENCFF001AAB", "not of the default analysis", "ENCFF001AAA"]
    ]
    assert (tmp_path / "here/ENCFF001AAA.bigWig").read_bytes() == content
    (tmp_path / "here/ENCFF001AAA.bigWig").unlink()
    monkeypatch.setitem(file, "md5sum", "0" * 32)
    assert (
        f"checksum is {hashlib.md5(content).hexdigest()}, that of the portal 000"
        in avocado("fetch", "encode", *wanted, "progress=false").error
    )
    assert not (tmp_path / "here/ENCFF001AAA.bigWig").exists()


def test_interrupted_and_gone_on_with(server, folder, tmp_path, roadmap):  # killed: see test_download
    server.pause = 0.05
    wanted = ["cells=E003,E116", "assays=H3K4me3,DNase", "out=here", f"base={server.address}", "connections=2"]
    process = subprocess.Popen(
        [sys.executable, "-c", CONSOLE, "fetch", "roadmap", *wanted], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    here, until = tmp_path / "here", time.monotonic() + 60
    while not any(its.stat().st_size > 0 for its in here.glob(".*.part")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert not (here / "tracks.tsv").exists()
    assert process.returncode == 130
    assert "interrupted; the same command goes on where it stopped" in error
    assert "Traceback" not in error
    server.pause = 0
    assert roadmap().status == 0
    for pair in PAIRS:
        assert (here / name(*pair)).read_bytes() == (folder / name(*pair)).read_bytes()


def test_tracks_are_scored_where_they_are(avocado, demo, tmp_path):
    """observed=, imputed= and average= may be addresses, of which only the region's pieces are read."""
    files = {"observed": ("stem2",), "imputed": ("brain1",), "average": ("blood1", "blood2")}
    keys = [f"assembly={demo.sizes}", "region=chr20"]
    here = [f"{key}={','.join(str(demo.bigwig(cell, 'DNase')) for cell in cells)}" for key, cells in files.items()]
    answer = avocado("score", *keys, *here, "out=here")
    assert answer.status == 0, answer
    with serving(demo.path / "bigwig") as server:
        names = {cell: f"/{demo.bigwig(cell, 'DNase').name}" for cells in files.values() for cell in cells}
        there = [f"{key}={','.join(server.address + names[cell] for cell in cells)}" for key, cells in files.items()]
        answer = avocado("score", *keys, *there, "out=there")
        assert answer.status == 0, answer
        scores = [(tmp_path / folder / "scores.csv").read_text() for folder in ("here", "there")]
        assert scores[0] == scores[1]
        assert all(asked for _, path, asked in server.requests if path in names.values())  # ranges only
        assert "no such" in avocado("score", *keys, there[0] + "x", *there[1:]).error
        server.ranges = False
        assert "gives whole files only" in avocado("score", *keys, *there).error
