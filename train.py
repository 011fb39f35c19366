"""Train Avocado: `python train.py stage=genome chrom=chr20`; `python train.py --help` explains the keys."""

import sys

import hydra
from omegaconf import DictConfig

from avocado.cli.app import command, module_of


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def run(config: DictConfig) -> None:
    """Carry out the stages of one config."""
    module_of("train").train(config)


if __name__ == "__main__":
    # around it: --help, names as they are typed, several runs here or elsewhere, errors in one line
    sys.exit(command("train", sys.argv[1:], run))
