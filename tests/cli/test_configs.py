"""Every config file composes, builds what it configures, and is explained by --help."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from avocado.cli import VERBS
from avocado.config import overrides as overrides_
from avocado.config import schema, values
from avocado.config.commands import COMMANDS as TYPED
from avocado.config.values import as_list, build, config_directory
from avocado.errors import InputError
from avocado.model.config import ModelConfig
from avocado.search.space import read_space
from avocado.simulation.compendium import DemoSettings
from avocado.tracking.config import Tracking
from avocado.training.config import FitConfig, OptimizerConfig
from avocado.utils.hardware import Hardware

REPOSITORY = Path(__file__).resolve().parents[2]
CONF = REPOSITORY / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
COMMANDS = sorted({path.stem for path in CONF.glob("*.yaml")} | set(TYPED))
OPTIONS = sorted((path.parent.relative_to(CONF).as_posix(), path.stem) for path in FILES if path.parent != CONF)


# of groups that are not train's
OWNERS = {"sweep": "sweep"}


def composed(command: str, *overrides: str) -> DictConfig:
    return overrides_.composed(command, list(overrides))


def leaves(node: object, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return [prefix.rstrip(".")]
    return [leaf for key, value in node.items() for leaf in leaves(value, f"{prefix}{key}.")]


def test_every_verb_has_a_config_and_every_config_a_command():
    assert set(VERBS) - {"sweep"} == set(TYPED)
    for command in set(COMMANDS) - set(VERBS):
        module = re.match(r"# python -m ([\w.]+)", (CONF / f"{command}.yaml").read_text())
        assert module, f"{command}.yaml belongs to no command"
        assert (REPOSITORY / module[1].replace(".", "/")).with_suffix(".py").is_file(), module[1]


def test_every_file_is_a_command_or_an_option_of_a_group_of_its_command():
    groups = {group for group, _ in OPTIONS}
    for command in {"train", *OWNERS.values()}:
        text = (CONF / f"{command}.yaml").read_text()
        assert set(schema.groups_of(command)) == set(re.findall(r"^  - (\w+): \w+", text, re.MULTILINE))
        its = {group for group in groups if OWNERS.get(group, "train") == command}
        assert set(re.findall(r"^  - (\w+): \w+", text, re.MULTILINE)) == its
    assert len(OPTIONS) >= 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONF).as_posix())
def test_every_file_starts_with_the_command_that_uses_it(path):
    lines = [line for line in path.read_text().splitlines() if line != "# @package _global_"]
    assert re.match(r"# (python train\.py|python -m experiments\.[\w.]+|avocado \w+)\b", lines[0]), lines[0]
    if path.parent == CONF and path.stem in VERBS and path.stem != "train":
        assert lines[0].startswith(f"# avocado {path.stem} ")
    elif path.parent != CONF and path.stem != "none":
        assert f"{path.parent.name}={path.stem}" in lines[0]
    # and says in a second line what it is
    assert re.match(r"# [A-Z].*[.:,?\w]$", lines[1]), lines[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command):
    assert leaves(OmegaConf.to_container(composed(command)))


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_builds(group, option):
    if group == "sweep":  # adds to the config of train, to be composed by itself
        node = composed("sweep", f"sweep={option}").sweep
        config = composed("train", *node.train)
        assert set(read_space(OmegaConf.to_container(node.space))) == set(node.space)
        assert all(OmegaConf.select(config, key) is not None for key in node.space)
    else:
        config = composed("train", f"{group}={option}")
    assert isinstance(build(ModelConfig, config.model, "model"), ModelConfig)
    assert isinstance(build(OptimizerConfig, config.optimizer, "optimizer"), OptimizerConfig)
    for epochs in config.epochs.values():
        assert isinstance(build(FitConfig, config.fit, "fit", epochs=epochs), FitConfig)


# experiments change keys of all groups; every imputer and launcher has settings of its own
@pytest.mark.parametrize(
    "group", sorted({group for group, _ in OPTIONS} - {"experiment", "debug", "imputer", "launcher"})
)
def test_options_of_a_group_have_the_same_keys(group):
    keys = {
        option: list(OmegaConf.to_container(composed(OWNERS.get(group, "train"), f"{group}={option}"))[group])
        for found, option in OPTIONS
        if found == group
    }
    assert len({tuple(value) for value in keys.values()}) == 1, keys


def test_every_imputer_has_a_name():
    names = {option: composed("train", f"imputer={option}").imputer.name for group, option in OPTIONS
             if group == "imputer"}  # fmt: skip
    assert set(names.values()) <= set(names)
    assert all(option == name or option == f"{name}_paper" for option, name in names.items())


def test_dataclasses_and_configs_have_the_same_keys():
    config = composed("train")
    assert set(config.model) == {field.name for field in fields(ModelConfig)}
    assert set(config.optimizer) == {field.name for field in fields(OptimizerConfig)}
    assert set(config.fit) | {"epochs"} == {field.name for field in fields(FitConfig)}


def test_defaults_of_a_config_are_those_of_the_dataclasses():
    config = composed("train")
    assert build(ModelConfig, config.model, "model") == ModelConfig()
    assert build(OptimizerConfig, config.optimizer, "optimizer") == OptimizerConfig()
    assert build(FitConfig, config.fit, "fit", epochs=1) == FitConfig(1)
    assert build(Hardware, {key: config.trainer[key] for key in vars(Hardware())}, "trainer") == Hardware()
    assert build(Tracking, config.logger, "logger") == Tracking()
    simulated = composed("simulate")
    for key in ("measured", "pilot", "lineages", "tree_depth", "enrichment_spread"):
        assert simulated[key] == getattr(DemoSettings(), key)
    assert tuple(simulated.read_depth) == DemoSettings().read_depth


@pytest.mark.parametrize("path", [path for path in FILES if path.parent != CONF and path.parent.name in
                                  ("model", "optimizer", "trainer", "logger", "stage", "imputer", "launcher")],
                         ids=lambda path: path.relative_to(CONF).as_posix())  # fmt: skip
def test_files_of_options_hold_only_what_differs(path):
    node = yaml.safe_load(path.read_text()) or {}
    base = [its for its in node.pop("defaults", []) if isinstance(its, str)]
    group = path.parent.name
    cls = schema.OPTIONS[group][base[0].removeprefix("/settings_")] if base else schema._sections()[group]
    defaults = {field.name: schema._default(field) for field in schema._settings(cls)}
    assert set(node) <= set(defaults)
    assert [key for key, value in node.items() if value == defaults[key]] == []


@pytest.mark.parametrize(
    ("verb", "typed", "message"),
    [
        ("train", "fit.batch_size=1.5", "fit.batch_size=1.5: expected a whole number"),
        ("train", "fit.min_steps=true", "fit.min_steps=true: expected a whole number, or null"),
        ("train", "fit.masked=null", "fit.masked=null: expected a number"),
        ("train", "model.factor_init=x", "model.factor_init=x: expected a number"),
        ("train", "trainer.progress=perhaps", "trainer.progress=perhaps: expected true or false"),
        ("train", "fit=3", "fit=3: expected fit.<key>=<value>"),
        ("train", "split=[1]", "split=[1]: expected split.<key>=<value>"),
        ("train", "model=tyni", "unknown model 'tyni'; there is: default, medium, paper, small, tiny"),
        ("train", "modle=tiny", "unknown key 'modle' (did you mean model"),
        ("train", "imputer.rank=3", "unknown key 'imputer.rank'; imputer=avocado has: name, models"),
        ("train", "~nothing", "unknown key 'nothing'"),
        ("impute", "workers=many", "workers=many: expected a whole number, or null"),
        ("impute", "modl=x", "unknown key 'modl' (did you mean model"),
        ("table1", "n_folds=few", "n_folds=few: expected a whole number"),
        ("table1", "data.min_cells=few", "data.min_cells=few: expected a whole number"),
        ("table1", "methds=x", "unknown key 'methds' (did you mean methods"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(verb, typed, message):
    with pytest.raises(InputError) as caught:
        overrides_.composed(verb, overrides_.read_arguments([typed], verb)[0])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("imputer", "key", "value"),
    [("predictd", "bins", "0.5"), ("predictd", "halvings", "true"), ("predictd", "max_steps", "null"),
     ("predictd", "cell_start", "one"), ("chromimpute", "bags", "1.5"), ("chromimpute", "average", "3.5"),
     ("ensemble", "rounds", "1.5"), ("similarity", "sharpness", "much"), ("regression", "features", "1.5"),
     ("avocado", "models", "two")],
)  # fmt: skip
def test_settings_of_imputers_have_types(imputer, key, value):
    with pytest.raises(InputError, match=rf"imputer\.{key}={value}: expected "):
        composed("train", f"imputer={imputer}", f"imputer.{key}={value}")


@pytest.mark.parametrize("typed", ["chr,x", "null", "1e3", "a, naive", "[b]", "1_000", "it's", "a:b", "x=y", "ü "])
@pytest.mark.parametrize(("verb", "key"), [("ingest", "regions"), ("impute", "cell"), ("train", "split.hold_out"),
                                           ("impute", "out"), ("train", "runs"), ("train", "chrom")])  # fmt: skip
def test_a_text_stays_what_is_typed(verb, key, typed):
    overrides, _ = overrides_.read_arguments([f"{key}={typed}"], verb)
    if "," in typed and key in ("out", "runs", "chrom"):  # several values, for -m
        with pytest.raises(InputError, match="has several values: add -m"):
            overrides_.require_options(verb, overrides, False)
        return
    assert OmegaConf.select(composed(verb, *overrides), key) == typed
    # and what Hydra reports of it can be typed again
    assert overrides_.read_arguments(overrides, verb)[0] == overrides


def test_names_are_taken_apart_where_they_are_not_known():
    assert as_list("a, naive") == as_list("[a,naive]") == as_list("['a', \"naive\"]") == ["a", "naive"]
    assert as_list("a, naive", ["a, naive"]) == ["a, naive"]
    assert as_list("null") == as_list(None) == []
    assert as_list("null", ["null"]) == ["null"]
    assert as_list("[b]", ["[b]"]) == ["[b]"]
    assert as_list("['a, naive','b=c']") == ["a, naive", "b=c"]
    assert as_list("chr20:1,000,000-1,200,000,chr21") == ["chr20:1,000,000-1,200,000", "chr21"]


def test_experiment_paper_is_the_original_program():
    config = composed("train", "experiment=paper")
    model = build(ModelConfig, config.model, "model")
    assert asdict(model) == {
        "cell_factors": 32,
        "assay_factors": 256,
        "factors_25bp": 25,
        "factors_250bp": 40,
        "factors_5kbp": 45,
        "layers": 2,
        "nodes": 2048,
        "dropout": 0,
        "factor_init": 0.05,
        "kind": "paper",
        "encoder_nodes": 32,
        "baseline": "none",
        "baseline_features": None,
    }
    assert model.inputs == 398
    optimizer = build(OptimizerConfig, config.optimizer, "optimizer")
    assert (optimizer.learning_rate, optimizer.genome_learning_rate) == (0.001, 0.001)
    assert (optimizer.beta1, optimizer.beta2, optimizer.eps) == (0.9, 0.999, 1e-7)
    assert (optimizer.weight_decay, optimizer.genome_weight_decay) == (0, 0)
    assert optimizer.genome_optimizer == "dense"
    assert optimizer.schedule == "constant"
    assert [optimizer.factor(step, 100) for step in (0, 50, 99)] == [1, 1, 1]
    assert (config.epochs.pilot, config.epochs.genome) == (800, 200)
    assert (config.fit.batch_size, config.fit.sampling) == (40_000, "sequential")


def test_debug_smoke_is_one_epoch_of_the_tiny_model_in_its_own_folder():
    config = composed("train", "debug=smoke")
    assert config.model == composed("train", "model=tiny").model
    assert set(config.epochs.values()) == {1}
    assert config.runs == "runs/smoke"


def test_a_key_on_the_command_line_beats_an_experiment():
    config = composed("train", "experiment=paper", "epochs.pilot=3", "model.nodes=64", "debug=smoke")
    assert config.epochs.pilot == 3
    assert config.model.nodes == 64


def test_no_interpolation_is_left_dangling(monkeypatch):
    monkeypatch.delenv("AVOCADO_ROADMAP_PILOT", raising=False)
    for command in COMMANDS:
        OmegaConf.to_container(composed(command), resolve=True)
    for group, option in OPTIONS:
        OmegaConf.to_container(composed(OWNERS.get(group, "train"), f"{group}={option}"), resolve=True)


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_explains_every_key(verb):
    text = schema.help_text(verb)
    explained = dict(re.findall(r"^  ([\w.]+)=.*?(?:  |\n {30,})(\S.*)$", text, re.MULTILINE))
    config = OmegaConf.to_container(composed(verb))
    assert isinstance(config, dict)
    keys = [key for key in leaves(config) if key not in ("experiment", "debug")]
    assert keys
    assert [key for key in keys if not explained.get(key)] == []
    assert set(explained) == set(keys)


def test_help_explains_what_scores_mean():
    text = schema.help_text("score")
    assert all(word in text for word in ("MSE1obs:", "MSE1imp:", "skill:", "'raw'"))


def test_help_lists_the_options_of_every_group():
    for group, option in OPTIONS:
        text = schema.help_text(OWNERS.get(group, "train"))
        (line,) = re.findall(rf"^{group}=\w+: (.*)$", text, re.MULTILINE)
        assert re.search(rf"\b{option}\b", line.rpartition("(")[2]), (group, option)


# --- the package -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def test_conf_travels_in_the_wheel(project):
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {"conf": "avocado/conf"}
    assert project["project"]["scripts"] == {"avocado": "avocado.cli:main"}


def test_an_installed_package_finds_its_configs(tmp_path, monkeypatch):
    monkeypatch.setattr(values, "__file__", str(tmp_path / "avocado" / "config" / "values.py"))
    (tmp_path / "avocado" / "conf").mkdir(parents=True)
    assert config_directory() == tmp_path / "avocado" / "conf"


def test_dependencies(project):
    named = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    ranges = {}
    for requirement in (requirement for group in named for requirement in group):
        if requirement.startswith(project["project"]["name"]):  # an extra that another one has in it
            continue
        name, limits = re.fullmatch(r"([\w-]+)(?:\[[\w,]+\])?(.*)", requirement).groups()
        ranges[name] = limits
    assert "lightning" not in ranges
    # 2.6.2 and 2.6.3 of pytorch-lightning were malicious
    assert ranges["pytorch-lightning"] == ">=2.6.4,<2.7"
    assert ranges["torch"] == ">=2.6,<2.14"
    assert all(limits.startswith(">=") for limits in ranges.values()), ranges
