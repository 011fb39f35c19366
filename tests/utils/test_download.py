"""Whole files from other machines: resumed, checked, and never half under their names."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from file_server import Fault, serving

from avocado.errors import InputError
from avocado.utils import remote
from avocado.utils.download import download, part_of, there_already

CONTENT = os.urandom(5_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(remote, "PAUSE", 0.01)


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "a.bw").write_bytes(CONTENT)
    with serving(folder) as server:
        yield server


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    return folder / "a.bw"


def fine(path):
    assert path.name.startswith(".")  # checked before it has its name


def url(server):
    return f"{server.address}/a.bw"


def only(path):
    return [its.name for its in path.parent.iterdir()] == [path.name]


def test_a_file(server, path):
    come = []
    download(url(server), path, fine, size=len(CONTENT), md5=MD5, advance=come.append)
    assert path.read_bytes() == CONTENT
    assert sum(come) == len(CONTENT)
    assert only(path)
    assert server.count("GET", "/a.bw") == 1


def test_goes_on_after_broken_connections(server, path):
    server.faults["/a.bw"] = [Fault(cut=2_000_000), Fault(503), Fault(cut=1_500_000)]
    come = []
    download(url(server), path, fine, md5=MD5, advance=come.append)
    assert path.read_bytes() == CONTENT
    assert sum(come) == len(CONTENT)
    # nothing was sent twice, but for what was on its way, which is more where the machine is busy; to begin anew once
    # would be at least 1.5 million bytes
    assert server.sent < len(CONTENT) + 1_000_000
    assert [asked[2] != "" for asked in server.requests] == [False, True, True, True]


def test_one_that_breaks_again_and_again_is_given_up_and_kept(server, path):
    server.faults["/a.bw"] = [Fault(cut=600_000)] * 100
    with pytest.raises(InputError, match="the connection broke: try again later, the same command goes on"):
        download(url(server), path, fine)
    assert not path.exists()
    before = there_already(path)
    assert before > 0
    server.faults["/a.bw"] = []
    server.sent = 0
    download(url(server), path, fine, md5=MD5)
    assert path.read_bytes() == CONTENT
    assert server.sent == len(CONTENT) - before


def test_a_wrong_checksum_is_got_once_more(server, path):
    other = hashlib.md5(b"other").hexdigest()
    with pytest.raises(InputError, match=rf"its md5 checksum is {MD5}, that of the portal {other}; nothing of it"):
        download(url(server), path, fine, md5=other)
    assert server.count("GET", "/a.bw") == 2
    assert not path.exists()
    assert there_already(path) == 0


def test_a_damaged_part_is_got_once_more(server, path):
    server.faults["/a.bw"] = [Fault(cut=2_000_000), *[Fault(403)]]
    with pytest.raises(InputError, match="403"):
        download(url(server), path, fine)
    with part_of(path).open("r+b") as file:
        file.write(b"damage")
    come = []
    download(url(server), path, fine, md5=MD5, advance=come.append)
    assert path.read_bytes() == CONTENT
    assert sum(come) == len(CONTENT)


def test_what_is_no_track_gets_no_name(server, path):
    def check(path):
        raise InputError(f"{path} is not a bigWig but a text file")

    with pytest.raises(InputError, match=r"a\.bw: a\.bw is not a bigWig but a text file; nothing"):
        download(url(server), path, check)
    assert not list(path.parent.glob("*.bw"))


@pytest.mark.parametrize("new", [CONTENT[::-1], CONTENT[:500_000]])
def test_another_version_begins_anew(server, path, new):
    server.faults["/a.bw"] = [Fault(cut=2_000_000), Fault(403)]
    with pytest.raises(InputError, match="403"):
        download(url(server), path, fine)
    (server.folder / "a.bw").write_bytes(new)
    os.utime(server.folder / "a.bw", (0, 0))
    come = []
    download(url(server), path, fine, advance=come.append)
    assert path.read_bytes() == new
    assert sum(come) == len(new)


def test_a_server_without_pieces(server, path):
    server.ranges = False
    server.faults["/a.bw"] = [Fault(cut=2_000_000)]
    come = []
    download(url(server), path, fine, md5=MD5, advance=come.append)
    assert path.read_bytes() == CONTENT
    assert sum(come) == len(CONTENT)


def test_a_part_of_unknown_origin_is_not_used(server, path):
    part_of(path).write_bytes(b"x" * 1000)
    download(url(server), path, fine, md5=MD5)
    assert path.read_bytes() == CONTENT


def test_another_size_than_the_portal_says(server, path):
    with pytest.raises(InputError, match="5,000,000 bytes there, 6,000,000 by the portal"):
        download(url(server), path, fine, size=6_000_000)


def test_stopped_within_a_file(server, path):
    server.pause = 0.01
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(KeyboardInterrupt):
        download(url(server), path, fine, stop=stop)
    assert not path.exists()


def test_killed_and_gone_on_with(server, path):
    server.pause = 0.02  # 1.5 s in all
    code = (
        "import sys; from pathlib import Path; from avocado.utils.download import download; "
        "download(sys.argv[1], Path(sys.argv[2]), print)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, url(server), str(path)])
    try:
        until = time.monotonic() + 60
        while there_already(path) < 1_000_000 and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not path.exists()
    before = there_already(path)
    assert 1_000_000 <= before < len(CONTENT)
    server.pause = 0
    time.sleep(0.2)
    server.sent = 0
    download(url(server), path, fine, md5=MD5)
    assert path.read_bytes() == CONTENT
    assert server.sent == len(CONTENT) - before
    assert only(path)


def test_a_place_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        download(url(server), tmp_path / "file" / "a.bw", fine)
