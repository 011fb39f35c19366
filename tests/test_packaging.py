"""Recipes of packaging/ say what pyproject.toml says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

import avocado

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}  # what conda-forge calls otherwise


def split(requirement: str) -> tuple[str, frozenset[str]]:
    """Name and bounds of a requirement, of pip or of conda."""
    found = re.fullmatch(r"([\w.-]+)(?:\[\w+\])?\s*(.*)", requirement)
    assert found
    name = found[1].lower()
    return CONDA.get(name, name), frozenset(part for part in found[2].replace(" ", "").split(",") if part)


def test_the_conda_recipe_has_the_dependencies_of_pyproject():
    recipe = yaml.safe_load((REPOSITORY / "packaging" / "recipe.yaml").read_text())
    run = dict(map(split, recipe["requirements"]["run"]))
    assert run.pop("aiohttp") == frozenset()  # fsspec[http]
    assert run.pop("python") == split(f"python{PROJECT['requires-python']}")[1]
    assert run == dict(map(split, PROJECT["dependencies"]))
    assert recipe["package"] == {"name": PROJECT["name"], "version": avocado.__version__}
    command, _, target = recipe["build"]["python"]["entry_points"][0].partition(" = ")
    assert PROJECT["scripts"] == {command: target}
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["build-system"]["requires"]
    assert set(map(split, build)) <= set(map(split, recipe["requirements"]["host"]))


def test_containers_and_environment_install_the_same_extras_and_need_no_root():
    texts = {
        name: (REPOSITORY / "packaging" / name).read_text() for name in ("Dockerfile", "avocado.def", "environment.yml")
    }
    extras = {name: re.findall(r"(?:EXTRAS=\"|\[)([a-z]+(?:,[a-z]+)+)", text) for name, text in texts.items()}
    assert {tuple(found) for found in extras.values()} == {("launch,latent,browser",)}
    assert {"launch", "latent", "browser"} <= set(PROJECT["optional-dependencies"])
    lines = texts["Dockerfile"].splitlines()
    assert lines.index("USER avocado") < next(i for i, line in enumerate(lines) if line.startswith("ENTRYPOINT"))
    for line in lines:  # nothing is copied that is not in the checkout
        if line.startswith("COPY ") and "--from" not in line:
            assert all((REPOSITORY / name).exists() for name in line.split()[1:-1])
