"""Track files as they come: bigWig, .npy and .npz, checked and read into the arcsinh signal of a region.

A source is a path, or the address of a bigWig (https://...), of which only the pieces are read that are needed.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from avocado.data.bigwig import check_bigwig, read_bins
from avocado.data.genome import Assembly, Region
from avocado.data.remote_bigwig import partial_copy
from avocado.errors import InputError
from avocado.utils.remote import Remote, is_address

log = logging.getLogger(__name__)

BIGWIG = (".bw", ".bigwig")
ARRAYS = ("arcsinh", "raw")  # what the values of .npy and .npz files are; bigWigs are always raw −log10 p


def check_source(source: str, assembly: Assembly, regions: Sequence[Region], single: bool) -> list[str]:
    """Check a track file by its headers: whole, and holding all `regions`. Returns warnings (usually none).

    `single` says that one region is wanted in all, which an array without a name may then hold. Raises InputError,
    one line that names the file and a remedy.
    """
    if is_address(source):
        return check_remote(source, assembly, regions)[0]
    path = Path(source)
    if path.suffix.lower() in BIGWIG:
        return check_bigwig(path, assembly, regions)
    if path.suffix not in (".npy", ".npz"):
        raise InputError(f"{path} is of an unknown kind: give .bw, .bigWig, .npy or .npz")
    for region in regions:
        with _open_array(path, region, single) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            if dtype.kind not in "fiub":
                raise InputError(f"{path} holds {dtype}, not numbers")
            if shape != (region.n_bins,):
                found = f"{shape[0]:,} values" if len(shape) == 1 else f"an array of shape {shape}"
                raise InputError(
                    f"{path} is of the wrong length: it holds {found}, "
                    f"region {region.name} has {region.n_bins:,} bins of 25 bp"
                )
            if path.suffix == ".npy" and path.stat().st_size < file.tell() + region.n_bins * dtype.itemsize:
                raise InputError(f"{path} is truncated: get it again")
    return []


def check_remote(
    source: str, assembly: Assembly, regions: Sequence[Region], stop: threading.Event | None = None
) -> tuple[list[str], Remote]:
    """`check_source` of an address, which also says what file is there now. stop: ends a pause between attempts."""
    with partial_copy(source, stop=stop) as copy:
        return check_bigwig(copy.path, assembly, regions), copy.remote


@contextlib.contextmanager
def at_hand(source: str | Remote, regions: Sequence[Region], folder: Path | None = None) -> Iterator[str]:
    """A file for `read_signal`: the source itself, or the pieces of a remote one that `regions` need.

    folder: of these pieces, which are gone when the context ends.
    """
    if isinstance(source, str) and not is_address(source):
        yield source
        return
    with partial_copy(source, folder) as copy:
        copy.add([segment for region in regions for segment in region.segments])
        yield str(copy.path)


def read_signal(
    source: str,
    region: Region,
    single: bool,
    arrays: str,
    dtype: str,
    warn: Callable[[str], None] = log.warning,
) -> np.ndarray:
    """Arcsinh signal of one track, (n_bins,) of `dtype`: arcsinh after the mean over each bin (Methods, "Data sets").

    `arrays` says what .npy and .npz files hold: 'arcsinh' or 'raw' −log10 p. `warn` is as in `read_bins`.
    Raises InputError for damaged files and for values that are NaN, infinite or beyond `dtype`.
    """
    if is_address(source):
        with at_hand(source, [region]) as path:
            return read_signal(path, region, single, arrays, dtype, lambda text: warn(text.replace(path, source)))
    path = Path(source)
    if path.suffix.lower() in BIGWIG:
        values, raw = read_bins(path, region.segments, warn), True
    else:
        with _open_array(path, region, single) as file, np.errstate(over="ignore"):
            values = np.lib.format.read_array(file, allow_pickle=False).astype(np.float32)
        raw = arrays == "raw"
        bad = ~np.isfinite(values)
        if bad.any():
            raise InputError(
                f"{path} has {int(bad.sum()):,} NaN or infinite values in region {region.name}, the first at bin "
                f"{int(bad.argmax()):,} (counted from 0): put 0 where there is no signal, or leave the track out"
            )
    if raw:
        np.arcsinh(values, out=values)
    with np.errstate(over="ignore"):
        signal = values.astype(dtype)
    if not np.isfinite(signal).all():
        raise InputError(f"{path} has values beyond {dtype}: if they are raw −log10 p, set arrays=raw")
    return signal


@contextlib.contextmanager
def _open_array(path: Path, region: Region, single: bool) -> Iterator[IO[bytes]]:
    """The .npy stream that holds `region`: the file itself or a member of the .npz. Errors become InputErrors."""
    try:
        if path.suffix == ".npy":
            if not single:
                raise InputError(
                    f"{path} holds one array for several regions: give an .npz with arrays named by region"
                )
            with path.open("rb") as file:
                yield file
        else:
            with zipfile.ZipFile(path) as archive:
                keys = [name.removesuffix(".npy") for name in archive.namelist()]
                key = keys[0] if single and len(keys) == 1 else region.name
                if key not in keys:
                    raise InputError(f"{path} has no array '{region.name}' (it has: {', '.join(keys)}): name it so")
                with archive.open(f"{key}.npy") as file:
                    yield file
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct its path") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; check its permissions") from None
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is no {path.suffix} file, or damaged ({error}): get it again") from None
