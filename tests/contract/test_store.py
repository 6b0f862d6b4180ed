"""One suite for all stores: in memory, in a real SQLite file and behind a real tracking server."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.db import utils
from mlflow.store.tracking import sqlalchemy_store

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver.state import Observer
from lstm_sweep.search.engines.base import InlineEngine
from lstm_sweep.search.store import experiment, reader, tracking
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Begins, MlflowStore, Store
from tests.conftest import in_full
from tests.fakes import ScriptedEngine
from tests.sweeps import real_store, store_in, sweep_of, tiny_spec


@pytest.fixture(params=["memory", "sqlite", *in_full("server")])
def store(request: pytest.FixtureRequest) -> Store:
    return MemoryStore() if request.param == "memory" else real_store(request)


# --- what holds for each store --------------------------------------------------------------------


def test_metrics_come_back_bit_for_bit(store: Store) -> None:
    run_id = store.create_run("r", {})
    given = [math.pi, 0.1 + 0.2, 1e-300, math.inf, -math.inf, math.nan, 1e308]
    for step, value in enumerate(given):
        store.log(run_id, metrics={"loss": value}, step=step)
    found = store.history(run_id, "loss")
    assert list(map(repr, found.values())) == list(map(repr, given))


def test_a_tag_that_mlflow_would_cut_off_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="9,000 characters"):
        store.create_run("r", {"long": "x" * 9000})


def test_a_null_character_which_not_every_database_holds_is_escaped(store: Store) -> None:
    run_id = store.create_run("r", {"sweep.device": "a\0b"})
    store.log(run_id, tags={"sweep.reason": "ValueError: c\0d"}, params={"data": "e\0f"})
    tags = store.tags(run_id)
    assert (tags["sweep.device"], tags["sweep.reason"]) == ("a\\0b", "ValueError: c\\0d")
    assert store.run(run_id).data.params["data"] == "e\\0f"


def test_runs_are_found_by_tags_ids_names_and_metrics(store: Store) -> None:
    sweep = {Tag.ROLE: "sweep", Tag.NAME: "mine"}
    first, second = (store.create_run(name, sweep) for name in ("a", "b"))
    other = store.create_run("c", {Tag.ROLE: "sweep", Tag.NAME: "other", Tag.OWNER: "o'brien"})
    trial = store.create_run("t", {Tag.NAME: "mine", Tag.TRIAL: "0"}, parent=first)
    for run_id, loss in ((first, 2.0), (second, 1.0)):
        store.log(run_id, metrics={"best_val_loss": loss})

    def ids(runs: list[Any]) -> list[str]:
        return [run.info.run_id for run in runs]

    assert set(ids(store.runs())) == {first, second, other, trial}
    assert set(ids(store.runs(sweep))) == {first, second}
    assert ids(store.runs({Tag.PARENT: first})) == [trial]
    assert ids(store.runs({Tag.OWNER: "o'brien"})) == [other]
    lowest, _ = store.select(sweep, 1, order="best_val_loss")
    by_id, _ = store.select({"": Begins(trial[:8])}, 5)
    by_name, _ = store.select({Tag.ROLE: "sweep", Tag.NAME: Begins("mi")}, 5)
    assert (ids(lowest), ids(by_id), set(ids(by_name))) == ([second], [trial], {first, second})
    page, token = store.select({Tag.ROLE: "sweep"}, 2)
    rest, end = store.select({Tag.ROLE: "sweep"}, 2, token)
    assert (len(page), len(rest), end) == (2, 1, "")
    assert {*ids(page), *ids(rest)} == {first, second, other}
    with pytest.raises(InputError, match="page is 'x'"):
        store.select({Tag.ROLE: "sweep"}, 2, "x")
    with pytest.raises(InputError, match="has both kinds of quotes"):
        store.runs({Tag.OWNER: "'\""})
    assert store.run("0" * 32) is None


def test_the_newest_of_a_name_are_found_beside_those_that_look_like_it(store: Store) -> None:
    for name in ("a_b-1", "a_b-2", *(f"a.b-{number}" for number in range(4))):
        store.create_run(name, {Tag.ROLE: "sweep", Tag.NAME: name})
    named: dict[str, Any] = {Tag.ROLE: "sweep", Tag.NAME: Begins("a_b-")}
    found, token = store.select(named, 1)
    rest, end = store.select(named, 2, token)
    names = [run.data.tags[Tag.NAME] for run in (*found, *rest)]
    assert (len(found), sorted(names), end) == (1, ["a_b-1", "a_b-2"], "")


def test_a_param_is_written_once_and_a_status_and_tags_change(store: Store) -> None:
    run_id = store.create_run("r", {})
    assert store.log_once(run_id, "owns_name", "yes") and store.log_once(run_id, "owns_name", "yes")
    assert not store.log_once(run_id, "owns_name", "no")
    with pytest.raises(Exception, match="owns_name"):
        store.log(run_id, params={"owns_name": "no"})
    assert store.run(run_id).data.params == {"owns_name": "yes"}
    assert store.run(run_id).info.status == "RUNNING"
    store.finish(run_id, "FAILED")
    before = store.run(run_id).info
    store.reopen(run_id, "SCHEDULED")
    after = store.run(run_id).info
    assert (before.status, after.status) == ("FAILED", "SCHEDULED")
    assert before.start_time <= before.end_time == after.end_time
    assert after.run_name == "r"


def test_the_latest_value_of_a_metric_is_that_of_the_last_step(store: Store) -> None:
    run_id = store.create_run("r", {})
    store.log(run_id, metrics={"loss": 1.0}, step=3, steps={1: {"loss": 3.0}, 2: {"loss": 2.0}})
    store.log(run_id, metrics={"loss": 9.0}, step=1)
    run = store.run(run_id)
    assert run.data.metrics == {"loss": 1.0}
    run.data.tags["changed"] = "here"
    assert "changed" not in store.tags(run_id)
    assert {step for step, _, _ in store.timeline(run_id, "loss")} == {1, 2, 3}
    assert store.history(run_id, "none") == {}


def test_files_are_kept_and_let_go(store: Store, tmp_path: Path) -> None:
    run_id = store.create_run("r", {})
    (tmp_path / "model.keras").write_bytes(b"weights")
    store.keep_file(run_id, tmp_path / "model.keras", "model")
    (tmp_path / "back").mkdir()
    fetched = store.fetch(run_id, "model/model.keras", tmp_path / "back")
    assert fetched.read_bytes() == b"weights"
    assert store.bytes_of(run_id, "model") == store.bytes_of(run_id) == 7
    store.drop_folder(run_id, "model")
    store.drop_folder(run_id, "model")
    assert store.bytes_of(run_id) == 0
    store.keep_text(run_id, "a: 1", "sweep.yaml")
    assert store.fetch(run_id, "sweep.yaml", tmp_path / "back").read_text() == "a: 1"


class _Unread(Observer):
    """A display whose output is closed by its reader."""

    def trial_ended(self, progress: Any, state: Any) -> None:
        raise SystemExit(1)


def test_a_sweep_goes_on_when_nobody_reads_what_it_prints(corpus: Corpus) -> None:
    memory, spec = MemoryStore(), tiny_spec(trials=3, epochs=1)
    engine = ScriptedEngine({n: [3.0 - n] for n in range(3)})
    state = sweep_of(memory, corpus, engine, spec, observer=_Unread()).run()
    assert state.counts == {"complete": 3}
    assert memory.run(state.run_id).info.status == "FINISHED"


def test_a_real_trial_runs_inline_through_the_whole_loop(corpus: Corpus) -> None:
    memory = MemoryStore()
    state = sweep_of(memory, corpus, InlineEngine(), tiny_spec(trials=1)).run()
    assert state.counts == {"complete": 1}
    [record] = reader.trials(memory, "s")
    assert record.best_loss == state.finished[0].best_loss
    assert record.has_weights
    logged = memory.run(record.run_id).data.metrics
    assert {name for line in experiment.LINES for name in line} - {""} <= logged.keys()


NFS = "36 35 98:0 / {} rw,noatime master:1 - nfs4 server:/home rw\n"
EXT4 = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What has the system list these file systems, or nothing."""

    def mount(lines: str) -> None:
        mounts = tmp_path / "mountinfo"
        monkeypatch.setattr(tracking, "MOUNTS", mounts)
        mounts.unlink(missing_ok=True)
        if lines:
            mounts.write_text(lines, encoding="utf-8")

    return mount


def opened(folder: Path) -> tuple[MlflowStore, str]:
    """The store of a folder, and the kind of journal that its file has then."""
    store = store_in(folder)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        [(mode,)] = connection.execute("PRAGMA journal_mode").fetchall()
    return store, mode


def test_a_new_file_has_a_write_ahead_log_where_one_host_alone_may_use_it(
    tmp_path: Path, mounted: Callable[[str], None]
) -> None:
    for name, mounts, mode in (("own", EXT4, "wal"), ("nfs", EXT4 + NFS.format("{}"), "delete")):
        folder = tmp_path / name
        folder.mkdir()
        mounted(mounts.format(folder))
        assert opened(folder)[1] == mode, name


@pytest.mark.parametrize(
    ("name", "mounts", "shared"),
    [
        ("nfs with a space", EXT4 + NFS.format("{}"), True),
        ("fuse", EXT4 + NFS.format("{}").replace("nfs4", "fuse.sshfs"), True),
        ("a new kind", EXT4 + NFS.format("{}").replace("nfs4", "newfs"), True),
        ("disk below nfs", NFS.format("/") + EXT4.replace(" / / ", " / {} "), False),
        ("no Linux", "", True),
    ],
)
def test_a_folder_is_shared_unless_it_is_known_to_be_of_one_host(
    name: str, mounts: str, shared: bool, tmp_path: Path, mounted: Callable[[str], None]
) -> None:
    folder = tmp_path / name
    mounted(mounts.format(str(folder).replace(" ", "\\040")))
    assert (tracking.kind_of(folder) not in tracking.OWN) == shared


def test_a_write_ahead_log_on_a_network_is_taken_away_once_nobody_uses_it(
    workplace: Callable[[str], Path], mounted: Callable[[str], None]
) -> None:
    folder = workplace("moved")
    mounted(EXT4)
    store, mode = opened(folder)
    run_id = store.create_run("kept", {"sweep.name": "kept"})
    assert mode == "wal"
    mounted(EXT4 + NFS.format(folder))
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as other:
        other.execute("SELECT count(*) FROM runs").fetchone()
        with pytest.raises(InputError, match="file system of type nfs4, and is in use; expected"):
            store_in(folder)
    store.client._tracking_client.store.engine.dispose()
    again, mode = opened(folder)
    assert (mode, again.tags(run_id)["sweep.name"]) == ("delete", "kept")
    mounted(EXT4)  # as on the host whose disk the others have by the network
    assert opened(folder)[1] == "delete"


def test_runs_are_found_though_they_fill_several_answers(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "RUNS_PER_PAGE", 2)
    many = [store.create_run(f"r{number}", {"sweep.name": "many"}) for number in range(5)]
    other = store.create_run("other", {"sweep.name": "other"})
    assert [run.info.run_id for run in store.runs({"sweep.name": "many"})] == many
    assert [run.info.run_id for run in store.runs()] == [*many, other]


def test_data_that_another_process_logs_at_the_same_moment_are_logged(
    workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workplace("same")
    store = store_in(folder)
    data = {"name": "words.txt", "digest": "0" * 32, "source": "words.txt"}
    first, second = (store.create_run("r", {}) for _ in range(2))
    new_id = sqlalchemy_store.uuid.uuid4

    def meanwhile() -> Any:
        """Called by MLflow between its look for the data and its write of them."""
        monkeypatch.setattr(sqlalchemy_store.uuid, "uuid4", new_id)
        store_in(folder).log_dataset(second, **data)
        return new_id()

    monkeypatch.setattr(sqlalchemy_store.uuid, "uuid4", meanwhile)
    store.log_dataset(first, **data)
    for run_id in (first, second):
        [one] = store.client.get_run(run_id).inputs.dataset_inputs
        assert (one.dataset.name, one.dataset.digest) == (data["name"], data["digest"])


def test_tags_are_there_once_all_metrics_are_that_were_logged_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path)
    run_id, seen = store.create_run("r", {}), list[int]()
    log_batch = sqlalchemy_store.SqlAlchemyStore.log_batch

    def noted(self: Any, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        log_batch(self, run_id, metrics, params, tags)
        run = self.get_run(run_id).data
        if run.tags.get("outcome"):
            seen.append(int(run.metrics["val_loss"]))

    monkeypatch.setattr(sqlalchemy_store.SqlAlchemyStore, "log_batch", noted)
    steps = {n: {"val_loss": float(n), "epoch": float(n)} for n in range(700)}
    store.log(run_id, steps=steps, params={"seed": 1}, tags={"outcome": "complete"})
    assert seen == [699]
    assert store.history(run_id, "epoch").keys() == steps.keys()


def test_a_store_is_made_anew_if_its_process_is_killed_while_its_tables_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(engine: Any) -> None:
        with sqlite3.connect(engine.url.database) as connection:
            connection.execute("CREATE TABLE _alembic_tmp_latest_metrics (key TEXT)")
        os._exit(9)

    monkeypatch.setattr(utils, "_upgrade_db", killed)
    if not (child := os.fork()):
        store_in(tmp_path)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not (tmp_path / "mlflow.db").exists()
    monkeypatch.undo()
    assert store_in(tmp_path).create_run("r", {})
    assert [path.name for path in tmp_path.glob("mlflow.db*.new*")] == []
