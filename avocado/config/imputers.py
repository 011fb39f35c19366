"""From `imputer=` to an imputer: what train, impute and score share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import OmegaConf

from avocado.config.overrides import composed, read_arguments
from avocado.config.schema import option, options_of
from avocado.config.sections import IMPUTERS
from avocado.config.training import hardware_of
from avocado.config.values import as_list, build
from avocado.errors import InputError
from avocado.imputers.average import AverageActivity
from avocado.imputers.chromimpute import ChromImpute
from avocado.imputers.config import AvocadoConfig, ChromImputeConfig, EnsembleConfig, PredictdConfig, SimilarityConfig
from avocado.imputers.ensemble import Ensemble
from avocado.imputers.factorization import Avocado
from avocado.imputers.nearest import NearestCell, SimilarityAverage
from avocado.imputers.place import PlaceOnly
from avocado.imputers.predictd import Predictd
from avocado.imputers.protocol import Imputer
from avocado.imputers.regression import Regression
from avocado.model.config import ModelConfig, RegressionConfig
from avocado.training.config import FitConfig, OptimizerConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")
UNSEEN = ("memory_limit", "workers", "checkpoint_every")  # of fit, which leave no trace in what comes out
AVOCADO = ("model", "optimizer", "fit", "epochs")  # the sections of a training config that are Avocado's settings


def build_imputer(config: DictConfig, region: str = "pilot") -> Imputer:
    """The imputer that a composed training config names, not fitted yet.

    config.imputer holds its `name`, one of IMPUTERS, and its settings; those of Avocado are in the sections AVOCADO.
    region: what it will be fitted on, which decides about Avocado's epochs. Raises InputError for an unknown name and
    for a setting that the imputer does not have, or that is of the wrong kind.
    """
    name, seed = config.imputer.name, config.seed
    progress, device = config.trainer.progress, config.trainer.device
    node = {str(key): value for key, value in config.imputer.items() if key != "name"}
    if seed < 0:
        raise InputError(f"seed={seed}: expected a whole number from 0")
    if name == "average":
        return AverageActivity()
    if name == "place":
        return PlaceOnly()
    if name == "nearest":
        return NearestCell()
    if name == "similarity":
        return SimilarityAverage(build(SimilarityConfig, node, "imputer"))
    if name == "regression":
        return Regression(build(RegressionConfig, node, "imputer", seed=seed), device)
    if name == "predictd":
        return Predictd(build(PredictdConfig, node, "imputer"), seed, device, progress)
    if name == "chromimpute":
        return ChromImpute(build(ChromImputeConfig, node, "imputer"), seed, progress)
    if name == "avocado":
        return _avocado(config, region, node)
    if name == "ensemble":
        members = {member: build_imputer(chosen, region) for member, chosen in _members(config).items()}
        node = {key: value for key, value in node.items() if key != "members"}
        return Ensemble(members, build(EnsembleConfig, node, "imputer", seed=seed))
    raise InputError(f"unknown imputer '{name}'; there is: {', '.join(IMPUTERS)}")


def imputer_settings(config: DictConfig, imputer: Imputer) -> dict[str, Any]:
    """What makes this imputer what it is: plain values, those of an ensemble's members among them.

    The run's seed is among them where the imputer's own settings hold it.
    """
    settings = getattr(imputer, "config", None)
    found = asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else {}
    if config.imputer.name == "avocado":
        sections = {name: OmegaConf.to_container(config[name], resolve=True) for name in AVOCADO}
        sections["fit"] = {key: value for key, value in config.fit.items() if key not in UNSEEN}
        found |= sections
    if config.imputer.name == "ensemble":
        members: dict[str, Imputer] = imputer.members  # pyright: ignore[reportAttributeAccessIssue]
        found["members"] = {
            member: {"name": chosen.imputer.name, **imputer_settings(chosen, members[member])}
            for member, chosen in _members(config).items()
        }
    return found


def train_config(config: DictConfig, settings: Sequence[str]) -> DictConfig:
    """The training config that `imputer=` of another command, with `settings` as typed, stands for.

    What the two commands have in common, such as seed and device, is taken from `config`. Raises InputError for an
    imputer or a setting that does not exist.
    """
    train = composed("train", read_arguments([f"imputer={config.imputer}", *settings])[0])
    for key in ("store", "seed"):
        train[key] = config[key]
    train.fold = config.fold
    for key, value in config.split.items():
        train.split[key] = value
    train.trainer.device, train.trainer.precision = config.device, config.precision
    train.trainer.progress = config.get("progress", False)
    return train


def _avocado(config: DictConfig, region: str, node: dict[str, Any]) -> Imputer:
    stage = "pilot" if region == "pilot" else "joint"
    return Avocado(
        build(ModelConfig, config.model, "model"),
        build(OptimizerConfig, config.optimizer, "optimizer"),
        build(FitConfig, config.fit, "fit", epochs=config.epochs[stage]),
        config.seed,
        hardware_of(config, stage),
        config.trainer.progress,
        build(AvocadoConfig, node, "imputer"),
    )


def _members(config: DictConfig) -> dict[str, DictConfig]:
    """A training config for each member of an ensemble, with the settings of the option of that name."""
    found = {}
    for member in as_list(config.imputer.get("members")):
        known = options_of("imputer")
        if member not in known:
            raise InputError(f"unknown imputer '{member}' in imputer.members; there is: {', '.join(known)}")
        chosen = config.copy()
        OmegaConf.set_struct(chosen, False)
        node = option("imputer", member)
        if node["name"] == "ensemble":
            raise InputError("imputer.members: an ensemble cannot be a member of an ensemble")
        chosen.imputer = node
        found[member] = chosen
    return found
