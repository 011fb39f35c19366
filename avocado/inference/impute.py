"""From a trained model to imputed tracks: arrays, bigWig and .npz files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

import avocado
from avocado.data.compendium import Pair
from avocado.data.genome import BLOCK_BINS, Assembly, Region, Segment, file_stem
from avocado.data.windows import Window, pieces
from avocado.errors import InputError
from avocado.inference.track_files import track_files
from avocado.model.directory import Model
from avocado.model.network import Network
from avocado.model.regression import piece_blocks
from avocado.model.scales import imputed_pval
from avocado.utils.files import claimed
from avocado.utils.hardware import Hardware
from avocado.utils.provenance import Made, fingerprint

SCALES = ("pval", "arcsinh")
BIGWIG = (".bw", ".bigwig", ".bigWig")
FORMATS = (*BIGWIG, ".npz")
DECIMALS = 2  # of bigWig files: 40 % of the size, and no score moves by more than 0.00001 (docs/scale.md)
GROUP = 100  # tracks written at once: as many open files, and the genome part of the network is shared among them
OUTPUT = 32 << 20  # bytes of imputed signal at a time


def impute(
    model: Model, pairs: Pair | Sequence[Pair], region: str | Path, hardware: Hardware | None = None
) -> np.ndarray:
    """Imputed arcsinh signal of any pairs of cell type and assay over a region (Avocado paper, Methods).

    Genome factors have seen the training tracks: what comes out for one of them is no imputation to be scored.

    Parameters
    ----------
    model
        A loaded model.
    pairs
        (cell type, assay), or a list of them.
    region
        One that the model has factors of, `chrom:start-end` in bp (counted from 1, both ends included), or a BED file.
    hardware
        Where to compute, and how precisely; None: the GPU where there is one.

    Returns
    -------
    numpy.ndarray
        arcsinh(−log10 p), float32 (n_bins, n_pairs), or (n_bins,) for one pair without a list.

    Raises
    ------
    InputError
        For names that the model does not know, and places that it has no factors of.
    """
    one = isinstance(pairs, tuple) and len(pairs) == 2 and all(isinstance(name, str) for name in pairs)
    chosen: list[Pair] = [pairs] if one else list(pairs)  # type: ignore[list-item]
    found = [values for window in model.windows(region) for _, values in impute_chunks(model, chosen, window, hardware)]
    signal = np.concatenate(found) if len(found) > 1 else found[0]
    return signal[:, 0] if one else signal


def impute_chunks(
    model: Model, pairs: Sequence[Pair], region: str | Window, hardware: Hardware | None = None
) -> Iterator[tuple[list[Segment], np.ndarray]]:
    """Imputed arcsinh signal piece by piece, in bounded memory.

    Yields (segments, values): the consecutive bins that a piece covers, and their signal, float32 (n_bins, n_pairs).
    Of a window only the blocks that it touches are computed.
    """
    source, part = (region, None) if isinstance(region, str) else region
    factors, baseline = model.rows(source), model.baseline
    layout = model.regions[source]
    hardware = hardware or Hardware()
    device = hardware.use()
    network = model.network.to(device)
    network.compute = hardware.compute_type()
    cells, assays = (torch.tensor(index, device=device) for index in zip(*(model.pair(*p) for p in pairs), strict=True))
    step = max(1, OUTPUT // (BLOCK_BINS * 4 * len(pairs)))
    if baseline is not None:
        if baseline.store.region(source) != layout:
            raise InputError(
                f"store {baseline.store.path} has another {source} than model {model.path}: "
                "train the region again on this store (overwrite=true)"
            )
        step = min(step, piece_blocks(len(baseline.train.columns), device))
    steps = list(pieces(layout, part or layout, step))
    regressed = None
    if baseline is not None:
        blocks = [(first, last) for first, last, *_ in steps]
        regressed = baseline.blocks(source, cells.cpu().numpy(), assays.cpu().numpy(), blocks, device)
    with torch.inference_mode():
        weights = network.weights() if isinstance(network, Network) else None
        for first, last, segments, real in steps:
            rows = factors[first:last].to(device)
            if isinstance(network, Network):
                imputed = network.predict(rows, cells, assays, weights).cpu().numpy()
            else:
                imputed = network.predict(rows, cells, assays, next(regressed) if regressed else None).cpu().numpy()
            # choosing bins copies them all
            values = imputed.reshape(-1, len(pairs)) if real.all() else imputed[real]
            yield segments, values


def write_tracks(
    model: Model,
    files: Mapping[Pair, str | Path],
    regions: Sequence[str] | None = None,
    scale: str = "pval",
    hardware: Hardware | None = None,
    progress: Callable[[int], None] = lambda blocks: None,
    workers: int = 1,
    decimals: int | None = DECIMALS,
) -> None:
    """Impute every pair of `files` over `regions` and write it to its file, bigWig or .npz by its ending.

    A bigWig has the full chromosome sizes of the model's assembly; an .npz has one float32 array (n_bins,) per region.
    A file appears under its name when it is complete, and has its `provenance`.

    Parameters
    ----------
    model
        A loaded model.
    files
        Where each pair of cell type and assay goes.
    regions
        Places as `windows.windows` takes them; None: all chromosomes that the model has.
    scale
        pval is −log10 p, see `scales.imputed_pval`; arcsinh is the model's output as it is.
    hardware
        Where to compute, and how precisely; None: the GPU where there is one.
    progress
        Called with (blocks × tracks) done so far in each piece.
    workers
        Processes that write while this one computes; see `track_files`.
    decimals
        That bigWigs are rounded to; None: all digits.

    Raises
    ------
    InputError
        For names, places and kinds of file that there are not, and two tracks in one file.
    """
    files = {pair: Path(path) for pair, path in files.items()}
    regions = regions_to_impute(model) if regions is None else regions
    require_files(list(files.values()), scale)
    for pair in files:
        model.pair(*pair)
    found = places(model, regions)
    source = {window.layout.name: window for window in found}
    chosen, made = list(files), provenance(model, files, found, scale, decimals)
    bigwig = any(path.suffix != ".npz" for path in files.values())
    if model.baseline is not None:
        model.baseline.require(chosen)  # of all groups at once
    ordered = regions_in_order(model.assembly, [window.layout for window in found], bigwig)
    for first in range(0, len(chosen), GROUP):
        group = chosen[first : first + GROUP]
        paths = [files[pair] for pair in group]
        with track_files(paths, model.assembly, workers, decimals, [made[path] for path in paths]) as add:
            for region in ordered:
                for segments, values in impute_chunks(model, group, source[region.name], hardware):
                    if scale == "pval":
                        values = imputed_pval(values)
                    add(region.name, segments, values)
                    progress(sum(segment.n_blocks for segment in segments) * len(group))


def places(model: Model, regions: Sequence[str | Path]) -> list[Window]:
    """What is asked for, in regions of a model.

    Raises InputError for a place that the model has no whole factors of, and for two places of one name.
    """
    found = distinct(window for region in regions for window in model.windows(region))
    for source in {window.source for window in found}:
        model.rows(source)  # raises where the file is damaged
    return found


def distinct(windows: Iterable[Window]) -> list[Window]:
    """Each window once. Raises InputError for two places of one name."""
    found: dict[str, Window] = {}
    for window in windows:
        name = window.layout.name
        if found.setdefault(name, window) != window:
            raise InputError(f"two of the places are called {name}: give one of the BED files another name")
    return list(found.values())


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


def provenance(
    model: Model, files: Mapping[Pair, Path], windows: Sequence[Window], scale: str, decimals: int | None
) -> dict[Path, Made]:
    """What decides the content of each file: model, factors, places, track, scale and version (`utils.provenance`)."""
    regions = {}
    for window in windows:
        factors = fingerprint(model.path / f"{file_stem(window.source)}.safetensors")
        regions[window.layout.name] = f"{window.layout.checksum} {factors}"
    combined = "none" if model.alone else model.network.config.baseline
    common = {"model": model.shared_checksum[:16], "baseline": combined, "regions": regions}
    return {
        path: Made(made_of(cell, assay, path, scale, decimals) | common, model.path)
        for (cell, assay), path in files.items()
    }


def made_of(cell: str, assay: str, path: Path, scale: str, decimals: int | None) -> dict[str, Any]:
    """What a record says of any imputed track, whatever imputes it. An .npz has all decimals."""
    decimals = None if path.suffix == ".npz" else decimals
    return {"avocado": avocado.__version__, "cell": cell, "assay": assay, "scale": scale, "decimals": decimals}


def require_files(files: Sequence[Path], scale: str) -> None:
    """Raise InputError for a scale or a kind of file that cannot be written, and for two tracks in one file."""
    if scale not in SCALES:
        raise InputError(f"unknown scale '{scale}'; there is: {', '.join(SCALES)}")
    for path in files:
        if path.suffix not in FORMATS:
            raise InputError(f"{path}: unknown kind of file; name it .bw or .npz")
    if len(set(files)) < len(files):
        twice = next(path for path in files if list(files).count(path) > 1)
        raise InputError(
            f"several tracks would be written to {twice}: put {{cell}} and {{assay}} into the name; where their names "
            "differ only in / and _, or in what {cell} and {assay} share out, write them one at a time"
        )


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
