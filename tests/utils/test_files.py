import errno
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from avocado.errors import InputError
from avocado.utils.files import claimed, locked, replacing, sha256, temporary_name


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "scores.csv"
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent  # one file system, so that the renaming is atomic
    assert path.read_text() == "half"
    assert os.listdir(path.parent) == ["scores.csv"]


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["scores.csv"]


@pytest.mark.parametrize("name", [None, "temporary"])
def test_a_full_disk_is_one_line(tmp_path, name):
    path = tmp_path / "scores.csv"
    with pytest.raises(InputError) as caught, replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([str(temporary)] if name else []))
    assert str(caught.value) == f"cannot write {path}: No space left on device; nothing was left behind"
    assert os.listdir(tmp_path) == []


def test_a_disk_that_is_full_at_the_end(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source), None, str(target))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"cannot write .*scores\.csv: No space left"):  # noqa: SIM117
        with replacing(tmp_path / "scores.csv") as temporary:
            temporary.write_text("whole")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("below", ["scores.csv", "folder/scores.csv"])
def test_a_place_below_a_file(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"cannot write .*scores\.csv: (Not a directory|File exists)"):  # noqa: SIM117
        with replacing(tmp_path / "file" / below) as temporary:
            temporary.write_text("half")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_directory_in_the_way(tmp_path):
    (tmp_path / "scores.csv").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*scores\.csv: Is a directory"):  # noqa: SIM117
        with replacing(tmp_path / "scores.csv") as temporary:
            temporary.write_text("whole")
    assert os.listdir(tmp_path) == ["scores.csv"]


def test_somebody_elses_error_is_not_ours(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "scores.csv"):
        (tmp_path / "elsewhere").read_text()
    assert os.listdir(tmp_path) == []


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_text("abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_is_claimed_once(tmp_path):
    a, b, c = (tmp_path / "new" / name for name in "abc")
    with claimed([b, a]) as first, claimed([b, c]) as second:
        assert first == [a, b]
        assert second == [c]
    assert os.listdir(tmp_path / "new") == []
    with claimed([a, b, c]) as everything:
        assert everything == [a, b, c]


def test_waiting_for_a_claim(tmp_path):
    path, order = tmp_path / "a", []

    def other():
        with claimed([path], wait=True) as mine:
            order.append("other")
            assert mine == [path]

    with claimed([path]):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "other"]
    assert os.listdir(tmp_path) == []


def test_a_claim_of_a_process_that_was_killed_is_free(tmp_path):
    code = f"""
import os, pathlib, sys
from avocado.utils.files import claimed
with claimed([pathlib.Path({str(tmp_path)!r}) / "a"]):
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert os.listdir(tmp_path) == [".a.lock"]
    with claimed([tmp_path / "a"]) as mine:
        assert mine == [tmp_path / "a"]
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_hold_claims(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"cannot write .*/file/a: .*; choose another place"),
        claimed([tmp_path / "file" / "a"]),
    ):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog):
    def none(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    with locked(tmp_path / "a.lock", wait=False) as mine:
        assert mine
    assert "has no locks" in caplog.text


def test_who_waits_for_a_lock_says_so(tmp_path, caplog):
    with locked(tmp_path / "new" / ".lock") as mine:
        assert mine
        with locked(tmp_path / "new" / ".lock", wait=False) as second:
            assert not second
        thread = threading.Thread(target=lambda: locked(tmp_path / "new" / ".lock", waiting="by A").__enter__())
        thread.start()
        time.sleep(0.3)
        assert caplog.messages == ["by A"]
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()
    assert caplog.messages == ["by A"]


KILLED = """
import os, pathlib
from avocado.utils.files import claimed, replacing
folder = pathlib.Path({folder!r})
with claimed([folder / "done.bw"]), replacing(folder / "a.bw") as temporary:
    temporary.write_text("half")
    (folder / "done.bw").write_text("whole")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    def process(code):
        subprocess.run([sys.executable, "-c", code], timeout=60, check=False)

    process(KILLED.format(folder=str(tmp_path)))
    (left,) = tmp_path.glob(".a.bw.*.tmp")
    of_others = [
        temporary_name(tmp_path / "b.bw", os.getpid()),  # a process that runs
        tmp_path / left.name.replace(left.name.split(".")[3], "0" * 8),  # of another host
        tmp_path / ".emacs.tmp",
        tmp_path / ".absent.lock",
    ]
    for file in of_others:
        file.write_text("theirs")
    assert {file.name for file in tmp_path.iterdir()} == {
        "done.bw", ".done.bw.lock", left.name, *(file.name for file in of_others)
    }  # fmt: skip
    process(f"""
from pathlib import Path
from avocado.utils.files import replacing
with replacing(Path({str(tmp_path)!r}) / "c.bw") as temporary:
    temporary.write_text("whole")
""")
    assert set(tmp_path.iterdir()) == {tmp_path / "done.bw", tmp_path / "c.bw", *of_others}


@pytest.mark.parametrize("mask", [0o002, 0o027])
def test_files_have_the_mode_that_new_files_have(tmp_path, mask):
    def private(temporary):
        """As some libraries write: under a name of their own, for the user alone."""
        with tempfile.NamedTemporaryFile(dir=tmp_path, delete=False) as file:
            file.write(b"whole")
        os.replace(file.name, temporary)

    before = os.umask(mask)
    try:
        for number, write in enumerate([private, lambda temporary: temporary.write_text("whole")]):
            with replacing(tmp_path / str(number)) as temporary:
                write(temporary)
            assert stat.S_IMODE((tmp_path / str(number)).stat().st_mode) == 0o666 & ~mask
    finally:
        os.umask(before)
