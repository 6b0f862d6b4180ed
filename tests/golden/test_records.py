"""What the program says and writes is what the records in this folder say."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search import cli
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.cli.parsers import build_parser
from lstm_sweep.search.driver import lease
from lstm_sweep.search.service.app import create_app
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Ended, Outcome
from lstm_sweep.spaces.space import from_mapping
from tests.acceptance.test_class_sweep import write_rows
from tests.contract.test_commands import SAME, address, folder, place
from tests.fakes import ScriptedEngine
from tests.golden.records import compare, in_lines, plain
from tests.service_app import API, Place
from tests.sweeps import PLAIN, store_in, sweep_of, tiny_spec

__all__ = ["address", "folder", "place"]  # fixtures


@pytest.fixture(autouse=True)
def as_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program as a user calls it, in a terminal that is 100 characters wide."""
    monkeypatch.setattr("sys.argv", ["lstm-sweep"])
    monkeypatch.setenv("COLUMNS", "100")


def test_help_of_each_command() -> None:
    def texts(parser: argparse.ArgumentParser) -> Iterator[str]:
        yield f"$ {parser.prog} --help\n{parser.format_help()}"
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for command in action.choices.values():
                    yield from texts(command)

    compare("help.txt", "\n".join(texts(build_parser())))


Printed = tuple[int, str, str]


def test_commands_at_home_and_by_a_service(
    place: Place, address: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = Local(place.service.settings.store).trials("s").to_list()[0]["run_id"]

    def run(*words: str) -> Printed:
        code = cli.main([run_id if word == "RUN" else word for word in words])
        output, errors = capsys.readouterr()
        if "--json" in words and output:
            output = in_lines(json.loads(output)) + "\n"
        return code, plain(output, folder), plain(errors, folder)

    texts = []
    for command in (f"{name} {more}".split() for name, cases in SAME.items() for more in cases):
        home = run(*command)
        texts += [f"$ {' '.join(command)}", shown(home)]
        if home[0] == 0:  # what a service has is the same as text if it is as JSON
            command.append("--json")
            home = run(*command)
            texts += ["--json", shown(home)]
        texts.append(compared(home, run(*command, "--server", address)))
    compare("commands.txt", "\n".join(text for text in texts if text))


def shown(printed: Printed) -> str:
    """What a command has printed, in a record."""
    code, output, errors = printed
    ended = f"[exit code {code}]\n" if code else ""
    return f"{output}{ended}{errors}".rstrip("\n")


def compared(home: Printed, service: Printed) -> str:
    """What differs by a service from what was printed at home; empty if nothing does."""
    if service == home:
        return ""
    lines = shown(home).splitlines()
    return "\n".join(
        f"by a service: {line}" for line in shown(service).splitlines() if line not in lines
    )


#: how each trial ends, and whether it has a loss then
ENDS = [
    (Outcome.COMPLETE, True),
    (Outcome.PRUNED, True),
    (Outcome.OUT_OF_TIME, True),
    (Outcome.OUT_OF_TIME, False),
    (Outcome.STOPPED, True),
    (Outcome.STOPPED, False),
    (Outcome.DIVERGED, True),
    (Outcome.HUNG, True),
    (Outcome.ERROR, False),
    (Outcome.OUT_OF_MEMORY, False),
]


@pytest.fixture
def no_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """No lease is renewed: what that writes depends on the machine's time."""
    monkeypatch.setattr(lease, "BEAT_S", 1e6)


@pytest.mark.usefixtures("no_beat")
def test_what_mlflow_has_of_classes(workplace: Callable[[str], Path]) -> None:
    folder = workplace("classes")
    data = write_rows(folder / "rows.tsv")
    space = from_mapping({"pooling": ["mean", "max"], "layer_size": 6, "epochs": 2}, "test")
    spec = SweepSpec(data=str(data), label="class", space=space, trials=2, size_rule="off", **PLAIN)
    engine = ScriptedEngine({0: [0.9, 0.8], 1: [0.7]})
    sweep_of(store_in(folder), None, engine, spec, clock=lambda: 0.0).run()
    compare("classes.txt", plain("\n".join(runs_in(folder)), folder))


@pytest.mark.usefixtures("no_beat")
def test_what_mlflow_has_of_every_outcome(
    workplace: Callable[[str], Path], corpus: Corpus, data: Path
) -> None:
    folder = workplace("recorded")
    losses = {number: [3.0 - number / 10] if has else [] for number, (_, has) in enumerate(ENDS)}
    endings = {number: Ended(outcome, "why") for number, (outcome, _) in enumerate(ENDS)}
    spec = tiny_spec(data=str(data), trials=len(ENDS), **PLAIN)
    engine = ScriptedEngine(losses, endings=endings, lose_first=1)
    sweep_of(store_in(folder), corpus, engine, spec, clock=lambda: 0.0).run()
    compare(
        "sweep.txt", plain("\n".join(runs_in(folder)), folder).replace(str(data.parent), "DATA")
    )


def runs_in(folder: Path) -> Iterator[str]:
    """What a store has of its runs: what all of a kind share comes once."""
    runs = all_runs(folder)
    for kind in ("search", "baseline"):
        alike = [run for run in runs if f"tag sweep.phase = {kind}" in run.facts]
        shared = set[str].intersection(*(set(run.facts) for run in alike))
        yield f"each run whose phase is {kind}"
        yield from (f"  {fact}" for fact in alike[0].facts if fact in shared)
        for run in alike:
            run.facts = [fact for fact in run.facts if fact not in shared]
    for run in runs:
        yield f"{run.name} {run.status}"
        yield from (f"  {fact}".replace("\n", "\n    ") for fact in run.facts)


@dataclass
class Run:
    """A run as its store has it."""

    name: str
    status: str
    facts: list[str] = field(default_factory=list)


def all_runs(folder: Path) -> list[Run]:
    """Runs in the order of their names and times."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as base:
        asked = base.execute("SELECT run_uuid, name, status FROM runs ORDER BY name, start_time")
        runs = {run_id: Run(name, status) for run_id, name, status in asked}
        for kind in ("param", "tag"):
            asked = base.execute(f"SELECT run_uuid, key, value FROM {kind}s ORDER BY key")
            for run_id, key, value in asked:
                runs[run_id].facts.append(f"{kind} {key} = {value}")
        asked = base.execute(
            "SELECT run_uuid, key, step, value FROM metrics "
            "ORDER BY run_uuid, key, step, timestamp, value DESC"
        )
        for (run_id, key), rows in itertools.groupby(asked, lambda row: row[:2]):
            values = ", ".join(f"{step}: {value:.6g}" for *_, step, value in rows)
            runs[run_id].facts.append(f"metric {key} = {values}")
    for run_id, run in runs.items():
        files = folder / "artifacts" / run_id / "artifacts"
        run.facts += [
            f"file {one.relative_to(files)}" for one in sorted(files.rglob("*")) if one.is_file()
        ]
    return list(runs.values())


def test_what_the_service_describes(workplace: Callable[[str], Path]) -> None:
    place = Place.in_folder(workplace("described"))
    described = create_app(place.service, place.settings).openapi()
    compare("openapi.txt", "\n".join(lines_of(described)))


def lines_of(described: Any) -> Iterator[str]:
    """A description of a service with a line for each thing that a client may send or get."""
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            yield f"{method.upper()} {path.removeprefix(API)}: {operation['summary']}"
            for given in operation.get("parameters", []):
                must = " required" if given["required"] else ""
                yield f"  {given['in']} {given['name']}{must}: {schema(given['schema'])}"
            for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                yield f"  body {kind}: {schema(body.get('schema', {}))}"
            for code, answer in operation["responses"].items():
                kinds = answer.get("content", {})
                texts = [f"{kind} {schema(body.get('schema', {}))}" for kind, body in kinds.items()]
                yield f"  {code}: {', '.join(texts)}"
    for name, one in described["components"]["schemas"].items():
        yield f"{name}: {schema({key: one[key] for key in one if key != 'properties'})}"
        for name, value in one.get("properties", {}).items():
            yield f"  {name}: {schema(value)}"


def schema(described: Any) -> str:
    """A schema without what only says it again."""

    def lean(one: Any) -> Any:
        if isinstance(one, dict):
            return {
                key: lean(value)
                for key, value in one.items()
                if key not in ("title", "description")
            }
        return [lean(value) for value in one] if isinstance(one, list) else one

    return json.dumps(lean(described)).replace("#/components/schemas/", "")
