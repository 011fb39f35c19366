"""Runs on Weights & Biases, beside the files of a run's own directory: settings, curves, scores, pictures, the model.

The only file that knows wandb, which it imports when a run begins. W&B is told and never asked: where it is not
reached, its run is kept on disk for `wandb sync`; its errors are said once, and training goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger

import avocado
from avocado.errors import InputError
from avocado.evaluation.scores import KEYS, mean_rows, track_rows
from avocado.files import sha256
from avocado.modeldir import SHARED
from avocado.runs import Outcome, Run
from avocado.settings import flat
from avocado.store import SignalStore

if TYPE_CHECKING:
    from wandb import Artifact

log = logging.getLogger(__name__)

MODES = ("online", "offline", "disabled")
PATIENCE = 30.0  # seconds that a run waits for an answer of W&B's
UPLOAD = {False: 120.0, True: 1800.0}  # seconds that it waits for its upload in the end, without and with factors
SECRET = re.compile(r"(^|[._])(api_?key|key|token|secret|password|credentials?)$", re.IGNORECASE)  # names of settings
LOGIN = re.compile(r'(?<=://)[^/@\s"]+@')  # user:password@ in an address


@dataclass(frozen=True)
class Tracking:
    """Where runs are tracked, and under which heading."""

    mode: str = "disabled"  # online, offline (on disk, for `wandb sync`) or disabled
    project: str = "avocado"
    entity: str | None = None  # W&B user or team; None: the account's default
    group: str | None = None  # heading of stages, chromosomes, folds and trials; None: the name of the folder of runs
    upload_factors: bool = False  # also the genome factors, and not only where they lie

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"logger.mode={self.mode}: there is {', '.join(MODES)}")


@contextlib.contextmanager
def tracked(
    tracking: Tracking, run: Run, store: SignalStore, runs: Path, config: Mapping[str, Any], *, fresh: bool = False
) -> Iterator[Tracker | None]:
    """The logger for `runs.train(run, store, runs, logger=...)`, or None where nothing is to be tracked.

    config: plain values to show beside the run's own settings, nested or not; secrets are left out. fresh: a run that
    was tracked before begins anew and is not continued. The W&B run ends with the block, as failed after an error.
    """
    if tracking.mode == "disabled":
        yield None
        return
    tracker = Tracker(tracking, run, store, runs, config, fresh)
    try:
        yield tracker
    except BaseException as error:
        tracker.finish(error)
        raise
    tracker.finish()


class Tracker(Logger):
    """One W&B run. It begins when `runs.train` hands over the settings: a run that is done or refused leaves none.

    Curves are drawn over the bins that training has seen. Where several processes share the run, the first one logs.
    """

    def __init__(
        self, tracking: Tracking, run: Run, store: SignalStore, runs: Path, config: Mapping[str, Any], fresh: bool
    ) -> None:
        super().__init__()
        self._tracking, self._about, self._runs, self._fresh = tracking, run, runs.resolve(), fresh
        self._n_bins, self._checksum = store.region(run.region).n_bins, store.tracks_checksum
        self._store = store.path.resolve().as_uri()
        self._config = _public(flat(dict(config)))
        self._wandb_run: Any = None  # from `_begin` on
        self._complained = False

    @property
    def name(self) -> str:
        """Of the W&B run."""
        return _name(self._about)

    @property
    def version(self) -> str | None:
        """The id of the W&B run, once it has begun."""
        return None if self._wandb_run is None else self._wandb_run.id

    @property
    def _group(self) -> str:
        return self._tracking.group or self._runs.name

    def log_hyperparams(self, params: dict[str, Any], *args: Any, **options: Any) -> None:  # type: ignore[override]
        """Begin the W&B run: `params` are the settings that its result depends on, plain values."""
        with self._told("the start"):
            self._begin(params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """A row of the history, at the bins that the epoch ends with; into the summary what belongs to no epoch."""
        values = dict(metrics)
        epoch = values.pop("epoch", None)
        with self._told("metrics"):
            if self._wandb_run is None:
                return
            if epoch is None:
                self._wandb_run.summary.update(values)
            else:
                self._wandb_run.log({"bins": (int(epoch) + 1) * self._n_bins, "epoch": int(epoch) + 1, **values})

    def report(self, outcome: Outcome) -> None:
        """Scores, pictures and the model of a run that has ended; nothing of one that was done before."""
        if self._wandb_run is None:
            return
        import wandb

        with self._told("pictures"):
            for file in sorted(outcome.directory.glob("*.png")):
                self._wandb_run.log({f"pictures/{file.stem}": wandb.Image(str(file))})
        if outcome.scores is not None:
            with self._told("scores"):
                self._wandb_run.log({"scores": wandb.Table(dataframe=track_rows(outcome.scores))})
                self._wandb_run.summary.update(_means(outcome.scores))
        with self._told("the model"):
            self._wandb_run.log_artifact(self._model(outcome), aliases=[sha256(outcome.model / SHARED)[:16]])
        if not self._wandb_run.offline:  # offline the names in the settings have to do, as W&B would have to answer
            self._patiently("what the run was made of", partial(self._use_inputs, self._wandb_run))

    def finish(self, error: BaseException | None = None) -> None:
        """End the W&B run, as failed where there was an error."""
        run, self._wandb_run = self._wandb_run, None
        if run is None:
            return
        with self._told("the end"):
            if error is not None:
                run.summary["error"] = f"{type(error).__name__}: {error}"[:500]
            whole, place = not run.offline, run.settings.sync_dir
            try:
                run.finish(exit_code=0 if error is None else 1)
            except TimeoutError:
                whole = False
            if not whole:
                log.info("W&B: kept on disk; to upload it: wandb sync %s", place)

    def _begin(self, settings: dict[str, Any]) -> None:
        import wandb

        run, tracking, directory = self._about, self._tracking, self._about.directory(self._runs)
        given = {
            "dir": directory, "id": _run_id(directory, settings, self._fresh), "name": self.name,
            "project": tracking.project, "entity": tracking.entity, "group": self._group, "job_type": run.stage,
            "tags": [run.region, _place(run)], "reinit": "create_new",
            "config": self._config | self._facts() | {f"run.{key}": value for key, value in flat(settings).items()},
            # the state of another project's checkout, and of the terminal, would say nothing
            "settings": wandb.Settings(
                init_timeout=PATIENCE, finish_timeout=UPLOAD[tracking.upload_factors], finish_timeout_raises=True,
                silent=True, console="off", disable_git=True,
            ),
        }  # fmt: skip
        mode = tracking.mode
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            log.warning("W&B: not logged in, so this run is kept on disk; `wandb login` once, or set WANDB_API_KEY")
            mode = "offline"
        if mode == "online":
            try:
                self._wandb_run = wandb.init(mode="online", resume="allow", **given)
                log.info("W&B: %s", self._wandb_run.url)
            except Exception as error:
                log.warning("W&B: not reached (%s), so this run is kept on disk", _line(error))
                wandb.teardown()  # else it would say that the id is in use
                mode = "offline"
        if mode == "offline":
            self._wandb_run = wandb.init(mode="offline", **given)
        self._wandb_run.define_metric("bins")
        self._wandb_run.define_metric("*", step_metric="bins")
        self._wandb_run.define_metric("val/mse", step_metric="bins", summary="min")

    def _facts(self) -> dict[str, Any]:
        """What a run is, by which W&B sorts and groups, and what it was made of."""
        run = self._about
        facts = {
            "region": run.region, "fold": run.split.fold, "seed": run.seed, "model_name": _place(run),
            "code.avocado": avocado.__version__, "code.git": _commit(),
            "input.store": f"store-{self._checksum}:latest", "input.store_checksum": self._checksum,
        }  # fmt: skip
        pilot = self._pilot()
        if pilot is not None:
            begun = _begun(pilot.directory(self._runs))
            facts["input.model"] = f"{self._artifact_name(pilot)}:{self._pilot_checksum()}"
            facts |= {"pilot.run": _name(pilot), "pilot.id": begun[-1] if begun else None}
        return facts

    def _pilot(self) -> Run | None:
        """The run that made the model which a genome run completes."""
        return replace(self._about, stage="pilot", region="pilot") if self._about.stage == "genome" else None

    def _pilot_checksum(self) -> str:
        return sha256(self._about.model_directory(self._runs) / SHARED)[:16]

    def _artifact_name(self, run: Run) -> str:
        kind = "factors" if run.stage == "genome" else "model"
        return re.sub(r"[^\w.-]", "-", f"{kind}-{self._group}-{_name(run)}")

    def _model(self, outcome: Outcome) -> Artifact:
        """What this run made: shared parameters, or the factors of a chromosome that go with its pilot's."""
        import wandb

        artifact = wandb.Artifact(self._artifact_name(self._about), "model", metadata=self._facts())
        names = ["model.yaml", SHARED] if self._pilot() is None else ["model.yaml"]
        for name in names:
            artifact.add_file(str(outcome.model / name))
        factors = outcome.model / f"{self._about.region}.safetensors"
        if self._tracking.upload_factors:
            artifact.add_file(str(factors), policy="immutable")  # not copied first: they are large
        else:
            artifact.add_reference(factors.resolve().as_uri(), factors.name)
        return artifact

    def _use_inputs(self, run: Any) -> None:
        """Tell W&B where the run comes from: a reference to the store, and for a chromosome its pilot's model."""
        import wandb

        metadata = {"checksum": self._checksum, "path": self._store}
        store = wandb.Artifact(f"store-{self._checksum}", "store", metadata=metadata)
        store.add_reference(self._store, "store", checksum=False)  # the name is the checksum; signal is not read
        run.use_artifact(store)
        pilot = self._pilot()
        if pilot is not None:
            run.use_artifact(f"{self._artifact_name(pilot)}:{self._pilot_checksum()}", type="model")

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
        """What goes wrong inside is said, the first time, and stops nothing."""
        try:
            yield
        except Exception as error:
            self._complain(what, _line(error))

    def _complain(self, what: str, reason: str) -> None:
        if not self._complained:
            log.warning("W&B: %s could not be logged (%s); the run itself goes on", what, reason)
        self._complained = True


def _name(run: Run) -> str:
    return f"{run.stage}-{run.region}-{_place(run)}"


def _place(run: Run) -> str:
    """What the runs of one model share."""
    return f"{run.split.name}-seed{run.seed}"


def _run_id(directory: Path, settings: Mapping[str, Any], fresh: bool) -> str:
    """The same id for the same settings in the same directory, unless the run begins anew."""
    content = json.dumps([str(directory), settings], sort_keys=True, default=str)
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    begun = [name for name in _begun(directory) if name.startswith(digest)]
    if not begun:
        return digest
    return f"{digest}_{len(set(begun)) + 1}" if fresh else begun[-1]


def _begun(directory: Path) -> list[str]:
    """Ids of the W&B runs whose records lie in a run's directory, the oldest first."""
    found = [re.search(r"run-(\d+_\d+)-(\w+)", folder.name) for folder in directory.glob("wandb/*run-*")]
    return [match[2] for match in sorted((match for match in found if match), key=lambda match: match[1])]


def _public(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that are secret, and addresses without their logins."""
    shown = {key: value for key, value in values.items() if not SECRET.search(key)}
    return json.loads(LOGIN.sub("", json.dumps(shown, default=str)))


def _means(scores: pd.DataFrame) -> dict[str, float]:
    """Means over tracks as mean/<method>/<measure>, skill among them."""
    table = mean_rows(scores)
    measures = [name for name in table.select_dtypes("number").columns if name not in KEYS]
    return {
        f"mean/{str(row['method']).replace(' ', '_')}/{name}": float(row[name])
        for row in table.to_dict("records")
        for name in measures
    }


def _commit() -> str | None:
    """The git commit of this package's checkout, -dirty after changes; None where it is installed otherwise."""
    package = Path(__file__).parent

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
