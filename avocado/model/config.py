"""What a model is made of: numbers of factors, layers and nodes, its kind, its baseline, and that one's settings."""

from __future__ import annotations

from dataclasses import dataclass, fields

from avocado.data.genome import BINS_PER_250BP, BLOCK_BINS
from avocado.errors import InputError
from avocado.utils.settings import require, setting

COARSE = BLOCK_BINS // BINS_PER_250BP  # 20 stretches of 250 bp in a block
RIDGES = ("ridge", "average_ridge", "feature_ridge", "scale_ridge")
CHOICES = {"kind": ("paper", "states"), "baseline": ("none", "regression")}


@dataclass(frozen=True)
class ModelConfig:
    """The seven structural hyperparameters of the paper, and what the paper leaves open.

    kind 'paper': free genome factors, concatenated with the others (`network.Network`). kind 'states': genome factors
    that are inferred from the training tracks, and multiplied with the cell type's (`states.StatesNetwork`); then
    `factors_25bp` and so on are per cell-type factor.
    """

    kind: str = setting("states", "inferred factors; paper: free genome factors and concatenation, as in the paper")
    cell_factors: int = setting(
        0, "per cell type; kind=states: programs, 0: one per cell type and a shared one, up to 32"
    )
    assay_factors: int = setting(8, "per assay")
    factors_25bp: int = setting(5, "per 25-bp bin; kind=states: and program, as the next two")
    factors_250bp: int = setting(8, "per 250 bp")
    factors_5kbp: int = setting(9, "per 5 kbp")
    layers: int = setting(2, "hidden layers; kind=states: 1 or 2; kind=paper: 0 is a linear model")
    nodes: int = setting(0, "per hidden layer; kind=states: 0: 64, from 100 training tracks on 128")
    dropout: float = setting(0.1, "of hidden nodes, the same ones throughout a block")
    factor_init: float = setting(0.05, "kind=paper: factors start uniform in ± this")
    encoder_nodes: int = setting(32, "kind=states: of the encoder's hidden layer")
    baseline: str = setting(
        "regression", "kind=states: combined with it, by weights learned on masked tracks; none: it stands alone"
    )
    baseline_features: int | None = setting(
        None, "random features of that regression; null: 256, from 100 training tracks on 512; 0: linear"
    )

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"model.{name}={getattr(self, name)!r}: there is {', '.join(choices)}")
        positive = ("assay_factors", "encoder_nodes", *(("cell_factors", "nodes") if self.kind == "paper" else ()))
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in CHOICES or (value is None and name == "baseline_features"):
                continue
            whole, least = str(field.type).startswith("int"), 1 if name in positive else 0
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                raise InputError(f"model.{name}={value!r}: expected {'a whole number' if whole else 'a number'}")
            if value < least or (name == "dropout" and value >= 1):
                top = " and below 1" if name == "dropout" else ""
                raise InputError(f"model.{name}={value!r}: expected at least {least}{top}")
        if not self.factors_25bp + self.factors_250bp + self.factors_5kbp:
            raise InputError("a model needs genome factors: one of model.factors_25bp, _250bp, _5kbp above 0")
        if self.kind == "states" and self.layers not in (1, 2):
            raise InputError(f"model.layers={self.layers}: model.kind=states has 1 or 2")
        if self.kind == "paper" and self.baseline != "none":
            raise InputError(
                f"model.baseline={self.baseline} needs model.kind=states, whose factors are learned on masked tracks: "
                "only there it can be found out how much the baseline should count"
            )

    @property
    def scales(self) -> tuple[int, int, int]:
        """Factors of one 25-bp bin, 250-bp stretch and 5-kbp block."""
        times = self.cell_factors if self.kind == "states" else 1
        return times * self.factors_25bp, times * self.factors_250bp, times * self.factors_5kbp

    @property
    def genome_factors(self) -> int:
        """Genome factors that one bin sees."""
        return sum(self.scales)

    @property
    def inputs(self) -> int:
        """Length of the concatenated factors of one sample."""
        return self.cell_factors + self.assay_factors + self.genome_factors

    @property
    def block_width(self) -> int:
        """Genome factors of one 5-kbp block."""
        f25, f250, f5k = self.scales
        return BLOCK_BINS * f25 + COARSE * f250 + f5k


@dataclass(frozen=True)
class RegressionConfig:
    """Random features, and penalties, each of a squared weight, in units of the variance of standardised tracks."""

    features: int = setting(256, "random features, with which it fits curves and interactions; 0: linear")
    bins: int = setting(20_000, "drawn at random to learn from")
    ridge: float = setting(0.1, "penalty of the weights of the cell type's other assays")
    average_ridge: float = setting(0.01, "penalty of the weights of averages over the assay's other cell types")
    feature_ridge: float = setting(0.05, "penalty of the weights of random features")
    scale_ridge: float = setting(0.1, "penalty of how cell types and assays differ in mean and standard deviation")
    seed: int = 0  # of bins and features; that of the run, which is no setting of imputer=

    def __post_init__(self) -> None:
        require("regression", self, {"features": 0, "bins": 1, "seed": 0}, dict.fromkeys(RIDGES, 0))
