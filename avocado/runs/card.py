"""A model card: `README.md` in a model directory, for whoever gets the directory, the Hugging Face Hub and W&B.

It is made from `model.yaml`, from the scores of the runs that made the model and the verdicts of its transfers, again
after each of them. Its last line has a checksum of what is above: a card that somebody has changed is left as it is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import yaml

from avocado.data.compendium import pairs_in
from avocado.evaluation.scores import AVERAGE, TITLES, mean_rows, track_rows
from avocado.model.directory import Model, load_model
from avocado.model.transfers import GIVEN, RECORD, VERDICT
from avocado.utils.files import locked, replacing

log = logging.getLogger(__name__)

CARD = "README.md"
TAGS = ("biology", "genomics", "epigenomics", "imputation", "tensor-factorization")
HUB = {"mse": "mse", "pearson": "pearsonr", "spearman": "spearmanr"}  # measures that the Hub has names for
PUBLISHED = "published"  # the stage of a model that was read from the original program's files
END = re.compile(r"<!-- avocado ([0-9a-f]{16}): .* -->\n?$")
Scores = Mapping[str, pd.DataFrame]  # `scores.score_table`s by region


def update_card(directory: Path, scores: Callable[[Model], Scores] = lambda model: {}) -> bool:
    """Write the card of a model directory, unless somebody has changed the one that is there. Returns whether it did.

    scores: finds those of the model's held-out tracks, by region. Of runs that end at the same time one after the
    other writes it, so that the last one knows all scores.
    """
    path = directory / CARD
    with locked(directory / f".{CARD}.lock", what=path):
        if path.exists() and not _is_ours(path):
            log.info("%s was not made by this program, or changed since: it is left as it is", path)
            return False
        model = load_model(directory, only_whole=True, baseline=False)
        text = card(model, scores(model))
        with replacing(path) as temporary:
            temporary.write_text(
                f"{text}\n<!-- avocado {_checksum(text)}: made again after each run, unless it is changed -->\n",
                encoding="utf-8",
            )
    return True


def shown(text: str) -> str:
    """A card as people read it: without what is for the Hub, and without the checksum."""
    return END.sub("", re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)).strip() + "\n"


def card(model: Model, scores: Scores) -> str:
    """The text of a card: YAML for the Hugging Face Hub, then Markdown."""
    front = yaml.safe_dump(_front_matter(model, scores), sort_keys=False, allow_unicode=True, width=1000)
    licence = "# license: yours to choose, such as apache-2.0; the tracks' own terms count, too\n"
    parts = [_what(model), _added(model), _scores(model, scores), _good_for(model, scores), _loading(model),
             _tracks(model), _facts(model)]  # fmt: skip
    return f"---\n{front}{licence}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _is_ours(path: Path) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    end = END.search(text)
    return end is not None and end[1] == _checksum(text[: end.start() - 1])


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _front_matter(model: Model, scores: Scores) -> dict[str, object]:
    content: dict[str, object] = {"library_name": "avocado", "tags": list(TAGS)}
    results = []
    for region, table in scores.items():
        metrics = [
            {"type": kind, "name": f"{TITLES[name]} of {row['method']}", "value": round(float(row[name]), 5)}
            for row in mean_rows(table).to_dict("records")
            for name, kind in HUB.items()
            if pd.notna(row[name])
        ]
        place = f"{_n_tracks(table)} held-out tracks, {region} of {model.assembly.name}"
        results.append(
            {
                "task": {"type": "imputation", "name": "Imputation of held-out tracks"},
                "dataset": {"type": "epigenome", "name": place},
                "metrics": metrics,
            }
        )
    if results:
        content["model-index"] = [{"name": f"avocado-{model.shared_checksum[:8]}", "results": results}]
    return content


def _n_tracks(table: pd.DataFrame) -> int:
    return len(set(pairs_in(track_rows(table))))


def _what(model: Model) -> str:
    config = model.network.config
    kind = "The network of the paper" if config.kind == "paper" else "Genome factors inferred from the training tracks"
    with_baseline = ", combined with a cross-assay regression" if config.baseline != "none" else ""
    regions = ", ".join(f"{name} ({region.n_bins:,} bins)" for name, region in model.regions.items())
    lines = [
        f"# Epigenome imputation: {len(model.assays)} assays in {len(model.cells)} cell types ({model.assembly.name})",
        "",
        "A deep tensor factorization of epigenomic tracks (Avocado, "
        "[Schreiber et al. 2020](https://doi.org/10.1186/s13059-020-01977-6)). It imputes the signal of "
        "every pair of these cell types and assays, arcsinh(−log10 p) in bins of 25 bp, and its factors describe "
        f"cell types, assays and places. Where: {regions or 'no region yet'}.",
        "",
        f"- {kind}{with_baseline}; {config.cell_factors} cell-type and {config.assay_factors} assay factors, "
        f"{config.factors_25bp}, {config.factors_250bp} and {config.factors_5kbp} genome factors at 25 bp, 250 bp and "
        "5 kbp" + (" for each cell-type factor" if config.kind == "states" else ""),
    ]
    if model.training.get("stage") == PUBLISHED:
        made_by = " ".join(str(model.training[key]) for key in ("backend", "keras_version") if key in model.training)
        lines.append(f"- Converted from a model of the original program, `{model.training.get('file')}` ({made_by})")
    return "\n".join(lines)


def _added(model: Model) -> str:
    """What transfers added, each with its verdict."""
    if not model.transfers:
        return ""
    tracks = pairs_in(model.tracks, GIVEN)
    parts = [
        "## Added by transfer\n\nTo a model that was trained without them. Their own factors were learned, everything "
        f"else is bit for bit what it was: what is imputed of the other {model.n_known[0]} cell types and "
        f"{model.n_known[1]} assays is the same, too."
    ]
    for number, its in enumerate(model.transfers, start=1):
        of_it = [f"{cell} {assay}" for cell, assay in tracks if cell in its.cells or assay in its.assays]
        new = [f"{'new ' + kind}{'s' if len(names) > 1 else ''} {', '.join(names)}"
               for kind, names in (("cell type", its.cells), ("assay", its.assays)) if names]  # fmt: skip
        parts.append(
            f"- {'; '.join(new)}: learned on {its.region} from {', '.join(of_it)}; added to the model with the shared "
            f"parameters {its.shared_sha256[:16]}."
        )
        places = [model.path / its.store / VERDICT, *[model.path / RECORD / VERDICT] * (number == len(model.transfers))]
        if found := [place for place in places if place.is_file()]:
            text = found[0].read_text(encoding="utf-8").strip("\n")
            parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts)


def _scores(model: Model, scores: Scores) -> str:
    if not scores:
        reason = "no track was held out, or nothing says which were"
        if model.transfers:
            reason = "those of the other cell types are in the card of the model that these were added to"
        return (
            f"## How good is it?\n\nNo scores: {reason}. `avocado score` compares it with average activity on tracks "
            "that it has not seen."
        )
    names = {name: title for name, title in TITLES.items() if all(name in table for table in scores.values())}
    rows = []
    for region, table in scores.items():
        for row in mean_rows(table).to_dict("records"):
            skill = "" if row["method"] == AVERAGE else f"{row['skill']:.3f}"
            rows.append([region, row["method"], *(f"{row[name]:.3f}" for name in names), skill])
    text = ", ".join(f"{_better(table)} of {_n_tracks(table)} on {region}" for region, table in scores.items())
    return (
        "## How good is it?\n\nMeans over held-out tracks, which trained nothing, in arcsinh space, beside average "
        "activity: the mean of the assay's training tracks, which knows nothing about the cell type and is hard to "
        "beat. skill is 1 − MSE / MSE of average activity.\n\n"
        f"{_table(['region', 'method', *names.values(), 'skill'], rows)}\n\n"
        f"Lower MSE than average activity on {text}."
    )


def _better(table: pd.DataFrame) -> int:
    tracks = track_rows(table)
    return int((tracks.loc[tracks["method"] != AVERAGE, "skill"] > 0).sum())


def _good_for(model: Model, scores: Scores) -> str:
    """Which assays are imputed better than average activity, on the region with most bins."""
    lines = ["## What is it good for?", ""]
    if scores:
        region = max(scores, key=lambda name: model.regions[name].n_bins if name in model.regions else 0)
        tracks = track_rows(scores[region])
        average = tracks[tracks["method"] == AVERAGE].groupby("assay")["mse"].mean()
        rows = []
        for assay, its in tracks[tracks["method"] != AVERAGE].groupby("assay"):
            skill = 1 - its["mse"].mean() / average[assay]
            better = f"{int((its['skill'] > 0).sum())} of {len(its)}"
            rows.append([str(assay), better, f"{skill:.3f}", f"{its['pearson'].mean():.3f}"])
        rows.sort(key=lambda row: -float(row[2]))
        head = ["assay", "held-out tracks better than average activity", "skill", "Pearson"]
        lines += [f"By assay, on {region}:", "", _table(head, rows), ""]
        unknown = [assay for assay in model.assays if assay not in set(average.index)]
        if unknown:
            lines += [f"No track of {', '.join(unknown)} was held out: nothing says how well it is imputed.", ""]
    lines.append(
        "An imputation is a guess from other tracks: peaks of one cell type alone are found less often than shared "
        "ones, and the highest peaks are too low. Compare with average activity before you build on it. Other cell "
        "types, assays and places are unknown to it; `stage=transfer` and `stage=genome` add them."
    )
    return "\n".join(lines)


def _loading(model: Model) -> str:
    region = next(reversed(model.regions), "chr20")
    added = [its.cells[-1] for its in model.transfers if its.cells]
    names = (added[-1] if added else model.cells[0]), model.assays[0], region
    cell, assay, place = (json.dumps(name, ensure_ascii=False) for name in names)
    alone = model.network.config.baseline == "none"
    call = "" if alone else ", baseline=False"
    code = (
        f'import avocado\n\nmodel = avocado.load_model("this/directory"{call})\n'
        f"signal = avocado.impute(model, ({cell}, {assay}), {place})  # arcsinh(−log10 p)\n"
        f"factors = model.genome_factors({place})"
    )
    keys = f"model=this/directory{'' if alone else ' baseline=none'} regions={region}"
    command = f"avocado impute {keys} 'out={{cell}}-{{assay}}.bw'"
    needed = (
        "" if alone else
        "\n\nThat is the factorization alone. Combined with the regression, as it was scored, it takes the store of "
        "the training tracks: `store=`, and no `baseline=none`."
    )  # fmt: skip
    return (
        f"## How to use it\n\n```python\n{code}\n```\n\n```bash\n{command}   # all pairs never measured\n```\n\n"
        f"Plain files: `model.yaml`, and safetensors; nothing is a pickle.{needed}"
    )


def _tracks(model: Model) -> str:
    """Which experiments trained, validated and were held out, cell types by assays."""
    if not len(model.tracks):
        return (
            "## Tracks\n\nWhich experiments it was trained on is not known. "
            f"Cell types: {', '.join(model.cells)}. Assays: {', '.join(model.assays)}."
        )
    role = {(row.cell, row.assay): str(row.role) for row in model.tracks.itertuples()}
    signs = {"train": "■", GIVEN: "+", "val": "v", "test": "□"}
    rows = [
        [_escaped(cell), *(signs.get(role.get((cell, assay), ""), "·") for assay in model.assays)]
        for cell in model.cells
    ]
    counts = model.tracks["role"].value_counts()
    told = {"train": "trained (■)", GIVEN: "added what is new (+)", "val": "chose when to stop (v)",
            "test": "were held out (□)"}  # fmt: skip
    words = ", ".join(f"{counts[name]} {text}" for name, text in told.items() if name in counts)
    head = ["cell type", *map(_escaped, model.assays)]
    return (
        f"## Tracks\n\n{words}; · was never measured.\n\n<details><summary>cell types × assays</summary>\n\n"
        f"{_table(head, rows)}\n\n</details>"
    )


def _facts(model: Model) -> str:
    facts = {key: value for key, value in model.training.items() if key != "store" and value is not None}
    told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
    return (
        f"## Where it is from\n\n{told[:1].upper()}{told[1:]}; shared parameters {model.shared_checksum[:16]}.\n\n"
        "Licence: for whoever shares this model to choose, in the head of this file; the terms of the tracks that it "
        "was trained on stay what they are."
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def _escaped(name: str) -> str:
    return name.replace("|", "\\|")
