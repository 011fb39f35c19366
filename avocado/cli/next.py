"""`avocado next`: which experiments to do next, of those that nobody has done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from avocado.cli import app
from avocado.config.values import as_list, wants_baseline
from avocado.data.store import open_store
from avocado.errors import InputError
from avocado.evaluation.next import Panel, Sample, next_experiments
from avocado.model.directory import load_model
from avocado.plotting.panel import plot_coverage
from avocado.plotting.plots import save_png
from avocado.utils.files import replacing
from avocado.utils.hardware import Hardware

if TYPE_CHECKING:
    from omegaconf import DictConfig


def next(config: DictConfig) -> None:
    """Print the experiments and what they cover, and write both where `out` is given."""
    out = None if config.out is None else Path(config.out)
    if out is not None and out.suffix != ".csv":
        raise InputError(f"out={out}: expected a name that ends in .csv; the picture is called alike, .png")
    for path in [] if out is None else [out, out.with_suffix(".png")]:
        if path.exists() and not config.overwrite:
            raise InputError(f"{path} is there already: give another out=, or overwrite=true")
    sample, hardware = Sample(config.blocks, config.seed), Hardware(config.device, config.precision)
    store = None if config.store is None else open_store(config.store)
    model = load_model(config.model, store, baseline=wants_baseline(config))
    with Progress(console=Console(stderr=True), disable=not config.progress) as bar:
        task = bar.add_task("imputing all pairs", total=config.blocks)

        def watched(done: Iterator[int]) -> Iterator[int]:
            for blocks in done:
                bar.advance(task, blocks)
                yield blocks

        panel = next_experiments(
            model, config.k, cells=as_list(config.cells, model.cells), assays=as_list(config.assays, model.assays),
            regions=as_list(config.regions, model.regions), sample=sample, hardware=hardware, watch=watched,
        )  # fmt: skip
    print(describe(panel))
    if len(panel.table) < config.k:
        print(f"  {len(panel.table)} of {config.k}: no further experiment adds anything")
    if out is not None:
        with replacing(out) as temporary:
            panel.table.to_csv(temporary, index=False)
        save_png(plot_coverage(panel), out.with_suffix(".png"))
        print(f"written to {out} and {out.with_suffix('.png')}")
    else:
        print("out=next.csv keeps the table, and a picture of it")
    if len(panel.table):
        first = panel.table.iloc[0]
        store = [f"store={config.store}"] if config.store else []
        pair = f"cell={first['cell']}", f"assay={first['assay']}"
        impute = app.typed("impute", f"model={config.model}", *store, *pair)
        app.say_next([(impute, "what the model expects of the first of them")])


def describe(panel: Panel) -> str:
    """The chosen experiments as aligned text, with the coverage that random ones of the same number have."""
    names = [f"{row.cell} {row.assay}" for row in panel.table.itertuples()]
    width = max([len("measured already"), *map(len, names)])
    lines = [
        f"{panel.n_pairs:,} pairs of cell type and assay: {panel.n_measured:,} measured, {panel.n_candidates:,} to "
        "choose from",
        f"  {'':>4}  {'':<{width}}    gain  coverage  at random",
        f"  {'':>4}  {'measured already':<{width}}  {'':>6}  {panel.measured:8.3f}",
    ]
    for name, row in zip(names, panel.table.to_dict("records"), strict=True):
        lines.append(
            f"  {row['rank']:>4}  {name:<{width}}  {row['gain']:6.3f}  {row['coverage']:8.3f}  {row['random']:9.3f}"
        )
    lines.append(f"  all that can be chosen together: {panel.everything:.3f}")
    lines.append(
        "  coverage: squared correlation of an imputed track with the most similar one that is measured or chosen, "
        "mean of all pairs"
    )
    return "\n".join(lines)
