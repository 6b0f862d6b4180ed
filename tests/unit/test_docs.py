"""The documents say what is there: links, commands, files, fields, and shapes of JSON."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lstm_sweep.models.config import FIELDS, TrialConfig
from lstm_sweep.search.api.lifecycle import StoppedSweep
from lstm_sweep.search.api.listings import SweepRow, TrialDetails
from lstm_sweep.search.api.status_report import SweepStatusReport
from lstm_sweep.search.api.sweep_result import SweepResult
from lstm_sweep.search.cli import build_parser
from lstm_sweep.search.results.detect import Finding
from lstm_sweep.search.results.rerun import Comparison, Rerun
from lstm_sweep.search.spec import SweepSpec, read_spec
from lstm_sweep.search.store import settings
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.trial import Ended, Outcome, Trial
from lstm_sweep.spaces.space import from_file
from lstm_sweep.spaces.template.template import Template

ROOT = Path(__file__).resolve().parents[2]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PACKAGES = ("lstm_sweep", "models", "spaces", "search")
#: what stands in the tree and is no part of the repository
MADE = {"__pycache__", "build", "dist", "mlartifacts", "mlruns"}
LONGEST_README = 150

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")


def files(folder: Path) -> list[Path]:
    """All files in a folder, without what is hidden or made; links to folders are not followed."""
    found = []
    for path in folder.iterdir():
        if path.name[0] == "." or path.name in MADE:
            continue
        if path.is_dir() and not path.is_symlink():
            found += files(path)
        elif path.is_file():
            found.append(path)
    return found


def repository() -> Iterator[Path]:
    """Files in folders with programs; what users leave beside these, such as models, has none."""
    for folder in ROOT.iterdir():
        if folder.is_dir() and folder.name[0] != "." and folder.name not in MADE:
            found = files(folder)
            if any(path.suffix == ".py" for path in found):
                yield from (path.relative_to(ROOT) for path in found)


FILES = sorted(repository())
PAGES = ["README.md", *(str(path) for path in FILES if path.suffix == ".md")]


def text_of(page: str | Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", text)


def pages_of(value: str) -> str:
    """A short name for a case: the page, and not the block."""
    return value if value in PAGES else ""


def blocks(language: str) -> list[tuple[str, str]]:
    """All blocks of a language, each with the page that it stands on."""
    return [
        (page, content)
        for page in PAGES
        for kind, content in FENCE.findall(text_of(page))
        if kind == language
    ]


def section(page: str | Path, heading: str) -> str:
    """What stands on a page below a heading, up to the next one of its level."""
    found = re.search(
        rf"^(#+) {re.escape(heading)}\n(.*?)(?=^\1 |\Z)", text_of(page), re.MULTILINE | re.DOTALL
    )
    assert found, f"{page} has no heading {heading!r}"
    return found[2]


def rows(text: str) -> list[list[str]]:
    """Rows of the first table in a text, without its head."""
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table
    return [[cell.strip() for cell in row[1:-1].split(" | ")] for row in table[0].splitlines()[2:]]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text_of(page)), re.MULTILINE)
    names = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return {
        f"{name}-{count}" if (count := names[:place].count(name)) else name
        for place, name in enumerate(names)
    }


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


def test_the_map_in_the_readme_has_every_folder() -> None:
    folders = {folder for path in FILES for folder in path.parents}
    # what is deeper mirrors the tree, or holds data
    expected = {f"{folder}/" for folder in folders if 1 <= len(folder.parts) <= 2}
    assert set(tree(section(README, "The folders"))) == expected


def test_the_page_on_architecture_has_every_module() -> None:
    named = tree(section(DOCS / "architecture.md", "The files"))
    modules = {
        str(path)
        for path in FILES
        if path.parts[0] in PACKAGES and path.suffix == ".py" and path.name != "__init__.py"
    }
    assert {path for path in named if path.endswith(".py")} == modules
    folders = {f"{Path(module).parent}/" for module in modules}
    assert {path for path in named if not path.endswith(".py")} == folders


def commands(page: str) -> list[str]:
    """Calls of the program in a page's blocks and within its lines; no usages."""
    text = text_of(page)
    lines = [
        line
        for _, content in FENCE.findall(text)
        for line in content.replace("\\\n", " ").splitlines()
    ]
    calls = [*lines, *SPAN.findall(prose(text))]
    found = (re.match(r"(?:\$ )?(?:\.venv/bin/)?lstm-sweep (.*)", call) for call in calls)
    return [one[1] for one in found if one and not re.search(r"\[|COMMAND", one[1])]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_the_program_takes_the_commands_that_are_shown(page: str) -> None:
    for command in commands(page):
        parsed = build_parser().parse_args(shlex.split(command, comments=True))
        assert parsed.command == command.split()[0]


def test_commands_are_found() -> None:
    assert {command.split()[0] for command in commands("README.md")} == {
        "launch", "ui", "export", "rerun"
    }  # fmt: skip
    assert len(commands("docs/tutorial.md")) > 15


def options() -> set[str]:
    """Options of all commands."""
    parser = build_parser()
    [choices] = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    return {
        option
        for command in choices.values()
        for action in command._actions
        for option in action.option_strings
    }


def test_options_that_are_explained_exist() -> None:
    pages = [README, *DOCS.glob("*.md")]
    named = {
        span.split()[0] for page in pages for span in SPAN.findall(prose(text_of(page)))
        if span.startswith("--")
    }  # fmt: skip
    assert len(named) > 20
    assert named <= options()


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
        ("commands.md", "| `--top N` |", "| `--first N` |", "trials"),
        ("python.md", "| `temperature` |", "| `heat` |", "python"),
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


READERS: dict[str, Callable[[Path], object]] = {
    "space": from_file,
    "sweep": lambda file: read_spec(file, {}, []),
    "mlflow": lambda file: settings.load(file.parent, {}),
}


@pytest.mark.parametrize(("page", "content"), blocks("yaml"), ids=pages_of)
def test_files_of_yaml_are_read(page: str, content: str, tmp_path: Path) -> None:
    named = re.match(r"# (?:[\w-]+-)?(\w+)\.yaml", content)
    assert named, f"{page}: expected the name of a file in the first line of {content!r}"
    file = tmp_path / f"{named[1]}.yaml"
    file.write_text(content, encoding="utf-8")
    assert READERS[named[1]](file)


def test_files_of_each_kind_are_shown() -> None:
    assert all(any(f"{kind}.yaml" in text for _, text in blocks("yaml")) for kind in READERS)


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


NO_RUN = SimpleNamespace(info=SimpleNamespace(run_id=""), data=SimpleNamespace(tags={}))
RECORD = TrialRecord(
    trial=Trial(sweep="book-1", number=7, config=TrialConfig(), seed=1), run_id="", status="",
    outcome="", reason="", parameters=1, best_val_loss=None, best_epoch=None, epochs=0,
    has_weights=False, tags=Tags(NO_RUN),
)  # fmt: skip
RERUN = Rerun(
    RECORD, "", Ended(Outcome.COMPLETE), Comparison("identical", 0, 0.0, None), {}, {}, None
)
STOPPED = StoppedSweep("book-1", "", "stopped", had_ended=False, advice="")
ROW = SweepRow(
    sweep="book-1", run_id="", state="running", trials_done=0, best_val_loss=None, data=None
)
STATUS = SweepStatusReport(
    sweep="book-1", run_id="", state="running", why=None, trials={}, best=None, slots=None,
    submitted=datetime.now(UTC), started=None, eta_seconds=None,
)  # fmt: skip
FOUND = Finding("", 1, "a", True, 0.1, 2, (("b", 0.5),), ("c",))


def shown_json(command: str) -> Any:
    """The first JSON that the page on commands shows for a command."""
    found = FENCE.findall(section(DOCS / "commands.md", command))
    return json.loads(next(content for language, content in found if language == "json"))


def test_every_json_is_json() -> None:
    assert len(blocks("json")) >= 10
    for _, content in blocks("json"):
        json.loads(content)


def test_json_that_is_shown_has_the_keys_of_the_program() -> None:
    result = SweepResult.of(SweepState("book-1", SweepSpec(), "", (), {}))
    assert list(shown_json("launch")) == list(result.to_dict())
    assert list(shown_json("stop")) == list(STOPPED.to_dict())
    assert list(shown_json("sweeps")[0]) == list(ROW.to_dict())
    assert list(shown_json("status")) == list(STATUS.to_dict())
    assert list(shown_json("trials")[0]) == list(RECORD.to_dict())
    assert list(shown_json("show")) == list(TrialDetails(RECORD, ()).to_dict())
    assert list(shown_json("rerun")) == list(RERUN.to_dict())
    [finding] = shown_json("detect")["findings"]
    assert list(finding) == list(FOUND.to_dict())


def test_the_table_of_fields_is_that_of_a_config() -> None:
    table = rows(section(DOCS / "tutorial.md", "Choose what may vary"))
    assert [name.strip("`") for name, _, _ in table] == list(FIELDS)
    defaults = [value.strip("`") for _, _, value in table]
    assert defaults == [f"{value:g}" if isinstance(value, float) else str(value)
                        for value in TrialConfig().to_dict().values()]  # fmt: skip


def test_the_table_of_outcomes_is_that_of_the_program() -> None:
    table = rows(section(DOCS / "robustness.md", "How a trial can end"))
    assert {name.strip("`"): status for name, _, status in table} == {
        str(outcome): outcome.status for outcome in Outcome
    }
    ranked = [name.strip("`") for name, _, _ in table][:3]
    assert {*ranked} == {str(outcome) for outcome in Outcome if outcome.ranks}


def test_the_table_of_settings_is_that_of_the_program() -> None:
    table = rows(section(DOCS / "servers.md", "Where are runs kept?"))
    assert [key.strip("`") for key, _, _ in table] == list(settings.KEYS)
