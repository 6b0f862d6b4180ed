"""Imports point one way: between the folders, between the layers of each, and between files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: lowest first; "lstm_sweep" are the files of the package itself, which join the three
FOLDERS = ("models", "spaces", "search", "lstm_sweep")
#: the layers of each folder, lowest first; members of one layer do not import each other.
#: "" stands for the files at the top of a folder that are not named
LAYERS = {
    "models": [{"", "data"}, {"cpu"}, {"network"}, {"template", "bundle"}],
    "spaces": [{""}, {"template"}],
    "search": [
        {"process"},
        {"values"},
        {"policy"},
        {"engines", "store", "report"},
        {"driver"},
        {"actions"},
        {"service"},
        {"cli"},
    ],
    "lstm_sweep": [{""}],
}
#: members of one layer that may import each other
NEIGHBOURS = {"models": {"", "data"}}


def _paths(folder: str) -> list[Path]:
    top = ROOT / folder
    return sorted(top.glob("*.py") if folder == "lstm_sweep" else top.rglob("*.py"))


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for folder in FOLDERS
    for path in _paths(folder)
}


def imports(module: str) -> Iterator[str]:
    """Our own modules that a module imports, at its top or within a function."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (found(name) for name in names if f"{name}.".startswith("lstm_sweep."))


def found(name: str) -> str:
    """The module that a dotted name is, or is defined in."""
    parts = name.split(".")
    if len(parts) > 1 and parts[1] in FOLDERS:
        parts = parts[1:]
    for length in range(len(parts), 0, -1):
        for module in (".".join(parts[:length]), ".".join([*parts[:length], "__init__"])):
            if module in MODULES:
                return module
    raise AssertionError(f"{name} is none of our modules")


EDGES = {module: sorted(set(imports(module)) - {module}) for module in MODULES}
ALL_EDGES = [(module, other) for module, others in EDGES.items() for other in others]


def layer_of(module: str) -> int:
    """Index of a module's layer in its folder."""
    folder, part = module.split(".")[0], part_of(module)
    return next(index for index, layer in enumerate(LAYERS[folder]) if part in layer)


def part_of(module: str) -> str:
    """The name of a module's part in `LAYERS`."""
    folder, part = module.split(".")[:2]
    return part if any(part in layer for layer in LAYERS[folder]) else ""


def test_every_file_of_search_has_a_layer() -> None:
    unnamed = [name for name in MODULES if name.startswith("search.") and not part_of(name)]
    assert unnamed == ["search.__init__"]


def test_folders_import_one_way() -> None:
    rank = {folder: index for index, folder in enumerate(FOLDERS)}
    wrong = [
        f"{module} -> {other}"
        for module, other in ALL_EDGES
        if rank[other.split(".")[0]] > rank[module.split(".")[0]]
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", LAYERS)
def test_layers_import_one_way(folder: str) -> None:
    wrong = []
    for module, other in ALL_EDGES:
        if not (module.startswith(f"{folder}.") and other.startswith(f"{folder}.")):
            continue
        here, there = part_of(module), part_of(other)
        if here == there or {here, there} == NEIGHBOURS.get(folder):
            continue
        if layer_of(other) >= layer_of(module):
            wrong.append(f"{module} -> {other}")
    assert wrong == []


def test_no_two_files_import_each_other() -> None:
    assert [(one, two) for one, two in ALL_EDGES if one < two and one in EDGES[two]] == []


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(EDGES).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))
