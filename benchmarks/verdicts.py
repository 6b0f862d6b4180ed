"""Which faults in sessions of a log are found, and how many false alarms come with them.

    python -m benchmarks.verdicts [--minutes 2] [--seed 0] [--out DIR]

A log of a shop's services is generated, of 5,000 requests without a fault, and a second one of
4,000, a tenth of them faulty (`service_log.FAULTS`). `lstm-sweep` learns the first as its users let
it, from raw lines, and judges the second. Printed is what `detect` prints, for each kind of fault
how many were found, and how often a promise holds. Order faults change neither the lines of a
request nor their number, so no rule of lines, length or counts sees them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.alone import own_program
from lstm_sweep.models.bundle.bundle import read_judging
from lstm_sweep.models.conformal import Promise, raised
from lstm_sweep.models.data.service_log import (
    FAULTS,
    FAULTY,
    HEADER,
    JUDGED,
    SESSION_BY,
    service_log,
)

#: repetitions of what is promised
REPEATED = 20
#: shares of false alarms that are promised
RATES = (0.002, 0.005, 0.01)


def write_logs(folder: Path, seed: int) -> dict[str, str]:
    """Write `app.log`, `new.log` and `labels.tsv`; the fault of each new request, "" for none."""
    faults = dict[str, str]()
    _write(folder / "app.log", service_log(seed=2 * seed))
    _write(folder / "new.log", service_log(JUDGED, 2 * seed + 1, FAULTY, faults))
    labels = (f"{session}\t{int(fault != '')}" for session, fault in faults.items())
    _write(folder / "labels.tsv", labels)
    return faults


def _write(file: Path, lines: Iterable[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def run(folder: Path, *arguments: str) -> str:
    """Standard output of the program; what it says of its progress goes on to the terminal."""
    command = [str(own_program()), *arguments]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def repeated(model: Path, seed: int) -> str:
    """How often false alarms are as few as is promised, if chance says which sessions calibrate."""
    calibration, rng = read_judging(str(model))[1].calibration, np.random.default_rng(seed)
    assert calibration is not None
    scores, half = calibration.scores, len(calibration) // 2
    rate, shares = RATES[-1], list[float]()
    for _ in range(REPEATED):
        drawn = rng.permutation(len(scores))
        known = replace(calibration, scores=scores[drawn[:half]])
        p, _ = known.judge(scores[drawn[half:]], whole=True)
        shares.append(float(raised(p, rate, half, str).mean()))
    within = sum(share <= Promise(rate, half).highest for share in shares)
    return (
        f"--false-alarms {rate:g} by a random half of the sessions of calibration: "
        f"{np.mean(shares):.4f} of the other half on average, and no more than is stated in "
        f"{within} of {REPEATED} repetitions"
    )


def main() -> None:
    """Learn, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", default="2", help="of the sweep (2)")
    parser.add_argument("--seed", type=int, default=0, help="of the logs and of the sweep (0)")
    parser.add_argument("--out", type=Path, help="a new folder (default: one that is removed)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=given.out is None)
        faults = write_logs(folder, given.seed)
        found_by = ("--header", HEADER, "--session-by", SESSION_BY, "--symbols", "lines")
        asked = ("--minutes", given.minutes, "--seed", str(given.seed), "--name", "logs")
        run(folder, "launch", "--data", "app.log", *found_by, *asked)
        run(folder, "export", "logs", "--to", "model")
        detect = ("detect", "model", "--data", "new.log", "--labels", "labels.tsv", "--top", "3")
        print(run(folder, *detect, "--false-alarms", str(RATES[0])))
        kinds = Counter(faults.values())
        for rate in RATES:
            told = json.loads(run(folder, *detect, "--false-alarms", str(rate), "--json"))
            found = Counter(faults[one["session"]] for one in told["verdicts"]["abnormal"])
            each = ", ".join(f"{kind} {found[kind]}/{kinds[kind]}" for kind in FAULTS)
            false = f"false alarms {found['']:,} of {kinds['']:,}"
            print(f"--false-alarms {rate:g}: found {each}; {false}")
        print(repeated(folder / "model", given.seed))


if __name__ == "__main__":
    main()
