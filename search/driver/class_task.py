"""`ClassTask`: LSTMs that tell the class of a sequence, by their log loss."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from lstm_sweep.models import classes
from lstm_sweep.models.baselines import BaselineScore
from lstm_sweep.models.bundle import bundle
from lstm_sweep.models.bundle.bundle import Bundle, Classes
from lstm_sweep.models.config import (
    CLASS_LIMITS,
    ClassConfig,
    Config,
    as_lstm_config,
    values_text,
)
from lstm_sweep.models.data.labelled import LabelledCorpus, given_texts, load_labelled
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.decisions import Decision
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.size import SizeRule
from lstm_sweep.search.driver.lstm_task import (
    LstmTask,
    check_room,
    check_same,
    check_sizes,
    load_data,
    networks_of,
    rate_notes,
    settled_classes,
)
from lstm_sweep.search.driver.task import (
    WriteBundle,
    check_parity,
    ladder_notes,
    parity_lines,
    prepare_backend,
)
from lstm_sweep.search.engines.worker import PRETRAINED, ClassesTraining
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.journal import WEIGHTS
from lstm_sweep.search.store.reader import RunKind, TrialRecord
from lstm_sweep.search.store.tags import source_of
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.options import CLASSES
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Device, Training, Trial
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed

#: sequences of the test split on which the bundle is compared with the trial's network, at most
PARITY_SEQUENCES = 100


def _config_of(trial: Trial) -> ClassConfig:
    assert isinstance(trial.config, ClassConfig)
    return trial.config


def _write(
    records: Sequence[TrialRecord],
    weights: Sequence[Path],
    corpus: LabelledCorpus,
    folder: Path,
    format: str,
) -> dict[str, Any]:
    """Write a classifier, score it on test data and check it, in a process of its own.

    It is the network of the first record, averaged with those of others that make it better.
    """
    record, config = records[0], _config_of(records[0])
    prepare_backend(record.seed)
    from lstm_sweep.models.bundle import clean_process, onnx
    from lstm_sweep.models.data.windows import read_codes, read_lengths
    from lstm_sweep.models.network import classifier
    from lstm_sweep.models.network.program import program_of

    networks = [
        networks_of(one, file, len(corpus.alphabet), len(corpus.classes))
        for one, file in zip(records, weights, strict=True)
    ]
    members = [*zip(networks, map(_config_of, records), strict=True)]
    programs = [(program_of(*member, seed=0), member[1]) for member in members]
    said = [
        [classifier.class_logits(*program, split.sequences) for program in programs]
        for split in (corpus.validation, corpus.test)
    ]
    labels = corpus.validation.labels
    numbers = classes.chosen(said[0], labels)
    validation, test = (classes.averaged([logits[k] for k in numbers]) for logits in said)
    model = classifier.averaged([members[k] for k in numbers]).scored
    trials = [records[k].id for k in numbers] if len(numbers) > 1 else []
    val_loss = float(classes.log_losses(validation, labels).mean()) if trials else record.best_loss
    temperature = classes.temperature_of(validation, labels)
    scores = classes.Scores.of(test, corpus.test.labels, corpus.classes, temperature)
    told = {name: scores.measures[name] for name in ("accuracy", "macro_f1")}
    known = Classes.of(corpus.classes, temperature, validation, labels)
    configs = {records[k].id: members[k][1] for k in numbers} if trials else {}
    known = replace(known, averaged=configs)
    decision = Decision.of(known.probabilities, known.labels)
    by_decision = {
        split: {
            name: [*one]
            for name, one in classes.decided(decision, logits, true, temperature).items()
        }
        for split, logits, true in (
            ("validation", validation, labels),
            ("test", test, corpus.test.labels),
        )
    }
    loss = scores.measures["log_loss"].value
    metrics = {
        "trial": record.id,
        "run_id": record.run_id,
        "averaged": trials,
        "val_loss": val_loss,
        "best_epoch": record.best_epoch,
        "test_loss": loss,
        "test": scores.to_dict(),
        "macro_f1_decision": {
            "gain": decision.gain.tolist(), "cost": decision.cost.tolist(), **by_decision,
        },
        "corpus_digest": corpus.digest,
        "parameters": model.count_params(),
    }  # fmt: skip
    content = Bundle(record.id, config, corpus.alphabet, metrics, classes=known)
    bundle.write(model, content, folder, format)
    compared = np.arange(min(len(corpus.test), PARITY_SEQUENCES))
    lengths = read_lengths(corpus.test.sequences, config)[compared]
    codes = read_codes(corpus.test.sequences, config, compared, int(lengths.max()))
    inputs = [codes, lengths.astype(np.int32)]
    further: dict[str, Any] = {}
    if format == "onnx":
        further["files"] = onnx.add(model, content, inputs, folder)
        differences = [one["max_difference"] for one in further["files"].values()]
    else:
        [theirs] = clean_process.outputs(folder, format, inputs)
        differences = [float(np.abs(test[compared] - theirs).max())]
    return {
        "format": format,
        "trial": record.id,
        "averaged": trials,
        "left_out": [one.id for k, one in enumerate(records) if k not in numbers],
        "val_loss": val_loss,
        "single_val_loss": record.best_loss,
        "test_loss": loss,
        "scores": {name: [*one] for name, one in told.items()},
        "macro_f1_decision": by_decision,
        "parity": {"max_difference": check_parity(*differences), "windows": len(compared)},
        "model_version": None,
    } | further


#: characters of a sequence that is shown
SHOWN = 300


def _validation_logits(trial: Trial, weights: Path, corpus: LabelledCorpus) -> NDArray[np.float32]:
    """Logits of the validation sequences by the network of a trial, in a process of its own."""
    config = _config_of(trial)
    prepare_backend(trial.seed)
    from lstm_sweep.models.network.classifier import class_logits
    from lstm_sweep.models.network.program import program_of

    networks = networks_of(trial, weights, len(corpus.alphabet), len(corpus.classes))
    program = program_of(networks, config, seed=0)
    return class_logits(program, config, corpus.validation.sequences)


def _load(source: Source) -> tuple[Source, LabelledCorpus, Bundle | None]:
    """The source as it is read, its sequences, and the network that trials begin with, if any.

    What it is, is part of the digest of the data.
    """
    if source.pretrained is None:
        return source, load_data(load_labelled, source), None
    folder, network = bundle.read(source.pretrained)
    alphabet, most = network.alphabet, CLASS_LIMITS["layers"].high
    if network.config.layers > most:
        layers = f"has {network.config.layers} layers"
        raise InputError(f"pretrained {folder}: {layers}, expected {most:g} at most")
    lower_case = bool(alphabet.words and alphabet.words.lower_case)
    if source.vocabulary is not None or source.lower_case > lower_case:
        raise InputError(
            f"pretrained {folder}: vocabulary and lower_case are those of its alphabet, expected "
            f"neither, or the same"
        )
    if not source.has_lines and source.symbols == "auto":
        source = replace(source, symbols=alphabet.kind)
    source = replace(source, lower_case=lower_case)
    corpus = load_data(load_labelled, source)
    digest = hashlib.blake2b(corpus.digest.encode(), digest_size=16)
    for weight in bundle.weights_of(folder, network):
        digest.update(weight.tobytes())
    return source, replace(corpus, digest=digest.hexdigest()), network


def _fixed(network: Bundle) -> dict[str, int | str]:
    """Values of the fields of a config that a network decides with which it begins."""
    config = network.config
    fixed = {name: getattr(config, name) for name in ("embedding_size", "layers", "layer_size")}
    return fixed | ({"direction": "bi"} if config.direction == "bi" else {})


def _contradiction(name: str, given: object, value: object, network: Bundle) -> InputError:
    return InputError(
        f"{name} is {given}, and the network that trials begin with ({network.trial}) has {value}: "
        f"expected the same"
    )


def _begins(network: Bundle) -> str:
    fixed = ", ".join(f"{name} {value}" for name, value in _fixed(network).items())
    half = "" if network.config.direction == "bi" else ", of bi the forward half"
    return f"pretrained: trials begin with embedding and layers of {network.trial}{half}: {fixed}"


#: quantiles of the lengths of sequences that costs and the space depend on
QUANTILES = 65


@dataclass(frozen=True)
class ClassTask(LstmTask):
    """Labelled sequences; trials are scored on all that are for validation."""

    runs: ClassVar[RunKind] = reader.CLASSES
    averaged: ClassVar[int] = bundle.MOST_AVERAGED

    corpus: LabelledCorpus
    #: the network with whose embedding and layers trials begin
    network: Bundle | None = None

    @classmethod
    @override
    def accepts(cls, spec: SweepSpec) -> bool:
        return spec.kind == CLASSES

    @classmethod
    @override
    def open(cls, spec: SweepSpec) -> Self:
        return cls.loaded(spec)

    @classmethod
    @override
    def loaded(cls, spec: SweepSpec) -> Self:
        source, corpus, network = _load(spec.source())
        strict = spec.size_rule == "reject" and network is None
        return cls(corpus, source, spec.rule(), strict, network)

    @classmethod
    @override
    def queued_tags(cls, spec: SweepSpec) -> dict[str, str]:
        return super().queued_tags(spec) | {cls.runs.tag: "0"}

    @classmethod
    @override
    def of_trial(
        cls, record: TrialRecord, config: Config, file: str | None, device: Device
    ) -> Self:
        source, corpus, network = _load(source_of(record.tags))
        check_same(corpus, source, record.tags, f"trial {record.id}")
        if network:
            for name, value in _fixed(network).items():
                if config.to_dict()[name] != value:
                    raise _contradiction(name, config.to_dict()[name], value, network)
        check_room(as_lstm_config(config), len(corpus.alphabet), device, len(corpus.classes))
        return cls(corpus, source, SizeRule(), strict=False, network=network)

    @override
    def check_space(self, spec: SweepSpec) -> float:
        if self.network:  # of whatever size
            return 1.0
        size = self.data_size
        return check_sizes(spec, size.symbols, size.alphabet, size.classes)

    @override
    def settled(self, spec: SweepSpec) -> SweepSpec:
        if self.network is None:
            return settled_classes(spec, self.data_size)
        space = spec.space
        for name, value in _fixed(self.network).items():
            own = any(space[name] == declared[name] for declared in presets.CLASS_SPACES.values())
            if not own and value not in space[name]:
                raise _contradiction(name, values_text(space[name].describe()), value, self.network)
            space = space.replace(**{name: Listed(name, (value,))})
        fitting = replace(spec, space=space, size_rule="off")
        return replace(settled_classes(fitting, self.data_size), size_rule=spec.size_rule)

    @override
    def save(self, folder: Path) -> None:
        super().save(folder)
        if self.network:
            assert self.origin.pretrained
            *weights, _, _ = bundle.weights_of(Path(self.origin.pretrained), self.network)
            np.savez(folder / "corpus" / PRETRAINED, *weights)

    @override
    def tags(self) -> dict[str, str]:
        return super().tags() | {self.runs.tag: str(len(self.corpus.classes))}

    @override
    def notes(self, spec: SweepSpec) -> list[str]:
        corpus, size, rounds = self.corpus, self.data_size, spec.settled_rounds_per_epoch()
        each = f", after each of {rounds} rounds an epoch" if rounds > 1 else ""
        parts = ", ".join(f"{split} {len(part):,}" for split, part in corpus.splits().items())
        passed = self.check_space(spec)
        return [
            f"corpus: {corpus.decided}",
            f"corpus: {parts} sequences of {len(corpus.classes)} classes, alphabet "
            f"{size.alphabet}; {size.symbols:,} training symbols, {self.lengths[-1]:,} at most "
            "in a sequence",
            *(
                [_begins(self.network)]
                if self.network
                else [f"size rule ({spec.size_rule}): {passed:.0%} of draws pass"]
            ),
            f"scoring: {size.targets:,} validation sequences{each}",
            *(ladder_notes(spec) or rate_notes(spec)),
        ]

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Symbols of the training sequences at equally spaced quantiles, ascending."""
        lengths = np.sort(self.corpus.train.sequences.session_lengths)
        places = np.linspace(0, len(lengths) - 1, QUANTILES)
        return tuple(lengths[np.rint(places).astype(int)].tolist())

    @property
    @override
    def data_size(self) -> DataSize:
        corpus = self.corpus
        return DataSize(
            len(corpus.train.sequences),
            len(corpus.alphabet),
            len(corpus.validation),
            lengths=self.lengths,
            classes=len(corpus.classes),
        )

    @override
    def training(self, folder: Path) -> Training:
        return ClassesTraining(folder / "corpus")

    @override
    def baselines(self, known: Mapping[str, float]) -> Iterator[BaselineScore]:
        if known.keys() >= set(classes.BASELINES):
            return iter(())
        return (one for one in self._baselines if one.name not in known)

    @cached_property
    def _baselines(self) -> list[BaselineScore]:
        from lstm_sweep.models.baselines import score_baselines

        return score_baselines(self.corpus)

    @cached_property
    def _known_logits(self) -> dict[str, NDArray[np.float32]]:
        return {}

    def _logits_of(self, store: Store, trial: Trial) -> NDArray[np.float32]:
        """What the network of a trial says of the validation sequences; it is asked once."""
        if trial.run_id not in self._known_logits:
            with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
                weights = store.fetch(trial.run_id, f"{WEIGHTS}/{bundle.MODEL}", Path(scratch))
                logits = forkserver.call(_validation_logits, trial, weights, self.corpus)
            self._known_logits[trial.run_id] = logits
        return self._known_logits[trial.run_id]

    @override
    def model_files(self, store: Store, trial: Trial) -> dict[str, Any]:
        logits, labels = self._logits_of(store, trial), self.corpus.validation.labels
        temperature = classes.temperature_of(logits, labels)
        told = Classes.of(self.corpus.classes, temperature, logits, labels)
        return super().model_files(store, trial) | {bundle.CLASSES: told.to_dict()}

    @override
    def evidence(self, store: Store, best: Trial) -> classes.Evidence:
        labels = np.asarray(self.corpus.validation.labels)
        named = {one.name: one.logits for one in self._baselines if one.logits is not None}
        return classes.Evidence.of(
            best.id, self._logits_of(store, best), labels, self.corpus.classes, named,
            lambda numbers: given_texts(self.origin, self.corpus, numbers, SHOWN),
        )  # fmt: skip

    @classmethod
    @override
    def bundle_writer(cls, store: Store, record: TrialRecord, *others: TrialRecord) -> WriteBundle:
        source, corpus, _ = _load(source_of(record.tags))
        check_same(corpus, source, record.tags, f"trial {record.id}")

        def write(folder: Path, format: str) -> dict[str, Any]:
            records, weights = [record, *others], list[Path]()
            for one in records:
                place = folder.parent / f"weights-{one.run_id}"
                place.mkdir()
                weights.append(store.fetch(one.run_id, f"{WEIGHTS}/{bundle.MODEL}", place))
            return forkserver.call(_write, records, weights, corpus, folder, format)

        return write

    @classmethod
    @override
    def bundle_lines(cls, result: Mapping[str, Any]) -> list[str]:
        def told(scores: Mapping[str, Any]) -> str:
            named = (
                (name.replace("_f1", " F1"), classes.Estimate(*one)) for name, one in scores.items()
            )
            return ", ".join(f"{name} {one}" for name, one in named)

        averaged, left_out = (", ".join(result[name]) for name in ("averaged", "left_out"))
        lines, val_loss = list[str](), f"validation log loss {result['val_loss']:.4f}"
        if averaged:
            alone = f"{result['trial']} alone has {result['single_val_loss']:.4f}"
            lines = [f"the mean of the probabilities of {averaged}: {val_loss}; {alone}"]
        elif left_out:
            lines = [f"alone, {val_loss}: its mean with {left_out} is not better"]
        loss = f"log loss {result['test_loss']:.4f} nats a sequence"
        return [
            *lines,
            f"test: {loss}, {told(result['scores'])}",
            f"test, decided for macro F1: {told(result['macro_f1_decision']['test'])}",
            *parity_lines(result, "sequences"),
        ]
