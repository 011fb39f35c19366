"""What pages and hubs need, of the extra `browser`. Light to import, as every command asks."""

from __future__ import annotations

from importlib import metadata

IGV = "igv-notebook"  # brings igv.js
NEEDED = 'pip install "avocado-imputation[browser]"'


def installed() -> bool:
    """Whether it is there."""
    try:
        return all(metadata.version(name) for name in (IGV, "trackhub"))
    except metadata.PackageNotFoundError:
        return False
