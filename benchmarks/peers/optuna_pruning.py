"""Optuna's TPE with the Hyperband pruner, or `--variant`, in some processes on one storage.

Optuna advises against SQLite for several processes and for its journal, a file that grows.

TPE of Optuna 5 is multivariate by default. Samplers of OptunaHub are left out, since they are
fetched from GitHub when they are used.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from typing import Any

import keras
import optuna

from benchmarks.peers import common
from benchmarks.peers.common import ClassData, Data, Task

STUDY = "search"


def _hyperband() -> Any:
    return optuna.pruners.HyperbandPruner(
        min_resource=1, max_resource=common.EPOCHS, reduction_factor=3
    )


def _successive_halving() -> Any:
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)


#: samplers by their seed, and pruners
VARIANTS: Mapping[str, tuple[Callable[[int], Any], Callable[[], Any]]] = {
    "": (lambda seed: optuna.samplers.TPESampler(seed=seed), _hyperband),
    "group": (
        lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True),
        _successive_halving,
    ),
    "gp": (lambda seed: optuna.samplers.GPSampler(seed=seed), _hyperband),
    "cmaes": (lambda seed: optuna.samplers.CmaEsSampler(seed=seed, with_margin=True), _hyperband),
    # it is for the mean over instances of a problem; here an epoch is an instance
    "wilcoxon": (
        lambda seed: optuna.samplers.TPESampler(seed=seed),
        lambda: optuna.pruners.WilcoxonPruner(),
    ),
}


def search(task: Task) -> None:
    """Search with Optuna in as many processes as trials may run at once."""
    optuna.create_study(study_name=STUDY, storage=_storage(task))
    processes = [multiprocessing.Process(target=work, args=(task, n)) for n in range(task.workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def work(task: Task, number: int) -> None:
    """Run trials in one of the processes, until the study ends."""
    seed = task.seed * task.workers + number  # with the same seed both would try the same
    common.prepare(seed, threads=1)
    data = Data.load(task)
    sampler, pruner = VARIANTS[task.variant]
    study = optuna.load_study(
        study_name=STUDY, storage=_storage(task), sampler=sampler(seed), pruner=pruner()
    )
    study.optimize(lambda trial: _objective(trial, data))


def _storage(task: Task) -> Any:
    file = str(task.folder / "journal.log")
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(file))


def _objective(trial: Any, data: Data | ClassData) -> float:
    def report(epoch: int, logs: dict[str, float]) -> None:
        trial.report(logs["val_score"], step=epoch + 1)
        if trial.should_prune():
            raise optuna.TrialPruned

    keras.utils.clear_session()
    config = common.drawn(
        data.task.space,
        trial.suggest_categorical,
        lambda name, of: trial.suggest_float(name, of.low, of.high),
        # there are no steps on a log scale, so numbers are rounded here
        lambda name, of: of.stepped(trial.suggest_int(name, of.low, of.high, log=True)),
    )
    pruning = keras.callbacks.LambdaCallback(on_epoch_end=report)
    losses = common.train(config, data, trial.number, [pruning])
    return common.best(losses)  # to Optuna a trial with NaN has failed


if __name__ == "__main__":
    common.main(search)
