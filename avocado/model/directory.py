"""A trained model is a directory, which one call loads without Hydra or Lightning:

    model.yaml            readable: sizes, cell types, assays, assembly, and the role every track had in training
    shared.safetensors    network, cell-type factors, assay factors
    <region>.safetensors  genome factors of one chromosome (or of the pilot regions), one file each

Chromosomes are trained apart and added one by one, so the files of a directory never change together: a region's
file names the shared parameters it was trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor

from avocado.data.compendium import Pair, pairs_in, unmeasured
from avocado.data.genome import Assembly, Region, file_stem
from avocado.data.joined import join
from avocado.data.regions import is_bed
from avocado.data.store import SignalStore, tracks_of
from avocado.data.windows import Window, windows
from avocado.errors import InputError
from avocado.model.baseline import RegressionBaseline, forget_regressions, kept_regressions
from avocado.model.config import ModelConfig
from avocado.model.factors import GenomeFactors, factors_at, joined, states_at
from avocado.model.network import Network
from avocado.model.own_store import find_store, require_tracks
from avocado.model.region_files import SHARED, region_files, region_of, regions_in
from avocado.model.region_files import save_region as save_region
from avocado.model.regression import OTHERS, WINDOWS, Fitted
from avocado.model.states import StatesNetwork
from avocado.model.tensor_files import opened, read_tensors, write_tensors
from avocado.model.transfers import (
    GIVEN,
    Transfer,
    TransferredBaseline,
    added_baseline,
    given_stores,
    n_known,
    own_tracks,
    transfers_in,
)
from avocado.utils.files import replacing, sha256

FORMAT_VERSION = 4
PRIOR = ("prior.scales", "prior.projection", "prior.weights")  # tensors in it, of a model with a baseline
# mean and deviation, arcsinh, of the tracks that were given in transfers; weights as `StatesNetwork.added_gate`
GIVEN_SCALES, GIVEN_GATE = "given.scales", "given.gate"


@dataclass(frozen=True, repr=False)
class Model:
    """A loaded model. Genome factors are read when asked for."""

    path: Path
    network: Network | StatesNetwork  # in evaluation mode
    cells: list[str]
    assays: list[str]
    assembly: Assembly
    tracks: pd.DataFrame  # cell, assay, role: train, val or test; given, of what was added
    regions: dict[str, Region]  # with genome factors in this directory
    training: dict[str, Any]  # what the pilot or joint run was: stage, fold, seed, store, version
    regression: Fitted | None = None  # of a model with a baseline, see `baseline.RegressionBaseline`
    store: SignalStore | None = None  # where the training tracks are now, if not where they were
    alone: bool = False  # leave the baseline out, and so need no store
    transfers: tuple[Transfer, ...] = ()  # what was added to it since
    given_scales: np.ndarray | None = None  # (2, n_given), see GIVEN_SCALES

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
        ) + "".join(f"\n  {its}" for its in self.transfers)

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
        if (name := str(region)) in self.regions or not (":" in name or is_bed(name)):
            self._require(name)
        return windows(self.regions, self.assembly, region)

    @staticmethod
    def _table(factors: Tensor, names: list[str], kind: str) -> pd.DataFrame:
        return pd.DataFrame(factors.detach().cpu().numpy(), index=pd.Index(names, name=kind))

    @property
    def own_tracks(self) -> pd.DataFrame:
        """The tracks that the model was trained or held out with: those of `tracks` that no transfer brought."""
        return own_tracks(self.tracks, self.cells, self.assays, self.transfers)

    @cached_property
    def baseline(self) -> RegressionBaseline | TransferredBaseline | None:
        """What cross-assay regression imputes, for a model that combines it: made of the training tracks.

        None where the model has no baseline, or is to do without. Raises InputError where the store is not at hand.
        """
        if self.alone or self.regression is None:
            return None
        store = own_store_of(self)
        cells, assays = (its[:n] for its, n in zip((self.cells, self.assays), self.n_known, strict=True))
        columns = [store.track_index(*pair) for pair in pairs_in(self.tracks, "train")]
        region = self.training.get("region")
        if region in self.regions and store.regions.get(region) not in (None, self.regions[region]):
            region = None  # of this name, and elsewhere
        train, seed = tracks_of(store, columns, (cells, assays)), self.training.get("seed", 0)
        kept = kept_regressions(self.path, self.shared_checksum)
        own = RegressionBaseline.of(store, train, cells, assays, self.regression, region, seed, kept)
        if self.given_scales is None:
            return own
        kept = kept_regressions(self.path, self.shared_checksum, added=True)
        added = added_baseline(
            own, given_stores(self.path, self.transfers), (self.cells, self.assays), pairs_in(self.tracks, GIVEN),
            self.given_scales, [its.region for its in self.transfers], kept,
        )  # fmt: skip
        return TransferredBaseline(own, added)

    @property
    def n_known(self) -> tuple[int, int]:
        """How many cell types and assays the model was trained with; those that were added come behind them."""
        return n_known(self.cells, self.assays, self.transfers)

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
    transfers: Sequence[Transfer] = (),
    given_scales: np.ndarray | None = None,
) -> None:
    """Write the shared parameters and then `model.yaml`, which completes them.

    regression: of a model with a baseline, whose `training` says where the store is. transfers, given_scales: see
    `Model`.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if regression is not None:
        parts = (regression.scales, regression.projection, regression.weights)
        tensors |= {name: torch.from_numpy(part) for name, part in zip(PRIOR, parts, strict=True)}
    if given_scales is not None:
        tensors[GIVEN_SCALES] = torch.from_numpy(given_scales)
    if isinstance(network, StatesNetwork) and network.added_gate is not None:
        tensors[GIVEN_GATE] = network.added_gate.cpu()
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
        **({"transfers": [its.plain() for its in transfers]} if transfers else {}),
    }
    forget_regressions(directory)
    with replacing(directory / "model.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120))


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
        transfers = transfers_in(meta)
    except (KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())  # YAML's take several lines
        raise InputError(f"{file} is damaged ({type(error).__name__}: {reason}); restore it or train again") from None
    tensors, n_train = read_tensors(path / SHARED), int((tracks["role"] == "train").sum())
    known = n_known(cells, assays, transfers)
    network = new_network(config, len(cells), len(assays), n_train, known)
    if sha256(path / SHARED) != checksum:
        raise InputError(f"{path / SHARED} is not the file that model.yaml describes: restore it or train again")
    prior, given = [tensors.pop(name, None) for name in PRIOR], tensors.pop(GIVEN_SCALES, None)
    gate = tensors.pop(GIVEN_GATE, None)
    if config.kind == "states":
        tensors.setdefault("limits", torch.ones(len(cells), len(assays)))  # models of earlier versions have none
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != expected:
        wrong = next(name for name in {**expected, **found} if found.get(name) != expected.get(name))
        raise InputError(
            f"{path / SHARED}: {wrong} has shape {found.get(wrong)}, model.yaml says {expected.get(wrong)}: "
            "the files are of two models"
        )
    network.load_state_dict(tensors)
    if isinstance(network, StatesNetwork):
        network.added_gate = gate
    network.eval().requires_grad_(False)
    regions = regions_in(path, _makers(meta), assembly, config.block_width if only_whole else None)
    regression = None
    if config.baseline != "none":
        n_inputs = len(WINDOWS) + len(OTHERS) * known[1]
        n_features = 0 if prior[1] is None else prior[1].shape[-1]
        shapes = (2, n_train), (n_inputs + 1, n_features), (*known, n_inputs + n_features + 1)
        for name, tensor, shape in zip(PRIOR, prior, shapes, strict=True):
            if tensor is None or tuple(tensor.shape) != shape:
                raise InputError(f"{path / SHARED} has no {name} of shape {shape}: restore it or train again")
        regression = Fitted(*(tensor.numpy() for tensor in prior if tensor is not None))
    if store is not None:
        require_tracks(store, path, own_tracks(tracks, cells, assays, transfers), training)
    return Model(
        path, network, cells, assays, assembly, tracks, regions, training, regression, store, not baseline, transfers,
        None if given is None else given.numpy(),
    )  # fmt: skip


def new_network(
    config: ModelConfig, n_cells: int, n_assays: int, n_tracks: int, known: tuple[int, int] | None = None
) -> Network | StatesNetwork:
    """An untrained network of the kind that a config asks for.

    n_tracks: training tracks; known: the numbers of cell types and assays that those are of, None: all.
    """
    if config.kind == "states":
        return StatesNetwork(config, n_cells, n_assays, n_tracks, known)
    return Network(config, n_cells, n_assays)


def own_store_of(model: Model) -> SignalStore:
    """The store of the tracks that a model learned from. Raises InputError where it is gone, or holds others now."""
    return model.store or find_store(model.path, model.own_tracks, model.training, model.regression is not None)


def store_of(model: Model) -> SignalStore:
    """The same, and with it the tracks that were given in transfers: all that the model's table of tracks has."""
    return join([own_store_of(model), *given_stores(model.path, model.transfers)])


def _makers(meta: dict[str, Any]) -> set[str]:
    """Checksums of the shared parameters whose genome factors fit: a transfer changes nothing that these depend on."""
    return {meta["shared_sha256"], *(its.shared_sha256 for its in transfers_in(meta))}


def unusable_regions(path: Path, region: str | None = None) -> dict[str, str]:
    """Files of genome factors, by region, that are truncated or of another model, and what is wrong with each.

    region: look at the file of this one only, which is there.
    """
    meta = yaml.safe_load((path / "model.yaml").read_text())
    width = ModelConfig(**meta["model"]).block_width
    found = {}
    for file in region_files(path) if region is None else [path / f"{file_stem(region)}.safetensors"]:
        try:
            region_of(file, _makers(meta), width)
        except InputError as error:
            found[file.stem] = str(error)
    return found
