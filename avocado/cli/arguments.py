"""What is typed for a command: the keys of its config, and what else its task takes.

Most commands take nothing but keys. Light to import, as it comes before --help and before all checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from avocado.config.commands import Genome
from avocado.config.overrides import separate_options
from avocado.config.schema import options_of
from avocado.config.sections import Transfer
from avocado.errors import InputError
from avocado.training.transfer_config import TransferConfig
from avocado.utils.addresses import keep_password

SHELLS = ("bash", "zsh", "fish")
GENOME = {its.name for its in fields(Genome)}  # its own keys, which train does not have
SWEEP, SPACE = ("sweep=", "sweep.", "hydra.", "-"), "sweep.space."
SHORT = {its.name for its in fields(Transfer)} - {its.name for its in fields(TransferConfig)}

Split = tuple[Sequence[str], tuple[Any, ...]]  # what Hydra reads, and further arguments of the task


def first_is(key: str, arguments: Sequence[str]) -> Split:
    """The first argument may go without its key."""
    first, *others = arguments or [""]
    bare = first and "=" not in first and not first.startswith("-")
    return ([f"{key}={first}", *others] if bare else arguments), ()


def of_shell(arguments: Sequence[str]) -> Split:
    """A shell needs no shell= before it."""
    first, *others = arguments or [""]
    return ([f"shell={first}", *others] if first in SHELLS else arguments), ()


def with_imputer(arguments: Sequence[str]) -> Split:
    """`imputer.key=value` are settings of an imputer, which the task composes."""
    settings = [argument for argument in arguments if argument.startswith("imputer.")]
    return [argument for argument in arguments if argument not in settings], (settings,)


def of_genome(arguments: Sequence[str]) -> Split:
    """All but its own keys are those of train."""
    own = [text for text in arguments if text.partition("=")[0] in GENOME or text.startswith(("-", "hydra."))]
    return own, ([text for text in arguments if text not in own],)


def of_sweep(arguments: Sequence[str]) -> Split:
    """What is searched, then the keys of train, are for the task."""
    try:
        options, rest = separate_options(arguments)
    except InputError:
        options, rest = list(arguments), []  # which are refused later
    space = [argument for argument in rest if argument.startswith(SPACE)]
    own = [argument for argument in rest if argument.startswith(SWEEP) and argument not in space]
    typed = [argument for argument in rest if argument not in own and argument not in space]
    return [*keep_password(own), *options], (space, typed)


def of_train(arguments: Sequence[str]) -> Split:
    """A model's directory, model=DIRECTORY, as the key that it is.

    model= otherwise chooses the size of a model that is to be trained. With stage=transfer, its keys table=, out= and
    so on need no `transfer.` before them.
    """
    transfers = "stage=transfer" in arguments
    return [_of_train(argument, transfers) for argument in arguments], ()


def _of_train(argument: str, transfers: bool) -> str:
    key, equals, value = argument.partition("=")
    if not equals:
        return argument
    if key == "model" and value not in options_of("model") and not value.endswith((".yaml", ".yml")):
        first = value.split(",")[0].strip("'\"")
        if transfers or Path(first).is_dir():
            return f"source={value}"
    return f"transfer.{argument}" if transfers and key in SHORT else argument


SPLITS: dict[str, Callable[[Sequence[str]], Split]] = {
    "completion": of_shell,
    "fetch": partial(first_is, "portal"),
    "genome": of_genome,
    "impute": with_imputer,
    "inspect": partial(first_is, "path"),
    "score": with_imputer,
    "sweep": of_sweep,
    "train": of_train,
    "view": partial(first_is, "path"),
}


def split(verb: str, arguments: Sequence[str]) -> Split:
    """What is typed for a command, taken apart."""
    return SPLITS[verb](arguments) if verb in SPLITS else (arguments, ())
