"""Tasks: labels of loci, and the windows that features are read from (Avocado paper, Results and Methods of Fig. 5).

A table of labels is all it takes. Every row is a locus: `chrom`, `start`, `end` in bp, 0-based and half-open, and its
`label`; with a `cell`, tables of several cell types make a task each, which have each other's labels as their baseline.
A pair, such as an enhancer and a promoter, has its second window in `start2` and `end2`, on the same chromosome.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from avocado.data.genome import Assembly
from avocado.data.intervals import intervals_of
from avocado.data.text import numbered_lines
from avocado.errors import InputError

NEEDED = ("chrom", "start", "end", "label")
SECOND = ("start2", "end2")
UNKNOWN = ("", "NA", "NaN", "nan", ".")  # labels of loci that are left out
LOCUS = ["chrom", "start", "end"]


@dataclass(frozen=True)
class Task:
    """Loci of one cell type, and what is to be predicted of them."""

    name: str
    cell: str  # '' where labels belong to no cell type
    loci: pd.DataFrame  # chrom, start, end; start2, end2 of a pair
    label: np.ndarray  # bool (n_loci,); float where a number is to be predicted
    others: np.ndarray | None = None  # float (n_loci,): mean label of the other cell types, NaN where none is known

    def __len__(self) -> int:
        return len(self.label)

    @property
    def is_binary(self) -> bool:
        """Whether loci have one of two labels."""
        return self.label.dtype == bool

    @property
    def is_pair(self) -> bool:
        """Whether a locus is a pair of windows."""
        return is_pair(self.loci)

    def chosen(self, mask: np.ndarray) -> Task:
        """The loci where the mask, bool (n_loci,), is true."""
        others = None if self.others is None else self.others[mask]
        return replace(self, loci=self.loci[mask].reset_index(drop=True), label=self.label[mask], others=others)


def is_pair(loci: pd.DataFrame) -> bool:
    """Whether these loci are pairs of windows."""
    return SECOND[0] in loci


def windows_of(loci: pd.DataFrame) -> list[pd.DataFrame]:
    """The windows that features are read from, one or two, each with chrom, start and end (n_loci rows)."""
    first = loci[LOCUS]
    if not is_pair(loci):
        return [first]
    second = loci[["chrom", *SECOND]].set_axis(LOCUS, axis=1)
    return [first, second]


def tasks_of(labels: pd.DataFrame, name: str, cells: Sequence[str] = ()) -> list[Task]:
    """A task for every cell type of a table of labels, or for those of `cells`; one task where it has no column cell.

    labels: chrom, start, end, label and, if need be, cell, start2 and end2. Labels that are all 0 or 1 are classes;
    others are numbers to be predicted. A locus without a label (NaN) is none of this cell type. Raises InputError for
    a cell type without labels, a locus with two different ones, and a cell type whose labels are all the same.
    """
    place = [column for column in (*LOCUS, *SECOND) if column in labels]
    keys = [*place, *(["cell"] if "cell" in labels else [])]
    known = labels.dropna(subset=["label"]).drop_duplicates([*keys, "label"])
    twice = known[known.duplicated(keys)]
    if len(twice):
        row = twice.iloc[0]
        raise InputError(
            f"{name}: {row['chrom']}:{row['start']}-{row['end']} has two labels"
            f"{' in ' + row['cell'] if 'cell' in row else ''}; keep one"
        )
    is_binary = bool(known["label"].isin([0, 1]).all())
    if "cell" not in known:
        if len(cells) > 1:
            raise InputError(f"{name}: without a column cell, labels are of one cell type, not {', '.join(cells)}")
        table = known.assign(cell=cells[0] if cells else "")
    else:
        table = known
    wide = table.pivot(index=place, columns="cell", values="label")
    found = []
    for cell in cells or wide.columns:
        if cell not in wide:
            raise InputError(f"{name}: no labels of {cell}; there are some of: {', '.join(wide.columns) or 'none'}")
        here = wide[wide[cell].notna()]
        values = here[cell].to_numpy(dtype=np.float64)
        if np.ptp(values) == 0:
            whose = f" of {cell}" if cell else ""
            raise InputError(f"{name}: all {len(values):,} labels{whose} are {values[0]:g}; there is nothing to learn")
        rest = here.drop(columns=cell)
        others = rest.mean(axis=1).to_numpy() if rest.notna().any(axis=None) else None
        loci = here.index.to_frame(index=False)
        found.append(Task(name, str(cell), loci, values.astype(bool) if is_binary else values, others))
    return found


def read_labels(
    path: str | Path, assembly: Assembly, positive: str | None = None, threshold: float | None = None
) -> pd.DataFrame:
    """The labels in a TSV or CSV table with a header line that has chrom, start, end and label, in any order.

    Columns cell, start2 and end2 are read, too. positive: the word in `label` that stands for 1, all others for 0.
    threshold: of numbers, those from it up are 1, the others 0. Loci without a label ('', NA, '.') have NaN. Raises
    InputError for a table that is missing or lacks a column, labels that are no numbers, and loci of another assembly.
    """
    path = Path(path)
    lines = [(number, line) for number, line in numbered_lines(path, "table of labels") if line.strip()]
    if not lines:
        raise InputError(f"{path}: the table is empty; it needs a header line with {', '.join(NEEDED)}")
    tab = "\t" if "\t" in lines[0][1] else ","
    header, *rows = [[field.strip() for field in row] for row in csv.reader((line for _, line in lines), delimiter=tab)]
    header[0] = header[0].removeprefix("#")
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise InputError(f"{path}: no column '{missing[0]}'; it has: {', '.join(header)}")
    if (SECOND[0] in header) != (SECOND[1] in header):
        raise InputError(f"{path}: pairs need both {' and '.join(SECOND)}")
    for (number, _), row in zip(lines[1:], rows, strict=True):
        if len(row) != len(header):
            raise InputError(f"{path} line {number}: {len(row)} fields, the header has {len(header)}")
    text = pd.DataFrame(rows, columns=pd.Index(header))
    numbers = [number for number, _ in lines[1:]]
    kept = _within(path, text, numbers, ("start", "end"), assembly)
    table = pd.DataFrame({"chrom": text["chrom"], "start": 0, "end": 0, "label": 0.0})
    for pair in (("start", "end"), SECOND) if SECOND[0] in header else (("start", "end"),):
        kept &= _within(path, text, numbers, pair, assembly)
        for column in pair:
            table[column] = text[column].astype(np.int64)
    table["label"] = _labels(path, text["label"], numbers, positive, threshold)
    if "cell" in header:
        table["cell"] = text["cell"]
    return table[kept].reset_index(drop=True)


def _within(
    path: Path, text: pd.DataFrame, numbers: Sequence[int], columns: Sequence[str], assembly: Assembly
) -> np.ndarray:
    """Bool (n_rows,): on the assembly's chromosomes. Raises InputError for what is not an interval of the assembly."""
    rows = []
    for row, (number, chrom, start, end) in enumerate(
        zip(numbers, text["chrom"], *(text[c] for c in columns), strict=True)
    ):
        if not (start.isdecimal() and end.isdecimal()):
            raise InputError(f"{path} line {number}: '{start}' to '{end}' are no whole numbers of bp")
        rows.append((number, chrom, int(start), int(end), str(row), "."))
    kept = np.zeros(len(rows), dtype=bool)
    kept[intervals_of(path, rows, assembly).name.astype(np.int64)] = True
    return kept


def _labels(
    path: Path, text: pd.Series, numbers: Sequence[int], positive: str | None, threshold: float | None
) -> np.ndarray:
    """Float (n_rows,): the labels as numbers."""
    known = ~text.isin(UNKNOWN)
    values = np.full(len(text), np.nan)
    if positive is not None:
        if not (text == positive).any():
            raise InputError(f"{path}: no label is '{positive}'; there is: {', '.join(pd.unique(text[known])[:5])}")
        values[known] = text[known] == positive
        return values
    parsed = pd.to_numeric(text[known], errors="coerce")
    if parsed.isna().any():
        row = int(np.flatnonzero(known)[parsed.isna().to_numpy()][0])
        raise InputError(
            f"{path} line {numbers[row]}: label '{text[row]}' is no number; positive= says which of two words is 1"
        )
    values[known] = parsed if threshold is None else parsed >= threshold
    return values


def reduced_pairs(pairs: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Pairs of which each element, either window, occurs once: first positives, then negatives, in random order.

    A classifier of pairs can otherwise learn which promoters interact at all (Xi & Beer 2018). How the Avocado paper
    reduced TargetFinder's pairs is not known (its Additional file 6); this is our construction.
    """
    random = np.random.default_rng(seed)
    first, second = (list(map(tuple, its.itertuples(index=False))) for its in windows_of(pairs))
    used: tuple[set, set] = (set(), set())
    kept = []
    label = pairs["label"].to_numpy()
    for value in (1, 0):
        for row in random.permutation(np.flatnonzero(label == value)):
            if first[row] not in used[0] and second[row] not in used[1]:
                used[0].add(first[row])
                used[1].add(second[row])
                kept.append(row)
    return pairs.iloc[sorted(kept)].reset_index(drop=True)
