"""The layout of the package: imports run downwards, tests mirror modules, compiled code has one home."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

import annbatch

PACKAGE = Path(annbatch.__file__).parent
# From top to bottom. A module imports from its own folder and from floors below its own.
FLOORS = [
    ["cli"],
    ["demo", "tuning"],
    ["loader"],
    ["_loading"],
    ["_elements"],
    ["_anndata", "collection", "testing"],
    ["abc"],
    ["_arrays"],
    ["batch", "_remote"],
    ["samplers", "transforms", "_format"],
    ["_plan"],
    ["_kernels"],
    ["_runtime", "types", "errors", "_sizes"],
]
COLLECTION_FLOORS = [
    ["dataset_collection"],
    ["_runs"],
    ["_state"],
    ["_writing"],
    ["_shuffle"],
    ["_schema"],
    ["_inputs"],
    ["_blocks"],
    ["_resources", "_format"],
]
ABOVE_CONVERSION = {"_loading", "_elements", "_anndata"}


def modules(package: Path) -> dict[str, Path]:
    """Return the source file of each module, by its name within ``annbatch``; a folder's ``__init__`` has its name."""
    names = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(name: str, path: Path, known: set[str]) -> set[str]:
    """Return the modules of the package that one imports anywhere: deferred and type-only imports count."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        targets = []
        if isinstance(node, ast.Import):
            targets = [
                alias.name.removeprefix("annbatch.") for alias in node.names if alias.name.startswith("annbatch")
            ]
        elif isinstance(node, ast.ImportFrom):
            dotted = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(dotted, f"annbatch.{package}".rstrip(".")) if node.level else dotted
            if base.partition(".")[0] == "annbatch":
                base = base.removeprefix("annbatch").removeprefix(".")
                targets = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
                targets = [target if target in known else base for target in targets]
        found |= {target for target in targets if target in known and target != name}
    return found


def floor(name: str, floors: list[list[str]]) -> tuple[int, str]:
    """Return the number of a module's floor, counted from the top, and which room on it the module is in."""
    room = name.partition(".")[0]
    return next(number for number, rooms in enumerate(floors) if room in rooms), room


def upward(edges: dict[str, set[str]]) -> list[str]:
    """Return the imports that do not run downwards."""
    wrong = []
    for name, targets in edges.items():
        for target in targets:
            here, there = floor(name, FLOORS), floor(target, FLOORS)
            allowed = here[0] < there[0] or here[1] == there[1]
            if here[1] == "collection" and there[1] in ABOVE_CONVERSION:
                allowed = False
            if here[1] == there[1] == "collection" and "." in name and "." in target:
                inner = [floor(one.partition(".")[2], COLLECTION_FLOORS) for one in (name, target)]
                allowed = inner[0][0] < inner[1][0] or inner[0][1] == inner[1][1]
            if not allowed:
                wrong.append(f"{name} imports {target}")
    return sorted(wrong)


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Return modules that import each other in a circle, or nothing."""
    remaining = {name: set(targets) for name, targets in edges.items()}
    while free := [name for name, targets in remaining.items() if not targets & remaining.keys()]:
        for name in free:
            del remaining[name]
    return sorted(remaining)


@pytest.fixture(scope="module")
def edges() -> dict[str, set[str]]:
    named = modules(PACKAGE)
    # The package's own __init__ exports lazily what users name; it stands above everything and imports no stage.
    return {name: imports(name, path, set(named)) - {""} for name, path in named.items() if name}


def test_every_module_has_a_floor(edges):
    for name in edges:
        floor(name, FLOORS)


def test_imports_run_downwards(edges):
    assert upward(edges) == []


def test_no_modules_import_each_other_in_a_circle(edges):
    assert circle(edges) == []
