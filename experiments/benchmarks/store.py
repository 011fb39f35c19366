"""How fast is the signal store? Position-major blocks against a track-major array, of the same synthetic signal.

    python -m experiments.benchmarks.store tracks=1014

Reading is measured through the operating system's page cache (warm). Training that streams reads whole blocks, as a
cold disk wants: one contiguous read per block, where a track-major array needs one per block and track.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avocado.cli import app
from avocado.data.genome import BLOCK_BINS, Region, chromosome_region, load_assembly
from avocado.data.store import chunk_blocks, open_store, write_metadata, write_region
from experiments.benchmarks.timing import milliseconds, report, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omegaconf import DictConfig


def benchmark(config: DictConfig) -> None:
    """Write both arrays, time them, print the table and write it as CSV."""
    import pandas as pd

    folder = Path(config.folder)
    assembly = load_assembly("hg19")
    region = chromosome_region(assembly, config.chrom)
    gigabytes = region.n_blocks * BLOCK_BINS * config.tracks * 2 / 1e9
    tracks = pd.DataFrame({"cell": [f"cell{i}" for i in range(config.tracks)], "assay": "assay"})
    folder.mkdir(parents=True, exist_ok=True)
    writing = seconds(lambda: write_region(folder, region, config.tracks, "float16", chunks(region, config.tracks)))
    write_metadata(folder, assembly, [region], tracks, "float16")
    opening = [seconds(lambda: open_store(folder).signal(config.chrom)) for _ in range(config.repeats)]
    store = open_store(folder)

    rng = np.random.default_rng(0)
    batches = [
        (
            rng.choice(region.n_blocks, min(config.batch_blocks, region.n_blocks), replace=False),
            rng.integers(config.tracks, size=(min(config.batch_blocks, region.n_blocks), BLOCK_BINS)),
        )
        for _ in range(config.repeats)
    ]
    signal = store.signal(config.chrom)

    def blockwise(blocks: np.ndarray, track: np.ndarray) -> np.ndarray:
        return np.take_along_axis(signal[blocks], track[..., None], axis=2)[..., 0]

    def elementwise(blocks: np.ndarray, track: np.ndarray) -> np.ndarray:
        return signal[blocks[:, None], np.arange(BLOCK_BINS), track]

    other = folder / "track_major.npy"
    by_track = np.lib.format.open_memmap(other, "w+", np.float16, (config.tracks, region.n_blocks * BLOCK_BINS))
    step = chunk_blocks(config.tracks)
    for first in range(0, region.n_blocks, step):
        part = signal[first : first + step].reshape(-1, config.tracks)
        by_track[:, first * BLOCK_BINS : first * BLOCK_BINS + len(part)] = part.T
    by_track.flush()

    def trackwise(blocks: np.ndarray, track: np.ndarray) -> np.ndarray:
        return by_track[track, blocks[:, None] * BLOCK_BINS + np.arange(BLOCK_BINS)]

    def trackwise_all(blocks: np.ndarray) -> np.ndarray:
        return by_track.reshape(config.tracks, -1, BLOCK_BINS)[:, blocks]

    for blocks, track in batches:  # both read the same; and the cache is warm afterwards
        if not np.array_equal(blockwise(blocks, track), trackwise(blocks, track)):
            raise RuntimeError("the two layouts hold different signal")
    rows = [
        ("write the region", f"{gigabytes / writing:.2f} GB/s", f"{writing:.1f} s", ""),
        ("open the store", "", milliseconds(opening), ""),
        ratio("one track per bin, whole blocks read",
              [(seconds(lambda b=b: blockwise(*b)), seconds(lambda b=b: trackwise(*b))) for b in batches]),
        ratio("one track per bin, only these values",
              [(seconds(lambda b=b: elementwise(*b)), seconds(lambda b=b: trackwise(*b))) for b in batches]),
        ratio("all tracks of a batch", [(seconds(lambda b=b: signal[b[0]]), seconds(lambda b=b: trackwise_all(b[0])))
              for b in batches]),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=pd.Index(["what", "position-major", "time", "track-major / position-major"]))
    report(f"{config.chrom} of hg19 × {config.tracks} tracks, float16: {gigabytes:.2f} GB", table, folder / "store.csv")
    if not config.keep:
        for array in folder.glob("*.npy"):
            array.unlink()


def chunks(region: Region, n_tracks: int) -> Iterator[np.ndarray]:
    """Synthetic arcsinh signal, piece by piece; random enough not to compress."""
    rng = np.random.default_rng(1)
    step = chunk_blocks(n_tracks)
    for first in range(0, region.n_blocks, step):
        shape = (min(step, region.n_blocks - first), BLOCK_BINS, n_tracks)
        bits = rng.integers(0, 0x4000, size=shape, dtype=np.uint16)  # float16 from 0 to 2
        yield bits.view(np.float16)


def ratio(what: str, pairs: list[tuple[float, float]]) -> tuple[str, str, str, str]:
    """Median times of the store, and how many times as long the other layout takes, pair by pair."""
    ours, theirs = np.asarray(pairs).T
    return what, "", milliseconds(list(ours)), f"{np.median(theirs / ours):.1f} ×"


if __name__ == "__main__":
    sys.exit(app.run("benchmark_store", benchmark, sys.argv[1:]))
