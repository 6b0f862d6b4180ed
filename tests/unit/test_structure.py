"""Where things stand: imports point one way, and what can do harm is in few places."""

from __future__ import annotations

import ast
import functools
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from lstm_sweep.models.documents import read_yaml
from lstm_sweep.models.errors import InputError

ROOT = Path(__file__).parents[2]
PACKAGES = ("models", "spaces", "search")
MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
)
#: the files of the package itself, which join the three
OWN = sorted(f"lstm_sweep/{path.name}" for path in (ROOT / "lstm_sweep").glob("*.py"))
#: lines of a file, at most
LONGEST = 600
#: folders, lowest first; members of one layer do not import each other. A file at the top of
#: `models` or `spaces` belongs to its folder
LAYERS = [
    {"models", "models/data"},
    {"models/cpu"},
    {"models/network"},
    {"models/bundle"},
    {"spaces"},
    {"spaces/template"},
    {"search/process"},
    {"search/values"},
    {"search/policy"},
    {"search/engines", "search/store", "search/report"},
    {"search/driver"},
    {"search/actions"},
    {"search/service"},
    {"search/cli"},
    {"lstm_sweep"},
]
#: members of one layer that may import each other
NEIGHBOURS = {"models", "models/data"}


@functools.cache
def nodes(module: str) -> list[ast.AST]:
    """All nodes of the syntax tree of a module."""
    return list(ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))))


@functools.cache
def imported(module: str) -> frozenset[str]:
    """Full names of all that a module imports, wherever the statement stands."""
    found = set[str]()
    for node in nodes(module):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def importers(library: str) -> set[str]:
    """Modules that import a library or something in it."""
    return {m for m in MODULES if any(name.split(".")[0] == library for name in imported(m))}


@functools.cache
def calls(module: str) -> list[tuple[str, dict[str, ast.expr]]]:
    """Names of all that a module calls, as written, with the keywords given."""
    return [
        (ast.unparse(node.func), {w.arg: w.value for w in node.keywords if w.arg})
        for node in nodes(module)
        if isinstance(node, ast.Call)
    ]


def file_of(name: str) -> str:
    """The file of ours that a dotted name is, or is defined in."""
    parts = name.removeprefix("lstm_sweep.").split(".")
    parts = parts if parts[0] in PACKAGES else name.split(".")
    for length in range(len(parts), 0, -1):
        path = "/".join(parts[:length])
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if file in MODULES or file in OWN:
                return file
    raise AssertionError(f"{name} is none of our modules")


EDGES = {
    module: {file_of(name) for name in imported(module) if f"{name}.".startswith("lstm_sweep.")}
    - {module}
    for module in (*MODULES, *OWN)
}


def folder_of(module: str) -> str:
    """The folder of `LAYERS` that a module belongs to."""
    folder = "/".join(module.split("/")[:2][: module.count("/")])
    return next(name for name in (folder, folder.split("/")[0]) if any(name in x for x in LAYERS))


def layer_of(module: str) -> int:
    return next(index for index, layer in enumerate(LAYERS) if folder_of(module) in layer)


def test_all_folders_are_found() -> None:
    found = {folder_of(module) for module in (*MODULES, *OWN) if module != "search/__init__.py"}
    assert found == set().union(*LAYERS)


def test_imports_point_one_way() -> None:
    wrong = [
        f"{module} -> {other}"
        for module, others in EDGES.items()
        for other in others
        if folder_of(other) != folder_of(module)
        and {folder_of(other), folder_of(module)} != NEIGHBOURS
        and layer_of(other) >= layer_of(module)
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle() -> None:
    TopologicalSorter(EDGES).prepare()


@pytest.mark.parametrize(
    "library, places",
    [
        ("mlflow", ("search/store/", "models/bundle/")),
        ("pynvml", ("search/engines/",)),
        ("pyarrow", ("models/data/tables.py",)),
        ("ray", ("search/engines/",)),
        ("tensorflow", ("models/cpu/", "models/backend.py")),
        ("keras", ("models/", "spaces/template/", "search/driver/task.py")),
        ("hyperopt", ("search/policy/", "spaces/")),
        (
            "scipy",
            (
                "search/policy/",
                "models/baselines.py",
                "models/classes.py",
                "models/conformal.py",
                "models/normality.py",
            ),
        ),
        ("jinja2", ("search/report/", "search/service/pages.py")),
        ("rich", ("search/cli/", "search/service/")),
    ],
)
def test_a_heavy_library_is_imported_in_few_places(library: str, places: tuple[str, ...]) -> None:
    assert importers(library)
    assert {module for module in importers(library) if not module.startswith(places)} == set()


@pytest.mark.parametrize(
    "side", ["models/config.py", "models/size.py", "search/cli/parsers.py", "search/values/spec.py"]
)
def test_light_modules_import_no_library(side: str) -> None:
    libraries = {"numpy", "yaml", "rich", "scipy", "hyperopt", "mlflow", "keras", "tensorflow"}
    assert not {name.split(".")[0] for name in imported(side)} & libraries


def test_no_file_is_too_long() -> None:
    others = [p for name in ("tests", "benchmarks", "docs", "docker") for p in
              (ROOT / name).rglob("*.py")]  # fmt: skip
    files = [*(ROOT / module for module in (*MODULES, *OWN)), *others]
    lines = {str(f): len(f.read_text(encoding="utf-8").splitlines()) for f in files}
    assert {file: count for file, count in lines.items() if count > LONGEST} == {}


def test_only_messages_of_workers_are_unpickled() -> None:
    for library in ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"):
        assert importers(library) <= {"search/engines/local.py"}, library
    names = {name for name, _ in calls("search/engines/local.py")}
    assert not [name for name in names if name.startswith("pickle.")]


@pytest.mark.parametrize("module", MODULES)
def test_nothing_that_is_read_can_run(module: str) -> None:
    for name, given in calls(module):
        last = name.rpartition(".")[2]
        if (module, name) != ("spaces/template/runner.py", "exec"):  # the user's own template
            assert name not in ("eval", "exec", "os.system", "os.popen")
        assert not (name.startswith("yaml.") and last in ("unsafe_load", "full_load", "load_all"))
        assert name != "yaml.load" or module == "models/documents.py"
        if last == "load_model":
            assert ast.unparse(given["safe_mode"]) == "True"
        if "allow_pickle" in given:
            assert ast.unparse(given["allow_pickle"]) == "False"
        assert "shell" not in given
    text = (ROOT / module).read_text(encoding="utf-8")  # also programs that are texts
    assert all("safe_mode=True" in call for call in re.findall(r"load_model\([^\n]*", text))
    assert "allow_pickle=True" not in text and "unsafe_deserialization" not in text


def test_yaml_is_read_without_the_tags_of_python(tmp_path: Path) -> None:
    marker = tmp_path / "was here"
    for tag in ("python/object/apply:os.mkdir", "python/object/new:os.mkdir"):
        (tmp_path / "a.yaml").write_text(f"name: !!{tag} ['{marker}']")
        with pytest.raises(InputError, match="constructor"):
            read_yaml(tmp_path / "a.yaml")
    assert not marker.exists()


#: names that look like those of tags: files and modules
NO_TAGS = {"mlflow.db", "mlflow.yaml", "sweep.yaml", "mlflow.store.db.utils"}


def tag_names(module: str) -> set[str]:
    """Names of tags in the texts of a module, but for its docstrings."""
    docstrings = {id(node.value) for node in nodes(module) if isinstance(node, ast.Expr)}
    texts = [node.value for node in nodes(module) if isinstance(node, ast.Constant)
             and isinstance(node.value, str) and id(node) not in docstrings]  # fmt: skip
    named = r"^(?:sweep|mlflow|version)\.$|\b(?:sweep|mlflow|version)\.\w+(?:\.\w+)*"
    return {name for text in texts for name in re.findall(named, text)} - NO_TAGS


def test_names_of_tags_are_in_one_module() -> None:
    benchmarks = [str(p.relative_to(ROOT)) for p in (ROOT / "benchmarks").rglob("*.py")]
    found = {module: tag_names(module) for module in (*MODULES, *OWN, *benchmarks)}
    assert {"sweep.role", "mlflow.parentRunId", "version."} <= found.pop("search/store/tags.py")
    assert {module: names for module, names in found.items() if names} == {}


#: calls that are a command's or a program's own; `os.environ.get` and the like only read
EFFECTS = {
    "print", "sys.exit", "exit", "os._exit", "signal.signal", "os.chdir", "os.dup2", "os.umask",
    "os.putenv", "os.unsetenv",
    *(f"os.environ.{name}" for name in ("update", "pop", "popitem", "setdefault", "clear")),
}  # fmt: skip
STREAMS = {"sys.stdin", "sys.stdout", "sys.stderr"}
#: folders whose functions take values and return values
CORE = ("models/data/", "spaces/", "search/values/", "search/policy/", "search/report/",
        "search/store/", "search/driver/", "search/actions/")  # fmt: skip
#: variables that are set in processes that are made for one function, and what is said
#: of a user's program in the worker that runs it
ALLOWED = {
    "models/data/source.py": {"signal.signal"},
    "search/actions/inference.py": {"os.environ"},
    "search/driver/task.py": {"os.environ"},
    "spaces/template/runner.py": {"print", "sys.stderr"},
}


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(CORE)])
def test_the_core_neither_prints_nor_exits_nor_changes_the_process(module: str) -> None:
    found = {name for name, _ in calls(module)} & EFFECTS
    found |= {name for name in imported(module) if name in STREAMS or name == "argparse"}
    for node in nodes(module):
        if isinstance(node, ast.Global):
            found.add("global")
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            found |= {ast.unparse(node.value)} & {"os.environ"}
        elif isinstance(node, ast.Attribute):
            found |= {ast.unparse(node)} & STREAMS
    assert found == ALLOWED.get(module, set())


#: from where the policy may take what it computes with: none of the modules of Python that have a
#: clock, read files or draw at random by themselves
COMPUTES = {
    "__future__", "bisect", "collections", "dataclasses", "enum", "functools", "heapq", "hyperopt",
    "itertools", "lstm_sweep", "math", "numpy", "scipy", "statistics", "typing",
    "warnings",
}  # fmt: skip


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("search/policy/")])
def test_the_policy_takes_no_clock_and_no_file_from_python(module: str) -> None:
    assert {name.split(".")[0] for name in imported(module)} <= COMPUTES
    assert "open" not in {name for name, _ in calls(module)}
