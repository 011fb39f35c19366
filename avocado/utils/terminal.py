"""How wide the terminal is, and text that fits into it."""

from __future__ import annotations

import shutil
import sys
import textwrap


def terminal_width() -> int | None:
    """Columns of the terminal that printed text is seen in; None where it goes to a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def wrapped(line: str, width: int | None, indent: int = 0) -> str:
    """A line broken between words into lines of at most `width` characters, all but the first one indented.

    None breaks nothing. The indent gives way where it would leave hardly any room.
    """
    if width is None or len(line) <= width:
        return line
    space = " " * indent if indent <= width // 2 else "    "
    return textwrap.fill(
        line, width, subsequent_indent=space, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )


def counted(n: int, noun: str) -> str:
    """'1 track', '1,200 tracks'."""
    return f"{n:,} {noun}{'s' if n != 1 else ''}"
