"""Which tracks of a compendium train, validate and test: folds and roles.

A table of tracks may say so itself: by a column `fold` (whole numbers, −1 for a track that always trains) or `split`
(train, val or test).
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from avocado.data.compendium import copies
from avocado.errors import InputError

ROLES = ("train", "val", "test")
ALWAYS_TRAINING = -1  # the fold of tracks that are never held out

log = logging.getLogger(__name__)


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
