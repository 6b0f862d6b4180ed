from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.models.bundle.bundle import Bundle, TemplateBundle
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data import spool
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.quality import VERDICT, Quality
from lstm_sweep.search.actions.detection import Expected, Finding, Verdicts
from lstm_sweep.search.actions.export import Exported
from lstm_sweep.search.cli import csv_text, main, models, serve
from lstm_sweep.search.cli.models import finding_line, quality_lines
from lstm_sweep.search.cli.parsers import age, build_parser, size
from lstm_sweep.search.process import signals
from lstm_sweep.search.service import supervisor
from lstm_sweep.search.service.settings import HttpSettings, Role, service_folder
from lstm_sweep.search.store import server
from lstm_sweep.search.store.registry import Version
from lstm_sweep.search.store.settings import Settings, load
from tests.conftest import run_here


def test_a_full_disk_is_one_line_and_no_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "book.txt").write_text("one two three\n" * 50)
    gone = str(tmp_path / "gone")
    monkeypatch.setattr(spool, "KEPT_BYTES", 10)
    monkeypatch.setattr(tempfile, "tempdir", gone)
    assert main(["size", "--data", str(tmp_path / "book.txt")]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"lstm-sweep: {gone}: No such file or directory, expected room")


# What commands print beside their golden records


PRINTS = r"""
from lstm_sweep.search.cli import printable
print(printable("a\x1b[2Jb\n\tc"), end="")
"""


def test_what_could_control_a_terminal_is_escaped_there_alone() -> None:
    done = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, check=True)
    assert done.stdout == b"a\x1b[2Jb\n\tc"
    ours, theirs = os.openpty()
    subprocess.run([sys.executable, "-c", PRINTS], stdout=theirs, check=True)
    os.close(theirs)
    printed = os.read(ours, 1000)
    os.close(ours)
    assert printed.replace(b"\r\n", b"\n") == b"a\\x1b[2Jb\n\tc"


def test_rows_of_different_columns_are_one_table_of_comma_separated_values() -> None:
    rows: list[dict[str, Any]] = [
        {"trial": "a/0", "val_loss": 1.5, "config": {"layers": 2, "optimizer": 'rms,"prop"'}},
        {"trial": "a/1", "val_loss": None, "config": {"layers": 3, "units": 7}},
    ]
    head, *body = csv.reader(io.StringIO(csv_text(rows)))
    assert head == ["trial", "val_loss", "config.layers", "config.optimizer", "config.units"]
    assert body == [["a/0", "1.5", "2", 'rms,"prop"', ""], ["a/1", "", "3", "", "7"]]


def test_a_finding_is_a_line_of_quoted_characters_or_event_ids() -> None:
    finding = Finding(
        session="a.txt",
        place=1_234,
        symbol="x",
        known=True,
        probability=0.00123,
        likelier=7,
        expected=[Expected("e", 0.5), Expected(" ", 0.25)],
        before=["t", "h"],
    )
    line = finding_line(finding, is_text=True)
    assert line == "a.txt, symbol 1,234: 'x' (0.0012) after 'th'; expected 'e' (0.5), ' ' (0.25)"
    finding = replace(finding, symbol=9, known=False, expected=[Expected(5, 1.0)], before=[1, 22])
    assert finding_line(finding, is_text=False) == (
        "a.txt, symbol 1,234: 9 (not in the training data) after 1 22; expected 5 (1)"
    )


def test_rules_that_are_as_good_as_the_verdict_are_named() -> None:
    p, abnormal = np.array([0.001, 0.002, 0.5, 0.9]), np.array([True, True, False, False])
    both, one = (Quality.of(p, p <= rate, abnormal) for rate in (0.01, 0.001))
    also = Quality.of(p, p <= 0.01, abnormal)
    rows = {VERDICT: both, "length": one, "counts": also}
    lines = [*quality_lines(Verdicts(quality=rows, quality_of_distinct={VERDICT: both}))]
    assert [line for line in lines if "as good" in line] == [
        "  as good as the verdict, by F1: counts"
    ]


# --- amounts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (size, "0", 0), (size, "7", 7), (size, "1K", 1024), (size, "1.5G", 3 << 29),
        (size, "500M", 500 << 20), (size, "2T", 2 << 40), (age, "12h", 43_200),
        (age, "1.5d", 129_600), (age, "4w", 2_419_200),
    ],
)  # fmt: skip
def test_an_amount_is_a_number_with_a_unit(
    kind: Callable[[str], Any], text: str, value: float
) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    "text", ["", "G", "-1G", "1 G", "1g", "1GB", "inf", "1e9", "١", "1d", "5_"]
)
def test_what_is_no_amount_is_said(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a number and K, M, G or T"):
        size(text)
    if text != "1d":
        with pytest.raises(argparse.ArgumentTypeError, match="expected a number and h, d or w"):
            age(text)


# What options of `serve` come to, and how it ends; acceptance tests start the service itself


@pytest.fixture
def settings_of(
    workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., HttpSettings]:
    folder = workplace("serve")
    monkeypatch.chdir(folder)

    def read(*options: str) -> HttpSettings:
        arguments = build_parser().parse_args(["serve", *options])
        store = load(folder, {})
        bind = server.choose_bind_address(
            arguments.host, arguments.port, serve.FIRST_PORT, store.allowed_hosts
        )
        return serve.http_settings(arguments, service_folder(store, folder), bind, None)

    return read


@pytest.mark.parametrize(
    "options, asks",
    [
        ([], False), (["--host", "::1"], False), (["--login"], True),
        (["--host", "0.0.0.0"], True), (["--host", "::"], True),
        # through which requests may come from elsewhere
        (["--mlflow-page", "/mlflow"], True), (["--proxy", "10.0.0.2"], True),
        (["--mlflow-page", "http://localhost:5000"], False),
    ],
)  # fmt: skip
def test_tokens_are_asked_for_off_loopback_behind_a_proxy_or_if_told_to(
    settings_of: Callable[..., HttpSettings], options: list[str], asks: bool
) -> None:
    assert settings_of(*options).asks_login is asks
    Path("mlflow.yaml").write_text("allowed_hosts: [sweeps.example.org]\n", encoding="utf-8")
    assert settings_of(*options).asks_login


def test_a_proxy_names_users(settings_of: Callable[..., HttpSettings]) -> None:
    found = settings_of("--proxy", "10.0.0.2", "--proxy", "10.1.0.0/29", "--user-header", "X-User")
    assert [str(one) for one in found.proxies] == ["10.0.0.2/32", "10.1.0.0/29"]
    assert (found.user_header, found.user_role, found.asks_login) == ("x-user", Role.READ, True)
    assert settings_of("--proxy", "::1", "--user-role", "run").user_role is Role.RUN
    with pytest.raises(InputError, match="--user-header needs --proxy"):
        settings_of("--user-header", "X-User")


def test_files_of_the_store_that_others_may_read_are_named() -> None:
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        folder.chmod(0o755)
        file = folder / "mlflow.db"
        settings = load(folder, {"MLFLOW_TRACKING_URI": f"sqlite:///{file}"})
        for mode, said in ((None, False), (0o600, False), (0o640, True), (0o604, True)):
            if mode:
                file.touch()
                file.chmod(mode)
            assert ("chmod -R go= " in serve._open_to_others(settings)) is said
        folder.chmod(0o700)  # nobody else comes that far
        assert serve._open_to_others(settings) == ""


@pytest.mark.parametrize(("options", "others"), [(["--login"], 0), ([], 0o044)])
def test_the_store_of_a_service_with_logins_is_private(
    tmp_path: Path, options: list[str], others: int
) -> None:
    before = os.umask(0o022)
    try:
        command = ["serve", *options, "--no-mlflow", "--data-root", "/nowhere"]
        refused = run_here(*command, cwd=tmp_path)  # once it has made its store
        assert "--data-root '/nowhere': expected a folder" in refused.err and refused.code == 2
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert (tmp_path / "mlflow.db").stat().st_mode & 0o077 == others


@pytest.mark.parametrize("given, stop_s", [("", 20), ("12", 20), ("60", 60), ("600", 600)])
def test_trials_drivers_and_service_end_one_after_the_other_in_the_time_that_they_have(
    given: str, stop_s: float
) -> None:
    assert signals.service_stop_s({signals.STOP_WITHIN: given}) == stop_s
    told_s, killed_s = stop_s - supervisor.TOLD_AHEAD_S, stop_s - supervisor.KILLED_AHEAD_S
    driver_s = signals.END_WITHIN_S * told_s / signals.STOP_WITHIN_S
    assert told_s >= signals.STOP_WITHIN_S
    assert driver_s < min(killed_s, signals.END_WITHIN_S * stop_s / signals.STOP_WITHIN_S)


BEST = Version("my model", 3, "m-1", "models:/my model@champion", True, "no other")
OTHER = Version("m", 4, "m-1", "models:/m/4", False, "its loss is not below")
TEXT = Bundle("a/1", TrialConfig(), Alphabet(tuple("ab'дом")), {})
IDS = Bundle("a/1", TrialConfig(), Alphabet((1, 2, 3)), {})


def exported() -> Exported:
    return Exported("best", "a/1", 1.0, None, (), {})


def settings(uri: str, origin: str = "no mlflow.yaml here or above") -> Settings:
    return Settings(uri, None, "test", origin)


def test_the_program_is_named_as_it_can_be_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for argv, typed in (
        ("/x/lstm_sweep/__main__.py", f"{shlex.quote(sys.executable)} -m lstm_sweep"),
        (str(tmp_path / "bin" / "lstm-sweep"), "bin/lstm-sweep"),
        ("/a b/lstm-sweep", "'/a b/lstm-sweep'"),
    ):
        monkeypatch.setattr(sys, "argv", [argv])
        assert models.program_here() == typed


def test_a_model_is_served_by_a_command_that_a_shell_takes_as_it_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = Path(sys.executable).parent
    monkeypatch.setattr(shutil, "which", lambda program: str(own / program))
    command = models.serve_command(BEST, settings("sqlite:////home/a b/mlflow.db"))
    assert shlex.split(command) == [
        "MLFLOW_TRACKING_URI=sqlite:////home/a b/mlflow.db", "mlflow", "models", "serve", "-m",
        "models:/my model@champion", "--env-manager", "local", "--port", "5001",
    ]  # fmt: skip
    command = models.serve_command(OTHER, settings("http://u:secret@host:5000", "as given"))
    assert "secret" not in command and "host:5000" in command
    monkeypatch.setattr(shutil, "which", lambda program: None)  # no activated environment
    command = models.serve_command(BEST, settings("sqlite:////mlflow.db"))
    assert command.startswith(f"PATH={own}:$PATH MLFLOW_TRACKING_URI=")


@pytest.mark.parametrize(("content", "asked"), [(TEXT, {"text": "'до"}), (IDS, {"ids": [2, 3]})])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_request_is_about_symbols_that_the_network_knows(
    content: Bundle, asked: dict[str, Any], encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "read_any", lambda given: (Path(given), content))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    *_, curl = models.registered_lines(exported(), OTHER, settings("sqlite:////mlflow.db"))
    assert json.loads(shlex.split(curl)[-1])["dataframe_records"] == [asked]
    assert curl.isascii() or encoding == "utf-8"


def test_of_a_template_the_example_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content = TemplateBundle("a/1", {}, {})
    monkeypatch.setattr(bundles, "read_any", lambda given: (Path(given), content))
    first, *_, curl, last = models.registered_lines(
        exported(), OTHER, settings("sqlite:////mlflow.db")
    )
    assert first == "registered: version 4 of m, not the champion: its loss is not below"
    assert curl.endswith("-d @request.json") and "serving_input_example.json" in last


@pytest.mark.parametrize("waits", [False, True])
def test_a_request_that_waits_on_does_not_keep_the_program(
    monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    called, forced = list[str](), threading.Event()

    def end(code: int) -> None:
        called.append(f"exit {code}")
        forced.set()

    monkeypatch.setattr(serve, "AFTER_ALL_S", 0.2)
    monkeypatch.setattr(os, "_exit", end)
    ends = serve._Ends()
    ends.calls(lambda: called.append("drained"))
    ends.begin()
    ends.begin()
    if waits:
        assert forced.wait(20) and called == ["drained", "exit 0"]
    ends.wait()
    assert forced.wait(0.4) is waits and called[0] == "drained"


def test_tokens_are_added_listed_and_revoked(tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        done = run_here("token", *words, cwd=tmp_path)
        return done.code, done.out.strip(), done.err.strip()

    assert "no tokens in" in run("list")[1]
    code, token, _ = run("add", "ann", "--role", "run")
    assert code == 0 and token.startswith("lstm-sweep-") and "\n" not in token
    made = run_here("token", "add", "bob", "--role", "read", "--json", cwd=tmp_path).json
    assert (made["name"], made["role"]) == ("bob", "read")
    listed = run_here("token", "list", "--json", cwd=tmp_path)
    assert [row["name"] for row in listed.json] == ["ann", "bob"]
    assert token not in listed.out and made["token"] not in listed.out
    assert "ann" in run("list")[1]
    assert run("revoke", "ann")[0] == 0
    assert run("revoke", "ann") == (
        2, "", "lstm-sweep: token 'ann': no such token; possible: bob"
    )  # fmt: skip
    assert run("add", "bob", "--role", "run")[2].startswith("lstm-sweep: token 'bob' exists")
    assert run("add", "eve", "--role", "all")[2] == (
        "lstm-sweep: --role is 'all': possible: read, run, admin"
    )
    assert run("add", "eve")[0] == 2 and run()[0] == 2


def test_tokens_are_those_of_the_store_that_is_given(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    store = f"sqlite:///{folder}/mlflow.db"
    added = run_here("token", "add", "ann", "--role", "run", "--store", store, cwd=tmp_path)
    assert added.code == 0 and (folder / "lstm-sweep-service" / "tokens.json").exists()

    def names(*options: str) -> list[str]:
        return [
            row["name"] for row in run_here("token", "list", *options, "--json", cwd=tmp_path).json
        ]

    assert (names("--store", store), names()) == (["ann"], [])
