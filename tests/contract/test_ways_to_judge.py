"""A session has one verdict: at home, by a service, in Python, and as its lines come."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstm_sweep as ls
from lstm_sweep.models import backend
from lstm_sweep.models.bundle import bundle
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import END, UNKNOWN, Alphabet
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.log_lines import LineFormat
from lstm_sweep.models.network.evaluation import judge
from lstm_sweep.models.normality import Calibration, Normality, sessions_of
from lstm_sweep.search.actions import export as exporting
from lstm_sweep.search.actions.export import Exported
from lstm_sweep.search.cli import main
from tests.service_app import Place, use_scripted_engines

CONFIG = TrialConfig(layers=1, layer_size=8, sequence_length=5, state="carried")
METRICS = {"trial": "s/3", "val_loss": 1.5, "test_loss": 1.75}
WORDS = ("opened", "read", "wrote", "closed")
#: between two of the p-values that 99 sessions of calibration give, so that names draw
RATE = "0.0551"
LONG = "x" * 300
#: what a stream calls its first lines until one has several ids
FIRST = {"stdin": "session 1"}


def _ids(sessions: list[list[int]]) -> str:
    return "".join(" ".join(map(str, one)) + "\n" for one in sessions)


def _lines(sessions: list[list[int]]) -> str:
    """Lines of sessions, one of each in turn; half of their names are long."""
    words = (*WORDS, "exploded")
    rest = [[words[code] for code in one][::-1] for one in sessions]
    found = []
    while any(rest):
        for number, one in enumerate(rest):
            if one:
                found.append(f"s{number}{LONG if number % 2 else ''} {one.pop()}\n")
    return "".join(found)


#: what symbols and sessions are, and data of sessions
KINDS: dict[str, tuple[Alphabet, Callable[[list[list[int]]], str]]] = {
    "ids": (Alphabet((0, 1, 2, 3), ends=True), _ids),
    "an id first": (Alphabet((0, 1, 2, 3), ends=True), lambda all: _ids([[2], *all])),
    "lines": (
        Alphabet(WORDS, ends=True, lines=LineFormat(session_by=r"^(\S+) ", header=r"\S+ ")),
        _lines,
    ),
}


def sessions_drawn(rng: np.random.Generator, count: int) -> list[list[int]]:
    """Sessions of four symbols, of which some have another one."""
    return [rng.integers(0, 4, rng.integers(2, 9)).tolist() + [4] * (n % 30 == 7)
            for n in range(count)]  # fmt: skip


def write_bundle(folder: Path, alphabet: Alphabet) -> None:
    from lstm_sweep.models.network import lstm

    backend.prepare(gpu=False, seed=1)
    model = lstm.build(CONFIG.evolve(averaging="off"), len(alphabet)).scored
    model.set_weights([4 * one for one in model.get_weights()])  # so that symbols differ
    opened = Bundle("s/3", CONFIG, alphabet, METRICS)
    bundle.write(model, opened, folder / "scratch", "keras")
    program = bundle.predictor(folder / "scratch", opened)
    known = sessions_drawn(np.random.default_rng(2), 99)
    codes = [[END + 1 + one if one < 4 else UNKNOWN for one in its] + [END] for its in known]
    starts = np.cumsum([0, *map(len, codes[:-1])])
    split = Split(np.concatenate(codes).astype(np.int32), starts)
    normal = Normality.of(sessions_of(split, ends=True)[:20], len(alphabet))
    surprise, _ = judge(program, CONFIG, len(alphabet), split)
    calibration = Calibration(normal, normal.scores(split, surprise, ends=True))
    about = Bundle("s/3", CONFIG, alphabet, METRICS, calibration)
    bundle.write(model, about, folder / "best", "keras")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("prepared")
def test_a_session_has_one_verdict_however_it_is_judged(
    kind: str, data: Path, workplace: Callable[[str], Path], tmp_path: Path,
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    alphabet, text_of = KINDS[kind]
    write_bundle(tmp_path, alphabet)
    text = text_of(sessions_drawn(np.random.default_rng(3), 1_000))
    home, file = str(tmp_path / "best"), tmp_path / "new.log"
    file.write_text(text)

    def exported(store: object, records: object, to: Path, format: str, **more: Any) -> Exported:
        shutil.copytree(home, to)
        about = {"bundle": str(to), "format": format, "trial": "s/3", "test_loss": 1.75}
        return Exported.from_dict(about | {"parity": {}, "lines": (), "model_version": None})

    def abnormal(rows: Any) -> dict[str, tuple[float, str, str]]:
        """Verdicts by sessions; a number in place of the name of its file, too."""
        return {
            FIRST.get(name := one["session"].rpartition(", ")[2], name): (
                one["p"],
                one["by"],
                one["why"],
            )
            for one in rows
        }

    def printed(*arguments: str) -> Any:
        assert main(["detect", *arguments, "--false-alarms", RATE]) == 0
        return capfd.readouterr().out

    def batch(model: str, data: str, *more: str) -> Any:
        found = json.loads(printed(model, "--data", data, "--json", *more))
        return abnormal(found["verdicts"]["abnormal"])

    expected = batch(home, str(file))
    assert max(p for p, _, _ in expected.values()) > float(RATE), "one that its name has drawn"
    with file.open() as content, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", content)
        assert batch(home, "-") == expected
    with file.open() as content, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", content)
        alarms = [json.loads(line) for line in printed(home, "--follow", "-").splitlines()]
    assert abnormal(alarms).keys() == expected.keys() and len(alarms) == len(expected)
    ended = [one for one in alarms if not one["open"]]
    assert ended and abnormal(ended).items() <= expected.items()
    table = ls.load(home).verdicts(file, false_alarms=float(RATE))
    assert abnormal(row for _, row in table.iterrows()) == expected
    monkeypatch.chdir(workplace("served"))
    use_scripted_engines(monkeypatch)
    service = Place.in_folder(Path.cwd())
    service.launch(data)
    monkeypatch.setattr(exporting, "write_bundle", exported)
    with service.served() as address:
        assert batch("s", str(file), "--server", address) == expected
    asked = {"lines": text.splitlines(), "false_alarms": float(RATE)}
    with service.client() as client:
        found = client.post("/api/v1/sweeps/s/verdicts", json=asked).json()
    assert abnormal(found["verdicts"]["abnormal"]) == expected
