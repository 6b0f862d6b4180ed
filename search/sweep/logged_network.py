"""The network of a trial on a corpus as a logged model of MLflow."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from lstm_sweep.models.bundle import bundle
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.search.store import model_folder, registry
from lstm_sweep.search.store.journal import WEIGHTS
from lstm_sweep.search.store.registry import WriteModel
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.trial import Trial

#: name of the folder with the network's files in that of the model
DATA = "network"


def log_network(store: Store, run_id: str, trial: Trial, alphabet: Alphabet) -> str:
    """Make a logged model of a run with stored weights, unless there is one; return its ID.

    TensorFlow is not imported for that.
    """
    if known := registry.logged_model_of(store, run_id):
        return known
    with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
        data = Path(scratch) / DATA
        data.mkdir()
        weights = store.fetch(run_id, f"{WEIGHTS}/{bundle.MODEL}", Path(scratch))
        weights.rename(data / bundle.MODEL)
        bundle.write_json(data / bundle.ALPHABET, alphabet.to_dict())
        bundle.write_json(data / bundle.CONFIG, trial.config.to_dict())
        return registry.log_model(store, run_id, trial.id, _writer(store, data, alphabet))


def checked_writer(store: Store, folder: Path) -> WriteModel:
    """What writes the model of the network in a bundle."""
    _, content = bundle.read(str(folder))

    def write(to: Path, about: Any) -> None:
        data = to.parent / DATA
        data.mkdir()
        for name in (bundle.MODEL, bundle.ALPHABET, bundle.CONFIG):
            shutil.copyfile(folder / name, data / name)
        _writer(store, data, content.alphabet)(to, about)

    return write


def _writer(store: Store, data: Path, alphabet: Alphabet) -> WriteModel:
    """What writes the model of the network whose files are in folder `data`."""
    settings = store.settings

    def write(folder: Path, about: Any) -> None:
        model_folder.write_symbols_model(settings, data, folder, alphabet, about)

    return write
