"""From a trained model to imputed tracks: arrays, bigWig and .npz files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from avocado.bigwig import bigwig_writer
from avocado.errors import InputError
from avocado.files import replacing
from avocado.genome import BLOCK_BINS, Region, Segment
from avocado.hardware import Hardware, device_of
from avocado.modeldir import Model

SCALES = ("pval", "arcsinh")
FORMATS = (".bigWig", ".bigwig", ".bw", ".npz")
GROUP = 100  # tracks written at once: as many open files, and the genome part of the network is shared among them
OUTPUT = 32 << 20  # bytes of imputed signal at a time

Pair = tuple[str, str]  # cell, assay


def impute(model: Model, pairs: Sequence[Pair], region: str, hardware: Hardware | None = None) -> np.ndarray:
    """Imputed arcsinh signal of the pairs over a region, float32 (n_bins, n_pairs).

    A model that has average activity as an input has seen the training tracks in it, and its factors have seen them
    anyway: what comes out for a training track is a smoothed copy, not an imputation to be scored.
    """
    chunks = [values for _, values in impute_chunks(model, pairs, region, hardware)]
    return np.concatenate(chunks)


def impute_chunks(
    model: Model, pairs: Sequence[Pair], region: str, hardware: Hardware | None = None
) -> Iterator[tuple[list[Segment], np.ndarray]]:
    """Imputed arcsinh signal piece by piece, in bounded memory.

    Yields (segments, values): the consecutive bins that a piece covers, and their signal, float32 (n_bins, n_pairs).
    """
    factors, averages = model.genome(region), model.averages(region)
    layout = model.regions[region]
    hardware = hardware or Hardware()
    device = device_of(hardware.device)
    network = model.network.to(device)
    network.compute = hardware.compute_type()
    cells, assays = (torch.tensor(index, device=device) for index in zip(*(model.pair(*p) for p in pairs), strict=True))
    step = max(1, OUTPUT // (BLOCK_BINS * 4 * len(pairs)))
    with torch.inference_mode():
        weights = network.weights()
        for first in range(0, layout.n_blocks, step):
            rows = factors[first : first + step].to(device)
            average = None if averages is None else averages[first : first + step].to(device).float()
            imputed = network.predict(rows, cells, assays, average, weights).cpu().numpy()
            yield _segments(layout, first, first + len(rows)), imputed[layout.mask[first : first + len(rows)]]


def write_tracks(
    model: Model,
    files: dict[Pair, Path],
    regions: Sequence[str],
    scale: str = "pval",
    hardware: Hardware | None = None,
    progress: Callable[[int], None] = lambda blocks: None,
) -> None:
    """Impute every pair of `files` over `regions` and write it to its file, bigWig or .npz by its ending.

    scale: 'pval' is −log10 p, sinh of the model's output floored at 0; 'arcsinh' is the output as it is. A bigWig has
    the full chromosome sizes of the model's assembly; an .npz has one float32 array (n_bins,) per region. A file
    appears under its name when it is complete. `progress` is called with (blocks × tracks) done so far in each piece.
    """
    if scale not in SCALES:
        raise InputError(f"unknown scale '{scale}'; there is: {', '.join(SCALES)}")
    for path in files.values():
        if path.suffix not in FORMATS:
            raise InputError(f"{path}: unknown kind of file; name it .bigWig or .npz")
    if len(set(files.values())) < len(files):
        raise InputError("several pairs would be written to one file: put {cell} and {assay} into the name")
    for pair in files:
        model.pair(*pair)
    chosen, regions = list(files), _in_order(model, regions, any(path.suffix != ".npz" for path in files.values()))
    for first in range(0, len(chosen), GROUP):
        _write_group(
            model,
            {pair: files[pair] for pair in chosen[first : first + GROUP]},
            regions,
            scale,
            hardware,
            progress,
        )


def _in_order(model: Model, regions: Sequence[str], disjoint: bool) -> list[str]:
    """The regions, each once and in the order of the genome, as a bigWig needs them; `disjoint` if they have to be."""
    rank = {chrom: number for number, chrom in enumerate(model.assembly.sizes)}

    def span(region: str) -> tuple[tuple[int, int], tuple[int, int]]:
        if region not in model.regions:
            model.genome(region)  # raises, and says which there are
        segments = model.regions[region].segments
        return (rank[segments[0].chrom], segments[0].start), (rank[segments[-1].chrom], segments[-1].end)

    ordered = sorted(set(regions), key=span)
    for before, after in pairwise(ordered):
        if disjoint and span(after)[0] < span(before)[1]:
            raise InputError(f"regions {before} and {after} overlap: write them to different files, or as .npz")
    return ordered


def _write_group(
    model: Model,
    files: dict[Pair, Path],
    regions: Sequence[str],
    scale: str,
    hardware: Hardware | None,
    progress: Callable[[int], None],
) -> None:
    """Write some tracks side by side; on an error or interrupt none of them appears."""
    with contextlib.ExitStack() as stack:
        add: dict[Pair, Callable[[Segment, np.ndarray], None]] = {}
        arrays: dict[Pair, dict[str, list[np.ndarray]]] = {}
        for pair, path in files.items():
            if path.suffix == ".npz":
                arrays[pair] = {region: [] for region in regions}
            else:
                add[pair] = stack.enter_context(bigwig_writer(path, model.assembly))
        for region in regions:
            for segments, values in impute_chunks(model, list(files), region, hardware):
                if scale == "pval":
                    values = np.sinh(np.maximum(values, 0, out=values), out=values)
                for column, pair in enumerate(files):
                    if pair in arrays:
                        arrays[pair][region].append(values[:, column].copy())
                        continue
                    done = 0
                    for segment in segments:
                        add[pair](segment, values[done : done + segment.n_bins, column])
                        done += segment.n_bins
                progress(sum(segment.n_blocks for segment in segments) * len(files))
        for pair, pieces in arrays.items():
            whole = {name: np.concatenate(parts) for name, parts in pieces.items()}
            with replacing(files[pair]) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **whole)  # pyright: ignore[reportArgumentType]


def regions_to_impute(model: Model) -> list[str]:
    """All chromosomes the model has, in assembly order; the pilot regions where it has no chromosome yet."""
    chromosomes = [name for name in model.regions if name in model.assembly.sizes]
    found = chromosomes or list(model.regions)
    if not found:
        raise InputError(f"model {model.path} has no genome factors yet: python train.py stage=genome chrom=...")
    return found


def _segments(region: Region, first: int, last: int) -> list[Segment]:
    """The bins of blocks [first, last) as segments."""
    found = []
    for segment, _, block in region.walk():
        start = segment.start + max(0, first - block) * BLOCK_BINS
        end = min(segment.end, segment.start + (last - block) * BLOCK_BINS)
        if start < end:
            found.append(Segment(segment.chrom, start, end))
    return found
