"""The bundle of a network that was trained on a log: it reads raw lines, and continues them."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

import lstm_sweep as ls
from lstm_sweep.models import backend
from lstm_sweep.models.bundle import bundle
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data import log_lines
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.log_lines import LineFormat
from lstm_sweep.models.data.service_log import HEADER, SESSION_BY, service_log
from lstm_sweep.models.data.source import VARIABLE, Source, open_only_below, timer
from lstm_sweep.models.network import evaluation, streaming, training
from lstm_sweep.models.network.program import program_of
from lstm_sweep.models.network.streaming import Lines
from lstm_sweep.search.actions import export as exporting
from lstm_sweep.search.actions.detection import Alarms
from lstm_sweep.search.actions.export import Exported
from lstm_sweep.search.actions.following import Follower, Following
from lstm_sweep.search.cli import main
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.store import registry
from lstm_sweep.search.store.settings import load as load_settings
from tests.service_app import Place, use_scripted_engines

CONFIG = TrialConfig(
    layers=1, layer_size=32, sequence_length=10, batch_size=16, learning_rate=0.01,
    optimizer="adam", epochs=2, state="carried",
)  # fmt: skip
METRICS = {"trial": "s/3", "val_loss": 1.5, "test_loss": 1.75}
CHARGED = "charged <NUM> cents to card <NUM>"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle `best`."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "a.log").write_text("\n".join(service_log(1_200)) + "\n")
    how: dict[str, Any] = {"symbols": "lines", "header": HEADER, "session_by": SESSION_BY}
    corpus = load(Source(data=str(folder / "a.log"), **how))
    backend.prepare(gpu=False, seed=1)
    targets = np.arange(len(corpus.validation))
    for _ in training.Training(CONFIG, corpus, targets, 1, folder / "m.keras").events():
        pass
    import keras

    network = keras.models.load_model(folder / "m.keras")
    networks = bundle.networks_of(folder / "m.keras", [CONFIG], len(corpus.alphabet))
    normal = evaluation.calibrate(program_of(networks, CONFIG, seed=0), CONFIG, corpus)
    content = Bundle("s/3", CONFIG, corpus.alphabet, METRICS, normal)
    bundle.write(network, content, folder / "best", "keras")
    faults = dict[str, str]()
    (folder / "faulty.log").write_text("\n".join(service_log(400, 7, 0.2, faults)) + "\n")
    labels = [f"{name},{int(fault != '')}" for name, fault in faults.items()]
    (folder / "labels.csv").write_text("\n".join([*labels, "req-0,0", "req-1,1"]) + "\n")
    lines = list(service_log(60, seed=5))
    odd = lines[40].split("]")[0] + "] the bank is on fire"
    (folder / "new.log").write_text("\n".join([*lines[:41], odd, *lines[41:]]) + "\n")
    return folder


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_raw_lines_are_judged_from_a_file_and_from_standard_input(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    found = printed(capsys, "detect", "best", "--data", "new.log", "--top", "1000")
    assert (found["sessions"], found["ends"]) == (60, True)
    [odd] = [one for one in found["findings"] if not one["known"]]
    assert odd["symbol"] == "<unk>"
    assert odd["session"].startswith("req-")
    assert odd["text"].splitlines()[0] in Path("new.log").read_text().splitlines()
    assert found["noted"].startswith("1 records match no template")
    content = io.TextIOWrapper(io.BytesIO(Path("new.log").read_bytes()))
    monkeypatch.setattr(sys, "stdin", content)
    assert printed(capsys, "detect", "best", "--data", "-", "--top", "1000") == found
    assert main(["detect", "best", "--data", "new.log", "--top", "1"]) == 0
    printed_lines = capsys.readouterr().out
    assert f"{odd['session']}: {odd['text'].splitlines()[0]}" in printed_lines
    assert "note: 1 records match no template" in printed_lines


def test_a_service_judges_lines_in_a_process_of_its_own(
    place: Path,
    data: Path,
    workplace: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It answers what `detect` prints, and refuses what `detect` refuses."""

    def exported(store: object, records: object, to: Path, format: str, **more: Any) -> Exported:
        shutil.copytree(place / "best", to)
        about = {"bundle": str(to), "format": format, "trial": "s/3", "test_loss": 1.75}
        return Exported.from_dict(about | {"parity": {}, "lines": (), "model_version": None})

    monkeypatch.chdir(workplace("served"))
    use_scripted_engines(monkeypatch)
    service = Place.in_folder(Path.cwd())
    service.launch(data)
    monkeypatch.setattr(exporting, "write_bundle", exported)
    lines = (place / "faulty.log").read_text().splitlines()
    asked = {"lines": lines, "false_alarms": 0.05, "top": 3}
    with service.client() as client:
        answer = client.post("/api/v1/sweeps/s/verdicts", json=asked)
        assert answer.status_code == 200, answer.text
        wanted = ("--false-alarms", "0.05", "--top", "3")
        data_of = ("--data", str(place / "faulty.log"))
        assert answer.json() == printed(capsys, "detect", str(place / "best"), *data_of, *wanted)
        with pytest.MonkeyPatch.context() as confined:  # as `serve` is, whose processes are
            confined.setattr(forkserver, "call", lambda function, *asked: function(*asked))
            confined.setenv(VARIABLE, "")
            open_only_below(service.settings.data_folders)
            assert client.post("/api/v1/sweeps/s/verdicts", json=asked).json() == answer.json()
        for change, why in (
            ({"false_alarms": 1e-6}, "of s: --false-alarms is 1e-06: that takes 999,999"),
            ({"false_discoveries": 0.1}, "found --false-alarms and --false-discoveries"),
            ({"top": -1}, "--top is -1"),
            ({"lines": ["nonsense"]}, "header: none of 1 lines begins with a match"),
            ({"lines": []}, "lines"),
            ({"data": "service-log"}, "expected either lines or data"),
            ({"calibrate": "/etc/hosts"}, "expected the name of a sample"),
            ({"labels": "/etc/hosts"}, "expected corpus:ID of an uploaded one"),
        ):
            refused = client.post("/api/v1/sweeps/s/verdicts", json=asked | change)
            detail = refused.json()["detail"]
            assert refused.status_code == 422 and why in detail and "/tmp" not in detail
    home, files = str(place / "best"), [str(place / name) for name in ("faulty.log", "new.log")]
    more = ("--data", files[0], "--labels", str(place / "labels.csv"), "--calibrate", files[1])
    with service.served() as address:
        for asked_of in ((), ("--json", "--candidates", "3", "--open")):
            told = list[str]()
            for model, where in ((home, ()), ("s", ("--server", address))):
                command = ("detect", model, *more, "--false-alarms", "0.05", *asked_of, *where)
                assert main([*command]) == 0
                told.append(capsys.readouterr().out)
            assert told[0] == told[1]
        for odd, why in ((("--below", "2"), "--below is 2"), (("--data", "none"), "no such file")):
            assert main(["detect", "s", *more, *odd, "--server", address]) == 2
            assert why in capsys.readouterr().err


def test_labels_say_what_is_found_at_each_promise_and_strange_ones_are_counted(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    asked = ("detect", "best", "--data", "faulty.log", "--labels", "labels.csv")
    found = printed(capsys, *asked, "--false-alarms", "0.05")["verdicts"]
    over, quality = found["over_rates"], found["quality"]["verdict"]
    assert (found["unlabelled"], found["strange_labels"]) == (0, 2)
    assert over["rates"] == [0.005, 0.01, 0.02, 0.05, 0.1]
    assert over["normal"] + over["abnormal"] == 400
    assert over["found"]["verdict"][3] == quality["found"] > 0.8 * over["abnormal"]
    assert over["false_alarms"]["verdict"][3] == quality["false_alarms"]
    assert main([*asked, "--top", "0"]) == 0
    text = capsys.readouterr().out
    assert "; 2 labels name no session" in text and "the verdict at other rates" in text
    assert main([*asked[:4], "--calibrate", "nowhere.log"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lstm-sweep: data 'nowhere.log': no such file or folder")


def test_whole_sessions_are_scored_and_generated_up_to_their_ends(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    rows = printed(capsys, "score", "best", "--data", "new.log")
    found = printed(capsys, "detect", "best", "--data", "new.log", "--top", "0")
    assert len(rows) == 60 and {one["session"][:4] for one in rows} == {"req-"}
    assert sum(one["symbols"] for one in rows) == found["symbols"]
    ended = sum(one["loss"] * (one["symbols"] + 1) for one in rows) / (found["symbols"] + 60)
    assert ended == pytest.approx(found["loss"])
    made = printed(capsys, "generate", "best", "--count", "20", "--length", "60")["sequences"]
    assert max(map(len, made)) < 60
    assert sum("answered" in str(one[-1]) for one in made) > 10


def test_a_bundle_of_a_stranger_cannot_hang_or_lie_unseen(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(place / "best", place / "bad")
    monkeypatch.chdir(place)
    written = json.loads(Path("bad/calibration.json").read_text())
    names = written["scores"]
    zeros = {name: [0.0] * len(values) for name, values in names.items()}
    Path("bad/calibration.json").write_text(json.dumps(written | {"scores": zeros}))
    drift = printed(capsys, "detect", "bad", "--data", "new.log")["verdicts"]["drift"]
    assert drift.endswith("then the promise is void")
    for change, named in (
        ({"scores": {name: [] for name in names}}, "found 0 of calibration"),
        (
            {"scores": names | {"end": [0.0]}},
            "calibration.json: scores: expected equally many numbers",
        ),
        ({"ngrams": [[1 << 60]] * 4}, "calibration.json: ngrams: expected a list of whole numbers"),
    ):
        Path("bad/calibration.json").write_text(json.dumps(written | change))
        assert main(["detect", "bad", "--data", "new.log", "--false-alarms", "0.1"]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert named in line
    made = printed(capsys, "generate", "bad", "--length", "1")["sequences"]
    assert len(made) == 1, "which needs no calibration"
    (place / "long.log").write_text("x" * 60 + "\n")
    alphabet = json.loads(Path("bad/alphabet.json").read_text())
    alphabet["lines"]["header"] = "(x+x+)+y"
    Path("bad/alphabet.json").write_text(json.dumps(alphabet))
    Path("bad/calibration.json").write_text(json.dumps(written))
    monkeypatch.setattr(log_lines, "SPARE_SECONDS", 0.2)
    monkeypatch.setattr(log_lines, "BLOCK_SECONDS", 0.1)
    assert main(["detect", "bad", "--data", "long.log"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "the expressions of header, session_by and masking take over" in line


def test_onnx_files_of_a_bundle_of_lines_predict_the_same(place: Path) -> None:
    pytest.importorskip("onnxruntime")
    import keras

    from lstm_sweep.models.bundle import onnx

    _, content = bundle.read(str(place / "best"))
    shutil.copytree(place / "best", place / "onnx")
    windows = np.full((3, CONFIG.sequence_length), 4, np.int32)
    found = onnx.add(keras.models.load_model(place / "m.keras"), content, [windows], place / "onnx")
    assert found and all(one["max_difference"] < 1e-4 for one in found.values())
    assert "committed transaction" in (place / "onnx" / "alphabet.json").read_text()


def test_a_prompt_is_a_raw_line_or_a_template(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    line = next(one for one in service_log(60) if "charged" in one)
    rows = [
        printed(capsys, "generate", "best", "--prompt", prompt, "--temperature", "0")["sequences"]
        for prompt in (line, CHARGED)
    ]
    assert rows[0] == rows[1]
    assert len(ls.load("best").generate([CHARGED, CHARGED], length=1)) <= 1
    assert "committed transaction <HEX> in <NUM> ms" in rows[0][0]


def test_a_model_that_mlflow_serves_takes_templates(place: Path) -> None:
    import mlflow
    import pandas as pd
    from mlflow.models import Model

    alphabet = bundle.read(str(place / "best"))[1].alphabet
    folder, settings = place / "served", load_settings(place, {})
    registry.write_symbols_model(settings, place / "best", folder, alphabet, Model())
    model = mlflow.pyfunc.load_model(str(folder))
    [found] = model.predict(pd.DataFrame({"templates": [[CHARGED, "never seen"]]}), {"length": 3})
    assert len(found["surprise"]) == 2
    assert {one["symbol"] for one in found["next"]} <= {"<end>", *alphabet.symbols}


FOLLOW = ("detect", "best", "--false-alarms", "0.05", "--follow")
#: a session in a state, with a code that is none
SAVED = {"name": "a", "slot": 0, "heard": 0, "counts": {"99": 1}}
HOW = ("--state", "state.json", "--idle", "1")


def alarms(text: str) -> dict[str, Any]:
    """Alarms by their sessions; a line that was cut by a kill is none."""
    lines = [line for line in text.splitlines() if line.endswith("}")]
    return {one["session"]: one for one in map(json.loads, lines)}


def started(place: Path, number: int) -> subprocess.Popen[bytes]:
    program = Path(sys.executable).with_name("lstm-sweep")
    with (place / f"{number}.out").open("w") as out, (place / f"{number}.err").open("w") as err:
        return subprocess.Popen(
            [program, *FOLLOW, "live.log", *HOW], cwd=place, stdout=out, stderr=err
        )


def until(place: Path, number: int, is_so: Callable[[dict[str, Any]], bool]) -> None:
    """Wait for what a follower writes into its state."""
    for _ in range(1_200):
        time.sleep(0.1)
        if "following" in (place / f"{number}.err").read_text():
            with contextlib.suppress(OSError, ValueError):
                if is_so(json.loads((place / "state.json").read_text())):
                    return
    raise AssertionError((place / f"{number}.err").read_text())


def test_a_log_is_followed_through_rotation_and_a_kill(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    lines = [f"{line}\n" for line in service_log(200, seed=6, faulty=0.2)]
    Path("all.log").write_text("".join(lines))
    with Path("all.log").open() as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stream)
        assert main([*FOLLOW, "-"]) == 0
    expected = alarms(capfd.readouterr().out)
    assert {one["verdict"] for one in expected.values()} == {"abnormal"}
    assert max(one["lines_read"] for one in expected.values()) == "".join(lines).count("\n")
    live, half = Path("live.log"), len(lines) // 2
    live.write_text("".join(lines[:half]))
    first = started(place, 1)
    until(place, 1, lambda state: state["position"]["offset"] == live.stat().st_size)
    first.kill()
    first.wait()
    with live.open("a") as stream:
        stream.write("".join(lines[half:-40]))
    live.rename("live.log.1")
    second = started(place, 2)
    live.write_text("".join(lines[-40:]))
    until(place, 2, lambda state: not state["sessions"] and state["position"]["offset"] < 9_000)
    second.terminate()
    assert second.wait() == 143
    found = [alarms(Path(f"{number}.out").read_text()) for number in (1, 2)]
    assert found[0].keys() | found[1].keys() == expected.keys()
    assert found[0] and found[1]
    said = Path("2.err").read_text()
    assert "going on with" in said and "alarms of the last seconds before the end may come" in said
    assert "sessions without a line for 1 s are closed (--idle)" in said


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"bundle": "x"}, "bundle is 'x', not '"),
        ({"file": "/elsewhere"}, "file is '/elsewhere', not '-'"),
        ({"kept": "AAAAAA=="}, "cannot reshape array"),
        ({"kept": "?"}, "kept: Data should be valid base64"),
        ({"sessions": [{}]}, "sessions.0.name: Field required"),
        ({"sessions": [SAVED]}, "sessions.0.counts.99.[key]: Value error, 99 is no code"),
        ({"sessions": 5}, "sessions: Input should be a valid array"),
        ({"position": {"offset": -1, "file": [1, 2], "head": ""}}, "position.offset: Input should"),
        ({"position": {"offset": 1, "file": [1, 2], "head": "?"}}, "position.head: Value error"),
        (None, "Invalid JSON: EOF while parsing"),
    ],
)
def test_a_state_that_is_not_of_this_bundle_and_file_is_refused_in_one_line(
    place: Path, changes: dict[str, Any] | None, why: str, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    state = tmp_path / "state.json"
    monkeypatch.setattr(sys, "stdin", Path("new.log").open())  # noqa: SIM115
    assert main([*FOLLOW, "-", "--state", str(state)]) == 0
    good = json.loads(state.read_text())
    state.write_text("{" if changes is None else json.dumps(good | changes))
    capfd.readouterr()
    assert main([*FOLLOW, "-", "--state", str(state)]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"lstm-sweep: --state '{state}': ") and why in said
    assert said.count("\n") == 1 and "expected what `detect` has written" in said


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--follow", "a.log", "--labels", "x"), "--labels is given with --follow"),
        (("--data", "a.log", "--idle", "5"), "--idle is given without --follow"),
        ((), "detect: found no --data and no --follow"),
        (("--follow", "-", "--false-discoveries", "0.1"), "--false-discoveries is of a batch"),
        (("--follow", "-", "--false-alarms", "0.0001"), "--false-alarms is 0.0001: that takes"),
        (("--follow", "-", "--metrics", "x"), "--metrics is 'x': expected a port"),
        (("--follow", "-", "--open-sessions", "0"), "--open-sessions is 0: expected 1 to"),
        (("--follow", "-", "--state", "none/s"), "--state 'none/s': no such folder"),
    ],
)
def test_options_of_a_stream_that_make_no_sense_are_refused(
    place: Path, options: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "stdin", Path("new.log").open())  # noqa: SIM115
    assert main(["detect", "best", *options]) == 2
    assert why in capsys.readouterr().err


def test_odd_lines_and_many_sessions_are_counted_and_nothing_grows(place: Path) -> None:
    head = "2026-11-30 08:00:00.000 INFO  payment"
    lines = [
        *(f"{head} [req-{number:08x}] charged 5 cents to card 7" for number in range(3_000)),
        f"{head} [req-00000001] " + "x" * 1_000_000,
        f"{head} no session",
        f"{head} [req-00000002] \udcff",
    ]
    content = "\n".join(lines).encode(errors="surrogateescape")
    said, raised = list[str](), list[Any]()
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        follower = Follower(
            str(place / "best"), file.fileno(), Following(open_sessions=50), Alarms(0.05),
            ends=True, calibrate=str(place / "new.log"), emit=raised.append, say=said.append,
        )  # fmt: skip
        follower.run(Interrupts())
    assert follower.closed == {"crowded out": 2_952, "end": 50}
    assert sum(follower.verdicts.values()) == 3_002
    assert "sessions are closed unfinished, since over 50 are open (--open-sessions)" in "; ".join(
        said
    )
    for text in ("1 records without a session", "1 bytes that are not UTF-8", "1 lines are cut"):
        assert text in said[-1]
    registry = CollectorRegistry()
    registry.register(follower)
    figures = generate_latest(registry).decode()
    for text in (
        "lstm_sweep_lines_total 3003.0",
        'lstm_sweep_closed_sessions_total{why="crowded out"} 2952.0',
        'lstm_sweep_left_out_lines_total{why="no session"} 1.0',
        "lstm_sweep_open_sessions 0.0",
        'lstm_sweep_p_values_bucket{le="1.0"} 3002.0',
    ):
        assert text in figures


def test_a_line_whose_expressions_take_too_long_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streaming, "LINE_SECONDS", 0.2)
    alphabet = Alphabet(("fine",), ends=True, lines=LineFormat(session_by="(?:a+)+b|f|n"))
    with timer() as set_timer:
        lines = Lines(alphabet, "a.log", set_timer)
        found = lines.events(b"fine\n" + b"a" * 60 + b"\nnine\nfine\n")
    assert [(one.code, one.text) for one in found] == [(3, "fine"), (1, "nine"), (3, "fine")]
    assert (lines.too_long, lines.read, lines.unmatched) == (1, 4, 1)
