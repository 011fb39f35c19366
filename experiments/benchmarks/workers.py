"""The processes that a comparison with the original talks to, and the environment that the original needs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from avocado.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
ORIGINAL = "avocado-epigenome==0.3.6"
KERAS = ("tensorflow-cpu==2.15.1", "numpy<2")  # the last Keras with the calls that the original makes


class Worker:
    """A process that answers one JSON line with one JSON line; what it says otherwise goes to the file `log`."""

    def __init__(self, name: str, command: list[str], log: Path, folder: Path, threads: int | None = None) -> None:
        self.name, self.log = name, log
        environment = dict(os.environ)
        if threads:
            for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
                environment[variable] = str(threads)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder,
                env=environment,
            )  # fmt: skip

    def ask(self, command: str, **arguments: Any) -> Any:
        """What the process answers to a command. Raises InputError, naming its log, where it fails or is gone."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps({"command": command, **arguments}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self.process.wait()
            killed = ", killed, for want of memory perhaps" if status < 0 else ""
            raise InputError(f"{self.name} ended (status {status}{killed}) when asked to {command}: see {self.log}")
        answer = json.loads(line)
        if "error" in answer:
            raise InputError(f"{self.name} failed to {command} ({answer['error']}): see {self.log}")
        return answer["result"]

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if exception[0] is not None:
            self.process.kill()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def start_ours(log: Path, threads: int | None) -> Worker:
    """Our side, `our_worker.py`, with the running interpreter."""
    command = [sys.executable, "-m", "experiments.benchmarks.our_worker"]
    return Worker("our side", command, log, REPOSITORY, threads)


def start_original(python: Path, log: Path, threads: int | None) -> Worker:
    """The original, `original_worker.py`, with the interpreter of its environment."""
    # isolated: neither the file's folder, nor the current one, nor PYTHONPATH, which all may lead to our `avocado`
    command = [str(python), "-I", str(REPOSITORY / "experiments" / "benchmarks" / "original_worker.py")]
    return Worker("the original", command, log, log.parent, threads)


def original_environment(folder: Path, python: str | None, log: Path) -> Path:
    """The interpreter of the environment in `folder` that the original runs in; makes the environment where it is new.

    python: the interpreter that makes it, 3.9 to 3.11; None: the running one. Raises InputError where that fails, or
    where `folder` holds something else.
    """
    interpreter = folder.absolute() / "bin" / "python"
    if folder.exists():
        _require_original(folder, interpreter, log)
        return interpreter
    print(f"making an environment for the original in {folder} (some minutes, 1.3 GB)", flush=True)
    partial = folder.absolute().with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    pip = [str(partial / "bin" / "python"), "-I", "-m", "pip", "install", "--disable-pip-version-check"]
    for command in (
        [python or sys.executable, "-m", "venv", str(partial)],
        [*pip, *KERAS],
        [*pip, "--no-deps", ORIGINAL],  # its own dependencies are Theano and the newest Keras, with which it fails
    ):
        if _call(command, log) != 0:
            raise InputError(
                f"cannot make an environment for the original with python={python or sys.executable}: TensorFlow 2.15 "
                f"needs Python 3.9 to 3.11, and pip a package index; see {log}"
            )
    partial.rename(folder)  # only its interpreter is called, which does not mind the new name
    _require_original(folder, interpreter, log)
    return interpreter


def _require_original(folder: Path, interpreter: Path, log: Path) -> None:
    needed = [requirement.split("==") for requirement in (ORIGINAL, KERAS[0])]
    check = f"from importlib.metadata import version\nassert all(version(n) == v for n, v in {needed!r})"
    if _call([str(interpreter), "-I", "-c", check], log) != 0:
        wanted = " and ".join(f"{name} {version}" for name, version in needed)
        raise InputError(f"environment={folder} has not {wanted}: remove it, or name a folder that is not there yet")


def _call(command: list[str], log: Path) -> int:
    """Exit status of a command whose output goes to the end of `log`; 127 where it cannot be started."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        try:
            return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
        except OSError as error:
            print(error, file=file)
            return 127
