"""Labelled examples (a place in a cell type), checked and numbered: what `check_split` looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from avocado.data.compendium import SYNONYMS
from avocado.errors import InputError, did_you_mean

NEEDED = ("chrom", "start", "end", "cell", "label")
NONE, TRAIN, TEST = 0, 1, 2  # roles
ROLES = {"train": TRAIN, "training": TRAIN, "val": TRAIN, "valid": TRAIN, "validation": TRAIN, "test": TEST,
         "none": NONE, "": NONE}  # fmt: skip
PREDICTION = "prediction"
MODEL = "model"


@dataclass(frozen=True)
class Examples:
    """Examples in the order of their table; a locus is a chromosome with a start and an end, in bp."""

    chroms: np.ndarray  # names
    cells: np.ndarray  # names
    chrom: np.ndarray  # int (n,), into chroms
    start: np.ndarray  # int64 (n,)
    end: np.ndarray  # int64 (n,)
    cell: np.ndarray  # int (n,), into cells
    locus: np.ndarray  # int64 (n,), numbers from 0
    first: np.ndarray  # int64 (n_loci,), an example of every locus
    label: np.ndarray  # float64 (n,)
    role: np.ndarray  # int8 (n,)
    predictions: Mapping[str, np.ndarray]  # by model, float64 (n,)

    def __len__(self) -> int:
        return len(self.label)

    @property
    def n_loci(self) -> int:
        """How many loci there are."""
        return len(self.first)

    @property
    def is_binary(self) -> bool:
        """Whether the labels are 0 and 1."""
        return bool(np.isin(self.label, (0, 1)).all())


def read_examples(path: str | Path) -> pd.DataFrame:
    """The table in a Parquet, TSV or CSV file, gzipped or not.

    Raises InputError for a file that is missing or no table.
    """
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        separator = "\t" if {".tsv", ".bed", ".txt"} & set(path.suffixes) else ","
        names = dict.fromkeys(["chrom", "cell", "cell_type", "split"], "category")  # a text for each row takes seconds
        return pd.read_csv(path, sep=separator, dtype=names, keep_default_na=False, na_values={"label": ["", "NA"]})
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct its path") from None
    except ImportError:
        raise InputError(f"{path}: Parquet needs pyarrow: pip install 'avocado-imputation[latent]'") from None
    except (OSError, ValueError, EOFError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"{path} is no Parquet, TSV or CSV table ({str(error).splitlines()[0]})") from None


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Numbers of every example by the name of their column: of a table, or of an .npy file (n,) or (n, n_columns).

    An array of one column is the model's. Raises InputError for files that are missing or hold no numbers.
    """
    path = Path(path)
    if path.suffix == ".npy":
        try:
            array = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as .npy ({error}); correct its path, or write it again") from None
        columns = array[:, None] if array.ndim == 1 else array
        names = [MODEL] if columns.shape[1] == 1 else [f"{MODEL} {number + 1}" for number in range(columns.shape[1])]
        return {name: columns[:, number] for number, name in enumerate(names)}
    table = read_examples(path)
    return {str(name): _numbers(table[name], str(name), missing=True) for name in table.columns}


def number_examples(
    table: pd.DataFrame, fold: int | None, predictions: np.ndarray | Mapping[str, np.ndarray] | None
) -> Examples:
    """The examples of a table with the columns chrom, start, end, cell, label, and split or fold.

    fold: which fold is tested; the others train. Raises InputError for columns that are missing or hold what they
    cannot, for a table without training or test examples, and for predictions that do not fit it.
    """
    table = table.rename(columns={name: known for name, known in SYNONYMS.items() if name in table})
    missing = [name for name in NEEDED if name not in table]
    if missing:
        close = did_you_mean(missing[0], map(str, table.columns))
        raise InputError(f"the table of examples has no column '{missing[0]}'{close}; it needs {', '.join(NEEDED)}")
    if table.empty:
        raise InputError("the table of examples is empty")
    chrom, chroms = _codes(table["chrom"], "chrom")
    cell, cells = _codes(table["cell"], "cell")
    start, end = (_whole(table[name], name) for name in ("start", "end"))
    if (start < 0).any() or (end <= start).any():
        row = int(np.flatnonzero((start < 0) | (end <= start))[0])
        raise InputError(f"row {row + 1} of the examples: start {start[row]} and end {end[row]} are no interval")
    label = _numbers(table["label"], "label")
    locus, first = _loci(chrom, start, end)
    role = _roles(table, fold)
    for name, which in (("training", TRAIN), ("test", TEST)):
        if not (role == which).any():
            raise InputError(f"the examples have no {name} ones: see the column {'split' if fold is None else 'fold'}")
    tested = label[role == TEST]
    if (tested == tested[0]).all():
        raise InputError(f"all {len(tested):,} test labels are {tested[0]:g}: there is nothing to score")
    found = _predictions(table, predictions)
    for name, values in found.items():
        bad = int((~np.isfinite(values[role == TEST])).sum())
        if bad:
            raise InputError(f"predictions of {name}: {bad:,} test examples have none (NaN or infinite)")
    return Examples(chroms, cells, chrom, start, end, cell, locus, first, label, role, found)


def _roles(table: pd.DataFrame, fold: int | None) -> np.ndarray:
    if fold is None and "split" in table:
        codes, names = _codes(table["split"], "split", empty=True)
        unknown = [name for name in names if str(name).lower() not in ROLES]
        if unknown:
            raise InputError(f"split '{unknown[0]}' is none of train, val, test, none")
        return np.array([ROLES[str(name).lower()] for name in names], dtype=np.int8)[codes]
    if "fold" not in table:
        raise InputError("the table of examples needs a column split (train, val, test, none) or fold (0, 1, ...)")
    return np.where(_whole(table["fold"], "fold") == (fold or 0), TEST, TRAIN).astype(np.int8)


def _predictions(table: pd.DataFrame, given: np.ndarray | Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    if given is None:
        return {MODEL: _numbers(table[PREDICTION], PREDICTION, missing=True)} if PREDICTION in table else {}
    named = given if isinstance(given, Mapping) else {MODEL: given}
    found = {}
    for name, values in named.items():
        found[name] = np.asarray(values, dtype=np.float64).squeeze()
        if found[name].shape != (len(table),):
            raise InputError(
                f"predictions of {name} have the shape {np.shape(values)}, the table has {len(table):,} examples: "
                "give one for each, NaN for those that are not tested"
            )
    return found


def _codes(values: pd.Series, name: str, empty: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A number for every value and the names that they stand for."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, names = values.cat.codes.to_numpy(), values.cat.categories.to_numpy()
        used = np.unique(codes[codes >= 0])
        codes, names = np.where(codes >= 0, np.searchsorted(used, codes), -1), names[used]
    else:
        codes, names = pd.factorize(values)
        names = np.asarray(names)
    if (codes < 0).any():
        if not empty:
            raise InputError(f"row {int(np.argmin(codes)) + 1} of the examples has no {name}")
        codes, names = np.where(codes < 0, len(names), codes), np.append(names.astype(object), "")
    return codes.astype(np.int64), names.astype(str)


def _numbers(values: pd.Series, name: str, missing: bool = False) -> np.ndarray:
    try:
        found = pd.to_numeric(values.replace("", np.nan) if values.dtype == object else values).to_numpy(np.float64)
    except (ValueError, TypeError):
        raise InputError(f"column {name} of the examples holds text that is no number") from None
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad) and not missing:
        raise InputError(f"column {name} of the examples: row {bad[0] + 1} and {len(bad) - 1} others have no number")
    return found


def _whole(values: pd.Series, name: str) -> np.ndarray:
    found = _numbers(values, name)
    if (found != np.floor(found)).any():
        raise InputError(f"column {name} of the examples holds numbers that are not whole")
    return found.astype(np.int64)


def _loci(chrom: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of every example's locus, in the order of appearance, and the first example of each."""
    lengths, n_lengths = pd.factorize(end - start)[0], len(np.unique(end - start))
    places = pd.factorize(chrom * (start.max() + 1) + start)[0]
    locus, distinct = pd.factorize(places.astype(np.int64) * n_lengths + lengths)
    first = np.full(len(distinct), -1, dtype=np.int64)
    first[locus[::-1]] = np.arange(len(locus))[::-1]
    return locus.astype(np.int64), first
