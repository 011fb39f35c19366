"""The server of a folder: ranges of bytes, and nothing but the folder, for nobody but this computer."""

from __future__ import annotations

import http.client
import os
import threading
from urllib.parse import urlsplit

import pytest

from avocado.browser.server import FolderServer
from avocado.errors import InputError

CONTENT = bytes(range(256)) * 10


@pytest.fixture
def served(tmp_path):
    """`ask(name, **headers)` of a folder with a.bw, sub/b.bw, model.yaml, and a page in memory."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bw").write_bytes(CONTENT)
    (folder / "sub" / "b.bw").write_bytes(b"b")
    (folder / "model.yaml").write_text("secret")
    (folder / ".hidden.bw").write_text("secret")
    (tmp_path / "secret.bw").write_text("secret")
    (folder / "link.bw").symlink_to(tmp_path / "secret.bw")
    (folder / "out").symlink_to(tmp_path)
    (folder / "inside.bw").symlink_to(folder / "a.bw")
    server = FolderServer(folder, {"index.html": b"<p>page"})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    place = urlsplit(server.address)

    def ask(name, method="GET", prefix=place.path, host=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=10)
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request(method, prefix + name, headers=sent | ({} if host is None else {"Host": host}))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body, answer.headers

    yield ask
    server.shutdown()
    thread.join()
    server.server_close()


def test_whole_files_and_pages_in_memory(served):
    status, body, headers = served("a.bw")
    assert (status, body) == (200, CONTENT)
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Length"] == "2560"
    assert served("")[1] == served("index.html")[1] == b"<p>page"
    assert served("")[2]["Content-Type"].startswith("text/html")
    assert served("sub/b.bw")[1] == b"b"
    assert served("inside.bw")[1] == CONTENT


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("0-63", 0, 64), ("100-100", 100, 101), ("2500-", 2500, 2560), ("-10", 2550, 2560), ("2550-9999", 2550, 2560)],
)
def test_ranges_of_bytes(served, asked, start, end):
    status, body, headers = served("a.bw", Range=f"bytes={asked}")
    assert (status, body) == (206, CONTENT[start:end])
    assert headers["Content-Range"] == f"bytes {start}-{end - 1}/2560"
    assert headers["Content-Length"] == str(end - start)


@pytest.mark.parametrize("asked", ["2560-", "5000-6000", "-0"])
def test_ranges_beyond_the_end(served, asked):
    status, body, headers = served("a.bw", Range=f"bytes={asked}")
    assert (status, body, headers["Content-Range"]) == (416, b"", "bytes */2560")


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=-", "bytes=0-1,5-6", "items=0-1", f"bytes=0-{'9' * 5000}"])
def test_ranges_that_make_no_sense_are_ignored(served, asked):
    status, body, _ = served("a.bw", Range=asked)
    assert (status, body) == (200, CONTENT)


def test_head_has_no_body(served):
    status, body, headers = served("a.bw", method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "2560")
    status, body, headers = served("a.bw", method="HEAD", Range="bytes=0-9")
    assert (status, body, headers["Content-Length"]) == (206, b"", "10")


@pytest.mark.parametrize(
    "name",
    [
        "../secret.bw", "sub/../../secret.bw", "%2e%2e/secret.bw", "..%2fsecret.bw", "link.bw", "out/secret.bw",
        "out/folder/a.bw", ".hidden.bw", "sub", "sub/", "/a.bw", "%2fetc/hostname", "..\\secret.bw", "a.bw%00",
        "nope.bw", "model.yaml",
    ],
)  # fmt: skip
def test_nothing_but_tracks_of_the_folder(served, name):
    status, body, _ = served(name)
    assert b"secret" not in body
    assert status == (200 if name == "out/folder/a.bw" else 404)


def test_nobody_without_the_random_word(served):
    assert served("a.bw", prefix="/")[0] == 404
    assert served("a.bw", prefix="/wrong/")[0] == 404
    assert served("", prefix="/")[0] == 404


def test_no_page_of_another_site_by_a_name_of_its_own(served):
    assert served("a.bw", host="evil.example:80")[0] == 403
    assert served("a.bw", host="localhost:1")[0] == 200


def test_nothing_is_written(served):
    assert served("a.bw", method="POST")[0] == 501
    assert served("a.bw", method="PUT")[0] == 501
    assert served("a.bw", method="DELETE")[0] == 501


def test_only_this_computer_can_connect(tmp_path):
    with FolderServer(tmp_path, {}) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken(tmp_path):
    with FolderServer(tmp_path, {}) as server:
        port = server.server_address[1]
        with pytest.raises(InputError, match=f"port {port} is taken: choose another one"):
            FolderServer(tmp_path, {}, port)


@pytest.mark.parametrize("port", [0, -1, 70_000, "http", 80.5, True])
def test_ports_that_are_none(tmp_path, port):
    with pytest.raises(InputError, match="expected a whole number from 1 to 65535"):
        FolderServer(tmp_path, {}, port)


def test_a_port_that_is_chosen(tmp_path):
    with FolderServer(tmp_path, {}) as first:
        port = first.server_address[1]
    with FolderServer(tmp_path, {}, port) as server:
        assert server.address.startswith(f"http://127.0.0.1:{port}/")
    assert os.path.isdir(tmp_path)
