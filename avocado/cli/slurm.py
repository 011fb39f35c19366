"""Jobs of Slurm's: watched by `squeue`, which needs no accounting, and signals that end a job that goes on later."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avocado.config.overrides import quoted
from avocado.errors import InputError

if TYPE_CHECKING:
    from submitit.slurm.slurm import SlurmInfoWatcher

log = logging.getLogger(__name__)
POLL = 10.0  # seconds between looks at the queue, at most
OVER = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT"}
MEMORY = "; more memory: launcher.memory="


class Watch:
    """The jobs of one submission, run by run, from their submission to their end.

    runs: their names, and where the number of each one's job is noted for later commands. folder: of submitit's files.
    """

    def __init__(self, runs: Mapping[str, Path], folder: Path) -> None:
        self.names, self.notes, self.folder = list(runs), list(runs.values()), folder
        self.jobs: dict[str, int] = {}  # id: number of its run
        self._states: dict[str, str] = {}
        self._said: set[str] = set()

    def register(self, job: str) -> None:
        """A job that was submitted: 7_2 is the third run; 7 the only one, or what submitit calls all of them first."""
        whole, _, number = job.partition("_")
        if number:
            self.jobs.pop(whole, None)
        self.jobs[job] = int(number or 0)
        self.notes[self.jobs[job]].write_text(job)

    def look(self) -> None:
        """Ask for the states of all jobs, and tell of those that ended without a result since the last time."""
        try:
            found = _queue()
        except (OSError, subprocess.SubprocessError) as error:
            said = (str(getattr(error, "stderr", "") or error)).strip().splitlines()[-1]
            log.log(logging.DEBUG if "" in self._said else logging.WARNING, "squeue: %s; asking again", said)
            self._said.add("")
            return
        for job in self.jobs:
            before = self._states.get(job)
            self._states[job] = found.get(job, before if before in OVER else "GONE")
        for job, number in self.jobs.items():
            if self.is_over(job) and job not in self._said and not self._has_result(job):
                self._said.add(job)
                print(f"{self.names[number]}: {self.why(number)}", flush=True)

    def is_over(self, job: str) -> bool:
        """Whether a job has a result or has left the queue; one that waits to be started again has not."""
        return self._has_result(job) or self._states.get(job) in OVER | {"GONE"}

    def wait(self) -> None:
        """Until no job is in the queue."""
        while not all(map(self.is_over, self.jobs)):
            time.sleep(min(POLL, 2.0))
            self.look()

    def why(self, number: int) -> str:
        """What is known of a job that left no result, in a line; empty where there is no such job."""
        for job, its in self.jobs.items():
            if its == number:
                state = self._states.get(job, "GONE")
                said = "is in no queue any more" if state == "GONE" else f"ended as {state.replace('_', ' ').lower()}"
                told = self._last_error(job)
                memory = MEMORY if "OUT_OF_MEMORY" in state or "memory limit" in told.lower() else ""
                return f"its job {job} {said} and left no result{f' ({told})' if told else ''}{memory}"
        return ""

    def _has_result(self, job: str) -> bool:
        return (self.folder / f"{job}_0_result.pkl").exists()

    def _last_error(self, job: str) -> str:
        file = self.folder / f"{job}_0_log.err"
        lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
        errors = [line.partition("error: ")[2].strip("* ") for line in lines if "error: " in line]
        telling = [line for line in errors if "memory limit" in line.lower()]  # "task 0: Killed" may follow
        return (telling or errors or [""])[-1]


def _queue() -> dict[str, str]:
    """States of the user's jobs by their numbers, also of those that are over and not forgotten yet."""
    command = ["squeue", "--noheader", "--array", "--states=all", f"--user={getpass.getuser()}", "--format=%i %T"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return dict(line.split(maxsplit=1) for line in answer.splitlines() if " " in line.strip())


def _require_none_queued(runs: Mapping[str, Path]) -> None:
    """Raise InputError for runs whose job of an earlier command, whose waiting was ended, is in the queue still."""
    jobs = {name: note.read_text() for name, note in runs.items() if note.is_file()}
    try:
        found = _queue() if jobs else {}
    except (OSError, subprocess.SubprocessError):
        return  # whose watching says it
    queued = {name: job for name, job in jobs.items() if found.get(job, "GONE") not in OVER | {"GONE"}}
    if queued:
        name, job = next(iter(queued.items()))
        others = f" (and {len(queued) - 1} more)" if len(queued) > 1 else ""
        raise InputError(
            f"{name}: job {job} of an earlier command{others} is in the queue still: squeue lists it, scancel ends it"
        )


@contextlib.contextmanager
def watched(runs: Mapping[str, Path], folder: Path) -> Iterator[Watch]:
    """Have submitit ask `squeue` about the jobs that it submits; in the end all of them are over.

    It would ask `sacct`, which knows nothing without accounting, and wait for ever; and it stops waiting for the others
    where the first one has left no result. runs, folder: see `Watch`. Raises InputError for runs that are queued.
    """
    import submitit

    _require_none_queued(runs)
    watch, before = Watch(runs, folder), submitit.SlurmJob.watcher
    submitit.SlurmJob.watcher = _watcher(watch)
    try:
        yield watch
    finally:
        submitit.SlurmJob.watcher = before


def _watcher(watch: Watch) -> SlurmInfoWatcher:
    from submitit.slurm.slurm import SlurmInfoWatcher

    class QueueWatcher(SlurmInfoWatcher):
        def register_job(self, job_id: str) -> None:
            super().register_job(job_id)
            watch.register(job_id)

        def update(self) -> None:
            watch.look()
            self._last_status_check = time.time()

        def is_done(self, job_id: str, mode: str = "standard") -> bool:
            self.update_if_long_enough(mode)
            return watch.is_over(job_id)

        def get_state(self, job_id: str, mode: str = "standard") -> str:
            return "COMPLETED" if self.is_done(job_id, mode) else "RUNNING"

    return QueueWatcher(delay_s=int(POLL))


@contextlib.contextmanager
def ended_by_slurm(environment: Mapping[str, str]) -> Iterator[None]:
    """In a job of Slurm's: after SIGTERM in the block the process dies of it at the end, and has no news of its run.

    It comes before preemption, and where a job is queued again or cancelled by hand. submitit ignores it, and a run
    that it interrupts would count as failed.
    """
    if "SLURM_JOB_ID" not in environment:
        yield
        return
    told: list[int] = []
    before: Any = signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if told else before)
        if told:
            os.kill(os.getpid(), signal.SIGTERM)


def sbatch_options(text: str | None) -> dict[str, str]:
    """'--constraint=a100 --exclusive' as names and values, in Hydra's notation."""
    options = shlex.split(text or "")
    for option in options:
        if not option.startswith("--"):
            raise InputError(f"launcher.sbatch={text}: expected options of sbatch such as --constraint=a100 --qos=long")
    parts = [option.removeprefix("--").partition("=") for option in options]
    return {key: quoted(value) if equals else "true" for key, equals, value in parts}
