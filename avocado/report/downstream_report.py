"""What an evaluation of downstream tasks leaves on disk: tables, a figure, and the page that holds all of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from avocado.downstream.evaluation import RANDOM, Scored, compare
from avocado.downstream.features import CODE, FACTORS, STATES
from avocado.plotting.downstream import plot_downstream
from avocado.plotting.plots import save_png
from avocado.report.report import Picture, Report, Table, write_report
from avocado.utils.files import replacing

FEW = 1_000  # loci, below which the page says that they are few
READ = (
    "score: mean over folds, se: its standard error. all_loci: the score of all loci together, with a 95 % bootstrap "
    "interval over what is held out whole. Only what is held out whole says what is known of other places: near loci "
    "resemble each other, so that among random loci place alone can be enough."
)
TESTED = (
    "Two-sided paired tests over folds and cell types, adjusted by Holm's method for all rows of the table. Folds "
    "share training loci, which makes p too small."
)


def write_results(
    out: Path, scored: Scored, about: Mapping[str, str], title: str, measure: str = "average precision"
) -> list[Path]:
    """Write scores.csv, folds.csv, comparisons.csv, downstream.png and report.html into a folder; returns their paths.

    about: what was evaluated on what, for the head of the page. The references of the tests are the latent factors, of
    the genome and of the cell type, and its code.
    """
    summary = scored.summary
    references = [
        name for name in dict.fromkeys(summary["features"]) if name.endswith(FACTORS) or name in (STATES, CODE)
    ]
    comparisons = compare(scored.folds, *references)
    tables = {"scores.csv": summary, "folds.csv": scored.folds, "comparisons.csv": comparisons}
    for name, table in tables.items():
        with replacing(out / name) as temporary:
            table.to_csv(temporary, index=False)
    figure = plot_downstream(summary, measure)
    save_png(figure, out / "downstream.png")
    shown = [
        Table(
            "Scores", summary, f"{measure}. {READ}", {"score": "higher", "all_loci": "higher"},
            ("task", "cell", "held_out"),
        ),
        *([Table(f"Compared with {' and '.join(references)}", comparisons, TESTED)] if len(comparisons) else []),
    ]  # fmt: skip
    n = summary.groupby("task", sort=False)["n_loci"].max()
    few = [f"{task} ({count:,})" for task, count in n.items() if count < FEW]
    verdict = f"Few loci: {', '.join(few)}. Differences within the intervals say nothing." if few else ""
    report = Report(
        title, time.strftime("%Y-%m-%d %H:%M"), about, None, shown, verdict=verdict,
        figures=[Picture("Scores in every cell type", figure, "Bars: mean over folds; lines: base rate.")],
    )  # fmt: skip
    write_report(out / "report.html", report)
    return [out / name for name in (*tables, "downstream.png", "report.html")]


def as_text(summary: pd.DataFrame) -> str:
    """Scores of random loci and of what is held out whole, side by side, for the terminal."""
    lines = []
    for (task, cell), part in summary.groupby(["task", "cell"], sort=False):
        plans = list(dict.fromkeys(part["held_out"]))
        titles = [plan if plan == RANDOM else f"{plan} held out" for plan in plans]
        rows = [
            (name, *(_score(row) for _, row in its.set_index("held_out").reindex(plans).iterrows()))
            for name, its in part.groupby("features", sort=False)
        ]
        width = max(len(str(name)) for name, *_ in rows)
        first = part.iloc[0]
        lines.append(f"{f'{task} {cell}'.strip()}: {first['n_loci']:,} loci, mean label {first['base_rate']:.3g}")
        for name, *scores in [("", *titles), *rows]:
            lines.append(f"  {name:<{width}}" + "".join(f"  {text:<39}" for text in scores).rstrip())
    return "\n".join(lines)


def _score(row: pd.Series) -> str:
    """'0.468 ± 0.025; all 0.43 (0.35 to 0.52)'."""
    if pd.isna(row["score"]):
        return "undefined"
    interval = "" if pd.isna(row["low"]) else f" ({row['low']:.2f} to {row['high']:.2f})"
    return f"{row['score']:.3f} ± {row['se']:.3f}; all {row['all_loci']:.2f}{interval}"
