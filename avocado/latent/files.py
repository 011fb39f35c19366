"""Embeddings on disk, written piece by piece: Parquet, .npz, Zarr (for xarray), AnnData (for scanpy), and text."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from avocado.errors import InputError
from avocado.latent.embeddings import Embedding, Part
from avocado.utils.files import replacing

Parts = Iterator[Part]
ROWS = 10_000  # of a chunk in Zarr and AnnData files


def write_embedding(path: str | Path, embedding: Embedding, watch: Callable[[Parts], Parts] = iter) -> None:
    """Write genome factors by the file's suffix, one of WRITERS; nothing is left of what was not finished.

    .parquet: columns chrom, start, end, what else the rows have, and the factors. .npz: arrays `factors` (rows,
    factors), `names`, and one for each column of the positions. .zarr: variable `factors` with the dimensions
    `position` and `factor`, which xarray opens by name. .h5ad: AnnData, positions in `obs`, factors in `var`. .tsv and
    .csv: text. watch: sees the parts go by, for a progress bar. Raises InputError for another suffix, for a package
    that is missing, and for a place that cannot be written.
    """
    _write(Path(path), embedding.names, len(embedding), watch(embedding.parts()))


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write factors of cell types or assays, `embeddings.factor_table`, in the same formats."""
    factors = [name for name in table.columns if name.startswith("factor_")]
    part = Part(table.drop(columns=factors).reset_index(), table[factors].to_numpy(dtype=np.float32))
    _write(Path(path), factors, len(table), iter([part]))


def require_writable(path: str | Path) -> None:
    """Raise InputError for a suffix that stands for no format, and where the package for it is missing."""
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"out={path}: expected a name that ends in {', '.join(WRITERS)}")
    package = WRITERS[path.suffix.lower()][1]
    if package and importlib.util.find_spec(package) is None:
        raise InputError(
            f"{path.suffix} files need the package {package}, which is not here: "
            'pip install "avocado-imputation[latent]"'
        )


def _write(path: Path, names: Sequence[str], n_rows: int, parts: Parts) -> None:
    require_writable(path)
    write = WRITERS[path.suffix.lower()][0]
    if write is not _zarr:
        with replacing(path) as temporary:
            write(temporary, names, n_rows, parts)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            whole = Path(folder) / path.name
            write(whole, names, n_rows, parts)
            if path.is_dir():  # no folder can be renamed to one that is there
                shutil.rmtree(path)
            os.replace(whole, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; nothing was left behind") from error


def _parquet(path: Path, names: Sequence[str], n_rows: int, parts: Parts) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    tables = (_arrow(pa, part, names) for part in parts)
    first = next(tables)
    with parquet.ParquetWriter(path, first.schema, compression="zstd") as writer:
        for table in chain([first], tables):
            writer.write_table(table)


def _arrow(pa, part: Part, names: Sequence[str]):
    table = pa.Table.from_pandas(part.positions, preserve_index=False).replace_schema_metadata(None)
    for name, column in zip(names, np.ascontiguousarray(part.factors.T), strict=True):
        table = table.append_column(name, pa.array(column))
    return table


def _npz(path: Path, names: Sequence[str], n_rows: int, parts: Parts) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".factors") as folder:
        file = Path(folder) / "factors.npy"  # on disk, as there may be more of them than memory
        factors = np.lib.format.open_memmap(file, "w+", np.float32, (n_rows, len(names)))
        positions = _filled(factors, parts)
        columns = {str(name): _texts(values) for name, values in positions.items()}
        with path.open("wb") as out:
            np.savez(out, factors=factors, names=np.array(names), **columns)  # pyright: ignore[reportArgumentType]


def _filled(array, parts: Parts) -> pd.DataFrame:
    """Put the factors of all parts into `array`; returns their positions."""
    positions, done = [], 0
    for part in parts:
        array[done : done + len(part.factors)] = part.factors
        done += len(part.factors)
        texts = part.positions.select_dtypes(exclude="number").columns
        positions.append(part.positions.astype(dict.fromkeys(texts, "category")))
    table = pd.concat(positions, ignore_index=True)
    return table.astype({name: "category" for name in table.select_dtypes(exclude="number").columns})


def _texts(column: pd.Series) -> np.ndarray:
    return column.to_numpy() if pd.api.types.is_numeric_dtype(column) else column.astype(str).to_numpy(dtype=np.str_)


def _zarr(path: Path, names: Sequence[str], n_rows: int, parts: Parts) -> None:
    import xarray as xr

    for number, part in enumerate(parts):
        where = {str(name): ("position", _objects(values)) for name, values in part.positions.items()}
        data = xr.Dataset({"factors": (("position", "factor"), part.factors)}, {"factor": list(names), **where})
        if number:
            data.to_zarr(path, append_dim="position", zarr_format=2, consolidated=False)
        else:
            chunks = {"factors": {"chunks": (min(n_rows, ROWS), len(names))}}
            data.to_zarr(path, mode="w", encoding=chunks, zarr_format=2, consolidated=False)


def _objects(column: pd.Series) -> np.ndarray:
    return column.to_numpy() if pd.api.types.is_numeric_dtype(column) else column.to_numpy(dtype=object)


def _h5ad(path: Path, names: Sequence[str], n_rows: int, parts: Parts) -> None:
    """As `AnnData.write_h5ad` does it, but the factors are never all in memory."""
    import h5py  # pyright: ignore[reportMissingImports]  # comes with anndata, which dev leaves out
    from anndata.io import write_elem  # pyright: ignore[reportMissingImports]

    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        factors = file.create_dataset("X", (n_rows, len(names)), "f4", chunks=(min(n_rows, ROWS), len(names)))
        factors.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        about = _filled(factors, parts)
        kind = about.columns[0]  # chrom, or what a table's rows are
        labels = about[kind].astype(str)
        if kind == "chrom":
            labels += ":" + about["start"].astype(str) + "-" + about["end"].astype(str)
        write_elem(file, "obs", about.set_index(pd.Index(labels.to_numpy(dtype=object), name=None)))
        write_elem(file, "var", pd.DataFrame(index=pd.Index(list(names), dtype=object)))
        for empty in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
            write_elem(file, empty, {})


def _text(separator: str) -> Callable[[Path, Sequence[str], int, Parts], None]:
    def write(path: Path, names: Sequence[str], n_rows: int, parts: Parts) -> None:
        with path.open("w", encoding="utf-8") as file:
            for number, part in enumerate(parts):
                rows = pd.concat([part.positions, pd.DataFrame(part.factors, columns=pd.Index(names))], axis=1)
                rows.to_csv(file, sep=separator, index=False, header=number == 0, float_format="%.6g")

    return write


# what writes the files of a suffix, and the package that it needs
WRITERS: dict[str, tuple[Callable[[Path, Sequence[str], int, Parts], None], str]] = {
    ".parquet": (_parquet, "pyarrow"), ".npz": (_npz, ""), ".zarr": (_zarr, "zarr"), ".h5ad": (_h5ad, "anndata"),
    ".tsv": (_text("\t"), ""), ".csv": (_text(","), ""),
}  # fmt: skip
