"""Several runs at once, on one machine or a cluster: each a process of its own, started by one of Hydra's launchers.

A launcher starts small jobs, and a job starts the command that a user would type. So a run that fails, or that is
killed for its memory, leaves the others alone, and all its output is in a log file of its own.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import itertools
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avocado.cli.slurm import ended_by_slurm
from avocado.config.values import config_directory
from avocado.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from avocado.cli.slurm import Watch

CONSOLE = "from avocado.cli import main; main()"
PLACE = ("stage=", "chrom=", "fold=", "seed=")  # keys that are always in the name of a log
TRAINING = ("train", "genome")  # commands with the keys of train.py
GRACE = 120  # seconds before the end of a Slurm job at which it gets a signal


@dataclass(frozen=True)
class Command:
    """A command to be run somewhere."""

    name: str  # which of the runs it is, for people: chrom=chr21 fold=0
    log: str  # name of its log file, without ending
    arguments: tuple[str, ...]  # what follows `avocado`


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    reason: str  # why it failed; empty where it did not
    seconds: float


def chosen(verb: str, overrides: Sequence[str]) -> DictConfig:
    """What `launcher=` and its keys ask for, with the folder of logs filled in."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    first = next(iter(_combinations(overrides)))
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose(verb, first)
    node = config.launcher
    if node.name == "basic":
        return node
    if node.folder is None:
        node.folder = str(Path(config.runs) / "logs")
    if node.name == "joblib" and config.trainer.processes > 1:
        raise InputError(
            f"launcher=joblib runs several commands side by side and trainer.processes={config.trainer.processes} "
            "divides one of them: choose either, or launcher=slurm for both"
        )
    OmegaConf.set_struct(node, False)
    # a run's own share of the hardware
    node.processes = config.trainer.processes
    node.gpus_wanted = config.trainer.device in ("auto", "cuda")
    return node


def commands(verb: str, overrides: Sequence[str]) -> list[Command]:
    """A command for each combination of the values that the overrides list, as `-m` means it."""
    combinations = list(_combinations(overrides))
    varying = [number for number in range(len(combinations[0])) if len({c[number] for c in combinations}) > 1]
    found = []
    for combination in combinations:
        named = [text for number, text in enumerate(combination) if number in varying or text.startswith(PLACE)]
        kept = [text for text in combination if not text.startswith(("launcher=", "launcher."))]
        name = " ".join(combination[number] for number in varying) or " ".join(named) or verb
        log = ",".join(named).replace("/", "_").replace("'", "") or verb
        found.append(Command(name, log, (verb, *kept)))
    return found


def _combinations(overrides: Sequence[str]) -> Iterator[list[str]]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [text]
        for override, text in zip(parsed, overrides, strict=True)
    ]
    return map(list, itertools.product(*values))


def launch(commands: Sequence[Command], node: DictConfig) -> None:
    """Run the commands where `launcher=` says, and wait for them.

    Raises InputError where one of them failed, after all have ended; lines on the error stream say which, why, and
    where its log is.
    """
    plugin, settings = _joblib(node, len(commands)) if node.name == "joblib" else _submitit(node)
    logs = Path(node.folder)
    try:
        logs.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=".launched@", dir=logs)
    except OSError as error:
        raise InputError(f"cannot write {logs}: {error.strerror}; choose launcher.folder= or runs=") from None
    with scratch as folder, _watched(commands, settings, plugin) as watch:
        trouble = _start(plugin, settings, len(commands), _job(commands, node, logs, Path(folder)), folder)
        ended = [_ended(Path(folder), number) for number in range(len(commands))]
        if watch is not None and watch.jobs:
            watch.wait()
            trouble = ""
            ended = [_ended(Path(folder), n) or Ended(watch.why(n), 0.0) for n in range(len(commands))]
        _report(commands, logs, ended, trouble)


def _watched(
    commands: Sequence[Command], settings: dict[str, Any], plugin: str
) -> contextlib.AbstractContextManager[Watch | None]:
    if plugin != "submitit_slurm":
        return contextlib.nullcontext()
    from avocado.cli.slurm import watched

    return watched([command.name for command in commands], Path(settings["submitit_folder"]))


def _joblib(node: DictConfig, n_commands: int) -> tuple[str, dict[str, Any]]:
    _require("joblib")
    jobs = node.jobs
    if jobs is None:
        jobs = len(_gpus(node)) or 2
    if not isinstance(jobs, int) or jobs < 1:
        raise InputError(f"launcher.jobs={jobs}: expected a whole number of at least 1")
    node.jobs = min(jobs, n_commands)
    node.cpus = max(1, _cores() // node.jobs)
    print(f"{node.jobs} runs at a time, with {node.cpus} CPU threads each; logs: {node.folder}", flush=True)
    return "joblib", {"n_jobs": node.jobs, "batch_size": "1", "pre_dispatch": "n_jobs"}


def _submitit(node: DictConfig) -> tuple[str, dict[str, Any]]:
    _require("submitit")
    if node.cluster not in ("slurm", "local"):
        raise InputError(f"launcher.cluster={node.cluster}: expected slurm, or local to try things out")
    for key, least in (("time", 1), ("memory", 1), ("cpus", 1), ("gpus", 0), ("parallel", 1), ("requeue", 0)):
        if node[key] < least:
            raise InputError(f"launcher.{key}={node[key]}: expected at least {least}")
    if node.cluster == "slurm" and (shutil.which("sbatch") is None or shutil.which("srun") is None):
        raise InputError(
            "launcher=slurm: there is no sbatch on this machine: type the command where you submit jobs, or try it "
            "here with launcher.cluster=local"
        )
    settings: dict[str, Any] = {
        "submitit_folder": str(Path(node.folder).resolve() / "submitit"),
        "name": "avocado",
        "timeout_min": node.time,
        "mem_gb": node.memory,
        "cpus_per_task": node.cpus,
        "gpus_per_node": node.gpus or (None if node.cluster == "slurm" else 0),
    }
    if node.cluster == "slurm":
        settings |= {
            "partition": node.partition,
            "account": node.account,
            "array_parallelism": node.parallel,
            "max_num_timeout": node.requeue,
            "signal_delay_s": GRACE,
            "additional_parameters": _sbatch(node.sbatch),
            "setup": [node.setup] if node.setup else None,
        }
    print(f"jobs on {node.cluster}, {node.time} minutes each; logs: {node.folder}", flush=True)
    if node.cluster == "slurm":
        print("Ctrl-C ends the waiting only: squeue lists the jobs, scancel ends them", flush=True)
    return f"submitit_{node.cluster}", settings


def _require(name: str) -> None:
    if importlib.util.find_spec("hydra_plugins") is None or (
        importlib.util.find_spec(f"hydra_plugins.hydra_{name}_launcher") is None
    ):
        raise InputError(
            f"launcher needs the package hydra-{name}-launcher, which is not here: "
            'pip install "avocado-imputation[launch]", in a checkout pip install -e ".[launch]"'
        )


def _sbatch(text: str | None) -> dict[str, str | bool]:
    """'--constraint=a100 --exclusive' as submitit takes it."""
    options = shlex.split(text or "")
    for option in options:
        if not option.startswith("--"):
            raise InputError(f"launcher.sbatch={text}: expected options of sbatch such as --constraint=a100 --qos=long")
    parts = [option.removeprefix("--").partition("=") for option in options]
    return {key: value if equals else True for key, equals, value in parts}


def _cores() -> int:
    import joblib

    return joblib.cpu_count()  # that this process may use, in a container too


def _gpus(node: DictConfig) -> list[str]:
    """GPUs of this machine that the runs may use, as CUDA names them; none where trainer= says what to use."""
    if not node.gpus_wanted:
        return []
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


def _job(commands: Sequence[Command], node: DictConfig, logs: Path, folder: Path) -> Callable[[DictConfig], None]:
    """What a launcher runs somewhere, number by number."""
    here, logs, folder = Path.cwd(), logs.resolve(), folder.resolve()  # a job may begin elsewhere
    own = [f"trainer.threads={max(1, node.cpus // node.processes)}", "trainer.progress=false"]
    gpus = _gpus(node) if node.name == "joblib" else []
    places = [gpus[number % len(gpus)] for number in range(node.jobs)] if len(gpus) > 1 else []
    on_cluster = node.name == "slurm"

    def job(config: DictConfig) -> None:
        command = commands[config.job]
        verb, *typed = command.arguments
        arguments = (
            [verb, *own, *typed] if verb in TRAINING else command.arguments
        )  # what is typed comes last, and holds
        with place_of(places, folder) as environment:
            ended = run_command(arguments, logs / f"{command.log}.log", here, environment, on_cluster)
        print(_line(command, ended, logs), flush=True)
        with contextlib.suppress(OSError):  # whoever waited for it is gone
            temporary = folder / f"{config.job}.tmp"
            temporary.write_text(json.dumps(asdict(ended)))
            temporary.rename(folder / f"{config.job}.json")

    return job


@contextlib.contextmanager
def place_of(gpus: Sequence[str], folder: Path) -> Iterator[dict[str, str]]:
    """A GPU that no other run of the command has, as environment variables; `gpus` has one for each run at a time."""
    from avocado.utils.files import locked

    for number, gpu in enumerate(gpus):
        with locked(folder / f"gpu{number}.lock", wait=False) as mine:
            if mine:
                yield {"CUDA_VISIBLE_DEVICES": gpu}
                return
    yield {}


def run_command(
    arguments: Sequence[str], log: Path, here: Path, environment: Mapping[str, str], on_cluster: bool
) -> Ended:
    """Run `avocado <arguments>` in a process of its own that writes into `log`, and wait for it.

    here: its working directory. environment: what it has besides this process's. on_cluster: keep signals from it.
    """
    started = time.monotonic()
    with log.open("a+", errors="replace") as file:
        now = datetime.datetime.now().isoformat(" ", "seconds")
        print(f"--- {now} avocado {shlex.join(arguments)}", file=file, flush=True)
        begin = file.tell()
        try:
            with ended_by_slurm(os.environ):
                status = subprocess.run(
                    [sys.executable, "-c", CONSOLE, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    cwd=here,
                    env={**os.environ, **environment},
                    # Slurm's signals before the end are for the job, which queues itself again
                    process_group=0 if on_cluster else None,
                ).returncode
        except Exception as error:  # such as submitit's, for a job that was out of time too often
            return Ended(" ".join(str(error).split()), time.monotonic() - started)
        file.seek(begin)
        return Ended(reason(status, file.read()), time.monotonic() - started)


def reason(status: int, output: str) -> str:
    """Why a command failed, in one line, from its exit status and all its output; nothing if it did not."""
    if status == 0:
        return ""
    if status < 0:
        memory = ", perhaps for want of memory" if status == -signal.SIGKILL else ""
        return f"ended by signal {signal.Signals(-status).name}{memory}"
    lines = [
        line for line in output.splitlines() if line.strip() and not line.startswith("Set the environment variable")
    ]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return [f"exit status {status}", *lines, *errors][-1]


def _start(plugin: str, settings: dict[str, Any], n_jobs: int, job: Callable[[DictConfig], None], folder: str) -> str:
    """Have Hydra launch the jobs. Returns what went wrong with the launching itself, if anything did."""
    import hydra
    from hydra.core.config_store import ConfigStore

    quiet = [{"override hydra/job_logging": "none"}, {"override hydra/hydra_logging": "none"}]
    content = {
        "defaults": ["_self_", {"override hydra/launcher": plugin}, *quiet],
        "job": 0,
        "hydra": {
            "launcher": settings,
            "output_subdir": None,
            "sweep": {"dir": folder, "subdir": "."},
            "job": {"chdir": False},
        },
    }
    ConfigStore.instance().store("avocado_launch", content)
    logging.getLogger("hydra_plugins").setLevel(logging.WARNING)
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [sys.argv[0], "-m", f"job={','.join(map(str, range(n_jobs)))}"]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions are for us, not for the terminal
    try:
        hydra.main(version_base="1.3", config_path=None, config_name="avocado_launch")(job)()
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    finally:
        if plugin == "joblib":  # whose processes would wait for further work for minutes
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True)
        sys.argv = before[0]
        if before[1] is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before[1]
    return ""


def _ended(folder: Path, number: int) -> Ended | None:
    try:
        return Ended(**json.loads((folder / f"{number}.json").read_text()))
    except FileNotFoundError:
        return None


def _report(commands: Sequence[Command], logs: Path, ended: Sequence[Ended | None], trouble: str) -> None:
    """Say which commands failed and raise InputError if any did."""
    failures = {}
    for command, its in zip(commands, ended, strict=True):
        if its is None:
            failures[command.name] = f"no word of its end; its log: {logs / command.log}.log"
        elif its.reason:
            failures[command.name] = f"{its.reason}; its log: {logs / command.log}.log"
    if trouble and all(its is None for its in ended):
        raise InputError(f"the jobs could not be started or watched: {trouble}")
    if trouble:
        print(f"launcher: {trouble}", file=sys.stderr)
    report_failures(failures, len(commands))
    print(f"all done: {len(commands)}")


def report_failures(failures: Mapping[str, str], n_runs: int) -> None:
    """A line for each run that failed, with its reason, and then an InputError, if there are any."""
    if not failures:
        return
    for name, why in failures.items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    shown = "; ".join(list(failures)[:10]) + ("; ..." if len(failures) > 10 else "")
    raise InputError(f"{len(failures)} of {n_runs} runs failed ({shown}); the same command does what is missing")


def _line(command: Command, ended: Ended, logs: Path) -> str:
    if ended.reason:
        return f"{command.name}: failed: {ended.reason}"
    return f"{command.name}: done in {datetime.timedelta(seconds=round(ended.seconds))}, {logs / command.log}.log"
