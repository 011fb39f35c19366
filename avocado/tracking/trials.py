"""What a trial of a sweep tells W&B: a run of its own in the group of its sweep, curves and cost, no model."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optuna import Trial, TrialPruned
from sqlalchemy.engine import make_url

from avocado.data.store import SignalStore
from avocado.runs.run import RunSpec
from avocado.tracking.session import PATIENCE, TRIAL, Subject, Tracker, Tracking, described, place
from avocado.utils.addresses import hide_logins

STATE = "trial/state"  # complete, pruned or failed, as in the study


class TrialTracker(Tracker):
    """The trials of one study, as far as this worker carries them out.

    storage: database URL of the study; logins in it are shown to nobody. folder: of W&B's records.
    """

    def __init__(self, tracking: Tracking, study: str, storage: str, store: SignalStore, folder: Path) -> None:
        super().__init__(tracking, PATIENCE)
        self._study, self._storage, self._store, self._folder = study, _location(storage), store, folder.resolve()

    @contextlib.contextmanager
    def trial(self, trial: Trial, run: RunSpec, config: Mapping[str, Any]) -> Iterator[None]:
        """A W&B run for the time of a trial: failed after an error, but not where the trial was pruned.

        run: what the trial trains. config: of its training, nested or not.
        """
        with self._told("the start"):
            self._folder.mkdir(parents=True, exist_ok=True)
        # a study that was deleted and begun again has the same names and numbers
        identity = f"{self._storage} {self._study} {trial.number} {trial.datetime_start}"
        own = {"study": self._study, "storage": self._storage, "number": trial.number}
        self.begin(
            Subject(
                id=hashlib.sha256(identity.encode()).hexdigest()[:16],
                name=f"{self._study}-{trial.number}",
                group=self.tracking.group or self._study,
                kind=TRIAL,
                tags=(run.region, place(run)),
                directory=self._folder,
                n_bins=self._store.region(run.region).n_bins,
                config=described(run, self._store, asdict(run), {**config, "trial": own}),
            )
        )
        try:
            yield
        except TrialPruned:
            self.summarise({STATE: "pruned"})
            self.finish()
            raise
        except BaseException as error:
            self.summarise({STATE: "failed"})
            self.finish(error)
            raise
        self.summarise({STATE: "complete"})
        self.finish()


def _location(storage: str) -> str:
    """Where a study lies, as all its workers call it, without the login of any."""
    url = make_url(storage)
    if url.get_backend_name() == "sqlite" and url.database:
        return f"sqlite:///{Path(url.database).resolve()}"
    return hide_logins(url.render_as_string(hide_password=False))
