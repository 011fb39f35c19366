"""What a portal has of what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avocado.data.compendium import Pair


@dataclass(frozen=True)
class Offer:
    """One track of a portal: a bigWig of −log10 p."""

    cell: str
    assay: str
    url: str
    size: int | None  # bytes; None: the portal's list does not say
    md5: str | None
    assembly: str
    about: Mapping[str, str]  # further columns of the table

    @property
    def name(self) -> str:
        """Of the file, as the portal calls it."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Listing:
    """The tracks that a portal has, one for each pair of cell type and assay, and what it lacks or was passed over."""

    tracks: Sequence[Offer]
    missing: Sequence[Pair] = ()  # of what was asked for
    left_out: Sequence[Mapping[str, str]] = ()  # other files of the same pairs, and why
