"""Which room imports which: a drawing of the architecture, and the rule that arrows point one way.

    python -m experiments.rooms [docs/rooms.png]

Read from the source, imports inside functions included. Fails, and says where, for modules that import each other in
circles, for a room that imports one above it, and for a module of the package that is imported inside a function: only
heavy libraries may wait there.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGE = Path(__file__).resolve().parents[1] / "avocado"
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
# from the ground up; rooms of one floor do not import each other
FLOORS = (
    ("errors",), ("utils",), ("data",), ("simulation", "model", "portals"), ("training", "inference"), ("latent",),
    ("imputers",), ("generalization",), ("evaluation",), ("downstream",), ("plotting",), ("report", "browser"),
    ("runs",), ("search",), ("tracking",), ("api",), ("config",), ("cli",),
)  # fmt: skip


def imports(package: Path = PACKAGE) -> dict[str, set[str]]:
    """The modules of the package that each of its modules imports, by dotted names."""
    files = _files(package)
    return {name: {its for its, _ in _imported(_tree(file), files)} - {name} for name, file in files.items()}


def _files(package: Path) -> dict[str, Path]:
    return {_name(file, package): file for file in sorted(package.rglob("*.py"))}


def _name(file: Path, package: Path) -> str:
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def _imported(tree: ast.AST, known: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
    """Known modules that a piece of code imports, each with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module in known:
            module = str(node.module)
            inner = [f"{module}.{alias.name}" for alias in node.names]
            yield from ((name if name in known else module, node.lineno) for name in inner)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names if alias.name in known)


def hidden(package: Path = PACKAGE) -> list[str]:
    """Imports of the package's own modules inside functions, a line each."""
    files = _files(package)
    found = {
        f"{name}, line {line}: {module} is imported inside a function": None
        for name, file in files.items()
        for function in ast.walk(_tree(file)) if isinstance(function, FUNCTIONS)
        for module, line in _imported(function, files)
    }  # fmt: skip
    return list(found)


def room_of(module: str) -> str:
    """The folder of a module, or the module itself where it lies in none; 'avocado' for the package."""
    return module.split(".")[1] if "." in module else module


def between_rooms(found: Mapping[str, set[str]]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """For each pair of rooms, the modules of which one imports the other. The package itself is no room."""
    edges: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for module, others in found.items():
        for other in sorted(others):
            rooms = room_of(module), room_of(other)
            if rooms[0] != rooms[1] and "avocado" not in rooms:
                edges.setdefault(rooms, []).append((module, other))
    return edges


def problems(found: Mapping[str, set[str]]) -> list[str]:
    """What breaks the rule, a line each."""
    said = []
    modules = {name: {its for its in others if its != "avocado"} for name, others in found.items() if name != "avocado"}
    try:
        TopologicalSorter(modules).prepare()
    except CycleError as error:
        said.append(f"a circle: {' -> '.join(reversed(error.args[1]))}")
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    for (room, other), where in sorted(between_rooms(found).items()):
        missing = [name for name in (room, other) if name not in floor]
        if missing:
            said.append(f"{missing[0]} is on no floor: add it to FLOORS")
        elif floor[other] >= floor[room]:
            said.append(f"{room} imports {other}, which is not below it: {where[0][0]} -> {where[0][1]}")
    return said


def shortest(edges: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """The edges that no way over other rooms makes superfluous: what a drawing needs."""
    below: dict[str, set[str]] = {}
    for room, other in edges:
        below.setdefault(room, set()).add(other)

    def reached(room: str) -> set[str]:
        return below.get(room, set()).union(*(reached(other) for other in below.get(room, ())))

    return {
        (room, other)
        for room, others in below.items()
        for other in others
        if not any(other in reached(its) for its in others - {other})
    }


def plot_rooms(edges: Mapping[tuple[str, str], Sequence[tuple[str, str]]]) -> Figure:
    """Rooms on their floors, and an arrow from each to those that it imports, where no way leads over others."""
    from matplotlib.figure import Figure

    used = {room for pair in edges for room in pair}
    floors = [[room for room in rooms if room in used] for rooms in FLOORS]
    floors = [rooms for rooms in floors if rooms]
    # floors wind from left to right, so that arrows which pass a floor do not cross its rooms
    place = {
        room: ((number % 3) * 1.6 + index * 1.1, number * 0.8)
        for number, rooms in enumerate(floors)
        for index, room in enumerate(rooms)
    }
    figure = Figure(figsize=(7.5, 8.5), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for room, other in sorted(shortest(edges)):
        axes.annotate(
            "", place[other], place[room], zorder=1,
            arrowprops={
                "arrowstyle": "-|>", "color": "#0072b2", 
                "shrinkA": 16, "shrinkB": 20, "connectionstyle": "arc3,rad=0.08",
            },
        )  # fmt: skip
    for room, (x, y) in place.items():
        axes.text(
            x, y, room, ha="center", va="center", zorder=2, fontsize=10,
            bbox={"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": "#3b3b3b"},
        )  # fmt: skip
    axes.set_xlim(-0.8, 5.2)
    axes.set_ylim(-0.6, (len(floors) - 1) * 0.8 + 0.6)
    axes.set_axis_off()
    return figure


def main(arguments: Sequence[str]) -> int:
    """Print, draw, and return the exit status: 1 where the rule is broken."""
    if any(argument.startswith("-") for argument in arguments):
        print(__doc__)
        return 0
    found = imports()
    edges = between_rooms(found)
    for room in dict.fromkeys(room for rooms in FLOORS for room in rooms):
        below = [f"{other} ({len(where)})" for (its, other), where in sorted(edges.items()) if its == room]
        print(f"{room:<12}{', '.join(below)}")
    wrong = problems(found) + hidden()
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    if arguments:
        from avocado.plotting.plots import save_png

        save_png(plot_rooms(edges), Path(arguments[0]), dpi=120)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
