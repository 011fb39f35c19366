"""One HTML page with igv.js packed in: it needs a server of the folder beside it, and nothing from elsewhere.

igv.js (MIT licence, igvteam) is taken from the installed package igv-notebook, which ships it for notebooks.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from avocado import __version__
from avocado.browser.needed import IGV, NEEDED
from avocado.browser.sessions import ALPHA, igv_js, igv_js_track
from avocado.browser.tracks import OBSERVED_COLOR, View
from avocado.errors import InputError
from avocado.plotting.style import DARK_PAPER

SCRIPT = "igv_notebook/js/igv.iife.js"


def page(view: View, sizes: str, notes: tuple[str, ...] = ()) -> str:
    """The HTML text of a page that shows the rows of a view, and lets the others be chosen from a table.

    sizes: path of the chrom.sizes file from the page. notes: paragraphs below the title. Raises InputError where
    igv.js is not installed.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    script, licence = igv_script()
    environment = Environment(
        loader=PackageLoader("avocado", "browser"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    data: dict[str, Any] = {
        "session": igv_js(view, sizes) | {"tracks": [], "loadDefaultGenomes": False},
        "genes": [track for track in igv_js(view, sizes)["tracks"] if track["type"] == "annotation"],
        "rows": [
            {"cell": row.cell, "assay": row.assay, "kinds": sorted(row.files), "track": igv_js_track(row)}
            for row in view.rows
        ],
        "shown": list(view.shown),
    }
    assays = list(dict.fromkeys(row.assay for row in view.rows if row.assay))
    colors = {row.assay: (row.color, row.height) for row in view.rows}
    return environment.get_template("page.html.jinja").render(
        view=view, notes=notes, data=data, script=script, licence=licence, version=__version__, alpha=ALPHA,
        observed=OBSERVED_COLOR, assays=[(name, *colors[name]) for name in assays], dark=DARK_PAPER,
    )  # fmt: skip


def igv_script() -> tuple[str, str]:
    """igv.js as text that may stand in a page, and its licence. Raises InputError where it is not installed."""
    try:
        package = metadata.distribution(IGV)  # without importing it, and IPython with it
        text = str(package.read_text("LICENSE.md") or package.read_text("licenses/LICENSE.md") or "MIT licence")
        script = Path(str(package.locate_file(SCRIPT))).read_text(encoding="utf-8")
    except (metadata.PackageNotFoundError, OSError):
        raise InputError(f"a page needs igv.js, which the package {IGV} brings: {NEEDED}") from None
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--"), text
