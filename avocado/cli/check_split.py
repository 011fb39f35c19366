"""`avocado check-split`: which pitfall does a split risk, and does a model know more than the place?"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avocado.cli import app
from avocado.errors import InputError
from avocado.generalization import check
from avocado.generalization.examples import read_arrays
from avocado.report.split_report import write_split_report

if TYPE_CHECKING:
    from omegaconf import DictConfig


def check_split(config: DictConfig) -> None:
    """Check the split of a table of examples, print what comes out, and write the page."""
    if config.out is not None and Path(config.out).suffix != ".html":
        raise InputError(f"out={config.out}: the page is an .html file")
    features = None if config.features is None else _columns(read_arrays(config.features))
    predictions = None if config.predictions is None else read_arrays(config.predictions)
    found = check.check_split(
        config.table, predictions, features=features, fold=config.fold, near=config.near, seed=config.seed
    )
    print(found)
    if config.out is not None:
        write_split_report(config.out, found)
        print(f"\n{config.out}: the same, with all rows and a picture")
    steps, again = [], app.typed("check-split", f"table={config.table}")
    if found.differences.empty:  # no model was judged
        steps.append((f"{again} predictions=model.npy", "does a model know more than the place?"))
    if config.out is None:
        own = f" {shlex.quote(f'predictions={config.predictions}')}" if config.predictions else ""
        steps.append((f"{again}{own} out=split.html", "all rows, and a picture, as a page"))
    app.say_next(steps)


def _columns(arrays: dict[str, np.ndarray]) -> np.ndarray:
    return np.column_stack(list(arrays.values()))
