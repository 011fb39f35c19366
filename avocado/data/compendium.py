"""The compendium: which experiments exist, and which of them train, validate and test.

A compendium is a table (DataFrame) with one row per track and the columns `cell`, `assay` and `file`, all of them
strings: a cell type may be called `NA` or `01`. Other columns travel along untouched. Two of them have a meaning
here: `fold` (whole numbers, −1 for a track that always trains) and `split` (train, val or test).
"""

from __future__ import annotations

import csv
import difflib
import glob
import logging
import os
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from avocado.data.text import numbered_lines
from avocado.errors import InputError

COLUMNS = ("cell", "assay", "file")
SYNONYMS = {"cell_type": "cell", "celltype": "cell", "biosample": "cell", "path": "file", "filename": "file"}
ROLES = ("train", "val", "test")
ALWAYS_TRAINING = -1  # the fold of tracks that are never held out

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
    and biosample also mean cell, path and filename also mean file. Relative files are taken relative to the table.
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
        table["file"] = [str(path.parent / os.path.expanduser(file)) for file in table["file"]]
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


def balanced_folds(table: pd.DataFrame, n_folds: int, seed: int, n_shuffles: int = 10_000) -> np.ndarray:
    """A fold 0 .. n_folds − 1 for every track, or −1 for a track that must always train; int (n_tracks,).

    PREDICTD's recipe: of `n_shuffles` random shuffles dealt round-robin into the folds, keep the one with the
    smallest sum, over all cell types and all assays, of the largest count that any one fold holds. Added to it: the
    only track of a cell type or of an assay is not dealt but gets −1, and no fold holds all tracks of a cell type or
    an assay (tracks are swapped between folds, in the last resort set to −1). So whichever fold is held out, every
    cell type and assay keeps a training track. The result depends on the seed and not on the order of the rows.
    """
    if seed < 0:
        raise InputError(f"seed={seed} of the folds: expected a whole number from 0")
    groups = _groups(table)
    totals = np.bincount(groups.ravel())
    order = np.lexsort(groups.T)
    dealt = order[(totals[groups[order]] > 1).all(axis=1)]
    if n_folds < 2 or len(dealt) < n_folds:
        raise InputError(
            f"cannot make {n_folds} folds: at least 2 are needed, and only {len(dealt)} of the {len(table)} tracks "
            "share both their cell type and their assay with another track; give another split.folds=, a column fold "
            "or split in the table, or fold=all to train on every track"
        )
    member = np.zeros((len(dealt), len(totals)), dtype=np.float32)
    np.put_along_axis(member, groups[dealt], 1, axis=1)
    rng = np.random.default_rng(seed)
    # shuffling the labels among the tracks is the same as shuffling the tracks and dealing them round-robin
    labels = np.arange(len(dealt), dtype=np.int16) % n_folds
    best, lowest = labels, np.inf
    batch = 500  # keeps the counts of a batch to some MB
    for done in range(0, n_shuffles, batch):
        shuffled = rng.permuted(np.tile(labels, (min(batch, n_shuffles - done), 1)), axis=1)
        largest = np.zeros((len(shuffled), len(totals)), dtype=np.float32)
        for fold in range(n_folds):
            np.maximum(largest, (shuffled == fold).astype(np.float32) @ member, out=largest)
        sums = largest.sum(axis=1)
        if sums.min() < lowest:
            best, lowest = shuffled[sums.argmin()], sums.min()
    folds = np.full(len(table), ALWAYS_TRAINING)
    folds[dealt] = best
    _spread(folds, groups, order, n_folds)
    return folds


def _groups(table: pd.DataFrame) -> np.ndarray:
    """Int (n_tracks, 2): the number of each track's cell type and of its assay, numbered on, in order of name."""
    cells, assays = (np.unique(table[column].to_numpy(dtype=str), return_inverse=True) for column in ("cell", "assay"))
    return np.stack([cells[1], assays[1] + len(cells[0])], axis=1)


def _spread(folds: np.ndarray, groups: np.ndarray, order: np.ndarray, n_folds: int) -> None:
    """Swap tracks between folds, in place, until no fold holds all tracks of a group (a cell type or an assay)."""
    totals = np.bincount(groups.ravel())
    while True:
        counts = np.zeros((n_folds, len(totals)), dtype=int)
        free = order[folds[order] >= 0]
        np.add.at(counts, (folds[free, None], groups[free]), 1)
        crowded = np.argwhere(counts == totals)
        if not len(crowded):
            return
        fold, group = crowded[0]
        track = free[(groups[free] == group).any(axis=1)][0]
        others = free[folds[free] != fold]
        # after a swap, neither the track's groups there nor the other's groups here may be complete: as a group
        # of both stays as it is, counting it as one more only errs on the safe side
        there = counts[folds[others, None], groups[track]] + 1
        here = counts[fold, groups[others]] + 1
        allowed = (there < totals[groups[track]]).all(axis=1) & (here < totals[groups[others]]).all(axis=1)
        if allowed.any():
            crowding = np.where(allowed, there.sum(axis=1) + here.sum(axis=1), np.inf)
            other = others[crowding.argmin()]
            folds[track], folds[other] = folds[other], fold
        else:
            folds[track] = ALWAYS_TRAINING


def split(
    table: pd.DataFrame,
    fold: int | None,
    n_folds: int = 5,
    seed: int = 0,
    hold_out: Sequence[str] = (),
    validation: float = 0,
) -> np.ndarray:
    """The role of every track: 'train', 'val' or 'test'; str (n_tracks,).

    Test tracks are those of `fold`, and those that `hold_out` names as 'CELL ASSAY' or 'CELL:ASSAY'; with fold=None,
    the latter only. Folds come from the table's column `fold`; else from its column `split`, which is fold 0 and
    brings its own validation tracks; else from `balanced_folds` with `n_folds` and `seed`.

    `validation` is a share (0 < x < 1) or a number of the training tracks, spread over cell types and assays in
    proportion to their tracks and drawn with `seed`; it is not used where the column `split` names val tracks.

    Every cell type and assay of a val or test track keeps a training track. Raises InputError where that is
    impossible or the table's own columns break it, for an unknown fold or hold-out, and where tracks that are the same
    file (column `sha256`) have different roles.
    """
    roles = np.full(len(table), "train", dtype="<U5")
    own_recipe = "fold" not in table and "split" not in table
    if fold is None:
        if not own_recipe:
            log.info("fold=None: the table's own fold or split column is not used, every track may train")
    elif "split" in table and "fold" not in table:
        _require_fold(fold, [0], "the table's split column is fold 0")
        roles[:] = _read_split(table)
    else:
        folds = balanced_folds(table, n_folds, seed) if own_recipe else _read_folds(table)
        _require_fold(fold, sorted({int(f) for f in folds} - {ALWAYS_TRAINING}), f"{len(table)} tracks")
        roles[folds == fold] = "test"
    held = _find_tracks(table, [hold_out] if isinstance(hold_out, str) else hold_out)
    roles[held] = "test"
    groups = _groups(table)
    if own_recipe:
        _give_back(table, roles, groups, held)
    _require_training(table, roles)
    if validation and "val" not in roles:
        roles[_choose_validation(roles == "train", groups, validation, seed)] = "val"
    _refuse_copies(table, roles)
    return roles


def copies(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows of `table` whose files are the same one, by the column sha256: a table for each file that is there twice."""
    if "sha256" not in table:
        return []
    twice = table[table.duplicated("sha256", keep=False) & table["sha256"].notna()]
    return [rows for _, rows in twice.groupby("sha256", sort=False)]


def _refuse_copies(table: pd.DataFrame, roles: np.ndarray) -> None:
    """Raise InputError where a file under two names would be held out and trained on."""
    for rows in copies(table.assign(role=roles)):
        if rows["role"].nunique() > 1:
            shown = ", ".join(
                f"{cell} {assay} ({role})" for cell, assay, role in rows[["cell", "assay", "role"]].values
            )
            raise InputError(
                f"{shown} are the same file: a held-out track would be trained on; leave all but one out of the table "
                "and ingest again, or hold none out (fold=all)"
            )


def _read_split(table: pd.DataFrame) -> np.ndarray:
    roles = table["split"].to_numpy(dtype=str)
    wrong = np.flatnonzero(~np.isin(roles, ROLES))
    if len(wrong):
        raise InputError(f"split of {_name(table, wrong[0])} is '{roles[wrong[0]]}'; use train, val or test")
    return roles


def _read_folds(table: pd.DataFrame) -> np.ndarray:
    values = pd.to_numeric(table["fold"], errors="coerce").to_numpy(dtype=float)
    wrong = np.flatnonzero(~((values >= ALWAYS_TRAINING) & (values % 1 == 0)))
    if len(wrong):
        raise InputError(
            f"fold of {_name(table, wrong[0])} is '{table['fold'].iloc[wrong[0]]}'; "
            "use whole numbers from 0, and -1 for tracks that always train"
        )
    return values.astype(int)


def _require_fold(fold: int, known: Sequence[int], source: str) -> None:
    if fold not in known:
        raise InputError(f"there is no fold {fold} ({source}); folds: {', '.join(map(str, known)) or 'none'}")


def _name(table: pd.DataFrame, row: int | np.integer) -> str:
    return f"{table['cell'].iloc[row]} {table['assay'].iloc[row]}"


def _find_tracks(table: pd.DataFrame, names: Sequence[str]) -> list[int]:
    """Rows of the tracks named 'CELL ASSAY' or 'CELL:ASSAY'."""
    rows: dict[str, int] = {}
    for row, (cell, assay) in enumerate(zip(table["cell"], table["assay"], strict=True)):
        rows[f"{cell} {assay}"] = rows[f"{cell}:{assay}"] = row
    for name in names:
        if name not in rows:
            same_form = [known for known in rows if (":" in known) == (":" in name)]
            close = difflib.get_close_matches(name, same_form, n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else "tracks are named 'CELL ASSAY' or 'CELL:ASSAY'"
            raise InputError(f"hold_out '{name}' is not a track of this compendium; {hint}")
    return [rows[name] for name in names]


def _give_back(table: pd.DataFrame, roles: np.ndarray, groups: np.ndarray, held: list[int]) -> None:
    """Return a test track of the fold to training, in place, where `hold_out` took the last one of its group."""
    for row in held:
        for group in groups[row]:
            members = np.flatnonzero((groups == group).any(axis=1))
            spare = np.setdiff1d(members, held)
            if len(spare) and not (roles[members] == "train").any():
                roles[spare[0]] = "train"
                log.info("%s trains after all: hold_out took the other tracks", _name(table, spare[0]))


def _require_training(table: pd.DataFrame, roles: np.ndarray) -> None:
    training = roles == "train"
    for column, kind in (("cell", "cell type"), ("assay", "assay")):
        left = set(table[column][training])
        for row in np.flatnonzero(~training):
            value = table[column].iloc[row]
            if value not in left:
                raise InputError(
                    f"{kind} {value} has no training track left, so {_name(table, row)} cannot be imputed; "
                    "hold out fewer of its tracks"
                )


def _choose_validation(training: np.ndarray, groups: np.ndarray, validation: float, seed: int) -> list[int]:
    """Rows of training tracks to validate on: each next one keeps the counts per group nearest to proportional."""
    if validation < 0 or (validation > 1 and validation % 1):
        raise InputError(f"validation={validation}: give a share of the training tracks (0.1) or a whole number")
    n_training = int(training.sum())
    wanted = int(validation) if validation >= 1 else max(1, round(validation * n_training))
    totals = np.bincount(groups[training].ravel(), minlength=int(groups.max()) + 1)
    taken = np.zeros_like(totals)
    order = np.lexsort(groups.T)
    candidates = np.random.default_rng([seed, 1]).permutation(order[training[order]])
    chosen: list[int] = []
    while len(chosen) < wanted:
        spare = ((totals - taken)[groups[candidates]] > 1).all(axis=1) & ~np.isin(candidates, chosen)
        if not spare.any():
            raise InputError(
                f"validation={validation}: of {n_training} training tracks only {len(chosen)} can be spared without "
                "taking a cell type's or an assay's last one; ask for fewer"
            )
        # what each candidate would add to the sum of taken² / total, whose minimum is the proportional share
        added = ((2 * taken + 1) / np.maximum(totals, 1))[groups[candidates]].sum(axis=1)
        row = int(candidates[np.where(spare, added, np.inf).argmin()])
        chosen.append(row)
        taken[groups[row]] += 1
    return chosen
