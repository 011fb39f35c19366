from pathlib import Path

import pytest

from experiments.rooms import between_rooms, hidden, imports, main, plot_rooms, problems, shortest


def made(tmp_path: Path, **modules: str) -> dict[str, set[str]]:
    package = tmp_path / "avocado"
    for name, text in modules.items():
        file = package / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(text)
    return imports(package)


def test_imports_of_this_project_point_one_way(capsys):
    assert main([]) == 0
    assert "data " in capsys.readouterr().out


def test_a_circle_is_found_inside_functions_too(tmp_path):
    found = made(
        tmp_path,
        data__a="from avocado.data import b",
        data__b="def f():\n    from avocado.data.a import x\n    return x",
    )
    assert found["avocado.data.a"] == {"avocado.data.b"}
    (said,) = problems(found)
    assert said.startswith("a circle: ")
    assert said.count("avocado.data.") == 3


def test_an_own_module_is_not_imported_inside_a_function(tmp_path):
    text = "def f():\n    import torch\n    from avocado.data.b import x\n    return x"
    made(tmp_path, data__a=text, data__b="x = 1")
    assert hidden(tmp_path / "avocado") == ["avocado.data.a, line 3: avocado.data.b is imported inside a function"]


def test_a_room_below_may_not_import_one_above(tmp_path):
    found = made(tmp_path, data__store="import avocado.model.states", model__states="", model__network="x = 1")
    assert problems(found) == ["data imports model, which is not below it: avocado.data.store -> avocado.model.states"]
    assert list(between_rooms(found)) == [("data", "model")]


def test_a_new_room_needs_a_floor(tmp_path):
    found = made(tmp_path, attic__box="from avocado.data.store import Store", data__store="Store = 1")
    assert problems(found) == ["attic is on no floor: add it to FLOORS"]


@pytest.mark.parametrize("name", ["cli", "data"])
def test_the_drawing_has_the_rooms(name):
    figure = plot_rooms(between_rooms(imports()))
    assert name in [text.get_text() for text in figure.axes[0].texts]


def test_a_drawing_leaves_out_what_follows():
    assert shortest([("a", "b"), ("b", "c"), ("a", "c"), ("d", "c")]) == {("a", "b"), ("b", "c"), ("d", "c")}
