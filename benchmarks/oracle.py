"""What a search costs beside the best config known in hindsight, trained alone.

    python -m benchmarks.oracle --data FILE [--minutes 20] [--seeds 3] [--launch "ARGS"]
        [--validation 0.1] [--seed N] [--only search] [--rescore T]
    python -m benchmarks.oracle --report

First whole searches run, one after the other, each for twice the `--minutes` of an oracle:
`lstm-sweep launch` with `--launch ARGS`, as its users run it. Then the oracles: the best config
that any of these searches has found is trained on one core, scored on the same targets after the
same rounds. A search's time counts from the start of its process, an oracle's from the beginning
of its trial. The data `source` are Python's own source code, as in `curves.py`.

The table has the losses that the oracle has after a quarter, a half and all of its time, and how
much longer the search took to them; before it stands what each run had by when. The results go to a
file for each corpus, `OUT/NAME.jsonl`, one by one, so a benchmark that was broken off goes on where
it stopped, and `--seed N` runs one of its seeds. Oracles begin once there is a search of each of
`--seeds`, since they all have the best config.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.alone import (
    Improving,
    Kept,
    above_zero,
    append,
    check_same,
    laid_out,
    one_line,
    own_program,
    read_lines,
    rescored,
    run_alone,
    shown,
)
from benchmarks.curves import SOURCE, divided, file_of
from lstm_sweep.models.config import FIELDS
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines.hardware import cores
from lstm_sweep.search.store.tags import Tag, scoring_of

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

    kind: str
    seed: int
    #: for how long it might run, how many trials at once
    minutes: float
    workers: int
    #: what `launch` was given beside data and budget
    settings: str
    #: fingerprint of the corpus, and how its networks are scored: how often, on how many targets,
    #: of which so many are side by side
    corpus: str
    rounds_per_epoch: int
    targets: int
    adjacent: int
    #: fields of the config with the lowest loss
    config: dict[str, Any]
    #: pairs of seconds and a validation loss lower than all before; a search's count from the start
    #: of its process, an oracle's from that of its trial
    improvements: list[tuple[float, float]]
    #: validation targets on which the best network was scored again, and its loss on them
    rescored: int = 0
    rescored_loss: float | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Run:
        """Read a line of a file of runs."""
        pairs = [(second, loss) for second, loss in values["improvements"]]
        return cls(**{**values, "improvements": pairs})


def main() -> None:
    """Run what is missing, and print a table for each corpus."""
    given = _arguments()
    with one_line("oracle"):
        if not given.report:
            _run_missing(given)
        files = sorted(given.out.glob("*.jsonl")) if given.report else [_file(given)]
        if not files:
            raise InputError(f"--out {given.out}: found no runs, expected some")
        for file in files:
            runs = read_lines(file, Run.from_dict)
            print(losses_table(file.stem, runs), table(file.stem, runs), sep="\n\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", metavar="PATH_OR_SAMPLE", help=f"or {SOURCE}")
    parser.add_argument("--name", help="of the corpus (default: of the data)")
    parser.add_argument("--minutes", type=above_zero, default=20.0, help="of an oracle (20)")
    parser.add_argument("--search-minutes", type=above_zero, help="of a search (twice as many)")
    parser.add_argument("--seeds", type=int, default=3, metavar="S", help="searches (3)")
    parser.add_argument("--seed", type=int, metavar="N", help="run only this one of them")
    parser.add_argument("--only", choices=(SEARCH, ORACLE), help="run only these")
    parser.add_argument("--workers", type=int, metavar="N", help="of a search (one per core)")
    parser.add_argument(
        "--validation", type=float, metavar="SHARE",
        help="the last share of a text is validation data, the rest training (nanoGPT: 0.1)",
    )  # fmt: skip
    parser.add_argument("--launch", default="", metavar="ARGS", help="further ones, one text")
    parser.add_argument(
        "--rescore", type=int, default=0, metavar="T",
        help="score each best network on so many validation targets, or all, once it is found",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR")
    parser.add_argument("--report", action="store_true", help="run nothing")
    given = parser.parse_args()
    if given.validation is not None and not 0 < given.validation < 1:
        parser.error(f"--validation is {given.validation:g}: expected a share between 0 and 1")
    if given.data is None and not given.report:
        parser.error("--data is missing: expected a file, a folder, or a sample")
    return given


def _file(given: argparse.Namespace) -> Path:
    share = "" if given.validation is None else f"-{given.validation:g}"
    found: Path = given.out / f"{given.name or Path(given.data).stem + share}.jsonl"
    return found


def _run_missing(given: argparse.Namespace) -> None:
    file, workers = _file(given), given.workers or len(cores())
    file.parent.mkdir(parents=True, exist_ok=True)
    minutes = given.search_minutes or LONGER * given.minutes
    seeds = [seed for seed in range(given.seeds) if given.seed in (None, seed)]
    with tempfile.TemporaryDirectory(prefix="oracle-", ignore_cleanup_errors=True) as scratch:
        data = Source(data=file_of(given.data, Path(scratch))).resolve().data
        if given.validation is not None:
            data = divided(Path(data), given.validation, Path(scratch))
        if given.only != ORACLE:
            budget = ["--trials", "100000", "--minutes", f"{minutes:g}", "--workers", str(workers)]
            for seed in seeds:
                _run_one(given, data, SEARCH, seed, minutes, workers, budget)
        if given.only == SEARCH:
            return
        runs = read_lines(file, Run.from_dict)
        if left := missing(runs, given.seeds):
            print(f"{file.stem}: no oracle yet, searches are missing of seeds {left}", flush=True)
            return
        alone = [*ALONE, *settings_of(oracle_config(runs)), *scored_as(runs[0])]
        for seed in seeds:
            _run_one(given, data, ORACLE, seed, given.minutes, 1, alone)


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
    before = read_lines(file, Run.from_dict)
    same_kind = [one for one in before if one.kind == kind]
    check_same(file, same_kind, settings=given.launch, minutes=minutes, workers=workers)
    if any(one.seed == seed for one in same_kind):
        return
    print(f"{file.stem}, {kind}, seed {seed}: {minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="oracle-", ignore_cleanup_errors=True) as scratch:
        folder, began = Path(scratch), time.time()
        command = [
            str(own_program()), "launch", "--data", data, "--name", NAME, "--seed", str(seed),
            *shlex.split(given.launch), *args,
        ]  # fmt: skip
        most_s = 60 * minutes + (START_S if kind == ORACLE else 0.0)
        code, kept = run_alone(command, folder, log, began + most_s), Kept(folder)
        begin = kept.first_trial if kind == ORACLE else began
        improvements = kept.improvements(begin, 60 * minutes)
        if code or not improvements:
            raise InputError(f"{kind}, seed {seed}: code {code}; expected a loss, see {log}")
        import lstm_sweep

        scoring = scoring_of(kept.tags)
        run = Run(
            kind, seed, minutes, workers, given.launch, kept.tags.text(Tag.CORPUS_DIGEST),
            kept.rounds_per_epoch, scoring.targets, scoring.adjacent,
            lstm_sweep.sweep(NAME, store=folder).best.config, improvements,
        )  # fmt: skip
        if given.rescore:
            print(f"{file.stem}, {kind}, seed {seed}: scored again", flush=True)
            targets, loss = rescored(NAME, folder, given.rescore)
            run = replace(run, rescored=targets, rescored_loss=loss)
    check_same(file, before, corpus=run.corpus, adjacent=run.adjacent)
    append(file, run)


def oracle_config(runs: Sequence[Run]) -> dict[str, Any]:
    """The config of an oracle: the best that a search has found."""
    return min((run for run in runs if run.kind == SEARCH), key=lambda run: run.best).config


def scored_as(run: Run) -> list[str]:
    """How an oracle is scored, as arguments of `launch`: as a run of a search."""
    return [
        "--targets", str(run.targets), "--adjacent-targets", str(run.adjacent),
        "--rounds-per-epoch", str(run.rounds_per_epoch),
    ]  # fmt: skip


def settings_of(config: Mapping[str, Any]) -> list[str]:
    """A config as arguments of `launch`: a space with no other."""
    fields = {**config, "epochs": EPOCHS}
    return [part for name in FIELDS for part in ("--set", f"{name}={fields[name]}")]


def missing(runs: Sequence[Run], seeds: int) -> list[int]:
    """Seeds below `seeds` of which there is no search."""
    found = {run.seed for run in runs if run.kind == SEARCH}
    return [seed for seed in range(seeds) if seed not in found]


def losses_table(name: str, runs: Sequence[Run]) -> str:
    """What each run had after quarters of its time, its last gain, and losses on more targets."""
    rows = [[name, "1/4", "1/2", "3/4", "end", "last gain", "on more"]]
    for kind in (SEARCH, ORACLE):
        found = sorted((run for run in runs if run.kind == kind), key=lambda run: run.seed)
        numbers = [
            [
                *(run.best_at(60 * run.minutes * quarter / 4) for quarter in (1, 2, 3, 4)),
                run.improvements[-1][0],
                run.rescored_loss or float("inf"),
            ]
            for run in found
        ]
        if numbers:
            numbers.append([statistics.median(column) for column in zip(*numbers, strict=True)])
        labels = [*(f"{kind} {run.seed}, {run.minutes:g} min" for run in found), f"{kind} median"]
        forms = [*[".4f"] * 4, ".0f", ".4f"]
        for label, row in zip(labels, numbers, strict=False):
            rows.append([label, *map(shown, row, forms)])
    return laid_out(rows)


def table(name: str, runs: Sequence[Run]) -> str:
    """For each seed and mark: how long the oracle took to its loss, and the search to that.

    A search is compared with the oracle of its seed, or with the first if there is none.
    """
    oracles = {run.seed: run for run in runs if run.kind == ORACLE}
    searches = sorted((run for run in runs if run.kind == SEARCH), key=lambda run: run.seed)
    if not oracles or not searches:
        return f"{name}: {len(searches)} searches and {len(oracles)} oracles, expected some of both"
    first = next(iter(oracles.values()))
    marks = [60 * first.minutes * share for share in MARKS]
    rows = [[name, *(part for at in marks for part in (f"{at / 60:g} min", "oracle s", "search s",
             "ratio")), "oracle", "search"]]  # fmt: skip
    ratios: list[list[float]] = [[] for _ in marks]
    for search in searches:
        oracle, row = oracles.get(search.seed, first), [f"seed {search.seed}"]
        for found, mark in zip(ratios, marks, strict=True):
            loss = oracle.best_at(mark)
            own, needed = oracle.reached(loss), search.reached(loss)
            found.append(needed / own)
            row += [f"{loss:.4f}", f"{own:.0f}", shown(needed, ".0f"), shown(found[-1], ".2f")]
        rows.append([*row, f"{oracle.best:.4f}", f"{search.best:.4f}"])
    medians = [shown(statistics.median(found), ".2f") for found in ratios]
    rows.append(["median ratio", *(part for one in medians for part in ("", "", "", one)), "", ""])
    return laid_out(rows)


if __name__ == "__main__":
    main()
