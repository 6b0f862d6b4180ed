from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("models", "spaces", "search")
MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
)


def imported(module: str) -> Iterator[str]:
    """Full names of all that a module imports, wherever the statement stands."""
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(package: str) -> set[str]:
    """Modules that import a package or something in it."""
    return {
        module
        for module in MODULES
        if any(name.split(".")[0] == package for name in imported(module))
    }


def test_the_three_packages_are_found() -> None:
    assert {module.split("/")[0] for module in MODULES} == set(PACKAGES)
    assert {"models/lstm.py", "spaces/space.py", "search/engines/local.py"} <= set(MODULES)


@pytest.mark.parametrize(
    "package, not_in",
    [("search", "models"), ("spaces", "models"), ("search", "spaces")],
)
def test_imports_point_one_way(package: str, not_in: str) -> None:
    assert {m for m in importers(package) if m.startswith(f"{not_in}/")} == set()


@pytest.mark.parametrize(
    "library, places",
    [
        ("mlflow", {"search/tracking.py"}),
        ("tensorflow", {"models/backend.py"}),
        (
            "keras",
            {"models/backend.py", "models/lstm.py", "models/training.py", "search/export.py"},
        ),
        ("hyperopt", {"search/proposer.py", "spaces/dimension.py"}),
        ("matplotlib", {"search/report.py"}),
        (
            "scipy",
            {
                "models/baselines.py",
                "search/confirm.py",
                "search/cost.py",
                "search/proposer.py",
                "search/tpe.py",
            },
        ),
        ("rich", {"search/commands.py", "search/display.py", "search/launch.py"}),
    ],
)
def test_a_heavy_library_is_imported_in_few_places(library: str, places: set[str]) -> None:
    assert importers(library) <= places and importers(library)


@pytest.mark.parametrize(
    "side",
    ["models/config.py", "models/size.py", "models/errors.py", "search/cli.py", "search/trial.py"],
)
def test_light_modules_import_no_library(side: str) -> None:
    libraries = {"numpy", "yaml", "rich", "scipy", "hyperopt", "mlflow", "keras", "matplotlib"}
    found = {name.split(".")[0] for name in imported(side)} & libraries
    assert found <= ({"yaml"} if side == "models/errors.py" else set())


@pytest.mark.parametrize("module", MODULES)
def test_every_module_begins_with_its_docstring(module: str) -> None:
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
