"""The commands that `export --register` prints."""

from __future__ import annotations

import io
import json
import shlex
import sys
from pathlib import Path

import pytest

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.models.bundle.bundle import Bundle, TemplateBundle
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.search.actions.export import Exported
from lstm_sweep.search.cli import models
from lstm_sweep.search.store.registry import Version
from lstm_sweep.search.store.settings import Settings

BEST = Version("my model", 3, "m-1", "models:/my model@champion", True, "no other")
OTHER = Version("m", 4, "m-1", "models:/m/4", False, "its loss is not below")
TEXT = Bundle("a/1", TrialConfig(), Alphabet(tuple("abc'ef")), {})
IDS = Bundle("a/1", TrialConfig(), Alphabet((1, 2, 3)), {})


def exported(example: str | list[int] | None = None) -> Exported:
    return Exported("best", "a/1", 1.0, None, example, (), {})


def settings(uri: str, origin: str = "no mlflow.yaml here or above") -> Settings:
    return Settings(uri, None, "test", origin)


def test_the_program_is_named_as_it_can_be_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for argv, typed in (
        ("/x/lstm_sweep/__main__.py", f"{shlex.quote(sys.executable)} -m lstm_sweep"),
        (str(tmp_path / "bin" / "lstm-sweep"), "bin/lstm-sweep"),
        ("/a b/lstm-sweep", "'/a b/lstm-sweep'"),
    ):
        monkeypatch.setattr(sys, "argv", [argv])
        assert models.program_here() == typed


@pytest.fixture
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that is activated."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))


@pytest.mark.usefixtures("own_path")
def test_the_command_names_the_store_and_the_alias() -> None:
    command = models.serve_command(BEST, settings("sqlite:////home/a b/mlflow.db"))
    assert shlex.split(command) == [
        "MLFLOW_TRACKING_URI=sqlite:////home/a b/mlflow.db", "mlflow", "models", "serve",
        "-m", "models:/my model@champion", "--env-manager", "local", "--port", "5001",
    ]  # fmt: skip


@pytest.mark.usefixtures("own_path")
def test_what_the_environment_says_is_not_said_again() -> None:
    given = settings("http://u:secret@host:5000", "by MLFLOW_TRACKING_URI")
    command = models.serve_command(OTHER, given)
    assert command == "mlflow models serve -m models:/m/4 --env-manager local --port 5001"


def test_a_password_is_not_printed(own_path: None) -> None:
    command = models.serve_command(OTHER, settings("http://u:secret@host:5000", "as given"))
    assert "secret" not in command and "host:5000" in command


def test_programs_of_an_environment_that_is_not_activated_are_put_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    command = models.serve_command(BEST, settings("sqlite:////mlflow.db"))
    assert command.startswith(f"PATH={Path(sys.executable).parent}:$PATH MLFLOW_TRACKING_URI=")


@pytest.mark.parametrize(("content", "session"), [(TEXT, {"text": "c'e"}), (IDS, {"ids": [2, 3]})])
def test_the_request_has_symbols_that_are_known(
    content: Bundle, session: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "read_any", lambda given: (Path(given), content))
    *_, curl = models.registered_lines(exported(), OTHER, settings("sqlite:////mlflow.db"))
    body = json.loads(shlex.split(curl)[-1])
    assert body == {"dataframe_records": [session], "params": {"top": 3, "length": 20}}


@pytest.mark.parametrize(
    ("content", "example", "column"), [(TEXT, "дом и река", "text"), (IDS, [3, 1, 1], "ids")]
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_request_is_about_real_data_if_there_is_an_example(
    content: Bundle, example: str | list[int], column: str, encoding: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(bundles, "read_any", lambda given: (Path(given), content))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    *_, curl = models.registered_lines(exported(example), OTHER, settings("sqlite:////mlflow.db"))
    assert json.loads(shlex.split(curl)[-1])["dataframe_records"] == [{column: example}]
    assert curl.isascii() or encoding == "utf-8"


def test_of_a_template_the_example_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content = TemplateBundle("a/1", {}, {})
    monkeypatch.setattr(bundles, "read_any", lambda given: (Path(given), content))
    first, *_, curl, last = models.registered_lines(
        exported(), OTHER, settings("sqlite:////mlflow.db")
    )
    assert first == "registered: version 4 of m, not the champion: its loss is not below"
    assert curl.endswith("-d @request.json") and "serving_input_example.json" in last
