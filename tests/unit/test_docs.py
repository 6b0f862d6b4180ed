"""The documents say what is there: links, folders, commands and options."""

from __future__ import annotations

import argparse
import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_sweep.search.cli.parsers import build_parser
from tests.unit.documents import (
    DOCS,
    FENCE,
    FILES,
    LINK,
    LONGEST_README,
    PAGES,
    README,
    ROOT,
    SPAN,
    anchors,
    prose,
    rows,
    section,
    text_of,
)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in LINK.findall(SPAN.sub("", prose(text_of(page)))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(target), f"{page}: {link}"


def test_pages_and_links_are_found() -> None:
    assert {"README.md", "docs/tutorial.md", "docker/README.md", "benchmarks/README.md"} <= {*PAGES}
    assert len(LINK.findall(text_of(README))) > 10
    assert "which-mlflowyaml-is-obeyed" in anchors(DOCS / "servers.md")


def test_the_readme_leads_to_every_page() -> None:
    linked = set(LINK.findall(text_of(README)))
    assert {f"docs/{path.name}" for path in DOCS.glob("*.md")} <= linked


def tree(text: str) -> dict[str, str]:
    """Paths of a map and what it says of each."""
    [(_, content)] = FENCE.findall(text)
    lines = [line.split(maxsplit=1) for line in content.splitlines()]
    assert all(len(line) == 2 for line in lines)
    found = {line[0]: line[-1] for line in lines}
    assert len(found) == len(lines)
    return found


def test_the_readme_is_short() -> None:
    assert len(text_of(README).splitlines()) <= LONGEST_README


def test_the_map_on_architecture_has_every_folder() -> None:
    folders = {folder for path in FILES for folder in path.parents}
    # what is deeper mirrors the tree, or holds data
    expected = {f"{folder}/" for folder in folders if 1 <= len(folder.parts) <= 2} | {"examples/"}
    assert set(tree(section(DOCS / "architecture.md", "The folders"))) == expected


def test_files_that_are_named_beside_dependencies_exist() -> None:
    comments = "".join(re.findall(r"#.*", text_of("pyproject.toml")))
    named = re.findall(r"[\w/]+\.py", comments)
    known = [f"/{path}" for path in FILES]
    assert "search/store/tracking.py" in named
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in known)] == []


def test_the_page_on_architecture_has_every_dependency() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    wanted = {re.split(r"[=>~]", requirement)[0] for requirement in project["dependencies"]}
    table = rows(section(DOCS / "architecture.md", "Libraries"))
    assert {name for first, *_ in table for name in SPAN.findall(first)} - {"pynvml"} == wanted


#: `FILE.py` (`NAME`, ...), and `NAME` of `FILE.py`
FILE_THEN_NAMES = re.compile(r"`(\w+/[\w/]+\.py)`\s\(([^)]*)\)")
NAMES_THEN_FILE = re.compile(r"((?:`[\w.]+`(?:,|\sand)?\s)+)\(?(?:of\s|in\s)?`(\w+/[\w/]+\.py)`")


def code_named(text: str) -> set[tuple[str, str]]:
    """Files that a text names together with what they define, each with one name."""
    found = [(one[1], one[2]) for one in FILE_THEN_NAMES.finditer(text)]
    found += [(one[2], one[1]) for one in NAMES_THEN_FILE.finditer(text)]
    return {(file, name) for file, names in found for name in SPAN.findall(names)}


def defined(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Names of classes, functions, methods and constants; those in a class follow its name."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            # a method may be named with its class or without
            yield from defined(node.body, prefix)
            yield from defined(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (prefix + ast.unparse(target) for target in targets)


def is_defined(file: str, name: str) -> bool:
    """Whether a file of ours defines a name, which may stand behind that of its module."""
    names = set(defined(ast.parse(text_of(file)).body))
    return name.removeprefix(f"{Path(file).stem}.") in names


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_what_is_named_beside_a_file_is_defined_there(page: str) -> None:
    named = code_named(prose(text_of(page)))
    assert [(file, name) for file, name in sorted(named) if not is_defined(file, name)] == []


def test_what_is_named_beside_a_file_is_found() -> None:
    named = code_named(text_of(DOCS / "architecture.md"))
    assert ("models/config.py", "OPTIMIZERS") in named and len(named) > 5
    assert ("search/engines/base.py", "Engine") in named
    assert is_defined("search/engines/base.py", "Engine.start")
    assert not is_defined("search/engines/base.py", "Engine.no_method")


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


def options(parser: argparse.ArgumentParser | None = None) -> set[str]:
    """Options of all commands, and of the commands of these."""
    found = set[str]()
    for action in (parser or build_parser())._actions:
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
    assert named <= options()


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


def options_of(benchmark: str) -> set[str]:
    """Options that the parser in a file of `benchmarks` has, by its syntax tree."""
    tree = ast.parse(text_of(f"benchmarks/{benchmark}.py"))
    added = [
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "parser.add_argument"
    ]
    names = (one.value for one in added if isinstance(one, ast.Constant))
    return {name for name in names if isinstance(name, str) and name.startswith("--")}


def test_benchmarks_take_the_options_that_are_shown() -> None:
    given = [
        shlex.split(call)
        for page in PAGES
        for call in calls(page, "python -m")
        if call.startswith("benchmarks.")
    ]
    found = {(module.removeprefix("benchmarks."), *words) for module, *words in given}
    assert {("overhead",), ("soak",)} <= found
    for benchmark, *words in found:
        # one with a space is what an option is given
        named = {word for word in words if word.startswith("--") and " " not in word}
        assert named <= options_of(benchmark), benchmark


def run_generator(script: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_generated_parts_are_what_the_program_says() -> None:
    assert run_generator(DOCS / "generate.py", "--check") == (0, "")


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    """The generator and its pages in a folder of their own."""
    for page in ("commands.md", "python.md"):
        shutil.copy(DOCS / page, tmp_path)
    return Path(shutil.copy(DOCS / "generate.py", tmp_path))


@pytest.mark.parametrize(
    "page, right, wrong, part",
    [
        ("commands.md", "- `--top N`:", "- `--first N`:", "trials"),
        ("python.md", "- `progress`:", "- `regress`:", "python"),
    ],
)
def test_the_generator_notices_and_mends_what_is_out_of_date(
    generator: Path, page: str, right: str, wrong: str, part: str
) -> None:
    file, text = generator.with_name(page), text_of(DOCS / page)
    file.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    assert run_generator(generator, "--check") == (
        1, f"{page}: out of date: {part}; run generate.py\n"
    )  # fmt: skip
    assert run_generator(generator)[0] == 0
    assert file.read_text(encoding="utf-8") == text


def test_the_generator_asks_for_a_section_for_each_command(generator: Path) -> None:
    without = text_of(DOCS / "commands.md").replace("<!-- generated: stop -->", "")
    generator.with_name("commands.md").write_text(without, encoding="utf-8")
    code, told = run_generator(generator, "--check")
    assert code == 1 and "found no part for stop" in told
