"""Whatever a Python caller gets wrong is an `InputError` of one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lstm_sweep as ls
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import references
from lstm_sweep.search.actions.detection import Rule
from lstm_sweep.search.actions.inference import GenerationRequest
from lstm_sweep.search.values.spec import MAY_CHANGE
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN

#: rates for a ladder
RATES: Any = {"learning_rate": [0.1, 0.01, 0.001]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the finished sweep `s`, and a text to train on."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "book.txt").write_text("abcdefgh " * 400, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "open_engine", lambda name, **more: ScriptedEngine(LOSSES))
        ls.launch(store=folder, **fields(folder, name="s", trials=3))
    return folder


def fields(folder: Path, **more: Any) -> Any:
    """Arguments of a small sweep."""
    space = {"layers": 1, "layer_size": [4, 8], "sequence_length": 10, "epochs": 2}
    given = {"data": folder / "book.txt", "space": space, "size_rule": "off", "targets": 50}
    return {**given, **PLAIN, **more}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ls.Model:
    """The model of a template, whose network predicts no symbols."""
    return ls.load(template_bundle(tmp_path_factory.mktemp("bundle")))


def template_bundle(folder: Path) -> Path:
    (folder / "config.json").write_text('{"units:3": 4}', encoding="utf-8")
    (folder / "metrics.json").write_text('{"trial": "mine/3", "loss": 0.5}', encoding="utf-8")
    (folder / "model.keras").write_bytes(b"weights")
    return folder


Call = Callable[[Path, Any], object]

BAD_CALLS: dict[str, Call] = {
    # what has a wrong value
    "launch: a name that is taken": lambda f, m: launch(f, name="s", trials=3),
    "launch: a size rule that admits nothing": lambda f, m: launch(
        f, size_rule="reject", size_low=1e9, size_high=2e9
    ),
    "launch: no such engine": lambda f, m: launch(f, on="moon"),
    "launch: no such field": lambda f, m: launch(f, trails=3),
    "sweep: none": lambda f, m: ls.sweep("t", store=f),
    "trial: none": lambda f, m: sweep(f).trial(99),
    "trial: of no sweep": lambda f, m: sweep(f).trial("x" * 40),
    "trial: no such run": lambda f, m: sweep(f).trial("abcd"),
    "resume: a template": lambda f, m: sweep(f).resume(trials=9, template="mine.py"),
    "export: a folder with something in it": lambda f, m: trial(f).export(f),
    "export: a file": lambda f, m: trial(f).export(f / "book.txt" / "x"),
    "export: no such format": lambda f, m: trial(f).export(f / "new", format="onnxx"),
    "rerun: no such engine": lambda f, m: trial(f).rerun(on="moon"),
    "rerun: no such field": lambda f, m: trial(f).rerun(set={"layer": 1}),
    "rerun: a template": lambda f, m: trial(f).rerun(template="mine.py"),
    "load: nothing": lambda f, m: ls.load(f / "nothing"),
    "generate: of a template": lambda f, m: m.generate(),
    "detect: of a template": lambda f, m: m.detect(f / "book.txt"),
    "generate: length 0": lambda f, m: m.generate(length=0),
    "generate: temperature below 0": lambda f, m: m.generate(temperature=-1.0),
    "generate: not a number": lambda f, m: m.generate(temperature=float("nan")),
    "detect: below 0": lambda f, m: m.detect("x", below=0.0),
    "detect: no candidates": lambda f, m: m.detect("x", candidates=0),
    # what has a wrong type
    "store: a number": lambda f, m: ls.sweeps(store=wrong(5)),
    "sweep: a number": lambda f, m: ls.sweep(wrong(5), store=f),
    "load: a number": lambda f, m: ls.load(wrong(5)),
    "trial: none given": lambda f, m: sweep(f).trial(wrong(None)),
    "trial: half": lambda f, m: sweep(f).trial(wrong(2.5)),
    "export: to a number": lambda f, m: trial(f).export(wrong(5)),
    "export: format": lambda f, m: trial(f).export(f / "new", format=wrong(5)),
    "export: unchecked": lambda f, m: trial(f).export(f / "new", unchecked=wrong("yes")),
    "rerun: set": lambda f, m: trial(f).rerun(set=wrong("layers=1")),
    "generate: prompt": lambda f, m: m.generate(wrong(5)),
    "generate: length a fraction": lambda f, m: m.generate(length=wrong(2.5)),
    "generate: length true": lambda f, m: m.generate(length=wrong(True)),
    "generate: temperature a text": lambda f, m: m.generate(temperature=wrong("1")),
    "request": lambda f, m: GenerationRequest(wrong(5), 5, 1.0, 1, 0),
    "rule": lambda f, m: Rule(wrong("0.1")),
    "detect: data": lambda f, m: m.detect(wrong(5)),
    "detect: below a text": lambda f, m: m.detect("x", below=wrong("0.1")),
    "detect: candidates a fraction": lambda f, m: m.detect("x", candidates=wrong(1.5)),
} | {
    f"resume: {name} is {value!r}": lambda f, m, name=name, value=value: sweep(f).resume(
        **{name: value}
    )
    for name in MAY_CHANGE
    if name != "name"
    for value in ("x", [1], -1)
}  # fmt: skip


def wrong(value: object) -> Any:
    """A value of another type than what is annotated."""
    return value


def launch(folder: Path, **more: Any) -> ls.Sweep:
    return ls.launch(store=folder, **fields(folder, **more))


def sweep(folder: Path) -> ls.Sweep:
    return ls.sweep("s", store=folder)


def trial(folder: Path) -> ls.Trial:
    return sweep(folder).trial(1)


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
def test_it_is_told_in_one_line(folder: Path, model: ls.Model, call: Call) -> None:
    with pytest.raises(InputError) as refused:
        call(folder, model)
    told = str(refused.value)
    assert "\n" not in told and len(told) > 10


# --- a template's model ---------------------------------------------------------------------------


@pytest.mark.parametrize("damaged", ["config.json", "metrics.json", "model.keras"])
def test_a_damaged_model_of_a_template_is_refused(tmp_path: Path, damaged: str) -> None:
    folder = template_bundle(tmp_path)
    ls.load(folder)
    (folder / damaged).unlink()
    with pytest.raises(InputError, match=r"[Nn]o such file|has no alphabet"):
        ls.load(folder)


def test_the_trial_of_a_template_is_exported_as_its_kind_of_task_says(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def export(reference: str, to: str, format: str, **more: Any) -> Any:
        asked.append((to, format, more["unchecked"]))
        Path(to).mkdir()
        template_bundle(Path(to))
        return type("Done", (), {"bundle": to, "version": None})

    monkeypatch.setattr("lstm_sweep.search.actions.local.Local.export", staticmethod(export))
    done = trial(folder).export(tmp_path / "best", unchecked=True)
    assert asked == [(str(tmp_path / "best"), "keras", True)]
    assert json.loads((done.folder / "config.json").read_text()) == done.config
    with pytest.raises(InputError, match="expected a network that predicts symbols"):
        done.generate()
