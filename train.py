"""Train Avocado: `python train.py stage=genome chrom=chr20`; `python train.py --help` explains the keys."""

import sys

from avocado.cli.train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
