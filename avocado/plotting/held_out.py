"""Pictures of held-out tracks: observed, and what models and other methods impute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from avocado.data.compendium import Pair
from avocado.data.genome import BIN_SIZE, Region
from avocado.data.store import SignalStore
from avocado.data.windows import Window
from avocado.evaluation.held_out import MODEL, imputers_of, require_same_layout
from avocado.evaluation.scores import AVERAGE
from avocado.imputers.protocol import Imputer, predict_window
from avocado.model.directory import Model
from avocado.plotting.plots import peak_window, plot_tracks
from avocado.utils.hardware import Hardware

SHOWN = 3  # tracks of a picture
LINEAGE = "lineage"  # column of a compendium that says which cell types are related


def picture(
    model: Model,
    store: SignalStore,
    region: str,
    tracks: Sequence[Pair],
    hardware: Hardware | None = None,
    width: int = 100_000,
    place: tuple[str, int, int] | None = None,
) -> Figure:
    """Observed, imputed and average activity of up to three tracks, over `width` bp with peaks or over `place`.

    place: chromosome, start, end in bp.
    """
    require_same_layout(model, store, region)
    both = imputers_of(model, store, region, hardware)
    return draw(store, region, tracks, {name: both[name] for name in (MODEL, AVERAGE)}, width, place)


def draw(
    store: SignalStore,
    region: str,
    tracks: Sequence[Pair],
    imputers: Mapping[str, Imputer],
    width: int = 100_000,
    place: tuple[str, int, int] | None = None,
) -> Figure:
    """Observed and imputed signal of up to three tracks, over `width` bp with peaks or over `place`.

    imputers: fitted, by the name of the method, in the order of the rows. place: chromosome, start, end in bp. Of more
    tracks those of `different_tracks` are drawn.
    """
    chosen = different_tracks(store, tracks)
    observed = store.read_tracks([store.track_index(*track) for track in chosen], region)
    layout = store.region(region)
    bins = layout.locate(*place) if place else _peaks(layout, observed, width // BIN_SIZE)
    window = Window(region, layout.part(bins))
    (segment,) = window.layout.segments
    chrom, start = segment.chrom, segment.start * BIN_SIZE
    imputed = {name: predict_window(imputer, chosen, window, layout) for name, imputer in imputers.items()}
    rows = {
        _label(store, *track): {
            "observed": observed[bins, column],
            **{name: values[:, column] for name, values in imputed.items()},
        }
        for column, track in enumerate(chosen)
    }
    where = f"{chrom}:{start:,}–{start + (bins.stop - bins.start) * BIN_SIZE:,} ({store.assembly.name})"
    return plot_tracks(rows, chrom, start, title=f"Held-out tracks (not trained on), {where}")


def different_tracks(store: SignalStore, tracks: Sequence[Pair], n: int = SHOWN) -> list[Pair]:
    """Up to n of the tracks that have as little in common as can be: lineage, then cell type, then assay.

    Lineages are those of a column LINEAGE in the store's table, where it has one.
    """
    kin = column_groups(store, "cell", LINEAGE) or {}
    traits = {track: (kin.get(track[0]), *track) for track in tracks}
    chosen: list[Pair] = []
    while len(chosen) < min(n, len(traits)):
        rest = [track for track in traits if track not in chosen]
        # how many of the chosen ones share each trait
        shared = {its: [sum(traits[c][i] == traits[its][i] for c in chosen) for i in range(3)] for its in rest}
        chosen.append(min(rest, key=shared.__getitem__))
    return chosen


def column_groups(store: SignalStore, kind: str, column: str) -> dict[str, str] | None:
    """A column of the store's table by 'cell' or by 'assay'.

    None where there is no such column, or where it differs between the tracks of one cell type or assay.
    """
    if column not in store.tracks or column == kind:
        return None
    groups = store.tracks.groupby(kind, sort=False)[column]
    if not (groups.nunique(dropna=False) == 1).all():
        return None
    return {str(name): str(group) for name, group in groups.first().items()}


def _label(store: SignalStore, cell: str, assay: str) -> str:
    lineage = (column_groups(store, "cell", LINEAGE) or {}).get(cell)
    return f"cell type {cell}{f' ({LINEAGE} {lineage})' if lineage else ''}, assay {assay}"


def _peaks(layout: Region, observed: np.ndarray, width: int) -> slice:
    """The most telling window of any one segment."""
    best, highest = slice(0, min(width, layout.n_bins)), -1.0
    for segment, rank, _ in layout.walk():
        signal = observed[rank : rank + segment.n_bins]
        window = peak_window(signal, min(width, segment.n_bins))
        spread = float(signal[window].std(axis=0).mean())
        if spread > highest:
            best, highest = slice(rank + window.start, rank + window.stop), spread
    return best
