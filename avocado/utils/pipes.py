"""A command whose output nobody reads any more, as in `avocado inspect PATH | head`, ends without a word."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Callable

BROKEN_PIPE = 141  # 128 + SIGPIPE, the status that a shell gives such programs


def until_reader_leaves(task: Callable[[], int]) -> int:
    """The exit status of `task`, or 141 once what reads the output or error stream has gone.

    Other broken pipes, as to a process of one's own, are raised as ever. Python ignores the signal SIGPIPE, and is to
    go on doing so: it would also end a training whose connection to a tracking server breaks. A character that the
    terminal's encoding lacks, such as −, is printed as a question mark.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        status = task()
        sys.stdout.flush()
    except BrokenPipeError:
        left = [stream for stream in (sys.stdout, sys.stderr) if _reader_left(stream.fileno())]
        if not left:
            raise
        for stream in left:  # what is still buffered goes nowhere when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return BROKEN_PIPE
    return status


def _reader_left(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
