"""`avocado view`: the tracks of a folder in the web browser, served from this computer to itself."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from avocado.browser.page import page
from avocado.browser.server import FolderServer
from avocado.browser.tracks import genes_bed, sizes_text, view_of_folder
from avocado.data.genome import load_assembly
from avocado.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

PAGE = "index.html"
SHOWN = 12  # rows at the start, of a folder without a page


def view(config: DictConfig) -> None:
    """Serve a folder until Ctrl-C."""
    path = Path(str(config.path))
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    folder = path if path.is_dir() else path.parent
    made = path.is_dir() and (path / PAGE).is_file() and config.genes is None and config.assembly is None
    pages = {} if made else _pages(config, path)
    try:
        with FolderServer(folder, pages, config.port) as server:
            # the terminal shows it before anybody waits
            print(f"{path}: {server.address}\nCtrl-C ends it; only this computer can open the address", flush=True)
            if os.environ.get("SSH_CONNECTION"):
                port = server.server_address[1]
                print(
                    f"from your own computer: ssh -L {port}:127.0.0.1:{port} <this host>, then open the address there"
                )
            elif config.open and (sys.platform == "darwin" or os.environ.get("DISPLAY") or os.name == "nt"):
                webbrowser.open(server.address)
            server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        print("\nended")


def _pages(config: DictConfig, path: Path) -> Mapping[str, bytes]:
    """A page for the bigWig files there, in memory: the folder stays as it is."""
    assembly = None if config.assembly is None else load_assembly(config.assembly)
    folder, only = (path, None) if path.is_dir() else (path.parent, path)
    found = view_of_folder(folder, assembly, SHOWN, only)
    texts = {}
    if config.genes is not None:
        texts["genes.bed"] = genes_bed(config.genes, found.assembly)
        found = replace(found, genes="genes.bed")
    sizes = "avocado.chrom.sizes"
    return {name: text.encode() for name, text in (
        texts | {sizes: sizes_text(found.assembly), PAGE: page(found, sizes)}
    ).items()}  # fmt: skip
