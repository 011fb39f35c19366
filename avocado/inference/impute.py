"""From a trained model to imputed tracks: arrays, bigWig and .npz files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from avocado.data.bigwig import covered_bases
from avocado.data.genome import BIN_SIZE, BLOCK_BINS, Assembly, Region, Segment
from avocado.errors import InputError
from avocado.inference.track_files import track_files
from avocado.model.directory import SHARED, Model
from avocado.model.network import Network
from avocado.model.regression import piece_blocks
from avocado.utils.files import claimed
from avocado.utils.hardware import Hardware

SCALES = ("pval", "arcsinh")
FORMATS = (".bigWig", ".bigwig", ".bw", ".npz")
GROUP = 100  # tracks written at once: as many open files, and the genome part of the network is shared among them
OUTPUT = 32 << 20  # bytes of imputed signal at a time

Pair = tuple[str, str]  # cell, assay


def impute(model: Model, pairs: Sequence[Pair], region: str, hardware: Hardware | None = None) -> np.ndarray:
    """Imputed arcsinh signal of the pairs over a region, float32 (n_bins, n_pairs).

    Genome factors have seen the training tracks: what comes out for one of them is no imputation to be scored.
    """
    model.genome(region)  # raises, and says which regions there are
    signal = np.empty((model.regions[region].n_bins, len(pairs)), dtype=np.float32)
    done = 0
    for _, values in impute_chunks(model, pairs, region, hardware):
        signal[done : done + len(values)] = values
        done += len(values)
    return signal


def impute_chunks(
    model: Model, pairs: Sequence[Pair], region: str, hardware: Hardware | None = None
) -> Iterator[tuple[list[Segment], np.ndarray]]:
    """Imputed arcsinh signal piece by piece, in bounded memory.

    Yields (segments, values): the consecutive bins that a piece covers, and their signal, float32 (n_bins, n_pairs).
    """
    factors, prior = model.genome(region), model.baseline
    layout = model.regions[region]
    hardware = hardware or Hardware()
    device = hardware.use()
    network = model.network.to(device)
    network.compute = hardware.compute_type()
    cells, assays = (torch.tensor(index, device=device) for index in zip(*(model.pair(*p) for p in pairs), strict=True))
    step = max(1, OUTPUT // (BLOCK_BINS * 4 * len(pairs)))
    if prior is not None:
        if prior.store.region(region) != layout:
            raise InputError(
                f"store {prior.store.path} has another {region} than model {model.path}: "
                "train the region again on this store (overwrite=true)"
            )
        step = min(step, piece_blocks(len(prior.train.columns), device))
    steps = layout.pieces(step)
    pieces = None
    if prior is not None:
        pieces = prior.blocks(region, cells.cpu().numpy(), assays.cpu().numpy(), steps, device)
    with torch.inference_mode():
        weights = network.weights() if isinstance(network, Network) else None
        for first, last in steps:
            rows = factors[first:last].to(device)
            if isinstance(network, Network):
                imputed = network.predict(rows, cells, assays, weights).cpu().numpy()
            else:
                imputed = network.predict(rows, cells, assays, next(pieces) if pieces else None).cpu().numpy()
            real = layout.mask[first:last]
            # choosing bins copies them all
            values = imputed.reshape(-1, len(pairs)) if real.all() else imputed[real]
            yield _segments(layout, first, last), values


def write_tracks(
    model: Model,
    files: dict[Pair, Path],
    regions: Sequence[str],
    scale: str = "pval",
    hardware: Hardware | None = None,
    progress: Callable[[int], None] = lambda blocks: None,
    workers: int = 1,
) -> None:
    """Impute every pair of `files` over `regions` and write it to its file, bigWig or .npz by its ending.

    scale: 'pval' is −log10 p, sinh of the model's output floored at 0; 'arcsinh' is the output as it is. A bigWig has
    the full chromosome sizes of the model's assembly; an .npz has one float32 array (n_bins,) per region. A file
    appears under its name when it is complete. `progress` is called with (blocks × tracks) done so far in each piece.
    workers: processes that write while this one computes; see `track_files`.
    """
    require_files(list(files.values()), scale)
    for pair in files:
        model.pair(*pair)
    for region in regions:
        model.genome(region)  # raises, and says which regions there are
    layouts = [model.regions[region] for region in regions]
    chosen = list(files)
    ordered = regions_in_order(model.assembly, layouts, any(path.suffix != ".npz" for path in files.values()))
    for first in range(0, len(chosen), GROUP):
        group = chosen[first : first + GROUP]
        with track_files([files[pair] for pair in group], model.assembly, workers) as add:
            for region in ordered:
                for segments, values in impute_chunks(model, group, region.name, hardware):
                    if scale == "pval":
                        values = np.sinh(np.maximum(values, 0, out=values), out=values)
                    add(region.name, segments, values)
                    progress(sum(segment.n_blocks for segment in segments) * len(group))


def shared_out(
    files: dict[Pair, Path], is_missing: Callable[[Path], bool]
) -> Iterator[tuple[dict[Pair, Path], dict[Pair, Path]]]:
    """Hand the files out in groups, to this process and to others that ask for the same ones.

    Yields (group, mine): files that are settled now, and those among them that this process has to write, as they are
    still missing; nobody else gets them before it asks for the next group. Files that another process is at come last,
    when it is done or gone.
    """
    waiting = dict(files)
    for wait in (False, True):
        names = list(waiting)
        for first in range(0, len(names), GROUP):
            group = {pair: waiting[pair] for pair in names[first : first + GROUP]}
            with claimed(list(group.values()), wait) as free:
                settled = {pair: path for pair, path in group.items() if path in free}
                if settled:
                    yield settled, {pair: path for pair, path in settled.items() if is_missing(path)}
            for pair in settled:
                del waiting[pair]


def is_current(path: Path, model: Model, regions: Sequence[str]) -> bool:
    """Whether a bigWig holds all of these regions and is newer than the parts of the model that it is made of."""
    parts = [model.path / SHARED, *(model.path / f"{region}.safetensors" for region in regions)]
    sizes, segments = model.assembly.sizes, [its for region in regions for its in model.regions[region].segments]
    bases = sum(min(its.end * BIN_SIZE, sizes[its.chrom]) - its.start * BIN_SIZE for its in segments)
    try:
        made = path.stat().st_mtime_ns
        return all(part.stat().st_mtime_ns < made for part in parts) and covered_bases(path) == bases
    except (InputError, FileNotFoundError):
        return False


def require_files(files: Sequence[Path], scale: str) -> None:
    """Raise InputError for a scale or a kind of file that cannot be written, and for two tracks in one file."""
    if scale not in SCALES:
        raise InputError(f"unknown scale '{scale}'; there is: {', '.join(SCALES)}")
    for path in files:
        if path.suffix not in FORMATS:
            raise InputError(f"{path}: unknown kind of file; name it .bigWig or .npz")
    if len(set(files)) < len(files):
        raise InputError("several pairs would be written to one file: put {cell} and {assay} into the name")


def regions_in_order(assembly: Assembly, regions: Iterable[Region], disjoint: bool) -> list[Region]:
    """The regions, each once and in the order of the genome, as a bigWig needs them.

    Raises InputError, if they have to be `disjoint`, for two that overlap.
    """
    rank = {chrom: number for number, chrom in enumerate(assembly.sizes)}

    def start(region: Region) -> tuple[int, int]:
        return rank[region.segments[0].chrom], region.segments[0].start

    def end(region: Region) -> tuple[int, int]:
        return rank[region.segments[-1].chrom], region.segments[-1].end

    once = {region.name: region for region in regions}.values()
    ordered = sorted(once, key=lambda region: (start(region), end(region)))
    for before, after in pairwise(ordered):
        if disjoint and start(after) < end(before):
            raise InputError(
                f"regions {before.name} and {after.name} overlap: write them to different files, or as .npz"
            )
    return ordered


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
