"""What a search costs beside the best config known in hindsight, trained alone.

    python -m benchmarks.oracle --data FILE [--minutes 20] [--seeds 3] [--launch "ARGS"]
        [--validation 0.1] [--seed N] [--only search] [--set FIELD=VALUE] [--rescore T]
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
they all have the best config, or at once if that is given.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shlex
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.alone import (
    Event,
    Improving,
    improvements,
    one_line,
    our_events,
    own_of,
    own_program,
    read_lines,
    rescored,
    run_alone,
    runs_in,
)
from benchmarks.grids import SOURCE, divided, file_of
from lstm_sweep.models.config import FIELDS, TrialConfig
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines.hardware import cores
from lstm_sweep.search.store.tags import Tag, Tags, scoring_of
from lstm_sweep.spaces.presets import DEFAULT
from lstm_sweep.spaces.space import with_settings

SEARCH, ORACLE = "search", "oracle"
#: shares of an oracle's time after which its loss is compared: 5, 10 and 20 of 20 minutes
MARKS = (0.25, 0.5, 1.0)
OUT = Path("oracle")
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


@dataclass(frozen=True)
class Run(Improving):
    """What a search or an oracle found with one seed."""

    #: `search` or `oracle`
    kind: str
    seed: int
    #: fingerprint of the corpus
    corpus: str
    #: for how long it might run
    minutes: float
    #: trials at once
    workers: int
    #: what `launch` was given beside data and budget
    settings: str
    #: how finely its trials report, and on how many targets they are scored
    rounds_per_epoch: int
    targets: int
    #: fields of the config with the lowest loss
    config: dict[str, Any]
    #: pairs of seconds and a validation loss lower than all before; a search's count from the start
    #: of its process, an oracle's from that of its trial
    improvements: list[tuple[float, float]]
    #: validation targets on which the best network was scored again, and its loss on them
    rescored: int = 0
    rescored_loss: float | None = None
    #: how many targets are side by side
    adjacent: int = 1

    def to_dict(self) -> dict[str, Any]:
        """A line of a file of runs."""
        return {**vars(self), "improvements": [list(pair) for pair in self.improvements]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Run:
        """Read a line of a file of runs."""
        pairs = [(second, loss) for second, loss in values["improvements"]]
        return cls(**{**values, "improvements": pairs})


def read_runs(file: Path) -> list[Run]:
    """The runs that a file has, one a line; none if there is no such file."""
    return read_lines(file, Run.from_dict)


def found_run(
    kind: str, seed: int, minutes: float, workers: int, settings: str, folder: Path, began: float
) -> Run | None:
    """What a run has left in the store of its folder; None if there is no loss."""
    events = our_events(folder, began)
    begin = min((e.seconds for e in events), default=0.0) if kind == ORACLE else 0.0
    in_time = [e for e in events if e.seconds - begin <= 60 * minutes]
    scored = [e for e in in_time if e.val_loss is not None]
    if not scored:
        return None
    tags = [Tags(run) for run in runs_in(folder)]
    own = own_of(tags)
    best: Event = min(scored, key=lambda event: event.val_loss or 0.0)
    return Run(
        kind=kind,
        seed=seed,
        corpus=own.text(Tag.CORPUS_DIGEST),
        minutes=minutes,
        workers=workers,
        settings=settings,
        rounds_per_epoch=max(one.whole(Tag.ROUNDS_PER_EPOCH, 1, default=1) for one in tags),
        targets=scoring_of(own).targets,
        adjacent=scoring_of(own).adjacent,
        config={name: best.config[name] for name in FIELDS if name in best.config},
        improvements=improvements(scored, begin),
    )


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
    parser.add_argument("--seed", type=int, metavar="N", help="run only this one of them")
    parser.add_argument("--only", choices=(SEARCH, ORACLE), help="run only these")
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
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR")
    parser.add_argument("--report", action="store_true", help="run nothing")
    return parser.parse_args()


def _check(given: argparse.Namespace) -> None:
    for name in ("minutes", "search_minutes", "seeds", "workers"):
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
        seeds = _seeds(given, ORACLE, given.seeds)
        runs = read_runs(file)
        if seeds and not given.settings and (left := missing(runs, given.seeds)):
            print(f"{file.stem}: no oracle yet, searches are missing of seeds {left}", flush=True)
            return
        if not seeds:
            return
        given_config = given.settings and TrialConfig.from_dict(_set(given.settings)).to_dict()
        config = given_config or best_config(runs)
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
    for one, (name, value) in itertools.product(same_kind, expected.items()):
        if (found := getattr(one, name)) != value:
            text = f"{file}: has a {kind} with {name} {found!r}, expected {value!r}"
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
        code = run_alone(command, folder, log, began + most_s)
        run = found_run(kind, seed, minutes, workers, given.launch, folder, began)
        if run and not code and given.rescore:
            print(f"{file.stem}, {kind}, seed {seed}: scored again", flush=True)
            targets, loss = rescored(NAME, folder, given.rescore)
            run = replace(run, rescored=targets, rescored_loss=loss)
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


def settings_of(config: Mapping[str, Any]) -> list[str]:
    """A config as arguments of `launch`: a space with no other."""
    fields = {**config, "epochs": EPOCHS}
    return [part for name in FIELDS for part in ("--set", f"{name}={fields[name]}")]


def best_config(runs: Sequence[Run]) -> dict[str, Any]:
    """The config with the lowest loss that searches have found.

    Raises:
        InputError: there is none.
    """
    searches = [run for run in runs if run.kind == SEARCH and run.improvements]
    if not searches:
        raise InputError("no search has a loss, expected one; or give the config by --set")
    return min(searches, key=lambda run: run.best).config


def missing(runs: Sequence[Run], seeds: int) -> list[int]:
    """Seeds below `seeds` of which there is no search."""
    found = {run.seed for run in runs if run.kind == SEARCH}
    return [seed for seed in range(seeds) if seed not in found]


def losses_table(name: str, runs: Sequence[Run], reach: Sequence[float] = ()) -> str:
    """What each search had after quarters of its time, when it last gained, and when it had losses.

    Without searches it is about the oracles. `reach` are the losses of which that is said. If any
    network was scored again on more targets, the last column has the losses on these.
    """
    kind = SEARCH if any(run.kind == SEARCH for run in runs) else ORACLE
    found = sorted((run for run in runs if run.kind == kind), key=lambda run: run.seed)
    if not found:
        return f"{name}: no searches and no oracles, expected some"
    times = [found[0].minutes * quarter / 4 for quarter in (1, 2, 3, 4)]
    head = "".join(f"{f'{time:g} min':>10}" for time in times) + f"{'last gain':>11}"
    asked = "".join(f"{f's to {loss:g}':>13}" for loss in reach)
    again = max(run.rescored for run in found)
    also = f"{f'on {again:,}':>13}" if again else ""
    lines = [f"{name:<14}{head}{asked}{also}"]
    rows = [
        [run.best_at(60 * time) for time in times]
        + [run.improvements[-1][0] if run.improvements else math.inf]
        + [run.reached(loss) for loss in reach]
        + ([math.inf if run.rescored_loss is None else run.rescored_loss] if again else [])
        for run in found
    ]
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    labels = [*(f"seed {run.seed}" for run in found), "median"]
    for label, row in zip(labels, [*rows, medians], strict=True):
        cells = "".join(f"{_shown(value, '.4f'):>10}" for value in row[: len(times)])
        cells += f"{_shown(row[len(times)], '.0f'):>11}"
        reached = row[len(times) + 1 : len(times) + 1 + len(reach)]
        cells += "".join(f"{_shown(value, '.0f'):>13}" for value in reached)
        cells += f"{_shown(row[-1], '.4f'):>13}" if again else ""
        lines.append(f"{label:<14}{cells}")
    return "\n".join(lines)


def _shown(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else "never"


def table(name: str, runs: Sequence[Run]) -> str:
    """For each seed and mark: how long the oracle took to its loss, and the search to that.

    A search is compared with the oracle of its seed, or with the first if there is none.
    """
    oracles = {run.seed: run for run in runs if run.kind == ORACLE}
    searches = sorted((run for run in runs if run.kind == SEARCH), key=lambda run: run.seed)
    if not oracles or not searches:
        return f"{name}: {len(searches)} searches and {len(oracles)} oracles, expected some of both"
    minutes = next(iter(oracles.values())).minutes
    marks = [minutes * share for share in MARKS]
    head = "".join(f"{f'{mark:g} min':>30}" for mark in marks)
    columns = f"{'oracle':>8}{'at s':>7}{'search s':>9}{'ratio':>6}"
    lines = [f"{name:<14}{head}{'at the end':>20}"]
    lines.append(f"{'seed':<14}{columns * len(marks)}{'oracle':>10}{'search':>10}")
    ratios: list[list[float]] = [[] for _ in marks]
    for search in searches:
        oracle = oracles.get(search.seed, next(iter(oracles.values())))
        cells = ""
        for found, mark in zip(ratios, marks, strict=True):
            loss = oracle.best_at(60 * mark)
            # before the oracle has a loss there is nothing to compare
            own = oracle.reached(loss) if math.isfinite(loss) else math.inf
            needed = search.reached(loss)
            found.append(needed / own if math.isfinite(own) else math.nan)
            shown = f"{needed:.0f}" if math.isfinite(needed) else "never"
            cells += f"{loss:>8.4f}{own:>7.0f}{shown:>9}{_text(found[-1], search, own):>6}"
        lines.append(f"{search.seed:<14}{cells}{oracle.best:>10.4f}{search.best:>10.4f}")
    medians = "".join(f"{_ratio_text(statistics.median(found)):>30}" for found in ratios)
    lines.append(f"{'median ratio':<14}{medians}")
    return "\n".join(lines)


def _ratio_text(ratio: float) -> str:
    return f"{ratio:.2f}" if math.isfinite(ratio) else "never"


def _text(ratio: float, search: Run, own: float) -> str:
    """A ratio; of a search that never came there what it is at least."""
    if math.isfinite(ratio) or not math.isfinite(own):
        return f"{ratio:.2f}"
    return f">{60 * search.minutes / own:.1f}"


if __name__ == "__main__":
    main()
