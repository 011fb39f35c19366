"""What the original program (`avocado-epigenome`) calls its layers and sizes, and what its JSON files say."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from avocado.data.compendium import Pair
from avocado.data.genome import BINS_PER_250BP, BLOCK_BINS
from avocado.errors import InputError
from avocado.model.config import ModelConfig

SIZES = {  # the original's names of the structural hyperparameters
    "n_celltype_factors": "cell_factors",
    "n_assay_factors": "assay_factors",
    "n_25bp_factors": "factors_25bp",
    "n_250bp_factors": "factors_250bp",
    "n_5kbp_factors": "factors_5kbp",
    "n_layers": "layers",
    "n_nodes": "nodes",
}
POSITIONS = "n_genomic_positions"
MOST = 1 << 20  # of anything but positions: no model has as many
TABLES = {"genome_25bp_embedding": 1, "genome_250bp_embedding": BINS_PER_250BP, "genome_5kbp_embedding": BLOCK_BINS}
BATCH = 40_000  # bins; the original's default, which its files have to name


@dataclass(frozen=True)
class Description:
    """What the JSON file of a published model says."""

    cells: list[str]
    assays: list[str]
    experiments: list[Pair]  # none where the file does not say
    config: ModelConfig
    n_positions: int


def read_description(path: Path) -> Description:
    """The JSON file. Raises InputError for one that is missing, no JSON, or lacks a name or a size."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the .json file that belongs to the .h5 file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): get it again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is not of the original program: expected names and sizes of a model")
    names = {key: _list_of_names(path, key, content.get(key)) for key in ("celltypes", "assays")}
    sizes = {}
    for key in (*SIZES, POSITIONS):
        value, least = content.get(key), 0 if key == "n_layers" else 1
        most = MOST if key in SIZES else 1 << 32
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InputError(f"{path}: {key} is {reprlib.repr(value)}: expected a whole number from {least} to {most}")
        sizes[key] = value
    config = ModelConfig(
        kind="paper", baseline="none", dropout=0.0, **{ours: sizes[theirs] for theirs, ours in SIZES.items()}
    )
    cells, assays = names.values()
    experiments = _experiments(path, content.get("experiments") or [], cells, assays)
    return Description(cells, assays, experiments, config, sizes[POSITIONS])


def _list_of_names(path: Path, key: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name.strip() for name in value):
        raise InputError(f"{path}: {key} is not a list of names")
    if len(set(value)) < len(value):
        raise InputError(f"{path}: {key} has {next(its for its in value if value.count(its) > 1)} twice")
    return list(value)


def _experiments(path: Path, pairs: Any, cells: Sequence[str], assays: Sequence[str]) -> list[Pair]:
    """The pairs that a model was trained on; the original keeps an experiment as a list of cell type and assay."""
    found: dict[Pair, None] = {}
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if not isinstance(pair, list) or len(pair) != 2 or pair[0] not in cells or pair[1] not in assays:
            raise InputError(
                f"{path}: experiments has {reprlib.repr(pair)}: expected pairs of its cell types and assays"
            )
        found[pair[0], pair[1]] = None
    return list(found)


def dense_layers(config: ModelConfig) -> list[str]:
    """Names of the hidden layers, then of the output."""
    return [*(f"dense_{number}" for number in range(config.layers)), "y_pred"]


def layer_shapes(described: Description) -> dict[str, dict[str, tuple[int, ...]]]:
    """The weights of every layer that has any, with their shapes, as the original makes them."""
    c, n = described.config, described.n_positions
    widths = [c.inputs, *[c.nodes] * c.layers, 1]
    tables = {
        name: (n // width + (width > 1), its) for (name, width), its in zip(TABLES.items(), c.scales, strict=True)
    }
    embeddings = {
        "celltype_embedding": (len(described.cells), c.cell_factors),
        "assay_embedding": (len(described.assays), c.assay_factors),
        **tables,
    }
    dense = {
        name: {"kernel": (widths[number], widths[number + 1]), "bias": (widths[number + 1],)}
        for number, name in enumerate(dense_layers(c))
    }
    return {**{name: {"embeddings": shape} for name, shape in embeddings.items()}, **dense}


def description_as_json(described: Description) -> str:
    """What the original expects beside the HDF5 file; experiments as it writes them, lists of two."""
    values = asdict(described.config)
    content = {
        "celltypes": described.cells,
        "assays": described.assays,
        "experiments": [list(pair) for pair in described.experiments],
        POSITIONS: described.n_positions,
        **{theirs: values[ours] for theirs, ours in SIZES.items()},
        "batch_size": BATCH,
    }
    return json.dumps(content, indent=4)


def architecture_of(described: Description) -> dict[str, Any]:
    """The original's network as Keras describes one: inputs, embeddings, flattened, concatenated, dense layers."""
    shapes, inputs, layers = layer_shapes(described), [], []

    def add(kind: str, name: str, before: Sequence[str], **config: Any) -> str:
        inbound = [[[its, 0, 0, {}] for its in before]] if before else []
        layers.append({"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": inbound})
        return name

    flat = []
    for number, name in enumerate(its for its in shapes if its.endswith("_embedding")):
        rows, width = shapes[name]["embeddings"]
        source = name.replace("embedding", "input")
        add("InputLayer", source, [], batch_input_shape=[None, 1], dtype="float32", sparse=False)
        inputs.append([source, 0, 0])
        add("Embedding", name, [source], input_dim=rows, output_dim=width, input_length=1, trainable=True)
        flat.append((f"flatten_{number + 1}", name))
    ends = [add("Flatten", name, [before]) for name, before in flat]
    last = add("Concatenate", "concatenate_1", ends, axis=-1)
    for name in dense_layers(described.config):
        units, activation = shapes[name]["bias"][0], "linear" if name == "y_pred" else "relu"
        last = add("Dense", name, [last], units=units, activation=activation, use_bias=True, trainable=True)
    return {"name": "model_1", "layers": layers, "input_layers": inputs, "output_layers": [[last, 0, 0]]}
