from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.errors import InputError
from search.experiment import Experiment
from search.settings import Settings

HTTP, SQLITE = "http://host:5000", "sqlite:////runs.db"


class Client:
    """An MLflow client of a store with at most one experiment."""

    def __init__(self, location: str | None = None, runs: tuple[Path, ...] = ()) -> None:
        self.found = None if location is None else _experiment(location)
        self.runs = [SimpleNamespace(info=SimpleNamespace(artifact_uri=r.as_uri())) for r in runs]
        self.made: list[str | None] = []

    def get_experiment_by_name(self, name: str) -> Any:
        return self.found

    def create_experiment(self, name: str, artifact_location: str | None, tags: Any) -> None:
        self.made.append(artifact_location)
        self.found = _experiment(artifact_location or "mlflow-artifacts:/1")

    def search_runs(self, *arguments: Any, **more: Any) -> Any:
        return self.runs


def _experiment(location: str) -> Any:
    return SimpleNamespace(experiment_id="1", artifact_location=location, lifecycle_stage="active")


def experiment_of(client: Client, uri: str, artifacts: str | None = None) -> Experiment:
    return Experiment(client, Settings(uri, artifacts, "mine", "test"))


def test_looking_makes_nothing_and_sees_what_others_have_made() -> None:
    client = Client()
    experiment = experiment_of(client, SQLITE, "file:///here")
    experiment.check_reach()
    assert (experiment.id, experiment.own_place, client.made) == (None, None, [])
    client.found = _experiment("file:///there")
    experiment.make()
    assert (experiment.id, client.made) == ("1", [])


@pytest.mark.parametrize(
    ("uri", "artifacts", "own_place"),
    [(SQLITE, "file:///here", "file:///here"), (HTTP, None, None)],
)
def test_whoever_makes_it_decides_where_files_lie(
    uri: str, artifacts: str | None, own_place: str | None
) -> None:
    client = Client()
    experiment = experiment_of(client, uri, artifacts)
    experiment.make()
    assert client.made == [artifacts]
    assert experiment.own_place == own_place


def test_somebody_who_made_it_at_the_same_time_is_no_failure() -> None:
    class Late(Client):
        def create_experiment(self, *arguments: Any, **more: Any) -> None:
            super().create_experiment("mine", None, {})
            raise RuntimeError("it exists")

    experiment = experiment_of(Late(), HTTP)
    experiment.make()
    assert experiment.id == "1"


def test_a_failure_to_make_it_is_told() -> None:
    class Full(Client):
        def create_experiment(self, *arguments: Any, **more: Any) -> None:
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        experiment_of(Full(), HTTP).make()


def test_files_behind_a_server_are_not_reached_through_a_database() -> None:
    with pytest.raises(InputError, match=r"'mine' in store /runs.db \(test\): a tracking server"):
        experiment_of(Client("mlflow-artifacts:/1"), SQLITE).check_reach()
    experiment_of(Client("mlflow-artifacts:/1"), HTTP).check_reach()


def test_a_folder_of_another_machine_is_refused_through_a_server(tmp_path: Path) -> None:
    kept, gone = tmp_path / "here" / "run", tmp_path / "gone"
    kept.mkdir(parents=True)
    by_chance = kept.parent.as_uri()
    for runs in [(kept,), (gone, kept)]:
        experiment_of(Client(by_chance, runs), HTTP).check_reach()
    with pytest.raises(InputError, match=f"lie in folder {kept.parent} of the machine that made"):
        experiment_of(Client(by_chance, (gone,)), HTTP).check_reach()


def test_before_the_first_run_the_folder_around_it_has_to_be_here(tmp_path: Path) -> None:
    experiment_of(Client((tmp_path / "new").as_uri()), HTTP).check_reach()
    with pytest.raises(InputError, match="is not here"):
        experiment_of(Client((tmp_path / "other" / "new").as_uri()), HTTP).check_reach()


def test_a_database_of_this_machine_is_not_asked_for_its_folders() -> None:
    experiment_of(Client("file:///nowhere/at/all"), SQLITE).check_reach()
