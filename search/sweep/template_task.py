"""`TemplateTask`: a user's file, which brings data and networks of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from typing_extensions import override

from lstm_sweep.models.config import Config
from lstm_sweep.models.errors import InputError, cut
from lstm_sweep.search.device import Device
from lstm_sweep.search.engines.trainings import TemplateTraining
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store import archive, run_kind
from lstm_sweep.search.store.journal import SCHEMA, Dataset
from lstm_sweep.search.store.registry import WriteModel
from lstm_sweep.search.store.run_kind import RunKind
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep import own_templates
from lstm_sweep.search.sweep.bundle_parity import parity_lines, unchecked_reason
from lstm_sweep.search.sweep.preflight import ladder_notes
from lstm_sweep.search.sweep.task import Task, WriteBundle
from lstm_sweep.search.sweep.template_bundle import template_bundle_writer, template_model_writer
from lstm_sweep.search.trial import Job, Slot, Trial
from lstm_sweep.spaces.template.config import shown_label
from lstm_sweep.spaces.template.template import Template


@dataclass(frozen=True)
class TemplateTask(Task):
    """A template; nothing is known of its networks before they are trained."""

    runs: ClassVar[RunKind] = run_kind.TEMPLATE
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
    def read_spec(cls, run: Any, tags: Tags, file: str | None) -> SweepSpec:
        return archive.read_spec(run, own_templates.read(tags, file))

    @classmethod
    @override
    def of_trial(
        cls, record: TrialRecord, config: Config, file: str | None, device: Device
    ) -> Self:
        template = own_templates.read(record.tags, file)
        assert template
        return cls(template)

    @override
    def remember(self) -> None:
        own_templates.remember(self.template)

    @property
    @override
    def dataset(self) -> Dataset:
        path = self.template.path
        return Dataset(path.stem, self.template.digest, str(path))

    @override
    def tags(self) -> dict[str, str]:
        written = {"path": str(self.template.path), "digest": self.template.digest}
        return {Tag.TEMPLATE: json.dumps(written), Tag.SCHEMA: str(SCHEMA)}

    @override
    def notes(self, spec: SweepSpec, devices: Iterable[Device]) -> list[str]:
        slow = self.template.gpu_notes if any(device.gpu for device in devices) else ()
        varying = ", ".join(map(shown_label, spec.space.varying))
        return [
            f"template: {self.template.path}, which runs with the rights of whoever trains it",
            f"template: searched are {varying}",
            *(f"template: {note}" for note in (*self.template.notes, *slow)),
            *ladder_notes(spec),
        ]

    @override
    def job(self, trial: Trial, slot: Slot, folder: Path) -> Job:
        training = TemplateTraining(self.template)
        return Job(trial=trial, slot=slot, folder=folder / str(trial.number), training=training)

    @classmethod
    @override
    def check_rerun(
        cls,
        record: TrialRecord,
        changes: Mapping[str, Any],
        file: str | None,
        devices: Iterable[Device],
    ) -> None:
        own_templates.read(record.tags, file)
        if changes:
            name, value = next(iter(changes.items()))
            raise InputError(
                f"--set {cut(f'{name}={value}')}: trial {record.trial.id} is about a template, "
                "expected none"
            )

    @classmethod
    @override
    def bundle_writer(cls, store: Store, record: TrialRecord) -> WriteBundle:
        digest = own_templates.digest_of(record.tags)
        parent = store.run(record.tags.text(Tag.PARENT))
        # its sweep may say that it is not about a template, whose parity would be checked
        if parent is None or archive.written_spec(parent).get("template_digest") != digest:
            raise record.tags.bad(Tag.TEMPLATE, "the template of its sweep, or no such tag")
        return template_bundle_writer(store, record)

    @classmethod
    @override
    def model_writer(
        cls, store: Store, record: TrialRecord, bundle: Path, scratch: Path
    ) -> WriteModel:
        return template_model_writer(store, bundle, scratch)

    @classmethod
    @override
    def bundle_lines(cls, result: Mapping[str, Any]) -> list[str]:
        loss = f"loss {result['loss']:.4f}"
        if result["parity"]["windows"]:
            return [loss, *parity_lines(result, "rows of its training data")]
        return [loss, f"not checked: {unchecked_reason(result)}"]
