"""Is my data enough? Which assays of a new cell type are imputed better than average activity, from how many tracks.

Of a new cell type's own tracks each is left out in turn and imputed from 1, 2, 3, ... of the others, on blocks that
nothing was learned from. A table has a row for each: cell, assay, kind, tracks (how many were learned from), choices
(of that many tracks; mse is their mean), mse, mse_average, skill (1 − MSE / MSE of average activity), better (bool:
skill above 0).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from avocado.evaluation.scores import AVERAGE
from avocado.evaluation.trials import LEFT_OUT, MASKED, Imputed
from avocado.utils.terminal import counted

COLUMNS = ["cell", "assay", "kind", "tracks", "choices", "mse", "mse_average", "skill", "better"]
RELATIVES = 3  # tracks of an assay that it takes to say how alike they usually are


def verdict_table(
    pairs: Sequence[tuple[str, str]],
    imputed: Sequence[Imputed],
    signal: np.ndarray,
    average: np.ndarray,
    gates: Sequence[np.ndarray],
) -> pd.DataFrame:
    """The table of one new cell type or more.

    signal, average: of each pair at the judged bins (n_bins, n_pairs). gates: of each that is imputed.
    """
    rows = []
    for its, gate in zip(imputed, gates, strict=True):
        column, wanted = its.trial.column, signal[:, its.trial.column].astype(np.float64)
        cell, assay = pairs[column]
        mse, mse_average = (
            float(np.square(values - wanted).mean()) for values in (its.signal(gate), average[:, column])
        )
        rows.append((cell, assay, its.trial.kind, len(its.trial.used), mse, mse_average))
    table = pd.DataFrame(rows, columns=pd.Index(["cell", "assay", "kind", "tracks", "mse", "mse_average"]))
    keys = ["cell", "assay", "kind", "tracks"]
    found = table.groupby(keys, sort=False).agg(choices=("mse", "size"), mse=("mse", "mean"),
                                                mse_average=("mse_average", "first")).reset_index()  # fmt: skip
    found["skill"] = 1 - found["mse"] / found["mse_average"]
    found["better"] = found["skill"] > 0
    return found[COLUMNS]


def read_verdict(file: Path) -> pd.DataFrame:
    """A table that was written as CSV; a cell type may be called NA or 01."""
    names = ["cell", "assay", "kind"]
    empty = {column: [""] for column in COLUMNS if column not in names}
    return pd.read_csv(file, dtype=dict.fromkeys(names, str), keep_default_na=False, na_values=empty)


def format_verdict(table: pd.DataFrame, color: bool = False) -> str:
    """As aligned text: an assay in a row, average activity's MSE, and the model's by the number of tracks."""
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    sizes = sorted(set(table.loc[table["kind"] == LEFT_OUT, "tracks"]))
    titles = [f"from {size}" for size in sizes]
    for title in ("track", AVERAGE, *titles, MASKED):
        grid.add_column(title, justify="left" if title == "track" else "right", no_wrap=True)
    for (cell, assay), rows in table.groupby(["cell", "assay"], sort=False):
        by_size = {row.tracks: row for row in rows[rows["kind"] == LEFT_OUT].itertuples()}
        masked = next(rows[rows["kind"] == MASKED].itertuples(), None)
        cells = [by_size.get(size) for size in sizes] + [masked]
        first = rows.iloc[0]["mse_average"]
        grid.add_row(Text(f"{cell} {assay}"), Text(_number(first)), *(_marked(its) for its in cells))
    text = io.StringIO()
    console = Console(file=text, width=1000, force_terminal=color, color_system="standard" if color else None)
    console.print(grid)
    lines = ["MSE of arcsinh(−log10 p) on masked blocks, ▲ better than average activity, ▼ not better",
             "from n: the track was left out, and its cell type learned from n of its other tracks"]  # fmt: skip
    for line in lines:
        console.print(Text(f" {line}", style="dim"))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n")


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4f}"


def _marked(row):
    if row is None:
        return Text("")
    return Text(f"{'▲' if row.better else '▼'} {_number(row.mse)}", "green" if row.better else "red")


def sentences(table: pd.DataFrame) -> list[str]:
    """What the table says, in words: a summary of each cell type, and a sentence for each of its assays."""
    said = []
    for cell, rows in table.groupby("cell", sort=False):
        left_out = rows[rows["kind"] == LEFT_OUT]
        if left_out.empty:
            said.append(
                f"{cell}: with one track there is no other to impute and look up: how well it is imputed on masked "
                "blocks is all that is known, and not whether it is enough for other assays"
            )
            said += [_masked_sentence(row) for row in rows.itertuples()]
            continue
        most = int(left_out["tracks"].max())
        last = left_out[left_out["tracks"] == most]
        enough, short = (last.loc[last["better"] == its, "assay"].tolist() for its in (True, False))
        number = f"{most} tracks are" if most > 1 else "one track is"
        parts = [f"enough for {', '.join(enough)}"] * bool(enough) + [f"not for {', '.join(short)}"] * bool(short)
        said.append(
            f"{cell}: {number} {', '.join(parts)}" if enough else f"{cell}: {number} not enough for {', '.join(short)}"
        )
        said += [f"  {_assay_sentence(str(assay), its)}" for assay, its in left_out.groupby("assay", sort=False)]
    return said


def _assay_sentence(assay: str, rows: pd.DataFrame) -> str:
    rows = rows.sort_values("tracks")
    last = rows.iloc[-1]
    numbers = f"MSE {last['mse']:.4f} from {last['tracks']}, average activity {last['mse_average']:.4f}"
    if not last["better"]:
        others = f"all {last['tracks']} other tracks" if last["tracks"] > 1 else "the one other track"
        return f"{assay}: not better than average activity, even from {others} ({numbers})"
    first = next(n for number, n in enumerate(rows["tracks"].tolist()) if rows["better"].iloc[number:].all())
    return f"{assay}: better than average activity from {counted(first, 'track')} on ({numbers})"


def _masked_sentence(row) -> str:
    than = "better" if row.better else "not better"
    return (
        f"  {row.assay}: on masked blocks {than} than average activity (MSE {row.mse:.4f}, average activity "
        f"{row.mse_average:.4f})"
    )


def relatives(
    pairs: Sequence[tuple[str, str]], signal: np.ndarray, known: dict[str, tuple[list[str], np.ndarray]]
) -> pd.DataFrame:
    """How alike each new track is to those of its assay in known cell types, and these to each other.

    known: by assay, cell types and their tracks at the same bins (n_bins, n_cells). Columns: cell, assay, nearest,
    pearson (with it), lowest, highest (the same of each known track with its own nearest), far (pearson below lowest).
    An assay with under three known tracks has no row.
    """
    rows = []
    for number, (cell, assay) in enumerate(pairs):
        cells, tracks = known.get(assay, ([], np.empty((0, 0))))
        if len(cells) < RELATIVES:
            continue
        found = np.array(np.corrcoef(np.column_stack([signal[:, number], tracks]).astype(np.float64), rowvar=False))
        np.fill_diagonal(found, -np.inf)
        own, others = found[0, 1:], found[1:, 1:].max(axis=1)
        nearest = int(own.argmax())
        rows.append(
            (cell, assay, cells[nearest], own[nearest], others.min(), others.max(), bool(own[nearest] < others.min()))
        )
    return pd.DataFrame(rows, columns=pd.Index(["cell", "assay", "nearest", "pearson", "lowest", "highest", "far"]))


def far_sentences(table: pd.DataFrame) -> list[str]:
    """Names the cell types that are farther from all known ones, in most of their assays, than any of these is."""
    said = []
    for cell, rows in table.groupby("cell", sort=False):
        is_far = bool(rows["far"].mean() > 0.5)
        told = "; ".join(
            f"{row.assay} {row.pearson:.2f} with {row.nearest}, known ones {row.lowest:.2f} to {row.highest:.2f}"
            for row in rows[rows["far"] | (not is_far)].itertuples()
        )
        if is_far:
            said.append(
                f"{cell} is far from all known cell types (correlation with the nearest one: {told}): expect less"
            )
        else:
            said.append(f"{cell} is as near to a known cell type as these are to each other (correlation: {told})")
    return said
