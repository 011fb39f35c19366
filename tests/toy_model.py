"""Model directories of models that were initialised and not trained."""

import pandas as pd
import torch
from toy import ASSAYS, ASSEMBLY, CELLS, CHR20, PAIRS, PILOT, TINY, TRAIN, VAL, make_network, make_states

from avocado.model.directory import save_region, save_shared
from avocado.model.network import genome_factors
from avocado.model.regression import OTHERS, WINDOWS, Fitted

ROLES = ["train" if number in TRAIN else "val" if number in VAL else "test" for number in range(len(PAIRS))]
TRACKS = pd.DataFrame(PAIRS, columns=pd.Index(["cell", "assay"])).assign(role=ROLES)
TRAINING = {"stage": "pilot", "fold": 0, "seed": 0}
INPUTS, FEATURES = len(WINDOWS) + len(OTHERS) * len(ASSAYS), 6  # of the prior
SHAPES = {"scales": (2, len(TRAIN)), "projection": (INPUTS + 1, FEATURES),
          "weights": (len(CELLS), len(ASSAYS), INPUTS + FEATURES + 1)}  # fmt: skip


def save(path, config=TINY, seed=0, regions=(PILOT, CHR20), store=None):
    """A model that was initialised and not trained. Returns its network, genome factors and what makes the prior.

    store: where a model with a baseline finds the training tracks. The weights of that are random.
    """
    training, fitted = TRAINING, None
    network = make_states(store, config, seed) if config.kind == "states" else make_network(config, seed)
    if config.kind == "states":  # so that some of the imputed signal is below 0
        network.expected[..., 0] -= 1.0
        torch.nn.init.uniform_(network.first_gain.weight, -0.5, 0.5, torch.Generator().manual_seed(seed + 3))  # not 0
    if config.baseline != "none":
        generator = torch.Generator().manual_seed(seed + 2)
        parts = {name: torch.rand(shape, generator=generator).numpy() for name, shape in SHAPES.items()}
        fitted = Fitted(parts["scales"] + 0.5, parts["projection"] - 0.5, (parts["weights"] - 0.4) / 3)
        training = TRAINING | {"store": str(store.path), "store_checksum": store.tracks_checksum}
    save_shared(path, network, CELLS, ASSAYS, ASSEMBLY, TRACKS, training, fitted)
    genomes = {r.name: genome_factors(config, r.n_blocks, torch.Generator().manual_seed(seed + 1)) for r in regions}
    for region in regions:
        save_region(path, region, genomes[region.name])
    return network, genomes, fitted
