"""Imputed tracks that are kept on disk, so that a long comparison can be interrupted and goes on where it stopped.

A folder of its own holds what one imputer, fitted to certain training tracks, has imputed:

    <folder>/<identity>/what.json                 version, settings, store, training tracks and region of the fit
    <folder>/<identity>/<region>/<cell>,<assay>.npy    arcsinh signal, float32 (n_bins,)
    <folder>/<identity>/<region>/<cell>,<assay>.json   what this track cost

The identity is a digest of what is in what.json, so other settings, another fold or another store never meet in a
folder. Every file is whole or absent: a process that is killed loses the tracks that it is at, and two processes at
once do some work twice, with the same result.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

import avocado
from avocado.data.compendium import Pair, pairs_in
from avocado.data.store import SignalStore
from avocado.errors import InputError
from avocado.imputers.protocol import Foretelling, Imputer
from avocado.utils.files import replacing
from avocado.utils.free_memory import entry

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """What imputed tracks cost: seconds of wall time, bytes of memory."""

    fit_seconds: float  # of the fit that the track comes from; other tracks come from the same one
    predict_seconds: float  # of this track: its share of those that were imputed together
    peak_bytes: int | None  # largest resident memory of the process from the fit on; None where it isn't known


class Cached:
    """An imputer whose predictions are kept in `folder`; it is fitted only when one of them is missing.

    `key` is a text that says everything that the predictions depend on besides store, training tracks and region of
    the fit: the method's settings and seed. Of the attributes named in `recorded`, which hold plain values once the
    imputer is fitted, a copy is kept, too: see `note`.
    """

    def __init__(self, imputer: Imputer, folder: str | Path, key: str, recorded: Sequence[str] = ()) -> None:
        self.imputer, self.root, self.key, self.recorded = imputer, Path(folder), key, tuple(recorded)

    def fit(self, store: SignalStore, experiments: Sequence[int], region: str) -> None:
        """Remember what to fit to. The work is done when a prediction is asked for that isn't there."""
        store.region(region)
        self._store, self._region = store, region
        # sorted, as the order of tracks says nothing and would be another identity
        self._experiments = sorted(int(column) for column in experiments)
        self._fit_seconds: float | None = None
        self.__dict__.pop("what", None)

    def predict(self, pairs: Sequence[Pair], region: str) -> np.ndarray:
        """The imputer's arcsinh signal, float32 (n_bins, n_pairs): of one pair from disk, where it is there."""
        n_bins = self._store.region(region).n_bins
        found = {pair: _read(self.file(*pair, region), n_bins) for pair in pairs}
        missing = [pair for pair, signal in found.items() if signal is None]
        if missing:
            fit_seconds = self._fitted()
            start = time.perf_counter()
            imputed = np.asarray(self.imputer.predict(missing, region), dtype=np.float32)
            if imputed.shape != (n_bins, len(missing)):
                raise ValueError(f"imputed {imputed.shape}, region {region} has {n_bins:,} bins")
            seconds, peak = (time.perf_counter() - start) / len(missing), _peak_bytes()
            for pair, signal in zip(missing, imputed.T, strict=True):
                found[pair], file = signal, self.file(*pair, region)
                _write_json(file.with_suffix(".json"), asdict(Cost(fit_seconds, seconds, peak)))
                with replacing(file) as temporary, temporary.open("wb") as opened:
                    np.save(opened, np.ascontiguousarray(signal), allow_pickle=False)
        signals = [signal for signal in (found[pair] for pair in pairs) if signal is not None]
        return signals[0][:, None] if len(signals) == 1 else np.stack(signals, axis=1)

    def outlook(self, pairs: Sequence[Pair], region: str) -> str:
        """How long the imputer will be at work on these pairs, where it can say that; else ''."""
        if not pairs or not isinstance(self.imputer, Foretelling):
            return ""
        self._fitted()
        return self.imputer.outlook(pairs, region)

    def has(self, cell: str, assay: str, region: str) -> bool:
        """Whether a prediction is there, whole, so that asking for it costs nothing but reading it."""
        return _read(self.file(cell, assay, region), self._store.region(region).n_bins) is not None

    def cost(self, cell: str, assay: str, region: str) -> Cost:
        """What a track cost when it was imputed. Raises InputError where it has not been."""
        return Cost(**_read_json(self.file(cell, assay, region).with_suffix(".json")))

    def note(self, name: str) -> object:
        """The value of one of the `recorded` attributes after the fit. Raises InputError where nothing was fitted."""
        return _read_json(self.folder / f"{name}.json")

    @property
    def folder(self) -> Path:
        """Where the tracks of this fit lie."""
        return self.root / hashlib.sha256(json.dumps(self.what, sort_keys=True).encode()).hexdigest()[:16]

    def file(self, cell: str, assay: str, region: str) -> Path:
        """The .npy file of one track; names are quoted as in a web address, blanks apart."""
        name = ",".join(quote(part, safe=" ") for part in (cell, assay))
        return self.folder / quote(region, safe=" ") / f"{name}.npy"

    @cached_property
    def what(self) -> dict[str, object]:
        """Everything that the predictions depend on."""
        pairs = [list(pair) for pair in pairs_in(self._store.tracks.iloc[self._experiments])]
        fit: dict[str, object] = {"store": self._store.checksum, "training": pairs, "region": self._region}
        return {"avocado": avocado.__version__, "settings": self.key, **fit}

    def _fitted(self) -> float:
        """Fit the imputer where that is not done; the seconds it took."""
        if self._fit_seconds is not None:
            return self._fit_seconds
        with contextlib.suppress(OSError):  # the peak counts from now on, where the system can (Linux)
            RESET.write_text("5")
        start = time.perf_counter()
        self.imputer.fit(self._store, self._experiments, self._region)
        self._fit_seconds = time.perf_counter() - start
        _write_json(self.folder / "what.json", self.what)
        for name in self.recorded:
            _write_json(self.folder / f"{name}.json", getattr(self.imputer, name))
        return self._fit_seconds


def total_cost(costs: Sequence[Cost]) -> Cost:
    """The cost of several tracks of one fit: it is counted once, and the highest peak is theirs."""
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes is not None]
    return Cost(
        # after an interruption, the rest came from a second fit
        statistics.median(cost.fit_seconds for cost in costs),
        sum(cost.predict_seconds for cost in costs),
        max(peaks, default=None),
    )


def _read(file: Path, n_bins: int) -> np.ndarray | None:
    """The signal in a file; None where there is none, or a disk has damaged it."""
    try:
        signal = np.load(file, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return np.asarray(signal) if signal.shape == (n_bins,) and signal.dtype == np.float32 else None


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        raise InputError(f"{file} is missing: nothing has been imputed there yet, or it was removed") from None
    except ValueError:
        raise InputError(f"{file} is damaged: remove its folder, and it is made again") from None


def _write_json(file: Path, content: object) -> None:
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def _peak_bytes() -> int | None:
    """Largest resident memory of this process since the last reset, or since its start where there is none."""
    return entry(STATUS, "VmHWM:", 1024)
