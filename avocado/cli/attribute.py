"""`avocado attribute`: which parts of a model an imputation comes from, as one bigWig file for each part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from avocado.cli import app
from avocado.config.values import as_list
from avocado.errors import InputError
from avocado.inference.track_files import track_file, track_files
from avocado.latent import attribution
from avocado.model.directory import load_model
from avocado.utils.progress import shown

if TYPE_CHECKING:
    from omegaconf import DictConfig


def attribute(config: DictConfig) -> None:
    """Write the attributions of one pair's imputation over a region, and say what each part adds on average."""
    if config.threads:
        torch.set_num_threads(config.threads)
    if "{part}" not in config.out:
        raise InputError(f"out={config.out}: {len(attribution.PARTS)} files need {{part}} in the name")
    cell, assay, region = (_one(config, key) for key in ("cell", "assay", "region"))
    model = load_model(config.model, baseline=False)
    names = [config.out.replace("{part}", part) for part in attribution.PARTS]
    files = [track_file(name, cell, assay) for name in names]
    there = [file for file in files if Path(file).exists()]
    if there and not config.overwrite:
        raise InputError(f"{there[0]} is there already: give another out=, or overwrite=true")
    windows = model.windows(region)
    sums, n_bins = np.zeros(len(files)), 0
    with track_files(files, model.assembly) as add:
        for window in windows:
            pieces = attribution.attribute(model, cell, assay, window, config.reference)
            for piece in shown(pieces, "attribution", None, config.progress):
                add(window.layout.name, piece.segments, piece.parts)
                sums, n_bins = sums + piece.parts.sum(axis=0, dtype=np.float64), n_bins + len(piece.parts)
    width = max(len(str(file)) for file in files)
    print(f"{cell} {assay}, {n_bins:,} bins: arcsinh signal that each part adds, mean over the bins")
    for file, total in zip(files, sums, strict=True):
        print(f"  {file!s:<{width}}  {total / n_bins:+.4f}")
    whole = ["impute", f"model={config.model}", f"cell={cell}", f"assay={assay}", f"out={cell}-{assay}.bw"]
    app.say_next([(app.typed(*whole), "the imputation itself, to be shown above them")])


def _one(config: DictConfig, key: str) -> str:
    """The one name that a key holds, which takes several in other commands."""
    names = as_list(config[key])
    if len(names) != 1:
        raise InputError(f"{key}={','.join(names)}: give one")
    return names[0]
