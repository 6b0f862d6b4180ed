"""The network that a template has returned, as a checked bundle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from lstm_sweep.models.bundle.bundle import CONFIG, MODEL
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process import isolated
from lstm_sweep.search.process.output import silenced
from lstm_sweep.search.store.faults import reason
from lstm_sweep.search.store.journal import WEIGHTS
from lstm_sweep.search.store.model_folder import write_arrays_model
from lstm_sweep.search.store.registry import WriteModel
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep.bundle_parity import backend_free_of_gpu, check_parity
from lstm_sweep.search.sweep.task import WriteBundle

#: inputs that were kept, and what the network makes of them; it lies beside the bundle
SAMPLE = "sample.npz"


def template_bundle_writer(store: Store, record: TrialRecord) -> WriteBundle:
    """What writes the bundle of a template's network; its data are not known here."""

    def write(folder: Path, format: str) -> dict[str, Any]:
        if format == "onnx":
            raise InputError(
                f"trial {record.trial.id} is one of a template, of which no ONNX files are "
                "written: expected --format keras or --format savedmodel"
            )
        weights = store.fetch(record.run_id, f"{WEIGHTS}/model.keras", folder.parent)
        kept = record.tags.get(Tag.INPUTS) == "kept"
        seen = store.fetch(record.run_id, f"{WEIGHTS}/inputs.npz", folder.parent) if kept else None
        return isolated.call(_write, record, weights, seen, folder, format, user_code=True)

    return write


def template_model_writer(store: Store, folder: Path, scratch: Path) -> WriteModel:
    """What writes the MLflow model of a checked bundle, whose sample is in folder `scratch`."""

    def write(to: Path, about: Any) -> None:
        data = to.parent / "network"
        data.mkdir()
        for name in (MODEL, CONFIG):
            shutil.copyfile(folder / name, data / name)
        with np.load(scratch / SAMPLE, allow_pickle=False) as arrays:
            inputs = {name[3:]: array for name, array in arrays.items() if name[:3] == "in/"}
            outputs = [array for name, array in arrays.items() if name[:3] == "out"]
        write_arrays_model(store.settings, data, to, inputs, outputs, about)

    return write


def _write(
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
        from lstm_sweep.models.bundle import clean_process, template

        backend.prepare(gpu=False, seed=record.trial.seed)
        try:
            model = keras.models.load_model(weights, safe_mode=True)
        except Exception as error:
            if format != "keras":
                raise InputError(
                    f"trial {record.trial.id}: its network is not loaded: {reason(error)}; "
                    "expected layers of Keras alone, or --format keras"
                ) from None
            model, unknown = None, f"its network is not loaded ({reason(error)})"
        config = record.trial.config.to_dict()
        template.write_template_bundle(model, weights, config, metrics, folder, format)
        if model and seen:
            given = template.inputs_of(model, seen)
            here = keras.tree.flatten(model.predict_on_batch(given if len(given) > 1 else given[0]))
            theirs = clean_process.outputs(folder, format, given)
            pairs = zip(here, theirs, strict=True)
            difference = max(float(np.abs(np.asarray(a) - b).max()) for a, b in pairs)
            rows = len(given[0])
            names = [tensor.name for tensor in model.inputs]
            sample = {f"in/{name}": array for name, array in zip(names, given, strict=True)}
            sample |= {f"out{number}": np.asarray(part) for number, part in enumerate(here)}
            np.savez(folder.parent / SAMPLE, allow_pickle=False, **sample)
    if difference is not None:
        check_parity(difference)
    parity = {"max_difference": difference, "windows": rows}
    return {
        "format": format,
        "trial": record.trial.id,
        "test_loss": None,
        "loss": record.best_val_loss,
        "parity": parity | ({"not_loaded": unknown} if unknown else {}),
        "model_version": None,
    }
