"""`export`: the network of a trial as a checked bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lstm_sweep.models.config import ClassConfig
from lstm_sweep.models.errors import InputError, check_switch, check_word, path_text
from lstm_sweep.search.actions.references import RUN_ID, Here, check_sweep_or_trial, existing_store
from lstm_sweep.search.driver.task import unchecked_reason
from lstm_sweep.search.driver.tasks import task_kind_of_run
from lstm_sweep.search.process.files import become, new_folder, scratch_beside
from lstm_sweep.search.store import reader, registry
from lstm_sweep.search.store.faults import StoreError, reason
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.registry import Version
from lstm_sweep.search.store.settings import missing
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.values.documents import loss_text
from lstm_sweep.search.values.trial import ranked

#: kinds of bundles
FORMATS = ("keras", "savedmodel", "onnx")


@dataclass(frozen=True)
class Exported:
    """A bundle that was written and checked."""

    #: path of its folder
    bundle: str
    trial: str
    #: nats, of a corpus; None for a template
    test_loss: float | None
    #: version of a registered model that it has become
    version: Version | None
    #: its losses and how it was checked, in lines for people
    lines: tuple[str, ...]
    #: what `export --json` prints
    printed: Mapping[str, Any]

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> Self:
        last = {name: written[name] for name in ("parity", "model_version")}
        told = ("lines", *last)
        return cls(
            bundle=written["bundle"],
            trial=written["trial"],
            test_loss=written["test_loss"],
            version=last["model_version"] and Version(**last["model_version"]),
            lines=tuple(written["lines"]),
            printed={name: x for name, x in written.items() if name not in told} | last,
        )

    def to_dict(self) -> dict[str, Any]:
        return dict(self.printed)

    def document(self) -> dict[str, Any]:
        """The bundle as a service tells it: without its folder, but with what is said to people."""
        told = self.to_dict() | {"lines": list(self.lines)}
        return {name: value for name, value in told.items() if name != "bundle"}


def export(
    here: Here,
    reference: str,
    to: str,
    format: str = "keras",
    *,
    unchecked: bool = False,
    register: str | None = None,
) -> Exported:
    """Write the model of a trial, or of the best one of a sweep, to the new folder `to`.

    Of a sweep over classes it averages the probabilities of its best trials, as far as that lowers
    the validation loss.

    It is loaded by a clean process with plain Keras, and kept only if it predicts the same there.
    `format` is `keras`, or `savedmodel` for a TensorFlow SavedModel or `onnx` for ONNX files beside
    it. A template's network that cannot be checked, since its layers or its inputs are missing, is
    kept if `unchecked`. With `register` it becomes a version of the registered model of this name.

    Raises:
        StoreError: the store has failed after the bundle was written, or refuses a version.
    """
    check_wish(format, register)
    folder = new_folder(path_text("--to", to))
    check_switch("--unchecked", unchecked)
    check_sweep_or_trial(reference)
    store = existing_store(f"'{reference}'", here.settings)
    records = chosen(store, reference)
    return write_bundle(store, records, folder, format, unchecked=unchecked, model=register)


def check_wish(format: str, register: str | None) -> None:
    """Refuse what no trial can be exported as."""
    if register is not None:
        registry.check_name(register)
    check_word("--format", format, FORMATS)
    if format == "onnx":
        for why in filter(None, map(missing, ("onnx", "onnxruntime"))):
            raise InputError(f"--format {format}: {why}")


def choose(store: MlflowStore, reference: str) -> TrialRecord:
    """The best trial of a sweep, or the trial that `reference` means; its weights are there."""
    may_be_trial = "/" in reference or RUN_ID.fullmatch(reference)
    if not may_be_trial or reader.find_sweep(store, reference):
        reader.existing_sweep(store, reference)
        best_first = ranked(reader.trials(store, reference))
        if not best_first:
            raise InputError(f"sweep '{reference}' has no trial with a result, expected one")
        record = best_first[0]
    else:
        record = reader.find_trial(store, reference)
    if not record.has_weights:
        raise InputError(
            f"trial {record.id} has no weights (a sweep keeps those of its best trials); "
            f"`lstm-sweep rerun {record.run_id}` makes a run that has them"
        )
    return record


def chosen(store: MlflowStore, reference: str) -> list[TrialRecord]:
    """The trial that is exported, and further ones of a sweep that it may be averaged with."""
    best = choose(store, reference)
    most = task_kind_of_run(best.tags).averaged
    if reference != best.sweep or most == 1:
        return [best]
    further = (one for one in ranked(reader.trials(store, reference)) if one.has_weights)
    alike = [one for one in further if one.run_id != best.run_id and _alike(one, best)]
    return [best, *alike[: most - 1]]


def _alike(one: TrialRecord, best: TrialRecord) -> bool:
    """Whether the networks of two trials read the same of a sequence."""
    configs = one.config, best.config
    return len({config.reading for config in configs if isinstance(config, ClassConfig)}) == 1


def write_bundle(
    store: MlflowStore,
    records: Sequence[TrialRecord],
    to: Path,
    format: str,
    *,
    unchecked: bool = False,
    model: str | None = None,
) -> Exported:
    """Write the bundle of a trial, the first of `records`, to folder `to`.

    With the networks of the others it may be averaged.

    The test split is scored here and nowhere else. The bundle appears under its name once it is
    checked, or the caller says that it may be `unchecked`. With the name of a registered `model`,
    it becomes a version of that, too.
    """
    record = records[0]
    kind = task_kind_of_run(record.tags)
    write = kind.bundle_writer(store, *records)
    with scratch_beside(to) as scratch:
        result = write(scratch / "bundle", format)
        if not result["parity"]["windows"]:
            why = f"trial {record.id}: {unchecked_reason(result)}"
            if model is not None:
                raise InputError(f"{why}, so it cannot be served: expected no --register")
            if not unchecked:
                raise InputError(
                    f"{why}, so its bundle is not checked: expected --unchecked, to export it all "
                    f"the same"
                )
        become(scratch / "bundle", to)
        if model is not None:
            version = register(store, record, model, to, scratch, result)
            result["model_version"] = version.to_dict()
    lines = kind.bundle_lines(result)
    return Exported.from_dict({"bundle": str(to), **result, "lines": lines})


def register(
    store: MlflowStore,
    record: TrialRecord,
    name: str,
    bundle: Path,
    scratch: Path,
    written: Mapping[str, Any],
) -> Version:
    """Make a version of the model that is logged of a trial, which is logged if it is not yet.

    `written` is what was exported to folder `bundle`; `scratch` has what its writer has left there.
    """
    there = f"the bundle is in {bundle}, but no model was registered"
    known = (Tag.CORPUS_DIGEST, Tag.SCORING)
    tags = {Tag.NAME: record.sweep, Tag.TRIAL: str(record.number)}
    if (loss := written.get("val_loss", record.best_loss)) is not None:
        tags[Tag.MODEL_LOSS] = repr(loss)
    tags |= {tag: record.tags[tag] for tag in known if tag in record.tags}
    test = written["test_loss"]
    tested = "" if test is None else f", test loss {test:.4f}"
    about = f"lstm-sweep trial {record.id}: loss {loss_text(loss)}{tested}"
    run_id, parts = record.run_id, dict[str, str]()
    if averaged := written.get("averaged"):  # a model of the sweep; of other trials it is another
        run_id = record.tags.text(Tag.PARENT)
        parts = {Tag.AVERAGED: ", ".join(averaged), Tag.MODEL_LOSS: repr(loss)}
    try:
        model_id = registry.logged_model_of(store, run_id, **parts)
        if model_id is None:
            write = task_kind_of_run(record.tags).model_writer(store, record, bundle, scratch)
            model_id = registry.log_model(store, run_id, record.id, write, **parts)
        return registry.register(store, name, model_id, run_id, tags, about)
    except StoreError as error:
        raise StoreError(f"{there}: {error}") from error
    except InputError as error:
        raise InputError(f"{there}: {error}") from None
    except Exception as error:
        raise InputError(
            f"{there}: {reason(error)}, expected a store that takes '{name}'"
        ) from error
