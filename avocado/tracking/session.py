"""A W&B run beside the files on disk: how it begins, what is logged while something trains, and how it ends.

`run_tracking` says what a training run tells W&B, `trial_tracking` what a trial of a sweep does; nothing else knows
wandb, which is imported when a run begins. W&B is written to and never read: where it is not reached, its run is kept
on disk for `wandb sync`; its errors are reported once, and training goes on.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import re
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger

import avocado
from avocado.data.store import SignalStore
from avocado.runs.run import RunSpec
from avocado.tracking.config import Tracking
from avocado.utils.addresses import hide_logins
from avocado.utils.settings import flat

log = logging.getLogger(__name__)

TRIAL = "trial"  # job type of trials; that of training runs is their stage
COST = "cost/"  # and parameters, or flops
REACH = 5.0  # seconds until somebody has to answer at W&B's address
PATIENCE = 30.0  # seconds that a run waits for an answer of W&B's
SECRET = re.compile(r"(^|[._])(api_?key|key|token|secret|password|credentials?)$", re.IGNORECASE)  # names of settings


@dataclass(frozen=True)
class Subject:
    """What one W&B run is about."""

    id: str
    name: str
    group: str
    kind: str  # W&B's job type
    tags: tuple[str, ...]
    directory: Path  # where W&B keeps its record
    n_bins: int  # of an epoch
    config: Mapping[str, Any]  # flat, and without secrets


class Tracker(Logger):
    """Tells W&B of one thing after the other, each between `begin` and `finish`.

    Curves are drawn over the bins that training has seen. Where several processes share a run, the first one logs.
    Once W&B was not reached, everything further is kept on disk, as each attempt takes its time.
    upload: seconds that a run waits for its upload in the end.
    """

    def __init__(self, tracking: Tracking, upload: float) -> None:
        super().__init__()
        self.tracking, self.upload = tracking, upload
        self.kept: list[Path] = []  # records that have to be synced later
        self._mode = tracking.mode
        self._subject: Subject | None = None
        self._wandb_run: Any = None  # from `begin` to `finish`
        self._complained = False

    @property
    def name(self) -> str | None:
        """Of the W&B run."""
        return None if self._subject is None else self._subject.name

    @property
    def version(self) -> str | None:
        """The id of the W&B run, once it has begun."""
        return None if self._wandb_run is None else self._wandb_run.id

    @property
    def url(self) -> str | None:
        """Where the W&B run is to be seen, if it is online."""
        return None if self._wandb_run is None or self._wandb_run.offline else self._wandb_run.url

    def begin(self, subject: Subject) -> None:
        """Begin a W&B run, or go on with the one that has its id."""
        self._subject = subject
        with self._told("the start"):
            self._begin(subject)

    def log_hyperparams(self, params: dict[str, Any], *args: Any, **options: Any) -> None:  # type: ignore[override]
        """Nothing: `begin` logs all settings."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """A row of the history, at the bins that the epoch ends with; into the summary what belongs to no epoch."""
        values = dict(metrics)
        epoch = values.pop("epoch", None)
        if epoch is None:
            self.summarise(values)
            return
        with self._told("metrics"):
            if self._wandb_run is not None and self._subject is not None:
                bins = (int(epoch) + 1) * self._subject.n_bins
                self._wandb_run.log({"bins": bins, "epoch": int(epoch) + 1, **values})

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Values of the whole run."""
        with self._told("metrics"):
            if self._wandb_run is not None:
                self._wandb_run.summary.update(dict(values))

    def log_costs(self, costs: Mapping[str, int]) -> None:
        """What a model costs (`candidates.costs`), for pictures of error against cost."""
        self.summarise({f"{COST}{name}": value for name, value in costs.items()})

    def finish(self, error: BaseException | None = None) -> None:
        """End the W&B run, as failed where there was an error."""
        run, self._wandb_run = self._wandb_run, None
        if run is None:
            return
        with self._told("the end"):
            if error is not None:
                run.summary["error"] = f"{type(error).__name__}: {error}"[:500]
            place, whole = Path(run.settings.sync_dir), not run.offline
            try:
                run.finish(exit_code=0 if error is None else 1)
            except TimeoutError:
                whole, self._mode = False, "offline"
            if not whole:
                self.kept.append(place)

    def _begin(self, subject: Subject) -> None:
        if not os.environ.get("WANDB_MODE", "online"):
            del os.environ["WANDB_MODE"]  # set to nothing, which wandb takes for an unknown mode
        import wandb

        sweep = os.environ.get("WANDB_SWEEP_ID")
        if sweep is None:
            heading = {
                "id": subject.id, "name": subject.name, "project": self.tracking.project,
                "entity": self.tracking.entity, "group": subject.group, "job_type": subject.kind,
            }  # fmt: skip
        else:  # a trial of a W&B sweep, whose agent has settled id, name and place already
            heading = {"group": self.tracking.group or sweep, "job_type": TRIAL}
        given = {
            **heading, "dir": subject.directory, "tags": list(subject.tags), "config": dict(subject.config),
            "reinit": "create_new",
            # the state of another project's checkout, and of the terminal, would say nothing
            "settings": wandb.Settings(
                init_timeout=PATIENCE, finish_timeout=self.upload, finish_timeout_raises=True,
                silent=True, console="off", disable_git=True,
            ),
        }  # fmt: skip
        if self._mode == "online" and not wandb.login(prompt=False, verify=False):
            log.warning("W&B: not logged in, so this is kept on disk; `wandb login` once, or set WANDB_API_KEY")
            self._mode = "offline"
        if self._mode == "online":
            silent = _silent(wandb.setup().settings.base_url)
            if silent:  # which wandb would wait for much longer
                self._keep(silent)
        if self._mode == "online":
            try:
                self._wandb_run = wandb.init(mode="online", resume=None if sweep else "allow", **given)
            except Exception as error:
                self._keep(_line(error))
                wandb.teardown()  # else it would say that the id is in use
        if self._mode == "offline":
            self._wandb_run = wandb.init(mode="offline", **given)
        self._wandb_run.define_metric("bins")
        self._wandb_run.define_metric("*", step_metric="bins")

    def _keep(self, reason: str) -> None:
        log.warning("W&B: not reached (%s), so this is kept on disk", reason)
        self._mode = "offline"

    def _patiently(self, what: str, call: Callable[[], None]) -> None:
        """Wait for W&B's answer for a while only: without network there will be none."""

        def told() -> None:
            with self._told(what):
                call()

        thread = threading.Thread(target=told, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        if thread.is_alive():
            self._complain(what, "no answer")

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """What goes wrong inside is reported, the first time, and stops nothing."""
        try:
            yield
        except Exception as error:
            self._complain(what, _line(error))

    def _complain(self, what: str, reason: str) -> None:
        if not self._complained:
            log.warning("W&B: %s could not be logged (%s); the run itself goes on", what, reason)
        self._complained = True


def described(
    run: RunSpec, store: SignalStore, settings: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """The flat config of a W&B run: what was typed, what the run is, and what it was made of.

    config: of the command, nested or not. settings: those that the result depends on, shown as run.<key>. Secrets are
    left out.
    """
    return _public(flat(dict(config))) | facts(run, store) | {f"run.{k}": v for k, v in flat(dict(settings)).items()}


def facts(run: RunSpec, store: SignalStore) -> dict[str, Any]:
    """What a run is, by which W&B sorts and groups, and what it was made of."""
    return {
        "region": run.region, "fold": run.split.fold, "seed": run.seed, "model_name": place(run),
        "code.avocado": avocado.__version__, "code.git": _commit(),
        "input.store": f"store-{store.tracks_checksum}:latest", "input.store_checksum": store.tracks_checksum,
    }  # fmt: skip


def place(run: RunSpec) -> str:
    """What the runs of one model share."""
    return f"{run.split.name}-seed{run.seed}"


def sync_command(records: list[Path]) -> str:
    """What uploads records that were kept on disk; those of one folder that were offline by a pattern."""
    offline = "offline-run-*"
    many = len(records) > 1
    names = [its.parent / offline if many and its.match(offline) else its for its in records]
    return f"wandb sync {' '.join(map(str, dict.fromkeys(names)))}"


def _public(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that are secret, and addresses without their logins."""
    shown = {key: value for key, value in values.items() if not SECRET.search(key)}
    return json.loads(hide_logins(json.dumps(shown, default=str)))


def _silent(address: str) -> str:
    """Why nobody answers at an address within seconds; nothing where somebody does, whatever the answer is."""
    try:
        urllib.request.urlopen(address, timeout=REACH).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except (ValueError, http.client.HTTPException):  # for wandb to judge
        pass
    except OSError as error:
        reason = getattr(error, "reason", error)
        return "" if isinstance(reason, ssl.SSLError) else str(reason)  # wandb may have other certificates
    return ""


def _commit() -> str | None:
    """The git commit of this package's checkout, -dirty after changes; None where it is installed otherwise."""
    package = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # may be installed inside a checkout of something else
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
