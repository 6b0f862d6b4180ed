"""`export`: the network of a trial as a checked bundle."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lstm_sweep.models.config import as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import scoring_targets, scoring_windows
from lstm_sweep.models.errors import InputError, cut, shown
from lstm_sweep.models.scoring import bits
from lstm_sweep.search.process import isolated
from lstm_sweep.search.process.output import silenced
from lstm_sweep.search.results.rerun import load_same_corpus
from lstm_sweep.search.spec import Scoring
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.faults import reason
from lstm_sweep.search.store.journal import WEIGHTS
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep import own_templates
from lstm_sweep.search.trial import TrialRecord

PARITY_WINDOWS = 100
#: largest difference between two logits that counts as the same prediction
PARITY_TOLERANCE = 1e-4


def choose(store: Store, reference: str) -> TrialRecord:
    """The best trial of a sweep, or the trial that `reference` means; its weights are there.

    Raises:
        InputError: there is no such sweep or trial, or it has no weights.
    """
    if archive.find_sweep(store, reference):
        ranked = archive.ranked(archive.trials(store, reference))
        if not ranked:
            raise InputError(f"sweep '{reference}' has no trial with a result, expected one")
        record = ranked[0]
    else:
        record = archive.find_trial(store, reference)
    if not record.has_weights:
        raise InputError(
            f"trial {record.trial.id} has no weights (a sweep keeps those of its best trials); "
            f"`lstm-sweep rerun {record.run_id}` makes a run that has them"
        )
    return record


def new_folder(given: str) -> Path:
    """The absolute path of a folder that a bundle may become.

    Raises:
        InputError: something is there, or it cannot be.
    """
    where = f"--to {shown(given)}"
    try:
        to = Path(given).expanduser()
        dangling = to.is_symlink() and not to.exists()
        to = to.resolve()
        taken = to.exists() and (not to.is_dir() or any(to.iterdir()))
        above = next(folder for folder in (to, *to.parents) if folder.exists())
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else cut(str(error))
        raise InputError(f"{where}: {reason}, expected a new folder") from None
    if taken or dangling or not given:
        found = "nothing" if not given else "a link to nothing" if dangling else "something there"
        raise InputError(f"{where}: found {found}, expected a new or an empty folder")
    if not above.is_dir():
        raise InputError(f"{where}: {above} is a file, expected a new folder")
    return to


def export(store: Store, record: TrialRecord, to: Path, format: str) -> dict[str, Any]:
    """Write the bundle of a trial to folder `to`; return what `export --json` prints.

    The test split is scored here and nowhere else. The bundle is then loaded by a clean process
    with plain Keras, and appears under its name only if it predicts what the trial's network does.

    Raises:
        InputError: the data are not those of the trial, or the folder cannot be made.
    """
    _check_kind(store, record)
    write = _write_template if record.trial.config.returns_loss else _writer(record)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.parent))
    except OSError as error:
        raise InputError(
            f"--to {shown(str(to))}: {error.strerror}, expected a folder to write to"
        ) from None
    try:
        scratch.chmod(0o755)
        result = write(store, record, scratch / "bundle", format)
        if to.exists():
            to.rmdir()
        (scratch / "bundle").rename(to)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {"bundle": str(to), **result}


def _check_kind(store: Store, record: TrialRecord) -> None:
    """Refuse a trial that is about a template if its sweep is not, which has its parity checked.

    Raises:
        InputError: its run and that of its sweep say different things.
    """
    digest = own_templates.digest_of(record.tags)
    if digest is None:
        return
    parent = store.run(record.tags.text("mlflow.parentRunId"))
    if parent is None or archive.written_spec(parent).get("template_digest") != digest:
        raise record.tags.bad(Tag.TEMPLATE, "the template of its sweep, or no such tag")


def _writer(record: TrialRecord) -> Callable[[Store, TrialRecord, Path, str], dict[str, Any]]:
    """What writes the bundle of a network of ours."""
    source, scoring = archive.read_source(record)
    corpus = load_same_corpus(source, record)
    return lambda store, record, folder, format: isolated.call(
        _write, record, _weights(store, record, folder), corpus, scoring, folder, format
    )


def _weights(store: Store, record: TrialRecord, folder: Path) -> Path:
    """The file of a trial's network, beside the folder of its bundle."""
    return store.fetch(record.run_id, f"{WEIGHTS}/model.keras", folder.parent)


def _write_template(store: Store, record: TrialRecord, folder: Path, format: str) -> dict[str, Any]:
    """Write the network that a template has returned; its data are not known here."""
    weights = _weights(store, record, folder)
    kept = record.tags.get(Tag.INPUTS) == "kept"
    seen = store.fetch(record.run_id, f"{WEIGHTS}/inputs.npz", folder.parent) if kept else None
    return isolated.call(_write_foreign, record, weights, seen, folder, format, foreign=True)


def _write_foreign(
    record: TrialRecord, weights: Path, seen: Path | None, folder: Path, format: str
) -> dict[str, Any]:
    """Write a network that is not one of ours, in a process of its own.

    One with layers of the user's own is not loaded: it is handed on as it was written.
    """
    metrics = {"trial": record.trial.id, "run_id": record.run_id, "loss": record.best_val_loss}
    difference, rows, unknown = None, 0, ""
    backend_free_of_gpu()
    with silenced():
        import keras

        from lstm_sweep.models import backend
        from lstm_sweep.models.bundle import bundle, clean_process

        backend.prepare(gpu=False, seed=record.trial.seed)
        try:
            model = keras.models.load_model(weights, safe_mode=True)
        except Exception as error:
            if format != "keras":
                raise InputError(
                    f"trial {record.trial.id}: its network is not loaded: {reason(error)}; "
                    f"expected layers of Keras alone, or --format keras"
                ) from None
            model, unknown = None, reason(error)
        config = record.trial.config.to_dict()
        bundle.write_foreign(model, weights, config, metrics, folder, format)
        if model and seen:
            given = bundle.inputs_of(model, seen)
            here = keras.tree.flatten(model.predict_on_batch(given if len(given) > 1 else given[0]))
            theirs = clean_process.outputs(folder, format, given)
            pairs = zip(here, theirs, strict=True)
            difference = max(float(np.abs(np.asarray(a) - b).max()) for a, b in pairs)
            rows = len(given[0])
    if difference is not None:
        _check_parity(difference)
    parity = {"max_difference": difference, "windows": rows}
    return {
        "format": format,
        "trial": record.trial.id,
        "test_loss": None,
        "loss": record.best_val_loss,
        "parity": parity | ({"not_loaded": unknown} if unknown else {}),
        "model_version": None,
    }


def _check_parity(difference: float) -> None:
    if not difference <= PARITY_TOLERANCE:
        raise RuntimeError(
            f"the bundle's predictions differ from the trial's by {difference:.3g}; not exported"
        )


def _write(
    record: TrialRecord, weights: Path, corpus: Corpus, scoring: Scoring, folder: Path, format: str
) -> dict[str, Any]:
    """Write a network of ours and check it, in a process of its own."""
    config = as_lstm_config(record.trial.config)
    backend_free_of_gpu()
    with silenced():
        from lstm_sweep.models import backend
        from lstm_sweep.models.bundle import bundle, clean_process
        from lstm_sweep.models.network import training

        backend.prepare(gpu=False, seed=record.trial.seed)
        try:
            bundle.check_size(weights, config, len(corpus.alphabet))
            model = bundle.networks_of(weights, config, len(corpus.alphabet)).scored
        except InputError as error:
            raise InputError(
                f"trial {record.trial.id}: its network is not loaded: {error}; expected one that "
                f"lstm-sweep has trained"
            ) from None
        targets = scoring_targets(corpus.test, scoring.targets, scoring.seed)
        test = training.evaluate(model.predict_on_batch, config, corpus, corpus.test, targets)
        metrics = {
            "trial": record.trial.id,
            "run_id": record.run_id,
            "val_loss": record.best_val_loss,
            "best_epoch": record.best_epoch,
            "test_loss": test["loss"],
            "test_accuracy": test["accuracy"],
            "test_top5_accuracy": test["top5_accuracy"],
            "test_bits_per_symbol": bits(test["loss"]),
            "corpus_digest": corpus.digest,
            "parameters": record.parameters,
        }
        content = bundle.Bundle(record.trial.id, config, corpus.alphabet, metrics)
        bundle.write(model, content, folder, format)
        compared = targets[:PARITY_WINDOWS]
        length = config.sequence_length
        windows, _ = next(scoring_windows(corpus.test, compared, length, len(compared)))
        here = np.asarray(model.predict_on_batch(windows))
        theirs = clean_process.predict(folder, format, windows)
    difference = float(np.abs(here - theirs).max())
    _check_parity(difference)
    return {
        "format": format,
        "trial": record.trial.id,
        "test_loss": test["loss"],
        "parity": {"max_difference": difference, "windows": len(windows)},
        "model_version": None,
    }


def backend_free_of_gpu() -> None:
    """Hide GPUs from this process: on one, Keras would write operations that load nowhere else."""
    import os

    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
