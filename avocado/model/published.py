"""Models of the original program (`avocado-epigenome`), published one chromosome each: from and to model directories.

Its network is `network.Network`: the same factors and layers under other names, genome factors in three tables instead
of block rows. What both impute is the same to rounding, arcsinh(−log10 p). docs/sharing.md has the format.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import avocado
from avocado.data.compendium import pairs_in, read_table
from avocado.data.genome import BIN_SIZE, BLOCK_BINS, BUILT_IN, Assembly, Region, Segment, load_assembly
from avocado.errors import InputError
from avocado.model.directory import Model, load_model, save_region, save_shared
from avocado.model.keras_files import KerasWeights, new_weights, opened_weights
from avocado.model.network import Network, split_block
from avocado.model.original import (
    TABLES,
    Description,
    architecture_of,
    dense_layers,
    description_as_json,
    layer_shapes,
    read_description,
)
from avocado.utils.files import replacing

NAMED = re.compile(r"chr(?:\d+|[XYM])(?![0-9A-Za-z])")  # a chromosome in a file's name
ROLES = ("train", "val", "test")
KERAS = "2.1.6"  # the version that the original was published for
CHUNK = 256  # blocks read or written at a time


def import_published(
    keras: str | Path,
    json: str | Path,
    out: str | Path,
    *,
    chrom: str | None = None,
    assembly: str | Path | Assembly | None = None,
    tracks: str | Path | None = None,
    overwrite: bool = False,
) -> Model:
    """Read a model of the original program into a model directory, without Keras.

    A directory takes several chromosomes of one network, one after the other.

    Parameters
    ----------
    keras
        HDF5 file of Keras 2, a whole model or weights alone.
    json
        What the original writes beside it: names and sizes.
    out
        Model directory to make, or to add the chromosome to.
    chrom
        The chromosome; None: the one in the files' names.
    assembly
        hg19, hg38, or a chrom.sizes file; None: the built-in one whose chromosome has as many bins.
    tracks
        Table with the columns cell, assay and, if need be, role (train, val, test): which experiments the model was
        trained on. None: those that the JSON file has; published ones have none.
    overwrite
        Read the chromosome again where it is there.

    Returns
    -------
    Model
        Of kind 'paper': arcsinh(−log10 p) at every bin that the original has.

    Raises
    ------
    InputError
        For files that are damaged, of two models, of another chromosome or assembly, and a directory of another model.
    """
    keras, described, out = Path(keras), read_description(Path(json)), Path(out)
    chrom = chrom or _chromosome(keras, Path(json))
    region, known = _region(chrom, described.n_positions, assembly, Path(json))
    with opened_weights(keras) as weights:
        network = _network(weights, described)
        roles = _tracks(described, tracks)
        there = _existing(out, network, described, known, chrom, overwrite)
        genome = _genome(weights, described, region)
        made = {"stage": "published", "file": keras.name, **weights.made_by, "avocado": avocado.__version__}
    if not there:
        save_shared(out, network, described.cells, described.assays, known, roles, made)
    save_region(out, region, genome)
    return load_model(out)


def export_published(
    model: Model, region: str, keras: str | Path, json: str | Path, *, overwrite: bool = False
) -> None:
    """Write a chromosome of a model as the original program saves its own, for programs that read those.

    Parameters
    ----------
    model
        Of kind 'paper': the original's network can express no other.
    region
        A chromosome that the model has factors of.
    keras
        HDF5 file to write, a whole model as of Keras 2.
    json
        What the original expects beside it, called like it.
    overwrite
        Replace files that are there.

    Raises
    ------
    InputError
        For a model or a region that the original's network cannot express.
    """
    keras, file = Path(keras), Path(json)
    config, network = model.network.config, model.network
    if not isinstance(network, Network):
        raise InputError(
            f"model {model.path} is of kind {config.kind}, which the original's network cannot express: its genome "
            "factors are multiplied with the cell type's; train one with experiment=paper"
        )
    genome = model.rows(region)
    layout = model.regions[region]
    if len(layout.segments) != 1 or layout.segments[0].start:
        raise InputError(
            f"region={region} is not a whole chromosome: the original counts its bins, stretches and blocks through, "
            f"across gaps; there is: {', '.join(name for name in model.regions if name in model.assembly.sizes)}"
        )
    if not all(config.scales) or not config.cell_factors:
        raise InputError(f"model {model.path} has no factors of one scale, which the original cannot do without")
    for path in (keras, file):
        if path.exists() and not overwrite:
            raise InputError(f"{path} is there already: give another name, or overwrite=true")
    described = Description(model.cells, model.assays, pairs_in(model.tracks, "train"), config, layout.n_bins)
    layers, architecture = layer_shapes(described), architecture_of(described)
    every = {its["name"]: layers.get(its["name"], {}) for its in architecture["layers"]}
    with new_weights(keras, every, architecture, KERAS) as arrays:
        arrays["celltype_embedding", "embeddings"][:] = network.cell_factors.detach().numpy()
        arrays["assay_embedding", "embeddings"][:] = network.assay_factors.detach().numpy()
        for name, layer in zip(dense_layers(config), network.dense, strict=True):
            arrays[name, "kernel"][:] = layer.weight.detach().numpy().T
            arrays[name, "bias"][:] = layer.bias.detach().numpy()
        for first, last in layout.pieces(CHUNK):
            for (name, width), part in zip(TABLES.items(), split_block(genome[first:last], config), strict=True):
                start, stop = first * BLOCK_BINS // width, min(last * BLOCK_BINS, layout.n_bins + width - 1) // width
                arrays[name, "embeddings"][start:stop] = part.flatten(0, 1)[: stop - start].numpy()
    with replacing(file) as temporary:
        temporary.write_text(description_as_json(described))


def _chromosome(*files: Path) -> str:
    for file in files:
        if found := NAMED.findall(file.stem):
            return found[-1]
    raise InputError(f"{files[0]}: no chromosome in its name: give chrom=, such as chrom=chr19")


def _region(
    chrom: str, n_positions: int, assembly: str | Path | Assembly | None, file: Path
) -> tuple[Region, Assembly]:
    """The bins of the model, the last one perhaps a part of a bin, and the assembly that they are of."""
    if isinstance(assembly, Assembly):
        known = [assembly]
    else:
        known = [load_assembly(name) for name in ((assembly,) if assembly else BUILT_IN)]
    fitting = [its for its in known if chrom in its.sizes and n_positions in _bins(its.size(chrom))]
    if len(fitting) == 1:
        return Region(chrom, (Segment(chrom, 0, n_positions),)), fitting[0]
    if not any(chrom in its.sizes for its in known):
        known[0].size(chrom)  # says which chromosomes there are
    there = ", ".join(f"{its.size(chrom) // BIN_SIZE:,} in {its.name}" for its in known if chrom in its.sizes)
    remedy = "give assembly= another one, or its chrom.sizes file" if assembly else "give chrom=, or assembly="
    raise InputError(f"{file} has {n_positions:,} bins, {chrom} has {there}: {remedy}")


def _bins(size: int) -> range:
    """Numbers of bins that a chromosome may have: whole ones only, or a part of one at the end, too."""
    return range(size // BIN_SIZE, -(-size // BIN_SIZE) + 1)


def _tracks(described: Description, file: str | Path | None) -> pd.DataFrame:
    """Which tracks the model was trained on, cell, assay and role; none where nobody says."""
    if file is None:
        table = pd.DataFrame(described.experiments, columns=pd.Index(["cell", "assay"]))
        return table.assign(role="train")
    table = read_table(file, needed=("cell", "assay"))
    if "role" not in table:
        table["role"] = "train"
    for row in table.itertuples():
        if row.cell not in described.cells or row.assay not in described.assays or row.role not in ROLES:
            raise InputError(
                f"{file}: {row.cell} {row.assay} as '{row.role}': expected cell types and assays of the model, and "
                f"the roles {', '.join(ROLES)}"
            )
    return table[["cell", "assay", "role"]]


def _network(weights: KerasWeights, described: Description) -> Network:
    """The shared part of the model. Raises InputError where layers are missing, too many, or of other shapes."""
    layers, config = layer_shapes(described), described.config
    unknown = [name for name in weights.layers if name not in layers]
    if unknown:
        raise InputError(f"{weights.path} has a layer '{unknown[0]}', of which the JSON file knows nothing")
    for name, activation in weights.activations.items():
        if name in layers and activation != (wanted := "linear" if name == "y_pred" else "relu"):
            raise InputError(
                f"{weights.path}: layer {name} has the activation {activation}, the original's is {wanted}"
            )
    # a cell type without a name, after all others, is one that the authors left unused
    cells = layers["celltype_embedding"]["embeddings"]
    found = weights.layers.get("celltype_embedding", [])
    more = int(bool(found) and tuple(found[0].shape) == (cells[0] + 1, cells[1]))
    state = {
        "cell_factors": _read(weights, "celltype_embedding", 0, (cells[0] + more, cells[1]))[: cells[0]],
        "assay_factors": _read(weights, "assay_embedding", 0, layers["assay_embedding"]["embeddings"]),
    }
    for number, name in enumerate(dense_layers(config)):
        ours = "output" if name == "y_pred" else f"hidden.{number}"
        state[f"{ours}.weight"] = _read(weights, name, 0, layers[name]["kernel"]).T.contiguous()
        state[f"{ours}.bias"] = _read(weights, name, 1, layers[name]["bias"])
    network = Network(config, len(described.cells), len(described.assays))  # now that the file has these shapes
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _read(weights: KerasWeights, layer: str, number: int, shape: Sequence[int]) -> Tensor:
    meaning = "factors" if layer.endswith("embedding") else ("weights", "biases")[number]
    return _numbers(weights, weights.dataset(layer, number, shape, meaning), layer, slice(None))


def _numbers(weights: KerasWeights, dataset: Any, layer: str, rows: slice) -> Tensor:
    """Rows of a dataset, float32. Raises InputError for any that is not finite."""
    found = torch.from_numpy(dataset[rows].astype("float32"))
    if not found.isfinite().all():
        raise InputError(f"{weights.path}: {layer} has numbers that are not finite; get it again")
    return found


def _genome(weights: KerasWeights, described: Description, region: Region) -> Tensor:
    """Block rows (n_blocks, block_width) out of the three tables; 0 where a block goes on after the last bin."""
    genome = torch.zeros(region.n_blocks, described.config.block_width)
    layers = layer_shapes(described)
    tables = [
        (name, width, weights.dataset(name, 0, layers[name]["embeddings"], "factors")) for name, width in TABLES.items()
    ]
    for first, last in region.pieces(CHUNK):
        for (name, width, table), part in zip(tables, split_block(genome[first:last], described.config), strict=True):
            # the tables of wider scales may have a row more than there are stretches
            start, stop = first * BLOCK_BINS // width, min(last * BLOCK_BINS, region.n_bins + width - 1) // width
            values = _numbers(weights, table, name, slice(start, stop))
            rows = torch.zeros(part.shape[0] * part.shape[1], part.shape[2])
            rows[: len(values)] = values
            part.copy_(rows.view(part.shape))
    return genome


def _existing(
    out: Path, network: Network, described: Description, assembly: Assembly, chrom: str, overwrite: bool
) -> bool:
    """Whether `out` is the directory of just this network. Raises InputError where it is of another one."""
    if not (out / "model.yaml").is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out} is there already and no model: give another out=")
        return False
    model = load_model(out, only_whole=True)
    before, now = model.network.state_dict(), network.state_dict()
    same = before.keys() == now.keys() and all(torch.equal(before[name], now[name]) for name in now)
    names = (model.cells, model.assays, dict(model.assembly.sizes))
    if not same or names != (described.cells, described.assays, dict(assembly.sizes)):
        raise InputError(
            f"{out} is the directory of a model with other shared parameters: a directory holds the chromosomes of "
            "one network; give another out="
        )
    if chrom in model.regions and not overwrite:
        raise InputError(f"{out} has factors of {chrom} already: overwrite=true reads them again")
    return True
