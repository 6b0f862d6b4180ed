"""`Task`: what a sweep trains, and all that follows from it; and the kind that a template is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import platformdirs
from typing_extensions import override

from lstm_sweep.models.baselines import BaselineScore
from lstm_sweep.models.bundle.bundle import CONFIG, MODEL
from lstm_sweep.models.classes import Evidence
from lstm_sweep.models.config import Config
from lstm_sweep.models.errors import InputError, cut, shown
from lstm_sweep.models.quality import OverRates
from lstm_sweep.search.engines.worker import TemplateTraining
from lstm_sweep.search.policy import ladder
from lstm_sweep.search.policy.problem import EarlierBest, SearchProblem
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.process.files import PROGRAM, private, replace_text
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import reason
from lstm_sweep.search.store.journal import FORMAT, WEIGHTS, Dataset
from lstm_sweep.search.store.reader import RunKind, TrialRecord
from lstm_sweep.search.store.registry import WriteModel, write_arrays_model
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Device, Training, Trial
from lstm_sweep.spaces.template.template import Template, shown_label

#: any of these means that a CPU has products of matrices in bfloat16
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


def check_instructions(wanted: Collection[object], devices: Iterable[Device]) -> None:
    if all(precision == "float32" for precision in wanted):
        return
    for device in devices:
        known, at = device.cpu_flags, f" on node {device.node}" if device.node else ""
        if device.gpu:
            continue
        if "float16" in wanted:
            raise InputError(
                f"precision float16 needs a GPU, and there is none{at}: expected float32"
            )
        if known and not known & BFLOAT16_FLAGS:
            cpu = f"the CPU{at}" if at else "this CPU"
            raise InputError(
                f"precision bfloat16: {cpu} has none of {', '.join(sorted(BFLOAT16_FLAGS))}, "
                f"expected float32"
            )


#: largest difference between two logits that counts as the same prediction
PARITY_TOLERANCE = 1e-4
#: what a bundle is checked with, by its format
PROGRAMS = {"keras": "plain Keras", "savedmodel": "plain TensorFlow", "onnx": "ONNX Runtime"}


def check_parity(*differences: float) -> float:
    """The largest of the differences between predictions of a bundle and those of the trial.

    Raises:
        RuntimeError: it is too large, or one is not a number.
    """
    largest = float(np.max(differences))
    if not largest <= PARITY_TOLERANCE:
        raise RuntimeError(
            f"the bundle's predictions differ from the trial's by {largest:.3g}; not exported"
        )
    return largest


def parity_lines(result: Mapping[str, Any], rows: str) -> list[str]:
    program, parity = PROGRAMS[result["format"]], result["parity"]
    return [
        f"a clean process with {program} predicts the same on {parity['windows']} {rows} "
        f"(largest difference {parity['max_difference']:.2g})"
    ]


def unchecked_reason(result: Mapping[str, Any]) -> str:
    why = result["parity"].get("not_loaded")
    return str(why or "the store has no inputs that its network was trained on")


def prepare_backend(seed: int) -> None:
    """Make the backend ready without GPUs: on one, Keras would write what loads nowhere else."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    from lstm_sweep.models import backend

    backend.prepare(gpu=False, seed=seed)


def ladder_notes(spec: SweepSpec) -> list[str]:
    """A line for people if the ladder is left out, since the sweep has few trials."""
    rates = ladder.rates_of(spec.space) if spec.ladder else ()
    if not rates or not ladder.is_left_out(rates, spec.plan().trials):
        return []
    few = f"{spec.trials} trials are" if spec.trials != 1 else "1 trial is"
    return [
        f"ladder: left out, since {few} too few to try {len(rates)} learning rates first; "
        f"rates about {ladder.usual_rate(rates):g} are searched"
    ]


#: what can be exported and registered
EXPECTED = "expected a trial of a kind of sweep whose networks can be"
#: writes the bundle of a trial's network to a folder in a format; returns what `export` prints
WriteBundle = Callable[[Path, str], dict[str, Any]]


class Task(ABC):
    """What a sweep trains.

    Each kind of task is a subclass, named in `tasks`. Most methods have a default.
    """

    #: how its runs are read back, and what its trials are compared by
    runs: ClassVar[RunKind]
    #: whether its trials run code of the user, which may need anything of Keras
    runs_user_code: ClassVar[bool] = False
    #: best trials of a sweep whose networks are exported as one, at most
    averaged: ClassVar[int] = 1

    # how one is made

    @classmethod
    @abstractmethod
    def accepts(cls, spec: SweepSpec) -> bool:
        """Whether a spec is about this kind of task; the kinds in `tasks` are asked in turn."""

    @classmethod  # noqa: B027
    def check_devices(cls, spec: SweepSpec, devices: Iterable[Device]) -> None:
        """Refuse a spec that one of the devices cannot run; called before data are read."""

    @classmethod
    @abstractmethod
    def open(cls, spec: SweepSpec) -> Self: ...

    @classmethod
    def queued_tags(cls, spec: SweepSpec) -> dict[str, str]:
        """Tags of the run of a sweep that waits in a queue; a kind that has data reads none."""
        task = cls.open(spec)
        task.remember()
        return task.tags()

    @classmethod
    def read_spec(cls, run: Any, tags: Tags, file: str | None) -> SweepSpec:
        """The spec of a sweep from its own run; one that has none, or other files now, is refused.

        `tags` are those of the run that is to go on, `file` is the user's own, if one was named.
        """
        return reader.read_spec(run, read_template(tags, file))

    @classmethod
    @abstractmethod
    def of_trial(
        cls, record: TrialRecord, config: Config, file: str | None, device: Device
    ) -> Self:
        """The task that a trial was about, to train `config` in it; `file` as of `read_spec`.

        Refused are other data than then, and a config that cannot be trained on them, or not on
        this device.
        """

    def settled(self, spec: SweepSpec) -> SweepSpec:
        """The spec with numbers in place of what depends on the data."""
        return spec

    def check_unchanged(self, sweep: str, tags: Tags) -> None:  # noqa: B027
        """Refuse to go on with a sweep whose run has these tags if its data are others now."""

    def remember(self) -> None:  # noqa: B027
        """Note that this user has begun a sweep of this task."""

    # what it is

    @property
    @abstractmethod
    def dataset(self) -> Dataset: ...

    @abstractmethod
    def tags(self) -> dict[str, str]:
        """Tags of each run of the sweep."""

    def notes(self, spec: SweepSpec) -> list[str]:
        """Lines that the user should read first; a space that does not fit is refused."""
        return []

    @property
    def unknown_share(self) -> float:
        """Share of the validation symbols that training data do not have, which are not scored."""
        return 0.0

    # what its trials need, and are compared with

    def save(self, folder: Path) -> None:  # noqa: B027
        """Write what workers need to the sweep's folder."""

    @abstractmethod
    def training(self, folder: Path) -> Training:
        """What a worker does for a trial, with what was saved in the sweep's folder."""

    def baselines(self, known: Mapping[str, float]) -> Iterator[BaselineScore]:
        return iter(())

    # which configs are tried

    def admits(self, config: Config) -> bool:
        return True

    def remarks(self, config: Config) -> dict[str, str]:
        """Reasons against a config, as tags of its run."""
        return {}

    def prior(self, spec: SweepSpec, store: Store) -> tuple[EarlierBest, ...]:
        """The best trials of earlier sweeps on the same data, for a sweep that begins."""
        return ()

    def problem(
        self,
        spec: SweepSpec,
        baselines: Mapping[str, float],
        prior: Sequence[EarlierBest] = (),
    ) -> SearchProblem:
        """What a search knows of the task; `baselines` are the losses of all baselines."""
        return SearchProblem(space=spec.space, objective=self.runs.objective, admits=self.admits)

    # what is known of its networks

    def costed_problem(self, spec: SweepSpec) -> SearchProblem | None:
        """The problem with what predicts the seconds of trials; None if they must run first."""
        return None

    def memory_of(self, config: Config) -> int:
        """Bytes of a network's arrays in training, if costs are known."""
        return 0

    @property
    def training_symbols(self) -> int:
        """Number of symbols to train on; 0 if unknown."""
        return 0

    def parameters_of(self, config: Config) -> int | None:
        """Parameters of a network; None if that is known only once it is built."""
        return None

    def params(self, config: Config) -> dict[str, int | float]:
        """Params of a trial's run that follow from its config, such as the size of its network."""
        return {}

    # with a finished trial

    def check_verdicts(self, store: Store, trial: Trial) -> OverRates | None:
        """What verdicts of its network say of normal sessions; None if it gives none."""
        return None

    def evidence(self, store: Store, best: Trial) -> Evidence | None:
        """What a report shows of the best trial with weights, beside losses; None: nothing."""
        return None

    def log_model(self, store: MlflowStore, trial: Trial) -> None:  # noqa: B027
        """Make the network of a trial with weights a logged model, if that needs no Keras."""

    @classmethod
    def check_rerun(
        cls,
        record: TrialRecord,
        changes: Mapping[str, Any],
        file: str | None,
        devices: Iterable[Device],
    ) -> None:
        """Refuse to train a trial again so, or on one of the devices; `file` as of `read_spec`."""
        read_template(record.tags, file)
        if changes and cls.runs_user_code:
            name, value = next(iter(changes.items()))
            raise InputError(
                f"--set {cut(f'{name}={value}')}: trial {record.id} is about a template, "
                "expected none"
            )
        values = record.config.evolve(**changes).to_dict()
        check_instructions([values.get("precision", "float32")], devices)

    @classmethod
    def bundle_writer(cls, store: Store, record: TrialRecord, *others: TrialRecord) -> WriteBundle:
        """What writes the bundle of a trial's network; refused if its data are others now.

        It is averaged with those of `others`, if these are `averaged`.
        """
        raise InputError(f"trial {record.id}: its network cannot be exported, {EXPECTED}")

    @classmethod
    def model_writer(
        cls, store: Store, record: TrialRecord, folder: Path, scratch: Path
    ) -> WriteModel:
        """What writes the MLflow model of a trial's network, from its checked bundle in `folder`.

        `scratch` is the folder that the bundle was written in, with all else that its writer left.
        """
        raise InputError(f"trial {record.id}: its network cannot be registered, {EXPECTED}")

    @classmethod
    def bundle_lines(cls, result: Mapping[str, Any]) -> list[str]:
        return []


# --- templates ------------------------------------------------------------------------------------
# Others may write to the store, so a path in it is never run. `resume` takes the digest of a
# sweep's template from the store, and its path from a file that only this user can write: each
# template that is named on the command line is recorded there.

#: the digest of a template
DIGEST = re.compile(r"[0-9a-f]{16}")


def remember_template(template: Template) -> None:
    """Record the path of a template that this user has named, if the folder can be written."""
    folder = _templates_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError, UnicodeError):
        replace_text(folder / template.digest, str(template.path))


def template_path(digest: str) -> Path | None:
    folder = _templates_folder()
    if folder is None or not DIGEST.fullmatch(digest):
        return None
    with contextlib.suppress(OSError, UnicodeError):
        path = Path((folder / digest).read_text(encoding="utf-8"))
        return path if path.is_absolute() else None
    return None


def template_digest(tags: Tags) -> str | None:
    if Tag.TEMPLATE not in tags:
        return None
    digest = tags.json(Tag.TEMPLATE, dict).get("digest")
    if not (isinstance(digest, str) and DIGEST.fullmatch(digest)):
        raise tags.bad(Tag.TEMPLATE, "a digest of 16 hexadecimal digits")
    return digest


def read_template(tags: Tags, given: str | None) -> Template | None:
    """The template of a run, read from the path `given` or else the recorded one.

    None if the run has no template. Refused are a file with another digest, and none at all.
    """
    digest = template_digest(tags)
    if digest is None:
        if given is not None:
            raise InputError(f"--template {given!r}: the sweep has no template, expected none")
        return None
    path = template_path(digest) if given is None else given
    if path is None:
        was = tags.json(Tag.TEMPLATE, dict).get("path")
        raise InputError(
            "the sweep runs a template that you have not run here: expected --template FILE.py, "
            f"your own file (it was {shown(was)}); a path from the store is never run"
        )
    template = Template.read(str(path))
    if template.digest != digest:
        raise InputError(
            f"template {template.where} has changed since: found digest {template.digest}, "
            f"expected {digest}"
        )
    if given is not None:
        remember_template(template)
    return template


def _templates_folder() -> Path | None:
    """A lasting folder that only this user may write to; None if there is none."""
    try:
        own = platformdirs.user_state_path(PROGRAM, appauthor=False)
    except RuntimeError:  # this user has no home
        return None
    return private(own) and private(own / "templates")


#: inputs that were kept, and what the network makes of them; it lies beside the bundle
SAMPLE = "sample.npz"


def _write_template(
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
        difference = check_parity(*(float(np.abs(np.asarray(a) - b).max()) for a, b in pairs))
        rows = len(given[0])
        names = [tensor.name for tensor in model.inputs]
        sample = {f"in/{name}": array for name, array in zip(names, given, strict=True)}
        sample |= {f"out{number}": np.asarray(part) for number, part in enumerate(here)}
        np.savez(folder.parent / SAMPLE, allow_pickle=False, **sample)
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
            return forkserver.call(
                _write_template, record, weights, seen, folder, format, user_code=True
            )

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
