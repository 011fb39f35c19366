"""A trained model is a directory, which one call loads without Hydra or Lightning:

    model.yaml            readable: sizes, cell types, assays, assembly, and the role every track had in training
    shared.safetensors    network, cell-type factors, assay factors
    <region>.safetensors  genome factors of one chromosome (or of the pilot regions), one file each

Chromosomes are trained apart and added one by one, so the files of a directory never change together: a region's
file names the shared parameters it was trained with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from torch import Tensor

from avocado.data.compendium import Pair, pairs_in, unmeasured
from avocado.data.genome import Assembly, Region, file_stem
from avocado.data.regions import is_bed
from avocado.data.store import SignalStore, tracks_of
from avocado.data.windows import Window, windows
from avocado.errors import InputError
from avocado.model.baseline import RegressionBaseline, forget_regressions, kept_regressions
from avocado.model.config import ModelConfig
from avocado.model.factors import GenomeFactors, factors_at, joined, states_at
from avocado.model.network import Network
from avocado.model.own_store import find_store, require_tracks
from avocado.model.regression import OTHERS, WINDOWS, Fitted
from avocado.model.states import StatesNetwork
from avocado.model.tensor_files import opened, read_tensors, write_tensors
from avocado.utils.files import replacing, sha256

FORMAT_VERSION = 4
SHARED = "shared.safetensors"
PRIOR = ("prior.scales", "prior.projection", "prior.weights")  # tensors in it, of a model with a baseline


@dataclass(frozen=True, repr=False)
class Model:
    """A loaded model. Genome factors are read when asked for."""

    path: Path
    network: Network | StatesNetwork  # in evaluation mode
    cells: list[str]
    assays: list[str]
    assembly: Assembly
    tracks: pd.DataFrame  # cell, assay, role: train, val or test
    regions: dict[str, Region]  # with genome factors in this directory
    training: dict[str, Any]  # what the pilot or joint run was: stage, fold, seed, store, version
    regression: Fitted | None = None  # of a model with a baseline, see `baseline.RegressionBaseline`
    store: SignalStore | None = None  # where the training tracks are now, if not where they were
    alone: bool = False  # leave the baseline out, and so need no store

    def genome(self, region: str) -> Tensor:
        """Genome factors (n_blocks, block_width) of a region, float32. Raises InputError when missing or damaged."""
        return self.rows(region)[:]

    def rows(self, region: str) -> Any:
        """What `genome` returns, of which only the rows are read that a slice asks for; now only the file's header."""
        self._require(region)
        with opened(self.path / f"{file_stem(region)}.safetensors") as file:
            rows = file.get_slice("genome") if "genome" in file.keys() else None  # noqa: SIM118
        shape = (self.regions[region].n_blocks, self.network.config.block_width)
        found = None if rows is None else tuple(rows.get_shape())
        if found != shape:
            raise InputError(
                f"{self.path / file_stem(region)}.safetensors holds factors of shape {found}, the model needs "
                f"{shape}: it belongs to another model; train this region again"
            )
        return rows

    def __repr__(self) -> str:
        c, roles = self.network.config, self.tracks["role"].value_counts()
        counts = ", ".join(f"{number} {role}" for role, number in roles.items()) or "experiments not known"
        baseline = "" if c.baseline == "none" or self.alone else f", combined with {c.baseline}"
        return (
            f"Avocado model {self.path}: {len(self.cells)} cell types × {len(self.assays)} assays ({counts})\n"
            f"  {c.cell_factors} cell-type, {c.assay_factors} assay, {c.genome_factors} genome factors{baseline}\n"
            f"  factors of {', '.join(self.regions) or 'no region'} ({self.assembly.name})"
        )

    @property
    def cell_factors(self) -> pd.DataFrame:
        """Cell-type factors, a row for each cell type (n_cells, factors)."""
        return self._table(self.network.cell_factors, self.cells, "cell")

    @property
    def assay_factors(self) -> pd.DataFrame:
        """Assay factors, a row for each assay (n_assays, factors)."""
        return self._table(self.network.assay_factors, self.assays, "assay")

    def genome_factors(self, region: str | Path) -> GenomeFactors:
        """Genome factors of a region at 25 bp, 250 bp and 5 kbp, with coordinates.

        Parameters
        ----------
        region
            One that the model has factors of, `chrom:start-end` in bp, or a BED file.

        Raises
        ------
        InputError
            For a place that the model has no factors of.
        """
        config = self.network.config
        return joined(
            [factors_at(self.genome(its.source), config, self.regions[its.source], its) for its in self.windows(region)]
        )

    def cell_states(self, cell: str, region: str | Path) -> GenomeFactors:
        """A cell type's states, its latent representation at every position: its own, and then those that all share.

        Genome factors are the same for all cell types; weighted by one's factors they are its state at 25 bp, 250 bp
        and 5 kbp, from which the network imputes every assay. Region and coordinates as in `genome_factors`.

        Raises
        ------
        InputError
            For a cell type or a place that the model does not know, and a model of kind 'paper', which has no states.
        """
        return states_at(self.genome_factors(region), self.loading(cell))

    def loading(self, cell: str) -> Tensor:
        """Weights of the programs in a cell type's state (programs,). Raises InputError where there are no states."""
        number, _ = self.pair(cell, self.assays[0])
        if self.network.config.kind != "states":
            raise InputError(
                f"model {self.path} is of kind 'paper', whose genome factors are the same for all cell types: there "
                f"are no states of {cell}; models of model.kind=states have them"
            )
        return self.network.cell_factors[number].detach()

    def windows(self, region: str | Path) -> list[Window]:
        """Where a place lies in the regions of this model, see `windows.windows`.

        Raises InputError for a place that the model has no factors of; no file is read.
        """
        name = str(region)
        if name in self.regions or not (":" in name or is_bed(name)):
            self._require(name)
        return windows(self.regions, self.assembly, region)

    @staticmethod
    def _table(factors: Tensor, names: list[str], kind: str) -> pd.DataFrame:
        return pd.DataFrame(factors.detach().cpu().numpy(), index=pd.Index(names, name=kind))

    @cached_property
    def baseline(self) -> RegressionBaseline | None:
        """What cross-assay regression imputes, for a model that combines it: made of the training tracks.

        None where the model has no baseline, or is to do without. Raises InputError where the store is not at hand.
        """
        if self.alone or self.regression is None:
            return None
        store = store_of(self)
        columns = [store.track_index(*pair) for pair in pairs_in(self.tracks, "train")]
        region = self.training.get("region")
        if region in self.regions and store.regions.get(region) not in (None, self.regions[region]):
            region = None  # of this name, and elsewhere
        train, seed = tracks_of(store, columns), self.training.get("seed", 0)
        kept = kept_regressions(self.path, self.shared_checksum)
        return RegressionBaseline.of(store, train, self.cells, self.assays, self.regression, region, seed, kept)

    def _require(self, region: str) -> None:
        if region not in self.regions:
            raise InputError(
                f"model {self.path} has no factors of '{region}'; it has: {', '.join(self.regions) or 'no region'}; "
                f"train them: python train.py stage=genome chrom={region}"
            )

    def pair(self, cell: str, assay: str) -> tuple[int, int]:
        """Indices of a cell type and an assay. Raises InputError that lists close or all names."""
        for name, known, kind in ((cell, self.cells, "cell type"), (assay, self.assays, "assay")):
            if name not in known:
                shown = ", ".join(known[:30]) + (f", ... ({len(known)} in all)" if len(known) > 30 else "")
                raise InputError(f"model {self.path} knows no {kind} '{name}'; it knows: {shown}")
        return self.cells.index(cell), self.assays.index(assay)

    def unmeasured(self) -> list[Pair]:
        """(cell, assay) pairs for which there is no experiment at all."""
        return unmeasured(self.tracks, self.cells, self.assays)

    @cached_property
    def shared_checksum(self) -> str:
        """sha256 of the shared parameters' file."""
        return sha256(self.path / SHARED)


def save_shared(
    directory: Path,
    network: Network | StatesNetwork,
    cells: Sequence[str],
    assays: Sequence[str],
    assembly: Assembly,
    tracks: pd.DataFrame,
    training: dict[str, Any],
    regression: Fitted | None = None,
) -> None:
    """Write the shared parameters and then `model.yaml`, which completes them.

    regression: of a model with a baseline, whose `training` says where the store is.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if regression is not None:
        parts = (regression.scales, regression.projection, regression.weights)
        tensors |= {name: torch.from_numpy(part) for name, part in zip(PRIOR, parts, strict=True)}
    with replacing(directory / SHARED) as temporary:
        write_tensors(tensors, temporary, directory / SHARED)
        checksum = sha256(temporary)
    content = {
        "format_version": FORMAT_VERSION,
        "model": asdict(network.config),
        "training": training,
        "shared_sha256": checksum,
        "cells": list(cells),
        "assays": list(assays),
        "assembly": {"name": assembly.name, "sizes": dict(assembly.sizes)},
        "tracks": [list(row) for row in tracks[["cell", "assay", "role"]].itertuples(index=False)],
    }
    forget_regressions(directory)
    with replacing(directory / "model.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120))


def save_region(directory: Path, region: Region, genome: Tensor) -> None:
    """Add a region's genome factors (n_blocks, block_width) to the model whose shared parameters are in `directory`."""
    layout = {
        "name": region.name,
        "segments": region.plain(),
        "shared_sha256": sha256(directory / SHARED),
    }
    metadata = {"region": json.dumps(layout)}  # one entry: safetensors writes several in random order
    with replacing(directory / f"{file_stem(region.name)}.safetensors") as temporary:
        tensors = {"genome": genome.detach().cpu().contiguous()}
        write_tensors(tensors, temporary, directory / f"{file_stem(region.name)}.safetensors", metadata)


def load_model(
    path: str | Path, store: SignalStore | None = None, *, only_whole: bool = False, baseline: bool = True
) -> Model:
    """Load a model directory; genome factors stay on disk until asked for.

    Parameters
    ----------
    path
        The directory, with `model.yaml` in it.
    store
        With the training tracks, for a model with a baseline whose store is no longer where it was.
    only_whole
        Leave out regions whose files are truncated or of another model.
    baseline
        False leaves the baseline out: the factorization imputes alone, from nothing but this directory.

    Returns
    -------
    Model
        On the CPU, in evaluation mode.

    Raises
    ------
    InputError
        When the directory is no model, of another format, or one of its files is missing, damaged or belongs to other
        shared parameters.
    """
    path = Path(path)
    file = path / "model.yaml"
    if not file.is_file():
        raise InputError(f"{path}: no model here (no model.yaml); train one: python train.py stage=pilot")
    try:
        meta = yaml.safe_load(file.read_text())
        if meta["format_version"] != FORMAT_VERSION:
            raise InputError(f"{path}: model format {meta['format_version']}, this program reads {FORMAT_VERSION}")
        config = ModelConfig(**meta["model"])
        assembly = Assembly(meta["assembly"]["name"], meta["assembly"]["sizes"])
        cells, assays = list(meta["cells"]), list(meta["assays"])
        tracks = pd.DataFrame(meta["tracks"], columns=pd.Index(["cell", "assay", "role"]))
        checksum, training = meta["shared_sha256"], meta["training"]
    except (KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())  # YAML's take several lines
        raise InputError(f"{file} is damaged ({type(error).__name__}: {reason}); restore it or train again") from None
    tensors, n_train = read_tensors(path / SHARED), int((tracks["role"] == "train").sum())
    network = new_network(config, len(cells), len(assays), n_train)
    if sha256(path / SHARED) != checksum:
        raise InputError(f"{path / SHARED} is not the file that model.yaml describes: restore it or train again")
    prior = [tensors.pop(name, None) for name in PRIOR]
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != expected:
        wrong = next(name for name in {**expected, **found} if found.get(name) != expected.get(name))
        raise InputError(
            f"{path / SHARED}: {wrong} has shape {found.get(wrong)}, model.yaml says {expected.get(wrong)}: "
            "the files are of two models"
        )
    network.load_state_dict(tensors)
    network.eval().requires_grad_(False)
    regions = _regions(path, checksum, assembly, config.block_width if only_whole else None)
    regression = None
    if config.baseline != "none":
        n_inputs = len(WINDOWS) + len(OTHERS) * len(assays)
        n_features = 0 if prior[1] is None else prior[1].shape[-1]
        shapes = (2, n_train), (n_inputs + 1, n_features), (len(cells), len(assays), n_inputs + n_features + 1)
        for name, tensor, shape in zip(PRIOR, prior, shapes, strict=True):
            if tensor is None or tuple(tensor.shape) != shape:
                raise InputError(f"{path / SHARED} has no {name} of shape {shape}: restore it or train again")
        regression = Fitted(*(tensor.numpy() for tensor in prior if tensor is not None))
    if store is not None:
        require_tracks(store, path, tracks, training)
    return Model(path, network, cells, assays, assembly, tracks, regions, training, regression, store, not baseline)


def new_network(config: ModelConfig, n_cells: int, n_assays: int, n_tracks: int) -> Network | StatesNetwork:
    """An untrained network of the kind that a config asks for. n_tracks: training tracks."""
    if config.kind == "states":
        return StatesNetwork(config, n_cells, n_assays, n_tracks)
    return Network(config, n_cells, n_assays)


def store_of(model: Model) -> SignalStore:
    """The store of a model's tracks. Raises InputError where it is gone, or holds other tracks now."""
    return model.store or find_store(model.path, model.tracks, model.training, model.regression is not None)


def unusable_regions(path: Path, region: str | None = None) -> dict[str, str]:
    """Files of genome factors, by region, that are truncated or of another model, and what is wrong with each.

    region: look at the file of this one only, which is there.
    """
    meta = yaml.safe_load((path / "model.yaml").read_text())
    width = ModelConfig(**meta["model"]).block_width
    found = {}
    for file in _region_files(path) if region is None else [path / f"{file_stem(region)}.safetensors"]:
        try:
            _region(file, meta["shared_sha256"], width)
        except InputError as error:
            found[file.stem] = str(error)
    return found


def _region_files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.safetensors"))
    return [file for file in files if file.name != SHARED and not file.name.startswith(".")]


def _regions(path: Path, checksum: str, assembly: Assembly, only_of_width: int | None = None) -> dict[str, Region]:
    """Regions with a factors file, chromosomes in assembly order, other regions before them.

    only_of_width: leave out the files that cannot be used.
    """
    found: dict[str, Region] = {}
    for file in _region_files(path):
        try:
            region = _region(file, checksum, only_of_width)
        except InputError:
            if only_of_width is None:
                raise
            continue
        found[region.name] = region
    order = {chrom: number for number, chrom in enumerate(assembly.sizes)}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], -1)))


def _region(file: Path, checksum: str, width: int | None) -> Region:
    """The region of a factors file. Raises InputError where it does not belong to the model, or, with the `width` of a
    block's factors, has another shape."""
    with opened(file) as tensors:
        metadata = tensors.metadata() or {}
        shape = tensors.get_slice("genome").get_shape() if "genome" in tensors.keys() else None  # noqa: SIM118
    try:
        layout = json.loads(metadata["region"])
        region = Region.of_plain(layout["name"], layout["segments"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{file} is not a file of genome factors: remove it, or train this region again") from None
    if layout.get("shared_sha256") != checksum:
        raise InputError(
            f"{file} was trained with other shared parameters than {file.parent / SHARED}: "
            f"remove it, or train this region again"
        )
    if file_stem(region.name) != file.stem:
        raise InputError(f"{file} holds the factors of {region.name}: remove it, or train this region again")
    if width is not None and shape != [region.n_blocks, width]:
        raise InputError(f"{file} holds factors of shape {shape}, not {[region.n_blocks, width]}: train it again")
    return region
