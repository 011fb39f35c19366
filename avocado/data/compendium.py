"""The compendium: which experiments exist.

A compendium is a table (DataFrame) with one row per track and the columns `cell`, `assay` and `file`, all of them
strings: a cell type may be called `NA` or `01`. Other columns travel along untouched; `fold` and `split` have a
meaning for `splits`.
"""

from __future__ import annotations

import csv
import glob
import logging
import os
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd

from avocado.data.text import numbered_lines
from avocado.errors import InputError
from avocado.utils.remote import is_address

COLUMNS = ("cell", "assay", "file")
SYNONYMS = {"cell_type": "cell", "celltype": "cell", "biosample": "cell", "path": "file", "filename": "file"}

log = logging.getLogger(__name__)

Pair = tuple[str, str]  # cell type, assay


def pairs_in(tracks: pd.DataFrame, role: str | None = None) -> list[Pair]:
    """The (cell type, assay) pairs of a table of tracks, or those of one `role`: train, val or test."""
    chosen = tracks if role is None else tracks[tracks["role"] == role]
    return list(zip(chosen["cell"], chosen["assay"], strict=True))


def unmeasured(tracks: pd.DataFrame, cells: Sequence[str], assays: Sequence[str]) -> list[Pair]:
    """The pairs of these cell types and assays for which there is no track at all."""
    measured = set(pairs_in(tracks))
    return [pair for pair in product(cells, assays) if pair not in measured]


def read_table(path: str | Path, needed: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """The compendium in a table with a header line, tab- or comma-separated.

    The columns cell, assay and, unless `needed` says otherwise, file must be there, in any order; cell_type, celltype
    and biosample also mean cell, path and filename also mean file. Relative files are taken relative to the table;
    addresses (https://...) stay as they are.
    Rows that begin with # are comments, and are counted in the log.
    Raises InputError for a table that is missing, empty, lacks a column or a field, or names a (cell, assay) pair
    twice.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such table; give a TSV or CSV file with the columns {', '.join(needed)}")
    text = [line for _, line in numbered_lines(path, "table")]
    reader = csv.reader(text, delimiter="\t" if any("\t" in line for line in text[:1]) else ",")
    try:
        rows = [(reader.line_num, [field.strip() for field in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise InputError(f"{path} line {reader.line_num}: {error}; expected a TSV or CSV file") from None
    lines = [(number, row) for number, row in rows if not row[0].startswith("#")]
    if len(lines) < len(rows):
        log.info("%s: %d lines that begin with # are left out", path, len(rows) - len(lines))
    if not lines:
        raise InputError(f"{path}: the table is empty; it needs a header line with {', '.join(needed)}")
    header = _column_names(path, lines.pop(0)[1], needed)
    if not lines:
        raise InputError(f"{path}: no tracks below the header line")
    first_seen: dict[Pair, int] = {}
    for number, row in lines:
        if len(row) != len(header):
            raise InputError(f"{path} line {number}: {len(row)} fields, the header has {len(header)}")
        fields = dict(zip(header, row, strict=True))
        empty = [column for column in needed if not fields[column]]
        if empty:
            raise InputError(f"{path} line {number}: {' and '.join(empty)} is empty")
        pair = fields["cell"], fields["assay"]
        if pair in first_seen:
            raise InputError(
                f"{path}: {' '.join(pair)} is there twice, on lines {first_seen[pair]} and {number}; keep one of them"
            )
        first_seen[pair] = number
    table = pd.DataFrame([row for _, row in lines], columns=pd.Index(header))
    if "file" in needed:
        table["file"] = [
            file if is_address(file) else str(path.parent / os.path.expanduser(file)) for file in table["file"]
        ]
    return table


def _column_names(path: Path, header: list[str], needed: Sequence[str]) -> list[str]:
    """The header with cell, assay and file under these names; a synonym counts only where the name is absent."""
    plain = [name.lower().replace(" ", "_") for name in header]
    names = list(header)
    for column in needed:
        found = [i for i, name in enumerate(plain) if name == column]
        found = found or [i for i, name in enumerate(plain) if SYNONYMS.get(name) == column]
        if not found:
            raise InputError(f"{path}: no column '{column}'; it has: {', '.join(header)}")
        if len(found) > 1:
            raise InputError(f"{path}: columns {' and '.join(header[i] for i in found)} all mean '{column}'; keep one")
        names[found[0]] = column
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path}: column '{twice[0]}' is there twice; keep one")
    return names


def scan_folder(folder: str | Path, pattern: str) -> pd.DataFrame:
    """The compendium in the names of a folder's files, in the order of these names.

    `pattern` is a file name with placeholders, such as `{cell}-{assay}.pval.signal.bigwig`; it may contain folders.
    Every placeholder becomes a column and stands for one or more characters other than '/'. Where a name can be read
    in several ways, the first placeholder takes the shortest text, then the second: `{cell}.{assay}.npz` reads
    `E003.H2A.Z.npz` as cell E003, assay H2A.Z. Where that is wrong for your names, write a table. A placeholder used
    twice must stand for the same text. Blanks around it are not part of a name. Hidden files are skipped.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    pieces = re.split(r"\{([A-Za-z_]\w*)\}", pattern)  # literal, name, literal, name, ..., literal
    names = list(dict.fromkeys(pieces[1::2]))
    if "cell" not in names or "assay" not in names or "file" in names:
        raise InputError(f"pattern '{pattern}' needs {{cell}} and {{assay}}, for instance {{cell}}-{{assay}}.bigwig")
    if pattern.startswith("/") or "" in pieces[2:-1:2]:
        raise InputError(f"pattern '{pattern}' must be relative to the folder, with text between two placeholders")
    expression = re.escape(pieces[0])
    for i, (name, literal) in enumerate(zip(pieces[1::2], pieces[2::2], strict=True)):
        seen = name in pieces[1 : 2 * i + 1 : 2]
        expression += (f"(?P={name})" if seen else f"(?P<{name}>[^/]+?)") + re.escape(literal)
    rows: dict[Pair, dict[str, str]] = {}
    for path in sorted(folder.glob("*".join(map(glob.escape, pieces[::2])))):
        match = re.fullmatch(expression, path.relative_to(folder).as_posix())
        if match is None or path.name.startswith(".") or not path.is_file():
            continue
        row = {**{name: text.strip() for name, text in match.groupdict().items()}, "file": str(path)}
        pair = row["cell"], row["assay"]
        if pair in rows:
            raise InputError(f"{rows[pair]['file']} and {row['file']} both are {' '.join(pair)}; keep one of them")
        rows[pair] = row
    if not rows:
        example = next((p.name for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")), None)
        there = f"files there look like '{example}'" if example else "there are no files in it"
        raise InputError(f"{folder}: no file name fits the pattern '{pattern}'; {there}")
    others = [name for name in names if name not in COLUMNS]
    return pd.DataFrame(list(rows.values()), columns=pd.Index([*COLUMNS, *others]))


def five_by_five(table: pd.DataFrame, min_assays: int = 5, min_cells: int = 5) -> pd.DataFrame:
    """The tracks of cell types with at least `min_assays` assays and of assays in at least `min_cells` cell types.

    Dropping a track can bring another cell type or assay below its minimum, so it is repeated until nothing changes.
    Logs what was dropped; raises InputError when nothing is left.
    """
    kept = table
    while len(kept):
        assays_of_cell = kept["cell"].map(kept["cell"].value_counts())
        cells_of_assay = kept["assay"].map(kept["assay"].value_counts())
        enough = (assays_of_cell >= min_assays) & (cells_of_assay >= min_cells)
        if enough.all():
            break
        kept = kept[enough]
    rule = f"{min_assays} assays per cell type and {min_cells} cell types per assay"
    if kept.empty:
        raise InputError(f"none of the {len(table)} tracks is left with at least {rule}; lower these minimums")
    if len(kept) < len(table):
        cells = sorted(set(table["cell"]) - set(kept["cell"]))
        assays = sorted(set(table["assay"]) - set(kept["assay"]))
        log.info("at least %s: %d of %d tracks kept", rule, len(kept), len(table))
        for kind, dropped in (("cell types", cells), ("assays", assays)):
            if dropped:
                log.info("dropped %s: %s", kind, ", ".join(dropped))
    return kept.reset_index(drop=True)


def copies(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows of `table` whose files are the same one, by the column sha256: a table for each file that is there twice."""
    if "sha256" not in table:
        return []
    twice = table[table.duplicated("sha256", keep=False) & table["sha256"].notna()]
    return [rows for _, rows in twice.groupby("sha256", sort=False)]
