"""What a training run tells W&B besides its curves: scores, pictures, its model, and what that was made of."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from avocado.data.genome import file_stem
from avocado.data.store import SignalStore
from avocado.evaluation.scores import KEYS, mean_rows, track_rows
from avocado.model.directory import SHARED
from avocado.runs.card import CARD, shown
from avocado.runs.run import RunResult, RunSpec
from avocado.search.candidates import costs
from avocado.tracking.session import Subject, Tracker, Tracking, described, facts, place, sync_command
from avocado.training.stages import stage_named
from avocado.utils.files import sha256

if TYPE_CHECKING:
    from wandb import Artifact

log = logging.getLogger(__name__)

UPLOAD = {False: 120.0, True: 1800.0}  # seconds that a run waits for its upload, without and with factors
PICTURES = "pictures/"  # and the name of the file: curve, scores, tracks, factors
NAME_LENGTH = 128  # characters that W&B takes
SCORES = "scores"  # the table of all tracks


@contextlib.contextmanager
def tracked(
    tracking: Tracking, run: RunSpec, store: SignalStore, runs: Path, config: Mapping[str, Any], *, fresh: bool = False
) -> Iterator[RunTracker | None]:
    """The logger for `runs.train(run, store, runs, logger=...)`, or None where nothing is to be tracked.

    config: plain values to show beside the run's own settings, nested or not; secrets are left out. fresh: a run that
    was tracked before begins anew and is not continued. The W&B run ends with the block, as failed after an error.
    """
    if tracking.mode == "disabled":
        yield None
        return
    tracker = RunTracker(tracking, run, store, runs, config, fresh)
    failure: BaseException | None = None
    try:
        yield tracker
    except BaseException as error:
        failure = error
        raise
    finally:
        tracker.finish(failure)
        if tracker.kept:
            log.info("W&B: kept on disk; to upload it: %s", sync_command(tracker.kept))


class RunTracker(Tracker):
    """Begins when `runs.train` hands over the settings: a run that is done or refused leaves no W&B run."""

    def __init__(
        self, tracking: Tracking, run: RunSpec, store: SignalStore, runs: Path, config: Mapping[str, Any], fresh: bool
    ) -> None:
        super().__init__(tracking, UPLOAD[tracking.upload_factors])
        self._run, self._runs, self._config, self._fresh = run, runs.resolve(), config, fresh
        self._store = store

    def log_hyperparams(self, params: dict[str, Any], *args: Any, **options: Any) -> None:  # type: ignore[override]
        """Begin the W&B run: `params` are the settings that its result depends on, plain values."""
        run, store = self._run, self._store
        region, directory = store.region(run.region), run.directory(self._runs)
        with self._told("the start"):
            config = described(run, store, params, self._config) | self._pilot_facts()
            self.begin(
                Subject(
                    id=_run_id(directory, params, self._fresh),
                    name=run_name(run),
                    group=self._group,
                    kind=run.stage,
                    tags=(run.region, place(run)),
                    directory=directory,
                    n_bins=region.n_bins,
                    config=config,
                )
            )
        if stage_named(run.stage).trains_network:
            n_tracks = run.split.n_training(store)
            self.log_costs(costs(run.model, len(store.cells), len(store.assays), n_tracks, region.n_blocks))
        if self.url:
            log.info("W&B: %s", self.url)

    def report(self, outcome: RunResult) -> None:
        """Scores, pictures and the model of a run that has ended; nothing of one that was done before."""
        if self._wandb_run is None:
            return
        import wandb

        with self._told("pictures"):
            for file in sorted(outcome.directory.glob("*.png")):
                self._wandb_run.log({f"{PICTURES}{file.stem}": wandb.Image(str(file))})
        if outcome.scores is not None:
            with self._told("scores"):
                self._wandb_run.log({SCORES: wandb.Table(dataframe=track_rows(outcome.scores))})
                self._wandb_run.summary.update(_means(outcome.scores))
        with self._told("the model"):
            self._wandb_run.log_artifact(self._model(outcome), aliases=[sha256(outcome.model / SHARED)[:16]])
        if not self._wandb_run.offline:  # offline the names in the settings have to do, as W&B would have to answer
            self._patiently("what the run was made of", partial(self._use_inputs, self._wandb_run))

    @property
    def _group(self) -> str:
        return self.tracking.group or self._runs.name

    def _pilot(self) -> RunSpec | None:
        """The run that made the model which this one completes."""
        needed = stage_named(self._run.stage).needs
        if needed is None:
            return None
        return replace(self._run, stage=needed, region=stage_named(needed).region_for(self._run.region))

    def _pilot_facts(self) -> dict[str, Any]:
        pilot = self._pilot()
        if pilot is None:
            return {}
        begun = _begun(pilot.directory(self._runs))
        return {
            "input.model": f"{self._artifact_name(pilot)}:{self._pilot_checksum()}",
            "pilot.run": run_name(pilot), "pilot.id": begun[-1] if begun else None,
        }  # fmt: skip

    def _pilot_checksum(self) -> str:
        return sha256(self._run.model_directory(self._runs) / SHARED)[:16]

    def _artifact_name(self, run: RunSpec) -> str:
        kind = "model" if stage_named(run.stage).trains_network else "factors"
        return artifact_name(f"{kind}-{self._group}-{run_name(run)}")

    def _model(self, outcome: RunResult) -> Artifact:
        """What this run made: shared parameters, or the factors of a chromosome that go with its pilot's."""
        import wandb

        metadata = facts(self._run, self._store) | self._pilot_facts()
        card = outcome.model / CARD
        text = shown(card.read_text(encoding="utf-8")) if card.is_file() else None  # Markdown, as its page shows it
        artifact = wandb.Artifact(self._artifact_name(self._run), "model", text, metadata)
        names = ["model.yaml", *([CARD] if text else []), *([SHARED] if self._pilot() is None else [])]
        for name in names:
            artifact.add_file(str(outcome.model / name))
        factors = outcome.model / f"{file_stem(self._run.region)}.safetensors"
        if self.tracking.upload_factors:
            artifact.add_file(str(factors), policy="immutable")  # not copied first: they are large
        else:
            artifact.add_reference(factors.resolve().as_uri(), factors.name)
        return artifact

    def _use_inputs(self, run: Any) -> None:
        """Tell W&B where the run comes from: a reference to the store, and for a chromosome its pilot's model."""
        import wandb

        checksum, uri = self._store.tracks_checksum, self._store.path.resolve().as_uri()
        store = wandb.Artifact(f"store-{checksum}", "store", metadata={"checksum": checksum, "path": uri})
        store.add_reference(uri, "store", checksum=False)  # the name is the checksum; signal is not read
        run.use_artifact(store)
        pilot = self._pilot()
        if pilot is not None:
            run.use_artifact(f"{self._artifact_name(pilot)}:{self._pilot_checksum()}", type="model")


def artifact_name(text: str) -> str:
    """A text as W&B takes it for an artifact's name: of a long one the beginning, and a digest of all of it."""
    name = re.sub(r"[^\w.-]", "-", text)
    if len(name) <= NAME_LENGTH:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{name[: NAME_LENGTH - 1 - len(digest)]}-{digest}"


def run_name(run: RunSpec) -> str:
    """How a training run is called."""
    return f"{run.stage}-{run.region}-{place(run)}"


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


def _means(scores: pd.DataFrame) -> dict[str, float]:
    """Means over tracks as mean/<method>/<measure>, skill among them."""
    table = mean_rows(scores)
    measures = [name for name in table.select_dtypes("number").columns if name not in KEYS]
    return {
        f"mean/{str(row['method']).replace(' ', '_')}/{name}": float(row[name])
        for row in table.to_dict("records")
        for name in measures
    }
