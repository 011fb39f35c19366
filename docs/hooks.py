"""What MkDocs takes from the program itself, so that it cannot go out of date: --help texts, and files at the top."""

import re
from pathlib import Path
from typing import Any

from avocado.cli import VERBS
from avocado.config.schema import help_text

# of commands that need a network, or files that the demo does not make
ELSEWHERE = {"fetch": "portals.md", "check-split": "notebooks/07_pitfall.md", "convert": "sharing.md"}
ROOT = Path(__file__).resolve().parents[1]


def commands() -> str:
    """A section for each command: what it does, what it prints on the demo, and what its --help prints."""
    return "\n".join(
        f"## avocado {verb}\n\n{meaning[0].upper()}{meaning[1:]}.{output(verb)}\n\n"
        f"```text\n$ avocado {verb} --help\n{help_text(verb, 108)}\n```\n"
        for verb, meaning in VERBS.items()
    )


def output(verb: str) -> str:
    """What `docs/render_outputs.py` found that a command prints, or the page that shows it; '' for neither."""
    file = ROOT / "docs" / "outputs" / f"{verb}.txt"
    if file.is_file():
        return f"\n\n```text\n{file.read_text(encoding='utf-8').rstrip()}\n```"
    return f" [What it prints]({ELSEWHERE[verb]})." if verb in ELSEWHERE else ""


def top_file(name: str) -> str:
    """A page of the repository's top folder, its links as they are from here."""
    return (ROOT / name).read_text().replace("](docs/", "](")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill `<!-- commands -->` and `<!-- file: NAME -->`."""
    markdown = re.sub(r"^<!-- file: (\S+) -->$", lambda found: top_file(found[1]), markdown, flags=re.MULTILINE)
    return markdown.replace("<!-- commands -->", commands())
