"""The network of a trial on a corpus as a checked bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.bundle.served_model import NUMBERS
from lstm_sweep.models.config import as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.excerpt import excerpt
from lstm_sweep.models.data.windows import Scoring, scoring_windows
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.scoring import bits
from lstm_sweep.search.process import isolated
from lstm_sweep.search.process.output import silenced
from lstm_sweep.search.store.journal import WEIGHTS
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep.bundle_parity import backend_free_of_gpu, check_parity
from lstm_sweep.search.sweep.task import WriteBundle

if TYPE_CHECKING:
    from lstm_sweep.models.fast.program_types import StreamPredictor

#: test targets that are scored at least, or all there are: since that is done only once, by an
#: export, they need not be as few as the validation targets that are scored after each round
TEST_TARGETS = 10_000
#: windows of the test split on which the bundle is compared with the trial's network, at most, and
#: at least if they take as much memory as a call of a served model may
PARITY_WINDOWS, FEWEST_WINDOWS = 100, 10
#: of them, those that are also read symbol by symbol, if the state is carried
PARITY_STREAMS = 10


def parity_windows(length: int, alphabet: int) -> int:
    """On how many windows of this length a bundle is compared, for the memory that they take."""
    return max(FEWEST_WINDOWS, min(PARITY_WINDOWS, NUMBERS // (length * alphabet)))


def lstm_bundle_writer(
    store: Store, record: TrialRecord, corpus: Corpus, scoring: Scoring
) -> WriteBundle:
    """What writes the bundle of an LSTM; the test split of its corpus is scored then."""

    def write(folder: Path, format: str) -> dict[str, Any]:
        weights = store.fetch(record.run_id, f"{WEIGHTS}/model.keras", folder.parent)
        return isolated.call(_write, record, weights, corpus, scoring, folder, format)

    return write


def _write(
    record: TrialRecord, weights: Path, corpus: Corpus, scoring: Scoring, folder: Path, format: str
) -> dict[str, Any]:
    """Write a network of ours and check it, in a process of its own."""
    config = as_lstm_config(record.trial.config)
    backend_free_of_gpu()
    with silenced():
        from lstm_sweep.models import backend
        from lstm_sweep.models.bundle import bundle, clean_process
        from lstm_sweep.models.network import evaluation
        from lstm_sweep.models.network.program import predictor_of, program_of

        backend.prepare(gpu=False, seed=record.trial.seed)
        try:
            bundle.check_size(weights, config, len(corpus.alphabet))
            networks = bundle.networks_of(weights, config, len(corpus.alphabet))
        except InputError as error:
            raise InputError(
                f"trial {record.trial.id}: its network is not loaded: {error}; expected one that "
                f"lstm-sweep has trained"
            ) from None
        model = networks.scored
        targets = scoring.drawn(corpus.test, at_least=TEST_TARGETS)
        if config.carried or scoring.share_windows:
            predictor = predictor_of(program_of(networks, config, seed=0), config)
        else:
            predictor = model.predict_on_batch
        test = evaluation.evaluate(
            predictor, config, corpus, corpus.test, targets, share_windows=scoring.share_windows
        )
        share = corpus.unknown_share(corpus.test)
        metrics = {
            "trial": record.trial.id,
            "run_id": record.run_id,
            "val_loss": record.best_val_loss,
            "best_epoch": record.best_epoch,
            "test_loss": test["loss"],
            "test_accuracy": test["accuracy"],
            "test_top5_accuracy": test["top5_accuracy"],
            "test_bits_per_symbol": bits(test["loss"]),
            "test_unknown_share": share,
            "corpus_digest": corpus.digest,
            "parameters": record.parameters,
        }
        content = bundle.Bundle(record.trial.id, config, corpus.alphabet, metrics)
        bundle.write(model, content, folder, format)
        length = config.sequence_length
        most = parity_windows(length, len(corpus.alphabet))
        compared = targets[:: max(1, len(targets) // most)][:most]
        windows, _ = next(scoring_windows(corpus.test, compared, length, len(compared)))
        further: dict[str, Any] = {"test_unknown_share": share} if share else {}
        if format == "onnx":
            files = onnx_files(model, content, windows, folder)
            further["files"] = files
            difference = max(one["max_difference"] for one in files.values())
        else:
            here = np.asarray(model.predict_on_batch(windows))
            theirs = clean_process.predict(folder, format, windows)
            difference = float(np.abs(here - theirs).max())
            if config.carried:
                codes = np.ascontiguousarray(windows[:PARITY_STREAMS])
                stream = cast("StreamPredictor", predictor)
                last, _ = stream(codes, (length - 1) * len(codes) + np.arange(len(codes)), None)
                theirs = clean_process.predict_by_symbol(folder, codes)
                further["by_symbol"] = len(codes)
                difference = max(difference, float(np.abs(last - theirs).max()))
    check_parity(difference)
    return {
        "format": format,
        "trial": record.trial.id,
        "test_loss": test["loss"],
        "parity": {"max_difference": difference, "windows": len(windows)},
        "model_version": None,
        "example": excerpt(corpus.test, corpus.alphabet),
    } | further


def onnx_files(
    model: Any, content: Bundle, windows: NDArray[np.int32], folder: Path
) -> dict[str, dict[str, Any]]:
    """Write the ONNX files of a bundle and compare them; its README says what was found.

    Returns:
        What was found of each file, as `export --json` prints it.
    """
    from lstm_sweep.models.bundle import bundle, onnx, onnx_check

    config = content.config
    try:
        onnx.write(model.get_weights(), config, len(content.alphabet), folder)
    except InputError as error:
        raise InputError(f"trial {content.trial}: {error}; expected --format savedmodel") from None
    found = onnx_check.check(model.predict_on_batch, folder, windows)
    past, length = bundle.example_past(content.alphabet), config.sequence_length
    with (folder / "README.md").open("a", encoding="utf-8") as file:
        text = onnx_check.readme(found, len(windows), past, length, carried=config.carried)
        file.write(text)
    return onnx_check.to_dict(found)
