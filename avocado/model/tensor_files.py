"""Tensors in safetensors files, and what is wrong with these in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avocado.errors import InputError


def write_tensors(tensors: dict[str, Tensor], file: Path, name: Path, metadata: dict[str, str] | None = None) -> None:
    """Save tensors to `file`, which is to become `name`. A full disk is no OSError there."""
    try:
        save_file(tensors, file, metadata=metadata)
    except SafetensorError as error:
        raise InputError(f"cannot write {name}: {error}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file."""
    with opened(path) as file:
        try:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise _damaged(path, error) from None


def opened(path: Path) -> Any:
    """An opened file, of which tensors are read when asked for. Raises InputError for one missing or damaged."""
    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: restore it, or train again") from None
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is damaged ({error}): restore it, or train again")
