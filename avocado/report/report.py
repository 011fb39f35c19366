"""The report of an evaluation: one HTML file that opens anywhere and loads nothing from elsewhere.

It holds the mean scores with average activity first, the scores by assay and by track, further tables, the loci where
methods differ most as a small genome browser, and pictures. Tables sort by a click on a column and download as CSV.
"""

from __future__ import annotations

import base64
import io
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from avocado import __version__
from avocado.data.genome import BIN_SIZE
from avocado.evaluation.metrics import is_higher_better
from avocado.evaluation.scores import (
    AVERAGE,
    KEYS,
    LOCI_TITLES,
    OTHER_TITLES,
    RAW_TITLES,
    TITLES,
    mean_rows,
    require_average,
    skill,
    track_rows,
)
from avocado.plotting.style import DARK_PAPER, PAPER, SHAPES, colors_of, markers_of, on_dark
from avocado.report.panels import OBSERVED, Locus
from avocado.utils.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Better = Literal["higher", "lower"]
MEASURES = TITLES | RAW_TITLES | LOCI_TITLES | OTHER_TITLES
MEANINGS = {
    "mse": "mean squared error over all bins",
    "skill": f"1 − MSE / MSE of {AVERAGE}: 0 is as good as it, 1 is perfect, below 0 is worse than it",
    "mse_raw": "MSE of −log10 p itself, where the strongest peaks count for nearly all",
    "pearson_raw": "correlation of −log10 p itself",
    "mse_1obs": "MSE in the 1 % of bins in which the observed signal is highest: peaks that are missed",
    "mse_1imp": "MSE in the 1 % of bins in which the imputed signal is highest: peaks that are not there",
    "mse_1avg": f"MSE in the 1 % of bins in which {AVERAGE} is highest: peaks that most cell types share",
    "mse_var": "MSE weighted by how much the assay varies between the training cell types",
    "mse_prom": "MSE in promoters",
    "mse_gene": "MSE in gene bodies",
    "mse_enh": "MSE in enhancers",
    "pearson": "correlation of observed and imputed signal; the highest peaks weigh most",
    "spearman": "correlation of their ranks; the many low bins weigh most",
    "match1": "percent of the highest 1 % of observed bins that is also in the highest 1 % of imputed ones",
    "catch1obs": "percent of the highest 1 % of observed bins that is in the highest 5 % of imputed ones",
    "catch1imp": "percent of the highest 1 % of imputed bins that is in the highest 5 % of observed ones",
    "auc_obs1": "area under the ROC curve of finding the highest 1 % of observed bins by the imputed signal",
    "auc_imp1": "area under the ROC curve of finding the highest 1 % of imputed bins by the observed signal",
    "catch_peak_obs": "area under the ROC curve of finding the bins in observed peaks by the imputed signal",
}  # as `metrics` computes them; signal is arcsinh(−log10 p), and 0.5 is chance under a ROC curve
WON = "tracks won"
LARGEST = 32_767  # of a 16-bit integer, in which signals are embedded
PNG = b"\x89PNG\r\n\x1a\n"
BROAD = 1.4  # width of a picture by its height from which its letters are too small where it is as wide as a phone


@dataclass(frozen=True)
class Table:
    """A table of a report. Its `note` says what is in it, and is its caption.

    `better` says of columns whether the 'higher' or the 'lower' value is better: the best is then printed in bold,
    among the rows that agree in the columns `within`, or among all. The index of `frame` is not shown.
    """

    title: str
    frame: pd.DataFrame
    note: str = ""
    better: Mapping[str, Better] = field(default_factory=dict)
    within: tuple[str, ...] = ()


class Picture(NamedTuple):
    """A figure of a report, a matplotlib Figure or the bytes of a PNG file, and what is to be seen in it."""

    title: str
    figure: Figure | bytes
    caption: str = ""


@dataclass(frozen=True)
class Report:
    """What a report holds. All text is plain text and is escaped.

    `date` is printed as given. `summary` (what was compared, on which store and region) is a list of names and
    values, and `verdict` a sentence on what came out. `scores` is a table as `scores.score_table` makes it, with any
    numeric measures; None where no tracks were scored. `loci_title` is the heading of the `loci`.
    """

    title: str
    date: str
    summary: Mapping[str, str]
    scores: pd.DataFrame | None
    tables: Sequence[Table] = ()
    loci: Sequence[Locus] = ()
    figures: Sequence[Picture] = ()
    verdict: str = ""
    loci_title: str = "Where methods differ most"


def direction(measure: str) -> Better | None:
    """Whether a higher or a lower value of a measure is better; None for a measure whose name says nothing of it."""
    try:
        return "higher" if is_higher_better(measure) else "lower"
    except ValueError:
        return None


def write_report(path: Path, report: Report) -> None:
    """Write a report as one HTML file, whole or not at all.

    Raises ValueError for scores without average activity or with a row twice, for a locus whose signals differ in
    length, and for a figure that is neither a Figure nor a PNG; InputError for a file that cannot be written.
    """
    text = render(report)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def render(report: Report) -> str:
    """The HTML text of a report; raises as `write_report` does."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("avocado", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # what is not a number must be null: JSON knows no NaN
    environment.filters["words"] = lambda name: re.split(r"(?<=[a-z])(?=[A-Z])", name)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    methods = [] if report.scores is None else _average_first(report.scores)
    names = [*methods, *(m for locus in report.loci for signals in locus.rows.values() for m in signals)]
    colors = _colors(names)
    shapes = [SHAPES[markers_of(names)[name]] for name in colors]
    loci = [_embedded(locus, methods) for locus in report.loci]
    data: dict[str, Any] = {"methods": methods, "loci": loci, "bin": BIN_SIZE, "shapes": shapes}
    shown = {} if report.scores is None else _scored(report.scores, methods, data)
    return environment.get_template("report.html.jinja").render(
        report=report,
        version=__version__,
        average=AVERAGE,
        methods=methods,
        colors=colors,
        on_dark=[on_dark(color) for color in colors.values()],
        paper=(PAPER, DARK_PAPER),
        shapes=shapes,
        **shown,
        tables=[_view(table) for table in report.tables],
        figures=[
            (title, base64.b64encode(png).decode(), note, _is_broad(png))
            for title, png, note in ((title, _png(figure), note) for title, figure, note in report.figures)
        ],
        data=data,
    )


def _scored(scores: pd.DataFrame, methods: list[str], data: dict[str, Any]) -> dict[str, Any]:
    """What the template shows of scores; what its scripts need is added to `data`."""
    require_average(scores)
    measures = _measures(scores)
    means, by_assay = mean_rows(scores).set_index("method").loc[methods], assay_means(scores)
    data |= {
        "measures": [{"title": MEASURES.get(name, name), "better": direction(name)} for name in measures],
        "means": [_numbers(means[measure]) for measure in measures],
        "assays": _pivot(by_assay, ["assay", "tracks"], methods, measures),
        "tracks": _pivot(track_rows(scores), ["cell", "assay"], methods, measures),
    }
    return {
        "measures": data["measures"],
        "meanings": {MEASURES.get(name, name): MEANINGS[name] for name in measures if name in MEANINGS},
        "n_tracks": len(data["tracks"]["rows"]),
        "means": _view(_means_table(scores, means, measures)),
        "assays_csv": csv_link(by_assay),
        "tracks_csv": csv_link(track_rows(scores)),
    }


def assay_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Plain means of every numeric measure over the tracks of each assay, a row per assay and method.

    The columns are assay, tracks (how many), method and the measures. As in the means over all tracks, a mean with an
    undefined value is undefined, and skill is computed from the mean MSEs.
    """
    measures = _measures(scores)
    groups = track_rows(scores).groupby(["assay", "method"], sort=False)
    means = groups[measures].agg(lambda values: values.mean(skipna=False))
    means.insert(0, "tracks", groups.size())
    means = means.reset_index().sort_values("assay", kind="stable", ignore_index=True)
    if {"mse", "skill"} <= set(measures):
        average = means[means["method"] == AVERAGE].set_index("assay")["mse"]
        means["skill"] = skill(means["mse"].to_numpy(), average.loc[means["assay"]].to_numpy())
    return means[["assay", "tracks", "method", *measures]]


def csv_link(frame: pd.DataFrame) -> str:
    """A data URI of the table as CSV, numbers with 6 significant digits."""
    text = frame.to_csv(index=False, float_format="%.6g")
    return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def _measures(scores: pd.DataFrame) -> list[str]:
    """Numeric columns but the number of bins, skill right behind MSE."""
    numeric = scores.select_dtypes("number").columns
    first = [name for name in ("mse", "skill") if name in numeric]
    return first + [str(name) for name in numeric if name not in ("bins", *KEYS, *first)]


def _average_first(scores: pd.DataFrame) -> list[str]:
    return [AVERAGE, *(method for method in scores["method"].unique() if method != AVERAGE)]


def _means_table(scores: pd.DataFrame, means: pd.DataFrame, measures: list[str]) -> Table:
    """One row per method, average activity first, and in how many tracks each is better than it."""
    columns: dict[str, Any] = {"method": means.index}
    better: dict[str, Better] = {WON: "higher"}
    better |= {MEASURES.get(name, name): known for name in measures if (known := direction(name))}
    for name in measures:
        columns[MEASURES.get(name, name)] = means[name].to_numpy()
        if name == "skill":
            tracks = track_rows(scores)
            wins = (tracks["skill"] > 0).groupby(tracks["method"]).sum()
            won = [None if method == AVERAGE else int(wins[method]) for method in means.index]
            columns[WON] = pd.array(won, dtype="Int64")
    frame = pd.DataFrame(columns)
    n_tracks = len(track_rows(scores)) // len(means)
    over = f"{n_tracks} held-out track{'s' * (n_tracks != 1)}"
    note = f"Plain means over {over} of arcsinh(−log₁₀ p), raw ones of −log₁₀ p. Bold is best."
    return Table("Mean scores", frame, note, better)


def _pivot(frame: pd.DataFrame, keys: list[str], methods: list[str], measures: list[str]) -> dict[str, Any]:
    """Rows of keys, and of every measure and method the values in the order of these rows."""
    indexed = frame.set_index([*keys, "method"])
    if indexed.index.has_duplicates:
        twice = indexed.index[indexed.index.duplicated()][0]
        raise ValueError(f"the scores of {' '.join(map(str, twice))} are there twice")
    rows = frame[frame["method"] == AVERAGE][keys]
    columns = {method: indexed.xs(method, level="method").reindex(pd.MultiIndex.from_frame(rows)) for method in methods}
    return {
        "keys": keys,
        "rows": [
            [key.item() if isinstance(key, np.generic) else key for key in row]
            for row in rows.itertuples(index=False, name=None)
        ],
        "values": [[_numbers(columns[method][measure]) for method in methods] for measure in measures],
        "decimals": [
            _decimals(np.concatenate([columns[m][measure].to_numpy(float) for m in methods])) for measure in measures
        ],
    }


def _numbers(values: pd.Series) -> list[float | None]:
    """Values with 5 significant digits, None for what is not finite."""
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in values.to_numpy(dtype=float)]


def _embedded(locus: Locus, methods: Sequence[str]) -> dict[str, Any]:
    """A locus for the page: every signal as 16-bit integers, little-endian, in base64, and the size of their unit."""
    order = [OBSERVED, *methods]
    lengths = {len(signal) for signals in locus.rows.values() for signal in signals.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"locus {locus.chrom}:{locus.start:,} has signals of the lengths {sorted(lengths)}")
    tracks = []
    for label, signals in locus.rows.items():
        rows = []
        for name in sorted(signals, key=lambda name: order.index(name) if name in order else len(order)):
            signal = np.asarray(signals[name], dtype=np.float64)
            unit = float(np.abs(signal).max()) / LARGEST or 1.0
            integers = np.rint(signal / unit).astype("<i2")
            rows.append({"name": name, "unit": unit, "signal": base64.b64encode(integers.tobytes()).decode()})
        tracks.append({"label": label, "rows": rows})
    return {"chrom": locus.chrom, "start": locus.start, "bins": lengths.pop(), "why": locus.why, "tracks": tracks}


def _view(table: Table) -> dict[str, Any]:
    """A table for the template: its columns, and the text, the number and the bold of every field."""
    frame, columns, fields = table.frame.reset_index(drop=True), [], []
    for name in frame.columns:
        values = frame[name]
        numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        columns.append({"name": str(name), "numeric": numeric, "better": table.better.get(name)})
        if numeric:
            numbers = values.to_numpy(dtype=float, na_value=np.nan)
            best = _best(frame, str(name), numbers, table)
            whole = pd.api.types.is_integer_dtype(values)
            texts = _texts(numbers, 0 if whole else _decimals(numbers))
            fields.append(list(zip(texts, [_sortable(v) for v in numbers], best, strict=True)))
        else:
            fields.append([(_text(v), None, False) for v in values])
    return {
        "title": table.title,
        "note": table.note,
        "columns": columns,
        "rows": list(zip(*fields, strict=True)),
        "csv": csv_link(frame),
    }


def _best(frame: pd.DataFrame, name: str, numbers: np.ndarray, table: Table) -> list[bool]:
    """Of every row, whether its value is the best of its group, where the group has another to compare with."""
    better = table.better.get(name)
    if better is None:
        return [False] * len(numbers)
    values = pd.Series(numbers)
    groups = values.groupby([frame[c] for c in table.within] or [1] * len(values), dropna=False)
    best = groups.transform("max" if better == "higher" else "min")
    return list((values == best) & (groups.transform("count") > 1))


def _decimals(numbers: np.ndarray) -> int:
    """Decimals that show four digits of the largest number of a column, but from one to four."""
    finite = np.abs(numbers[np.isfinite(numbers)])
    largest = float(finite.max()) if len(finite) else 0.0
    return 4 - sum(largest >= power for power in (1, 10, 100))


def _text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return "–" if pd.isna(value) else str(value)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _texts(numbers: np.ndarray, decimals: int) -> list[str]:
    texts = []
    for v in numbers:
        if np.isnan(v):
            text = "–"
        elif np.isinf(v):
            text = f"{'-' if v < 0 else ''}∞"
        elif v != 0 and abs(v) < max(0.001, 0.5 * 10**-decimals):  # a small p, or what would be printed as zero
            text = f"{v:.1e}"
        else:
            text = f"{v:,.{decimals}f}"
        texts.append(text.replace("-", "−"))
    return texts


def _sortable(number: float) -> str:
    """What JavaScript's parseFloat reads as the number; empty for NaN."""
    if not np.isfinite(number):
        return "" if np.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return f"{number:.10g}"


def _colors(names: Sequence[str]) -> dict[str, str]:
    """The colours of the figures: the known names' own, the others' in order of appearance."""
    chosen = colors_of(names)
    return {name: chosen[name] for name in dict.fromkeys(names) if name != OBSERVED}


def _png(figure: Figure | bytes) -> bytes:
    if not isinstance(figure, bytes):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150)
        figure = buffer.getvalue()
    if not figure.startswith(PNG):
        raise ValueError("a figure of a report is a matplotlib Figure or the bytes of a PNG file")
    return figure


def _is_broad(png: bytes) -> bool:
    width, height = struct.unpack(">II", png[16:24])  # of the header, the first chunk of every PNG file
    return width > BROAD * height
