"""The baseline that a model combines with its factorization: regressions of the pairs that are asked for."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from avocado.data.compendium import Pair
from avocado.data.genome import file_stem
from avocado.data.store import SignalStore, Tracks, tracks_of, write_region
from avocado.errors import InputError
from avocado.model.regression import (
    CPU,
    Fitted,
    RegressionConfig,
    drawn_bins,
    impute_blocks,
    piece_blocks,
    regress,
    unfitted,
)
from avocado.model.scales import expected_scales, track_scales
from avocado.utils.files import replacing
from avocado.utils.progress import shown

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RegressionBaseline:
    """Regressions of any pair of some cell types and assays, made of a store's training tracks when asked for.

    A pair is regressed when it is first asked for, on the bins of `region` that `config` draws; what comes out does not
    depend on when that is, or on which other pairs are.
    """

    store: SignalStore
    train: Tracks
    cells: list[str]
    assays: list[str]
    fitted: Fitted  # with weights (n_cells, n_assays, ...), NaN for pairs that were not asked for yet
    config: RegressionConfig | None = None
    region: str | None = None
    kept: Path | None = None  # file of weights that were found after training

    @classmethod
    def of(
        cls, store: SignalStore, train: Tracks, cells: list[str], assays: list[str], fitted: Fitted,
        region: str | None, seed: int, kept: Path,
    ) -> RegressionBaseline:  # fmt: skip
        """That of a model, with what was regressed after training and kept."""
        config = RegressionConfig(features=fitted.projection.shape[1], seed=seed)
        return cls(store, train, cells, assays, fitted, config, region, kept).with_kept()

    def with_kept(self) -> RegressionBaseline:
        """The same with the weights that are in `kept`."""
        fitted = self.fitted
        if self.kept is not None and self.kept.is_file():
            with contextlib.suppress(ValueError, EOFError):  # damaged: they are found anew
                found = np.load(self.kept, allow_pickle=False)
                if found.shape == fitted.weights.shape:
                    fitted = replace(fitted, weights=np.where(np.isnan(fitted.weights), found, fitted.weights))
        return replace(self, fitted=fitted)

    def require(self, pairs: Iterable[Pair], progress: bool = False) -> None:
        """Regress those of the pairs that have not been, in one pass over the training tracks of `region`.

        Raises InputError where the store does not have that region.
        """
        weights = self.fitted.weights
        places = {pair: (self.cells.index(pair[0]), self.assays.index(pair[1])) for pair in pairs}
        missing = [pair for pair, place in places.items() if np.isnan(weights[place][-1])]
        if not missing:
            return
        if self.config is None or self.region is None:
            raise InputError(f"no regression of {' '.join(missing[0])}: train the model again, or use baseline=none")
        if self.region not in self.store.regions:
            raise InputError(
                f"store {self.store.path} lacks region {self.region}, on which the baseline of {' '.join(missing[0])} "
                "is to learn: ingest it too, or use baseline=none"
            )
        log.info("regressing %d pairs on %s", len(missing), self.region)
        scales = self.fitted.scales
        expected = self.expected(missing, self.config.scale_ridge)
        means = drawn_bins(self.store, self.region, self.train.columns, scales, self.config)
        found = regress(means, scales, expected, self.train, self.assays, missing, self.config, progress)
        for pair, its in zip(missing, found.weights, strict=True):
            weights[places[pair]] = its
        if self.kept is not None:
            try:
                with replacing(self.kept) as temporary, temporary.open("wb") as file:
                    np.save(file, weights, allow_pickle=False)
            except InputError as error:  # somebody else's model: they are found anew another time
                log.info("%s", error)

    def expected(self, pairs: Sequence[Pair], ridge: float) -> np.ndarray:
        """Mean and deviation that are expected of pairs (n_pairs, 2), see `scales.expected_scales`."""
        return expected_scales(self.fitted.scales, self.train, pairs, ridge)

    def blocks(
        self,
        region: str,
        cells: np.ndarray,
        assays: np.ndarray,
        steps: Iterable[tuple[int, int]],
        device: torch.device = CPU,
    ) -> Iterator[torch.Tensor]:
        """Arcsinh signal of the pairs (cells[k], assays[k]) in blocks [first, last) for each of `steps`.

        Yields float32 (blocks, 200, n_pairs) on `device`.
        """
        pairs = [(self.cells[cell], self.assays[assay]) for cell, assay in zip(cells, assays, strict=True)]
        self.require(pairs)
        fitted = replace(self.fitted, weights=self.fitted.weights[cells, assays])
        signal, layout = self.store.signal(region), self.store.region(region)
        return impute_blocks(signal, layout, self.train, self.assays, fitted, pairs, steps, device)

    def write(
        self,
        directory: Path,
        region: str,
        cells: np.ndarray,
        assays: np.ndarray,
        device: torch.device = CPU,
        progress: bool = False,
    ) -> Path:
        """Write the pairs' signal over a region as the store has its own, and return the file's name."""
        layout = self.store.region(region)
        steps = layout.pieces(piece_blocks(len(self.train.columns), device))
        directory.mkdir(parents=True, exist_ok=True)
        shown_steps = shown(steps, f"regressing over {region}", len(steps), progress)
        blocks = self.blocks(region, cells, assays, shown_steps, device)
        write_region(directory, layout, len(cells), "float16", (its.half().cpu().numpy() for its in blocks))
        return directory / f"{file_stem(region)}.npy"


def fit_regression(
    store: SignalStore,
    region: str,
    columns: np.ndarray,
    cells: list[str],
    assays: list[str],
    config: RegressionConfig | None = None,
) -> RegressionBaseline:
    """The baseline that a region's training tracks make; no pair is regressed yet.

    A training track's own signal has no part in what its pair gets.
    """
    config = config or RegressionConfig()
    fitted = unfitted(track_scales(store, region, columns), len(cells), assays, config)
    return RegressionBaseline(store, tracks_of(store, columns), cells, assays, fitted, config, region)


def kept_regressions(directory: Path, checksum: str, added: bool = False) -> Path:
    """The file beside a model for weights that are found after training; checksum: of the shared parameters.

    added: of the pairs that a transfer added.
    """
    return directory / f"regressions.{checksum[:16]}{'.added' if added else ''}.npy"


def forget_regressions(directory: Path) -> None:
    """Remove those of earlier shared parameters."""
    for stale in directory.glob("regressions.*.npy"):
        stale.unlink()
