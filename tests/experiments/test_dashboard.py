"""The dashboard on W&B, as far as it can be checked without W&B: panels, requests, and what happens a second time."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import wandb
from toy import RUN, with_fit
from wandb_records import logged

from avocado.cli import app
from avocado.runs.run import train
from avocado.tracking.runs import tracked
from avocado.tracking.session import Tracking
from avocado.tracking.trials import TrialTracker
from avocado.utils.hardware import Hardware
from experiments import dashboard

# wandb-workspaces defines its panels in pydantic's older notation
pytestmark = [
    pytest.mark.usefixtures("wandb_home"),
    pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning"),
]
SEARCHED = ["model.cell_factors", "model.nodes"]
# where specifications name what runs have logged; metrics of the history and the summary, and settings
METRICS = ("metrics", "xAxis", "yAxis", "xaxis", "yaxis", "targetKey", "mediaKeys", "accessor", "groupBy")


def values_of(node, names):
    """All texts under keys of these names, anywhere in a specification."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in names:
                yield from [value] if isinstance(value, str) else [its for its in value or [] if isinstance(its, str)]
            yield from values_of(value, names)
    elif isinstance(node, list):
        for value in node:
            yield from values_of(value, names)


def run(*arguments):
    return app.run("dashboard", dashboard.dashboard, arguments)


@pytest.fixture
def specs(tmp_path):
    file = tmp_path / "spec.json"
    assert run("project=epigenome", "entity=lab", f"searched=[{','.join(SEARCHED)}]", f"out={file}") == 0
    return json.loads(file.read_text())


class Cloud:
    """W&B's GraphQL interface, as far as it is asked here: projects, and the views and reports in them."""

    def __init__(self):
        self.projects, self.views, self.asked = set(), {}, []

    def execute_graphql(self, query, variables=None, parse=None, **options):
        operation = re.search(r"(?:query|mutation) (\w+)", query)[1]
        self.asked.append(operation)
        answer = getattr(self, f"answer_{operation}")(variables)
        return answer if parse is None else parse(json.dumps(answer))

    def answer_GetDefaultEntity(self, variables):
        return {"viewer": {"id": "1", "entity": "lab"}}

    def answer_GetProjects(self, variables):
        rest = {"entityName": "lab", "createdAt": "2024", "isBenchmark": False, "user": None}
        nodes = [{"id": name, "name": name, **rest} for name in self.projects]
        return {"models": {"edges": [{"node": node, "cursor": "c"} for node in nodes],
                           "pageInfo": {"hasNextPage": False, "endCursor": None}}}  # fmt: skip

    def answer_CreateProject(self, variables):
        self.projects.add(variables["input"]["name"])
        return {}

    def answer_Views(self, variables):
        if variables["project"] not in self.projects:
            return {"project": None}
        found = [view for view in self.views.values() if view["type"] == variables["type"]]
        start = int(variables["after"] or 0)
        page = {"edges": [{"node": view} for view in found[start : start + 1]],
                "pageInfo": {"endCursor": str(start + 1), "hasNextPage": start + 1 < len(found)}}  # fmt: skip
        return {"project": {"allViews": page}}

    def answer_upsertView(self, variables):
        assert variables["projectName"] in self.projects
        id = variables.get("id") or f"view{len(self.views)}"
        known = id in self.views
        self.views[id] = {"id": id, **{key: variables[key] for key in ("name", "displayName", "type", "spec")}}
        project = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
        view = {
            **self.views[id],
            "description": variables["description"],
            "project": project,
            "updatedAt": "2024-01-01",
        }
        return {"upsertView": {"view": view, "inserted": not known}}

    answer_UpsertView2 = answer_upsertView


@pytest.fixture
def cloud(monkeypatch):
    cloud = Cloud()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    wandb.teardown()
    monkeypatch.setattr("wandb.sdk.wandb_login._verify_login", lambda *args, **options: None)
    monkeypatch.setattr("wandb.apis.public.service_api.ServiceApi.execute_graphql",
                        lambda service, *args, **options: cloud.execute_graphql(*args, **options))  # fmt: skip
    yield cloud
    wandb.teardown()


@pytest.fixture(scope="module")
def known(tiny_store, tmp_path_factory):
    """Names of what a pilot run and a trial have logged: history and summary, and settings."""
    runs = tmp_path_factory.mktemp("known") / "study"
    run = with_fit(replace(RUN, split=replace(RUN.split, validation=0.2)), epochs=1)
    offline = Tracking("offline")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(runs.parent / "home"))
        patch.delenv("WANDB_MODE", raising=False)
        wandb.teardown()
        with tracked(offline, run, tiny_store, runs, {"model": {"cell_factors": 3, "nodes": 8}}) as tracker:
            outcome = train(run, tiny_store, runs, hardware=Hardware("cpu"), progress=False, logger=tracker)
            tracker.report(outcome)
        trials = TrialTracker(offline, "widths", "sqlite:///study.db", tiny_store, runs / "sweep")
        with trials.trial(SimpleNamespace(number=0, datetime_start=0), run, {}):
            trials.log_costs({"parameters": 1, "flops": 1})
    metrics, settings, kinds = set(), set(), set()
    for found in (*logged(outcome.directory), *logged(runs / "sweep")):
        # a picture is several values, and none of our names has a dot
        metrics |= {key.partition(".")[0] for row in (found.summary, *found.history) for key in row}
        settings |= set(found.config)
        kinds.add(found.run.job_type)
    assert kinds == {"pilot", "trial"}
    return metrics, settings


@pytest.mark.parametrize("part", ["view", "report"])
def test_panels_show_what_runs_log(specs, known, part):
    metrics, settings = known
    named = set(values_of(specs[part], METRICS)) - {"_step"}
    shown = {name.removeprefix("summary:") for name in named if not name.startswith("config:") and ".value" not in name}
    grouped = {name.removeprefix("config:").removesuffix(".value") for name in named if name.endswith(".value")}
    assert shown - metrics == set()
    assert grouped - settings == set()
    # what a user wants first is there
    assert {"bins", "val/mse", "train/mse", "mean/Avocado/skill", "bins_per_second", "memory/peak_gib",
            "cost/parameters", "cost/flops", "pictures/tracks", "pictures/factors"} <= shown  # fmt: skip
    assert grouped == {"fold", *SEARCHED}
    assert '"scores"' in json.dumps(specs[part])  # the table of tracks


def test_chapters_are_of_job_types(specs):
    grids = [block for block in specs["report"]["blocks"] if block["type"] == "panel-grid"]
    filters = [json.dumps(grid["metadata"]["runSets"][0]["filters"]) for grid in grids]
    assert [re.findall(r'"(pilot|joint|genome|trial)"', its) for its in filters] == [
        ["pilot", "joint"], ["pilot", "joint"], ["genome"], ["trial"], [],
    ]  # fmt: skip
    assert all("jobType" in its for its in filters[:4])
    (runs,) = specs["view"]["section"]["runSets"]
    assert [its["name"] for its in runs["grouping"]] == ["jobType", "group"]


def test_panels_do_not_overlap(specs):
    for block in specs["report"]["blocks"]:
        if block["type"] != "panel-grid":
            continue
        taken = set()
        for panel in block["metadata"]["panelBankSectionConfig"]["panels"]:
            its = panel["layout"]
            cells = {(x, y) for x in range(its["x"], its["x"] + its["w"]) for y in range(its["y"], its["y"] + its["h"])}
            assert not cells & taken
            assert its["x"] + its["w"] <= 24
            taken |= cells


def test_sweeps_show_the_seven_by_default(tmp_path):
    assert run(f"out={tmp_path}/spec.json") == 0
    columns = [name for name in values_of(json.loads((tmp_path / "spec.json").read_text())["view"], ["accessor"])]
    assert len([name for name in columns if re.fullmatch(r"config:model\.\w+\.value", name)]) == 7
    assert columns[-1] == "summary:val/mse"


def without_ids(spec):
    """A specification without the names that panels get by chance."""
    return re.sub(r'"(__id__|id|i)": "\w*"', "", json.dumps(spec))


def test_what_is_sent_is_what_is_written(cloud, specs, capsys):
    assert run("project=epigenome", f"searched=[{','.join(SEARCHED)}]") == 0
    view, report = (
        next(its for its in cloud.views.values() if its["type"] == kind) for kind in ("project-view", "runs")
    )
    assert (view["displayName"], report["displayName"]) == ("avocado", "avocado")
    for sent, written in ((view, specs["view"]), (report, specs["report"])):
        assert without_ids(json.loads(sent["spec"])) == without_ids(written)
    assert cloud.projects == {"epigenome"}
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"https://[^/]+", "", line) for line in lines] == [
        f"report  /lab/epigenome/reports/avocado--{report['id']}", f"view    /lab/epigenome?nw={view['name'][3:-2]}",
    ]  # fmt: skip


def test_a_second_time_brings_up_to_date(cloud):
    # others' views and reports, on the pages before ours
    cloud.projects.add("epigenome")
    for kind in ("project-view", "runs"):
        cloud.views[kind] = {"id": kind, "name": "x", "displayName": "somebody's", "type": kind, "spec": "{}"}
    assert run("project=epigenome") == 0
    first = {id: dict(view) for id, view in cloud.views.items()}
    assert len(first) == 4
    assert run("project=epigenome", "searched=[optimizer.learning_rate]") == 0
    assert set(cloud.views) == set(first)
    for id, view in cloud.views.items():
        if id in ("project-view", "runs"):
            assert view == first[id]
        else:
            assert ("model.nodes" in first[id]["spec"], "optimizer.learning_rate" in first[id]["spec"]) == (True, False)
            assert ("model.nodes" in view["spec"], "optimizer.learning_rate" in view["spec"]) == (False, True)
    addresses = [
        [view["name"] for view in views.values() if (view["type"], view["displayName"]) == ("project-view", "avocado")]
        for views in (first, cloud.views)
    ]
    assert addresses[0] == addresses[1]
    # another title is another pair
    assert run("project=epigenome", "title=mine") == 0
    assert len(cloud.views) == 6


def said(capsys, *arguments):
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_without_a_login(capsys):
    wandb.teardown()
    assert "`wandb login` first, or out=FILE.json" in said(capsys)
    assert "`wandb login` first" in said(capsys, "entity=lab")


def test_refusals(cloud, capsys, tmp_path, monkeypatch):
    def refused(variables):
        raise RuntimeError("permission denied\nand more")

    monkeypatch.setattr(cloud, "answer_upsertView", refused)
    line = said(capsys, "project=epigenome", "entity=lab")
    assert "W&B did not take the dashboard (permission denied): check entity=" in line
    (tmp_path / "file").write_text("")
    assert "cannot write" in said(capsys, f"out={tmp_path}/file/spec.json")
    assert "expected names" in said(capsys, "project=''")


def test_without_the_extra(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "experiments.wandb_panels", raising=False)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2.interface", None)
    assert "pip install" in said(capsys)
