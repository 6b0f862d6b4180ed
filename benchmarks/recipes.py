"""What recipes of the literature gain: validation losses at equal steps, with and without them.

    python -m benchmarks.recipes [--data FILE] [--set FIELD=VALUE ...] [--parts NAME ...]
        [--seeds 0 1 2] [--epochs 6] [--configs N] [--rates RATE ...] [--file FILE]

`--parts` are changes of the training step, each of which is a training of its own (`PARTS`). The
averages of weights change no step, so all of them are taken and scored in one training, by NumPy:
`off`, and one for each `--etas`. With `--configs` so many configs are drawn in place of seeds, and
the rank correlations of early losses with the last are printed. With `--rates` each part is trained
with each learning rate, and a table of them is printed.

Each training is a line of `--file`; those that stand in it are not run again. Losses do not depend
on the machine's speed, so other work may run beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from scipy.stats import spearmanr

from benchmarks.grids import file_of, given_text
from lstm_sweep.models import averaging
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus, load
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.streams import training_windows
from lstm_sweep.models.data.windows import scoring_targets

#: key of options of RMSprop
RMSPROP = "RMSprop"
#: key of the share of all steps, the last ones, in which the learning rate falls to 0 in a line
COOLDOWN = "cooldown"
RATES = (0.1, 0.2, 0.3, 0.5)
INPUT_RATES = (0.05, 0.1, 0.2)
#: fields of the config, or options of RMSprop that are no fields, that a part changes
PARTS: dict[str, dict[str, Any]] = {
    "global norm": {"clipping": "global"},
    "each norm": {"clipping": "weight"},
    "weight decay 0.01": {"weight_decay": 0.01},
    "weight decay 0.1": {"weight_decay": 0.1},
    "rho 0.99": {RMSPROP: {"rho": 0.99}},
    "rmsprop": {"optimizer": "rmsprop"},
    "adam, beta1 0": {"optimizer": "adam", "beta_1": 0.0},
    "adam, beta1 0.9": {"optimizer": "adam", "beta_1": 0.9},
    "cooldown 0.1": {COOLDOWN: 0.1},
    **{f"dropout {rate}": {"dropout": rate} for rate in RATES},
    **{f"one mask {rate}": {"dropout": rate, "dropout_mask": "window"} for rate in RATES},
    **{f"recurrent {rate}": {"recurrent_dropout": rate} for rate in RATES},
    **{f"input {rate}": {"input_dropout": rate} for rate in INPUT_RATES},
    **{
        f"recurrent 0.2, input {rate}": {"recurrent_dropout": 0.2, "input_dropout": rate}
        for rate in INPUT_RATES
    },
    "reset": {"state": "reset"},
    "carried": {"state": "carried"},
}
#: share of a text that is for training, as in nanoGPT's split, and for validation
TRAINING, VALIDATION = 0.9, 0.09
#: from these a config is drawn with `--configs`
DRAWN = {
    "learning_rate": (0.003, 0.01, 0.03),
    "layer_size": (32, 64, 96),
    "batch_size": (16, 32, 64),
    "sequence_length": (20, 40),
}


def main() -> None:
    """Train what is missing, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", default="python-docs")
    parser.add_argument("--characters", type=int, help="of a text, from its beginning")
    parser.add_argument("--without-ends", action="store_true", help="of the sessions of a log")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--parts", nargs="+", default=["global norm"], choices=PARTS)
    parser.add_argument("--etas", type=float, nargs="+", default=[8.0, 16.0, 32.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--configs", type=int, default=0)
    parser.add_argument("--rates", type=float, nargs="+", default=[])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2, help="of an epoch")
    parser.add_argument("--targets", type=int, default=3000)
    parser.add_argument("--file", type=Path, default=Path("recipes.jsonl"))
    given = parser.parse_args()
    if given.rates and given.configs:
        parser.error("--rates and --configs are given: expected one of them")
    from lstm_sweep.models import backend

    backend.environment(None)
    backend.prepare(gpu=False, seed=0)
    backend.run_operations_alone()
    with tempfile.TemporaryDirectory() as folder:
        ends = not given.without_ends
        corpus = _corpus(given.data, given.characters, Path(folder), ends=ends)
    trained = []
    for config, seed in _configs(given):
        for part in given.parts:
            trained.append(_trained(given, corpus, part, config, seed))
            print(_line(trained[-1]), flush=True)
    if given.rates:
        _print_rates(trained, given.rates)
    else:
        _print_table(trained)
    if given.configs:
        _print_correlations(trained)


def _corpus(data: str, characters: int | None, folder: Path, *, ends: bool) -> Corpus:
    file = file_of(data, folder)
    if characters:
        text = given_text(Path(file))[:characters]
        file = str(folder / "text.txt")
        Path(file).write_text(text, encoding="utf-8", newline="")
    split = (TRAINING, VALIDATION, 1 - TRAINING - VALIDATION)
    return load(Source(data=file, split=split, ends=ends))


def _configs(given: argparse.Namespace) -> list[tuple[dict[str, Any], int]]:
    """Fields of the configs that are trained, and their seeds."""
    fields: dict[str, Any] = {}
    for setting in given.set:
        name, _, value = setting.partition("=")
        kind = type(getattr(TrialConfig(), name))
        fields[name] = kind(value)
    if given.rates:
        rates = [{**fields, "learning_rate": rate} for rate in given.rates]
        return [(own, seed) for seed in given.seeds for own in rates]
    if not given.configs:
        return [(fields, seed) for seed in given.seeds]
    rng = np.random.default_rng(0)
    return [
        ({**fields, **{name: rng.choice(values).item() for name, values in DRAWN.items()}}, seed)
        for seed in range(given.configs)
    ]


def _trained(
    given: argparse.Namespace, corpus: Corpus, part: str, fields: dict[str, Any], seed: int
) -> dict[str, Any]:
    """The losses of a training, from the file if they stand there."""
    about = {
        "data": given.data, "characters": given.characters, "digest": corpus.digest, "part": part,
        "fields": fields, "seed": seed, "etas": given.etas, "epochs": given.epochs,
        "rounds": given.rounds, "targets": given.targets,
    }  # fmt: skip
    lines = given.file.read_text(encoding="utf-8").splitlines() if given.file.exists() else []
    for row in map(json.loads, lines):
        if {name: row[name] for name in about} == about:
            return dict(row)
    change = PARTS[part]
    changed = {name: value for name, value in change.items() if name not in (RMSPROP, COOLDOWN)}
    config = TrialConfig(**{**fields, **changed}, averaging="off", epochs=given.epochs)
    curves: dict[str, list[float]] = {}
    with _rmsprop(change.get(RMSPROP, {})):
        for losses in _rounds(config, corpus, seed, given, change.get(COOLDOWN, 0.0)):
            for name, loss in losses.items():
                curves.setdefault(name, []).append(loss)
    row = {**about, "losses": curves}
    with given.file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")
    return row


def _rmsprop(options: dict[str, Any]) -> Any:
    """A context in which `rmsprop` has other options."""
    import keras

    from lstm_sweep.models.network import lstm

    made = partial(keras.optimizers.RMSprop, **options)
    return mock.patch.dict(lstm.OPTIMIZER_CLASSES, rmsprop=made)


def _rounds(
    config: TrialConfig,
    corpus: Corpus,
    seed: int,
    given: argparse.Namespace,
    cooldown: float,
) -> Iterator[dict[str, float]]:
    """Validation losses of the last weights and of each average, round by round."""
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import evaluation, lstm, program

    backend.prepare(gpu=False, seed=seed)
    targets = scoring_targets(corpus.validation, given.targets, 0)
    networks = lstm.build(config, len(corpus.alphabet))
    lstm.compile_for_training(networks.trained, config)
    model, made = networks.trained, program.program_of(networks, config, seed)
    windows, averages, step = training_windows(corpus.train, config, seed), _Averages(given.etas), 0
    other = lstm.build(config, len(corpus.alphabet))  # scores what it is given
    scorer = program.program_of(other, config, seed)

    def loss_of(weights: Sequence[Any]) -> float:
        other.trained.set_weights(weights)
        vars(scorer).pop("_weights", None)  # it has taken other ones over
        predictor = program.predictor_of(scorer, config)
        found = evaluation.evaluate(predictor, config, corpus, corpus.validation, targets)
        return found["loss"]

    for epoch in range(1, config.epochs + 1):
        batches = windows.epoch(epoch)
        for number in range(1, given.rounds + 1):
            begin = batches.steps * (number - 1) // given.rounds
            end = batches.steps * number // given.rounds
            while begin < end:
                count = 1
                if step >= averaging.EACH_UNTIL:
                    count = min(averaging.INTERVAL - step % averaging.INTERVAL, end - begin)
                left = 1 - step / (config.epochs * batches.steps) if cooldown else 1.0
                if left < cooldown:  # epochs of short sessions differ a little in their steps
                    rate = config.learning_rate * max(left, 0.0) / cooldown
                    model.optimizer.learning_rate.assign(rate)
                made.train(batches.select(begin, begin + count))
                begin, step = begin + count, step + count
                if averaging.is_due(step):
                    made.sync()
                    averages.add(step, model.get_weights())
            made.sync()
            losses = {"off": loss_of(model.get_weights())}
            yield losses | {f"{eta:g}": loss_of(own) for eta, own in averages.found.items()}


class _Averages:
    """Averages of weights, one for each eta."""

    def __init__(self, etas: Sequence[float]) -> None:
        self.found: dict[float, list[Any]] = {eta: [] for eta in etas}

    def add(self, step: int, weights: list[Any]) -> None:
        """Take in the weights after a step."""
        for eta, kept in self.found.items():
            share = np.float32(averaging.share(step, eta))
            pairs = zip(kept or weights, weights, strict=True)
            self.found[eta] = [old + share * (w - old) for old, w in pairs]


def _line(row: dict[str, Any]) -> str:
    ends = "  ".join(f"{name} {losses[-1]:.4f}" for name, losses in row["losses"].items())
    rate = row["fields"].get("learning_rate")
    with_rate = f", rate {rate:g}" if rate else ""
    return f"{row['part']}{with_rate}, seed {row['seed']}, last round: {ends}"


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Medians over seeds: the last loss, and the lowest of all rounds."""
    print(f"\n{'part':<20}{'averaging':>10}{'last':>9}{'best':>9}")
    groups: dict[tuple[str, str], list[list[float]]] = {}
    for row in rows:
        for name, losses in row["losses"].items():
            groups.setdefault((row["part"], name), []).append(losses)
    for (part, name), curves in groups.items():
        last, best = (statistics.median(of(c) for c in curves) for of in (lambda c: c[-1], min))
        print(f"{part:<20}{name:>10}{last:>9.4f}{best:>9.4f}")


def _print_rates(rows: Sequence[dict[str, Any]], rates: Sequence[float]) -> None:
    """Lowest losses of all rounds by part, averaging and rate, means over seeds."""
    print(f"\n{'part':<20}{'averaging':>10}" + "".join(f"{rate:>9g}" for rate in rates))
    groups: dict[tuple[str, str], dict[float, list[float]]] = {}
    for row in rows:
        for name, losses in row["losses"].items():
            found = groups.setdefault((row["part"], name), {})
            found.setdefault(row["fields"]["learning_rate"], []).append(min(losses))
    for (part, name), by_rate in groups.items():
        means = "".join(f"{statistics.mean(by_rate[rate]):>9.4f}" for rate in rates)
        print(f"{part:<20}{name:>10}{means}")


def _print_correlations(rows: Sequence[dict[str, Any]]) -> None:
    """Spearman's correlations of losses after early rounds with the best of all."""
    count = len(next(iter(rows[0]["losses"].values())))
    early = [number for number in (1, 2, 3, 4, 6, 9) if number < count]
    print("\nrank correlation of the losses after a round with the lowest of all")
    print(f"{'averaging':<10}" + "".join(f"{number:>8}" for number in early))
    for name in rows[0]["losses"]:
        curves = [row["losses"][name] for row in rows]
        ends = [min(curve) for curve in curves]
        found = [spearmanr([c[number - 1] for c in curves], ends).statistic for number in early]
        print(f"{name:<10}" + "".join(f"{value:>8.2f}" for value in found))


if __name__ == "__main__":
    main()
