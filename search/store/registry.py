"""MLflow's logged models, their versions in its registry, and runs that are deleted with them.

A logged model belongs to the run of the trial that trained it. The registry is in the same store as
the runs.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lstm_sweep.models.bundle import served_model
from lstm_sweep.models.bundle.served_model import TEXT
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.store import experiment
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.settings import UNWRITABLE, Settings
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore, quoted, size_of, unless
from lstm_sweep.search.values.documents import Document

#: what a served model needs, in the versions that are installed here
REQUIREMENTS = ("mlflow", "keras", "tensorflow", "numpy")


def write_symbols_model(
    settings: Settings,
    data: Path,
    folder: Path,
    alphabet: Alphabet,
    about: Any,
    *,
    classes: bool = False,
) -> None:
    """Write the model of a network that predicts symbols, or classes; `about` is MLflow's `Model`.

    Folder `data` has its `model.keras` and `alphabet.json`, and whatever is to be kept with them.
    """
    import pandas as pd
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import schema as types

    session = example_session(alphabet)
    example = pd.DataFrame({column_of(alphabet): [session]})
    if classes:
        text, number = types.DataType.string, types.DataType.double
        columns = {"class": text, "probability": number, "probabilities": types.Map(number)}
        told = types.Schema([types.ColSpec(kind, name) for name, kind in columns.items()])
        signature = ModelSignature(infer_signature(example).inputs, told)
    else:  # with ends a symbol is an id or `<end>`, so of any type
        symbol = None if alphabet.ends else alphabet.symbols[0]
        least = {"next": [{"symbol": symbol, "probability": 0.5}]}
        ended = {"end_surprise": 0.5} if alphabet.ends else {}
        most = least | {"surprise": [0.5], **ended, "continuation": session}
        signature = infer_signature(example, [least, most], served_model.DEFAULTS)
    _write(settings, data, folder, about, signature, example)


def write_arrays_model(
    settings: Settings,
    data: Path,
    folder: Path,
    inputs: Mapping[str, NDArray[Any]],
    outputs: list[NDArray[Any]],
    about: Any,
) -> None:
    """Write the model of any Keras network; `inputs` are a batch by the names of its inputs.

    Folder `data` has its `model.keras`. `outputs` are what it makes of this batch.
    """
    from mlflow.models import infer_signature

    made = {f"output_{number}": array for number, array in enumerate(outputs)}
    signature = infer_signature(_unnamed(inputs), _unnamed(made))
    example = _unnamed({name: array[:1] for name, array in inputs.items()})
    _write(settings, data, folder, about, signature, example)


def _unnamed(arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Arrays by their names, which are left out if there is one alone."""
    return dict(arrays) if len(arrays) > 1 else next(iter(arrays.values()))


def _write(
    settings: Settings, data: Path, folder: Path, about: Any, signature: Any, example: Any
) -> None:
    mlflow = experiment.load_mlflow()
    with experiment.applied(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's use of pandas
        mlflow.pyfunc.save_model(
            str(folder),
            loader_module=Path(served_model.__file__).stem,
            data_path=str(data),
            code_paths=[served_model.__file__],
            mlflow_model=about,
            signature=signature,
            input_example=example,
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in REQUIREMENTS],
        )


def column_of(alphabet: Alphabet) -> str:
    return served_model.COLUMNS[alphabet.kind]


def example_session(alphabet: Alphabet) -> str | list[int]:
    """A few known symbols as a session; what they are in is not said of the training data."""
    middle = len(alphabet.symbols) // 3
    symbols = alphabet.symbols[middle : middle + 3]
    if column_of(alphabet) == TEXT:
        return alphabet.between.join(map(str, symbols))
    return [*symbols]


#: the alias of the version that is the best one
CHAMPION = "champion"
#: characters of the longest name of a registered model
LONGEST_NAME = 250
#: metrics of a trial's run that its logged model has, too
METRICS = ("best_val_loss", "bits_per_symbol", "best_epoch")

#: writes the folder of a model, given MLflow's `Model`
WriteModel = Callable[[Path, Any], None]


@dataclass(frozen=True)
class Version(Document):
    """A version of a registered model."""

    name: str
    version: int
    #: the logged model that it is
    model_id: str
    #: by which MLflow loads the version
    uri: str
    #: whether it has the alias `champion` now
    champion: bool
    #: why it has, or has not
    why: str

    @property
    def text(self) -> str:
        role = "the champion" if self.champion else "not the champion"
        return f"version {self.version} of {self.name}, {role}: {self.why}"


def check_name(name: object) -> None:
    valid = (
        isinstance(name, str)
        and 0 < len(name) <= LONGEST_NAME
        and name.strip() == name
        and name not in (".", "..")
        and not set("/:") & set(name)
        and not UNWRITABLE.search(name)
    )
    if not valid:
        raise InputError(
            f"--register is {shown(name)}: expected the name of a model, without / and :, of at "
            f"most {LONGEST_NAME} characters"
        )


def logged_models(store: MlflowStore, run_id: str) -> list[Any]:
    search = partial(
        store.client.search_logged_models, [store.experiment.id], f"source_run_id = '{run_id}'"
    )
    page = store.ask(search)
    found = list(page)
    while page.token:
        page = store.ask(partial(search, page_token=page.token))
        found += page
    return found


def logged_model_of(store: MlflowStore, run_id: str, **tags: str) -> str | None:
    """ID of the newest model with these tags that was logged of a run; None if none is whole."""
    logged = (one for one in logged_models(store, run_id) if one.status == "READY")
    whole = [one for one in logged if tags.items() <= one.tags.items()]
    newest = max(whole, key=lambda one: one.creation_timestamp, default=None)
    return newest and str(newest.model_id)


def log_model(store: MlflowStore, run_id: str, name: str, write: WriteModel, **tags: str) -> str:
    """Make a logged model of a run from the folder that `write` writes; return its ID.

    It has the run's params, and the last values of its most important metrics.
    """
    from mlflow.entities import LoggedModelOutput, Metric
    from mlflow.models import Model

    client, run = store.client, store.ask(lambda: store.client.get_run(run_id))
    plain = name.replace("/", "-").replace(".", "_")  # MLflow takes neither in it
    model = store.ask(
        lambda: client.create_logged_model(
            run.info.experiment_id, plain, run_id, tags, dict(run.data.params)
        )
    )
    status, model_id = "FAILED", str(model.model_id)
    try:
        place = store.ask(lambda: store.experiment.place_of_model(model))
        about = Model(artifact_path=place, run_id=run_id, model_id=model_id, model_uuid=model_id)
        with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
            folder = Path(scratch) / "model"
            with experiment.applied(store.settings):
                write(folder, about)
            store.ask(lambda: store.files_at(place).log_artifacts(str(folder)))
        status = "READY"
    finally:
        store.ask(lambda: client.finalize_logged_model(model_id, status))
    # the same points as of the run, which MLflow keeps once
    last = {key: max(points) for key in METRICS if (points := store.timeline(run_id, key))}
    metrics = [
        Metric(key, value, at, step, model_id, run_id=run_id)
        for key, (step, at, value) in last.items()
    ]
    output = LoggedModelOutput(model_id, max((step for step, *_ in last.values()), default=0))
    store.ask(lambda: client.log_batch(run_id, metrics))
    store.ask(lambda: client.log_outputs(run_id, [output]))
    return model_id


def register(
    store: MlflowStore, name: str, model_id: str, run_id: str, tags: Mapping[str, str], about: str
) -> Version:
    """Make a version of a logged model, and decide whether it is the champion.

    `tags` are those of the version. `about` describes it. A logged model that is a version of this
    name already stays that one.
    """
    client, ask = store.client, store.ask
    with unless("RESOURCE_ALREADY_EXISTS"):
        ask(lambda: client.create_registered_model(name, description=about))
    aliases = ask(lambda: client.get_registered_model(name)).aliases
    known = ask(lambda: client.search_model_versions(f"run_id = '{run_id}'"))
    model = ask(lambda: client.get_logged_model(model_id))
    # for an address `models:/`, MLflow would ask the store of its own settings
    place = ask(lambda: store.experiment.place_of_model(model))
    version = next((one for one in known if (one.name, one.source) == (name, place)), None)
    version = version or ask(
        lambda: client.create_model_version(
            name, place, run_id, dict(tags), description=about, model_id=model_id
        )
    )
    number, present = int(version.version), int(aliases.get(CHAMPION, 0))
    if not present:
        better, why = True, "no version was the champion"
    elif present == number:
        better, why = True, "it was the champion"
    else:
        other = ask(lambda: client.get_model_version(name, str(present)))
        better, why = compare(present, dict(other.tags), tags)
    if better and present != number:
        ask(lambda: client.set_registered_model_alias(name, CHAMPION, str(number)))
    uri = f"models:/{name}{f'@{CHAMPION}' if better else f'/{number}'}"
    return Version(name, number, model_id, uri, better, why)


def compare(champion: int, theirs: Mapping[str, str], ours: Mapping[str, str]) -> tuple[bool, str]:
    """Whether a version beats the champion, by the tags of both; and why, a sentence's part."""
    named = f"version {champion}"
    scored = {tag: (ours.get(tag), theirs.get(tag)) for tag in (Tag.CORPUS_DIGEST, Tag.SCORING)}
    if None in scored[Tag.CORPUS_DIGEST]:
        return False, f"not compared with {named}: what one of them was scored on is not known"
    # classifiers are scored on all sequences of their data
    if any(own != other for own, other in scored.values()):
        return False, f"not compared with {named}: that was scored on other data or targets"
    try:
        own, other = float(ours[Tag.MODEL_LOSS]), float(theirs[Tag.MODEL_LOSS])
    except (KeyError, ValueError):
        raise BadRunError(
            f"{named}: tag {Tag.MODEL_LOSS} is {shown(theirs.get(Tag.MODEL_LOSS))}: expected a loss"
        ) from None
    is_better = own < other
    word = "below" if is_better else "not below"
    return is_better, f"its loss {own:.4f} is {word} {other:.4f} of {named}"


@dataclass(frozen=True)
class Freed(Document):
    """What was deleted, or would be."""

    runs: int = 0
    #: of files
    bytes: int = 0
    #: runs that a tracking server has only marked as deleted
    marked: int = 0
    #: versions of registered models that stay, and have the files of their model
    kept: tuple[str, ...] = ()

    def __add__(self, other: Freed) -> Freed:
        pairs = [(getattr(self, one.name), getattr(other, one.name)) for one in fields(Freed)]
        return Freed(*(one + another for one, another in pairs))


def delete(store: MlflowStore, run_id: str, *, dry_run: bool = False) -> Freed:
    """Delete a run for good, with its files and its logged models; those with versions stay.

    MLflow's own `delete_run` only marks a run, and leaves its files. A tracking server offers no
    request for more, so there runs are marked, and their files are deleted. It may be repeated if
    it breaks off: the run is deleted last. Nothing is if a `BadRunError` says that its files are
    not where its experiment has them.
    """
    place = store.ask(partial(store.experiment.place_of, run_id))
    models, kept = _models(store, run_id)
    freed, marked = 0, 0
    for kind, name, at in [*models, ("run", run_id, place)]:
        files = store.ask(partial(store.files_at, at))
        freed += store.ask(partial(size_of, files))
        if not dry_run:
            store.ask(partial(_delete_files, files, experiment.folder_of(at)))
            for_good = getattr(store.client._tracking_client.store, f"_hard_delete_{kind}", None)
            store.ask(partial(for_good or getattr(store.client, f"delete_{kind}"), name))
            marked = int(for_good is None)
    return Freed(1, freed, marked, kept)


def _models(store: MlflowStore, run_id: str) -> tuple[list[tuple[str, str, str]], tuple[str, ...]]:
    """The logged models of a run that have no versions, as `delete` takes them; all versions."""
    free, kept = list[tuple[str, str, str]](), list[str]()
    for model in logged_models(store, run_id):
        model_id, versions = str(model.model_id), list[Any]()
        place = store.ask(partial(store.experiment.place_of_model, model))
        for source in (place, f"models:/{model_id}"):
            search = partial(store.client.search_model_versions, f"source_path = {quoted(source)}")
            versions += store.ask(search)
        kept += [f"version {one.version} of {one.name}" for one in versions]
        if not versions:
            free.append(("logged_model", model_id, place))
    return free, tuple(kept)


def _delete_files(files: Any, folder: Path | None) -> None:
    if folder is None:
        files.delete_artifacts()
    elif folder.exists():
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()  # that of the run or the model, if it has nothing else
