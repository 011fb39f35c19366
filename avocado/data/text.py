"""Text files as people have them: the one reader of tables, chrom.sizes, BED, narrowPeak and GTF files.

UTF-8 with or without a byte order mark, plain or gzipped whatever the name, with the line ends of any system.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from avocado.errors import InputError

MARKS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
TRACK_LINES = ("#", "track", "browser")  # lines of a BED or GTF file that say how to draw it


def numbered_lines(path: Path, what: str = "file") -> Iterator[tuple[int, str]]:
    """Line number from 1 and text of each line, with its end.

    what: the kind of file, for the error where there is none. Raises InputError for a file that is missing, cannot be
    read, is damaged, or is in another encoding than UTF-8, and says which one and in which line.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as data, io.BufferedReader(data) as buffered:
            mark = next((name for mark, name in MARKS.items() if buffered.peek(4).startswith(mark)), None)
            if mark is not None:
                raise InputError(f"{path} is {mark} text (a spreadsheet's 'Unicode text'): save it as UTF-8")
            lines = io.TextIOWrapper(buffered, encoding="utf-8-sig", errors="surrogateescape")
            for number, line in enumerate(lines, 1):
                if "\0" in line:
                    raise InputError(f"{path} line {number} is UTF-16 text or binary: save the file as UTF-8 text")
                if not line.isascii() and (foreign := re.search("[\udc80-\udcff]", line)):
                    raise InputError(
                        f"{path} line {number} is not UTF-8 (byte {ord(foreign[0]) - 0xDC00:#04x}), probably latin-1 "
                        "(Windows-1252): save the file as UTF-8"
                    )
                yield number, line
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what}; correct its path") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason}): get it again, or check its permissions") from None


def interval_lines(path: Path, what: str = "file") -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every data line of a BED (three fields at least), narrowPeak or GTF file.

    Raises InputError for a line that is neither, besides what `numbered_lines` raises.
    """
    for number, line in numbered_lines(path, what):
        if not line.strip() or line.startswith(TRACK_LINES):
            continue
        fields = line.rstrip("\r\n").split("\t" if "\t" in line else None)
        interval = fields[3:5] if is_gtf(fields) else fields[1:3]
        if len(interval) < 2 or not all(text.isdecimal() for text in interval):
            raise InputError(f"{path} line {number}: neither BED (chromosome, start, end) nor GTF")
        yield number, fields


def is_gtf(fields: list[str]) -> bool:
    """Whether the fields of a data line are those of a GTF file, not of a BED file."""
    return len(fields) >= 9 and not fields[1].isdecimal()
