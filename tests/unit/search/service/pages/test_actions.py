from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lstm_sweep.search.service import uploads as uploads_module
from lstm_sweep.search.service.auth import TokenFile
from lstm_sweep.search.service.pages import filled_in
from lstm_sweep.search.service.settings import Limits
from lstm_sweep.search.service.uploads import receive_form
from tests.service_app import Place, use_scripted_engines
from tests.unit.search.service.pages.site import browser, check


@pytest.fixture
def folder(workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    use_scripted_engines(monkeypatch)
    return workplace("sweeps")


@pytest.fixture
def place(folder: Path, data: Path) -> Place:
    return Place.in_folder(folder, data_roots=(data.parent,))


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    with browser(place) as client:
        yield client


def launched(client: TestClient, content: bytes | None = None, **fields: str) -> Any:
    given = {"data": "python-docs", "space": "quick", "trials": "1"} | fields
    name = "words.txt" if content is not None else ""
    return client.post("/launch", data=given, files={"file": (name, content or b"")})


def test_a_sweep_is_launched_on_an_uploaded_file(
    place: Place, client: TestClient, data: Path
) -> None:
    key = re.findall(r'name="key" value="(\w+)"', client.get("/launch").text)[0]
    for _ in "ab":  # the second time nothing new is made
        answer = launched(client, data.read_bytes(), key=key, name="mine")
        assert (answer.status_code, answer.url.path) == (200, "/sweeps/mine")
    [row] = place.service.sweeps().rows
    assert (row.sweep, Path(row.data or "").read_bytes()) == ("mine", data.read_bytes())


def test_the_rest_of_the_form_decides_the_search_and_is_kept_when_it_is_refused(
    place: Place, client: TestClient
) -> None:
    rest = {"set": "layer_size=6\r\n\r\nepochs=1", "ladder": "off", "confirm_configs": "0",
            "size_rule": "off"}  # fmt: skip
    refused = launched(client, None, trials="0", name="<b>", **rest).text
    assert '<details class="more" open>' in refused and "layer_size=6" in refused
    assert 'role="alert" id="said">request: ' in refused and 'value="&lt;b&gt;"' in refused
    assert '<details class="more">' in client.get("/launch").text
    assert filled_in(rest | {"seed": " ", "trials": "7", "group": "who", "lower_case": "on"}) == {
        "set": ["layer_size=6", "epochs=1"], "ladder": False, "confirm_configs": 0,
        "size_rule": "off", "trials": 7, "group": "who", "lower_case": True,
    }  # fmt: skip
    wrong = launched(client, set="layer_siz=6")
    assert (wrong.status_code, "layer_siz" in wrong.text) == (422, True)
    assert len(place.service.sweeps()) == 0


def test_several_files_are_the_sessions_of_a_corpus(place: Place, client: TestClient) -> None:
    sent = [("files", (f"day{number}.txt", b"sun moon sky " * 40)) for number in range(9)]
    given = {"space": "quick", "trials": "1", "name": "days"}
    answer = client.post("/launch", data=given, files=sent)
    assert answer.url.path == "/sweeps/days"
    [row] = place.service.sweeps().rows
    assert {file.name for file in Path(row.data or "").iterdir()} == {name for _, (name, _) in sent}
    one = ("file", ("more.txt", b"sun"))
    for files, sentence in (
        ([one, *sent], "a file beside others"),
        ([*sent, one], "a file beside others"),
        ([*sent, sent[0]], "is given twice"),
        ([*sent, ("files", ("last.txt", b""))], "it is empty"),
    ):
        refused = client.post("/launch", data=given | {"name": "no"}, files=files)
        assert (refused.status_code, sentence in refused.text) == (422, True), sentence
    assert len(place.service.sweeps()) == 1
    assert len(client.get("/api/v1/corpora").json()["corpora"]) == 1


def test_a_dry_run_says_what_a_sweep_would_do_and_queues_nothing(
    place: Place, client: TestClient, data: Path
) -> None:
    answer = launched(client, data.read_bytes(), trials="3", only="dry-run")
    assert answer.status_code == 200 and "takes: 3 trials at most" in answer.text
    [corpus] = client.get("/api/v1/corpora").json()["corpora"]
    assert f'value="{corpus["data"]}" selected' in answer.text  # it need not be sent again
    refused = launched(client, trials="many", only="dry-run")
    assert (refused.status_code, "trials is" in refused.text) == (422, True)
    assert len(place.service.sweeps()) == 0
    check(answer.text)


def test_who_may_only_read_sees_no_buttons_that_change_something(folder: Path, data: Path) -> None:
    place = Place.in_folder(folder, asks_login=True)
    place.launch(data, "s", trials=1)
    file = TokenFile(place.settings.folder)
    with browser(place) as client:
        assert client.get("/").url.path == "/login"
        api = client.get("/api/v1/sweeps", headers={"Accept": "text/html"})
        assert (api.status_code, api.url.path) == (401, "/api/v1/sweeps")
    for role, sees in (("read", False), ("run", True)):
        token = {"Authorization": f"Bearer {file.add(role, role)}"}
        with browser(place, **token) as client:
            shown = [client.get(path).text for path in ("/", "/sweeps/s", "/sweeps/s/trials/0")]
        assert ['href="/launch"' in text for text in shown] == [sees] * 3
        changes = [re.findall(r'method="post" action="/(?!logout)', text) for text in shown]
        assert [bool(found) for found in changes] == [False, sees, sees]
        assert all("Log out" in text for text in shown)


def test_a_file_that_is_too_large_is_refused(folder: Path) -> None:
    with browser(Place.in_folder(folder, limits=Limits(corpus_bytes=1_000))) as client:
        answer = launched(client, b"x" * 5_000)
        other = client.post("/launch", data={"data": "python-docs"})
    assert (answer.status_code, other.status_code) == (413, 415)


def test_the_file_of_a_form_takes_room_as_it_comes(folder: Path) -> None:
    limits = Limits(uploads_bytes=3_000_000, coming=1, free_bytes=0)
    with browser(Place.in_folder(folder, limits=limits)) as client:
        app: Any = client.app
        uploads = app.state.site.uploads
        assert launched(client, b"x" * 4_000_000).status_code == 507
        with contextlib.closing(uploads.receive("x", "", is_folder=False)) as receiver:
            receiver.hold(1)
            assert launched(client, b"x").status_code == 429
        assert not list(uploads.coming.iterdir())


@pytest.mark.parametrize("end", ["\r\n", ""])
def test_a_file_is_the_same_however_its_form_is_cut_into_blocks(
    client: TestClient, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = '--b7\r\nContent-Disposition: form-data; name="file"; filename="x.txt"\r\n\r\n'
    field = 'Content-Disposition: form-data; name="name"\r\n\r\nmine'
    form = f"{head}a\r\n--b and\n--\r\n--b7\r\n{field}\r\n--b7--{end}".encode()
    app: Any = client.app
    uploads = app.state.site.uploads
    for size in range(1, len(form)):
        monkeypatch.setattr(uploads_module, "FORM_BLOCK", size)
        body: Any = io.BytesIO(form)
        sent = dict[str, str]()
        receive_form(uploads, "ann", body, "multipart/form-data; boundary=b7", sent)
        assert sent["name"] == "mine"
        path = uploads.path_of(sent["data"].removeprefix("corpus:"))
        assert (path.name, path.read_bytes()) == ("x.txt", b"a\r\n--b and\n--")
    assert not list((app.state.site.settings.folder / "uploads" / "coming").iterdir())


def test_a_file_of_many_lines_is_taken_as_it_is(client: TestClient) -> None:
    text = b"some line of text\n" * 20_000
    answer = launched(client, text, trials="1", only="dry-run")
    [corpus] = client.get("/api/v1/corpora").json()["corpora"]
    assert (answer.status_code, corpus["bytes"]) == (200, len(text))


@pytest.mark.parametrize(
    "part",
    ['name="a"\r\n\r\n', f'name="a"\r\nX: {"x" * 70_000}', f'name="a"\r\n\r\n{"x" * 70_000}\r\n'],
)
def test_a_form_with_too_much_beside_its_file_is_refused(client: TestClient, part: str) -> None:
    body = f"--b\r\nContent-Disposition: form-data; {part}\r\n" * 101
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = client.post("/launch", content=f"{body}--b--\r\n", headers=kind)
    assert answer.status_code == 413
    assert "the form has over 100 parts, or a field or headers of over 65,536 bytes" in answer.text


def test_buttons_work_without_javascript(place: Place, client: TestClient, data: Path) -> None:
    place.launch(data, "s", trials=1)
    for action, given in (("pause", {}), ("resume", {"trials": "5"}), ("stop", {})):
        answer = client.post(f"/sweeps/s/{action}", data=given)
        assert (answer.status_code, answer.url.path) == (200, "/sweeps/s")
    assert place.service.calls == [("pause", "s"), ("resume", "s")]
    client.post("/sweeps/s/priority", data={"priority": "7"})
    assert place.service.priorities == {"s": 7}
    [number] = set(re.findall(r"/sweeps/s/trials/(\d+)/rerun", client.get("/sweeps/s").text))
    answer = client.post(f"/sweeps/s/trials/{number}/rerun")
    assert answer.url.path.startswith("/reruns/") and "Rerun of s/" in answer.text
