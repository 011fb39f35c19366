"""What W&B is told, read back from the records that offline runs leave."""

import json
import re
import socket
import subprocess
import threading
import time
from dataclasses import replace

import pandas as pd
import pytest
import wandb
from toy import CHR20, PILOT, RUN, genome_run, with_fit
from toy_figures import draw_nothing
from wandb_records import logged

import avocado
from avocado.errors import InputError
from avocado.runs.run import train
from avocado.tracking import session
from avocado.tracking.runs import artifact_name, tracked
from avocado.tracking.session import Tracking
from avocado.training.module import FactorizationModule
from avocado.utils.files import sha256
from avocado.utils.hardware import Hardware

pytestmark = pytest.mark.usefixtures("wandb_home")

OFFLINE = Tracking(mode="offline")
VALIDATED = with_fit(replace(RUN, split=replace(RUN.split, validation=0.2)), epochs=3)
CONFIG = {
    "model": {"nodes": 8},
    "data": {"url": "https://me:hunter2@example.org/x", "api_key": "hunter2", "token": "hunter2"},
    "fold": 0,
}


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    """What the module's fixture has drawn is whole."""
    draw_nothing(monkeypatch)


def go(run, store, runs, tracking=OFFLINE, *, processes=1, fresh=False, **options):
    """What a command does: train, and report."""
    with tracked(tracking, run, store, runs, CONFIG, fresh=fresh) as tracker:
        outcome = train(
            run, store, runs, hardware=Hardware("cpu", processes=processes), progress=False,
            logger=tracker or False, **options,
        )  # fmt: skip
        if tracker is not None:
            tracker.report(outcome)
    return outcome


@pytest.fixture(scope="module")
def tracked_model(tiny_store, tmp_path_factory):
    """What a pilot run and its genome run have left: runs folder, both outcomes, both records."""
    runs = tmp_path_factory.mktemp("tracked") / "study"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(runs.parent / "home"))
        outcomes = [go(run, tiny_store, runs) for run in (VALIDATED, genome_run(VALIDATED))]
    records = [logged(outcome.directory) for outcome in outcomes]
    assert [len(found) for found in records] == [1, 1]
    return runs, outcomes, [found[0] for found in records]


def test_settings(tracked_model, tiny_store):
    _, _, (pilot, genome) = tracked_model
    for run, what in ((pilot, VALIDATED), (genome, genome_run(VALIDATED))):
        shown = run.config
        assert shown["data.url"] == "https://example.org/x"
        assert {key: shown[key] for key in ("region", "fold", "seed", "model_name", "model.nodes")} == {
            "region": what.region, "fold": 0, "seed": 0, "model_name": "fold0-seed0", "model.nodes": 8,
        }  # fmt: skip
        assert (shown["run.fit.epochs"], shown["run.optimizer.learning_rate"]) == (3, 0.01)
        assert shown["code.avocado"] == avocado.__version__
        assert shown["input.store_checksum"] == tiny_store.tracks_checksum
        assert shown["input.store"] == f"store-{tiny_store.tracks_checksum}:latest"
    everything = b"".join(file.read_bytes() for run in (pilot, genome) for file in run.folder.rglob("*")
                          if file.is_file())  # fmt: skip
    assert b"hunter2" not in everything
    assert not {"data.api_key", "data.token"} & set(pilot.config)


def test_code_version(tracked_model):
    _, _, (pilot, _) = tracked_model
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=avocado.__path__[0])
    if head.returncode:
        assert pilot.config["code.git"] is None
    else:
        assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", pilot.config["code.git"])


def test_curves_over_bins(tracked_model):
    _, outcomes, found = tracked_model
    for outcome, run, region in zip(outcomes, found, (PILOT, CHR20), strict=True):
        history = pd.read_csv(outcome.directory / "history.csv")
        bins = [epoch * region.n_bins for epoch in history["epoch"]]
        assert len(bins) == 3
        for name, column in (("train/mse", "train_mse"), ("val/mse", "val_mse")):
            x, y = zip(*run.curve(name), strict=True)
            assert list(x) == bins
            assert list(y) == pytest.approx(history[column].tolist(), rel=1e-5)
        assert all(speed > 0 for _, speed in run.curve("bins_per_second"))
        assert len(run.curve("bins_per_second")) == len(run.curve("memory/peak_gib")) == 3
        # a process that has PyTorch and Lightning loaded, and not the whole machine
        assert 0.1 < run.summary["memory/peak_gib"] < 20
        assert 0.1 < run.summary["memory/predicted_gib"] < 20
        assert run.summary["val/mse"] == pytest.approx(history["val_mse"].iloc[-1], rel=1e-5)


def test_the_summary_is_of_the_weights_that_are_kept(tiny_store, tmp_path):
    rates = replace(VALIDATED.optimizer, learning_rate=0.3, genome_learning_rate=0.3)
    overfitting = replace(VALIDATED, optimizer=rates)
    outcome = go(with_fit(overfitting, epochs=12, patience=3), tiny_store, tmp_path)
    (run,) = logged(outcome.directory)
    curve = [mse for _, mse in run.curve("val/mse")]
    assert curve[-1] > min(curve), "this no longer overfits"
    assert run.summary["val/mse"] == pytest.approx(min(curve), rel=1e-5)


def test_speed_is_that_of_training_alone(tiny_store, tmp_path, monkeypatch):
    def slow(module, batch, batch_idx):
        time.sleep(0.5)
        validate(module, batch, batch_idx)

    validate = FactorizationModule.validation_step
    monkeypatch.setattr(FactorizationModule, "validation_step", slow)
    outcome = go(with_fit(VALIDATED, epochs=1), tiny_store, tmp_path)
    (run,) = logged(outcome.directory)
    assert len(run.curve("val/mse")) == 1
    assert run.summary["bins_per_second"] > PILOT.n_bins / 0.5


def test_the_axis_is_bins(tracked_model):
    _, _, (pilot, _) = tracked_model
    axes = {metric.glob_name or metric.name: metric.step_metric for metric in pilot.metrics}
    assert axes == {"*": "bins", "bins": ""}


def test_scores_and_pictures(tracked_model):
    _, outcomes, found = tracked_model
    for outcome, run in zip(outcomes, found, strict=True):
        means = outcome.scores[outcome.scores["cell"] == "mean"].set_index("method")
        for method, shown in (("Avocado", "Avocado"), ("average activity", "average_activity")):
            for measure in ("mse", "pearson", "skill"):
                assert run.summary[f"mean/{shown}/{measure}"] == pytest.approx(means.loc[method, measure])
        (file,) = run.folder.glob("files/media/table/scores*.json")
        table = json.loads(file.read_text())
        tracks = outcome.scores[outcome.scores["cell"] != "mean"]
        assert [row[:3] for row in table["data"]] == tracks[["cell", "assay", "method"]].to_numpy().tolist()
        column = table["columns"].index("mse")
        assert [row[column] for row in table["data"]] == pytest.approx(tracks["mse"].tolist())
        stage = run.run.job_type
        names = {file.stem for file in outcome.directory.glob("*.png")}
        assert names == {"curve", "scores", "tracks", *(["factors"] if stage == "pilot" else [])}
        for name in names:
            (copy,) = run.folder.glob(f"files/media/images/pictures/{name}_*.png")
            assert copy.read_bytes() == (outcome.directory / f"{name}.png").read_bytes()


def test_long_names_of_artifacts_are_cut_and_stay_apart():
    import wandb

    assert artifact_name("model-runs-pilot-pilot-fold0-seed0") == "model-runs-pilot-pilot-fold0-seed0"
    first, second = (artifact_name(f"model-{'a long folder ' * 20}-seed{seed}") for seed in (0, 1))
    assert first != second
    assert len(first) == len(second) == 128
    assert wandb.Artifact(first, "model").name.startswith("model-a-long-folder-")


def test_models_are_artifacts(tracked_model):
    _, outcomes, found = tracked_model
    pilot, genome = ([artifact for artifact in run.artifacts if artifact.type == "model"] for run in found)
    assert [artifact.name for artifact in pilot] == ["model-study-pilot-pilot-fold0-seed0"]
    assert [artifact.name for artifact in genome] == ["factors-study-genome-chr20-fold0-seed0"]
    contents = [{item.path: item for item in (*pilot, *genome)[n].manifest.contents} for n in (0, 1)]
    assert set(contents[0]) == {"model.yaml", "README.md", "shared.safetensors", "pilot.safetensors"}
    assert set(contents[1]) == {"model.yaml", "README.md", "chr20.safetensors"}
    assert all(its[0].description.startswith("# Epigenome imputation") for its in (pilot, genome))  # the card
    # factors stay where they are, the small files are copied
    assert contents[1]["chr20.safetensors"].ref == (outcomes[1].model / "chr20.safetensors").resolve().as_uri()
    assert not contents[0]["shared.safetensors"].ref
    # the genome run names what it is made of as the pilot run has called it
    assert found[1].config["input.model"] in [f"{pilot[0].name}:{alias}" for alias in pilot[0].aliases]
    assert (found[1].config["pilot.run"], found[1].config["pilot.id"]) == (
        found[0].run.display_name,
        found[0].run.run_id,
    )


def test_factors_are_uploaded_where_asked_for(tiny_store, tmp_path):
    outcome = go(RUN, tiny_store, tmp_path / "runs", replace(OFFLINE, upload_factors=True))
    (run,) = logged(outcome.directory)
    (model,) = (artifact for artifact in run.artifacts if artifact.type == "model")
    assert [item.ref for item in model.manifest.contents] == [""] * 4


def test_groups(tracked_model, tiny_store, tmp_path):
    """All stages and chromosomes of a model, and all folds and trials, under one heading."""
    _, _, found = tracked_model
    assert [run.run.run_group for run in found] == ["study", "study"]
    assert [run.run.job_type for run in found] == ["pilot", "genome"]
    assert [run.run.display_name for run in found] == ["pilot-pilot-fold0-seed0", "genome-chr20-fold0-seed0"]
    assert [list(run.run.tags) for run in found] == [["pilot", "fold0-seed0"], ["chr20", "fold0-seed0"]]
    trials = [replace(RUN, split=replace(RUN.split, fold=1)), replace(RUN, seed=3)]
    of_trials = [go(run, tiny_store, tmp_path / f"trial{n}", replace(OFFLINE, group="widths"))
                 for n, run in enumerate(trials)]  # fmt: skip
    runs = [logged(outcome.directory)[0].run for outcome in of_trials]
    assert [run.run_group for run in runs] == ["widths", "widths"]
    assert len({run.run_id for run in runs}) == 2


def test_a_killed_run_goes_on_as_the_same(tiny_store, tmp_path, monkeypatch):
    run = with_fit(VALIDATED, epochs=4)
    whole = go(run, tiny_store, tmp_path / "whole")
    runs = tmp_path / "runs"

    def killed(module):
        if module.current_epoch == 2:
            raise KeyboardInterrupt
        begin(module)

    begin = FactorizationModule.on_train_epoch_start
    with monkeypatch.context() as patch:
        patch.setattr(FactorizationModule, "on_train_epoch_start", killed)
        with pytest.raises(KeyboardInterrupt):
            go(run, tiny_store, runs)
    outcome = go(run, tiny_store, runs)
    first, second = logged(outcome.directory)
    assert first.run.run_id == second.run.run_id
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert first.summary["error"].startswith("KeyboardInterrupt")
    (uninterrupted,) = logged(whole.directory)
    assert uninterrupted.run.run_id != first.run.run_id  # other directory, other run
    assert len(first.curve("train/mse")) == 2
    assert first.curve("train/mse") + second.curve("train/mse") == uninterrupted.curve("train/mse")
    # a run that is done is not tracked again
    assert go(run, tiny_store, runs).was_done
    assert len(logged(outcome.directory)) == 2


def test_a_run_that_begins_anew_is_another(tiny_store, tmp_path):
    ids = []
    for overwrite in (False, True, True):
        outcome = go(RUN, tiny_store, tmp_path / "runs", fresh=overwrite, overwrite=overwrite)
        ids.append({run.run.run_id for run in logged(outcome.directory)})
    assert [len(found) for found in ids] == [1, 2, 3]


def test_a_failed_run_is_marked(tiny_store, tmp_path):
    diverging = replace(RUN, optimizer=replace(RUN.optimizer, learning_rate=1e30, genome_learning_rate=1e30))
    with pytest.raises(InputError, match="training diverged"):
        go(diverging, tiny_store, tmp_path)
    (run,) = logged(diverging.directory(tmp_path))
    assert run.exit_code == 1
    assert "training diverged" in run.summary["error"]


def test_disabled_leaves_nothing(tiny_store, tmp_path):
    outcome = go(RUN, tiny_store, tmp_path / "runs", Tracking())
    assert not list(tmp_path.rglob("*wandb*"))
    assert not (tmp_path / "home").exists()
    assert (outcome.directory / "history.csv").is_file()


def test_a_refused_run_is_not_tracked(tiny_store, tmp_path):
    with pytest.raises(InputError, match="no pilot model"):
        go(genome_run(), tiny_store, tmp_path / "runs")
    assert not list(tmp_path.rglob("*wandb*"))


def test_unknown_mode():
    with pytest.raises(InputError, match=r"logger\.mode=sometimes: there is online, offline, disabled"):
        Tracking(mode="sometimes")


def broken(*args, **options):
    raise RuntimeError("no such luck\nand more")


@pytest.mark.parametrize("what", ["init", "Run.log", "Run.log_artifact", "Run.finish", "Table.__init__"])
def test_a_broken_wandb_stops_nothing(tiny_store, tmp_path, monkeypatch, caplog, what):
    with monkeypatch.context() as patch:
        patch.setattr(f"wandb.{what}", broken)
        outcome = go(VALIDATED, tiny_store, tmp_path / "runs")
    if what == "Run.finish":
        wandb.teardown()
    assert not outcome.was_done
    assert len(pd.read_csv(outcome.directory / "history.csv")) == 3
    told = [record.getMessage() for record in caplog.records if record.name == "avocado.tracking.session"]
    assert len([line for line in told if "no such luck" in line]) == 1
    assert not any("\n" in line for line in told)


def test_without_a_login(tiny_store, tmp_path, caplog):
    caplog.set_level("INFO", "avocado")
    wandb.teardown()  # which remembers the environment
    outcome = go(RUN, tiny_store, tmp_path / "runs", replace(OFFLINE, mode="online"))
    (run,) = logged(outcome.directory)
    assert (run.exit_code, len(run.history) > 2) == (0, True)
    assert "not logged in" in caplog.text
    assert f"wandb sync {run.folder}" in caplog.text


def only_offline(init):
    """Waiting for W&B would be in vain."""

    def begin(mode, **options):
        assert mode == "offline"
        return init(mode=mode, **options)

    return begin


@pytest.mark.parametrize(("status", "answer"), [(200, "OK"), (404, "Not Found"), (500, "Error"), (None, "")])
def test_who_answers_is_reached(status, answer):
    with socket.create_server(("127.0.0.1", 0)) as server:
        said = f"HTTP/1.1 {status} {answer}\r\n\r\n" if status else "?"
        thread = threading.Thread(target=answer_once, args=(server, said))
        thread.start()
        assert session._silent(f"http://127.0.0.1:{server.getsockname()[1]}") == ""
        thread.join()


def answer_once(server, answer):
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(answer.encode())


def test_who_never_answers_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(session, "REACH", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "timed out" in session._silent(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert session._silent("nonsense") == ""


def test_without_a_network(tiny_store, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.setattr("wandb.init", only_offline(wandb.init))
    wandb.teardown()
    outcome = go(RUN, tiny_store, tmp_path / "runs", replace(OFFLINE, mode="online"))
    monkeypatch.undo()
    wandb.teardown()
    (run,) = logged(outcome.directory)
    assert run.exit_code == 0
    assert "W&B: not reached ([Errno 111] Connection refused), so this is kept on disk" in caplog.text
    assert "0" * 40 not in "".join(file.read_text(errors="replace") for file in outcome.directory.rglob("*")
                                   if file.is_file())  # fmt: skip


class Online:
    """An offline run that says it is online, and does not answer when it is asked for artifacts."""

    def __init__(self, run, answers):
        self.run, self.answers, self.used = run, answers, []

    def __getattr__(self, name):
        return getattr(self.run, name)

    @property
    def offline(self):
        return False

    def use_artifact(self, artifact, type=None):
        self.used.append(artifact if isinstance(artifact, str) else artifact.name)
        if not self.answers:
            time.sleep(60)


@pytest.mark.parametrize("answers", [True, False])
def test_lineage_online(tiny_store, tmp_path, monkeypatch, caplog, answers):
    found, init = [], wandb.init
    go(RUN, tiny_store, tmp_path / "study", Tracking())

    def online(mode, resume, **options):
        assert (mode, resume) == ("online", "allow")
        found.append(Online(init(mode="offline", **options), answers))
        return found[0]

    monkeypatch.setattr("wandb.login", lambda **options: True)
    monkeypatch.setattr(session, "_silent", lambda address: "")
    monkeypatch.setattr("wandb.init", online)
    monkeypatch.setattr("avocado.tracking.session.PATIENCE", 30 if answers else 0.2)
    outcome = go(genome_run(), tiny_store, tmp_path / "study", replace(OFFLINE, mode="online"))
    store = f"store-{tiny_store.tracks_checksum}"
    model = f"model-study-pilot-pilot-fold0-seed0:{sha256(outcome.model / 'shared.safetensors')[:16]}"
    assert found[0].used == ([store, model] if answers else [store])
    assert ("no answer" in caplog.text) is not answers
    wandb.teardown()  # so little patience ends before W&B has written all
    (run,) = logged(outcome.directory)
    assert run.exit_code == 0
    assert run.config["input.model"] == model


@pytest.mark.slow
def test_two_processes_are_one_run(tiny_store, tmp_path):
    run = replace(VALIDATED, stage="joint", region="chr20")
    outcome = go(run, tiny_store, tmp_path / "runs", processes=2)
    (found,) = logged(outcome.directory)
    history = pd.read_csv(outcome.directory / "history.csv")
    x, y = zip(*found.curve("train/mse"), strict=True)
    assert list(x) == [CHR20.n_bins * epoch for epoch in (1, 2, 3)]
    assert list(y) == pytest.approx(history["train_mse"].tolist(), rel=1e-5)
    assert found.exit_code == 0
    assert "mean/Avocado/mse" in found.summary
