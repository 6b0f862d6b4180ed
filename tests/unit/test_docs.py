"""The documents say what is there: links, folders, commands, options, files, programs, tables."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import lstm_sweep as ls
from lstm_sweep.models.config import FIELDS, TrialConfig
from lstm_sweep.search.actions.rerun import Rerun
from lstm_sweep.search.actions.sweeps import SweepResult, SweepStatusReport
from lstm_sweep.search.cli.parsers import build_parser
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.store import settings
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.spec import SweepSpec, read_spec
from lstm_sweep.search.values.trial import Outcome
from lstm_sweep.spaces.space import from_file
from lstm_sweep.spaces.template.template import Template
from tests.conftest import Done, run_command
from tests.unit.documents import (
    DOCS,
    FENCE,
    FILES,
    LINK,
    PAGES,
    README,
    ROOT,
    SPAN,
    anchors,
    blocks,
    pages_of,
    prose,
    rows,
    section,
    text_of,
)  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in LINK.findall(SPAN.sub("", prose(text_of(page)))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(target), f"{page}: {link}"


def test_the_readme_leads_to_every_page() -> None:
    assert {"README.md", "docs/tutorial.md", "docker/README.md", "benchmarks/README.md"} <= {*PAGES}
    assert "which-mlflowyaml-is-obeyed" in anchors(DOCS / "servers.md")
    linked = set(LINK.findall(text_of(README)))
    assert {f"docs/{path.name}" for path in DOCS.glob("*.md")} <= linked


def test_the_map_on_architecture_has_every_folder() -> None:
    folders = {folder for path in FILES for folder in path.parents}
    # what is deeper mirrors the tree, or holds data
    expected = {f"{folder}/" for folder in folders if 1 <= len(folder.parts) <= 2} | {"examples/"}
    [(_, tree)] = FENCE.findall(section(DOCS / "architecture.md", "The folders"))
    assert {line.split()[0] for line in tree.splitlines()} == expected


def test_files_and_benchmarks_that_are_named_exist() -> None:
    known = {f"/{path}" for path in FILES}
    for page in PAGES:
        for name in re.findall(r"`((?:models|spaces|search)/[\w/]+\.py)`", text_of(page)):
            assert f"/{name}" in known, f"{page}: {name}"
        for name in re.findall(r"python -m (benchmarks\.[\w.]+)", text_of(page)):
            assert f"/{name.replace('.', '/')}.py" in known, f"{page}: {name}"


def test_the_page_on_architecture_has_every_dependency() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    wanted = {re.split(r"[=>~]", requirement)[0] for requirement in project["dependencies"]}
    table = rows(section(DOCS / "architecture.md", "Libraries"))
    assert {name for first, *_ in table for name in SPAN.findall(first)} - {"pynvml"} == wanted


def calls(page: str, program: str) -> list[str]:
    """Arguments of a program where a page calls it, in its blocks and within its lines."""
    text = text_of(page)
    lines = [
        line
        for _, content in FENCE.findall(text)
        for line in content.replace("\\\n", " ").splitlines()
    ]
    spans = re.findall(r"`([^`]+)`", prose(text))  # a span may go on in the next line
    found = (
        re.match(rf"(?:\$ )?(?:\.venv/bin/)?{program} (.*)", call.replace("\n", " "))
        for call in (*lines, *spans)
    )
    return [one[1] for one in found if one]


def commands(page: str) -> list[str]:
    """Calls of the program on a page; no usages."""
    return [call for call in calls(page, "lstm-sweep") if not re.search(r"\[|COMMAND", call)]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_the_program_takes_the_commands_that_are_shown(page: str) -> None:
    for command in commands(page):
        parsed = build_parser().parse_args(shlex.split(command, comments=True))
        assert parsed.command == command.split()[0]


def test_commands_are_found() -> None:
    assert {command.split()[0] for command in commands("README.md")} == {
        "launch", "show", "report", "ui", "export", "generate", "rerun"
    }  # fmt: skip
    assert len(commands("docs/tutorial.md")) > 15


def options(parser: argparse.ArgumentParser) -> set[str]:
    """Options of all commands, and of the commands of these."""
    found = set[str]()
    for action in parser._actions:
        found.update(action.option_strings)
        if isinstance(action.choices, dict):
            found.update(*map(options, action.choices.values()))
    return found


def test_options_that_are_explained_exist() -> None:
    pages = [README, *DOCS.rglob("*.md")]
    named = {
        span.split()[0] for page in pages for span in SPAN.findall(prose(text_of(page)))
        if span.startswith("--")
    }  # fmt: skip
    assert len(named) > 20
    assert named <= options(build_parser())


def test_targets_of_make_that_are_named_exist() -> None:
    makefile = text_of("Makefile")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) \?=|\$\((ARGS)\)", makefile, re.MULTILINE))
    known = targets | {f"{name or other}=" for name, other in variables}
    named = {
        re.sub(r"=.*", "=", word)
        for page in PAGES
        for call in calls(page, "make")
        for word in shlex.split(call, comments=True)
    }
    assert {"sweep", "chaos", "KILLS="} <= named <= known


def test_generated_parts_are_what_the_program_says() -> None:
    command = [sys.executable, str(DOCS / "generate.py"), "--check"]
    given = os.environ | {"PYTHONPATH": str(ROOT)}
    assert run_command(*command, environment=given) == Done(0, "", "")


def test_programs_name_what_the_package_has() -> None:
    """Each name behind a dot is public, and each keyword an argument of something public."""
    public = {name: getattr(ls, name) for name in ls.__all__}
    classes = [one for one in public.values() if isinstance(one, type)]
    named = {name for one in classes for name in (*dir(one), *one.__annotations__)}
    methods = [inspect.getattr_static(one, name) for one in classes for name in dir(one)]
    functions = filter(inspect.isfunction, (*public.values(), *methods))
    arguments = {name for one in functions for name in inspect.signature(one).parameters}
    programs = [text for _, text in blocks("python") if "import lstm_sweep as ls" in text]
    assert len(programs) >= 3
    for node in (node for program in programs for node in ast.walk(ast.parse(program))):
        if isinstance(node, ast.Attribute):
            assert node.attr in {*public, *named, "attrs"}, node.attr  # `attrs` is of pandas
        elif isinstance(node, ast.keyword):
            assert node.arg in arguments | {*ls.SweepFields.__annotations__}, node.arg


READERS: dict[str, Callable[[Path], object]] = {
    "space": from_file,
    "sweep": lambda file: read_spec(file, {}, []),
    "mlflow": lambda file: settings.load(file.parent, {}),
}


def test_files_of_yaml_of_each_kind_are_shown_and_read(tmp_path: Path) -> None:
    shown = set[str]()
    for page, content in blocks("yaml"):
        named = re.match(r"# (?:[\w-]+-)?(\w+)\.yaml", content)
        assert named, f"{page}: expected the name of a file in the first line of {content!r}"
        file = tmp_path / f"{named[1]}.yaml"
        file.write_text(content, encoding="utf-8")
        assert READERS[named[1]](file), page
        shown.add(named[1])
    assert shown == set(READERS)


def test_the_template_is_read(tmp_path: Path) -> None:
    page = text_of(DOCS / "templates.md")
    [(_, content)] = [one for one in blocks("python") if one[1].startswith("# my_template.py\n")]
    file = tmp_path / "my_template.py"
    file.write_text(content, encoding="utf-8")
    template = Template.read(str(file))
    assert next(iter(template.hyperparameters)) == "LSTM:15"
    assert "`LSTM (line 15)`" in page and "`LSTM:15`" in page


@pytest.mark.parametrize(("page", "content"), blocks("python"), ids=pages_of)
def test_programs_are_python(page: str, content: str) -> None:
    compile(content, page, "exec")


RECORD = TrialRecord(sweep="book-1", number=7, config=TrialConfig(), seed=1, tags=Tags.of("", {}))
RERUN = Rerun(
    trial="", rerun_run_id="", verdict="identical", epochs_compared=0, max_difference=0.0,
    first_difference=None, variation={}, changed_versions={}, changed_device=None, outcome="",
)  # fmt: skip
STATUS = SweepStatusReport(
    sweep="book-1", run_id="", state="running", why=None, trials={}, best=None, slots=None,
    submitted=datetime.now(UTC), started=None, eta_seconds=None,
)  # fmt: skip


def shown_json(command: str) -> Any:
    """The first JSON that the page on commands shows for a command."""
    found = FENCE.findall(section(DOCS / "commands.md", command))
    return json.loads(next(content for language, content in found if language == "json"))


def test_json_that_is_shown_has_the_keys_of_the_program() -> None:
    assert all(json.loads(content) for _, content in blocks("json"))
    result = SweepResult.of(SweepState(name="book-1", spec=SweepSpec(), slots=()))
    assert list(shown_json("launch")) == list(result.to_dict())
    assert list(shown_json("status")) == list(STATUS.to_dict())
    assert list(shown_json("trials")[0]) == list(RECORD.to_dict())
    assert list(shown_json("rerun")) == list(RERUN.to_dict())


def test_the_table_of_fields_is_that_of_a_config() -> None:
    table = rows(section(DOCS / "tutorial.md", "Choose what may vary"))
    assert [name.strip("`") for name, _, _ in table] == list(FIELDS)
    defaults = [value.strip("`") for _, _, value in table]
    assert defaults == [f"{value:g}" if isinstance(value, float) else str(value)
                        for value in TrialConfig().to_dict().values()]  # fmt: skip


def test_the_table_of_outcomes_is_that_of_the_program() -> None:
    table = rows(section(DOCS / "robustness.md", "How a trial can end"))
    assert {name.strip("`"): status for name, _, status in table} == {
        str(outcome): outcome.status(has_result=True) for outcome in Outcome
    }
    ranked = [name.strip("`") for name, _, _ in table][:4]
    assert {*ranked} == {str(outcome) for outcome in Outcome if outcome.ranks}


def test_the_table_of_settings_is_that_of_the_program() -> None:
    table = rows(section(DOCS / "servers.md", "Where are runs kept?"))
    assert [key.strip("`") for key, _, _ in table] == list(settings.KEYS)
