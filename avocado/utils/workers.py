"""Independent pieces of work in several processes, or in threads that wait for others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from avocado.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

_shared: tuple[Any, ...] = ()  # in a worker: what every call of its task gets


def in_processes(
    task: Callable[..., Result], items: Sequence[Item], workers: int, killed: str, shared: tuple[Any, ...] = ()
) -> Generator[Result]:
    """`task(item, *shared)` of all items in `workers` processes, results as they come; with 1, in this process.

    shared: sent to each process once. Raises what a task raises, and InputError with the text `killed` where a process
    was killed.
    """
    if min(workers, len(items)) < 2:
        for item in items:
            yield task(item, *shared)
        return
    context = multiprocessing.get_context("spawn")  # a forked copy of open libraries is not safe
    pool = ProcessPoolExecutor(min(workers, len(items)), context, _prepare, (shared,))
    try:
        for future in as_completed([pool.submit(_call, task, item) for item in items]):
            yield future.result()
    except BrokenProcessPool:
        raise InputError(killed) from None
    finally:  # also on Ctrl-C: what is being worked on is finished and kept, the rest dropped
        pool.shutdown(cancel_futures=True)


def in_threads(
    task: Callable[[Item, threading.Event], Result], items: Iterable[Item], threads: int
) -> Generator[Result]:
    """`task(item, stop)` of all items in `threads` threads, results in the order of the items.

    stop: set when no more results are wanted, after Ctrl-C or an error, so that a task may end early.
    """
    stop = threading.Event()
    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(lambda item: task(item, stop), items)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _prepare(shared: tuple[Any, ...]) -> None:
    """Leave Ctrl-C to the main process, and end when it ends, even killed."""
    global _shared
    _shared = shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _call(task: Callable[..., Result], item: Any) -> Result:
    return task(item, *_shared)
