"""The original program, unmodified, as a process that answers questions: it trains, predicts and says its peak memory.

Runs in an environment of its own, by file path and isolated (`python -I`), as both packages are called avocado: here
it is the original, and nothing of ours can be imported. For that reason `serve`, which both workers need, lies here.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np


def serve(commands: object) -> None:
    """Answer requests, one JSON line each, until standard input ends.

    {"command": "train", "steps": 5} calls `commands.train(steps=5)`; the answer is {"result": ...} or {"error": "..."}.
    Everything that the process prints otherwise, such as progress bars, goes to its error stream.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = {"result": getattr(commands, request.pop("command"))(**request)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def peak_memory() -> int:
    """Bytes of this process that were resident at most, memory-mapped files included."""
    status = Path("/proc/self/status")
    if status.exists():  # unlike getrusage, this knows nothing of the process that started this one
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


class Original:
    """What the original is asked to do."""

    def prepare(
        self,
        signal: str,
        tracks: list[tuple[str, str]],
        cells: list[str],
        assays: list[str],
        shape: dict[str, int],
        batch_size: int,
        seed: int,
    ) -> None:
        """Load the data and build the model.

        signal: .npy of float32 (n_tracks, n_bins), whose rows are the experiments `tracks`. shape: the structural
        arguments of the original's constructor, n_layers=1 and so on.
        """
        import keras  # pyright: ignore[reportMissingImports]

        from avocado import Avocado  # pyright: ignore[reportAttributeAccessIssue]

        keras.utils.set_random_seed(seed)
        array = np.load(signal, mmap_mode="r")
        # as plain arrays: the original reads value by value, and from a memmap each one takes several times as long
        self.data = {(cell, assay): np.asarray(row) for (cell, assay), row in zip(tracks, array)}  # noqa: B905
        self.model = Avocado(cells, assays, n_genomic_positions=array.shape[1], batch_size=batch_size, **shape)

    def train(self, steps: int, epochs: int) -> dict[str, float]:
        """Train `epochs` epochs of `steps` batches through the original's `fit`; seconds and samples of the last one.

        The clock runs from the start of the epoch to its end: what `fit` does before it is not counted.
        """
        from keras.callbacks import LambdaCallback  # pyright: ignore[reportMissingImports]

        times: dict[str, float] = {}
        clock = LambdaCallback(
            on_epoch_begin=lambda epoch, logs: times.update(start=time.perf_counter()),
            on_epoch_end=lambda epoch, logs: times.update(end=time.perf_counter()),
        )
        self.model.fit(self.data, n_epochs=epochs, epoch_size=steps, verbose=0, callbacks=[clock])
        return {"seconds": times["end"] - times["start"], "samples": steps * self.model.batch_size}

    def predict(self, pairs: list[tuple[str, str]], bins: int, out: str | None = None) -> dict[str, float]:
        """Predict the first `bins` bins of each pair, one after the other; seconds of all of them together.

        out: .npy to write the predictions to, float32 (n_pairs, bins).
        """
        start = time.perf_counter()
        predicted = [self.model.predict(cell, assay, 0, bins) for cell, assay in pairs]
        seconds = time.perf_counter() - start
        if out is not None:
            np.save(out, np.stack(predicted))
        return {"seconds": seconds, "bins": bins}

    def memory(self) -> int:
        """Peak resident memory so far, in bytes."""
        return peak_memory()


if __name__ == "__main__":
    serve(Original())
