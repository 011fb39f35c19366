"""A real Slurm of one node for tests: its own daemons, ports and keys in a temporary folder, for as long as a session.

A test module asks for it with `pytest_plugins = ["slurm_cluster"]`. Debian's packages slurmctld, slurmd, slurm-client
and munge have all that it takes; without them the tests are skipped.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
ReturnToService=2
SlurmdParameters=config_overrides
JobRequeue=1
KillWait=5
MinJobAge=60
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL Default=NO MaxTime=INFINITE State=UP PriorityTier=10
"""


@pytest.fixture(scope="session")
def slurm_daemons() -> Iterator[Path]:
    """The configuration of a cluster that runs: partitions cpu, and urgent, whose jobs preempt those of cpu."""
    missing = [name for name in (*DAEMONS, *CLIENTS) if _found(name) is None]
    if missing:
        pytest.skip(f"Slurm is not installed here: no {', '.join(missing)}")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    daemons = []
    try:
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key, config = folder / "munge.key", folder / "slurm.conf"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        folder.chmod(0o755)
        facts = {"host": socket.gethostname().partition(".")[0], "user": _user(), "ports": _ports(), "folder": folder}
        config.write_text(CONFIG.format(**facts))
        files = ("key-file", "socket", "pid-file", "log-file", "seed-file")
        munge = [f"--{name}={folder}/munge.{name.removesuffix('-file')}" for name in files]
        for command in (
            [_found("munged"), "--foreground", "--force", *munge],
            [_found("slurmctld"), "-D", "-f", config],
            [_found("slurmd"), "-D", "-f", config],
        ):
            daemons.append(_start(command, folder))
        _wait_until(
            lambda: _says(config, "sinfo", "-h", "-o", "%t", "-p", "cpu") == "idle", "the node is not idle", folder
        )
        yield config
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def slurm(slurm_daemons, monkeypatch) -> Iterator[Callable[..., str]]:
    """`slurm("squeue", "-h")`: what a command of Slurm's says. No job is left at the test's end."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_daemons))

    def says(*command: object) -> str:
        return _says(slurm_daemons, *command)

    yield says
    says("scancel", "--user", _user())
    _wait_until(lambda: not says("squeue", "-h"), "jobs stay in the queue", slurm_daemons.parent)


def _found(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _ports() -> list[int]:
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _start(command: list, folder: Path) -> subprocess.Popen:
    with (folder / "daemons.log").open("a") as log:
        environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        return subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )


def _says(config: Path, *command: object) -> str:
    environment = {**os.environ, "SLURM_CONF": str(config)}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _wait_until(true: Callable[[], bool], complaint: str, folder: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            logs = [path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*.log"))]
            raise TimeoutError("\n".join([complaint, *logs]))
        time.sleep(0.2)
