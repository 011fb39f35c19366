"""In which order, and with which tracks, an epoch goes through a region."""

from __future__ import annotations

from dataclasses import dataclass

from avocado.errors import InputError

ORDERS = ("shuffled", "sequential")


@dataclass(frozen=True)
class Sampling:
    """How an epoch goes through a region: every bin once, each with some training tracks.

    order: whole blocks 'shuffled' anew every epoch, or 'sequential' along the genome, as the paper scans.
    tracks_per_bin: training tracks drawn uniformly for each bin (1 in the paper); all of them where there are fewer.
    masked: share of the training tracks that are masked in a block: its genome factors do not learn from them, so
    that the network, which does, learns to impute. Every block masks other tracks, always the same ones. The last
    epochs, from `unmask_at` on, hide nothing.
    """

    order: str = "shuffled"
    tracks_per_bin: int = 1
    masked: float = 0.0
    unmask_at: int = 0

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InputError(f"unknown sampling '{self.order}'; there is: {', '.join(ORDERS)}")
        if self.tracks_per_bin < 1:
            raise InputError(f"tracks_per_bin={self.tracks_per_bin}: expected at least 1")
        if not 0 <= self.masked < 1:
            raise InputError(f"masked={self.masked}: expected a share from 0 to below 1")
