"""Which parts of the model do imputed peaks come from (Avocado paper, Fig. 6 and S8)?

    python -m experiments.fig6_attribution model=runs/model/fold0/seed0 'peaks=peaks/{cell}-{assay}.narrowPeak.gz'

In the folder `out`:

    attribution.png    observed and imputed signal of one assay at a place, and what each part of the model adds there
    stratified.csv     mean attributions by the number of cell types with a peak, in cell types with one and without
    stratified.png     the same as a figure
    report.html        all of it
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import avocado  # noqa: F401  before torch, whose threads it has settings for
from avocado.cli import app
from avocado.config.values import as_list
from avocado.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from avocado.data.compendium import Pair
    from avocado.data.store import SignalStore
    from avocado.data.windows import Window
    from avocado.model.directory import Model

FAVOURITE = "H3K4me3"
BINS = 60_000  # of all tracks together that are attributed where blocks= does not say: half a minute of a core
FEWEST = 4  # blocks, of however many tracks
ROLES = {"train": "", "val": ", validation", "test": ", held out"}


def fig6(config: DictConfig) -> None:
    """Attribute at the place and in the drawn blocks, and write table, figures and report."""
    import torch

    from avocado.data.store import open_store
    from avocado.model.directory import load_model, store_of
    from avocado.plotting.latent import plot_stratified
    from avocado.report.report import Picture, Report, Table, write_report
    from experiments.cross_validation import save

    if config.threads:
        torch.set_num_threads(config.threads)
    model = load_model(config.model, open_store(config.store) if config.store else None, baseline=False)
    store, region, out = store_of(model), config.region or str(model.training.get("region")), Path(config.out)
    if model.rows(region) is None or store.region(region) != model.regions[region]:
        raise InputError(f"region {region} of store {store.path} is not the one that {model.path} has factors of")
    figure = at_place(config, model, store, region)
    save(figure, out / "attribution.png")
    tables, pictures = [], [Picture("What each part of the model adds at a place", figure)]
    if config.blocks != 0:
        table, caption = by_peaks(config, model, store, region)
        figure = plot_stratified(table, caption)
        save(table, out / "stratified.csv")
        save(figure, out / "stratified.png")
        tables.append(Table("Mean attribution by the number of cell types with a peak", table, caption))
        pictures.append(Picture("Mean attribution by the number of cell types with a peak", figure))
    about = {"model": str(model.path), "signal": str(store.path), "region": region, "reference": config.reference}
    date = time.strftime("%Y-%m-%d %H:%M")
    title = "Which parts of the model imputations come from"
    write_report(out / "report.html", Report(title, date, about, None, tables, figures=pictures))
    print(f"table, figures and report.html in {out}")


def at_place(config: DictConfig, model: Model, store: SignalStore, region: str) -> Figure:
    """One assay at one place: observed, imputed, and the five parts, in some cell types."""
    import numpy as np

    from avocado.latent.attribution import PARTS, attribute
    from avocado.plotting.latent import plot_attribution

    assay = config.assay or (FAVOURITE if FAVOURITE in model.assays else model.assays[0])
    measured = {cell for cell, its in zip(store.tracks["cell"], store.tracks["assay"], strict=True) if its == assay}
    window = _place(config, model, store, region, assay, sorted(measured))
    (segment,) = window.layout.segments
    observed = {cell: _observed(store, region, (cell, assay), window) for cell in sorted(measured)}
    cells = as_list(config.cells) or _different(observed)
    roles = dict(zip(zip(model.tracks["cell"], model.tracks["assay"], strict=True), model.tracks["role"], strict=True))
    columns = {}
    for cell in cells:
        found = list(attribute(model, cell, assay, window, config.reference))
        parts = np.concatenate([its.parts for its in found])
        rows = {"observed": observed[cell]} if cell in observed else {}
        rows["imputed"] = np.concatenate([its.signal for its in found])
        rows |= dict(zip(PARTS, parts.T, strict=True))
        role = {"train": "", "val": ", validation", "test": ", held out"}.get(
            roles.get((cell, assay), ""), ", never measured"
        )
        columns[f"{cell} {assay}{role}"] = rows
    caption = (
        f"Integrated gradients from {config.reference}, arcsinh(−log10 p), {store.assembly.name}: the five parts sum "
        "up to the imputation (by the factorization alone) less that of the reference, to within 1 %."
    )
    return plot_attribution(columns, segment.chrom, segment.start * 25, caption)


def by_peaks(config: DictConfig, model: Model, store: SignalStore, region: str) -> tuple[pd.DataFrame, str]:
    """Mean attributions of all measured tracks in blocks that are drawn of the region, and a caption."""
    import numpy as np

    from avocado.data.compendium import pairs_in
    from avocado.data.genome import BLOCK_BINS
    from avocado.data.windows import Window
    from avocado.evaluation.annotations import read_peaks
    from avocado.evaluation.attributed import drawn_blocks, stratified
    from avocado.evaluation.variable_loci import CALLED, PEAK_SIGNAL, THRESHOLDED
    from avocado.inference.track_files import track_file
    from avocado.latent.attribution import attribute, genome_means
    from avocado.utils.progress import shown

    pairs = pairs_in(model.tracks)
    files = {} if config.peaks is None else {pair: track_file(config.peaks, *pair) for pair in pairs}
    if files:
        pairs = [pair for pair in pairs if files[pair].is_file()]
    if not pairs:
        raise InputError(f"peaks={config.peaks}: there is no such file for any of the model's tracks")
    n_blocks = max(FEWEST, BINS // BLOCK_BINS // len(pairs)) if config.blocks is None else config.blocks
    drawn = drawn_blocks(model.regions[region], n_blocks, config.seed)
    window = Window(region, drawn)
    peaks: dict[Pair, np.ndarray] = {
        pair: read_peaks(files[pair], store.assembly, drawn) if files
        else _observed(store, region, pair, window) > PEAK_SIGNAL
        for pair in pairs
    }  # fmt: skip
    source = CALLED if files else THRESHOLDED
    means = genome_means(model, region) if config.reference == "mean" else None  # once for all tracks

    def attributed() -> Iterator[tuple[Pair, np.ndarray]]:
        for pair in peaks:
            found = [its.parts for its in attribute(model, *pair, window, config.reference, means)]
            yield pair, np.concatenate(found)

    begun = time.monotonic()
    table = stratified(shown(attributed(), "attribution", len(peaks), config.progress), peaks)
    seconds = time.monotonic() - begun
    print(
        f"{len(peaks)} tracks × {drawn.n_bins:,} bins: {len(peaks) * drawn.n_bins / seconds:,.0f} attributions a second"
    )
    return table, (
        f"Peaks: {source}, of {len(peaks)} tracks. Means over {drawn.n_bins:,} bins of {region}, drawn with seed "
        f"{config.seed}. Integrated gradients from {config.reference}."
    )


def _observed(store: SignalStore, region: str, pair: Pair, window: Window) -> np.ndarray:
    """Arcsinh signal of a track in the bins of a window."""
    import numpy as np

    from avocado.data.windows import chosen_bins

    signal = store.signal(region).reshape(-1, len(store.tracks))
    parts = chosen_bins(store.region(region), window.layout)
    column = store.track_index(*pair)
    return np.concatenate([signal[first : first + n, column] for first, n, _ in parts]).astype(np.float32)


def _place(
    config: DictConfig, model: Model, store: SignalStore, region: str, assay: str, cells: list[str]
) -> Window:  # fmt: skip
    """The place that was typed, or where the observed tracks of the assay vary most."""
    import numpy as np

    from avocado.data.genome import BIN_SIZE, Region
    from avocado.data.windows import Window, windows
    from avocado.plotting.plots import peak_window

    if config.place is not None:
        (found,) = windows({region: model.regions[region]}, model.assembly, config.place)
        if len(found.layout.segments) > 1:
            raise InputError(f"place={config.place}: give one place, chr20:1,000,000-1,020,000")
        return found
    if not cells:
        raise InputError(
            f"{assay} has no track in {store.path} by which a place could be chosen: give place= and cells="
        )
    longest = max(model.regions[region].segments, key=lambda its: its.n_bins)
    whole = Window(region, Region("longest", (longest,)))
    signal = np.stack([_observed(store, region, (cell, assay), whole) for cell in cells], axis=1)
    # what differs between cell types says most of their parts
    chosen = peak_window(signal - signal.mean(axis=1, keepdims=True) * (len(cells) > 1), config.width // BIN_SIZE)
    return Window(region, whole.layout.part(chosen))


def _different(observed: dict[str, np.ndarray]) -> list[str]:
    """Of the cell types that were measured, the two whose signal differs most, the higher one first."""
    import numpy as np

    cells = list(observed)
    if len(cells) < 2:
        return cells
    signal = np.stack([observed[cell] for cell in cells]).astype(float)
    squares = ((signal[:, None] - signal[None]) ** 2).mean(axis=2)
    pair = np.unravel_index(squares.argmax(), squares.shape)
    return sorted((cells[int(number)] for number in pair), key=lambda cell: -observed[cell].mean())


if __name__ == "__main__":
    sys.exit(app.run("fig6_attribution", fig6, sys.argv[1:]))
