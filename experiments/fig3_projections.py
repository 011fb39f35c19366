"""What do factors make alike? Cell types, assays, promoters and enhancers in two dimensions (Avocado paper, Fig. 3).

    python -m experiments.fig3_projections model=runs/model/fold0/seed0 genes=gencode.gtf.gz enhancers=fantom5.bed.gz

Groups that are known, such as lineages, are looked for in the factors themselves, not in the figure, and as well in the
observed training tracks. In the folder `out`:

    recovery.csv          how well the groups come out, of factors and of observed tracks, beside shuffled groups
    projections.csv       where everything lies in the figure
    projections.png       promoters and enhancers, assays, cell types
    trees.png             distances of cell types and their hierarchical clustering (Fig. S5)
    profiles.png          signal around the promoters and enhancers of each part of the figure (Fig. 3b)
    report.html           all of it
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import avocado  # noqa: F401  before torch, whose threads it has settings for
from avocado.cli import app
from avocado.config.values import as_list
from avocado.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from omegaconf import DictConfig

    from avocado.data.store import SignalStore
    from avocado.latent.projections import Recovery
    from avocado.model.directory import Model
    from avocado.plotting.latent import Panel

FACTORS, STATES, OBSERVED = "factors", "states", "observed tracks"
FUNCTIONS = {  # as Fig. 3c colours them; acetylations that are not well characterised are left as "other"
    "active": ("H3K4me1", "H3K4me2", "H3K4me3", "H3K27ac", "H3K9ac", "H2A.Z", "DNase"),
    "transcribed": ("H3K36me3", "H3K79me1", "H3K79me2", "H4K20me1", "RNA-seq"),
    "repressive": ("H3K27me3", "H3K9me3"),
}
FUNCTION_COLORS = {"active": "#cc79a7", "transcribed": "#009e73", "repressive": "#c68600", "other": "#8c8c8c"}
KIND_COLORS = {"promoter": "#0072b2", "enhancer": "#c68600"}


@dataclass
class Found:
    """What is drawn and written."""

    panels: list[Panel] = field(default_factory=list)
    figures: dict[str, tuple[str, Figure]] = field(default_factory=dict)  # by file name: title and figure
    recovered: list[dict[str, object]] = field(default_factory=list)
    places: list[pd.DataFrame] = field(default_factory=list)


def fig3(config: DictConfig) -> None:
    """Project, look for groups, and write tables, figures and report."""
    import pandas as pd
    import torch

    from avocado.data.store import open_store
    from avocado.model.directory import load_model, store_of
    from avocado.plotting.latent import plot_projections
    from avocado.report.report import Picture, Report, Table, write_report
    from experiments.cross_validation import save

    if config.threads:
        torch.set_num_threads(config.threads)
    if (config.genes is None) != (config.enhancers is None):
        raise InputError("promoters are shown beside enhancers: give both genes= and enhancers=, or neither")
    model = load_model(config.model, open_store(config.store) if config.store else None, baseline=False)
    store, found = store_of(model), Found()
    if config.genes is not None:
        _elements(config, model, store, found)
    _assays(config, model, store, found)
    _cells(config, model, store, found)
    out, figure = Path(config.out), plot_projections(found.panels)
    found.figures = {"projections": ("Projections", figure), **found.figures}
    recovered, places = pd.DataFrame(found.recovered), pd.concat(found.places, ignore_index=True)
    save(places, out / "projections.csv")
    for name, (_, drawing) in found.figures.items():
        save(drawing, out / f"{name}.png")
    tables = []
    if len(recovered):
        save(recovered, out / "recovery.csv")
        print(recovered.to_string(index=False, float_format=lambda value: f"{value:.2f}"))
        better = {"rand": "higher", "accuracy": "higher"}
        tables = [Table("How well groups come out", recovered, READ, better, ("what", "by"))]  # type: ignore[arg-type]
    about = {
        "model": str(model.path), "signal": str(store.path), "tracks": "observed: those that trained the model",
        "projection": f"{config.method}, {config.neighbours} neighbours, seed {config.seed}",
    }  # fmt: skip
    pictures = [Picture(title, drawing) for title, drawing in found.figures.values()]
    date = time.strftime("%Y-%m-%d %H:%M")
    write_report(out / "report.html", Report("What factors make alike", date, about, None, tables, figures=pictures))
    print(f"tables, figures and report.html in {out}")


READ = (
    "rand: adjusted Rand index of a tree (average linkage) that is cut into as many clusters as there are groups, "
    "1 is perfect and 0 is chance. accuracy: share of the rows to which their nearest neighbours (3, or as many as the "
    "smallest group has others) give the right group. by_chance: what 95 % of shuffled groups stay below. Rows without "
    "another one of their group do not count. Measured on Euclidean distances of all factors, on 1 − correlation of "
    "the cell types' states, less their mean, and on 1 − correlation of observed tracks; of promoters and enhancers on "
    "Euclidean distances of the tracks' means over the same ± 250 bp."
)


def _cells(config: DictConfig, model: Model, store: SignalStore, found: Found) -> None:
    from avocado.data.compendium import pairs_in
    from avocado.evaluation.relatives import observed_distances
    from avocado.latent.cell_distances import state_distances
    from avocado.latent.embeddings import factor_table
    from avocado.latent.projections import distances, recovery
    from avocado.plotting.latent import plot_trees

    about = _described(config.cell_table, model.cells, factor_table(model, "cell", store.tracks))
    column = config.cell_by or ("lineage" if "lineage" in about else None)
    groups = ["cell types"] * len(model.cells) if column is None else _column(about, column, "cell_by")
    colors = {} if config.colors is None else dict(zip(groups, _column(about, config.colors, "colors"), strict=True))
    factors, region = model.cell_factors.to_numpy(), _region(config, model, store)
    apart = {FACTORS: distances(factors)}
    if model.network.config.kind == "states" and model.regions:
        apart[STATES] = state_distances(model, region if region in model.regions else next(iter(model.regions)))
    apart[OBSERVED] = observed_distances(store, region, pairs_in(model.tracks, "train"), model.cells)
    scores = {source: recovery(its, groups, config.seed) for source, its in apart.items()}
    text = _note(found, "cell types", column or "", scores)
    _panel(config, found, "cell types", factors, groups, text, model.cells, colors)
    captions = {
        FACTORS: "Euclidean distance of factors",
        STATES: "1 − correlation of states",
        OBSERVED: "1 − correlation of observed tracks",
    }
    trees = {
        f"cell types by {source}": (its, f"{captions[source]}; average linkage. {_score(scores[source])}")
        for source, its in apart.items()
    }
    if len(model.cells) > 1:
        found.figures["trees"] = ("Distances of cell types", plot_trees(trees, model.cells, groups, colors))


def _assays(config: DictConfig, model: Model, store: SignalStore, found: Found) -> None:
    from avocado.data.compendium import pairs_in
    from avocado.evaluation.relatives import observed_distances
    from avocado.latent.embeddings import factor_table
    from avocado.latent.projections import distances, recovery

    if config.assay_by is None:
        function = {assay: name for name, assays in FUNCTIONS.items() for assay in assays}
        groups = [function.get(assay, "other") for assay in model.assays]
    else:
        groups = _column(factor_table(model, "assay", store.tracks), config.assay_by, "assay_by")
    factors, region = model.assay_factors.to_numpy(), _region(config, model, store)
    observed = observed_distances(store, region, pairs_in(model.tracks, "train"), model.assays, "assay")
    scores = {
        source: recovery(apart, groups, config.seed)
        for source, apart in ((FACTORS, distances(factors)), (OBSERVED, observed))
    }
    text = _note(found, "assays", config.assay_by or "function", scores)
    _panel(config, found, "assays", factors, groups, text, model.assays, FUNCTION_COLORS)


def _elements(config: DictConfig, model: Model, store: SignalStore, found: Found) -> None:
    """Promoters and enhancers where the model has factors; a share of them is drawn."""
    import numpy as np
    import pandas as pd

    from avocado.data.compendium import pairs_in
    from avocado.data.intervals import read_genes, read_intervals
    from avocado.latent import elements
    from avocado.latent.embeddings import embed_intervals
    from avocado.latent.projections import NEAREST, nearest, neighbour_accuracy, parted
    from avocado.plotting.latent import plot_profiles

    genes, enhancers = read_genes(config.genes, model.assembly), read_intervals(config.enhancers, model.assembly)
    every = embed_intervals(model, elements.elements(genes, enhancers), flank=elements.FLANK)[0].rows
    rows = every.iloc[elements.drawn(every, config.share, config.seed)][
        ["chrom", "start", "end", "name", "kind", "forward"]
    ]
    embedding, _ = embed_intervals(model, rows, flank=elements.FLANK)
    factors = np.concatenate([part.factors for part in embedding.parts()])
    columns = [store.track_index(*pair) for pair in pairs_in(model.tracks, "train")]
    observed = elements.observed_around(store, rows, columns)
    kinds, inside = rows["kind"].to_numpy(dtype=str), np.isfinite(observed).all(axis=1)
    rng = np.random.default_rng(config.seed)
    for source, table in ((FACTORS, factors), (OBSERVED, observed)):
        closest, of = nearest(table[inside]), kinds[inside]
        chance = np.quantile([neighbour_accuracy(closest, rng.permutation(of)) for _ in range(100)], 0.95)
        found.recovered.append(
            {"what": "promoters and enhancers", "by": "kind", "source": source, "rows": len(of), "groups": 2,
             "neighbours": NEAREST, "accuracy": neighbour_accuracy(closest, of), "accuracy_by_chance": float(chance)}
        )  # fmt: skip
    counts = {kind: int((every["kind"] == kind).sum()) for kind in dict.fromkeys(kinds)}
    last = found.recovered[-2:]
    text = (
        f"Mean factors ± {elements.FLANK} bp; drawn of {counts['promoter']:,} promoters and {counts['enhancer']:,} "
        f"enhancers with factors. 3 nearest neighbours give the kind to {_both(last, 'accuracy')} (by chance up to "
        f"{last[0]['accuracy_by_chance']:.0%})."
    )
    panel = _panel(config, found, "promoters and enhancers", factors, kinds.tolist(), text, [], KIND_COLORS)
    found.places[-1] = pd.concat([rows.reset_index(drop=True), found.places[-1].drop(columns="name")], axis=1)
    tracks = {
        assay: columns
        for assay in as_list(config.assays)
        if (columns := [store.track_index(*pair) for pair in pairs_in(model.tracks, "train") if pair[1] == assay])
    }
    if not tracks:
        print(f"no profiles: {', '.join(as_list(config.assays))} have no training track")
        return
    parts = parted(panel.projection.places, config.clusters, config.seed)
    promoters = {part: (kinds[parts == part] == "promoter").mean() for part in range(config.clusters)}
    shapes, means = elements.profiles(store, rows, tracks), {}
    for letter, part in zip("ABCDEFGHIJ", sorted(promoters, key=lambda its: -promoters[its]), strict=False):
        found.places[-1].loc[parts == part, "part"] = letter
        chosen = {kind: (parts == part) & (kinds == kind) for kind in KIND_COLORS}
        means[f"{letter}, {promoters[part]:.0%} promoters"] = {
            f"{kind}s ({its.sum()})": np.nanmean(shapes[its], axis=0) for kind, its in chosen.items() if its.any()
        }
    n = ", ".join(f"{assay} of {len(its)} cell types" for assay, its in tracks.items())
    caption = (
        f"Mean observed signal, arcsinh, around promoters (turned with their strand) and enhancers: {n}, those that "
        f"trained the model. Parts A, B, ... are those of k-means in the projection, seed {config.seed}."
    )
    figure = plot_profiles(means, list(tracks), elements.AROUND, caption)
    found.figures["profiles"] = ("Signal around promoters and enhancers", figure)


def _panel(
    config: DictConfig, found: Found, title: str, factors: np.ndarray, groups: Sequence[str], caption: str,
    names: Sequence[str], colors: Mapping[str, str],
) -> Panel:  # fmt: skip
    import pandas as pd

    from avocado.latent.projections import project
    from avocado.plotting.latent import Panel

    settings = {"seed": config.seed, "neighbours": config.neighbours, "min_distance": config.min_distance}
    projection = project(factors, config.method, **settings)
    known = {group: color for group, color in colors.items() if group in set(groups)}
    found.panels.append(Panel(title, projection, groups, caption, names, known))
    x, y = projection.places.T
    table = {"what": title, "name": list(names) or "", "group": list(groups), "x": x, "y": y}
    found.places.append(pd.DataFrame(table))
    return found.panels[-1]


def _note(found: Found, what: str, by: str, scores: Mapping[str, Recovery | None]) -> str:
    """The caption of a panel, and rows of the table."""
    rows = [
        {"what": what, "by": by, "source": source, **asdict(its)} for source, its in scores.items() if its is not None
    ]
    found.recovered += rows
    if not rows:
        return "No groups of two at least to look for."
    first = rows[0]
    vote = f"{first['neighbours']} nearest neighbours are" if first["neighbours"] != 1 else "the nearest neighbour is"
    return (
        f"{by.capitalize()} of {first['rows']} {what} in {first['groups']} groups: adjusted Rand index "
        f"{_both(rows, 'rand', '.2f')} (by chance up to {first['rand_by_chance']:.2f}); {vote} "
        f"right for {_both(rows, 'accuracy')} (by chance up to {first['accuracy_by_chance']:.0%})."
    )


def _both(rows: Sequence[Mapping[str, object]], key: str, form: str = ".0%") -> str:
    *most, last = [f"{row[key]:{form}} by {row['source']}" for row in rows]
    return f"{', '.join(most)} and {last}" if most else last


def _score(found: Recovery | None) -> str:
    return "" if found is None else f"Rand index {found.rand:.2f}, neighbours right for {found.accuracy:.0%}."


def _region(config: DictConfig, model: Model, store: SignalStore) -> str:
    name = config.region or str(model.training.get("region"))
    store.region(name)
    return name


def _described(path: str | None, names: Sequence[str], about: pd.DataFrame) -> pd.DataFrame:
    """The compendium's columns of some names, with those of a table whose first column has the names."""
    import pandas as pd

    about = about[[name for name in about.columns if not str(name).startswith("factor_")]]
    if path is None:
        return about
    try:
        table = pd.read_csv(path, sep=None, engine="python", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from None
    table = table.drop_duplicates(table.columns[0]).set_index(table.columns[0])
    missing = [name for name in names if name not in table.index]
    if missing:
        raise InputError(f"{path}: its first column has no {', '.join(missing[:5])}; give a table of the cell types")
    return about.drop(columns=about.columns.intersection(table.columns)).join(table.loc[list(names)])


def _column(about: pd.DataFrame, name: str, key: str) -> list[str]:
    if name not in about:
        raise InputError(f"{key}={name}: no such column; there is: {', '.join(about.columns) or 'none'}")
    return about[name].astype(str).tolist()


if __name__ == "__main__":
    sys.exit(app.run("fig3_projections", fig3, sys.argv[1:]))
