"""`avocado hub`: imputed and observed tracks of a model as a track hub, IGV sessions and a page for the browser."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from avocado.browser.hub import hub_files
from avocado.browser.page import igv_script, page
from avocado.browser.sessions import igv_desktop, igv_js
from avocado.browser.tracks import (
    IMPUTED,
    OBSERVED,
    Row,
    View,
    first_locus,
    first_rows,
    genes_bed,
    safe_names,
    sizes_text,
    with_style,
)
from avocado.cli import app
from avocado.cli.impute import decimals_of, missing_of, write
from avocado.config.values import as_list, wants_baseline
from avocado.data.compendium import Pair, pairs_in
from avocado.data.store import SignalStore, open_store
from avocado.errors import InputError
from avocado.inference.impute import regions_to_impute, shared_out
from avocado.inference.observed import made_from, observed_places, write_observed
from avocado.model.directory import Model, load_model, store_of
from avocado.utils.files import replacing
from avocado.utils.hardware import Hardware
from avocado.utils.provenance import Made, is_there, recorded, require_source

if TYPE_CHECKING:
    from omegaconf import DictConfig

SESSION = "igv-session.json"  # its record says which model a folder is of
MOVE = "a folder holds one model: choose another out="


def hub(config: DictConfig) -> None:
    """Write the track files that are not there yet, and then what shows them."""
    # what is wrong is said before any work
    decimals, hardware = decimals_of(config), Hardware(config.device, config.precision)
    if type(config.shown) is not int or config.shown < 1:
        raise InputError(f"shown={config.shown}: expected a whole number from 1")
    igv_script()
    store = None if config.store is None else open_store(config.store)
    model = load_model(config.model, store, baseline=wants_baseline(config))
    out = Path(config.out)
    require_source(out / SESSION, model.path, MOVE)
    genes = None if config.genes is None else genes_bed(config.genes, model.assembly)
    at_ucsc = config.ucsc or (model.assembly.name if model.assembly.name in ("hg19", "hg38") else None)
    if config.observed and store is None:
        try:
            store = store_of(model)
        except InputError as error:
            print(f"imputed tracks only: {error}")
    regions = as_list(config.regions) or regions_to_impute(model)
    imputed, observed = _files(config, model, out, store if config.observed else None)
    if not imputed and not observed:
        raise InputError("nothing to show: no such pairs of cell type and assay")
    _write_imputed(config, model, imputed, regions, decimals, hardware)
    if store is not None and observed:
        _write_observed(config, store, observed, regions, decimals)
    view = _view(config, model, out, imputed, observed, genes)
    _write_view(model, view, out, genes, hub_files(view, at_ucsc, config.email or "") if at_ucsc else {})
    _say(config, model, out, len(imputed), len(observed), at_ucsc)


def _files(
    config: DictConfig, model: Model, out: Path, store: SignalStore | None
) -> tuple[dict[Pair, Path], dict[Pair, Path]]:
    """Files of imputed and of observed tracks."""
    cells, assays = as_list(config.cell, model.cells), as_list(config.assay, model.assays)
    for cell in cells:
        model.pair(cell, model.assays[0])
    for assay in assays:
        model.pair(model.cells[0], assay)
    every = [(cell, assay) for cell in model.cells for assay in model.assays]
    names = safe_names(f"{cell}-{assay}" for cell, assay in every)  # of all pairs: they do not hang on what is chosen
    trained = set(pairs_in(model.tracks, "train"))
    sets = {
        None: [pair for pair in every if pair not in trained],
        "unmeasured": model.unmeasured(),
        "held_out": pairs_in(model.tracks, "test"),
        "all": every,
        "none": [],
    }
    if config.pairs not in sets:
        raise InputError(f"unknown pairs '{config.pairs}'; there is: unmeasured, held_out, all, none")

    def chosen(pairs: Sequence[Pair], kind: str) -> dict[Pair, Path]:
        # the desktop program IGV takes two files of one name for the same track, whatever their folders
        return {
            (cell, assay): out / kind / f"{names[f'{cell}-{assay}']}.{kind}.bw"
            for cell, assay in sorted(pairs)
            if (not cells or cell in cells) and (not assays or assay in assays)
        }

    return chosen(sets[config.pairs], IMPUTED), chosen(pairs_in(model.tracks) if store is not None else [], OBSERVED)


def _write_imputed(config: DictConfig, model: Model, files, regions, decimals, hardware) -> None:
    if files:
        write(
            model, files, regions, "pval", hardware, config.progress, config.workers, decimals,
            is_missing=(lambda path: True) if config.overwrite else missing_of(model, files, regions, decimals),
        )  # fmt: skip


def _write_observed(config: DictConfig, store: SignalStore, files, regions, decimals) -> None:
    windows = observed_places(store, regions)
    made = made_from(store, files, windows, decimals)
    blocks = sum(window.layout.n_blocks for window in windows)
    with Progress(console=Console(stderr=True), disable=not config.progress) as bar:
        task = bar.add_task(f"writing {len(files)} observed tracks", total=blocks * len(files))

        def missing(path: Path) -> bool:
            return config.overwrite or not is_there(path, made[path], MOVE, renew=True)

        for group, mine in shared_out(files, missing):
            if mine:
                write_observed(
                    store, mine, windows, config.workers or os.cpu_count() or 1, decimals,
                    lambda done: bar.advance(task, done),
                )  # fmt: skip
            bar.advance(task, blocks * (len(group) - len(mine)))


def _view(config: DictConfig, model: Model, out: Path, imputed, observed, genes: str | None):
    roles = {pair: role for role in ("train", "val", "test") for pair in pairs_in(model.tracks, role)}
    plain: list[Row] = []
    for pair in dict.fromkeys([*observed, *imputed]):
        kinds = {kind: files[pair] for kind, files in ((OBSERVED, observed), (IMPUTED, imputed)) if pair in files}
        paths = {kind: path.relative_to(out).as_posix() for kind, path in kinds.items()}
        plain.append(Row(pair[0], pair[1], paths, roles.get(pair, "")))
    rows = with_style(out, plain)
    shown = first_rows(rows, config.shown)
    locus = config.locus or first_locus(out, model.assembly, [rows[number] for number in shown])
    title = config.title or f"Avocado, fold {model.training.get('fold')}, seed {model.training.get('seed')}"
    return View(title, model.assembly, rows, shown, locus, None if genes is None else "genes.bed")


def _write_view(model: Model, view, out: Path, genes: str | None, hub_texts: dict[str, str]) -> None:
    sizes = f"{view.assembly.name}.chrom.sizes"
    note = (
        f"A model of {len(model.cells)} cell types and {len(model.assays)} assays. Observed tracks are what "
        "its store holds, means over 25 bp; an imputed track whose own observed one trained the model is no test of it."
    )
    texts = {
        sizes: sizes_text(view.assembly),
        **({} if genes is None else {"genes.bed": genes}),
        **hub_texts,
        "igv-session.xml": igv_desktop(view, sizes),
        "index.html": page(view, sizes, (note,)),
    }
    for name, text in texts.items():
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    with recorded(out / SESSION, Made({"model": model.shared_checksum[:16]}, model.path)) as temporary:
        temporary.write_text(json.dumps(igv_js(view, sizes), indent=1), encoding="utf-8")


def _say(config: DictConfig, model: Model, out: Path, n_imputed: int, n_observed: int, at_ucsc: str | None) -> None:
    print(f"{n_imputed} imputed and {n_observed} observed tracks (−log10 p) in {out}\n")
    print(f"page     {out / 'index.html'}\nIGV      {out / 'igv-session.xml'}, {out / SESSION}")
    if at_ucsc:
        print(f"hub      {out / 'hub.txt'}  (put the folder on a web server, give UCSC the address of this file)")
    else:
        name = model.assembly.name
        print(f"hub      none: UCSC has no assembly {name}; where it has it by another name: ucsc=NAME")
    app.say_next([(f"avocado view {shlex.quote(str(out))}", "look at the page; nothing leaves this computer")])
