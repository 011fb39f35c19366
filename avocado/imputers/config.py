"""The settings of the imputers: `imputer.<key>`. Light to import, as --help is made from them."""

from __future__ import annotations

from dataclasses import dataclass

from avocado.errors import InputError
from avocado.utils.settings import require, setting

WEIGHTS = ("mean", "fitted")
WINDOWS = ("distance_window", "narrow_window", "wide_window")


@dataclass(frozen=True)
class SimilarityConfig:
    """How much more similar cell types count."""

    sharpness: float = setting(
        1.0, "a track's weight is its similarity to this power; large: the nearest cell type alone"
    )

    def __post_init__(self) -> None:
        require("similarity", self, above={"sharpness": 0})


@dataclass(frozen=True)
class PredictdConfig:
    """What PREDICTD is made of; conf/imputer/predictd_paper.yaml has the published values."""

    rank: int | None = setting(None, "factors; null: one per two training tracks, 10 to 100")
    splits: int = setting(8, "models, each validating on another part of the training tracks")
    bins: int = setting(13_100, "drawn at random for each model to learn from, or fewer: see points")
    points: int | None = setting(1_000_000, "bins × training tracks of a model at most; null: all bins")
    cell_start: float = setting(1.0, "what cell factors start around and are drawn to")
    factor_init: float = setting(0.33, "factors start uniform within ± this")
    cell_penalty: float = setting(0.366, "over rank × cell types, per point and squared cell factor")
    assay_penalty: float = setting(0.0, "over rank × assays, per point and squared assay factor")
    genome_penalty: float = setting(1.5, "per bin and squared genome factor while learning; 7e-11 in the paper")
    ridge: float | None = setting(None, "per bin and squared genome factor in the end; null: chosen by validation")
    standardise: bool = setting(True, "tracks to mean 0 and deviation 1, and back to what is expected of the target")
    validation_in_ridge: bool = setting(True, "validation tracks, too, have a say in the final genome factors")
    learning_rate: float = setting(0.01, "of Adam")
    max_steps: int = setting(3000, "at most")
    check_every: int = setting(10, "steps between validations")
    patience: int = setting(
        10, "validations without improvement before halving the learning rate, and at last stopping"
    )
    halvings: int = setting(3, "of the learning rate")

    def __post_init__(self) -> None:
        least = {"splits": 2, "bins": 1, "points": 1, "check_every": 1}
        zero = ("rank", "cell_start", "factor_init", "cell_penalty", "assay_penalty", "genome_penalty", "max_steps",
                "patience", "halvings")  # fmt: skip
        require("predictd", self, dict.fromkeys(zero, 0) | least, {"ridge": 0, "learning_rate": 0})


@dataclass(frozen=True)
class ChromImputeConfig:
    """Settings of ChromImpute; conf/imputer/chromimpute_paper.yaml has the original's."""

    positions: int = setting(100_000, "training bins, the same for every tree of a bag")
    donors: int | None = setting(
        10, "cell types that trees are grown from, those most similar to the target's; null: all, as in the original"
    )
    bags: int = setting(4, "samples of training bins, each with a tree per donor; 1 in the original")
    trees: int = setting(16, "of a track at most, for which many donors have fewer bags, at least one tree each")
    neighbours: int = setting(10, "cell types that the running means over the nearest ones go up to")
    candidates: int | None = setting(
        20, "cell types, nearest over the whole region, among which these are looked for; null: all"
    )
    distance_window: int = setting(20, "bins on either side in which cell types are compared")
    narrow_window: int = setting(20, "bins on either side in which the other assays are looked at in every bin")
    wide_window: int = setting(400, "bins on either side in which they are looked at every wide_step bins")
    wide_step: int = setting(20, "bins")
    min_leaf: int = setting(100, "training bins in a leaf of a tree; 20 in the original")
    standardise: bool = setting(
        True, "tracks to mean 0 and deviation 1, and back to what is expected of the target; the original does not"
    )
    average: bool = setting(True, "also the mean of the assay over all other cell types; the original does not know it")

    def __post_init__(self) -> None:
        least = {name: 0 if name in WINDOWS else 1 for name in vars(self) if name not in ("standardise", "average")}
        require("chromimpute", self, least)
        if self.candidates is not None and self.candidates <= self.neighbours:
            # a donor is left out of them, and a tree has to be applied to as many as it was grown with
            raise InputError(
                f"chromimpute: candidates={self.candidates}: more than neighbours={self.neighbours} are needed"
            )

    @property
    def margin(self) -> int:
        """Bins on either side of a bin that its features depend on."""
        return max(self.distance_window, self.narrow_window, self.wide_window)


@dataclass(frozen=True)
class AvocadoConfig:
    """What goes beyond the settings of a single model, which are those of model, optimizer, epochs and fit."""

    models: int = setting(
        1, "of consecutive seeds; the mean of several is scored like any other method, and they are not kept"
    )

    def __post_init__(self) -> None:
        require("avocado", self, {"models": 1})


@dataclass(frozen=True)
class EnsembleConfig:
    """How members are weighted."""

    weights: str = setting("mean", "mean: all alike; fitted: to training tracks that are set apart for it")
    validation: float = setting(0.2, "of fitted: share or number of the training tracks that are set apart")
    rounds: int = setting(3, "of fitted: how often, each time others; members are fitted as often and once more")
    seed: int = 0  # which ones

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise InputError(f"ensemble: weights='{self.weights}': there is {' and '.join(WEIGHTS)}")
        if not self.validation > 0:
            raise InputError(f"ensemble: validation={self.validation}: give a share of the training tracks (0.2)")
        require("ensemble", self, {"rounds": 1})
