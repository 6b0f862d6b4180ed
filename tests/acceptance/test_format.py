"""Format 1: a store that 1.0 has written is read, and gone on with, by this version.

`tests/stores/1.0.tar.xz` is never written again but for a new version:
`python -m tests.acceptance.test_format VERSION` adds its store.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.spec import digest_of
from tests.conftest import Done, run_here, run_program
from tests.launcher import PROGRAM

STORES = Path(__file__).parents[1] / "stores"
#: stands for the folder of the store
FOLDER = "/folder-of-the-store"
#: what each sweep was launched with
TRIALS = ["--trials", "3", "--size-rule", "off", "--keep", "1", "--ladder", "off"]
LAUNCHED = {
    "text": [
        *("--data", "text.txt", "--space", "space.yaml", "--set", "direction=uni,bi"),
        *("--confirm-configs", "1", "--confirm-seeds", "1", *TRIALS),
    ],
    "ids": ["--data", "ids", "--space", "space.yaml", "--set", "state=carried", *TRIALS],
    "classes": ["--data", "sums.tsv", "--label", "0", "--space", "space.yaml", *TRIALS],
    "template": ["--template", "template.py", "--trials", "2"],
}
SPACE = "{layer_size: [8, 12], sequence_length: 16, dropout: {low: 0, high: 0.5}, epochs: 2}"


def shown(run: Callable[..., Done], folder: Path) -> dict[str, Any]:
    """What commands say of the sweeps in a folder."""
    commands = [["sweeps", "--json"]]
    commands += [[command, name, "--json"] for name in LAUNCHED for command in ("trials", "show")]
    texts = {" ".join(command): run(*command, cwd=folder).out for command in commands}
    return {
        command: json.loads(text.replace(str(folder), FOLDER)) for command, text in texts.items()
    }


def write(version: str) -> None:
    """Write the store of a version."""

    def run(*arguments: str, cwd: Path) -> Done:
        done = subprocess.run([PROGRAM, *arguments], cwd=cwd, text=True, capture_output=True)
        assert not done.returncode, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "store")
        (folder / "ids").mkdir(parents=True)
        text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
        (folder / "text.txt").write_text(text[:6_000], encoding="utf-8")
        lines = "\n".join(" ".join(str(n * n % 7 + 1) for n in range(k, k + 8)) for k in range(300))
        (folder / "ids" / "log").write_text(lines, encoding="utf-8")
        sums = (
            f"{('even', 'odd')[n * k % 2]}\t{n} times {k}" for n in range(20) for k in range(20)
        )
        (folder / "sums.tsv").write_text("\n".join(sums), encoding="utf-8")
        (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
        template = Path(__file__).parents[1] / "templates" / "dense.py"
        shutil.copy(template, folder / "template.py")
        for name, arguments in LAUNCHED.items():
            run("launch", "--name", name, *arguments, cwd=folder)
        (folder / "shown.json").write_text(json.dumps(shown(run, folder)), encoding="utf-8")
        with closing(sqlite3.connect(folder / "mlflow.db")) as database:
            dump = "\n".join(database.iterdump()).replace(str(folder), FOLDER)
        (folder / "store.sql").write_text(dump, encoding="utf-8")
        (folder / "mlflow.db").unlink()
        with tarfile.open(STORES / f"{version}.tar.xz", "w:xz") as archive:
            archive.add(folder, "store")


@pytest.fixture(scope="module", params=[path.name for path in sorted(STORES.iterdir())])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("format")
    with tarfile.open(STORES / request.param) as archive:
        archive.extractall(place, filter="data")
    dump = (place / "store" / "store.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(place / "store" / "mlflow.db")) as database:
        database.executescript(dump.replace(FOLDER, str(place / "store")))
        specs = "SELECT run_uuid, value FROM tags WHERE key = ?"
        for run, spec in database.execute(specs, [f"{Tag.SPEC}0"]).fetchall():
            moved = "UPDATE tags SET value = ? WHERE run_uuid = ? AND key = ?"
            database.execute(moved, [digest_of(json.loads(spec)), run, Tag.SPEC_DIGEST])
        database.commit()
    return place / "store"


def test_commands_say_what_they_said(folder: Path) -> None:
    said = json.loads((folder / "shown.json").read_text(encoding="utf-8"))

    assert shown(run_here, folder) == said


@pytest.mark.full
def test_sweeps_go_on_and_their_networks_are_used(folder: Path) -> None:
    run = run_program
    exported = run("export", "ids", "--to", "bundle", cwd=folder)
    resumed = run("resume", "text", "--trials", "4", "--json", cwd=folder)
    [first, *_] = json.loads(run("trials", "ids", "--json", cwd=folder).out)
    again = run("rerun", first["trial"], "--json", cwd=folder)

    assert exported.code == 0, exported.err
    assert run("detect", "bundle", "--data", "ids", "--json", cwd=folder).code in (0, 1)
    assert resumed.code == 0 and sum(resumed.json["trials"].values()) >= 4, resumed.err
    # on another kind of machine the bits may be others
    assert again.code in (0, 3) and again.json["epochs_compared"] == 2, again.err
    assert run("report", "template", cwd=folder).code == 0
    assert run("export", "classes", "--to", "classifier", cwd=folder).code == 0
    told = run("classify", "classifier", "--data", "sums.tsv", "--label", "0", cwd=folder)
    assert told.code == 0 and "accuracy" in told.out, told.err


if __name__ == "__main__":
    write(sys.argv[1])
