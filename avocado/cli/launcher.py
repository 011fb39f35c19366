"""Several runs at once, on one machine or a cluster: each a process of its own, started by one of Hydra's launchers.

A launcher starts small jobs, and a job starts the command that a user would type. So a run that fails, or that is
killed for its memory, leaves the others alone, and all its output is in a log file of its own.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avocado.cli.hydra_main import by_hydra
from avocado.cli.slurm import ended_by_slurm, sbatch_options, watched
from avocado.config.overrides import combinations, in_one_line, quoted
from avocado.errors import InputError
from avocado.utils.files import locked, replacing

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONSOLE = "from avocado.cli import main; main()"
PLACE = ("stage=", "chrom=", "fold=", "seed=")  # keys that are always in the name of a log
TRAINING = ("train", "genome")  # commands with the keys of train.py
GRACE = 120  # seconds before the end of a Slurm job at which it gets a signal; Slurm may be a minute early
LEAST = 3  # minutes of a job, so that there is time to train before that signal


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


@dataclass(frozen=True)
class Job:
    """What Hydra's launchers run, once for each command; how it ended is written into `folder`.

    task: of a run in the launcher's own process. Else it gets a process and a log of its own: one that is killed, for
    its memory perhaps, would take joblib's other workers along, and Slurm's signals before the end are for the job,
    which queues itself again, and not for the training.
    """

    commands: Sequence[Command]
    folder: Path
    task: Callable[[DictConfig], None] | None = None
    elsewhere: Elsewhere | None = None

    def __call__(self, config: DictConfig) -> None:
        """Hydra's config is of this run; the number of the run is Hydra's, too."""
        from hydra.core.hydra_config import HydraConfig
        from omegaconf.errors import OmegaConfBaseException

        command = self.commands[HydraConfig.get().job.num]
        if self.elsewhere is not None:
            ended = self.elsewhere.run(command, self.folder)
            print(_line(command, ended, self.elsewhere.logs), flush=True)
        else:
            assert self.task is not None
            ended, started = Ended("", 0.0), time.monotonic()
            try:
                self.task(config)
            except (InputError, OmegaConfBaseException) as error:
                text = str(error) if isinstance(error, InputError) else in_one_line(error)
                ended = Ended(text, time.monotonic() - started)
                if len(self.commands) > 1:
                    print(f"{command.name}: failed: {text}", flush=True)
        with contextlib.suppress(InputError), replacing(self.folder / f"{command.log}.json") as temporary:
            temporary.write_text(json.dumps(asdict(ended)))  # unless whoever waited for it is gone


@dataclass(frozen=True)
class Elsewhere:
    """How a launched command is run: its log, working directory, share of the hardware."""

    logs: Path
    here: Path
    own: tuple[str, ...]  # keys of training commands, before those that are typed
    gpus: tuple[str, ...] = ()  # one for each run at a time
    on_cluster: bool = False

    def run(self, command: Command, folder: Path) -> Ended:
        """Run it, and wait for its end."""
        verb, *typed = command.arguments
        # what is typed comes last, and holds
        arguments = [verb, *self.own, *typed] if verb in TRAINING else command.arguments
        with place_of(self.gpus, folder) as environment:
            return run_command(arguments, self.logs / f"{command.log}.log", self.here, environment, self.on_cluster)


def commands(verb: str, overrides: Sequence[str], options: Sequence[str] = ()) -> list[Command]:
    """A command for each combination of the values that the overrides list, as `-m` means it, with Hydra's options."""
    found, runs = [], list(combinations(overrides))
    varying = [number for number in range(len(runs[0])) if len({run[number] for run in runs}) > 1]
    for run in runs:
        named = [text for number, text in enumerate(run) if number in varying or text.startswith(PLACE)]
        kept = [text for text in run if not text.startswith(("launcher=", "launcher.", "hydra"))]
        name = " ".join(run[number] for number in varying) or " ".join(named) or verb
        log = ",".join(named).replace("/", "_").replace("'", "") or verb
        found.append(Command(name, log, (verb, *kept, *options)))
    return found


def launch(commands: Sequence[Command], config: DictConfig, verb: str, overrides: Sequence[str]) -> None:
    """Run the commands where `launcher=` of a training config says, through Hydra's launcher, and wait for them.

    verb, overrides: what Hydra makes the same runs of. Raises InputError where one of them failed, after all have
    ended, or where another command waits for one of them, or has left it in Slurm's queue; lines on the error stream
    say which, why, and where its log is.
    """
    of_joblib, folder = config.launcher.name == "joblib", _logs(config)
    plugin, settings, elsewhere = _joblib(config, len(commands)) if of_joblib else _submitit(config)
    logs = folder.resolve()  # a job may begin elsewhere
    job = Job(commands, logs / ".results", None, replace(elsewhere, logs=logs))
    runs = {command.name: job.folder / f"{command.log}.job" for command in commands}
    watching = watched(runs, logs / "submitit") if plugin == "submitit_slurm" else contextlib.nullcontext()
    with _alone(commands, job.folder, folder), watching as watch:
        mapped = [f"hydra/launcher={plugin}", *(f"++hydra.launcher.{key}={value}" for key, value in settings.items())]
        place = [f"hydra.sweep.dir={quoted(str(job.folder))}"]
        trouble = _start(verb, job, ["-m", *mapped, *place, *overrides])
        if watch is not None and watch.jobs:
            watch.wait()
            report(commands, job.folder, folder, why=watch.why)
        else:
            report(commands, job.folder, folder, trouble)


@contextlib.contextmanager
def _alone(commands: Sequence[Command], folder: Path, logs: Path) -> Iterator[None]:
    """Hold the runs against another command that would queue them as well, and forget how they ended last time."""
    with contextlib.ExitStack() as held:
        for command in commands:
            place = folder / f"{command.log}.lock"
            if not held.enter_context(locked(place, False, what=logs, remedy="choose launcher.folder= or runs=")):
                raise InputError(f"{command.name}: another command has started it and waits for its end")
            (folder / f"{command.log}.json").unlink(missing_ok=True)
        yield


def _joblib(config: DictConfig, n_commands: int) -> tuple[str, dict[str, Any], Elsewhere]:
    """Hydra's launcher, its settings, and how each run is carried out."""
    _require("joblib")
    if config.trainer.processes > 1:
        raise InputError(
            f"launcher=joblib runs several commands side by side and trainer.processes={config.trainer.processes} "
            "divides one of them: choose either, or launcher=slurm for both"
        )
    gpus, jobs = _gpus(config), config.launcher.jobs
    if jobs is None:
        jobs = len(gpus) or 2
    if jobs < 1:
        raise InputError(f"launcher.jobs={jobs}: expected a whole number of at least 1")
    jobs = min(jobs, n_commands)
    cpus = max(1, _cores() // jobs)
    print(f"{jobs} runs at a time, with {cpus} CPU threads each; logs: {_logs(config)}", flush=True)
    places = tuple(gpus[number % len(gpus)] for number in range(jobs)) if len(gpus) > 1 else ()
    settings = {"n_jobs": jobs, "batch_size": "1", "pre_dispatch": "n_jobs"}
    return "joblib", settings, Elsewhere(Path(), Path.cwd(), _share(cpus), places)


def _submitit(config: DictConfig) -> tuple[str, dict[str, Any], Elsewhere]:
    _require("submitit")
    node = config.launcher
    if node.cluster not in ("slurm", "local"):
        raise InputError(f"launcher.cluster={node.cluster}: expected slurm, or local to try things out")
    least = {"time": LEAST, "memory": 1, "cpus": 1, "gpus": 0, "parallel": 1, "requeue": 0}
    for key, value in least.items():
        if node[key] < value:
            raise InputError(f"launcher.{key}={node[key]}: expected at least {value}")
    if node.cluster == "slurm" and (shutil.which("sbatch") is None or shutil.which("srun") is None):
        raise InputError(
            "launcher=slurm: there is no sbatch on this machine: type the command where you submit jobs, or try it "
            "here with launcher.cluster=local"
        )
    settings: dict[str, Any] = {
        "submitit_folder": quoted(str(_logs(config).resolve() / "submitit")),
        "name": "avocado",
        "timeout_min": node.time,
        "mem_gb": node.memory,
        "cpus_per_task": node.cpus,
        "gpus_per_node": node.gpus or ("null" if node.cluster == "slurm" else 0),
    }
    if node.cluster == "slurm":
        settings |= {key: quoted(node[key]) for key in ("partition", "account") if node[key] is not None}
        settings |= {
            "array_parallelism": node.parallel,
            "max_num_timeout": node.requeue,
            "signal_delay_s": min(GRACE, 15 * node.time),
            "setup": f"[{quoted(node.setup)}]" if node.setup else "null",
            **{f"additional_parameters.{key}": value for key, value in sbatch_options(node.sbatch).items()},
        }
    print(f"jobs on {node.cluster}, {node.time} minutes each; logs: {_logs(config)}", flush=True)
    if node.cluster == "slurm":
        print("Ctrl-C ends the waiting only: squeue lists the jobs, scancel ends them", flush=True)
    own = _share(node.cpus // config.trainer.processes)
    return f"submitit_{node.cluster}", settings, Elsewhere(Path(), Path.cwd(), own, on_cluster=True)


def _share(cpus: int) -> tuple[str, ...]:
    """What a run that is one of several is told of the hardware, and that nobody watches it."""
    return f"trainer.threads={max(1, cpus)}", "trainer.progress=false"


def _logs(config: DictConfig) -> Path:
    return Path(config.runs) / "logs" if config.launcher.folder is None else Path(config.launcher.folder)


def _require(name: str) -> None:
    if importlib.util.find_spec("hydra_plugins") is None or (
        importlib.util.find_spec(f"hydra_plugins.hydra_{name}_launcher") is None
    ):
        raise InputError(
            f"launcher needs the package hydra-{name}-launcher, which is not here: "
            'pip install "avocado-imputation[launch]", in a checkout pip install -e ".[launch]"'
        )


def _cores() -> int:
    import joblib

    return joblib.cpu_count()  # that this process may use, in a container too


def _gpus(config: DictConfig) -> list[str]:
    """GPUs of this machine that the runs may use, as CUDA names them; none where trainer= says what to use."""
    if config.trainer.device not in ("auto", "cuda"):
        return []
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


@contextlib.contextmanager
def place_of(gpus: Sequence[str], folder: Path) -> Iterator[dict[str, str]]:
    """A GPU that no other run of the command has, as environment variables; `gpus` has one for each run at a time."""
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


def _start(verb: str, job: Job, arguments: Sequence[str]) -> str:
    """Have Hydra launch the jobs. Returns what went wrong with the launching itself, if anything did."""
    logging.getLogger("hydra_plugins").setLevel(logging.WARNING)
    try:
        by_hydra(verb, job, arguments)
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    finally:
        if "hydra/launcher=joblib" in arguments:  # whose processes would wait for further work for minutes
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True)
    return ""


def report(
    commands: Sequence[Command],
    folder: Path,
    logs: Path | None = None,
    trouble: str = "",
    why: Callable[[int], str] = lambda number: "",
) -> None:
    """Say which commands failed and raise InputError if any did.

    trouble: with the launcher itself. why: a run, by its number, left no result.
    """
    ended = [_ended(folder / f"{command.log}.json") for command in commands]
    failures = {}
    for number, (command, its) in enumerate(zip(commands, ended, strict=True)):
        log = "" if logs is None else f"; its log: {logs / command.log}.log"
        if its is None or its.reason:
            failures[command.name] = (its.reason if its else why(number) or "no word of its end") + log
    if trouble and all(its is None for its in ended):
        raise InputError(f"the jobs could not be started or watched: {trouble}")
    if trouble:
        print(f"launcher: {trouble}", file=sys.stderr)
    report_failures(failures, len(commands))
    if logs is not None:
        print(f"all done: {len(commands)}")


def _ended(file: Path) -> Ended | None:
    try:
        return Ended(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None


def report_failures(failures: Mapping[str, str], n_runs: int) -> None:
    """A line for each run that failed, with its reason, and then an InputError, if there are any."""
    if not failures:
        return
    if len(failures) == n_runs and len(set(failures.values())) == 1:  # such as a store that none of them finds
        raise InputError(next(iter(failures.values())))
    for name, why in failures.items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    shown = "; ".join(list(failures)[:10]) + ("; ..." if len(failures) > 10 else "")
    raise InputError(f"{len(failures)} of {n_runs} runs failed ({shown}); the same command does what is missing")


def _line(command: Command, ended: Ended, logs: Path) -> str:
    if ended.reason:
        return f"{command.name}: failed: {ended.reason}"
    return f"{command.name}: done in {datetime.timedelta(seconds=round(ended.seconds))}, {logs / command.log}.log"
