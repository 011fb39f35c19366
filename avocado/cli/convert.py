"""`avocado convert`: a model of the original program -> a model directory, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from avocado.cli import app
from avocado.errors import InputError
from avocado.model.directory import load_model
from avocado.model.published import export_published, import_published
from avocado.runs.card import update_card

if TYPE_CHECKING:
    from omegaconf import DictConfig


def convert(config: DictConfig) -> None:
    """Read a published model, or write one."""
    if config.keras is None or (config.model is None) == (config.out is None):
        raise InputError(
            "give keras= and out= to read a model of the original program, or model=, region= and keras= to write one; "
            "--help shows both"
        )
    file = config.json or str(Path(config.keras).with_suffix(".json"))
    if config.model is not None:
        _write(config, file)
    else:
        _read(config, file)


def _read(config: DictConfig, file: str) -> None:
    if config.region is not None:
        raise InputError("region= goes with model=; the chromosome of keras= is chrom=")
    model = import_published(
        config.keras, file, config.out,
        chrom=config.chrom, assembly=config.assembly, tracks=config.tracks, overwrite=config.overwrite,
    )  # fmt: skip
    update_card(model.path)
    print(model)
    if not len(model.tracks):
        print(
            "  which experiments it was trained on is not known: no pair counts as measured; tracks= says it, and "
            "whether a track was held out is yours to know"
        )
    place = next(reversed(model.regions))
    pair = f"cell={_typed(model.cells[0])} assay={_typed(model.assays[0])}"
    app.say_next(
        [
            (f"avocado impute model={model.path} {pair} regions={place} out=imputed.bw", "one track as bigWig"),
            (f"avocado inspect {model.path}", "what is in it"),
        ]
    )


def _write(config: DictConfig, file: str) -> None:
    for key in ("chrom", "assembly", "tracks"):
        if config[key] is not None:
            raise InputError(f"{key}= goes with out=, where a model is read; with model= give region=")
    if config.region is None:
        raise InputError("which chromosome? Give region=, such as region=chr20")
    model = load_model(config.model, baseline=False)
    export_published(model, config.region, config.keras, file, overwrite=config.overwrite)
    n_bins = model.regions[config.region].n_bins
    print(f"{config.keras}, {file}: {config.region}, {n_bins:,} bins, arcsinh(−log10 p)")
    name = Path(config.keras).with_suffix("")
    if Path(file).with_suffix("") == name and Path(config.keras).suffix == ".h5":
        print(f'  with the original program: Avocado.load("{name}")')


def _typed(name: str) -> str:
    """A name as a shell takes it."""
    return name if name.replace("-", "").replace("_", "").isalnum() else f"'{name}'"
