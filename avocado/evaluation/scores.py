"""Tables of scores: every track, every method, and always average activity beside them.

A score says little by itself: average activity, which knows nothing about the cell type, is hard to beat on many
tracks. So a table without it is refused, here and wherever a table is printed or written.

The table has the columns cell, assay, method, bins (how many were scored), one for each measure, and

    mse_raw     mean squared error of −log10 p as it is written to files, where all others are of its arcsinh: a few
                strong peaks decide it (the ENCODE Imputation Challenge scores so)
    pearson_raw Pearson correlation of the same
    mse_1avg    mean squared error over the top 1 % of average activity's bins, the same bins for every method
    skill       1 − MSE / MSE of average activity on the same track: 1 is perfect, 0 as good as average activity,
                below 0 worse than it

The last rows, cell `mean` and assay `all`, hold each method's plain mean over the tracks; their skill is computed from
the mean MSEs.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from avocado.data.compendium import Pair, pairs_in
from avocado.errors import InputError
from avocado.evaluation.metrics import LOCI_METRICS, AnnotationWindows, mse, mse_1of, pearson, score_track
from avocado.imputers.average import AVERAGE
from avocado.model.scales import imputed_pval, pval
from avocado.utils.files import replacing
from avocado.utils.terminal import wrapped

MEAN = ("mean", "all")  # cell and assay of the rows that hold means over tracks
KEYS = ["cell", "assay", "method"]
TITLES = {"mse": "MSE", "mse_1obs": "MSE1obs", "mse_1imp": "MSE1imp", "pearson": "Pearson", "spearman": "Spearman"}
RAW_TITLES = {"mse_raw": "raw MSE", "pearson_raw": "raw Pearson"}  # of −log10 p, where all others are of its arcsinh
LOCI_TITLES = {"mse_prom": "MSEProm", "mse_gene": "MSEGene", "mse_enh": "MSEEnh"}
OTHER_TITLES = {  # of what is in files and reports but not in printed tables
    "mse_1avg": "MSE1avg",
    "mse_var": "MSEvar",
    "match1": "Match1",
    "catch1obs": "Catch1obs",
    "catch1imp": "Catch1imp",
    "auc_obs1": "AucObs1",
    "auc_imp1": "AucImp1",
    "catch_peak_obs": "CatchPeakObs",
}
EXPLAINED = (  # below a printed table
    f"skill = 1 − MSE / MSE of {AVERAGE}: ▲ better, ▼ not better than it",
    "MSE1obs, MSE1imp = MSE in the top 1 % of observed bins (are peaks found?), of imputed bins (are they real?)",
    "raw = of −log10 p; all others of arcsinh(−log10 p)",
)
PRINTED = ("mse", "mse_1obs", "mse_1imp", *LOCI_TITLES, "pearson", "spearman", *RAW_TITLES)  # from left to right
# these go first where a terminal is too narrow
SPARED = ("pearson_raw", "mse_raw", "spearman", "mse_1imp", "mse_1obs", *reversed(LOCI_TITLES), "pearson")
QUANTILES = (0.5, 0.75, 0.9, 0.99)  # of cell-type variability, where strata are cut


def score_table(
    observed: Mapping[Pair, np.ndarray],
    methods: Mapping[str, Mapping[Pair, np.ndarray]],
    loci: AnnotationWindows | Mapping[Pair, AnnotationWindows] | None = None,
    files: Collection[str] = (),
) -> pd.DataFrame:
    """Scores of every method on every observed track, and their means.

    `observed` and each of the `methods` map (cell, assay) to arcsinh signal (n_bins,). The methods must contain
    'average activity' (ValueError) and have imputed every observed track (InputError). `loci`: places for the measures
    that need them, of all tracks or of each. `files`: methods whose signal was read from files, in which −log10 p is as
    it was written. What is undefined for a track is NaN, and so is then the method's mean: it is not computed from the
    easier rest.
    """
    rows: list[dict[str, object]] = []
    for track, signal, imputations in _each(observed, methods):
        places = loci[track] if isinstance(loci, Mapping) else loci or AnnotationWindows()
        kept = slice(None) if places.kept is None else places.kept
        observed_raw = pval(signal)
        for method, imputed in imputations.items():
            try:
                scores = score_track(signal, imputed, places)
                written = (pval if method in files else imputed_pval)(imputed[kept])
                scores["mse_raw"] = mse(observed_raw[kept], written)
                scores["pearson_raw"] = pearson(observed_raw[kept], written)
                scores["mse_1avg"] = mse_1of(signal[kept], imputed[kept], imputations[AVERAGE][kept])
            except ValueError as error:
                raise InputError(f"cannot score {method} on {' '.join(track)}: {error}") from None
            rows.append({**_named(track, method), "bins": len(signal[kept]), **scores})
    return _with_means(pd.DataFrame(rows))


def combine_regions(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table out of `score_table`s of several disjoint regions, chromosomes as a rule, of the same tracks.

    Every measure is averaged over regions with weights proportional to their bins, per track and method, as in the
    Avocado paper: for MSE this is the MSE over all bins together; for the others it is not, as each chromosome has its
    own top 1 %, its own ranks, and its own share of promoters. (Ernst and Kellis, and the ENCODE Imputation Challenge,
    join chromosomes before they score.) A measure of places is averaged over the regions that have such places; any
    other that is undefined in one region is undefined. Skill and means over tracks are computed from the result.
    Raises InputError for tables of different tracks, methods or measures.
    """
    parts = [track_rows(table).set_index(KEYS).drop(columns="skill") for table in tables]
    first = parts[0]
    for part in parts:
        if set(part.index) != set(first.index) or set(part.columns) != set(first.columns):
            raise InputError("scores of regions with different tracks, methods or measures cannot be combined")
    measures = [column for column in first.columns if column != "bins"]
    values = np.stack([part.loc[first.index, measures].to_numpy(dtype=float) for part in parts])
    bins = np.stack([part.loc[first.index, ["bins"]].to_numpy() for part in parts])
    absent = np.isnan(values) & np.isin(measures, list(LOCI_METRICS))
    weights = np.where(absent, 0, bins)
    total = weights.sum(axis=0)
    means = np.where(absent, 0, weights * values).sum(axis=0) / np.where(total > 0, total, np.nan)
    table = first.index.to_frame(index=False).assign(bins=bins.sum(axis=0)[:, 0])
    return _with_means(pd.concat([table, pd.DataFrame(means, columns=pd.Index(measures))], axis=1))


def stratified(
    observed: Mapping[Pair, np.ndarray],
    methods: Mapping[str, Mapping[Pair, np.ndarray]],
    variability: Mapping[Pair, np.ndarray],
    quantiles: Sequence[float] = QUANTILES,
) -> pd.DataFrame:
    """Scores within strata of bins by how much their signal differs between cell types.

    Average activity is strong where cell types agree and has nothing to say where they differ, so a method that only
    remembers it fails in the strata of high variability (Schreiber et al. 2020, "A pitfall for machine learning
    methods aiming to predict across cell types", on partitioning loci).

    `variability` (n_bins,) of each track is the standard deviation of the assay over its training cell types. Bins
    where it is 0 are a stratum of their own; the others are cut at the `quantiles` of their variability, ties staying
    together. Columns: cell, assay, method, stratum ('0', '0–50 %', ...), variability (its mean there), bins, mse,
    pearson, skill; the rows `mean`, `all` hold plain means over the tracks that have the stratum. Average activity is
    required; an empty stratum has no row.
    """
    edges = [0.0, *sorted(quantiles), 1.0]
    names = ["0", *(f"{100 * low:g}–{100 * high:g} %" for low, high in pairwise(edges))]
    rows: list[dict[str, object]] = []
    for track, signal, imputations in _each(observed, methods):
        spread = np.asarray(variability[track], dtype=np.float64)
        if spread.shape != signal.shape or not (spread >= 0).all():
            raise ValueError(f"expected {len(signal):,} standard deviations for {' '.join(track)}, got {spread.shape}")
        varied = spread[spread > 0]
        cuts = np.quantile(varied, edges[1:-1]) if len(varied) else np.zeros(len(edges) - 2)
        stratum = np.where(spread > 0, 1 + np.searchsorted(cuts, spread, side="left"), 0)
        for number in np.unique(stratum):
            chosen = stratum == number
            for method, imputed in imputations.items():
                rows.append(
                    {
                        **_named(track, method),
                        "stratum": names[number],
                        "variability": spread[chosen].mean(),
                        "bins": np.count_nonzero(chosen),
                        "mse": mse(signal[chosen], imputed[chosen]),
                        "pearson": pearson(signal[chosen], imputed[chosen]),
                    }
                )
    tracks = pd.DataFrame(rows)
    parts = [_with_means(part) for _, part in tracks.groupby("stratum", sort=False)]
    table = pd.concat(parts, ignore_index=True)
    order = [*dict.fromkeys(zip(tracks["cell"], tracks["assay"], strict=True)), MEAN]
    rank = [
        (order.index(pair), names.index(name)) for pair, name in zip(pairs_in(table), table["stratum"], strict=True)
    ]
    return table.iloc[sorted(range(len(table)), key=rank.__getitem__)].reset_index(drop=True)


def skill(mse: np.ndarray, mse_average: np.ndarray) -> np.ndarray:
    """1 − MSE / MSE of average activity; 0 where both are 0, −inf where only average activity is perfect."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mse == mse_average, 0.0, 1 - mse / mse_average)


def track_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of single tracks, without the means."""
    return table[~_is_mean(table)]


def mean_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of means over tracks, one per method."""
    return table[_is_mean(table)]


def format_scores(table: pd.DataFrame, color: bool = False, width: int | None = None) -> str:
    """The main measures as aligned text, a block of lines per track, average activity first, the means at the end.

    The skill of every other method is marked ▲ where it beats average activity by MSE and ▼ where it does not.
    With `color`, for a terminal, these marks are also coloured and the means bold. width: columns of the terminal; of
    measures that have no room in it only the names are given.
    """
    require_average(table)
    titles = TITLES | RAW_TITLES | LOCI_TITLES
    measures = [name for name in PRINTED if name in table]
    text = io.StringIO()
    console = Console(file=text, width=1000, force_terminal=color, color_system="standard" if color else None)
    grid = _grid(table, measures, titles)
    for name in SPARED:
        if width is None or console.measure(grid).maximum <= width:
            break
        if name in measures:
            measures.remove(name)
            grid = _grid(table, measures, titles)
    console.print(grid)
    left_out = [titles[name] for name in PRINTED if name in table and name not in measures]
    too_narrow = [f"no room for {', '.join(left_out)}: a wider terminal, or scores.csv, has them"] if left_out else []
    for line in (*EXPLAINED, *too_narrow):
        console.print(Text(wrapped(f" {line}", width, 3), style="dim"))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


def _grid(table: pd.DataFrame, measures: Sequence[str], titles: Mapping[str, str]):
    """A rich table of these measures, with a block for each track."""
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("track", "method"):
        grid.add_column(name, no_wrap=True)
    for title in (*(titles[name] for name in measures), "skill"):
        grid.add_column(title, justify="right", no_wrap=True)
    blocks = [*track_rows(table).groupby(["cell", "assay"], sort=False), (MEAN, mean_rows(table))]
    n_tracks = len(blocks) - 1
    for (cell, assay), block in blocks:
        is_mean = (cell, assay) == MEAN
        label = f"mean of {n_tracks} track{'s' if n_tracks > 1 else ''}" if is_mean else f"{cell} {assay}"
        for _, row in block.sort_values("method", key=lambda m: m != AVERAGE, kind="stable").iterrows():
            mark, style = "", ""
            if row["method"] != AVERAGE:
                better = row["skill"] > 0
                mark, style = f"{'▲' if better else '▼'} {row['skill']:+.3f}", "green" if better else "red"
            # Text and not str, in which rich would read square brackets as markup
            cells = [label, str(row["method"]), *(f"{row[name]:.4f}" for name in measures)]
            grid.add_row(*map(Text, cells), Text(mark, style), style="bold" if is_mean else None)
            label = ""
        grid.add_section()
    return grid


def write_scores(table: pd.DataFrame, directory: Path) -> None:
    """Write `scores.csv` and `scores.json` (a list of rows, null for NaN) into a directory, each of them whole."""
    require_average(table)
    with replacing(directory / "scores.csv") as temporary:
        table.to_csv(temporary, index=False)
    rows = [
        {name: None if isinstance(v, float) and not np.isfinite(v) else v for name, v in row.items()}
        for row in table.to_dict(orient="records")
    ]
    with replacing(directory / "scores.json") as temporary:
        temporary.write_text(json.dumps(rows, indent=1))


def read_scores(directory: Path) -> pd.DataFrame:
    """The table that `write_scores` wrote; a cell type may be called NA or 01."""
    file = directory / "scores.csv"
    empty = {column: [""] for column in pd.read_csv(file, nrows=0).columns if column not in KEYS}
    return pd.read_csv(file, dtype=dict.fromkeys(KEYS, str), keep_default_na=False, na_values=empty)


def require_average(table: pd.DataFrame) -> None:
    """Raise ValueError for a table in which some track, or the mean, lacks average activity."""
    beside = set(pairs_in(_of(table, AVERAGE)))
    for cell, assay in pairs_in(table):
        if (cell, assay) not in beside:
            raise ValueError(f"scores of {cell} {assay} lack '{AVERAGE}', which must stand beside every score")
    if not beside:
        raise ValueError("an empty table of scores")


def _each(
    observed: Mapping[Pair, np.ndarray], methods: Mapping[str, Mapping[Pair, np.ndarray]]
) -> Iterator[tuple[Pair, np.ndarray, Mapping[str, np.ndarray]]]:
    """Every track with its observed signal and what each method, average activity among them, imputed for it."""
    if AVERAGE not in methods:
        raise ValueError(f"scores must include '{AVERAGE}'; got: {', '.join(methods) or 'no methods'}")
    if not observed:
        raise InputError("no tracks to score: hold some out with fold=0 or hold_out=['CELL ASSAY']")
    for track in observed:
        for method, imputed in methods.items():
            if track not in imputed:
                raise InputError(
                    f"{method} has not imputed {' '.join(track)}: every method must impute every scored track"
                )
        yield track, observed[track], {method: imputed[track] for method, imputed in methods.items()}


def _with_means(tracks: pd.DataFrame) -> pd.DataFrame:
    """The rows of tracks, rows of their means below them, and the skill of both."""
    numbers = tracks.columns.difference([*KEYS, "stratum"], sort=False)
    means = [
        {**rows.iloc[0], **_named(MEAN, str(method)), **rows[numbers].mean(skipna=False)}
        for method, rows in tracks.groupby("method", sort=False)
    ]
    table = pd.concat([tracks, pd.DataFrame(means)], ignore_index=True)
    table["bins"] = table["bins"].round().astype(int)
    reference = _of(table, AVERAGE).set_index(["cell", "assay"])["mse"]
    table["skill"] = skill(table["mse"].to_numpy(), reference.loc[pairs_in(table)].to_numpy())
    return table


def _named(track: Pair, method: str) -> dict[str, object]:
    return {"cell": track[0], "assay": track[1], "method": method}


def _of(table: pd.DataFrame, method: str) -> pd.DataFrame:
    return table[table["method"] == method]


def _is_mean(table: pd.DataFrame) -> pd.Series:
    return (table["cell"] == MEAN[0]) & (table["assay"] == MEAN[1])
