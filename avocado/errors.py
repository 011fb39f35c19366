"""The one exception that is meant for the person at the keyboard, and hints for what it says."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave is wrong: a file, a track, a key. The message is one line and says what to do.

    Commands print it without a traceback and exit with status 2.
    """


def did_you_mean(name: str, known: Iterable[str], most: int = 1) -> str:
    """' (did you mean ...?)' with up to `most` of the known names that are close, else ''."""
    close = difflib.get_close_matches(name, list(known), most, 0.5)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
