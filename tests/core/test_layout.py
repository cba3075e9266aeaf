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
    ["__main__"],
    ["cli"],
    ["_command_line"],
    ["demo", "tuning", "_statistics"],
    ["loader", "io", "utils", "compat"],
    ["_loading"],
    ["_elements"],
    ["collection", "testing"],
    ["_anndata"],
    ["abc"],
    ["_arrays"],
    ["batch", "_remote"],
    ["samplers", "transforms", "tokens", "_format"],
    ["_plan"],
    ["_kernels"],
    ["_runtime", "types", "_sizes", "_arguments", "_progress"],
    ["_plot"],
    ["errors", "_display", "_warn"],
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
    ["_resources", "_array_format"],
]


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
            if here[1] == there[1] == "collection" and "." in name and "." in target:
                inner = [floor(one.partition(".")[2], COLLECTION_FLOORS) for one in (name, target)]
                allowed = inner[0][0] < inner[1][0] or inner[0][1] == inner[1][1]
            if not allowed:
                wrong.append(f"{name} imports {target}")
    return sorted(wrong)


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Return modules that import each other in a circle, or nothing."""
    remaining = set(edges)
    while True:
        imported = {target for name in remaining for target in edges[name] & remaining}
        kept = {name for name in imported if edges[name] & remaining}
        if kept == remaining:
            return sorted(remaining)
        remaining = kept


@pytest.fixture(scope="module")
def edges(repository: Path) -> dict[str, set[str]]:  # the wheel has the same modules
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


def test_an_upward_import_is_found(tmp_path):
    (tmp_path / "_plan").mkdir()
    (tmp_path / "_plan" / "__init__.py").touch()
    (tmp_path / "loader.py").touch()
    (tmp_path / "_plan" / "pieces.py").write_text("def late():\n    from ..loader import Loader\n    return Loader\n")
    named = modules(tmp_path)

    assert upward({name: imports(name, path, set(named)) for name, path in named.items() if name}) == [
        "_plan.pieces imports loader"
    ]


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == ["b", "c"]


def test_compiled_code_stands_with_the_kernels():
    decorated = {
        name.partition(".")[0]
        for name, path in modules(PACKAGE).items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and any("njit" in ast.unparse(one) or "intrinsic" in ast.unparse(one) for one in node.decorator_list)
    }

    assert decorated == {"_kernels"}


def test_adapters_import_public_modules_only(repository):
    imported = set()
    for path in (repository / "adapters").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}

    assert {name for name in imported if name.startswith("annbatch.") and "._" in name} == set()
    assert any(name.startswith("annbatch.abc.") for name in imported)


def test_no_file_is_too_long_to_read_in_one_sitting(repository):
    sources = [*(repository / "annbatch").rglob("*.py"), *(repository / "adapters").rglob("*.py")]

    assert [str(path) for path in sources if len(path.read_text().splitlines()) > 400] == []


# Tests of a stage as a whole; every other file of tests is named for the module that it tests.
WHOLE_STAGES = {
    "_anndata/test_mudata", "_arrays/test_conformance", "_elements/test_elements", "_elements/test_csr_selected_damage",
    "_loading/test_keys", "collection/_inputs/test_exact", "collection/_resources/test_memory",
    "collection/_runs/test_killed", "collection/_writing/test_disk", "loader/test_errors", "loader/test_loader",
    "loader/test_close", "loader/test_epochs", "loader/test_memory",
    "loader/test_real_data", "loader/test_rows", "loader/test_setups", "loader/test_pickles", "loader/test_processes",
    "loader/test_arguments",
    "testing/test_testing", "test_exports", "test_import", "test_large", "test_layout", "test_readme",
    "test_typing", "collection/test_errors",
}  # fmt: skip


def test_tests_mirror_the_package():
    here = Path(__file__).parent
    tests = {path.relative_to(here).with_suffix("").as_posix() for path in here.rglob("test_*.py")}
    known = set(modules(PACKAGE))

    def is_mirrored(test: str) -> bool:
        folder, _, name = test.rpartition("/")
        module = name.removeprefix("test_")
        prefix = folder.replace("/", ".") + "." if folder else ""
        return f"{prefix}{module}" in known or f"{prefix}_{module}" in known

    assert {test for test in tests if not is_mirrored(test)} == WHOLE_STAGES
