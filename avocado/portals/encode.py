"""The ENCODE portal: released bigWigs of −log10 p ("signal p-value"), found by its REST API.

https://www.encodeproject.org/help/rest-api/. A pair of cell type and assay often has several files, of experiments on
other donors, of single replicates, of older analyses; one is chosen, always the same one, and the others are named.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from avocado.data.compendium import Pair
from avocado.errors import InputError
from avocado.portals.listing import Listing, Offer
from avocado.utils.remote import read_json

BASE = "https://www.encodeproject.org"
OUTPUT = "signal p-value"
ASSEMBLIES = {"hg38": "GRCh38"}  # where the portal's names are others
WITHOUT_TARGET = {"DNase": "DNase-seq", "ATAC": "ATAC-seq"}  # assays of no mark or protein, as the portal has them
FIELDS = (
    *("accession", "href", "md5sum", "file_size", "status", "output_type", "assembly", "date_created", "dataset"),
    *("biological_replicates", "preferred_default", "assay_term_name", "target.label", "simple_biosample_summary"),
    *("biosample_ontology.term_name", "biosample_ontology.classification", "biosample_ontology.organ_slims"),
)
NAMES_AT_ONCE = 40  # of cell types or assays in one query: addresses must not be too long
CHANGED = re.compile(r"treated with|modified|expressing|transfected|knock", re.IGNORECASE)  # of a sample's summary


def offers(cells: Sequence[str], assays: Sequence[str], base: str | None = None, assembly: str = "hg38") -> Listing:
    """The tracks of these cell types and assays, one file for each pair; an empty list means all, but not both.

    cells: biosample terms as the portal writes them (K562, "CD4-positive, alpha-beta T cell"). assays: targets
    (H3K4me3, CTCF), DNase or ATAC. Of several files the one is taken that is of an untreated sample, then of the
    portal's default analysis, then of most replicates, then newest, then first by accession.
    Raises InputError where the portal cannot be asked, and where it has nothing of this.
    """
    if not cells and not assays:
        raise InputError("the portal has thousands of tracks: give cells=, assays= or both")
    place = (base or BASE).rstrip("/")
    wanted = [next((mine for mine, its in WITHOUT_TARGET.items() if its == name), name) for name in assays]
    targets = [name for name in wanted if name not in WITHOUT_TARGET]
    others = [WITHOUT_TARGET[name] for name in wanted if name in WITHOUT_TARGET]
    found: dict[Pair, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for names in _some(cells):
        for key, values in (("target.label", targets), ("assay_term_name", others)) if wanted else (("", []),):
            for some in _some(values) if values or not wanted else ():
                for file in _search(place, assembly, names, key, some):
                    found[_pair(file)][file["accession"]] = file
    if not found:
        raise InputError(
            f"{place} has no released bigWig of {OUTPUT} on {assembly} for this: its names of biosamples are exact "
            "(K562, GM12878, IMR-90), and DNase has none but in old analyses"
        )
    tracks, left_out = [], []
    for (cell, assay), files in sorted(found.items()):
        best, *rest = sorted(files.values(), key=_rank)
        tracks.append(_offer(place, cell, assay, assembly, best))
        left_out += [_passed_over(cell, assay, best, file) for file in rest]
    return Listing(tracks, _missing(cells, wanted, found), left_out)


def _some(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[first : first + NAMES_AT_ONCE] for first in range(0, len(names), NAMES_AT_ONCE)] or [[]]


def _search(
    place: str, assembly: str, cells: Sequence[str], key: str, values: Sequence[str]
) -> Iterator[Mapping[str, Any]]:
    """Files of one query; only those of which all is known that is needed."""
    query = [
        *(("type", "File"), ("status", "released"), ("file_format", "bigWig"), ("output_type", OUTPUT)),
        ("assembly", ASSEMBLIES.get(assembly, assembly)),
        *(("biosample_ontology.term_name", name) for name in cells),
        *((key, value) for value in values),
        *(("field", field) for field in FIELDS),
        *(("format", "json"), ("limit", "all")),
    ]
    result = read_json(f"{place}/search/?{urlencode(query)}") or {"@graph": []}  # 404: nothing was found
    if not isinstance(result, dict) or not isinstance(result.get("@graph"), list):
        raise InputError(f"{place} does not answer as ENCODE's portal does: check base=")
    for file in result["@graph"]:
        try:
            usable = (
                file["status"] == "released"
                and file["output_type"] == OUTPUT
                and file["assembly"] == ASSEMBLIES.get(assembly, assembly)
                and re.fullmatch(r"/files/\w+/@@download/\w+\.bigWig", file["href"], re.IGNORECASE)
                and re.fullmatch(r"[0-9a-f]{32}", file["md5sum"])
                and _pair(file)
            )
        except (KeyError, TypeError):
            usable = False
        if usable:
            yield file


def _pair(file: Mapping[str, Any]) -> Pair:
    target, method = (file.get("target") or {}).get("label"), file["assay_term_name"]
    names = {its: mine for mine, its in WITHOUT_TARGET.items()}
    return str(file["biosample_ontology"]["term_name"]), str(target or names.get(method, method))


def _rank(file: Mapping[str, Any]) -> tuple[Any, ...]:
    """The best one has the lowest."""
    return (
        bool(CHANGED.search(file.get("simple_biosample_summary") or "")),  # treated or modified
        not file.get("preferred_default", False),
        -len(file.get("biological_replicates", [])),
        [-ord(sign) for sign in file.get("date_created", "")],
        file["accession"],
    )


def _offer(place: str, cell: str, assay: str, assembly: str, file: Mapping[str, Any]) -> Offer:
    ontology = file["biosample_ontology"]
    about = {
        "name": " ".join(filter(None, (cell, file.get("simple_biosample_summary")))),
        "kind": ontology.get("classification", ""),
        "anatomy": ", ".join(ontology.get("organ_slims", [])),
        **_identity(file),
        "md5": file["md5sum"],
    }
    return Offer(cell, assay, f"{place}{file['href']}", file.get("file_size"), file["md5sum"], assembly, about)


def _identity(file: Mapping[str, Any]) -> dict[str, str]:
    return {
        "accession": file["accession"],
        "experiment": str(file.get("dataset", "")).strip("/").rpartition("/")[2],
        "replicates": ",".join(map(str, file.get("biological_replicates", []))),
        "created": str(file.get("date_created", ""))[:10],
    }


def _passed_over(cell: str, assay: str, best: Mapping[str, Any], file: Mapping[str, Any]) -> dict[str, str]:
    reasons = ("a treated or modified sample", "not of the default analysis", "fewer replicates", "older", "accession")
    why = next(why for why, mine, its in zip(reasons, _rank(best), _rank(file), strict=True) if mine != its)
    summary = {"summary": file.get("simple_biosample_summary") or "", "why": why, "chosen": best["accession"]}
    return {"cell": cell, "assay": assay, **_identity(file), **summary}


def _missing(cells: Sequence[str], assays: Sequence[str], found: Mapping[Pair, Any]) -> list[Pair]:
    """Pairs that were asked for and not found; where only cell types or only assays were named, these with a star."""
    asked = [(cell, assay) for cell in cells or ["*"] for assay in assays or ["*"]]
    return [
        pair for pair in asked if not any(pair[0] in ("*", cell) and pair[1] in ("*", assay) for cell, assay in found)
    ]
