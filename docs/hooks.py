"""What MkDocs takes from the program itself, so that it cannot go out of date: --help texts, and files at the top."""

import re
from pathlib import Path
from typing import Any

from avocado.cli import VERBS
from avocado.config.schema import help_text

ROOT = Path(__file__).resolve().parents[1]


def commands() -> str:
    """A section for each command: what it does, and what its --help prints."""
    sections = (
        f"## avocado {verb}\n\n{meaning[0].upper()}{meaning[1:]}.\n\n```text\n{text}\n```\n"
        for verb, meaning in VERBS.items()
        for text in [help_text(verb, 108)]
    )
    return "\n".join(sections)


def top_file(name: str) -> str:
    """A page of the repository's top folder, its links as they are from here."""
    return (ROOT / name).read_text().replace("](docs/", "](")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill `<!-- commands -->` and `<!-- file: NAME -->`."""
    markdown = re.sub(r"^<!-- file: (\S+) -->$", lambda found: top_file(found[1]), markdown, flags=re.MULTILINE)
    return markdown.replace("<!-- commands -->", commands())
