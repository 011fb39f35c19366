"""What a project's view and report on W&B show: the panels, by the names of what `avocado.tracking.session` logs.

Nothing is sent from here: `experiments.dashboard` does that. W&B's interface is in wandb-workspaces, an extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import wandb_workspaces.reports.v2.interface as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from avocado.tracking.runs import PICTURES, SCORES
from avocado.tracking.session import COST, TRIAL

BINS = "bins"
VALIDATION, TRAINING = "val/mse", "train/mse"
SPEED, MEMORY, EXPECTED = "bins_per_second", "memory/peak_gib", "memory/predicted_gib"
SKILL, MSE, PEARSON = (f"mean/Avocado/{name}" for name in ("skill", "mse", "pearson"))
AVERAGE_MSE = "mean/average_activity/mse"
JOBS = "JobType"  # stage of a training run, or trial
SHOWN = 100  # runs of a panel
COLUMNS = 24  # width of a report's grid


class _Setting(wr.ParallelCoordinatesPlotColumn):
    """A column of a setting such as model.nodes, whose name is one key and no path, which W&B would take it for."""

    def _to_model(self) -> Any:
        model = super()._to_model()
        assert isinstance(self.metric, wr.Config)
        model.accessor = f"config:{self.metric.name}.value"
        return model


def workspace(entity: str, project: str, title: str, searched: Sequence[str]) -> ws.Workspace:
    """The saved view of a project: curves, skill, held-out tracks, pictures, trials of sweeps, speed and memory.

    searched: settings that sweeps search, such as model.nodes.
    """
    sections = {
        "Curves": _curves(), "Skill over average activity": _skill(), "Held-out tracks": _tracks(),
        "Pictures": _pictures(), "Trials of sweeps": _trials(searched), "Speed and memory": _costs(),
    }  # fmt: skip
    return ws.Workspace(
        entity=entity,
        project=project,
        name=title,
        sections=[
            ws.Section(
                name=name,
                panels=panels,
                is_open=True,
                layout_settings=ws.SectionLayoutSettings(columns=2, rows=2),
                panel_settings=ws.SectionPanelSettings(x_axis=BINS),
            )
            for name, panels in sections.items()
        ],
        settings=ws.WorkspaceSettings(x_axis=BINS, max_runs=SHOWN),
        runset_settings=ws.RunsetSettings(
            groupby=[expr.Metric(JOBS), expr.Metric("Group")],
            pinned_columns=[f"summary:{name}" for name in (VALIDATION, SKILL)],
        ),
    )


def report(entity: str, project: str, title: str, searched: Sequence[str]) -> wr.Report:
    """A report with a chapter each on pilot (and joint) runs, genome runs, and trials of sweeps."""
    blocks: list[Any] = [
        wr.TableOfContents(),
        wr.H1("Pilot runs"),
        wr.P("Everything is trained on the pilot regions, or on one chromosome (joint). Lower MSE is better."),
        _grid("pilot and joint", ["pilot", "joint"], [*_curves(), *_skill()]),
        wr.H2("Held-out tracks"),
        wr.P(
            "No method has seen these tracks. Skill is 1 − MSE / MSE of average activity: 1 is perfect, 0 as good as "
            "average activity, which knows nothing of the cell type."
        ),
        _grid("pilot and joint", ["pilot", "joint"], [*_tracks(), *_pictures()]),
        wr.H1("Genome runs"),
        wr.P("Factors of one chromosome each, with the network of the pilot run that pilot.run names."),
        _grid("genome", ["genome"], [*_curves(), *_skill(), *_tracks(), *_pictures(genome=True)]),
        wr.H1("Trials of sweeps"),
        wr.P("MSE is that of validation tracks, at the end of training; held-out tracks are not touched."),
        _grid("trials", [TRIAL], [*_trials(searched), *_curves()]),
        wr.H1("Speed and memory"),
        _grid("all runs", [], _costs()),
    ]
    return wr.Report(
        entity=entity, project=project, title=title, blocks=blocks, width="fluid",
        description="Training runs, held-out scores and sweeps of avocado; made by experiments.dashboard.",
    )  # fmt: skip


def _grid(name: str, kinds: list[str], panels: list[Any]) -> wr.PanelGrid:
    """Panels of the runs of some job types, of all where none is given; two in a row, tables and pictures alone."""
    x = y = 0
    for panel in panels:
        wide = isinstance(panel, wr.WeavePanelSummaryTable | wr.MediaBrowser | wr.ParallelCoordinatesPlot)
        width, height = (COLUMNS, 12) if wide else (COLUMNS // 2, 8)
        if x + width > COLUMNS:
            x, y = 0, y + 12
        panel.layout = wr.Layout(x=x, y=y, w=width, h=height)
        x += width
    filters = expr.And(expr.Metric(JOBS).isin(kinds)) if kinds else ""
    return wr.PanelGrid(runsets=[wr.Runset(name=name, filters=filters)], panels=panels)


def _over_bins(title: str, metric: str) -> wr.LinePlot:
    return wr.LinePlot(title=title, x=BINS, y=[metric], title_x="bins seen", max_runs_to_show=SHOWN)


def _curves() -> list[Any]:
    return [_over_bins("MSE of validation tracks", VALIDATION), _over_bins("MSE of training tracks", TRAINING)]


def _skill() -> list[Any]:
    return [
        wr.BarPlot(title="Skill by run", metrics=[SKILL], max_runs_to_show=SHOWN),
        wr.BarPlot(title="Skill by fold", metrics=[SKILL], groupby=wr.Config("fold"), groupby_aggfunc="mean",
                   groupby_rangefunc="minmax"),
        wr.ScatterPlot(title="MSE against that of average activity", x=wr.SummaryMetric(AVERAGE_MSE),
                       y=wr.SummaryMetric(MSE)),
        wr.BarPlot(title="Pearson correlation by run", metrics=[PEARSON], max_runs_to_show=SHOWN),
    ]  # fmt: skip


def _tracks() -> list[Any]:
    return [wr.WeavePanelSummaryTable(table_name=SCORES)]


def _pictures(genome: bool = False) -> list[Any]:
    """One browser for each kind; genome runs learn no factors of cell types and assays."""
    titles = {
        "tracks": "Observed and imputed tracks",
        "scores": "Scores of every track",
        "factors": "Factors of cell types and assays",
        "curve": "Learning curves",
    }
    return [
        wr.MediaBrowser(title=title, media_keys=[f"{PICTURES}{name}"], num_columns=1)
        for name, title in titles.items()
        if not (genome and name == "factors")
    ]


def _trials(searched: Sequence[str]) -> list[Any]:
    mse = wr.SummaryMetric(VALIDATION)
    settings = [_Setting(metric=wr.Config(name), display_name=name.rpartition(".")[2]) for name in searched]
    return [
        wr.ParallelCoordinatesPlot(
            title="Settings and MSE",
            columns=[*settings, wr.ParallelCoordinatesPlotColumn(metric=mse, display_name="validation MSE")],
        ),
        wr.ParameterImportancePlot(with_respect_to=VALIDATION),
        wr.ScatterPlot(title="MSE against parameters", x=wr.SummaryMetric(f"{COST}parameters"), y=mse, log_x=True),
        wr.ScatterPlot(title="MSE against work per sample", x=wr.SummaryMetric(f"{COST}flops"), y=mse, log_x=True),
    ]


def _costs() -> list[Any]:
    return [
        _over_bins("Bins per second", SPEED),
        _over_bins("Memory (GiB)", MEMORY),
        wr.ScatterPlot(
            title="Memory: predicted and taken (GiB)", x=wr.SummaryMetric(EXPECTED), y=wr.SummaryMetric(MEMORY)
        ),
    ]
