"""What is printed where the terminal has ASCII alone, as with `LANG=C` in a small container."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.cli import main
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.values.trial import Ended, Outcome
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec

#: how a trial ended, with characters that ASCII lacks
REASON = "zu groß für 山 — 😀"


@pytest.fixture(scope="module")
def folder(workplace: Callable[[str], Path], corpus: Corpus) -> Path:
    """A store with a sweep of four trials, one of which failed."""
    folder = workplace("ascii")
    data = folder / "bücher.txt"
    data.write_text("дом, été, naïve. " * 200, encoding="utf-8")
    engine = ScriptedEngine(LOSSES, endings={1: Ended(Outcome.OUT_OF_MEMORY, REASON)})
    spec = tiny_spec(data=str(data), trials=4, **PLAIN)
    sweep_of(MlflowStore(load(folder)), corpus, engine, spec).run()
    return folder


def printed(*arguments: str, folder: Path) -> tuple[int, str, str]:
    """The exit code of a command, and what an ASCII terminal has of its output and its errors."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2)]
    out, err = streams
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main(arguments)
    texts = list[str]()
    for stream in streams:
        stream.flush()
        buffer = stream.buffer
        assert isinstance(buffer, io.BytesIO)
        texts.append(buffer.getvalue().decode("ascii"))
    return code, texts[0], texts[1]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["sweeps"], "s"),
        (["status", "s"], "s"),
        (["trials", "s"], "| s/3"),
        (["show", "s/3"], "+----"),
        (["show", "s/1"], "zu gro\\xdf f\\xfcr \\u5c71"),
        (["compare", "s/2", "s/3"], "s/3 is 0.1000 better than s/2"),
        (["report", "s", "--to", "größe.html"], "gr\\xf6\\xdfe.html"),
        (["launch", "--data", "bücher.txt", "--size-rule", "off", "--dry-run"], "b\\xfccher.txt"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_command_prints_what_ascii_has_and_escapes_the_rest(
    folder: Path, command: list[str], expected: str
) -> None:
    code, out, err = printed(*command, folder=folder)
    assert (code, "Traceback" in err) == (0, False), err
    assert expected in out


def test_json_is_of_the_same_values(folder: Path) -> None:
    code, out, _ = printed("show", "s/1", "--json", folder=folder)
    assert code == 0 and REASON in json.dumps(json.loads(out), ensure_ascii=False)
