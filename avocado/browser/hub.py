"""A UCSC track hub: hub.txt, genomes.txt and trackDb.txt, by the library trackhub, which checks every setting.

All tracks are in a composite track, which UCSC shows as a matrix of cell types × assays; pairs with an observed and an
imputed track are in overlays, too. Names and settings: UCSC, Track Database Definition (v3).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from avocado.browser.needed import NEEDED
from avocado.browser.sessions import color_of, rgb
from avocado.browser.tracks import IMPUTED, OBSERVED, Row, View, safe_names
from avocado.errors import InputError

SHORT, LONG = 17, 76  # letters that UCSC shows of a label
HEIGHTS = "128:40:8"  # pixels: most, at the start, least


def hub_files(view: View, genome: str, email: str = "") -> dict[str, str]:
    """The texts of a hub's files, by their paths in its folder: hub.txt, genomes.txt, <genome>/trackDb.txt.

    genome: the assembly's name at UCSC. email: whom its users may ask. Raises InputError where trackhub is not
    installed.
    """
    try:
        import trackhub  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(f"a hub is written by the library trackhub: {NEEDED}") from None

    long_label = _cut(f"{view.title}: observed and imputed −log10 p", LONG)
    hub = trackhub.Hub(
        "avocado", short_label="Avocado", long_label=long_label, email=email, filename="hub.txt"
    )  # fmt: skip
    genomes = trackhub.GenomesFile(filename="genomes.txt")
    assembly = trackhub.Genome(genome, defaultPos=view.locus.replace(",", ""))
    database = trackhub.TrackDb()
    hub.add_genomes_file(genomes)
    genomes.add_genome(assembly)
    assembly.add_trackdb(database)
    database.add_tracks(_matrix(trackhub, view))
    overlaid = [number for number, row in enumerate(view.rows) if len(row.files) > 1]
    if overlaid:
        database.add_tracks(_overlays(trackhub, view, overlaid))
    hub.validate()
    # UCSC takes an empty setting for an error
    lines = [line for line in str(hub).splitlines() if line.strip() != "email"]
    return {
        "hub.txt": "\n".join(lines) + "\n",
        "genomes.txt": str(genomes).strip() + "\n",
        # shown, as trackhub has no word for
        f"{genome}/trackDb.txt": str(database).strip().replace("superTrack on\n", "superTrack on show\n") + "\n",
    }


def _matrix(trackhub, view: View):
    """The composite track, with a view of what was observed and one of what is imputed."""
    cells, assays = _tags(row.cell for row in view.rows), _tags(row.assay for row in view.rows)
    composite = trackhub.CompositeTrack(
        name="avocadoTracks", short_label="Avocado tracks", long_label="Signal of cell types x assays, -log10 p",
        tracktype="bigWig", visibility="full", dragAndDrop="subTracks",
        dimensions="dimX=assay dimY=cell", sortOrder="assay=+ cell=+ view=+", autoScale="off",
    )  # fmt: skip
    kinds = [kind for kind in (OBSERVED, IMPUTED) if any(kind in row.files for row in view.rows)]
    composite.add_subgroups(  # and trackhub adds that of the views
        [
            trackhub.SubGroupDefinition("cell", "Cell_type", {tag: _title(name) for name, tag in cells.items()}),
            trackhub.SubGroupDefinition("assay", "Assay", {tag: _title(name) for name, tag in assays.items()}),
        ]
    )
    names = _names(view.rows)
    for kind in kinds:
        part = trackhub.ViewTrack(
            name=f"avocado{kind.capitalize()}", view=kind, tracktype="bigWig", visibility="full",
            short_label=kind.capitalize(), long_label=f"{kind.capitalize()} signal, -log10 p",
            maxHeightPixels=HEIGHTS, autoScale="off",
        )  # fmt: skip
        for number, row in enumerate(view.rows):
            if kind in row.files:
                # what is overlaid at the start is not shown twice
                on = number in view.shown and len(row.files) == 1
                its = _track(trackhub, view, row, kind, f"{kind}_{names[number]}")
                its.add_params(parent="on" if on else "off")
                its.add_subgroups({"cell": cells[row.cell], "assay": assays[row.assay]})
                part.add_tracks(its)
        composite.add_tracks(part)
    return composite


def _overlays(trackhub, view: View, numbers: Sequence[int]):
    """A folder of pairs whose observed and imputed track are drawn over each other."""
    folder = trackhub.SuperTrack(
        name="avocadoOverlays", short_label="Avocado overlays",
        long_label="Observed (grey) and imputed (in colour) over each other, -log10 p",
    )  # fmt: skip
    names = _names(view.rows)
    for number in numbers:
        row = view.rows[number]
        both = trackhub.AggregateTrack(
            "transparentOverlay", name=f"overlay_{names[number]}", tracktype=f"bigWig 0 {row.height:g}",
            short_label=_cut(row.name, SHORT), long_label=_cut(f"{row.label}, -log10 p", LONG),
            visibility="full" if number in view.shown else "hide", showSubtrackColorOnUi="on",
            maxHeightPixels=HEIGHTS, autoScale="off", viewLimits=f"0:{row.height:g}",
        )  # fmt: skip
        for kind in (OBSERVED, IMPUTED):
            both.add_tracks(_track(trackhub, view, row, kind, f"both_{kind}_{names[number]}"))
        folder.add_tracks(both)
    return folder


def _track(trackhub, view: View, row: Row, kind: str, name: str):
    trained = " (its track trained)" if kind == IMPUTED and row.role == "train" else ""
    return trackhub.Track(
        name=name,
        tracktype=f"bigWig 0 {row.height:g}",
        url=str(PurePosixPath("..") / row.files[kind]),
        short_label=_cut(row.name, SHORT),
        long_label=_cut(f"{row.name} {kind}{trained}, -log10 p", LONG),
        color=rgb(color_of(row, kind)),
        viewLimits=f"0:{row.height:g}",
        autoScale="off",
        maxHeightPixels=HEIGHTS,
    )


def _tags(names: Iterable[str]) -> dict[str, str]:
    """A tag for every name, letters, digits and _ only, each another one."""
    return safe_names(sorted(set(names)), "A-Za-z0-9_")


def _names(rows: Sequence[Row]) -> list[str]:
    """A name for every row, likewise."""
    pairs = [f"{row.cell}\t{row.assay}" for row in rows]
    names = safe_names(pairs, "A-Za-z0-9_")
    return [names[pair] for pair in pairs]


def _title(name: str) -> str:
    """A name in one word of ASCII, as titles of a matrix must be; UCSC shows _ as a space."""
    return re.sub(r"[^!-~]|=", "_", name)


def _cut(text: str, most: int) -> str:
    """A label in ASCII, as not every font of UCSC's pictures has more, of `most` letters."""
    text = unicodedata.normalize("NFKD", text.replace("−", "-"))
    text = "".join(letter if letter.isascii() else "?" for letter in text if not unicodedata.combining(letter))
    return text if len(text) <= most else text[: most - 3].rstrip() + "..."
