"""Search of hyperparameters: a study in a database, the loop that asks it and tells it, and what a trial is worth.

Any number of workers share a study. A trial's number, which the database assigns, decides everything: it seeds the
draw of the trial's combination, and of two workers that draw the same one at the same moment the one with the higher
number gives way. A worker that was killed leaves a trial behind that others take over, with its combination.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url

from avocado.errors import InputError
from avocado.search.space import JUDGED, OPEN, Space, Unrepeated, combination_of, space_size, taken_by
from avocado.search.storage import back_since, connect, storage_errors
from avocado.utils.addresses import hide_passwords
from avocado.utils.files import is_running
from avocado.utils.settings import changes

log = logging.getLogger(__name__)
SAMPLERS = ("random", "tpe")
OBJECTIVES = ("mse", "parameters", "flops")
POLL = 0.2  # seconds between looks at what other workers do
optuna.logging.set_verbosity(optuna.logging.WARNING)

Report = Callable[[int, float], None]  # epoch, validation MSE; ends a trial that isn't worth going on with


@dataclass(frozen=True)
class SweepConfig:
    """How a study is carried out."""

    trials: int  # that are completed, or pruned, when the search ends
    sampler: str = "random"
    seed: int = 0
    objectives: tuple[str, ...] = ("mse",)  # all are minimised
    prune: bool = False  # end trials whose validation MSE is above the median of the others' at that epoch
    stale_after: float = 300.0  # seconds without a sign of life after which another worker's trial is taken over
    give_up_after: int = 20  # failed trials in a row

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise InputError(f"sweep.sampler={self.sampler}: there is {', '.join(SAMPLERS)}")
        unknown = [name for name in self.objectives if name not in OBJECTIVES]
        if unknown or self.objectives[:1] != ("mse",) or len(set(self.objectives)) < len(self.objectives):
            raise InputError(
                f"sweep.objectives={list(self.objectives)}: expected mse, and then any of {', '.join(OBJECTIVES[1:])}"
            )
        if self.prune and len(self.objectives) > 1:
            raise InputError("sweep.prune=true needs a single objective: set sweep.prune=false or sweep.objectives=mse")
        for name, least in (("trials", 1), ("seed", 0), ("give_up_after", 1)):
            if getattr(self, name) < least:
                raise InputError(f"sweep.{name}={getattr(self, name)}: expected a whole number of at least {least}")
        if not self.stale_after > 0:
            raise InputError(f"sweep.stale_after={self.stale_after}: expected seconds, a number above 0")


def open_study(
    storage: str, name: str, config: SweepConfig, settings: Mapping[str, Any], overrides: Sequence[str] = ()
) -> optuna.Study:
    """The study of that name, made if it is not there.

    storage: a database URL, such as sqlite:///runs/sweeps/random7.db. settings: plain values that must not change
    while the study goes on. overrides: what the trials have in common, kept for whoever trains the winner. Raises
    InputError for a study with other settings and a database that cannot be used.
    """
    now = json.loads(json.dumps(dict(settings)))
    with storage_errors(storage):
        file = make_url(storage).database if storage.startswith("sqlite:") else None
        if file:
            try:
                Path(file).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"cannot write {file}: {error.strerror}; choose sweep.storage= or runs=") from None
        study = optuna.create_study(
            storage=connect(storage), study_name=name, load_if_exists=True,
            directions=[StudyDirection.MINIMIZE] * len(config.objectives), pruner=optuna.pruners.MedianPruner(),
        )  # fmt: skip
        if "settings" not in study.user_attrs:
            study.set_user_attr("objectives", list(config.objectives))
            study.set_user_attr("overrides", list(overrides))
            study.set_user_attr("settings", now)
        before = study.user_attrs["settings"]
    changed = changes(before, now)
    if changed:
        raise InputError(
            f"the study {name} in {hide_passwords(storage)} was begun with other settings ({'; '.join(changed[:4])}), "
            "and its trials could not be compared: choose another sweep.name=, or the settings that it was begun with"
        )
    return study


def load_study(storage: str, name: str) -> optuna.Study:
    """A study to look at. Raises InputError where there is none of that name."""
    with storage_errors(storage):
        file = make_url(storage).database if storage.startswith("sqlite:") else None
        if file and not Path(file).is_file():
            raise InputError(f"no study at {file}: run avocado sweep first, or say where it is with storage=")
        connected = connect(storage)
        known = [study.study_name for study in connected.get_all_studies()]
        if name not in known:
            raise InputError(f"no study '{name}' in {hide_passwords(storage)}; there is: {', '.join(known) or 'none'}")
        return optuna.load_study(study_name=name, storage=connected)


def trials_table(study: optuna.Study, completed: bool = False) -> pd.DataFrame:
    """One row per trial: trial, state, a column per objective and per parameter, seconds, failure (why it failed).

    completed: only trials that are. Of others some may have no parameters yet, and beside these gaps whole numbers
    would become floats.
    """
    objectives = study.user_attrs["objectives"]
    rows = []
    for trial in study.get_trials(deepcopy=False, states=[TrialState.COMPLETE] if completed else None):
        values = trial.values if trial.state == TrialState.COMPLETE else [math.nan] * len(objectives)
        seconds = trial.duration.total_seconds() if trial.duration else math.nan
        failure = trial.user_attrs.get("failure", trial.user_attrs.get("dropped", ""))
        judged = dict(zip(objectives, values, strict=True))
        end = {"seconds": seconds, "failure": failure}
        rows.append({"trial": trial.number, "state": trial.state.name.lower(), **judged, **trial.params, **end})
    last = ("seconds", "failure")
    columns = dict.fromkeys(["trial", "state", *objectives, *(key for row in rows for key in row if key not in last)])
    return pd.DataFrame(rows, columns=pd.Index([*columns, *last]))


def best_trials(study: optuna.Study, count: int | None = None) -> pd.DataFrame:
    """Rows of `trials_table` of completed trials, lowest MSE first: the best, or with two objectives the Pareto front.

    The front: trials that no other trial equals or betters in all objectives.
    """
    table = trials_table(study, completed=True).drop(columns=["state", "failure"])
    if len(study.directions) > 1:
        front = {trial.number for trial in study.best_trials}
        table = table[table["trial"].isin(front)]
    return table.sort_values("mse", kind="stable").iloc[:count]


def search(
    study: optuna.Study,
    space: Space,
    config: SweepConfig,
    judge: Callable[[optuna.Trial, Report | None], Sequence[float]],
    told: Callable[[FrozenTrial], None] = lambda trial: None,
    counted: Callable[[int], None] = lambda done: None,
) -> None:
    """Try combinations until `config.trials` are judged, by this worker and others, or the whole grid is.

    judge: values of the objectives for a trial's combination; an InputError or a lack of memory makes the trial a
    failed one, with the reason noted. told: called with each trial that this worker ends. counted: called with the
    number of judged trials. Raises InputError when `config.give_up_after` trials in a row have failed.
    """
    watch, failed, size = _Watch(config.stale_after), 0, space_size(space)
    while True:
        _take_over(study, space, watch)
        trials = study.get_trials(deepcopy=False)
        states = [trial.state for trial in trials]
        done, running = sum(state in JUDGED for state in states), states.count(TrialState.RUNNING)
        counted(done)
        if done >= config.trials:
            return
        used_up = len(taken_by(trials, space)) == size and TrialState.WAITING not in states
        if used_up and not running:
            log.info("all %d combinations have been tried", size)
            return
        if used_up or done + running >= config.trials:  # others are at the last ones, which may still fail
            time.sleep(POLL)
            continue
        trial = _claim(study, space, config, watch)
        if trial is None:
            continue
        ended = _carry_out(study, trial, config, judge)
        if ended is None:
            continue
        told(ended)
        failed = failed + 1 if ended.state == TrialState.FAIL else 0
        if failed == config.give_up_after:
            raise InputError(f"{failed} trials in a row have failed, the last one: {ended.user_attrs['failure']}")


def _claim(study: optuna.Study, space: Space, config: SweepConfig, watch: _Watch) -> optuna.Trial | None:
    """A trial with a combination of its own, or None where this worker gave way to another."""
    study.sampler = Unrepeated(space, config.sampler, config.seed)
    trial = study.ask(space)
    trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
    while True:
        trials = study.get_trials(deepcopy=False)
        before = [other for other in trials if other.number < trial.number]
        # a lower number that has not chosen yet may choose the same; higher ones will look at this one's choice
        if all(other.state != TrialState.RUNNING or combination_of(other, space) for other in before):
            break
        time.sleep(POLL)
        _take_over(study, space, watch, mine=trial.number)
    mine = combination_of(trials[trial.number], space)
    twin = taken_by(before, space).get(mine) if mine is not None else None
    ahead = sum(other.state in JUDGED for other in trials) + sum(o.state == TrialState.RUNNING for o in before)
    if twin is None and ahead < config.trials:
        return trial
    trial.set_user_attr("dropped", f"the same as trial {twin}" if twin is not None else "enough trials are under way")
    study.tell(trial, state=TrialState.FAIL)
    return None


def _carry_out(
    study: optuna.Study, trial: optuna.Trial, config: SweepConfig, judge: Callable[..., Sequence[float]]
) -> FrozenTrial | None:
    """Judge a trial's combination and tell the study. None where others have taken the trial over meanwhile."""

    def report(epoch: int, mse: float) -> None:
        trial.report(mse, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    values, state = None, TrialState.FAIL
    with _signs_of_life(trial, config.stale_after / 5):
        try:
            values, state = judge(trial, report if config.prune else None), TrialState.COMPLETE
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except UpdateFinishedTrialError as error:  # of a report
            return _ended(study, trial, state, values, error)
        except (InputError, MemoryError) as error:
            trial.set_user_attr("failure", " ".join(str(error).split()) or type(error).__name__)
        except BaseException as error:
            with contextlib.suppress(StorageInternalError, UpdateFinishedTrialError):  # others see that we are gone
                trial.set_user_attr("dropped", f"stopped by {type(error).__name__}")
                study.tell(trial, state=TrialState.FAIL)
                if isinstance(error, KeyboardInterrupt):
                    _try_again(study, trial.params)
            raise
    try:
        return study.tell(trial, values, state)
    except (UpdateFinishedTrialError, ValueError) as error:
        return _ended(study, trial, state, values, error)


def _ended(
    study: optuna.Study, trial: optuna.Trial, state: TrialState, values: Sequence[float] | None, error: Exception
) -> FrozenTrial | None:
    """A trial that could not be told as it has ended already: as we said, in an answer that was lost, or by others."""
    found = study.get_trials(deepcopy=False)[trial.number]
    if found.state in OPEN:
        raise error
    if found.state == state and (values is None or found.values == list(values)):
        return found
    log.warning("trial %d was taken over by another worker meanwhile (%s)", trial.number, error)
    return None


@contextlib.contextmanager
def _signs_of_life(trial: optuna.Trial, interval: float) -> Iterator[None]:
    """Count up in the trial as long as the context is open."""
    stop = threading.Event()

    def beat() -> None:
        count = 0
        while not stop.wait(interval):
            count += 1
            try:
                trial.set_user_attr("beat", count)
            except UpdateFinishedTrialError:
                return
            except StorageInternalError:  # unreachable for now; the study hears of it at the end
                log.debug("no sign of life of trial %d could be left", trial.number)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class _Watch:
    """Which running trials have shown no sign of life for some time, by this worker's own clock."""

    def __init__(self, stale_after: float) -> None:
        self.stale_after = stale_after
        self.seen: dict[int, tuple[Any, float]] = {}

    def is_gone(self, trial: FrozenTrial) -> bool:
        host, _, process = trial.user_attrs.get("worker", "").rpartition(":")
        if host == socket.gethostname() and not is_other_process(int(process)):
            return True
        sign, now = (len(trial.params), trial.user_attrs.get("beat")), time.monotonic()
        if self.seen.get(trial.number, (None, 0.0))[0] != sign:
            self.seen[trial.number] = sign, now
        # while the database was away nobody could show one
        return now - max(self.seen[trial.number][1], back_since()) > self.stale_after


def is_other_process(pid: int) -> bool:
    """Whether a process of this machine has that number, and is not this one."""
    # one with this number may have been here before, in a container that was started again
    return pid != os.getpid() and is_running(pid)


def _take_over(study: optuna.Study, space: Space, watch: _Watch, mine: int | None = None) -> None:
    """End the trials of workers that were killed, and have their combinations tried again."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.number == mine or not watch.is_gone(trial):
            continue
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (UpdateFinishedTrialError, ValueError):  # another worker was faster
            continue
        log.info("trial %d was left by a worker that is gone: its combination is tried again", trial.number)
        if combination_of(trial, space) is not None:
            _try_again(study, trial.params or trial.user_attrs["again"])


def _try_again(study: optuna.Study, params: dict[str, Any]) -> None:
    study.enqueue_trial(params, user_attrs={"again": params})
