"""Files on other machines: what they are, pieces of them, and patience with their servers."""

import threading
import time
from email.utils import formatdate

import pytest
from file_server import Fault, serving

from avocado.errors import InputError
from avocado.utils import remote
from avocado.utils.remote import Remote, describe, is_address, read_json, read_piece

CONTENT = bytes(range(256)) * 4000


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(remote, "PAUSE", 0.01)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    with serving(tmp_path) as server:
        yield server


def test_addresses_and_paths():
    assert is_address("https://a.org/x.bw")
    assert is_address("HTTP://a.org/x.bw")
    assert not is_address("data/x.bw")
    assert not is_address("ftp://a.org/x.bw")


def test_size_and_version_without_the_file(server):
    its = describe(f"{server.address}/a.bin")
    assert its.size == len(CONTENT)
    assert its.etag
    assert server.sent == 0
    assert all(agent.startswith("avocado/") for agent in server.agents)


def test_a_piece_and_no_more(server):
    data, its = read_piece(f"{server.address}/a.bin", 1000, 300_000)
    assert data == CONTENT[1000:300_000]
    assert its.size == len(CONTENT)
    assert server.sent == 299_000
    assert read_piece(its, len(CONTENT) - 5, len(CONTENT) + 100)[0] == CONTENT[-5:]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_servers_are_asked_again(server, status):
    server.faults["/a.bin"] = [Fault(status), Fault(status)]
    assert read_piece(f"{server.address}/a.bin", 0, 10)[0] == CONTENT[:10]
    assert server.count("GET", "/a.bin") == 3


def test_a_broken_connection_is_mended(server):
    server.faults["/a.bin"] = [Fault(cut=70_000)]
    assert read_piece(f"{server.address}/a.bin", 0, 200_000)[0] == CONTENT[:200_000]


@pytest.mark.parametrize("as_date", [False, True])
def test_waits_as_long_as_the_server_asks(server, as_date):
    asked = formatdate(time.time() + 2, usegmt=True) if as_date else "1"  # a date has no parts of a second
    server.faults["/a.bin"] = [Fault(503, {"Retry-After": asked})]
    begun = time.monotonic()
    read_piece(f"{server.address}/a.bin", 0, 10)
    assert 0.9 < time.monotonic() - begun < 5


def test_all_threads_wait_for_a_busy_server(server):
    server.faults["/a.bin"] = [Fault(429, {"Retry-After": "1"})]
    first = threading.Thread(target=read_piece, args=(f"{server.address}/a.bin", 0, 10))
    first.start()
    while not server.requests:
        time.sleep(0.01)
    time.sleep(0.2)
    begun = time.monotonic()
    read_piece(f"{server.address}/a.bin", 0, 10)
    first.join()
    assert time.monotonic() - begun > 0.5


def test_does_not_wait_for_ever(server):
    server.faults["/a.bin"] = [Fault(503, {"Retry-After": "86400"})]
    with pytest.raises(InputError, match="it asks to wait 1440 minutes: try again later"):
        read_piece(f"{server.address}/a.bin", 0, 10)
    server.faults["/a.bin"] = [Fault(503)] * 100
    with pytest.raises(InputError, match=r"Service Unavailable.*the same command goes on"):
        read_piece(f"{server.address}/a.bin", 0, 10)
    assert server.count("GET", "/a.bin") == 1 + remote.ATTEMPTS


def test_what_will_not_pass_is_said_at_once(server):
    for path, status in (("nothing.bin", "404"), ("a.bin", "403")):
        server.faults["/a.bin"] = [Fault(403)]
        with pytest.raises(InputError, match=status):
            read_piece(f"{server.address}/{path}", 0, 10)
    assert len(server.requests) == 2
    with pytest.raises(InputError, match="404"):
        describe(f"{server.address}/nothing.bin")


def test_nobody_at_the_address(server):
    address = server.address
    server_gone = address.rpartition(":")[0] + ":9"
    with pytest.raises(InputError, match="cannot connect"):
        read_piece(f"{server_gone}/a.bin", 0, 10)


def test_a_server_without_pieces(server):
    server.ranges = False
    assert read_piece(f"{server.address}/a.bin", 0, 10)[0] == CONTENT[:10]
    with pytest.raises(InputError, match="gives whole files only"):
        read_piece(f"{server.address}/a.bin", 10, 20)


def test_a_file_that_changes_while_it_is_read(server):
    its = describe(f"{server.address}/a.bin")
    (server.folder / "a.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match="has changed while it was read"):
        read_piece(its, 0, 10)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Remote("u", 5, "x", "Monday"), True),
        (Remote("u", 6, "x", "Monday"), False),
        (Remote("u", 5, "y", "Monday"), True),  # another server behind the same name
        (Remote("u", 5, "y", "Tuesday"), False),
        (Remote("u", 5), True),
    ],
)
def test_the_same_file(other, same):
    assert Remote("u", 5, "x", "Monday").is_same(other) is same


def test_an_end_to_waiting(server):
    server.faults["/a.bin"] = [Fault(503, {"Retry-After": "60"})]
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        read_piece(f"{server.address}/a.bin", 0, 10, stop)
    assert time.monotonic() - begun < 10


def test_passwords_stay_out_of_addresses():
    with pytest.raises(InputError, match="netrc") as error:
        describe("https://me:secret@a.org/x.bw")
    assert "secret" not in str(error.value)


def test_json(server):
    server.answers["/search/"] = lambda query: (404, b"{}") if query == "none" else (200, b'{"a": [1]}')
    server.answers["/page"] = lambda query: (200, b"<html>")
    assert read_json(f"{server.address}/search/?x=a+b") == {"a": [1]}
    assert read_json(f"{server.address}/search/?none") is None
    with pytest.raises(InputError, match="something else than JSON"):
        read_json(f"{server.address}/page")
