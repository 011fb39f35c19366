"""The Roadmap Epigenomics portal: consolidated −log10 p tracks of 127 epigenomes, hg19.

Which tracks there are, the package knows (assets/roadmap.tsv): the 1,014 of the Avocado paper. The portal has no
checksums; sizes are asked for file by file.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files

from avocado.errors import InputError, did_you_mean
from avocado.portals.listing import Listing, Offer

BASE = "https://egg2.wustl.edu/roadmap/data/byFileType/signal/consolidated/macs2signal/pval"
ASSEMBLY = "hg19"
NAMED_BY = ("cell", "name", "lineage")  # columns by which cell types may be asked for


def offers(cells: Sequence[str], assays: Sequence[str], base: str | None = None) -> Listing:
    """The tracks of these cell types and assays; empty: of all.

    cells: identifiers (E003), names (H1 Cells) or lineages (Brain). assays: of the paper's 24. base: address of the
    folder of files, for a mirror. Raises InputError for names that are not there, and where nothing was measured.
    """
    epigenomes = list(_epigenomes())
    known = {row[column] for row in epigenomes for column in NAMED_BY}
    n_cells = Counter(assay for row in epigenomes for assay in row["assays"].split(","))
    all_assays = [assay for assay, _ in n_cells.most_common()]
    for name in cells:
        if name not in known:
            hint = "" if re.fullmatch(r"E\d+", name) else did_you_mean(name, known)
            raise InputError(
                f"Roadmap has no cell type '{name}'{hint}; it has E001 to E129 (127 of them), "
                "their names, and lineages such as Brain"
            )
    for name in assays:
        if name not in n_cells:
            hint = did_you_mean(name, all_assays)
            raise InputError(f"Roadmap has no assay '{name}'{hint}; it has: {', '.join(all_assays)}")
    found, missing = [], []
    for row in epigenomes:
        if cells and not any(row[column] in cells for column in NAMED_BY):
            continue
        for assay in dict.fromkeys(assays or all_assays):
            if assay in row["assays"].split(","):
                url = f"{(base or BASE).rstrip('/')}/{row['cell']}-{assay}.pval.signal.bigwig"
                about = {column: row[column] for column in ("name", "lineage", "anatomy", "colour")}
                found.append(Offer(row["cell"], assay, url, None, None, ASSEMBLY, about))
            elif assays:
                missing.append((row["cell"], assay))
    if not found:
        raise InputError("none of these pairs was measured by Roadmap: take other cell types or assays")
    return Listing(found, missing)


def _epigenomes() -> Iterator[dict[str, str]]:
    text = (files("avocado") / "assets" / "roadmap.tsv").read_text(encoding="utf-8")
    return csv.DictReader((line for line in text.splitlines() if not line.startswith("#")), delimiter="\t")
