"""Files of runs in a bucket, as an S3 server keeps it, behind the server of `ui`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from models.corpus import Corpus
from search.settings import load
from search.tracking import Store
from tests.cases import Place
from tests.conftest import TINY, write_text
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
    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    keys = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": SECRET}
    address = f"http://127.0.0.1:{port}"
    region = "us-east-1"
    client = boto3.client(
        "s3",
        endpoint_url=address,
        region_name=region,
        aws_access_key_id="tests",
        aws_secret_access_key=SECRET,
    )
    client.create_bucket(Bucket="runs")
    where = {"MLFLOW_S3_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": region}
    # this machine and its user may have keys of their own
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    nowhere["AWS_EC2_METADATA_DISABLED"] = "true"
    yield Storage(client, {**where, **nowhere, **keys})
    server.stop()


def test_a_sweep_through_the_server_keeps_its_files_in_the_bucket(
    storage: Storage,
    workplace: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    behind = workplace("behind_bucket")
    (behind / "mlflow.yaml").write_text("artifacts: s3://runs/of/a/team\n", encoding="utf-8")
    write_text(tmp_path / "words.txt")
    for name in list(os.environ):  # those who sweep have no keys
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    with served(behind, **storage.environment) as address:
        place = Place(tmp_path, {"MLFLOW_TRACKING_URI": address})
        launch = ("launch", "--data", "words.txt", "--name", "s", "--json", *TINY, "--trials", "2")
        done = place.run(*launch)
        assert done.code == 0, done.err
        kept = storage.names()
        exported = place.run("export", "s", "--to", "best", "--json")
    assert exported.code == 0, exported.err
    assert exported.json["trial"] == done.json["best"]["trial"]
    assert all(name.startswith("of/a/team/") for name in kept)
    assert {"sweep.yaml", "evidence.json", "model.keras"} <= {Path(name).name for name in kept}
    assert {path.name for path in tmp_path.iterdir()} == {"words.txt", "best"}
    assert {path.name.split(".")[0] for path in behind.iterdir()} == {"mlflow"}


@pytest.mark.parametrize("bucket", ["nothing", "run_s"])
def test_a_bucket_that_is_not_there_is_one_clear_line(
    storage: Storage, workplace: Callable[[str], Path], bucket: str
) -> None:
    folder = workplace("no_bucket")
    (folder / "mlflow.yaml").write_text(f"artifacts: s3://{bucket}/a\n", encoding="utf-8")
    done = Place(folder, dict(storage.environment)).read("ui")
    assert (done.code, done.out) == (2, "")
    check_line(done.err, f"s3://{bucket}/a")


def check_line(err: str, place: str) -> None:
    """Make sure that one line says what it takes to reach a place."""
    [line] = err.splitlines()
    assert line.startswith(f"lstm-sweep: artifacts {place}: ")
    assert "expected a place that answers" in line and "AWS_ACCESS_KEY_ID" in line
    assert SECRET not in line


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
    sweep_of(Store(load(folder, {})), corpus, ScriptedEngine(LOSSES), spec).run()
    assert any(name.startswith("mine/") for name in storage.names())
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    place = Place(folder)
    assert len(place.trials("s")) == 2
    refused = place.run("export", "s", "--to", "best")  # MLflow keeps keys that it has seen
    assert (refused.code, refused.out) == (2, "")
    check_line(refused.err, "s3://runs/mine")
    assert not (folder / "best").exists()
