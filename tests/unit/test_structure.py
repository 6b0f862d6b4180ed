from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.models.yaml_file import read_yaml
from tests.unit.syntax import MODULES, PACKAGES, ROOT, calls, imported

#: what stands beside the program
OTHERS = ("tests", "benchmarks", "examples", "docs", "docker")
#: lines of a module, script or settings file, at most
LONGEST = 600
#: files of the package itself, beside its links to the three folders
OWN = sorted((ROOT / "lstm_sweep").glob("*.py"))
#: what builds, checks and starts the program, and settings files
SCRIPTS = sorted(
    path
    for pattern in (
        "Makefile",
        ".ci/*",
        "*.yaml",
        "docker/*.yaml",
        "docker/Dockerfile",
        "docker/check",
    )
    for path in ROOT.glob(pattern)
)


def importers(package: str) -> set[str]:
    """Modules that import a package or something in it, be it ours or another."""
    return {
        module
        for module in MODULES
        if any(
            name.removeprefix("lstm_sweep.").split(".")[0] == package for name in imported(module)
        )
    }


def test_the_three_packages_are_found() -> None:
    assert {module.split("/")[0] for module in MODULES} == set(PACKAGES)
    assert {"models/network/lstm.py", "spaces/space.py", "search/engines/local.py"} <= set(MODULES)


@pytest.mark.parametrize(
    "package, not_in",
    [("search", "models"), ("spaces", "models"), ("search", "spaces")],
)
def test_imports_point_one_way(package: str, not_in: str) -> None:
    assert importers(package)
    assert {m for m in importers(package) if m.startswith(f"{not_in}/")} == set()


@pytest.mark.parametrize(
    "library, places",
    [
        (
            "mlflow",
            {
                "search/store/experiment.py",
                "models/bundle/served_model.py",
                "search/store/registry.py",
                "search/store/tracking.py",
            },
        ),
        (
            "platformdirs",
            {
                "search/process/workdir.py",
                "search/store/settings.py",
                "search/driver/own_templates.py",
            },
        ),
        ("pynvml", {"search/engines/hardware.py"}),
        (
            "ray",
            {
                "search/engines/ray.py",
                "search/engines/ray_agent.py",
                "search/engines/ray_cluster.py",
                "search/engines/ray_fleet.py",
            },
        ),
        (
            "tensorflow",
            {
                "models/backend.py",
                "models/cpu/lstm_kernels.py",
                "models/cpu/optimizer.py",
                "models/cpu/graph_cache.py",
                "models/cpu/training_loop.py",
                "models/cpu/stream_loop.py",
                "models/cpu/weight_layout.py",
                "models/cpu/forward.py",
            },
        ),
        (
            "keras",
            {
                "models/bundle/served_model.py",
                "spaces/template/runner.py",
                "models/keras_import.py",
                "models/network/lstm.py",
                "search/driver/template_task.py",
            },
        ),
        (
            "hyperopt",
            {
                "search/policy/proposer.py",
                "spaces/dimension.py",
                "spaces/template/distributions.py",
            },
        ),
        ("jinja2", {"search/report/report_page.py", "search/service/pages/views.py"}),
        (
            "scipy",
            {
                "models/baselines.py",
                "search/policy/confirmation.py",
                "search/policy/cost.py",
                "search/policy/proposer.py",
            },
        ),
        (
            "rich",
            {
                "search/cli/progress.py",
                "search/cli/terminal.py",
                "search/service/printed.py",
                "search/service/routes/sweeps.py",
                "search/service/routes/trials.py",
                "search/cli/trials.py",
                "search/cli/tables.py",
                "search/cli/token.py",
            },
        ),
    ],
)
def test_a_heavy_library_is_imported_in_few_places(library: str, places: set[str]) -> None:
    assert importers(library) <= places and importers(library)


@pytest.mark.parametrize(
    "side",
    [
        "models/config.py",
        "models/size.py",
        "models/errors.py",
        "models/yaml_file.py",
        "search/cli/parsers.py",
        "search/cli/main.py",
        "search/values/spec.py",
        "search/values/trial.py",
    ],
)
def test_light_modules_import_no_library(side: str) -> None:
    libraries = {"numpy", "yaml", "rich", "scipy", "hyperopt", "mlflow", "keras", "matplotlib"}
    found = {name.split(".")[0] for name in imported(side)} & libraries
    assert found <= ({"yaml"} if side == "models/yaml_file.py" else set())


def test_scripts_and_settings_are_found() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in SCRIPTS}
    assert {"Makefile", ".ci/run", "mlflow.yaml", "docker/check", "docker/compose.yaml"} <= names


def test_no_module_is_too_long() -> None:
    others = (path for name in OTHERS for path in (ROOT / name).rglob("*.py"))
    files = [*(ROOT / module for module in MODULES), *OWN, *others, *SCRIPTS]
    lines = {str(f): len(f.read_text(encoding="utf-8").splitlines()) for f in files}
    assert {file: count for file, count in lines.items() if count > LONGEST} == {}


def test_only_messages_of_workers_are_unpickled() -> None:
    for library in ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"):
        assert importers(library) <= {"search/engines/local.py"}, library
    text = (ROOT / "search/engines/local.py").read_text(encoding="utf-8")
    used = {line.strip() for line in text.splitlines() if "pickle" in line}
    assert used == {"import pickle", "except (EOFError, OSError, pickle.UnpicklingError):"}


@pytest.mark.parametrize("module", MODULES)
def test_nothing_that_is_read_can_run(module: str) -> None:
    for name, given in calls(module):
        last = name.rpartition(".")[2]
        if (module, name) != ("spaces/template/runner.py", "exec"):  # the user's own template
            assert name not in ("eval", "exec", "os.system", "os.popen")
        assert not (name.startswith("yaml.") and last in ("unsafe_load", "full_load", "load_all"))
        if last == "load_model":
            assert ast.unparse(given["safe_mode"]) == "True"
        if "allow_pickle" in given:
            assert ast.unparse(given["allow_pickle"]) == "False"
        assert "shell" not in given


def test_networks_are_loaded_safely_in_texts_too() -> None:
    found = 0
    for module in MODULES:
        text = (ROOT / module).read_text(encoding="utf-8")
        for call in re.findall(r"load_model\([^\n]*", text):
            found += 1
            assert "safe_mode=True" in call
        assert "allow_pickle=True" not in text
        assert "unsafe_deserialization" not in text
    assert found >= 3


def test_yaml_is_read_in_one_place_without_the_tags_of_python(tmp_path: Path) -> None:
    loading = {module for module in MODULES for name, _ in calls(module) if name == "yaml.load"}
    assert loading == {"models/yaml_file.py"}
    marker = tmp_path / "was here"
    for tag in ("python/object/apply:os.mkdir", "python/object/new:os.mkdir"):
        (tmp_path / "a.yaml").write_text(f"name: !!{tag} ['{marker}']")
        with pytest.raises(InputError, match="constructor"):
            read_yaml(tmp_path / "a.yaml")
    assert not marker.exists()


#: names that look like those of tags: files and modules
NO_TAGS = {"mlflow.db", "mlflow.yaml", "sweep.yaml", "mlflow.store.db.utils"}


def texts(tree: ast.Module) -> Iterator[str]:
    """All texts of a module, also the parts of f-strings, but for docstrings."""
    statements = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in statements:
            yield from [node.value] if isinstance(node.value, str) else []


def tag_names(module: Path) -> set[str]:
    """Names of tags in the texts of a module."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    named = r"^(?:sweep|mlflow|version)\.$|\b(?:sweep|mlflow|version)\.\w+(?:\.\w+)*"
    return {name for text in texts(tree) for name in re.findall(named, text)} - NO_TAGS


def test_names_of_tags_are_in_one_module() -> None:
    modules = {*(ROOT / one for one in MODULES), *OWN, *(ROOT / "benchmarks").rglob("*.py")}
    found = {path.relative_to(ROOT).as_posix(): tag_names(path) for path in modules}
    names = found.pop("search/store/tags.py")
    assert {"sweep.role", "mlflow.parentRunId", "sweep.spec", "version."} <= names
    assert {module: names for module, names in found.items() if names} == {}
