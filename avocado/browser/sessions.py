"""Sessions of IGV: the JSON of igv.js, which the page uses, too, and the XML of the desktop program.

Both name their files by paths from the folder that the session lies in.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from avocado.browser.tracks import OBSERVED, OBSERVED_COLOR, Row, View
from avocado.data.genome import BUILT_IN

PIXELS = 70  # height of a row
ALPHA = 0.5  # of overlaid signals


def igv_js(view: View, sizes: str) -> dict[str, Any]:
    """A session of igv.js, plain values. sizes: path of the chrom.sizes file, which is all it needs of the genome."""
    name = view.assembly.name
    tracks = [igv_js_track(view.rows[number]) for number in view.shown]
    if view.genes is not None:
        tracks.insert(
            0, {"name": "Genes", "type": "annotation", "format": "bed", "url": quote(view.genes), "height": 50,
                "color": "#3b3b3b", "displayMode": "COLLAPSED", "visibilityWindow": -1, "searchable": True},
        )  # fmt: skip
    return {
        "reference": {"id": name, "name": name, "format": "chromsizes", "fastaURL": quote(sizes)},
        "locus": view.locus,
        "tracks": tracks,
    }


def igv_js_track(row: Row) -> dict[str, Any]:
    """One row: a track, or two that are overlaid."""
    common = {"height": PIXELS, "autoscale": False, "min": 0, "max": row.height}
    parts = [
        {"type": "wig", "format": "bigwig", "url": quote(file), "color": color_of(row, kind),
         "name": f"{row.name} {kind}"} | common
        for kind, file in row.files.items()
    ]  # fmt: skip
    if len(parts) == 1:
        return parts[0] | {"name": row.label}
    return {"type": "merged", "name": row.label, "alpha": ALPHA, "tracks": parts} | common


def color_of(row: Row, kind: str) -> str:
    """Grey for what was observed, the assay's colour for what is imputed."""
    return OBSERVED_COLOR if kind == OBSERVED else row.color


def igv_desktop(view: View, sizes: str) -> str:
    """A session of the desktop program, XML text. sizes: path of the chrom.sizes file, for an assembly of one's own."""
    known = view.assembly.name in BUILT_IN
    root = ElementTree.Element(
        "Session", genome=view.assembly.name if known else sizes, locus=view.locus.replace(",", ""), version="8"
    )
    resources, panel = (
        ElementTree.SubElement(root, "Resources"),
        ElementTree.SubElement(root, "Panel", name="DataPanel"),
    )
    if view.genes is not None:
        ElementTree.SubElement(resources, "Resource", path=view.genes, type="bed")
        ElementTree.SubElement(
            panel, "Track", clazz="org.broad.igv.track.FeatureTrack", id=view.genes, name="Genes", visible="true"
        )
    for number in view.shown:
        row = view.rows[number]
        for file in row.files.values():
            ElementTree.SubElement(resources, "Resource", path=file, type="bw")
        parent = panel
        if len(row.files) > 1:
            parent = ElementTree.SubElement(
                panel, "Track", clazz="org.broad.igv.track.MergedTracks", id=row.label, name=row.label,
                alpha=str(ALPHA), autoScale="false", height=str(PIXELS), renderer="BAR_CHART", visible="true",
            )  # fmt: skip
            _range(parent, row)
        for kind, file in row.files.items():
            name = row.label if len(row.files) == 1 else f"{row.name} {kind}"
            track = ElementTree.SubElement(
                parent, "Track", clazz="org.broad.igv.track.DataSourceTrack", id=file, name=name,
                color=rgb(color_of(row, kind)), autoScale="false", height=str(PIXELS), renderer="BAR_CHART",
                visible="true", windowFunction="mean",
            )  # fmt: skip
            _range(track, row)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n{text}\n'


def rgb(color: str) -> str:
    """'#0072b2' as '0,114,178'."""
    return ",".join(str(int(color[place : place + 2], 16)) for place in (1, 3, 5))


def _range(track: ElementTree.Element, row: Row) -> None:
    ElementTree.SubElement(
        track, "DataRange", baseline="0.0", drawBaseline="true", flipAxis="false", maximum=str(row.height),
        minimum="0.0", type="LINEAR",
    )  # fmt: skip
