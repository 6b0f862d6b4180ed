"""How near a search comes to what can be learned: chains of second order, of known entropy.

    python -m benchmarks.chains [--minutes 10] [--seed 0] [--launch "ARGS"] [--out DIR]
    python -m benchmarks.chains --report

A chain has 12 ids, of which each is drawn by the two before it; the probabilities after each pair
are drawn from a Dirichlet distribution with `--seed`. `lstm-sweep launch` searches 60,000 ids of
it, of which 48,000 are training data, as its users run it. Three losses tell how good that is, in
nats an id, all of them exact but for the ids that they were learned from:

- the *entropy* of the chain, below which nothing comes;
- the *bound*: what can be learned of 48,000 ids by one who knows that the order is two and of which
  distribution the probabilities are. It counts and smooths, which is the best on the average of all
  such chains (the mean of the posterior distribution);
- that of the *network* with the lowest validation loss: its cross entropy with the chain, over new
  ids. It does not depend on which ids were chosen as validation targets; the validation loss does,
  by some 0.02.

The result goes to `OUT/chains.jsonl`, one line a seed; a seed that is there is not run again.
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.alone import (
    above_zero,
    append,
    check_same,
    laid_out,
    one_line,
    own_program,
    read_lines,
    run_alone,
)
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines.hardware import cores

Floats = NDArray[np.float64]

OUT = Path("chains")
IDS = 12
#: ids of training, validation and test data
SIZES = {"train": 48_000, "validation": 6_000, "test": 6_000}
#: of the Dirichlet distribution; such chains have an entropy of about 1.42 nats
CONCENTRATION = 0.22
#: new ids by which a network is judged
JUDGED = 20_000
#: how far above the bound the network may be
GOAL = 1.02
#: name of the sweep, and seconds that it gets beyond its time to leave in order
NAME, LEAVE_S = "chain", 120.0


@dataclass(frozen=True)
class Chain:
    """A Markov chain of second order: `after[a, b, c]` is the probability of c after a, b."""

    after: Floats

    @classmethod
    def drawn(cls, seed: int) -> Chain:
        """The chain of a seed."""
        rng = np.random.default_rng(seed)
        return cls(rng.dirichlet(np.full(IDS, CONCENTRATION), (IDS, IDS)))

    def pairs(self) -> Floats:
        """How often each pair of ids occurs in the long run, `[a, b]`, 1 in all."""
        found = np.full(self.after.shape[:2], 1 / self.after[..., 0].size)
        for _ in range(100_000):
            # half of it stays, so that a chain with a period settles too
            following = (found + np.einsum("ab,abc->bc", found, self.after)) / 2
            if np.abs(following - found).max() < 1e-15:
                break
            found = following
        return np.asarray(following / following.sum())

    def cross_entropy(self, told: Floats) -> float:
        """Loss of one who tells the probabilities `told[a, b, c]`, nats an id."""
        with np.errstate(divide="ignore", invalid="ignore"):
            surprise = np.where(self.after > 0, -self.after * np.log(told), 0.0).sum(-1)
        return float((self.pairs() * surprise).sum())

    @property
    def entropy(self) -> float:
        """Loss of one who knows the chain, nats an id."""
        return self.cross_entropy(self.after)

    def ids(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """So many ids in a row, from a pair as it occurs in the long run."""
        sums = self.after.cumsum(-1)
        a, b = divmod(int(rng.choice(IDS * IDS, p=self.pairs().ravel())), IDS)
        drawn = rng.random(count)
        found = np.empty(count, np.int64)
        for place, share in enumerate(drawn):
            a, b = b, min(int(np.searchsorted(sums[a, b], share, side="right")), IDS - 1)
            found[place] = b
        return found

    def bound(self, ids: NDArray[np.int64]) -> float:
        """Loss of the mean of the posterior distribution after `ids` were seen, nats an id."""
        counts = np.full(self.after.shape, CONCENTRATION)
        np.add.at(counts, (ids[:-2], ids[1:-1], ids[2:]), 1.0)
        return self.cross_entropy(counts / counts.sum(-1, keepdims=True))


@dataclass(frozen=True)
class Result:
    """What a search came to on the chain of a seed; losses in nats an id."""

    seed: int
    minutes: float
    workers: int
    #: what `launch` was given beside data and budget
    settings: str
    entropy: float
    bound: float
    #: the lowest validation loss, and the loss of that network on the chain
    val_loss: float
    network: float
    #: validation losses of its config with further seeds; none if it was not confirmed
    further: list[float]
    #: trials that were begun
    trials: int

    @property
    def above(self) -> float:
        """How far the network is above the bound, as a ratio."""
        return self.network / self.bound

    @property
    def reached(self) -> bool:
        """Whether it is as near as it should be, and confirmed."""
        return self.above <= GOAL and bool(self.further)


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=above_zero, default=10.0, help="of a search (10)")
    parser.add_argument("--seed", type=int, default=0, help="of the chain and of the search (0)")
    parser.add_argument("--workers", type=int, metavar="N", help="trials at once (one per core)")
    parser.add_argument("--launch", default="", metavar="ARGS", help="further ones, one text")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR")
    parser.add_argument("--report", action="store_true", help="run nothing")
    given = parser.parse_args()
    with one_line("chains"):
        file = given.out / "chains.jsonl"
        if not given.report:
            _run_missing(given, file)
        results = read_lines(file, lambda line: Result(**line))
        if not results:
            raise InputError(f"{file}: found no results, expected some")
        print(table(results))


def data_of(seed: int) -> tuple[Chain, dict[str, NDArray[np.int64]]]:
    """The chain of a seed, and ids of it for each split; `judged` are new ones."""
    chain, rng = Chain.drawn(seed), np.random.default_rng([seed, 1])
    sizes = {**SIZES, "judged": JUDGED}
    ids = chain.ids(sum(sizes.values()), rng)
    ends = np.cumsum(list(sizes.values()))[:-1]
    return chain, dict(zip(sizes, np.split(ids, ends), strict=True))


def _run_missing(given: argparse.Namespace, file: Path) -> None:
    workers = given.workers or len(cores())
    before = read_lines(file, lambda line: Result(**line))
    check_same(file, before, minutes=given.minutes, workers=workers, settings=given.launch)
    if any(one.seed == given.seed for one in before):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    log = file.with_name(f"chain-{given.seed}.log")
    with tempfile.TemporaryDirectory(prefix="chains-", ignore_cleanup_errors=True) as scratch:
        append(file, _run(given, workers, Path(scratch), log))


def _run(given: argparse.Namespace, workers: int, folder: Path, log: Path) -> Result:
    chain, parts = data_of(given.seed)
    for name in SIZES:
        (folder / "data" / name).mkdir(parents=True)
        # a file with one id a line is one session
        text = "\n".join(map(str, parts[name]))
        (folder / "data" / name / "ids.txt").write_text(text + "\n", encoding="utf-8")
    command = [
        str(own_program()), "launch", "--data", str(folder / "data"), "--name", NAME,
        "--seed", str(given.seed), "--trials", "100000", "--minutes", f"{given.minutes:g}",
        "--workers", str(workers), *shlex.split(given.launch),
    ]  # fmt: skip
    print(f"chain of seed {given.seed}: {given.minutes:g} minutes", flush=True)
    code = run_alone(command, folder, log, time.time() + 60 * given.minutes + LEAVE_S)
    if code:
        raise InputError(f"seed {given.seed}: ended with code {code}; expected 0, see {log}")
    import lstm_sweep
    from lstm_sweep._launch import settings_of
    from lstm_sweep.search.driver.read_back import confirmed_of
    from lstm_sweep.search.store import reader
    from lstm_sweep.search.store.tracking import MlflowStore

    best = lstm_sweep.sweep(NAME, store=folder).best
    store = MlflowStore(settings_of(folder))
    records = reader.trials(store, NAME)
    own = [one for one in confirmed_of(store, records) if one.is_best]
    assert best.val_loss is not None
    network = network_loss(chain, best.export(folder / "model").folder, parts["judged"])
    return Result(
        given.seed, given.minutes, workers, given.launch, chain.entropy,
        chain.bound(parts["train"]), best.val_loss, network,
        further=[*own[0].losses] if own else [], trials=len(records),
    )  # fmt: skip


def network_loss(chain: Chain, folder: Path, ids: NDArray[np.int64]) -> float:
    """Cross entropy of the chain with an exported network, over the contexts of `ids`, nats an id.

    The first two ids, before which no pair is known, do not count.
    """
    from lstm_sweep.models.bundle import bundle as bundles
    from lstm_sweep.models.data.corpus import Split
    from lstm_sweep.models.network.evaluation import predictions
    from lstm_sweep.search.actions.inference import predictor_of

    folder, bundle = bundles.read(str(folder))
    alphabet = bundle.alphabet
    codes = alphabet.encode(ids.tolist()).astype(np.uint32)
    columns = alphabet.encode(list(range(IDS)))
    split = Split(codes, np.array([0]))
    predictor = predictor_of(folder, bundle, seed=0)
    places = np.arange(2, len(ids))
    total = 0.0
    for found, _, numbers in predictions(predictor, bundle.config, len(alphabet), split, places):
        at = places[numbers]
        true = chain.after[ids[at - 2], ids[at - 1]]
        total -= float((true * found[:, columns]).sum())
    return total / len(places)


def table(results: Sequence[Result]) -> str:
    """A line for each seed: the losses, how far the network is above the bound, and whether."""
    rows = [["seed", "minutes", "entropy", "bound", "validation", "network", "above bound",
             "trials", "further seeds"]]  # fmt: skip
    for one in sorted(results, key=lambda result: result.seed):
        losses = (one.entropy, one.bound, one.val_loss, one.network)
        further = ", ".join(f"{loss:.4f}" for loss in one.further) or "none"
        rows.append(
            [str(one.seed), f"{one.minutes:g}", *(f"{loss:.4f}" for loss in losses),
             f"{one.above - 1:.1%}", str(one.trials), further]
        )  # fmt: skip
    good = sum(one.reached for one in results)
    last = f"within {GOAL - 1:.0%} of the bound and confirmed: {good} of {len(results)}"
    return f"{laid_out(rows)}\n{last}"


if __name__ == "__main__":
    main()
