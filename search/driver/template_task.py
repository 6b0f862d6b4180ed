"""`TemplateTask`: a user's file, which brings data and networks of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from typing_extensions import override

from lstm_sweep.models.bundle.bundle import CONFIG, MODEL
from lstm_sweep.models.config import Config
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver.lstm_task import ladder_notes
from lstm_sweep.search.driver.task import (
    Task,
    WriteBundle,
    check_parity,
    parity_lines,
    prepare_backend,
    read_template,
    remember_template,
    template_digest,
    unchecked_reason,
)
from lstm_sweep.search.engines.worker import TemplateTraining
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import reason
from lstm_sweep.search.store.journal import FORMAT, WEIGHTS, Dataset
from lstm_sweep.search.store.reader import RunKind, TrialRecord
from lstm_sweep.search.store.registry import WriteModel, write_arrays_model
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Device, Training
from lstm_sweep.spaces.template.template import Template, shown_label

#: inputs that were kept, and what the network makes of them; it lies beside the bundle
SAMPLE = "sample.npz"


def _write(
    record: TrialRecord, weights: Path, seen: Path | None, folder: Path, format: str
) -> dict[str, Any]:
    """Write a network that is not one of ours, in a process of its own.

    One with layers of the user's own is not loaded: it is handed on as it was written.
    """
    metrics = {"trial": record.id, "run_id": record.run_id, "loss": record.best_loss}
    difference, rows, unknown = None, 0, ""
    prepare_backend(record.seed)
    import keras

    from lstm_sweep.models.bundle import bundle, clean_process

    try:
        model = keras.models.load_model(weights, safe_mode=True)
    except Exception as error:
        if format != "keras":
            raise InputError(
                f"trial {record.id}: its network is not loaded: {reason(error)}; "
                "expected layers of Keras alone, or --format keras"
            ) from None
        model, unknown = None, f"its network is not loaded ({reason(error)})"
    config = record.config.to_dict()
    bundle.write_template_bundle(model, weights, config, metrics, folder, format)
    if model and seen:
        given = bundle.inputs_of(model, seen)
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
        "trial": record.id,
        "test_loss": None,
        "loss": record.best_loss,
        "parity": parity | ({"not_loaded": unknown} if unknown else {}),
        "model_version": None,
    }


@dataclass(frozen=True)
class TemplateTask(Task):
    """A template; nothing is known of its networks before they are trained."""

    runs: ClassVar[RunKind] = reader.TEMPLATE
    runs_user_code: ClassVar[bool] = True

    template: Template

    @classmethod
    @override
    def accepts(cls, spec: SweepSpec) -> bool:
        return spec.template is not None

    @classmethod
    @override
    def open(cls, spec: SweepSpec) -> Self:
        assert spec.template
        return cls(spec.template)

    @classmethod
    @override
    def of_trial(
        cls, record: TrialRecord, config: Config, file: str | None, device: Device
    ) -> Self:
        template = read_template(record.tags, file)
        assert template
        return cls(template)

    @override
    def remember(self) -> None:
        remember_template(self.template)

    @property
    @override
    def dataset(self) -> Dataset:
        path = self.template.path
        return Dataset(path.stem, self.template.digest, str(path))

    @override
    def tags(self) -> dict[str, str]:
        written = {"path": str(self.template.path), "digest": self.template.digest}
        return {Tag.TEMPLATE: json.dumps(written), Tag.FORMAT: str(FORMAT)}

    @override
    def notes(self, spec: SweepSpec) -> list[str]:
        varying = ", ".join(map(shown_label, spec.space.varying))
        return [
            f"template: {self.template.path}, which runs with the rights of whoever trains it",
            f"template: searched are {varying}",
            *(f"template: {note}" for note in self.template.notes),
            *ladder_notes(spec),
        ]

    @override
    def training(self, folder: Path) -> Training:
        return TemplateTraining(self.template)

    @classmethod
    @override
    def bundle_writer(cls, store: Store, record: TrialRecord, *others: TrialRecord) -> WriteBundle:
        digest = template_digest(record.tags)
        parent = store.run(record.tags.text(Tag.PARENT))
        # its sweep may say that it is not about a template, whose parity would be checked
        if parent is None or reader.written_spec(parent).get("template_digest") != digest:
            raise record.tags.bad(Tag.TEMPLATE, "the template of its sweep, or no such tag")

        def write(folder: Path, format: str) -> dict[str, Any]:
            if format == "onnx":
                raise InputError(
                    f"trial {record.id} is one of a template, of which no ONNX files are "
                    "written: expected --format keras or --format savedmodel"
                )
            weights = store.fetch(record.run_id, f"{WEIGHTS}/model.keras", folder.parent)
            seen = None
            if record.tags.get(Tag.INPUTS) == "kept":
                seen = store.fetch(record.run_id, f"{WEIGHTS}/inputs.npz", folder.parent)
            return forkserver.call(_write, record, weights, seen, folder, format, user_code=True)

        return write

    @classmethod
    @override
    def model_writer(
        cls, store: Store, record: TrialRecord, folder: Path, scratch: Path
    ) -> WriteModel:
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

    @classmethod
    @override
    def bundle_lines(cls, result: Mapping[str, Any]) -> list[str]:
        loss = f"loss {result['loss']:.4f}"
        if result["parity"]["windows"]:
            return [loss, *parity_lines(result, "rows of its training data")]
        return [loss, f"not checked: {unchecked_reason(result)}"]
