"""The dashboard of a W&B project as code: its saved view, and a report.

    python -m experiments.dashboard project=avocado entity=my-lab

Makes both, or, where a view and a report of that title are there, brings them up to date; what was changed in them by
hand is then replaced. `out=FILE.json` writes what would be sent, and asks for no login. Panels are in `wandb_panels`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avocado.cli import app
from avocado.config.values import as_list, config_directory
from avocado.errors import InputError

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2.interface as wr
    import wandb_workspaces.workspaces as ws
    from omegaconf import DictConfig

VIEWS, REPORTS = "project-view", "runs"  # what W&B calls the two
QUERY = """
query Views($entity: String!, $project: String!, $type: String!, $after: String) {
    project(name: $project, entityName: $entity) {
        allViews(viewType: $type, first: 100, after: $after) {
            edges { node { id name displayName } }
            pageInfo { endCursor hasNextPage }
        }
    }
}
"""


def dashboard(config: DictConfig) -> None:
    """Send view and report to W&B and print where they are, or write them to a file."""
    try:
        from experiments.wandb_panels import report, workspace
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("wandb_workspaces"):
            raise
        raise InputError("a dashboard needs wandb-workspaces: pip install 'wandb-workspaces>=0.4.13,<0.5'") from None

    if not config.title or not config.project:
        raise InputError(f"title={config.title} project={config.project}: expected names")
    searched = as_list(config.searched) or searched_by("random7")
    entity = config.entity or ""
    if config.out is None:
        entity = entity or default_entity()
    view = workspace(entity, config.project, config.title, searched)
    text = report(entity, config.project, config.title, searched)
    if config.out is not None:
        write(Path(config.out), view, text)
        print(config.out)
        return
    for name, url in zip(("report", "view"), publish(view, text), strict=True):
        print(f"{name:<7} {url}")


def searched_by(sweep: str) -> list[str]:
    """Settings that a sweep of `conf/sweep` searches."""
    import yaml

    return list(yaml.safe_load((config_directory() / "sweep" / f"{sweep}.yaml").read_text())["space"])


def require_login() -> None:
    """Raise InputError where W&B knows no key; whether it is valid is seen when it is used."""
    import wandb

    wandb.setup(wandb.Settings(silent=True))  # what it would print is printed here
    if not wandb.login(prompt=False, verify=False):
        raise InputError("not logged in to W&B: `wandb login` first, or out=FILE.json writes the dashboard to a file")


def default_entity() -> str:
    """The user or team that W&B logs to by default. Raises InputError without a login, or without network."""
    import wandb

    require_login()
    try:
        entity = wandb.Api().default_entity
    except Exception as error:  # of many kinds, of network and login
        raise _unreachable(error) from None
    if not entity:
        raise InputError("this W&B account has no default entity: set entity=, your user or team")
    return entity


def publish(view: ws.Workspace, report: wr.Report) -> tuple[str, str]:
    """Save both in the place of those of the same title, if there are any; returns the addresses of report and view.

    Raises InputError without a login, or where W&B refuses or is not reached.
    """
    require_login()
    try:
        report.id = _found(view, REPORTS, report.title).get("id", "")
        report.save()  # makes the project, if need be
        found = _found(view, VIEWS, view.name)
        view._internal_id, view._internal_name = found.get("id", ""), found.get("name", "")
        view.save()
        return report.url, view.url
    except Exception as error:  # of many kinds, of network, login and permissions
        raise _unreachable(error) from None


def write(file: Path, view: ws.Workspace, report: wr.Report) -> None:
    """Write the specifications of both as JSON, as W&B gets them."""
    from avocado.utils.files import replacing

    specs = {
        name: json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))
        for name, model in (("view", view._to_model()), ("report", report._to_model()))
    }
    try:
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(specs, indent=1))
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}") from None


def _found(view: ws.Workspace, kind: str, title: str) -> dict[str, str]:
    """id, name and displayName of the view or report of that title in the project, or nothing."""
    import wandb
    from wandb_workspaces._graphql import execute_graphql

    after = None
    while True:
        variables = {"entity": view.entity, "project": view.project, "type": kind, "after": after}
        project: dict[str, Any] | None = execute_graphql(wandb.Api(), QUERY, variables).get("project")
        if project is None:  # there is none of that name yet
            return {}
        views = project["allViews"]
        for edge in views["edges"]:
            if edge["node"]["displayName"] == title:
                return edge["node"]
        if not views["pageInfo"]["hasNextPage"]:
            return {}
        after = views["pageInfo"]["endCursor"]


def _unreachable(error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"W&B did not take the dashboard ({reason}): check entity=, project=, the login and the network")


if __name__ == "__main__":
    sys.exit(app.run("dashboard", dashboard, sys.argv[1:]))
