"""What a model is made of: numbers of factors, layers and nodes, its kind, and its baseline."""

from __future__ import annotations

from dataclasses import dataclass, fields

from avocado.data.genome import BINS_PER_250BP, BLOCK_BINS
from avocado.errors import InputError

COARSE = BLOCK_BINS // BINS_PER_250BP  # 20 stretches of 250 bp in a block
CHOICES = {"kind": ("paper", "states"), "baseline": ("none", "regression")}


@dataclass(frozen=True)
class ModelConfig:
    """The seven structural hyperparameters of the paper, and what the paper leaves open.

    kind 'paper': free genome factors, concatenated with the others (`network.Network`). kind 'states': genome factors
    that are inferred from the training tracks, and multiplied with the cell type's (`states.StatesNetwork`); then
    `factors_25bp` and so on are per cell-type factor.
    """

    cell_factors: int = 32  # kind=states: 0 is by the number of cell types
    assay_factors: int = 256
    factors_25bp: int = 25
    factors_250bp: int = 40
    factors_5kbp: int = 45
    layers: int = 2  # hidden layers; 0 is a linear model on the concatenated factors
    nodes: int = 2048  # per hidden layer; kind=states: 0 is by the number of tracks
    dropout: float = 0.0  # on the hidden layers
    factor_init: float = 0.05  # factors start uniform in ± this
    kind: str = "paper"
    encoder_nodes: int = 32  # kind=states: of the encoder's hidden layer
    baseline: str = "none"  # kind=states: what is combined with the factorization, 'none' or 'regression'
    baseline_features: int | None = None  # random features of that regression; None: by the number of tracks

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "baseline_features":
                continue
            whole = str(field.type).startswith("int")
            if field.name in CHOICES:
                if value not in CHOICES[field.name]:
                    raise InputError(f"model.{field.name}={value!r}: there is {', '.join(CHOICES[field.name])}")
                continue
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                kind = "a whole number" if whole else "a number"
                raise InputError(f"model.{field.name}={value!r}: expected {kind}")
            positive = ("assay_factors", "encoder_nodes", *(["cell_factors", "nodes"] * (self.kind == "paper")))
            least = 1 if field.name in positive else 0
            if value < least or ("dropout" in field.name and value >= 1):
                top = " and below 1" if "dropout" in field.name else ""
                raise InputError(f"model.{field.name}={value!r}: expected at least {least}{top}")
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
