"""Lines that commands log while a progress bar is shown."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging, sys
sys.stderr.isatty = lambda: True
from rich.console import Console
from rich.progress import Progress
from avocado.cli.app import run

def task(config):
    with Progress(console=Console(stderr=True, force_terminal=True, width=70), auto_refresh=False) as bar:
        bar.add_task("working", total=2)
        bar.refresh()
        logging.getLogger("avocado.x").info("a line of [the] log")
        bar.refresh()

sys.exit(run("view", task, ["path=."]))
"""


def test_a_line_of_the_log_goes_above_the_bar_and_not_into_it():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stderr.splitlines() if "a line of [the] log" in line)
    # the bar's own line was erased, and it is drawn anew below
    assert line.rpartition("\x1b[2K")[2].strip() == "a line of [the] log"
    assert "working" in done.stderr.partition("a line of [the] log")[2]
