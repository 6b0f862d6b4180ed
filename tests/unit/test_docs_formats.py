"""Files, programs, JSON and tables that the documents show are those of the program."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.config import FIELDS, TrialConfig
from lstm_sweep.search.actions.rerun import Rerun
from lstm_sweep.search.actions.status_report import SweepStatusReport
from lstm_sweep.search.actions.sweep_result import SweepResult
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.store import settings
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.spec import SweepSpec, read_spec
from lstm_sweep.search.values.trial import Outcome, Trial
from lstm_sweep.spaces.space import from_file
from lstm_sweep.spaces.template.template import Template
from tests.unit.documents import DOCS, FENCE, blocks, pages_of, rows, section, text_of

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


RECORD = TrialRecord(
    trial=Trial(sweep="book-1", number=7, config=TrialConfig(), seed=1), tags=Tags.of("", {})
)
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


def test_every_json_is_json() -> None:
    assert len(blocks("json")) >= 4
    for _, content in blocks("json"):
        json.loads(content)


def test_json_that_is_shown_has_the_keys_of_the_program() -> None:
    result = SweepResult.of(SweepState("book-1", SweepSpec(), "", (), {}))
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
