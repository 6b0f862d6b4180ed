"""What a search costs beside the best config known in hindsight, trained alone.

    python -m benchmarks.oracle --data FILE [--minutes 20] [--seeds 3] [--launch "ARGS"]
        [--validation 0.1] [--seed N] [--only search] [--until-oracle] [--set FIELD=VALUE]
        [--rescore T]
    python -m benchmarks.oracle --report [--reach LOSS]

First whole searches run, one after the other, each for twice the `--minutes` of an oracle:
`lstm-sweep launch` with `--launch ARGS`, as its users run it. Then the oracles: the config of
`--set`, or the best that any of these searches has found, is trained on one core, scored on the
same targets after the same rounds. (An oracle that is alone on the machine may train faster than a
network of a search, which shares it; two oracles side by side do not.) A search's time counts from
the start of its process, an oracle's from the beginning of its trial. The data `source` are
Python's own source code, as in `grids.py`.

The table has the losses that the oracle has after a quarter, a half and all of its time, and how
much longer the search took to them; before it stands what the searches had by when, or without any
the oracles, and when they had each loss of `--reach`. The results go to a file for each corpus,
`OUT/NAME.jsonl`, one by one, so a benchmark that was broken off goes on where it stopped, and
`--seed N` runs one of its seeds. Oracles begin once there is a search of each of `--seeds`, since
they all have the best config, or at once if that is given. With `--until-oracle` a search is over
when it has the lowest loss of the oracle of its seed, if that has run before it.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contestants import lowest_loss, own_program, run_alone
from benchmarks.ending import one_line
from benchmarks.found_run import found_run
from benchmarks.grids import SOURCE, divided, file_of
from benchmarks.oracle_records import (
    ORACLE,
    SEARCH,
    Run,
    best_config,
    losses_table,
    missing,
    read_runs,
    table,
)
from benchmarks.rescored import rescored
from lstm_sweep.models.config import FIELDS, TrialConfig
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines.hardware import cores
from lstm_sweep.spaces.presets import DEFAULT
from lstm_sweep.spaces.space import with_settings

OUT = Path(__file__).parent / "oracle"
#: name of the sweep of a run
NAME = "oracle"
#: minutes of a search for each of an oracle
LONGER = 2.0
#: epochs of an oracle: more than it has time for
EPOCHS = 10_000
#: seconds that the process of an oracle gets to come to its trial, which do not count
START_S = 60.0
#: what makes a sweep of an oracle
ALONE = (
    "--trials", "1", "--workers", "1", "--ladder", "off", "--halving", "off",
    "--early-stopping", "0", "--confirm-configs", "0", "--size-rule", "off",
)  # fmt: skip


def main() -> None:
    """Run what is missing, and print a table for each corpus."""
    given = _arguments()
    with one_line("oracle"):
        _check(given)
        if not given.report:
            _run_missing(given)
        files = sorted(given.out.glob("*.jsonl")) if given.report else [_file(given)]
        if not files:
            raise InputError(f"--out {given.out}: found no runs, expected some")
        for file in files:
            runs = read_runs(file)
            tables = [losses_table(file.stem, runs, given.reach)]
            if any(run.kind == SEARCH for run in runs):
                tables.append(table(file.stem, runs))
            print(*tables, sep="\n\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data", metavar="PATH_OR_SAMPLE", help=f"a file, a folder, a sample, or {SOURCE}"
    )
    parser.add_argument("--name", help="of the corpus (default: of the data)")
    parser.add_argument(
        "--minutes", type=float, default=20.0, metavar="M", help="of an oracle (20)"
    )
    parser.add_argument(
        "--search-minutes", type=float, metavar="M", help=f"of a search ({LONGER:g} times as many)"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="S", help="searches (3)")
    parser.add_argument(
        "--oracles", type=int, metavar="S", help="seeds with an oracle of their own (all)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="run only this one of them")
    parser.add_argument("--only", choices=(SEARCH, ORACLE), help="run only these")
    parser.add_argument(
        "--until-oracle", action="store_true", help="end a search that has its oracle's lowest loss"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="of a search (one per core)")
    parser.add_argument(
        "--validation",
        type=float,
        metavar="SHARE",
        help="the last share of a text is validation data, the rest training (nanoGPT: 0.1)",
    )
    parser.add_argument(
        "--reach", type=float, nargs="+", default=[], metavar="LOSS", help="losses of the table"
    )
    parser.add_argument(
        "--launch", default="", metavar="ARGS", help="further arguments of launch, one text"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", dest="settings",
        help="a field of the oracle's config; others have their defaults",
    )  # fmt: skip
    parser.add_argument(
        "--rescore", type=int, default=0, metavar="T",
        help="score each best network on so many validation targets, or all, once it is found",
    )  # fmt: skip
    parser.add_argument("--best-of", metavar="SWEEP", help="the oracle is its best config")
    parser.add_argument("--store", help="where that sweep is kept")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR")
    parser.add_argument("--report", action="store_true", help="run nothing")
    return parser.parse_args()


def _check(given: argparse.Namespace) -> None:
    for name in ("minutes", "search_minutes", "seeds", "oracles", "workers"):
        value = getattr(given, name)
        if value is not None and not 0 < value < math.inf:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} is {value:g}: expected a number above 0")
    if given.rescore < 0:
        raise InputError(f"--rescore is {given.rescore}: expected a number from 0")
    if given.seed is not None and not 0 <= given.seed < given.seeds:
        raise InputError(f"--seed is {given.seed}: expected one from 0 to {given.seeds - 1}")
    if given.validation is not None and not 0 < given.validation < 1:
        raise InputError(f"--validation is {given.validation:g}: expected a share between 0 and 1")
    if given.data is None and not given.report:
        raise InputError("--data is missing: expected a file, a folder, or a sample")
    if given.settings and given.best_of:
        raise InputError("--set and --best-of: expected one of them at most")


def _file(given: argparse.Namespace) -> Path:
    share = "" if given.validation is None else f"-{given.validation:g}"
    found: Path = given.out / f"{given.name or Path(given.data).stem + share}.jsonl"
    return found


def _run_missing(given: argparse.Namespace) -> None:
    file = _file(given)
    file.parent.mkdir(parents=True, exist_ok=True)
    workers = given.workers or len(cores())
    minutes = given.search_minutes or LONGER * given.minutes
    budget = ["--trials", "100000", "--minutes", f"{minutes:g}", "--workers", str(workers)]
    with tempfile.TemporaryDirectory(prefix="oracle-", ignore_cleanup_errors=True) as scratch:
        data = _data(given, Path(scratch))
        for seed in _seeds(given, SEARCH, given.seeds):
            _run_one(given, data, SEARCH, seed, minutes, workers, budget)
        seeds = _seeds(given, ORACLE, given.oracles or given.seeds)
        runs = read_runs(file)
        of_others = not (given.settings or given.best_of)
        if seeds and of_others and (left := missing(runs, given.seeds)):
            print(f"{file.stem}: no oracle yet, searches are missing of seeds {left}", flush=True)
            return
        if not seeds:
            return
        config = oracle_config(given.settings, given.best_of, given.store, runs)
        alone = [*ALONE, *settings_of(config), *scored_as(runs, data, given.launch, budget)]
        for seed in seeds:
            _run_one(given, data, ORACLE, seed, given.minutes, 1, alone)


def _data(given: argparse.Namespace, folder: Path) -> str:
    """What the runs are given as data: a name or a path, divided as it is asked for."""
    found = Source(data=file_of(given.data, folder)).resolve().data
    return found if given.validation is None else divided(Path(found), given.validation, folder)


def _seeds(given: argparse.Namespace, kind: str, count: int) -> list[int]:
    """Seeds of a kind that are to be run."""
    if given.only not in (None, kind):
        return []
    return [seed for seed in range(count) if given.seed in (None, seed)]


def _run_one(
    given: argparse.Namespace,
    data: str,
    kind: str,
    seed: int,
    minutes: float,
    workers: int,
    args: list[str],
) -> None:
    """Run a search or an oracle, if the file does not have it; `args` are further ones of `launch`.

    Raises:
        InputError: the file has runs that cannot be compared, or the program fails.
    """
    file = _file(given)
    log = file.with_name(f"{file.stem}-{kind}-{seed}.log")
    same_kind = [one for one in read_runs(file) if one.kind == kind]
    expected = {"settings": given.launch, "minutes": minutes, "workers": workers}
    for one, (field, value) in itertools.product(same_kind, expected.items()):
        if (found := getattr(one, field)) != value:
            text = f"{file}: has a {kind} with {field} {found!r}, expected {value!r}"
            raise InputError(f"{text}; try another --name or --out")
    if any(one.seed == seed for one in same_kind):
        return
    print(f"{file.stem}, {kind}, seed {seed}: {minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="oracle-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        command = [
            str(own_program()), "launch", "--data", data, "--name", NAME, "--seed", str(seed),
            *shlex.split(given.launch), *args,
        ]  # fmt: skip
        began = time.time()
        most_s = 60 * minutes + (START_S if kind == ORACLE else 0.0)
        goal = _goal(given, kind, seed)

        def enough() -> bool:
            return goal is not None and lowest_loss(folder) <= goal

        code = run_alone(command, folder, log, began + most_s, enough)
        run = found_run(kind, seed, minutes, workers, given.launch, folder, began)
        if run and goal is not None and run.best <= goal:
            run = dataclasses.replace(run, until_loss=goal)
        if run and not code and given.rescore:
            print(f"{file.stem}, {kind}, seed {seed}: scored again", flush=True)
            targets, loss = rescored(NAME, folder, given.rescore)
            run = dataclasses.replace(run, rescored=targets, rescored_loss=loss)
    if code or run is None:
        raise InputError(f"{kind}, seed {seed}: ended with code {code}; expected a loss, see {log}")
    before = read_runs(file)
    if other := next((one for one in before if one.adjacent != run.adjacent), None):
        raise InputError(
            f"{file}: has a {other.kind} with {other.adjacent} adjacent targets, expected "
            f"{run.adjacent}; try another --name or --out"
        )
    if other := next((one for one in before if one.corpus != run.corpus), None):
        text = (
            f"{file}: has a {other.kind} on another corpus ({other.corpus}), expected {run.corpus}"
        )
        raise InputError(f"{text}; try another --name or --out")
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(run.to_dict(), allow_nan=False) + "\n")


def _goal(given: argparse.Namespace, kind: str, seed: int) -> float | None:
    """The loss at which a run is ended, which is said; None if it has all its time."""
    if not given.until_oracle or kind != SEARCH:
        return None
    file = _file(given)
    goal = oracle_loss(read_runs(file), seed)
    until = "no oracle of its seed yet" if goal is None else f"until {goal:.4f}"
    print(f"{file.stem}, {kind}, seed {seed}: {until}", flush=True)
    return goal


def oracle_config(
    settings: Sequence[str], sweep: str | None, store: str | None, runs: Sequence[Run]
) -> dict[str, Any]:
    """The config of an oracle: as it is given, the best of a sweep, or the best of all searches."""
    if settings:
        return TrialConfig.from_dict(_set(settings)).to_dict()
    if sweep:
        import lstm_sweep

        return lstm_sweep.sweep(sweep, store=store).best.config
    return best_config(runs)


def scored_as(runs: Sequence[Run], data: str, launch: str, budget: Sequence[str]) -> list[str]:
    """How an oracle is scored, as arguments of `launch`: as runs are, or as a search would be."""
    if runs:
        first = runs[0]
        targets, adjacent, rounds = first.targets, first.adjacent, first.rounds_per_epoch
    else:
        command = [str(own_program()), "launch", "--data", data, *shlex.split(launch), *budget]
        asked = subprocess.run([*command, "--dry-run", "--json"], capture_output=True, check=False)
        if asked.returncode:
            raise InputError(asked.stderr.decode(errors="replace").strip())
        spec = json.loads(asked.stdout)["spec"]
        targets, adjacent = spec["targets"], spec["adjacent_targets"]
        rounds = spec["rounds_per_epoch"]
    return [
        "--targets", str(targets), "--adjacent-targets", str(adjacent),
        "--rounds-per-epoch", str(rounds),
    ]  # fmt: skip


def _set(settings: Sequence[str]) -> dict[str, Any]:
    found = {}
    for setting in settings:
        name, _, _ = setting.partition("=")
        values = with_settings(DEFAULT, [setting])[name.strip()].values() or []
        if len(values) != 1:
            raise InputError(f"--set {setting}: expected one value")
        found[name.strip()] = values[0]
    return found


def oracle_loss(runs: Sequence[Run], seed: int) -> float | None:
    """The lowest loss of the oracle of a seed; None if there is none."""
    oracles = [run for run in runs if run.kind == ORACLE and run.seed == seed]
    return min((run.best for run in oracles), default=None)


def settings_of(config: Mapping[str, Any]) -> list[str]:
    """A config as arguments of `launch`: a space with no other."""
    fields = {**config, "epochs": EPOCHS}
    return [part for name in FIELDS for part in ("--set", f"{name}={fields[name]}")]


if __name__ == "__main__":
    main()
