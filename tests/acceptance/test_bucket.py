"""Files of runs in a bucket, as an S3 server keeps it, behind the server of `ui`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tracking import MlflowStore
from tests.cases import Place
from tests.fakes import ScriptedEngine
from tests.servers import free_port, served
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec

SECRET = "a key of the tests"


@dataclass(frozen=True)
class Storage:
    """An S3 server with the bucket `runs`."""

    client: Any
    #: what leads there, and lets in
    environment: dict[str, str]

    def names(self) -> list[str]:
        """What lies in the bucket."""
        listed = self.client.list_objects_v2(Bucket="runs")
        return [str(item["Key"]) for item in listed.get("Contents", [])]


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    import boto3
    from moto.server import ThreadedMotoServer

    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    keys = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": SECRET}
    address = f"http://127.0.0.1:{port}"
    where = {"MLFLOW_S3_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1"}
    # this machine and its user may have keys of their own
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    nowhere["AWS_EC2_METADATA_DISABLED"] = "true"
    with mock.patch.dict(os.environ, {**where, **nowhere, **keys}):
        client = boto3.client("s3", endpoint_url=address)
    client.create_bucket(Bucket="runs")
    yield Storage(client, {**where, **nowhere, **keys})
    server.stop()


@pytest.fixture
def team(
    storage: Storage, workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A server that alone has the keys of the bucket in which it keeps the files of runs."""
    for name in list(os.environ):  # those who sweep have no keys
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    behind = workplace("behind_bucket")
    (behind / "mlflow.yaml").write_text("artifacts: s3://runs/of/a/team\n", encoding="utf-8")
    with served(behind, **storage.environment) as address:
        yield address
    kept = {path.name.partition("-")[0] for path in behind.iterdir()}
    assert kept == {"mlflow.yaml", "mlflow.db"}


@pytest.mark.full
def test_a_template_is_searched_by_a_team_with_a_bucket(
    team: str, storage: Storage, tmp_path: Path
) -> None:
    shutil.copy(Path(__file__).parents[1] / "templates" / "sequences.py", tmp_path)
    place = Place(tmp_path, {"MLFLOW_TRACKING_URI": team})
    launch = ("launch", "--template", "sequences.py", "--name", "s", "--json")
    done = place.run(*launch, "--trials", "1", "--confirm-configs", "0")
    assert done.code == 0, done.err
    assert len(place.trials("s")) == 1
    best = done.json["best"]["trial"]
    named = ("--template", "sequences.py", "--json")  # what a server says is run by nobody
    again = place.run("rerun", best, *named)
    assert (again.code, again.json["verdict"]) == (0, "identical"), again.err
    exported = place.run("export", "s", "--to", "best", "--json")
    assert exported.code == 0, exported.err
    assert exported.json["trial"] == best
    kept = storage.names()
    assert all(name.startswith("of/a/team/") for name in kept)
    assert {"sweep.yaml", "evidence.json", "model.keras"} <= {Path(name).name for name in kept}
    assert {path.name for path in tmp_path.iterdir()} == {"sequences.py", "best"}


@pytest.mark.parametrize("bucket", ["nothing", "run_s"])
def test_a_bucket_that_is_not_there_is_one_clear_line(
    storage: Storage, workplace: Callable[[str], Path], bucket: str
) -> None:
    folder = workplace("no_bucket")
    (folder / "mlflow.yaml").write_text(f"artifacts: s3://{bucket}/a\n", encoding="utf-8")
    refused = Place(folder, dict(storage.environment)).read("ui")
    check_line(refused.refusal, f"s3://{bucket}/a")


def check_line(line: str, place: str) -> None:
    """Make sure that a line says what it takes to reach a place."""
    assert line.startswith(f"lstm-sweep: artifacts {place}: ")
    assert "expected a place that answers" in line and "AWS_ACCESS_KEY_ID" in line
    assert SECRET not in line


@pytest.mark.full
def test_a_sweep_without_a_server_needs_the_keys_to_write_and_to_read(
    storage: Storage,
    workplace: Callable[[str], Path],
    data: Path,
    corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = workplace("own_bucket")
    (folder / "mlflow.yaml").write_text("artifacts: s3://runs/mine\n", encoding="utf-8")
    for name, value in storage.environment.items():
        monkeypatch.setenv(name, value)
    spec = tiny_spec(data=str(data), trials=2, **PLAIN)
    sweep_of(MlflowStore(load(folder, {})), corpus, ScriptedEngine(LOSSES), spec).run()
    assert any(name.startswith("mine/") for name in storage.names())
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    place = Place(folder, apart=True)  # MLflow keeps keys that it has seen
    assert len(place.trials("s")) == 2
    check_line(place.run("export", "s", "--to", "best").refusal, "s3://runs/mine")
    assert not (folder / "best").exists()
