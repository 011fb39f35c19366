"""A real PostgreSQL for tests: an own server in a temporary folder, for as long as a session.

A test module asks for it with `pytest_plugins = ["postgres_server"]`. Debian's package postgresql has what it takes;
without it the tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PASSWORD = "s3cret-never-shown"


@dataclass(frozen=True)
class Postgres:
    """The server, which can be stopped and started."""

    programs: Path
    folder: Path
    port: int

    @property
    def runs(self) -> bool:
        return (self.folder / "data" / "postmaster.pid").is_file()

    def start(self) -> None:
        self._run("pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-w", "start")

    def stop(self) -> None:
        """As when its machine goes down: connections break."""
        self._run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")

    def create(self, name: str) -> str:
        """The address of an empty database."""
        self._run("createdb", "-h", self.folder, "-p", self.port, "-U", "av", name, PGPASSWORD=PASSWORD)
        return f"postgresql://av:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *arguments: object, **environment: str) -> None:
        subprocess.run(
            [str(self.programs / program), *map(str, arguments)],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **environment},
            cwd=self.folder,
            user="postgres" if os.geteuid() == 0 else None,  # the server refuses root
        )


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Postgres]:
    pytest.importorskip(
        "psycopg", reason='PostgreSQL\'s driver is not here: pip install "avocado-imputation[postgres]"'
    )
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *filter(None, [shutil.which("initdb")])]
    if not found:
        pytest.skip("PostgreSQL's server is not installed here")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Postgres(Path(found[0]).parent, folder, port)
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    server._run(
        "initdb", "-D", folder / "data", "-U", "av", "--auth=scram-sha-256", f"--pwfile={folder}/password", "--no-sync"
    )
    with (folder / "data" / "postgresql.conf").open("a") as config:
        config.write(f"port={port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='{folder}'\nfsync=off\n")
    server.start()
    yield server
    if server.runs:
        server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def postgres(_postgres) -> Postgres:
    """A server that runs, also after a test that stopped it."""
    if not _postgres.runs:
        _postgres.start()
    return _postgres
