"""Ensembles: the weighted mean of what several imputers say.

Methods err in different ways, so their mean is often better than each of them. Weights are either all equal or fitted:
some of the training tracks are set apart, the members are fitted to the rest and impute these tracks, and the weights
are those of the smallest squared error (stacking, Breiman 1996, "Stacked regressions"). Then the members are fitted
again, to all training tracks. Held-out tracks have no part in it.

Fitted weights are at least 0, which keeps members that resemble each other from cancelling out, and sum to 1: members
that learn from fewer tracks shrink more than they will in the end, and free weights would make up for that. With few
tracks set apart, the best weights are those of chance, so the plain mean counts as the solution for one track more: it
makes up a fourth of weights from 3 tracks, a hundredth of weights from 99.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from avocado.data.compendium import Pair, pairs_in
from avocado.data.splits import split
from avocado.data.store import SignalStore
from avocado.data.windows import Window
from avocado.errors import InputError
from avocado.imputers.config import EnsembleConfig
from avocado.imputers.protocol import Foretelling, Imputer, groups, possible

MIN_TRACKS = 2  # set apart; from a single one, the best member of that track would take all
CHUNK_BINS = 1 << 20

log = logging.getLogger(__name__)


class Ensemble:
    """The weighted mean of the members' arcsinh signals.

    `member_weights` maps each member's name to its weight, after `fit`. A member with the weight 0 is not asked.
    """

    def __init__(self, members: Mapping[str, Imputer], config: EnsembleConfig | None = None) -> None:
        if not members:
            raise InputError("an ensemble without members: name some imputers")
        self.members = dict(members)
        self.config = config or EnsembleConfig()

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        """Find the weights, then fit the members to all of the columns `experiments`.

        With fitted weights every member is fitted once more in each round, and a group of tracks is in memory at a
        time, of all members. Raises InputError where there are too few tracks to set some apart, or to impute these
        from the rest.
        """
        self.member_weights = dict.fromkeys(self.members, 1 / len(self.members))
        if self.config.weights == "fitted":
            self.member_weights = self._fit_weights(store, [int(column) for column in experiments], region)
            found = ", ".join(f"{name} {weight:.3f}" for name, weight in self.member_weights.items())
            log.info("ensemble: %s", found)
        for name, member in self.members.items():
            if self.member_weights[name] > 0:
                member.fit(store, experiments, region)

    def predict(self, pairs: Sequence[Pair], region: str) -> np.ndarray:
        """Weighted mean of the members' arcsinh signals, float32 (n_bins, n_pairs).

        Raises InputError where one of the members cannot impute a pair.
        """
        total: np.ndarray | None = None
        for name, member in self.members.items():
            weight = np.float32(self.member_weights[name])
            if weight > 0:
                part = weight * np.asarray(member.predict(pairs, region), dtype=np.float32)
                total = part if total is None else total + part
        assert total is not None  # weights sum to 1
        return total

    def outlook(self, pairs: Sequence[Pair], region: str) -> str:
        """What the members say that take long; '' where there is none."""
        lines = [
            member.outlook(pairs, region)
            for name, member in self.members.items()
            if isinstance(member, Foretelling) and self.member_weights[name] > 0
        ]
        return "; ".join(filter(None, lines))

    def _fit_weights(self, store: SignalStore, experiments: list[int], region: str) -> dict[str, float]:
        n, n_tracks, refused = len(self.members), 0, None
        errors = np.zeros((n, n))
        for number in range(self.config.rounds):
            apart, rest = self._set_apart(store, experiments, self.config.seed + number)
            for member in self.members.values():
                member.fit(store, rest, region)
            layout, pairs = store.region(region), pairs_in(store.tracks.iloc[apart])
            # all members of a group are in memory at once
            for group in groups(pairs, layout.n_bins * n):
                imputed = []
                for member in self.members.values():  # of what one of them cannot impute, the others say nothing
                    found, reasons = possible(member, group, Window(region, layout), layout)
                    group = list(found)
                    refused = reasons[0] if reasons else refused
                    imputed.append(found)
                n_tracks += len(group)
                for pair in group:
                    signals = np.stack([found[pair] for found in imputed])
                    observed = store.read_track(*pair, region)
                    for first in range(0, len(observed), CHUNK_BINS):
                        part = slice(first, first + CHUNK_BINS)
                        wrong = signals[:, part].astype(np.float64) - observed[part]
                        errors += wrong @ wrong.T
        if n_tracks < MIN_TRACKS:
            raise InputError(
                f"ensemble with weights=fitted: of the tracks set apart {n_tracks} can be imputed by all members, at "
                f"least {MIN_TRACKS} are needed ({refused}); lower validation, or take weights=mean"
            )
        return dict(zip(self.members, solve_weights(errors, n_tracks).tolist(), strict=True))

    def _set_apart(self, store: SignalStore, experiments: list[int], seed: int) -> tuple[list[int], list[int]]:
        """The columns on which members are compared, and those from which they learn for it."""
        table = store.tracks.iloc[experiments][["cell", "assay"]].reset_index(drop=True)
        try:
            roles = split(table, None, validation=self.config.validation, seed=seed)
        except InputError as error:
            raise InputError(f"ensemble with weights=fitted: {error}; or take weights=mean") from None
        apart, rest = ([c for c, role in zip(experiments, roles, strict=True) if role == r] for r in ("val", "train"))
        if len(apart) < MIN_TRACKS:
            raise InputError(
                f"ensemble with weights=fitted: validation={self.config.validation:g} of {len(experiments)} training "
                f"tracks sets {len(apart)} apart, at least {MIN_TRACKS} are needed; raise it, or take weights=mean"
            )
        return apart, rest


def solve_weights(errors: np.ndarray, n_tracks: int) -> np.ndarray:
    """Weights (M,) of M members, at least 0 and 1 in sum, of the smallest squared error, drawn to the plain mean.

    errors (M, M) is Σ (xᵢ − y)(xⱼ − y) over the bins of all `n_tracks` tracks, x being the members' signals and y the
    observed one. Members that are equal, or without error, are no trouble.
    """
    from scipy.optimize import nnls

    n = len(errors)
    # one track more, of average size, on which the plain mean is right
    apart = np.eye(n) - 1 / n
    errors = errors + apart.T @ errors @ apart / n_tracks
    # of equal members each gets as much
    errors += 1e-9 * np.eye(n) * (np.trace(errors) / n or 1.0)
    values, vectors = np.linalg.eigh(errors)
    # with weights of any sum s, s² × their error and (s − 1)²: what is best has the right proportions
    scale = np.sqrt(values[-1])
    rows = np.vstack([np.sqrt(np.maximum(values, 0))[:, None] * vectors.T, np.full(n, scale)])
    weights, _ = nnls(rows, np.append(np.zeros(n), scale))
    return weights / weights.sum()
