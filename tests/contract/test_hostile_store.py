"""A store whose runs somebody else has written: nothing of it runs, or stops what is good in it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import export, references, rerun, sweeps
from lstm_sweep.search.driver import lease, resume
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.driver.lstm_task import earlier_best
from lstm_sweep.search.driver.state import Observer
from lstm_sweep.search.driver.sweep import Sweep
from lstm_sweep.search.driver.task import read_template
from lstm_sweep.search.store import reader, server
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.journal import spec_tags
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Device
from lstm_sweep.spaces.template.template import Template
from tests.conftest import Done, in_full, run_here, write_text
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, tiny_spec

#: tags that are read of the run of a sweep, of a trial, and of a baseline
OF_SWEEP = ["sweep.name", "sweep.state", "sweep.reason", "sweep.format", "sweep.lease",
            "sweep.data", "sweep.seconds", "sweep.corpus_digest", "sweep.spec.0",
            "sweep.slot_seconds", "sweep.template", "sweep.slots", "sweep.stop", "sweep.role",
            "sweep.stop_reason", "sweep.time", "sweep.spec_digest", "sweep.prior",
            "sweep.submitted", "sweep.started", "sweep.queued", "sweep.waits", "sweep.changes",
            "sweep.owner", "sweep.priority", "sweep.client_token", "sweep.submitted_digest",
            "sweep.expected_seconds", "sweep.unconfirmed", "sweep.queue_signature",
            "sweep.spec_signature", "sweep.unknown_share", "sweep.pruned", "sweep.classes",
            "sweep.verdicts", "sweep.labelled"]  # fmt: skip
OF_TRIAL = ["sweep.name", "sweep.trial", "sweep.attempt", "sweep.phase", "sweep.vals", "sweep.seed",
            "sweep.device", "sweep.config", "sweep.outcome", "sweep.reason", "sweep.curve",
            "sweep.format", "sweep.data", "sweep.scoring", "sweep.corpus_digest", "sweep.template",
            "sweep.weights", "sweep.rerun_of", "sweep.verdict", "version.keras",
            "mlflow.parentRunId", "sweep.rounds_per_epoch", "sweep.inputs", "sweep.most_rounds",
            "sweep.unfinished", "sweep.scoring_seconds", "sweep.paused", "sweep.steps",
            "sweep.makes_room", "sweep.model_loss", "sweep.averaged", "sweep.driver_died",
            "sweep.unknown_share"]  # fmt: skip
OF_BASELINE = ["sweep.phase", "sweep.baseline"]
#: a line that clears the screen, closes a style, and writes to the title, in one byte as well
STEERING = "\x1b[2J[/x]\n\x9b2J\x1b]0;owned\x07\u202e"
LONG = "9" * 20_000
WRONG = [None, "", "-1", "nan", "[[1]]", '{"layers": 99}', STEERING, LONG, "[" * 50_000,
         '{"path": "/x", "digest": "0123456789abcdef", "data": 1, "split": {}}']  # fmt: skip
DEVICE = Device(kind="cpu: one", memory=1 << 33)
#: tags that are written for people, for MLflow, or to be compared by users; nothing reads them
WRITTEN_ALONE = {
    Tag.CREATION, Tag.DATA_CONTEXT, Tag.EXPERIMENT_KIND, Tag.NODE, Tag.NOTE, Tag.PROGRAM,
    Tag.SIZE_RULE, Tag.SPACE_DIGEST, Tag.USER, Tag.VIEW_STATE,
}  # fmt: skip


class Stored:
    """A folder with a store of one good sweep, beside which others are written by SQL."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, 0
        uri, files = f"sqlite:///{folder / 'mlflow.db'}", (folder / "mlartifacts").as_uri()
        self.store = MlflowStore(Settings(uri, files, "lstm-sweep", "test"))
        data = str(write_text(folder / "words.txt"))
        self.spec = tiny_spec(data=data, trials=2, name="good", **PLAIN)
        Sweep(
            self.spec, name="good", task=CorpusTask.open(self.spec), store=self.store,
            engine=ScriptedEngine(LOSSES), observer=Observer(),
        ).run()  # fmt: skip
        self.database = sqlite3.connect(folder / "mlflow.db")
        self.database.execute("PRAGMA synchronous=OFF")
        [self.sweep] = self.store.runs({"sweep.role": "sweep"})
        self.sweep_id = self.sweep.info.run_id
        self.trial_id = reader.find_trial(self.store, "good/1").run_id
        self.baseline_id = self.store.runs({"sweep.phase": "baseline"})[0].info.run_id
        self._good, self._files = sqlite3.connect(":memory:"), {*folder.iterdir()}
        self.database.backup(self._good)

    def restore(self) -> None:
        """Undo what a test has done."""
        self._good.backup(self.database)
        for path in {*self.folder.iterdir()} - self._files:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def say(self, statement: str, *values: object) -> None:
        """Change the store behind the program's back; the statement must find a row."""
        with self.database:
            assert self.database.execute(statement, values).rowcount > 0

    def write(self, run_id: str, tag: str, value: str | None) -> None:
        """Give a run a tag, or take it away."""
        with self.database:
            self._write(run_id, tag, value)

    def _write(self, run_id: str, tag: str, value: str | None) -> None:
        change = self.database.execute
        change("DELETE FROM tags WHERE run_uuid = ? AND key = ?", (run_id, tag))
        if value is not None:
            row = (tag, value, run_id)
            change("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", row)

    def copy(self, run_id: str, tag: str, value: str | None, **own: str) -> str:
        """Make a run like another that has one other tag, beside its `own`; return its ID."""
        self.made += 1
        new = f"bad{self.made:029x}"
        with self.database as database:
            for table in ("runs", "tags", "params", "latest_metrics"):
                names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
                chosen = ", ".join("?" if name == "run_uuid" else name for name in names)
                database.execute(
                    f"INSERT INTO {table} SELECT {chosen} FROM {table} WHERE run_uuid = ?",
                    (new, run_id),
                )
            for name, text in own.items():
                self._write(new, name.replace("_", "."), text)
            self._write(new, tag, value)
        return new

    def run(self, *typed: str) -> Done:
        """Run a command; it must not end with a traceback, or steer the terminal."""
        done = run_here(*typed, cwd=self.folder)
        said = done.out + done.err
        assert "Traceback" not in said, said
        assert {c for c in said if not (c.isprintable() or c == "\n")} == set(), typed
        return done

    def answer(self, *typed: str) -> Done:
        """Run a command about a bad run: it works, or says in one line why it does not."""
        done = self.run(*typed)
        assert done.code in (0, 2) and len(done.err) < 2_000, done.err
        refusals = [line for line in done.err.splitlines() if line.startswith("lstm-sweep: ")]
        assert len(refusals) <= 1, done.err
        return done


@pytest.fixture(scope="module")
def made(workplace: Callable[[str], Path]) -> Stored:
    return Stored(workplace("hostile"))


@pytest.fixture
def stored(made: Stored, monkeypatch: pytest.MonkeyPatch) -> Stored:
    made.restore()
    for module in (sweeps, references):  # opening a store takes a while
        monkeypatch.setattr(module, "store_to_read", lambda settings: made.store)
    return made


def answered(call: Callable[[], object]) -> bool:
    """Whether something comes of a call; an error of one line is an answer too."""
    try:
        call()
    except InputError:
        return False
    return True


def check_lines(done: Done, bad: list[str], good: str = "good") -> None:
    """The good is served, and of each bad run there is one line at most."""
    assert done.code == 0, done.err
    assert good in done.out
    lines = done.err.splitlines()
    named = [[run_id for run_id in bad if run_id in line] for line in lines]
    assert all(len(found) == 1 for found in named), lines
    assert len({found[0] for found in named}) == len(lines)


def test_every_tag_that_is_read_is_tried() -> None:
    tags = {value for name, value in vars(Tag).items() if name.isupper()} - WRITTEN_ALONE
    tried = {*OF_SWEEP, *OF_TRIAL, *OF_BASELINE}
    assert [tag for tag in tags if not any(name.startswith(tag) for name in tried)] == []


FEW = [STEERING]
ONE_BY_ONE = [*FEW, *in_full(*(wrong for wrong in WRONG if wrong not in FEW))]


@pytest.mark.parametrize("wrong", ONE_BY_ONE, ids=lambda wrong: repr(wrong)[:20])
def test_no_tag_of_a_sweep_stops_others(stored: Stored, wrong: str | None) -> None:
    bad = {}
    for number, tag in enumerate(OF_SWEEP):
        bad[f"bad-{number}"] = stored.copy(stored.sweep_id, tag, wrong, sweep_name=f"bad-{number}")
    ids = list(bad.values())
    check_lines(stored.run("sweeps", "--all"), ids)
    check_lines(stored.run("sweeps", "--all", "--json"), ids)
    check_lines(stored.run("trials", "good"), ids)
    check_lines(stored.run("show", "good/0"), ids)
    assert references.free_name(stored.store, "good.txt") == "good-1"
    assert server.pages_of(stored.store, "http://127.0.0.1:5000").sweep is not None
    for name, run_id in bad.items():
        for command in ("status", "stop", "resume"):
            stored.answer(command, name)
        answered(lambda: references.check_free(stored.store, name))  # noqa: B023
        assert isinstance(lease.is_left(dict(Tags(stored.store.run(run_id)))), bool)


@pytest.mark.parametrize("wrong", [[STEERING], *in_full(WRONG)], ids=len)
def test_no_tag_of_a_trial_stops_others(stored: Stored, wrong: list[str | None]) -> None:
    cases = [(tag, value) for tag in OF_TRIAL for value in wrong]
    bad = [
        stored.copy(stored.trial_id, tag, value, sweep_trial=str(100 + number))
        for number, (tag, value) in enumerate(cases)
        if (tag, value) != ("sweep.outcome", "")
    ]
    bad += [stored.copy(stored.baseline_id, tag, v) for tag in OF_BASELINE for v in wrong]
    check_lines(stored.run("trials", "good"), bad, "good/1")
    check_lines(stored.run("trials", "good", "--json"), bad, "good/1")
    check_lines(stored.run("show", "good/0"), [])
    store, store_runs = stored.store, {run.info.run_id: run for run in stored.store.runs()}
    assert export.choose(store, "good/1").run_id == stored.trial_id
    digest = stored.sweep.data.tags.get(Tag.CORPUS_DIGEST, "")
    assert len(earlier_best(store, digest)) <= 1
    taken = 0
    for run_id in bad:
        stored.answer("show", run_id)

        def read(run: Any = store_runs[run_id]) -> None:
            record = reader.read_trial(run)
            resume._check_trial(record, stored.spec)
            resume._attempts(store, stored.sweep, [record])
            read_template(record.tags, None)
            rerun._check_proposed(store, record, None)
            CorpusTask.of_trial(record, record.config, None, DEVICE)

        taken += answered(read)
    assert 0 < taken < len(bad) / 2  # as tags that nothing hangs on
    before = store.tags(stored.sweep_id)
    assert not answered(lambda: resume.rebuild(store, stored.sweep, stored.spec))
    assert store.tags(stored.sweep_id) == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300])
def test_no_metric_stops_others(stored: Stored, value: float) -> None:
    is_nan, number = value != value, 0.0 if value != value else value
    change = "UPDATE latest_metrics SET value = ?, is_nan = ? WHERE run_uuid = ?"
    bad = [stored.copy(stored.sweep_id, "sweep.name", "bad")]
    bad += [stored.copy(stored.trial_id, "sweep.trial", "7")]
    for run_id in bad:
        stored.say(change, number, is_nan, run_id)
    check_lines(stored.run("sweeps", "--all", "--json"), bad)
    check_lines(stored.run("trials", "good", "--json"), bad, "good/1")
    stored.answer("show", bad[1])


def test_a_table_shows_what_would_steer_a_terminal_as_text(stored: Stored) -> None:
    bad = stored.copy(stored.sweep_id, "sweep.state", STEERING, sweep_name="bad")
    stored.write(stored.trial_id, "sweep.reason", STEERING)
    stored.write(stored.trial_id, "sweep.device", STEERING)
    assert r"\x1b[2J[/x]\n\x9b" in "".join(stored.run("sweeps", "--all").out.split())
    states = {row["run_id"]: row["state"] for row in stored.run("sweeps", "--all", "--json").json}
    assert states[bad] == STEERING
    shown = stored.run("show", "good/1").out
    assert shown.count(r"\x1b[2J[/x]") == 2
    assert json.loads(stored.run("show", "good/1", "--json").out)["reason"] == STEERING


def test_a_sweep_of_the_same_name_that_cannot_be_read_is_not_the_one_that_is_meant(
    stored: Stored,
) -> None:
    stored.copy(stored.sweep_id, "sweep.format", "99")
    check_lines(stored.run("trials", "good"), [], "good/1")


TEMPLATE = """
from pathlib import Path
Path({marker!r}).touch()

def data():
    return 1

def create_model(x):
    return {{{{uniform(0, 1)}}}}
"""


@pytest.mark.parametrize("whole", [False, True], ids=["a trial", "its sweep too"])
def test_a_template_that_a_store_names_is_not_run(stored: Stored, whole: bool) -> None:
    marker, file = stored.folder / "it ran", stored.folder / "planted.py"
    file.write_text(TEMPLATE.format(marker=str(marker)), encoding="utf-8")
    template = Template.read(str(file))
    [label] = template.hyperparameters
    about = json.dumps({"path": str(file), "digest": template.digest})
    trial = stored.copy(stored.trial_id, "sweep.template", about, sweep_trial="5")
    stored.write(trial, "sweep.config", json.dumps({label: 0.5}))
    stored.write(trial, "sweep.vals", json.dumps({label: 0.5}))
    if whole:
        spec = SweepSpec(template=template, space=template.space(), name="good", trials=9)
        for tag, text in spec_tags(spec, "good").items():
            stored.write(stored.sweep_id, tag, text)
        stored.write(stored.sweep_id, "sweep.template", about)
    commands = [("rerun", trial), ("rerun", "good/5"), ("export", trial, "--to", "out")]
    commands += [("resume", "good", "--trials", "9")] if whole else []
    for command in commands:
        done = stored.answer(*command)
        if command[0] != "export":
            assert done.code == 2
            assert "expected --template FILE.py, your own file" in done.err, done.err
    assert not marker.exists()
    without = stored.copy(stored.sweep_id, "sweep.template", None, sweep_name="without")
    assert without and stored.answer("resume", "without", "--trials", "9").code == 2
    assert not marker.exists()


def test_a_tag_does_not_lead_an_export_around_its_check(stored: Stored) -> None:
    about = json.dumps({"path": "/x.py", "digest": "0123456789abcdef"})
    stored.write(stored.trial_id, "sweep.template", about)
    assert stored.answer("export", stored.trial_id, "--to", "out").code == 2
    stored.write(stored.trial_id, "sweep.config", json.dumps({"units:3": 4}))
    done = stored.answer("export", stored.trial_id, "--to", "out")
    assert done.code == 2
    assert "tag sweep.template is" in done.err and "expected the template of its sweep" in done.err
    assert not (stored.folder / "out").exists()


@pytest.mark.parametrize("place", ["file:///{}/home", "{}/home", "file:///{}/mlartifacts/../home"])
def test_no_run_says_where_files_are_written_or_let_go(stored: Stored, place: str) -> None:
    home = stored.folder / "home"
    (home / "model").mkdir(parents=True)
    (home / "model" / "precious").touch()
    named = place.format(str(stored.folder).lstrip("/") if "://" in place else stored.folder)
    stored.say("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", named, stored.trial_id)
    store = MlflowStore(stored.store.settings)
    for call in (
        lambda: store.drop_folder(stored.trial_id, "model"),
        lambda: store.keep_text(stored.trial_id, "x", "model/config.json"),
        lambda: store.keep_file(stored.trial_id, stored.folder / "words.txt", "model"),
        lambda: store.fetch(stored.trial_id, "model/precious", stored.folder),
    ):
        with pytest.raises(InputError, match=f"run {stored.trial_id}: its files are at "):
            call()
    assert [path.name for path in home.rglob("*")] == ["model", "precious"]


def test_a_stored_config_that_no_search_of_its_sweep_can_propose_is_not_built(
    stored: Stored,
) -> None:
    run = stored.store.run(stored.trial_id)
    config = json.loads(run.data.tags["sweep.config"])
    large = json.dumps(config | {"layers": 16, "layer_size": 16384})
    stored.write(stored.trial_id, "sweep.config", large)
    for command in (("rerun", "good/1"), ("export", "good/1", "--to", "out")):
        assert stored.answer(*command).code == 2, command
    changed = stored.store.run(stored.trial_id)
    with pytest.raises(BadRunError, match="layers is 16, expected a value of the sweep's space"):
        resume._check_trial(reader.read_trial(changed), stored.spec)
    record = reader.find_trial(stored.store, "good/1")
    with pytest.raises(InputError, match=r"a network of 16x16384 has .* parameters: expected"):
        CorpusTask.of_trial(record, record.config, None, DEVICE)


@pytest.mark.parametrize("tag", ["sweep.name", "sweep.reason", "mlflow.note.content"])
def test_bytes_that_are_no_text_are_one_runs_own(stored: Stored, tag: str) -> None:
    bad = stored.copy(stored.sweep_id, tag, "x")
    stored.say(
        "UPDATE tags SET value = CAST(x'61ff' AS TEXT) WHERE run_uuid = ? AND key = ?", bad, tag
    )
    if tag != "sweep.name":
        stored.write(bad, "sweep.name", "other")
    done = stored.run("sweeps", "--all", "--json")
    assert done.code == 0, done.err
    assert "good" in {row["sweep"] for row in done.json}
    assert (bad in done.err) == (tag == "sweep.name"), done.err
    assert stored.store.tags(bad)[tag] == "a\\xff"
    assert stored.run("trials", "good", "--json").code == 0
    stored.say("DELETE FROM tags WHERE run_uuid = ?", bad)
