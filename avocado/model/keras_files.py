"""Weights as Keras 2 saves them in HDF5, read and written by h5py: no Keras, no TensorFlow, no pickle.

A file has a group for each layer, in `model_weights` (a whole model) or at the top (weights alone), with the attribute
`weight_names`: paths below that group, which differ from backend to backend and are never guessed. Files of others are
not trusted: only plain numbers inside the file itself are read, and only after their shapes were compared with what
they should be.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avocado.errors import InputError
from avocado.utils.files import replacing

INSIDE = "model_weights"
OPTIMIZER = "optimizer_weights"  # Adam's moments, in published files two thirds of all; never looked at
PATIENCE = 60  # seconds that a look at names and shapes may take
MOST_NAMES = 10_000  # of layers or weights in an attribute
MOST_BYTES = 1_000  # of a name
FILL = 64  # times the size of the file that its numbers may have: zeros that were never written take no space


@dataclass(frozen=True)
class KerasWeights:
    """Layers of an opened file that have weights, in the order of the model, as datasets that are not read yet."""

    path: Path
    layers: dict[str, list[Any]]
    activations: dict[str, str]  # of dense layers; empty where only weights were saved
    made_by: dict[str, str]  # backend and keras_version, as far as the file says

    def dataset(self, layer: str, number: int, shape: Sequence[int], meaning: str) -> Any:
        """One of a layer's weights. Raises InputError where it is missing, has another shape, or is not of numbers."""
        found = self.layers.get(layer, [])
        if number >= len(found):
            raise InputError(
                f"{self.path} has no weights of a layer '{layer}' ({meaning}): no model of the original program; "
                f"it has: {', '.join(self.layers) or 'no layer with weights'}"
            )
        its = found[number]
        if tuple(its.shape) != tuple(shape):
            raise InputError(
                f"{self.path}: {layer} has {meaning} of shape {tuple(its.shape)}, the JSON file says {tuple(shape)}: "
                "give the two files of one model"
            )
        return its


@contextlib.contextmanager
def opened_weights(path: Path) -> Iterator[KerasWeights]:
    """The weights in a file, open as long as the context is.

    Raises InputError for a file that is missing, damaged, or not of Keras, also where damage is met later on.
    """
    h5py = _h5py()
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the .h5 file of a published model")
    if not h5py.is_hdf5(path):
        raise InputError(f"{path} is not an HDF5 file, or truncated at its head: get it again")
    _try_out(path)
    with _opened(h5py, path) as weights:
        yield weights


@contextlib.contextmanager
def _opened(h5py: Any, path: Path) -> Iterator[KerasWeights]:
    try:
        with h5py.File(path, "r") as file:
            top = _group(h5py, file, INSIDE, path) if INSIDE in file else file
            names = _names(h5py, top, "layer_names", path)
            if not names:
                raise InputError(f"{path} has no layer_names: it is not a file of Keras 2")
            layers = {}
            for name in names:
                layer = _group(h5py, top, name, path)
                weights = [_dataset(h5py, layer, its, path) for its in _names(h5py, layer, "weight_names", path)]
                if weights:
                    layers[name] = weights
            _require_plausible(layers, path)
            made_by = {key: text for key in ("backend", "keras_version") if (text := _text(h5py, top, key))}
            yield KerasWeights(path, layers, _activations(_text(h5py, file, "model_config")), made_by)
    except InputError:
        raise
    # of a damaged file h5py raises all of these
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}): get it again") from None


@contextlib.contextmanager
def new_weights(
    path: Path, layers: Mapping[str, Mapping[str, Sequence[int]]], config: Mapping[str, Any], version: str
) -> Iterator[dict[tuple[str, str], Any]]:
    """A whole-model save without an optimizer, as Keras with Theano writes it, whose float32 arrays are to be filled.

    layers: of the model in its order, each with its weights' names and shapes. config: the architecture, as
    `model.get_config()` has it. The file appears when it is complete.
    """
    h5py = _h5py()
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        made_by = {"keras_version": version, "backend": "theano"}
        _write(file, **made_by, model_config=json.dumps({"class_name": "Model", "config": config}))
        top = file.create_group(INSIDE)
        _write(top, **made_by, layer_names=list(layers))
        arrays = {}
        for layer, weights in layers.items():
            group = top.create_group(layer)
            _write(group, weight_names=[f"{layer}/{name}" for name in weights])
            for name, shape in weights.items():
                arrays[layer, name] = group.create_dataset(f"{layer}/{name}", tuple(shape), "float32")
        yield arrays


def _try_out(path: Path) -> None:
    """Open the file in another process first: of some damaged ones the HDF5 library finds no end, or crashes."""
    code = "import sys; from avocado.model.keras_files import look_into; look_into(sys.argv[1])"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, timeout=PATIENCE, check=False
        )
        trouble = "the HDF5 library crashes on it" if done.returncode < 0 else ""
    except subprocess.TimeoutExpired:
        trouble = f"the HDF5 library found no end of it within {PATIENCE} s"
    if trouble:
        raise InputError(f"{path} is damaged ({trouble}): get it again")


def look_into(path: str) -> None:
    """Open a file and close it; what is wrong with it the process that asked finds out by itself."""
    with contextlib.suppress(InputError), _opened(_h5py(), Path(path)):
        pass


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise InputError('HDF5 files need the package h5py: pip install "avocado-imputation[keras]"') from None
    return h5py


def _member(h5py: Any, group: Any, name: str, path: Path) -> Any:
    """What lies below a group. Raises InputError for a name that leads elsewhere, out of the file perhaps."""
    for part in name.split("/"):
        link = group.get(part, getlink=True)
        if link is None:
            raise InputError(f"{path} is damaged: it names {name}, which is not in it; get it again")
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"{path}: {name} is a link to another place, which is not followed: no file of Keras")
        group = group[part]
    return group


def _group(h5py: Any, group: Any, name: str, path: Path) -> Any:
    found = _member(h5py, group, name, path)
    if not isinstance(found, h5py.Group):
        raise InputError(f"{path}: {name} is not a group: no file of Keras")
    return found


def _dataset(h5py: Any, group: Any, name: str, path: Path) -> Any:
    """An array of floating-point numbers inside the file. Raises InputError for anything else."""
    found = _member(h5py, group, name, path)
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise InputError(f"{path}: {name} is not an array: no file of Keras")
    if found.dtype.kind != "f" or found.dtype.itemsize > 8 or found.dtype.subdtype is not None:
        raise InputError(f"{path}: {name} holds {found.dtype}, not floating-point numbers: no file of Keras")
    if found.external or found.is_virtual:
        raise InputError(f"{path}: {name} keeps its numbers in other files, which are not read: no file of Keras")
    return found


def _require_plausible(layers: Mapping[str, Sequence[Any]], path: Path) -> None:
    """Raise InputError where the arrays have far more numbers than a file of that size can hold."""
    bytes_of_arrays = sum(math.prod(its.shape) * its.dtype.itemsize for weights in layers.values() for its in weights)
    if bytes_of_arrays > FILL * path.stat().st_size:
        raise InputError(
            f"{path} is truncated or made up: it claims {bytes_of_arrays:,} bytes of weights in a file of "
            f"{path.stat().st_size:,}; get it again"
        )


def _names(h5py: Any, group: Any, attribute: str, path: Path) -> list[str]:
    """A list of texts in an attribute, which long lists share out to attribute0, attribute1, ..."""
    parts, number = [attribute], 0
    if attribute not in group.attrs:
        parts = []
        while f"{attribute}{number}" in group.attrs:
            parts.append(f"{attribute}{number}")
            number += 1
    found: list[str] = []
    for part in parts:
        its = group.attrs.get_id(part)
        many = math.prod(its.shape) * max(1, its.dtype.itemsize) > MOST_NAMES * MOST_BYTES
        if many or math.prod(its.shape) + len(found) > MOST_NAMES or len(its.shape) > 1:
            raise InputError(f"{path}: {part} is no list of names: no file of Keras")
        if not math.prod(its.shape):  # a layer without weights: an empty list, of numbers
            continue
        if its.dtype.kind != "S" and h5py.check_string_dtype(its.dtype) is None:
            raise InputError(f"{path}: {part} holds {its.dtype}, not names: no file of Keras")
        values = group.attrs[part]
        found += [_decoded(value) for value in ([values] if isinstance(values, str | bytes) else values)]
    if len(set(found)) < len(found):
        raise InputError(f"{path}: {attribute} has a name twice: no file of Keras")
    return found


def _text(h5py: Any, group: Any, attribute: str) -> str:
    """A text in an attribute; '' where there is none."""
    if attribute not in group.attrs:
        return ""
    its = group.attrs.get_id(attribute)
    texts = its.dtype.kind == "S" or h5py.check_string_dtype(its.dtype) is not None
    return _decoded(group.attrs[attribute]) if texts and its.shape == () else ""


def _decoded(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _activations(model_config: str) -> dict[str, str]:
    """Activations of the dense layers, from the architecture that a whole model is saved with."""
    try:
        layers = json.loads(model_config)["config"]["layers"]
        return {
            str(its["config"]["name"]): str(its["config"]["activation"])
            for its in layers
            if its["class_name"] == "Dense"
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def _write(group: Any, **attributes: str | list[str]) -> None:
    """Texts as Keras writes them: bytes of a fixed length; of no texts an empty array of numbers."""
    import numpy as np

    for name, value in attributes.items():
        texts = np.array([its.encode() for its in value]) if isinstance(value, list) else np.bytes_(value.encode())
        group.attrs[name] = texts
