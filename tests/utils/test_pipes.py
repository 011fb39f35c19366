"""Commands whose output nobody reads any more."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from avocado.utils.pipes import BROKEN_PIPE, until_reader_leaves

pytest_plugins = ["demo"]


def into_closed_pipe(*command):
    """Status, and what stood on the error stream, of a command whose reader has gone before it says anything."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, *map(str, command)], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [(), ("--version",), ("train", "--help"), ("inspect", "{store}"), ("inspect", "--cfg", "all", "path=x")],
    ids=lambda arguments: " ".join(arguments[:2]) or "no command",
)
def test_a_command_ends_quietly(arguments, store):
    from demo import CONSOLE

    status, err = into_closed_pipe("-c", CONSOLE, *(argument.format(store=store) for argument in arguments))
    assert err == ""
    assert status in (BROKEN_PIPE, -13)  # as a shell says it, or killed by SIGPIPE itself


def test_a_long_output_ends_quietly():
    code = (
        "import sys\nfrom avocado.utils.pipes import until_reader_leaves\n"
        "sys.exit(until_reader_leaves(lambda: [print('x' * 99) for _ in range(10_000)] and 0))"
    )
    assert into_closed_pipe("-c", code) == (BROKEN_PIPE, "")


def test_another_broken_pipe_is_an_error():
    def task():
        raise BrokenPipeError("of a worker")

    with open(os.devnull, "w") as nothing, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", nothing)
        patch.setattr(sys, "stderr", nothing)
        with pytest.raises(BrokenPipeError, match="of a worker"):
            until_reader_leaves(task)


def test_the_status_is_that_of_the_task(capsys):
    assert until_reader_leaves(lambda: 2) == 2


def test_a_terminal_without_unicode_gets_question_marks():
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # Python's text files are ASCII, too
    command = [sys.executable, "-c", "from avocado.cli import main; main()", "impute", "--help"]
    done = subprocess.run(command, env=os.environ | plain, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "pval is ?log10 p" in done.stdout.decode("ascii")
