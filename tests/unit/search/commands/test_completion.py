from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lstm_sweep.search.cli import main
from lstm_sweep.search.commands.completion import INSTALL, names
from lstm_sweep.search.store.tags import Tag
from tests.sweeps import store_in


@pytest.fixture(scope="module")
def folder(workplace: Callable[[str], Path]) -> Path:
    """A folder whose store has two sweeps, one of them with two trials and a baseline."""
    folder = workplace("completion")
    store = store_in(folder)
    for name in ("book-1", "log-1"):
        run_id = store.create_run(name, {Tag.NAME: name, Tag.ROLE: "sweep"})
    deleted = store.create_run("old-1", {Tag.NAME: "old-1", Tag.ROLE: "sweep"})
    MlflowClient(store.settings.tracking_uri).delete_run(deleted)
    for number in ("0", "1", "unigram"):
        store.create_run(f"log-1/{number}", {Tag.NAME: "log-1"}, run_id)
    (folder / "mlflow.yaml").write_text(f"tracking_uri: {store.settings.tracking_uri}\n")
    return folder


def test_names_of_sweeps_and_of_their_trials_are_known(folder: Path) -> None:
    assert names("", folder) == ["book-1", "log-1"]
    assert names("lo", folder) == ["log-1"]
    assert names("lo", folder, trials=True) == ["log-1/", "log-1"]
    assert names("log-1/", folder, trials=True) == ["log-1/0", "log-1/1"]
    assert names("%", folder) == []


def test_where_there_is_no_store_nothing_is_proposed_and_none_is_made(tmp_path: Path) -> None:
    assert names("", tmp_path) == [] and not list(tmp_path.iterdir())


def proposed(line: str, folder: Path) -> set[str]:
    """What a shell is told that may come next in a line."""
    answer = folder / "answer"
    answer.write_text("")
    asked = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1"}
    subprocess.run(
        [sys.executable, "-m", "lstm_sweep.search.cli"],
        env={**os.environ, **asked, "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)},
        cwd=folder, check=True, timeout=60,
    )  # fmt: skip
    return {word.strip() for word in answer.read_text().split("\v") if word.strip()}


def test_a_shell_is_told_commands_options_and_names(folder: Path) -> None:
    assert proposed("lstm-sweep la", folder) == {"launch"}
    assert "--dry-run" in proposed("lstm-sweep launch --d", folder)
    assert proposed("lstm-sweep launch --progress js", folder) == {"json"}
    assert proposed("lstm-sweep completion b", folder) == {"bash"}
    assert proposed("lstm-sweep launch --algo hyp", folder) == {"hyperopt"}
    assert proposed("lstm-sweep resume book-1 --on r", folder) == {"ray"}
    assert proposed("lstm-sweep launch --ladder o", folder) == {"on", "off"}
    assert proposed("lstm-sweep launch --space qu", folder) == {"quick"}
    assert proposed("lstm-sweep token add me --role r", folder) == {"read", "run"}
    assert proposed("lstm-sweep token revoke b", folder) == set()
    assert proposed("lstm-sweep status b", folder) == {"book-1"}
    assert proposed("lstm-sweep compare log-1/0 log-1/", folder) == {"log-1/0", "log-1/1"}


@pytest.mark.parametrize("shell", INSTALL)
def test_the_script_of_each_shell_is_printed(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# ") and "_ARGCOMPLETE" in text and "lstm-sweep" in text
    assert main(["completion", shell, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["script"] in text
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=text, text=True, check=True, timeout=60)
