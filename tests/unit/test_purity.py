"""The core of the program neither prints nor exits, and leaves the state of the process alone."""

from __future__ import annotations

import ast

import pytest

from tests.unit.syntax import MODULES, calls, imported, nodes

#: calls that are a command's or a program's own; `os.environ.get` and the like only read
EFFECTS = {
    "print", "sys.exit", "exit", "os._exit", "signal.signal", "os.chdir", "os.dup2", "os.umask",
    "os.putenv", "os.unsetenv",
    *(f"os.environ.{name}" for name in ("update", "pop", "popitem", "setdefault", "clear")),
}  # fmt: skip
STREAMS = {"sys.stdin", "sys.stdout", "sys.stderr"}


def effects(module: str) -> set[str]:
    """What a module does that is a command's or a program's own: prints, exits, global state."""
    found = {name for name, _ in calls(module)} & EFFECTS
    found |= {name for name in imported(module) if name.split(".")[0] == "argparse"}
    found |= {name for name in imported(module) if name in STREAMS}
    for node in nodes(module):
        if isinstance(node, ast.Global):
            found.add("global")
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            found |= {ast.unparse(node.value)} & {"os.environ"}
        elif isinstance(node, ast.AugAssign):
            found |= {ast.unparse(node.target)} & {"os.environ"}
        elif isinstance(node, ast.Attribute):
            found |= {ast.unparse(node)} & STREAMS
    return found


#: folders whose functions take values and return values
CORE = ("models/data/", "spaces/", "search/values/", "search/policy/", "search/report/",
        "search/store/", "search/driver/", "search/actions/")  # fmt: skip
#: variables that are set in processes that are made for one function, and what is said
#: of a user's program in the worker that runs it
ALLOWED = {
    "search/actions/generate.py": {"os.environ"},
    "search/driver/task.py": {"os.environ"},
    "spaces/template/runner.py": {"print", "sys.stderr"},
}


#: from where the policy of the search may take what it computes with: none of the modules of Python
#: that have a clock, read files or draw at random by themselves
COMPUTES = {
    "__future__", "bisect", "collections", "dataclasses", "enum", "functools", "heapq", "hyperopt",
    "itertools", "lstm_sweep", "math", "numpy", "scipy", "sklearn", "statistics", "typing",
    "warnings",
}  # fmt: skip


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("search/policy/")])
def test_the_policy_takes_no_clock_and_no_file_from_python(module: str) -> None:
    assert {name.split(".")[0] for name in imported(module)} <= COMPUTES
    assert "open" not in {name for name, _ in calls(module)}


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(CORE)])
def test_the_core_neither_prints_nor_exits_nor_changes_the_process(module: str) -> None:
    assert effects(module) == ALLOWED.get(module, set())
