"""PREDICTD: imputation by a CP decomposition of the signal, cell type × assay × bin (Durham et al. 2018, Nat Commun).

Cell and assay factors are learned on a small random sample of bins; then every bin's own factors follow in closed form
from the training tracks at that bin. Neighbouring bins and position play no part. Several models, each of which
validates on other training tracks, are averaged, and what falls below 0 is set to 0.

With cell and assay factors fixed, an imputed track is a constant plus a weighted sum of the training tracks, with the
same weights at every bin, and so is the average of several models. So nothing is stored per bin: a track costs one
pass over the signal, as average activity does, whatever the rank and the number of models. The genome factors of
eight models of rank 100 would be larger than the signal of a thousand tracks itself.

Departures from the published program, which ran on a cluster and cannot be run today: all of a model's sampled bins
and tracks in every step (Adam) instead of single points in parallel slices with averaged parameters; no burn-in; the
step to stop at is chosen on the validation tracks of all models together. Its signal was arcsinh(−log10 p) like a
store's, but a bin was the plain mean of the intervals that touch it where ours is weighted by overlap, and an exact 0
counted as missing in training; here every value counts. `PredictdConfig`'s defaults depart further, where that imputes
better from few tracks: tracks are standardised, as cell types differ in how strong their tracks are, and a target has
the mean and deviation that its cell type's and assay's other tracks let expect; cell factors start alike, at 1, so that
a model begins near average activity and learns how cell types differ; genome factors are penalised from the start; the
ridge is chosen on the validation tracks; and the tracks of validation take part in the ridge regression. Where there
are many tracks a model learns from fewer bins, as it is the number of points, bins × tracks, that it costs. The
comments of its fields hold the published values.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from avocado.data.compendium import Pair, pairs_in
from avocado.data.splits import balanced_folds
from avocado.data.store import SignalStore, chunk_blocks, tracks_of
from avocado.errors import InputError
from avocado.imputers.config import PredictdConfig
from avocado.imputers.cp import Learned, Penalties, Sample, Schedule, initial, learn, track_weights
from avocado.imputers.protocol import groups
from avocado.model.scales import expected_scales, track_scales
from avocado.utils.hardware import device_of
from avocado.utils.progress import duration

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # tried where none is given
TRACKS_PER_FACTOR = 2  # where no rank is given
RANKS = (10, 100)  # the smallest and the largest rank then; 100 is the published one
NAMED = 12  # cell types or assays in a message

log = logging.getLogger(__name__)


class Predictd:
    """Imputes from a few factors of every cell type and assay, and of every bin. See the module.

    The same seed and device give the same result.
    """

    def __init__(
        self, config: PredictdConfig | None = None, seed: int = 0, device: str = "auto", progress: bool = False
    ) -> None:
        self.config = config or PredictdConfig()
        self.seed = seed
        self.device = device_of(device)
        self.progress = progress

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        """Learn cell and assay factors from the columns `experiments` at sampled bins of `region`.

        A log line says how long that will take at most, once the first steps have been timed. Memory: splits × points
        float32, about six times over, whatever the size of the region and the number of tracks: 0.2 GB with the default
        of a million points. Raises InputError where the tracks are too few to set some apart for validation.
        """
        self._store = store
        self._columns = [int(column) for column in experiments]
        table = store.tracks.iloc[self._columns].reset_index(drop=True)
        self._pairs = pairs_in(table)
        self._cells, self._assays = sorted(set(table["cell"])), sorted(set(table["assay"]))
        try:
            left_out = balanced_folds(table, self.config.splits, self.seed)
        except InputError as error:
            raise InputError(f"PREDICTD with splits={self.config.splits} of the training tracks: {error}") from None
        self._train = tracks_of(store, self._columns)
        self._scales = np.stack([np.zeros(len(table)), np.ones(len(table))])
        if self.config.standardise:
            self._scales = track_scales(store, region, self._train.columns)
        self._training = torch.tensor(left_out != np.arange(self.config.splits)[:, None])
        self._learned = self._learn(region)
        log.info(
            "PREDICTD: %d models of rank %d from %d tracks; validation MSE %.4f with ridge %g after %d steps",
            len(self._training),
            self._learned.factors.cells.shape[-1],
            len(self._columns),
            self._learned.error,
            self._learned.ridge,
            self._learned.step,
        )

    def predict(self, pairs: Sequence[Pair], region: str) -> np.ndarray:
        """Imputed arcsinh signal over any region of the store in one pass, float32 (n_bins, n_pairs), at least 0.

        A training track is imputed without itself: it is left out of the ridge regression, and so are the models that
        learned from it, where others have left it for validation. Raises InputError for a cell type or an assay that
        has no training track besides the one asked for.
        """
        layout, done = self._store.region(region), 0
        imputed = np.empty((layout.n_bins, len(pairs)), dtype=np.float32)
        for part, values in self._imputed(pairs, region):
            real = values[layout.mask[part]]
            imputed[done : done + len(real)] = real
            done += len(real)
        return imputed

    def outlook(self, pairs: Sequence[Pair], region: str) -> str:
        """How long it will take to impute these tracks over a region in a line.

        Measured on as many tracks as are imputed together, and one piece of the region.
        """
        layout = self._store.region(region)
        passes = list(groups(pairs, layout.n_bins))
        for pair in pairs:
            together = [pair] * len(passes[0])
            try:
                start = time.perf_counter()
                self.weights(*pair)
                weighing = time.perf_counter() - start
                part, _ = next(self._imputed(together, region))
                imputing = max(0.0, time.perf_counter() - start - (1 + len(together)) * weighing)
            except InputError:
                continue
            share = (min(part.stop, layout.n_blocks) - part.start) / layout.n_blocks
            seconds = len(pairs) * weighing + len(passes) * imputing / share
            return f"PREDICTD: {len(pairs):,} tracks, {duration(seconds)}"
        return "PREDICTD: no track can be imputed"

    def _imputed(self, pairs: Sequence[Pair], region: str) -> Iterator[tuple[slice, np.ndarray]]:
        """Imputed signal in pieces of about 64 MB of the store: their blocks, and float32 (blocks, 200, n_pairs)."""
        signal, n_blocks = self._store.signal(region), self._store.region(region).n_blocks
        found = [self.weights(*pair) for pair in pairs]
        weights = torch.tensor(np.stack([w for w, _ in found], axis=1), dtype=torch.float32, device=self.device)
        constants = torch.tensor([c for _, c in found], dtype=torch.float32, device=self.device)
        step = chunk_blocks(len(self._store.tracks))
        for first in range(0, n_blocks, step):
            part = slice(first, first + step)
            observed = torch.from_numpy(signal[part][:, :, self._columns]).to(self.device).float()
            yield part, (observed @ weights + constants).clamp_(min=0).cpu().numpy()

    def weights(self, cell: str, assay: str) -> tuple[np.ndarray, float]:
        """The weights (E,) and the constant that impute a track from the training tracks, all models averaged."""
        self._require_tracks(cell, assay)
        own = torch.tensor([pair == (cell, assay) for pair in self._pairs])
        others = ~self._training[:, own].any(1)
        chosen = others if others.any() else torch.ones_like(others)
        used = (self._training[chosen] | self.config.validation_in_ridge) & ~own
        cell_of, assay_of = self._one_hot(self._pairs)
        weights, constants = track_weights(
            self._learned.factors.each(lambda value: value[chosen]),
            cell_of,
            assay_of,
            used,
            self._one_hot([(cell, assay)]),
            torch.tensor([self._learned.ridge]),
        )
        mean, deviation = self._scales
        by_track, constant = weights.mean(0)[0, :, 0].numpy() / deviation, float(constants.mean())
        expected = np.array([0, 1])
        if self.config.standardise:
            expected = expected_scales(self._scales, self._train, [(cell, assay)])[0]
        return expected[1] * by_track, float(expected[0] + expected[1] * (constant - by_track @ mean))

    def _learn(self, region: str) -> Learned:
        config = self.config
        cell_of, assay_of = (matrix.to(self.device) for matrix in self._one_hot(self._pairs))
        mean, deviation = torch.tensor(self._scales, dtype=torch.float32, device=self.device)
        signal = (self._sample(region).to(self.device) - mean) / deviation
        sample = Sample(signal, cell_of, assay_of, self._training.float().to(self.device), -mean / deviation)
        low, high = RANKS
        rank = min(max(len(self._columns) // TRACKS_PER_FACTOR, low), high) if config.rank is None else config.rank
        # drawn on the CPU, so that the start does not depend on the device
        generator = torch.Generator().manual_seed(self.seed)
        start = initial(sample, rank, config.cell_start, config.factor_init, generator)
        penalties = Penalties(config.cell_penalty, config.assay_penalty, config.genome_penalty, config.cell_start)
        schedule = Schedule(
            config.learning_rate, config.max_steps, config.check_every, config.patience, config.halvings
        )
        ridges = RIDGES if config.ridge is None else (config.ridge,)
        with Progress(console=Console(stderr=True), disable=not self.progress) as bar:
            task = bar.add_task("PREDICTD", total=config.max_steps)

            started = time.perf_counter()

            def report(step: int, error: float) -> None:
                if step == config.check_every:
                    seconds = (time.perf_counter() - started) / step * config.max_steps
                    log.info(
                        "PREDICTD: %d models of rank %d from %d tracks × %d bins: at most %d steps, %s",
                        config.splits, rank, len(self._columns), signal.shape[1], config.max_steps, duration(seconds)
                    )  # fmt: skip
                bar.update(task, completed=step, description=f"PREDICTD, validation MSE {error:.4f}")

            learned = learn(sample, start, penalties, schedule, ridges, report)
            bar.update(task, completed=config.max_steps)
        return replace(learned, factors=learned.factors.each(torch.Tensor.cpu))

    def _sample(self, region: str) -> torch.Tensor:
        """Signal of the training tracks at each model's own random bins, float32 (splits, bins, tracks)."""
        signal = self._store.signal(region).reshape(-1, len(self._store.tracks))
        bins, wanted = np.flatnonzero(self._store.region(region).mask), self.config.bins
        if self.config.points is not None:
            wanted = max(1, min(wanted, self.config.points // len(self._columns)))
        chosen = []
        for model in range(self.config.splits):
            random = np.random.default_rng([self.seed, model])
            rows = np.sort(random.choice(bins, min(wanted, len(bins)), replace=False))
            chosen.append(signal[rows][:, self._columns].astype(np.float32))
        return torch.from_numpy(np.stack(chosen))

    def _one_hot(self, pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
        cells = torch.tensor([self._cells.index(cell) for cell, _ in pairs])
        assays = torch.tensor([self._assays.index(assay) for _, assay in pairs])
        return torch.eye(len(self._cells))[cells], torch.eye(len(self._assays))[assays]

    def _require_tracks(self, cell: str, assay: str) -> None:
        others = [pair for pair in self._pairs if pair != (cell, assay)]
        for kind, name, known in (
            ("cell type", cell, {c for c, _ in others}),
            ("assay", assay, {a for _, a in others}),
        ):
            if name not in known:
                besides = " besides this one" if (cell, assay) in self._pairs else ""
                raise InputError(
                    f"PREDICTD cannot impute {cell} {assay}: {kind} {name} has no training track{besides}; "
                    f"with training tracks: {', '.join(sorted(known)[:NAMED])}{' …' * (len(known) > NAMED)}"
                )
