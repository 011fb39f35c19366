"""Avocado itself behind the protocol of all imputers: a deep tensor factorization, trained when it is asked to.

For work with a model, `train.py` keeps one on disk, with checkpoints and scores; this is for comparisons, in which
every method learns from the same experiments and is asked for the same tracks.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from avocado.data.compendium import Pair
from avocado.data.store import SignalStore, tracks_of
from avocado.imputers.config import AvocadoConfig
from avocado.inference.impute import impute
from avocado.model.config import ModelConfig
from avocado.model.directory import Model, load_model, save_region, save_shared
from avocado.model.network import Network
from avocado.model.states import StatesNetwork
from avocado.training.config import FitConfig, OptimizerConfig
from avocado.training.loop import Trained, TrainingSpec, carry_out, initial_network
from avocado.utils.hardware import Hardware


class Avocado:
    """Trains network and factors on the region of `fit`, and the factors of other regions when they are asked for.

    Its models live in a temporary folder, which goes when the imputer does. Raises in `predict` what a loaded model
    raises: InputError for a cell type or an assay that the store does not have.
    """

    def __init__(
        self,
        model: ModelConfig,
        optimizer: OptimizerConfig,
        fit: FitConfig,
        seed: int = 0,
        hardware: Hardware | None = None,
        progress: bool = False,
        config: AvocadoConfig | None = None,
    ) -> None:
        self.config = config or AvocadoConfig()
        self.plan = TrainingSpec("joint", "", seed, model, optimizer, fit)
        self.hardware, self.progress = hardware or Hardware(), progress

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        """Train the models, one after another."""
        self._folder = Path(tempfile.mkdtemp(prefix="avocado-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._store, self._experiments = store, list(experiments)
        roles = np.full(len(store.tracks), "test", dtype=object)
        roles[self._experiments] = "train"
        self._tracks = store.tracks[["cell", "assay"]].assign(role=roles)
        for number in range(self.config.models):
            plan = replace(self.plan, region=region, seed=self.plan.seed + number)
            generator = torch.Generator().manual_seed(plan.seed)
            train = tracks_of(store, self._experiments)
            network = initial_network(plan.model, store, region, train, generator)
            folder = self._directory(number)
            training = {"stage": plan.stage, "region": region, "seed": plan.seed,
                        "store": str(store.path.resolve()), "store_checksum": store.tracks_checksum}  # fmt: skip

            trained = self._train(plan, network, generator)
            fitted = None if trained.baseline is None else trained.baseline.fitted
            save_shared(folder, trained.network, store.cells, store.assays, store.assembly, self._tracks, training,
                        fitted)  # fmt: skip
            save_region(folder, store.region(region), trained.genome)

    def predict(self, pairs: Sequence[Pair], region: str) -> np.ndarray:
        """Mean imputed arcsinh signal of the models, float32 (n_bins, n_pairs)."""
        imputed = np.zeros((self._store.region(region).n_bins, len(pairs)), dtype=np.float32)
        for number in range(self.config.models):
            imputed += impute(self._model(number, region), list(pairs), region, self.hardware)
        return imputed / self.config.models

    def _model(self, number: int, region: str) -> Model:
        """A model with the factors of a region, which are trained if they are not there."""
        folder = self._directory(number)
        model = load_model(folder, self._store)
        if region in model.regions:
            return model
        plan = replace(self.plan, stage="genome", region=region, seed=self.plan.seed + number)
        generator = torch.Generator().manual_seed(plan.seed)
        trained = self._train(plan, model.network, generator)
        save_region(folder, self._store.region(region), trained.genome)
        return load_model(folder, self._store)

    def _train(self, plan: TrainingSpec, network: Network | StatesNetwork, generator: torch.Generator) -> Trained:
        """Genome factors of a region; unless the stage is genome, the network learns with them."""
        layout = self._store.region(plan.region)
        plan = replace(plan, fit=plan.fit.for_region(layout.n_bins, len(self._experiments)))
        names = self._store.cells, self._store.assays
        train = tracks_of(self._store, self._experiments)
        trained = carry_out(
            plan, self._store, network, names, generator, train, None, self.hardware, progress=self.progress
        )
        trained.network.eval().requires_grad_(False)
        return trained

    def _directory(self, number: int) -> Path:
        return self._folder / f"seed{self.plan.seed + number}"
