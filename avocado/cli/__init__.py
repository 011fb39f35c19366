"""The command `avocado`: one verb per file, one Hydra config per verb."""

from __future__ import annotations

import sys

import avocado
from avocado.cli.app import command, module_of
from avocado.errors import did_you_mean
from avocado.utils.pipes import until_reader_leaves
from avocado.utils.terminal import terminal_width, wrapped

VERBS = {
    "simulate": "make the demo compendium, or a large one: real bigWig files of a simulated genome",
    "fetch": "public tracks of Roadmap or ENCODE -> a folder of bigWig files and their table",
    "ingest": "bigWig, .npy or .npz files -> a signal store",
    "train": "signal store -> model (the same as python train.py)",
    "genome": "signal store -> model of a whole genome and its imputed tracks, in one command",
    "sweep": "search of hyperparameters on the training tracks of a fold",
    "impute": "model -> imputed tracks as bigWig or .npz",
    "hub": "model -> track hub, IGV sessions and a page: imputed and observed tracks in genome browsers",
    "view": "a folder's bigWig files in the web browser, without any upload",
    "embed": "model -> latent factors as a table: Parquet, Zarr, AnnData, ...",
    "attribute": "model -> what each of its parts adds to an imputation, as bigWig",
    "downstream": "labels of your own, predicted from factors and from tracks: scores beside baselines",
    "score": "judge imputed tracks, compared with average activity",
    "check-split": "which pitfall a split of examples risks, and whether a model knows more than the place",
    "doctor": "what will work on this machine, and what to do about what will not",
    "next": "which experiments to do next, of those that nobody has done",
    "convert": "model of the original program (Keras) -> model directory, and back",
    "completion": "Tab completes commands, keys and files in bash, zsh and fish",
    "inspect": "say what is in a store, a model, a run or a bigWig",
}


def main() -> None:
    """Entry point of the console command."""
    sys.exit(until_reader_leaves(lambda: _main(sys.argv[1:])))


def _main(arguments: list[str]) -> int:
    if arguments[:2] == ["completion", "candidates"]:  # as the shells of `avocado completion` ask
        module_of("completion").print_candidates(" ".join(arguments[2:]))
        return 0
    if arguments and arguments[0] in VERBS:
        return command(arguments[0], arguments[1:])
    asked = not arguments or arguments[0] in ("-h", "--help", "help")
    if arguments and arguments[0] == "--version":
        print(f"avocado {avocado.__version__}")
        return 0
    if not asked:
        hint = did_you_mean(arguments[0], VERBS)
        print(f"error: avocado has no command '{arguments[0]}'{hint}; it has: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    print("usage: avocado COMMAND [key=value ...]\n")
    column = max(map(len, VERBS)) + 4
    for name, meaning in VERBS.items():
        print(wrapped(f"  {name:<{column - 2}}{meaning}", terminal_width(), column))
    print("\n`avocado COMMAND --help` explains its keys.")
    return 0
