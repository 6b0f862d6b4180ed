from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore
from tests.service_app import API, Place, use_scripted_engines
from tests.unit.search.service.pages.site import Elements, browser, check

HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def place(workplace: Callable[[str], Path], data: Path) -> Iterator[Place]:
    """A service with a sweep of three trials, which tests leave as it is."""
    with pytest.MonkeyPatch.context() as patch:
        use_scripted_engines(patch)
        made = Place.in_folder(
            workplace("sweeps"), data_roots=(data.parent,), mlflow_page="http://127.0.0.1:5000"
        )
        made.launch(data, "s", trials=3)
        yield made


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    with browser(place) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/launch", "/sweeps/s", "/sweeps/s/trials/1", "/login"])
def test_the_policy_blocks_nothing_and_all_is_labelled(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    check(answer.text.replace("http://127.0.0.1:5000", ""))
    assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_a_sweep_is_shown_with_its_losses_and_trials(
    place: Place, client: TestClient, data: Path
) -> None:
    trials = Local(place.service.settings.store).trials("s")
    found, best = trials.rows, trials.rows[0].best_loss
    lowest = min(trials.baselines.values())
    listed, shown = client.get("/").text, client.get("/sweeps/s").text
    assert f"{best:.4f}" in listed and "3 of 3" in listed and f"{lowest:.4f}" in listed
    for text in (f"{best:.4f}", "finished", "Learning curves", "Against the baselines"):
        assert text in shown
    assert all(f'href="/sweeps/s/trials/{one.number}"' in shown for one in found)
    assert str(data) not in shown and f"<dd>{data.name}</dd>" in shown  # no path of the service
    assert re.search(r'machine_learning">In MLflow</a>', shown)
    assert re.search(r'href="http://127.0.0.1:5000/#/experiments/\d+/runs/\w+', shown)
    far = client.get("/sweeps/s", headers={"Host": "192.0.2.7"})
    assert "In MLflow" not in far.text  # from where they lead nowhere
    [loss] = [one.best_loss for one in found if one.number == 1]
    alone = client.get("/sweeps/s/trials/1").text
    assert f"<strong>{loss:.4f}</strong>" in alone and "Learning curve" in alone


def test_reasons_name_data_as_users_do_wherever_they_stand(
    place: Place, client: TestClient, data: Path
) -> None:
    store = MlflowStore(place.service.settings.store)
    run_id, had = place.service.status("s").run_id, store.tags(place.service.status("s").run_id)
    store.log(run_id, tags={Tag.REASON: f"data '{data}' are gone"})
    try:
        for path in ("/", *(f"{of}/sweeps/s{of and '/events'}" for of in ("", API))):
            text = client.get(path).text
            assert f"server:{data.name}" in text and str(data) not in text, path
    finally:
        store.log(run_id, tags={Tag.REASON: had[Tag.REASON]})


def test_the_page_of_a_trial_says_what_it_does_and_follows_it_until_it_has_ended(
    place: Place, client: TestClient
) -> None:
    def followed() -> tuple[str | None, str | None, list[str]]:
        page = Elements(client.get("/sweeps/s/trials/1").text)
        live = [given["id"] for _, given in page.found if "data-live" in given]
        [badge] = [given["class"] for name, given in page.found if name == "span"]
        return badge, page.all("main")[0].get("data-every"), live

    assert followed() == ("badge complete", None, ["state", "result", "rounds"])
    store = MlflowStore(place.service.settings.store)
    run_id = reader.find_trial(store, "s/1").run_id
    store.client.delete_tag(run_id, Tag.OUTCOME)
    for status, state in (("RUNNING", "running"), ("SCHEDULED", "paused")):
        store.client.update_run(run_id, status=status)
        assert followed() == (f"badge {state}", "5", ["state", "result", "rounds"])
    store.client.update_run(run_id, status="FINISHED")
    store.client.set_tag(run_id, Tag.OUTCOME, "complete")


def test_a_sweep_leads_to_its_report_which_shows_what_the_command_writes(
    place: Place, client: TestClient
) -> None:
    links = Elements(client.get("/sweeps/s").text).all("a")
    assert [link for link in links if link["href"] == "/sweeps/s/report"]
    answer = client.get("/sweeps/s/report")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "style-src 'unsafe-inline'" in answer.headers["content-security-policy"]
    written = Local(place.service.settings.store).report("s")
    assert written.headline in answer.text and "How it came about" in answer.text


@pytest.mark.parametrize(
    "path, status",
    [
        ("/sweeps/none", 404), ("/sweeps/none/report", 404), ("/sweeps/s/trials/99", 404),
        ("/sweeps/..%2fx", 404),
        ("/reruns/0123456789abcdef", 404), ("/sweeps/s?sort=evil", 422), ("/?page=none", 422),
        ("/compare?sweep=s", 422), ("/static/views.py", 404), ("/static/..%2fviews.py", 404),
        (f"/sweeps/{quote(HOSTILE.replace('/', ''))}", 422),
    ],
)  # fmt: skip
def test_what_is_not_there_is_a_sentence(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    if answer.headers["content-type"].startswith("text/html"):
        check(answer.text)
        said = [given for given in Elements(answer.text).all("p") if given.get("role") == "alert"]
        assert len(said) == 1 and "Traceback" not in answer.text
    else:
        assert answer.json()["status"] == status


def test_hostile_names_are_escaped(place: Place, client: TestClient) -> None:
    store = MlflowStore(place.service.settings.store)
    run_id = Local(place.service.settings.store).status("s").run_id
    reason = store.tags(run_id).get(Tag.REASON, "")
    store.client.set_tag(run_id, Tag.REASON, HOSTILE)
    place.service.owners["s"] = HOSTILE
    shown = client.get("/sweeps/s").text
    assert "<script>alert" not in shown and "<img" not in shown
    assert "&lt;script&gt;alert" in shown
    assert "<img" not in client.get("/").text
    check(shown.replace("http://127.0.0.1:5000", ""))
    store.client.set_tag(run_id, Tag.REASON, reason)


def test_sweeps_are_compared(place: Place, client: TestClient, data: Path) -> None:
    place.launch(data, "t", trials=2)
    shown = client.get("/compare?sweep=s&sweep=t").text
    check(shown)
    assert "The best losses" in shown and 'href="/sweeps/t"' in shown
    other = data.with_name("other.txt")
    other.write_text(data.read_text(encoding="utf-8")[::-1], encoding="utf-8")
    place.launch(other, "u", trials=1)
    apart = client.get("/compare?sweep=s&sweep=u").text
    check(apart)
    assert "cannot be compared" in apart and "The best losses" not in apart
