"""What earlier versions left in a store is read; what cannot be read is refused in one line."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.source import Source
from lstm_sweep.search.spec import digest_of
from lstm_sweep.search.sweep import same_corpus
from tests.conftest import Done, in_full, run_here

FIXTURES = Path(__file__).parents[1] / "fixtures"
FIRST = FIXTURES / "first-version.tar.xz"
BEFORE_PACKAGE = FIXTURES / "before-package.tar.xz"
#: what stands in the archives for the folder that the sweeps ran in
PLACE = "/place"
#: losses of the sweep as its own version printed them, the best first
LOSSES = {"old/2": 2.2772802780052603, "old/1": 2.436187055982994, "old/0": 2.440406276471239}
#: seed, three values of the config and loss of each trial, as the version before the package went
#: on with its own sweeps
ENDS = {
    "text/0": (1511970685, ("bi", 0.153, 8), 2.248544049464378),
    "text/1": (1398460667, ("bi", 0.026, 8), 2.446249623311247),
    "text/2": (393469637, ("bi", 0.21, 8), 2.1943077436830407),
    "text/3": (261995893, ("uni", 0.24, 8), 2.296154375472429),
    "text/4": (1624911080, ("uni", 0.064, 12), 2.3037599200575665),
    "text/5": (1449626795, ("uni", 0.226, 8), 2.432577134749878),
    "lines/0": (1511970685, (4, "'tanh'"), 5.01812219619751),
    "lines/1": (1398460667, (5, "'relu'"), 2.0871996879577637),
    "lines/2": (393469637, (2, "'relu'"), 1.9088244438171387),
    "lines/3": (261995893, (2, "'tanh'"), 1.4672225713729858),
    "lines/4": (1624911080, (5, "'tanh'"), 0.8614152073860168),
    "lines/5": (1449626795, (4, "'relu'"), 0.03987463563680649),
    "done/0": (1289914130, ("uni", 0.049, 8), 2.3694060641380648),
    "done/1": (1562258279, ("uni", 0.013, 12), 2.3772896893640563),
    "done/2": (1372883993, ("uni", 0.107, 12), 2.2941966489054892),
    "done/3": (492728400, ("uni", 0.227, 8), 2.4480816152908984),
}
#: hyperparameters whose values are in `ENDS`
SHOWN = ("direction", "dropout", "layer_size", "Dense:13", "activation:13")
#: digests of the specs, which the version before the package took with `PLACE` in them
SPECS = {"text": "0f037bb2054c50e7", "lines": "0be8825bbe365cc1", "done": "3c7f9ae7b63de9bd"}


def unpack(folder: Path, file: Path = FIRST) -> Path:
    """Lay out the store of an earlier version as if its sweeps had run in `folder`."""
    with tarfile.open(file) as archive:
        archive.extractall(folder, filter="data")
    database = sqlite3.connect(folder / "mlflow.db")
    with database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in names:
            for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                database.execute(
                    f"UPDATE {table} SET {column} = replace({column}, ?, ?) "
                    f"WHERE typeof({column}) = 'text' AND instr({column}, ?)",
                    (PLACE, str(folder), PLACE),
                )
    database.close()
    for file in folder.rglob("sweep.yaml"):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(PLACE, str(folder)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sweep of the first version; tests only add to its store."""
    return unpack(tmp_path_factory.mktemp("old"))


def change(folder: Path, statement: str) -> None:
    """Change the store behind the program's back; the statement must find a row."""
    database = sqlite3.connect(folder / "mlflow.db")
    with database:
        assert database.execute(statement).rowcount > 0
    database.close()


def refused(done: Done) -> str:
    """What a command said that has refused what it was given: one line."""
    assert (done.code, done.out) == (2, ""), done.err
    lines = [line for line in done.err.splitlines() if not line.startswith("training ")]
    assert len(lines) == 1, done.err
    return lines[0]


def test_a_sweep_of_the_first_version_is_listed_with_its_trials(old: Path) -> None:
    [row] = run_here("sweeps", "--json", cwd=old).json
    assert (row["sweep"], row["state"], row["trials_done"]) == ("old", "finished", 3)
    assert row["best_val_loss"] == LOSSES["old/2"]
    rows = run_here("trials", "old", "--json", cwd=old).json
    assert {row["trial"]: row["val_loss"] for row in rows} == LOSSES
    assert {row["outcome"] for row in rows} == {"complete"}
    table = run_here("trials", "old", cwd=old).out
    assert "old/1" in table
    assert "baseline naive bayes  0.5528" in table


def test_a_trial_of_the_first_version_is_shown_epoch_by_epoch(old: Path) -> None:
    shown = run_here("show", "old/1", "--json", cwd=old).json
    assert [epoch["epoch"] for epoch in shown["by_epoch"]] == [1, 2]
    assert shown["by_epoch"][1]["val_loss"] == LOSSES["old/1"]
    assert shown["config"]["direction"] == "bi"
    assert shown["config"]["dropout"] == 0.295
    assert "seed 1398460667" in run_here("show", "old/1", cwd=old).out


def test_a_sweep_of_the_first_version_has_a_report(old: Path, tmp_path: Path) -> None:
    assert run_here("report", "old", "--to", tmp_path / "r.html", cwd=old).code == 0
    assert "old/2 is best: 2.2773 nats" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("trial", ["old/0", "old/2"], ids=["uni", "bi"])
def test_a_trial_of_the_first_version_trains_again_as_well(old: Path, trial: str) -> None:
    done = run_here("rerun", trial, "--json", cwd=old)
    # its dropout was drawn otherwise, so the losses differ, but not by much
    assert (done.code, done.json["verdict"]) == (3, "different"), done.err
    assert done.json["epochs_compared"] == 2
    assert "version of lstm-sweep: then 0.1.0, now" in done.err
    assert "another version of lstm-sweep made this trial" in done.err
    again = run_here("show", done.json["rerun_run_id"], "--json", cwd=old).json
    assert again["val_loss"] == pytest.approx(LOSSES[trial], rel=0.05)


def test_a_trial_of_the_first_version_that_differs_says_why_it_may(tmp_path: Path) -> None:
    change(unpack(tmp_path), "UPDATE metrics SET value = value + 1 WHERE key = 'val_loss'")
    done = run_here("rerun", "old/0", cwd=tmp_path)
    assert done.code == 3, done.err
    assert "verdict: different (2 epochs compared)" in done.out
    assert "another version of lstm-sweep made this trial" in done.out


@pytest.mark.full
def test_the_best_network_of_the_first_version_is_exported(old: Path, tmp_path: Path) -> None:
    done = run_here("export", "old", "--to", tmp_path / "best", "--json", cwd=old)
    assert done.code == 0, done.err
    assert done.json["trial"] == "old/2"
    assert done.json["test_loss"] == pytest.approx(2.25880, rel=1e-3)  # on all test symbols
    assert (tmp_path / "best" / "model.keras").is_file()


def test_a_sweep_of_the_first_version_cannot_go_on(old: Path) -> None:
    said = refused(run_here("resume", "old", "--trials", "9", cwd=old))
    assert "'old' was made by a version of this program that could not resume" in said
    stopped = run_here("stop", "old", cwd=old)
    assert (stopped.code, stopped.out) == (0, "sweep old: finished, nothing to stop\n")
    taken = run_here("launch", "--data", "words.txt", "--name", "old", cwd=old)
    assert "lstm-sweep trials old" in refused(taken)


def test_data_that_have_changed_since_the_first_version_are_refused(tmp_path: Path) -> None:
    text = (unpack(tmp_path) / "words.txt").read_text(encoding="utf-8")
    (tmp_path / "words.txt").write_text("m" + text[1:], encoding="utf-8")
    for command in (("rerun", "old/0"), ("export", "old", "--to", "best")):
        assert "have changed since trial old/" in refused(
            run_here(*command, "--json", cwd=tmp_path)
        )


#: digests that the first version took: of texts with symbols that are new after the training
#: data, of lines of ids in folders for each split, and of a sample
@pytest.mark.parametrize(
    "data, digest",
    [
        ("texts", "a3f9e1a42df779adacbad5c43442232c"),
        ("parts", "89cb8be2e19fd8bbe3803d634b3b23dd"),
        ("workflow-log", "d879f2d4772c29263bf967bf1dfa814a"),
    ],
)
def test_data_are_known_again_by_the_digest_of_the_first_version(
    tmp_path: Path, data: str, digest: str
) -> None:
    files = {f"texts/{n}.txt": f"sun and moon {n} " * (20 + n) + chr(0x3B1 + n) for n in range(6)}
    files |= {
        "parts/train/log.txt": "1 2 3\n2 3 1\n" * 30,
        "parts/validation/log.txt": "3 2 1 4\n" * 9,
        "parts/test/log.txt": "7 1 2\n" * 9,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    source = Source(data=data if data == "workflow-log" else str(tmp_path / data), ends=False)
    corpus = corpora.load(source)
    assert corpus.digest != digest
    assert same_corpus.first_digest(source, corpus) == digest


def at_another_place(folder: Path) -> None:
    """Give the specs of sweeps the digests that they have now that they are in `folder`.

    First each digest is compared with the one that its own version took, at `PLACE`.
    """
    database = sqlite3.connect(folder / "mlflow.db")
    specs = database.execute("SELECT run_uuid, value FROM tags WHERE key = 'sweep.spec.0'")
    for run_id, text in specs.fetchall():
        spec = json.loads(text.replace(str(folder), PLACE))
        assert digest_of(spec) == SPECS[spec["name"]]
        change(
            folder,
            f"UPDATE tags SET value = '{digest_of(json.loads(text))}' "
            f"WHERE key = 'sweep.spec_digest' AND run_uuid = '{run_id}'",
        )
    database.close()


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sweeps of the last version before the package: two broken off, and `done`; reruns only."""
    folder = unpack(tmp_path_factory.mktemp("broken-off"), BEFORE_PACKAGE)
    at_another_place(folder)
    return folder


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same store, whose sweeps have been resumed to their end, `done` to two more trials."""
    folder = unpack(tmp_path_factory.mktemp("resumed"), BEFORE_PACKAGE)
    at_another_place(folder)
    for command in (
        ("text",),
        ("lines", "--template", "lines.py"),
        ("done", "--trials", "4"),
    ):
        done = run_here("resume", *command, "--json", cwd=folder)
        assert (done.code, done.json["state"]) == (0, "finished"), done.err
    return folder


def trials(folder: Path, sweep: str) -> dict[str, Any]:
    rows = run_here("trials", sweep, "--json", cwd=folder).json
    return {row["trial"]: row for row in rows}


def test_sweeps_from_before_the_package_are_listed_and_shown(broken_off: Path) -> None:
    rows = run_here("sweeps", "--json", cwd=broken_off).json
    assert {row["sweep"]: (row["state"], row["trials_done"]) for row in rows} == {
        "text": ("interrupted", 3),
        "lines": ("interrupted", 3),
        "done": ("finished", 2),
    }
    for sweep, ended in {"text": [2, 2, 1], "lines": [3, 3, 1]}.items():
        found = trials(broken_off, sweep)
        assert [found[f"{sweep}/{number}"]["epochs"] for number in range(3)] == ended
        outcomes = [found[f"{sweep}/{number}"]["outcome"] for number in range(3)]
        assert outcomes == ["complete", "complete", "stopped"]
        assert "interrupted" in run_here("show", f"{sweep}/2", cwd=broken_off).out
    [epoch] = run_here("show", "text/2", "--json", cwd=broken_off).json["by_epoch"]
    assert epoch["val_loss"] == 2.490676509044617


@pytest.mark.parametrize("sweep", ["text", "lines", "done"])
def test_a_sweep_from_before_the_package_is_resumed_as_by_its_own_version(
    resumed: Path, sweep: str
) -> None:
    found = trials(resumed, sweep)
    expected = {trial: end for trial, end in ENDS.items() if trial.startswith(sweep)}
    assert set(found) - {"lines/6"} == set(expected)  # it is pruned, and has no loss
    for trial, (seed, config, loss) in expected.items():
        row = found[trial]
        assert (row["outcome"], row["seed"]) == ("complete", seed), trial
        assert tuple(row["config"][name] for name in SHOWN if name in row["config"]) == config
        # another processor may round otherwise
        assert row["val_loss"] == pytest.approx(loss, rel=1e-3), trial
    began_again = {trial for trial, row in found.items() if row["attempt"] == 2}
    assert began_again == ({f"{sweep}/2"} if sweep != "done" else set())


@pytest.mark.parametrize("trial", ["text/1", "lines/1"])
def test_a_trial_from_before_the_package_is_trained_again(broken_off: Path, trial: str) -> None:
    own = ("--template", "lines.py") if trial == "lines/1" else ()
    done = run_here("rerun", trial, *own, "--json", cwd=broken_off)
    # `identical` unless the processor rounds otherwise
    assert (done.code, done.json["epochs_compared"]) == (0, 2 if trial == "text/1" else 3), done.err
    assert done.json["verdict"] in ("identical", "within_tolerance")
    assert done.json["max_difference"] < 1e-3


@pytest.mark.parametrize(
    "place, sweep",
    [
        ("broken_off", "text"),
        *in_full(("broken_off", "lines"), ("resumed", "text"), ("resumed", "lines")),
    ],
)
def test_the_best_network_from_before_the_package_is_exported(
    request: pytest.FixtureRequest, tmp_path: Path, place: str, sweep: str
) -> None:
    folder = request.getfixturevalue(place)
    best = {"broken_off": {"text": "text/0", "lines": "lines/1"}}.get(
        place, {"text": "text/2", "lines": "lines/5"}
    )
    done = run_here("export", sweep, "--to", tmp_path / "best", "--json", cwd=folder)
    assert (done.code, done.json["trial"]) == (0, best[sweep]), done.err
    assert (tmp_path / "best" / "model.keras").is_file()


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a sweep of schema 99, and one that was begun by this version."""
    from mlflow import MlflowClient

    folder = unpack(tmp_path_factory.mktemp("newer"))
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lstm-sweep").experiment_id
    for run in client.search_runs([experiment]):
        client.set_tag(run.info.run_id, "sweep.schema", "99")
    tags = {"sweep.role": "sweep", "sweep.name": "mine", "sweep.state": "stopped"}
    client.create_run(experiment, tags=tags | {"sweep.schema": "1"}, run_name="mine")
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ("trials", "old"),
        ("show", "old/1"),
        ("show", "86b9aeb7fb054e66811d6a06724369ad"),
        ("show", "86b9aeb7"),
        ("export", "old", "--to", "best"),
        ("export", "old/2", "--to", "best"),
        ("rerun", "old/1"),
        ("resume", "old"),
        ("stop", "old"),
        ("launch", "--data", "words.txt", "--name", "old"),
    ],
    ids=" ".join,
)
def test_what_a_newer_version_made_is_refused(newer: Path, command: tuple[str, ...]) -> None:
    said = refused(run_here(*command, cwd=newer))
    assert said == (
        "lstm-sweep: sweep 'old' has schema 99, expected at most 1: "
        "a newer version of lstm-sweep made it"
    )
    assert not (newer / "best").exists()


def test_sweeps_of_a_newer_version_are_listed_among_the_others(newer: Path) -> None:
    rows = run_here("sweeps", "--json", cwd=newer).json
    states = {row["sweep"]: row["state"] for row in rows}
    assert states == {"old": "made by a newer version", "mine": "stopped"}
    table = run_here("sweeps", cwd=newer).out
    assert "made by a newer version" in table and "mine" in table
