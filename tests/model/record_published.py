"""Records what the original program saves and predicts, with the real Keras, for test_published.py. Not a test.

    python -I tests/model/record_published.py NAME    # in an environment with avocado-epigenome 0.3.6 and Keras 2
    python -I tests/model/record_published.py predict PATH OUT.npy    # what it predicts from PATH.h5 and PATH.json

Keras 2.15 with TensorFlow 2.15.1 made `tensorflow`, `weights` and `unnamed`; Keras 2.1.6 with Theano 1.0.5, Python 3.7
and KERAS_BACKEND=theano THEANO_FLAGS=floatX=float32,optimizer=fast_compile,cxx= made `theano`. Weights are drawn
uniformly and trained for a step, so that there is an optimizer's state. Mostly air, the files are kept as .gz.
"""

import gzip
import json
import os
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent / "published"
CELLS, ASSAYS = ["E003", "E017", "E065"], ["H3K4me3", "H3K36me3"]
# 217 bins: a block and a part of one; 200: the tables of 250 bp and 5 kbp have a row that no bin uses
KINDS = {"tensorflow": 217, "theano": 217, "weights": 200, "unnamed": 217}


def record(name: str) -> None:
    """Save a model called `name`, and what it predicts for every pair, in the order of the cell types."""
    from avocado import Avocado

    random, n = np.random.RandomState(len(name)), KINDS[name]
    cells = [*CELLS, "unused"] if name == "unnamed" else CELLS
    model = Avocado(
        cells, ASSAYS, n_celltype_factors=3, n_assay_factors=4, n_genomic_positions=n, n_25bp_factors=2,
        n_250bp_factors=3, n_5kbp_factors=5, n_layers=2, n_nodes=6, batch_size=100,
    )  # fmt: skip
    model.model.set_weights([random.uniform(-1, 1, its.shape).astype("float32") for its in model.model.get_weights()])
    track = np.arcsinh(random.gamma(0.5, 2.0, n)).astype("float32")
    x = [np.zeros((n, 1)) for _ in model.model.inputs]
    model.model.train_on_batch(x, track[:, None])
    model.experiments = [(cell, ASSAYS[0]) for cell in CELLS]
    predicted = predict(model)
    os.chdir(FOLDER)
    model.save(f"{name}-chr20")
    if name == "weights":
        model.model.save_weights(f"{name}-chr20.h5")
    if name == "unnamed":
        model.model.save(f"{name}-chr20.h5", include_optimizer=False)
    if name in ("unnamed", "theano"):  # as in the published files
        content = json.loads(Path(f"{name}-chr20.json").read_text())
        content.pop("experiments")
        content["celltypes"] = CELLS
        Path(f"{name}-chr20.json").write_text(json.dumps(content, indent=1))
    np.save(f"{name}.npy", predicted)
    saved = Path(f"{name}-chr20.h5")
    with open(f"{saved}.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(saved.read_bytes())
    saved.unlink()


def predict(model: object) -> np.ndarray:
    """Predictions of every pair (n_bins, n_pairs)."""
    return np.stack([model.predict(cell, assay) for cell in CELLS for assay in ASSAYS], axis=1)  # type: ignore


if __name__ == "__main__":
    if sys.argv[1] == "predict":
        from avocado import Avocado

        np.save(sys.argv[3], predict(Avocado.load(sys.argv[2])))
    else:
        for kind in sys.argv[1:]:
            record(kind)
