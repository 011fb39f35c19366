"""Track files that grow piece by piece, bigWig or .npz: many side by side, in this process or in several.

pyBigWig keeps Python's global lock while it works, so a thread could write neither beside another one nor beside
computing. A process can. It owns some of the files, from their first bin to their zoom levels, which take longer than
the bins.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from avocado.data.bigwig import bigwig_writer
from avocado.data.genome import Assembly, Segment
from avocado.errors import InputError
from avocado.utils.files import temporary_name
from avocado.utils.provenance import Made, recorded

Add = Callable[[str, Sequence[Segment], np.ndarray], None]


def track_file(pattern: str, cell: str, assay: str) -> Path:
    """The file of a track: the pattern with its names for {cell} and {assay}; 'CD8/naive' must not become a folder."""
    names = {"{cell}": cell.replace("/", "_"), "{assay}": assay.replace("/", "_")}
    return Path(re.sub(r"\{cell\}|\{assay\}", lambda found: names[found[0]], pattern))


@contextlib.contextmanager
def track_files(
    paths: Sequence[Path],
    assembly: Assembly,
    workers: int = 1,
    decimals: int | None = None,
    made: Sequence[Made] | None = None,
) -> Iterator[Add]:
    """Files of several tracks, each a bigWig or, by its ending, an .npz with an array (n_bins,) per region.

    Yields `add(region, segments, values)`: some bins of a region and their signal, float32 (n_bins, n_files), in the
    order of the genome. A file appears under its name when it is complete, after the context; if that ends by an error
    or an interrupt, none does. workers: processes that write, each its share of the files; `add` returns as soon as
    they have the values. With 1, and for one file, this process writes. decimals: that bigWigs are rounded to. made:
    what the record of each file says, in their order (`provenance`). Raises what `bigwig_writer` and `replacing` raise,
    and InputError where a process was killed.
    """
    if min(workers, len(paths)) > 1:
        with _in_processes(paths, assembly, min(workers, len(paths)), decimals, made) as add_elsewhere:
            yield add_elsewhere
        return
    records = made or [None] * len(paths)
    with contextlib.ExitStack() as stack:
        bigwigs = {
            column: stack.enter_context(bigwig_writer(path, assembly, decimals, its))
            for column, (path, its) in enumerate(zip(paths, records, strict=True))
            if path.suffix != ".npz"
        }
        arrays: dict[int, dict[str, list[np.ndarray]]] = {c: {} for c in range(len(paths)) if c not in bigwigs}

        def add(region: str, segments: Sequence[Segment], values: np.ndarray) -> None:
            for column, pieces in arrays.items():
                pieces.setdefault(region, []).append(values[:, column].copy())
            for column, bigwig in bigwigs.items():
                done = 0
                for segment in segments:
                    bigwig(segment, values[done : done + segment.n_bins, column])
                    done += segment.n_bins

        yield add
        for column, pieces in arrays.items():
            whole = {region: np.concatenate(parts) for region, parts in pieces.items()}
            with recorded(paths[column], records[column]) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **whole)  # pyright: ignore[reportArgumentType]


@contextlib.contextmanager
def _in_processes(
    paths: Sequence[Path], assembly: Assembly, n_processes: int, decimals: int | None, made: Sequence[Made] | None
) -> Iterator[Add]:
    """`track_files` of equal shares of the files in processes of their own."""
    bounds = [len(paths) * number // n_processes for number in range(n_processes + 1)]
    shares = [slice(*pair) for pair in pairwise(bounds)]
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(_process(paths[share], assembly, decimals, made and made[share])) for share in shares
        ]

        def add(region: str, segments: Sequence[Segment], values: np.ndarray) -> None:
            # a process that still writes takes nothing new: memory stays bounded without a queue
            for writer, share in zip(writers, shares, strict=True):
                _send(writer, (region, segments, values[:, share]))

        yield add
        for writer in writers:
            _send(writer, None)
        for writer in writers:
            _require_success(writer)


@contextlib.contextmanager
def _process(
    paths: Sequence[Path], assembly: Assembly, decimals: int | None, made: Sequence[Made] | None
) -> Iterator[Connection]:
    """A process that writes `paths`; yields what to send it the pieces by, and None after the last."""
    context = multiprocessing.get_context("spawn")  # a forked copy of open libraries is not safe
    ours, theirs = context.Pipe()
    process = context.Process(target=_write, args=(theirs, paths, assembly, decimals, made))
    try:
        # the process inherits this: Ctrl-C is for the main process alone
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            process.start()
            theirs.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield ours
        process.join()
    finally:
        ours.close()
        if process.pid is not None:
            process.kill()  # of no effect after success; else quicker than to wait for zoom levels nobody wants
            process.join()
            for path in paths:  # what `replacing` had no time to remove
                with contextlib.suppress(OSError):
                    temporary_name(path, process.pid).unlink()


def _write(
    connection: Connection,
    paths: Sequence[Path],
    assembly: Assembly,
    decimals: int | None,
    made: Sequence[Made] | None,
) -> None:
    """What a process of `_process` does."""
    try:
        with track_files(paths, assembly, decimals=decimals, made=made) as add:
            while (piece := connection.recv()) is not None:
                add(*piece)
        connection.send(None)
    except (EOFError, ConnectionError):
        return  # the main process was killed; the files are gone
    except Exception as error:
        # nobody hears of it where the main process was killed: `replacing` takes that for a file that cannot be written
        with contextlib.suppress(EOFError, ConnectionError):
            connection.send(error)
            while True:  # the main process hears of it when it has handed over what it is at
                connection.recv()


def _send(writer: Connection, piece: tuple[str, Sequence[Segment], np.ndarray] | None) -> None:
    if writer.poll():
        _require_success(writer)
    try:
        writer.send(piece)
    except ConnectionError:
        _require_success(writer)


def _require_success(writer: Connection) -> None:
    """Wait for a process to say that its files are there; raise what it says instead."""
    try:
        error = writer.recv()
    except (EOFError, ConnectionError):
        raise InputError(
            "a process that wrote tracks ended before they were whole, killed or out of memory: run the same command "
            "again; a script needs `if __name__ == '__main__':` before workers=2, or workers=1"
        ) from None
    if error is not None:
        raise error
