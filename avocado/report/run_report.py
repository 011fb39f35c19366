"""The report of a single training run: what was trained on what, and how good it is on tracks that it never saw."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from avocado.data.compendium import Pair, pairs_in
from avocado.data.genome import BIN_SIZE
from avocado.data.store import SignalStore
from avocado.data.windows import Window
from avocado.evaluation.held_out import MODEL, imputers_of
from avocado.evaluation.intervals import MEAN_ROW, genome_intervals, stretch_sums, stretches
from avocado.evaluation.scores import AVERAGE, mean_rows, track_rows
from avocado.imputers.protocol import predict_window
from avocado.latent import attribution
from avocado.model.directory import Model
from avocado.plotting.latent import plot_attribution
from avocado.report.panels import OBSERVED, Locus, chosen_loci, relative_spread, window_errors, windows_of
from avocado.report.report import Picture, Report, Table
from avocado.utils.hardware import Hardware

SIGNS = {"train": "■", "given": "+", "val": "v", "test": "□"}
MAX_CELLS = 60  # with more, the table of roles has the cell types of held-out tracks alone
LOCI = 6


class ScoredTracks:
    """What a report needs of held-out tracks, gathered while they are scored: no track is kept.

    Goes as `seen` to `held_out.score_model`.
    """

    def __init__(self, store: SignalStore, region: str) -> None:
        self.store, self.name, self.region = store, region, store.region(region)
        self.first, self.windows = stretches(self.region), windows_of(self.region)
        self.sums: dict[Pair, dict[str, np.ndarray]] = {}
        self.errors: dict[Pair, dict[str, np.ndarray]] = {}
        self._last: tuple[Pair, np.ndarray] | None = None

    def __call__(self, method: str, track: Pair, imputed: np.ndarray) -> None:
        """Note what is to be known of one imputed track, arcsinh (n_bins,)."""
        observed = self._observed(track)
        self.sums.setdefault(track, {})[method] = stretch_sums(observed, imputed, self.first)
        self.errors.setdefault(track, {})[method] = window_errors(observed, imputed, self.windows)

    def _observed(self, track: Pair) -> np.ndarray:
        """Both methods' imputations of a track come one after the other: it is read once."""
        if self._last is None or self._last[0] != track:
            self._last = track, self.store.read_track(*track, self.name)
        return self._last[1]

    def intervals(self) -> pd.DataFrame:
        """`intervals.genome_intervals` of the model beside average activity."""
        return genome_intervals(self.sums, MODEL)

    def loci(self, model: Model, hardware: Hardware | None, n: int = LOCI) -> list[Locus]:
        """Places where the model and average activity differ most; of the model only these are imputed again."""
        imputers = imputers_of(model, self.store, self.name, hardware)

        def load(name: str, track: Pair, slices: Sequence[slice]) -> list[np.ndarray]:
            if name == OBSERVED:
                return [self._observed(track)[its] for its in slices]
            windows = [Window(self.name, self.region.part(its)) for its in slices]
            return [predict_window(imputers[name], [track], its, self.region)[:, 0] for its in windows]

        spread = np.stack([relative_spread(list(errors.values())) for errors in self.errors.values()])
        return chosen_loci(spread, list(self.errors), self.windows, [OBSERVED, AVERAGE, MODEL], load, n)


def run_report(
    model: Model,
    store: SignalStore,
    region: str,
    scores: pd.DataFrame,
    scored: ScoredTracks,
    facts: Mapping[str, str],
    costs: pd.DataFrame,
    pictures: Sequence[Picture],
    hardware: Hardware | None = None,
) -> Report:
    """The report of a run whose held-out tracks have been scored on a region; `facts` and `costs` are the run's own."""
    config, layout = model.network.config, store.region(region)
    roles = model.tracks["role"].value_counts()
    unmeasured = len(model.cells) * len(model.assays) - len(store.tracks)
    shared = sum(parameter.numel() for parameter in model.network.parameters())
    baseline = "" if config.baseline == "none" else f"; combined with cross-assay {config.baseline}"
    summary = {
        **facts,
        "model": f"{config.cell_factors} factors of each cell type, {config.assay_factors} of each assay, "
        f"{config.genome_factors} of each place in the genome, {shared:,} shared parameters{baseline}",
        "signal": f"{store.path} ({store.assembly.name}): arcsinh(−log₁₀ p), means over bins of 25 bp",
        "region": f"{region}: {layout.n_bins:,} bins, {layout.n_bins * BIN_SIZE / 1e6:.4g} Mb in "
        f"{len(layout.segments)} piece{'s' * (len(layout.segments) > 1)}",
        "tracks": f"{roles.get('train', 0)} trained, {roles.get('val', 0)} validated, {roles['test']} were held out; "
        f"{unmeasured} pairs of cell type and assay were never measured",
    }
    intervals, loci = scored.intervals(), scored.loci(model, hardware)
    tables = [
        Table(
            "How sure is that?", _sure(intervals),
            f"{MODEL} less {AVERAGE}, with 95 % bootstrap intervals over {len(scored.first)} stretches of the genome: "
            "how much the difference hangs on the places that were scored. It does not say how other tracks would do.",
        ),
        Table(
            "Which tracks trained", _roles(model.tracks),
            "■ trained, v validated, □ held out and scored here, · never measured.",
        ),
        Table("Time and memory", costs, "Of this run on this machine. Memory includes Python and PyTorch."),
    ]  # fmt: skip
    return Report(
        f"Avocado: {facts.get('stage', 'run').split(':')[0]} run on {region}",
        time.strftime("%Y-%m-%d %H:%M"),
        summary,
        scores,
        tables,
        loci,
        [*pictures, *(attributed(model, region, locus) for locus in loci[:1])],
        verdict(scores, intervals),
        f"Where {MODEL} and {AVERAGE} differ most",
    )


def attributed(model: Model, region: str, locus: Locus) -> Picture:
    """What each part of the model adds to the imputation of a locus' first track, the factorization's alone."""
    (label, rows), *_ = locus.rows.items()
    cell, assay = next(pair for pair in pairs_in(model.tracks) if " ".join(pair) == label)
    layout, end = model.regions[region], locus.start + len(rows[OBSERVED]) * BIN_SIZE
    place = layout.part(layout.locate(locus.chrom, locus.start, end))
    found = list(attribution.attribute(model, cell, assay, Window(region, place)))
    parts = np.concatenate([its.parts for its in found])
    shown = {
        "observed": rows[OBSERVED],
        "imputed": np.concatenate([its.signal for its in found]),
        **dict(zip(attribution.PARTS, parts.T, strict=True)),
    }
    caption = "Integrated gradients from zeros, arcsinh(−log10 p): the five parts sum up to what the factorization "
    caption += "imputes, less what it makes of factors that are all zero."
    figure = plot_attribution({label: shown}, locus.chrom, locus.start, caption)
    return Picture("What each part of the model adds, at the first of the places above", figure)


def verdict(scores: pd.DataFrame, intervals: pd.DataFrame) -> str:
    """One sentence on a model's scores beside average activity's, for somebody who reads no tables."""
    means = mean_rows(scores).set_index("method")["mse"]
    tracks = track_rows(scores)
    won = int((tracks[tracks["method"] == MODEL]["skill"] > 0).sum())
    n_tracks = int((tracks["method"] == MODEL).sum())
    row = intervals[(intervals["measure"] == "mse") & (intervals["cell"] == MEAN_ROW[0])].iloc[-1]
    lower = row["difference"] < 0
    percent = [100 * abs(row[name]) / row["average"] for name in ("difference", "low", "high")]
    text = (
        f"On {won} of {n_tracks} held-out track{'s' * (n_tracks > 1)} the model is better than {AVERAGE}: its mean MSE "
        f"is {means[MODEL]:.4f}, {percent[0]:.0f} % {'lower' if lower else 'higher'} than {means[AVERAGE]:.4f}"
    )
    if np.isfinite(row["low"]) and (row["low"] > 0) == (row["high"] > 0):
        return f"{text} (95 % interval over the genome: {min(percent[1:]):.0f} to {max(percent[1:]):.0f} %)."
    return f"{text}, which may be chance: the 95 % interval over the genome includes no difference."


def _sure(intervals: pd.DataFrame) -> pd.DataFrame:
    better = np.where(intervals["measure"] == "mse", intervals["high"] < 0, intervals["low"] > 0)
    worse = np.where(intervals["measure"] == "mse", intervals["low"] > 0, intervals["high"] < 0)
    is_mean = intervals["cell"] == MEAN_ROW[0]
    return pd.DataFrame(
        {
            "measure": intervals["measure"].map({"mse": "MSE", "pearson": "Pearson"}),
            "track": np.where(is_mean, "mean of all", intervals["cell"] + " " + intervals["assay"]),
            MODEL: intervals["value"],
            AVERAGE: intervals["average"],
            "difference": intervals["difference"],
            "from": intervals["low"],
            "to": intervals["high"],
            f"{MODEL} is": np.where(better, "better", np.where(worse, "worse", "cannot tell")),
        }
    ).iloc[np.argsort(~is_mean, kind="stable")]


def _roles(tracks: pd.DataFrame) -> pd.DataFrame:
    table = (
        tracks.assign(sign=tracks["role"].map(SIGNS)).pivot(index="cell", columns="assay", values="sign").fillna("·")
    )
    if len(table) > MAX_CELLS:
        table = table[(table == SIGNS["test"]).any(axis=1)]
    return table.reset_index().rename(columns={"cell": "cell type"})
