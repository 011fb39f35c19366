"""Tables of scores: every track, every method, and always average activity beside them.

A score says little by itself: average activity, which knows nothing about the cell type, is hard to beat on many
tracks. So a table without it is refused, here and wherever a table is printed or written.

The table has the columns cell, assay, method, one for each measure, and skill = 1 − MSE / MSE of average activity on
the same track: 1 is perfect, 0 as good as average activity, below 0 worse than it. The last rows, cell `mean` and
assay `all`, hold each method's plain mean over the tracks; their skill is computed from the mean MSEs.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from avocado.errors import InputError
from avocado.evaluation.metrics import METRICS, score_track
from avocado.files import replacing

AVERAGE = "average activity"
MEAN = ("mean", "all")  # cell and assay of the rows that hold means over tracks
TITLES = {"mse": "MSE", "mse_1obs": "MSE1obs", "mse_1imp": "MSE1imp", "pearson": "Pearson", "spearman": "Spearman"}

Track = tuple[str, str]  # cell, assay


def score_table(
    observed: Mapping[Track, np.ndarray], methods: Mapping[str, Mapping[Track, np.ndarray]]
) -> pd.DataFrame:
    """Scores of every method on every observed track, and their means.

    `observed` and each of the `methods` map (cell, assay) to arcsinh signal (n_bins,). The methods must contain
    'average activity' (ValueError) and have imputed every observed track (InputError). An undefined correlation is
    NaN, and so is then the method's mean: it is not computed from the easier rest.
    """
    if AVERAGE not in methods:
        raise ValueError(f"scores must include '{AVERAGE}'; got: {', '.join(methods) or 'no methods'}")
    if not observed:
        raise InputError("no tracks to score: hold some out with fold=0 or hold_out=['CELL ASSAY']")
    rows: list[dict[str, object]] = []
    for (cell, assay), signal in observed.items():
        for method, imputed in methods.items():
            if (cell, assay) not in imputed:
                raise InputError(
                    f"{method} has not imputed {cell} {assay}: every method must impute every scored track"
                )
            try:
                scores = score_track(signal, imputed[cell, assay])
            except ValueError as error:
                raise InputError(f"cannot score {method} on {cell} {assay}: {error}") from None
            rows.append({"cell": cell, "assay": assay, "method": method, **scores})
    tracks = pd.DataFrame(rows)
    means = pd.DataFrame(
        [
            {
                "cell": MEAN[0],
                "assay": MEAN[1],
                "method": method,
                **_of(tracks, method)[list(METRICS)].mean(skipna=False),
            }
            for method in methods
        ]
    )
    table = pd.concat([tracks, means], ignore_index=True)
    reference = _of(table, AVERAGE).set_index(["cell", "assay"])["mse"]
    table["skill"] = skill(table["mse"].to_numpy(), reference.loc[_pairs(table)].to_numpy())
    return table


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


def format_scores(table: pd.DataFrame, color: bool = False) -> str:
    """The table as aligned text, a block of lines per track with average activity first, the means at the end.

    The skill of every other method is marked ▲ where it beats average activity by MSE and ▼ where it does not.
    With `color`, for a terminal, these marks are also coloured and the means bold.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    require_average(table)
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("track", "method"):
        grid.add_column(name, no_wrap=True)
    for title in (*TITLES.values(), "skill"):
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
            cells = [label, str(row["method"]), *(f"{row[name]:.4f}" for name in TITLES)]
            grid.add_row(*map(Text, cells), Text(mark, style), style="bold" if is_mean else None)
            label = ""
        grid.add_section()
    text = io.StringIO()
    console = Console(file=text, width=1000, force_terminal=color, color_system="standard" if color else None)
    console.print(grid)
    console.print(Text(f" skill = 1 − MSE / MSE of {AVERAGE}: ▲ better, ▼ not better than it", style="dim"))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


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
    names = {"cell": str, "assay": str, "method": str}
    empty = {measure: [""] for measure in (*METRICS, "skill")}
    return pd.read_csv(directory / "scores.csv", dtype=names, keep_default_na=False, na_values=empty)


def require_average(table: pd.DataFrame) -> None:
    """Raise ValueError for a table in which some track, or the mean, lacks average activity."""
    beside = set(_pairs(_of(table, AVERAGE)))
    for cell, assay in _pairs(table):
        if (cell, assay) not in beside:
            raise ValueError(f"scores of {cell} {assay} lack '{AVERAGE}', which must stand beside every score")
    if not beside:
        raise ValueError("an empty table of scores")


def _of(table: pd.DataFrame, method: str) -> pd.DataFrame:
    return table[table["method"] == method]


def _pairs(table: pd.DataFrame) -> list[Track]:
    return list(zip(table["cell"], table["assay"], strict=True))


def _is_mean(table: pd.DataFrame) -> pd.Series:
    return (table["cell"] == MEAN[0]) & (table["assay"] == MEAN[1])
