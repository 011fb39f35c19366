"""Every config file composes, builds what it configures, and is explained by --help."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from avocado.cli import VERBS, app
from avocado.config import values
from avocado.config.values import build, config_directory
from avocado.model.config import ModelConfig
from avocado.search.space import read_space
from avocado.training.config import FitConfig, OptimizerConfig

REPOSITORY = Path(__file__).resolve().parents[2]
CONF = REPOSITORY / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
COMMANDS = sorted(path.stem for path in CONF.glob("*.yaml"))
OPTIONS = sorted((path.parent.relative_to(CONF).as_posix(), path.stem) for path in FILES if path.parent != CONF)


# of groups that are not train's
OWNERS = {"sweep": "sweep"}


def composed(command: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(command, list(overrides))


def leaves(node: object, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return [prefix.rstrip(".")]
    return [leaf for key, value in node.items() for leaf in leaves(value, f"{prefix}{key}.")]


def test_every_verb_has_a_config_and_every_config_a_command():
    assert set(VERBS) <= set(COMMANDS)
    for command in set(COMMANDS) - set(VERBS):
        module = re.match(r"# python -m ([\w.]+)", (CONF / f"{command}.yaml").read_text())
        assert module, f"{command}.yaml belongs to no command"
        assert (REPOSITORY / module[1].replace(".", "/")).with_suffix(".py").is_file(), module[1]


def test_every_file_is_a_command_or_an_option_of_a_group_of_its_command():
    groups = {group for group, _ in OPTIONS}
    for command in {"train", *OWNERS.values()}:
        text = (CONF / f"{command}.yaml").read_text()
        its = {group for group in groups if OWNERS.get(group, "train") == command}
        assert set(re.findall(r"^  - (\w+): \w+", text, re.MULTILINE)) == its
    assert len(COMMANDS) + len(OPTIONS) == len(FILES)
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
    text = app.help_text(verb)
    explained = dict(re.findall(r"^  ([\w.]+)=.*?(?:  |\n {30,})(\S.*)$", text, re.MULTILINE))
    keys = leaves(yaml.safe_load((CONF / f"{verb}.yaml").read_text()))
    keys = [key for key in keys if not key.startswith(("defaults", "hydra"))]
    defaults = yaml.safe_load((CONF / f"{verb}.yaml").read_text())["defaults"]
    if verb == "ablation" or any(group in dict(OPTIONS) for entry in defaults if isinstance(entry, dict)
                                       for group in entry):  # fmt: skip
        config = OmegaConf.to_container(composed(verb))
        assert isinstance(config, dict)
        keys = leaves(config)
    assert keys
    assert [key for key in keys if not explained.get(key)] == []
    assert set(explained) == set(keys)


def test_help_explains_what_scores_mean():
    text = app.help_text("score")
    assert all(word in text for word in ("MSE1obs:", "MSE1imp:", "skill:", "'raw'"))


def test_help_lists_the_options_of_every_group():
    for group, option in OPTIONS:
        text = app.help_text(OWNERS.get(group, "train"))
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
