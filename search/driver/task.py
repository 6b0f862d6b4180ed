"""`Task`: what a sweep trains, and all that follows from it."""

from __future__ import annotations

import contextlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import platformdirs

from lstm_sweep.models.baselines import BaselineScore
from lstm_sweep.models.classes import Evidence
from lstm_sweep.models.config import Config
from lstm_sweep.models.errors import InputError, cut, shown
from lstm_sweep.models.quality import OverRates
from lstm_sweep.search.policy.problem import EarlierBest, SearchProblem
from lstm_sweep.search.process.files import PROGRAM, private, replace_text
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.journal import Dataset
from lstm_sweep.search.store.reader import RunKind, TrialRecord
from lstm_sweep.search.store.registry import WriteModel
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Device, Training, Trial
from lstm_sweep.spaces.template.template import Template

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


def check_parity(difference: float) -> None:
    """Refuse a bundle whose predictions differ by so much from those of the trial."""
    if not difference <= PARITY_TOLERANCE:
        raise RuntimeError(
            f"the bundle's predictions differ from the trial's by {difference:.3g}; not exported"
        )


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
