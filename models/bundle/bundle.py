"""Writes and reads bundles: folders with an exported model that works without this program.

Reading treats a bundle as untrusted: nothing in it can run code.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.bundle import readme
from lstm_sweep.models.config import ClassConfig, TrialConfig
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import InputError, cut, is_number, resolved, shown, why_not
from lstm_sweep.models.network.checkpoint import WEIGHTS
from lstm_sweep.models.normality import Calibration
from lstm_sweep.models.scoring import Floats, softmax
from lstm_sweep.models.size import parameters

if TYPE_CHECKING:
    from lstm_sweep.models.cpu.program_types import Float32s, Networks, Program


MODEL, SAVED_MODEL = "model.keras", "saved_model"
CONFIG, ALPHABET, METRICS = "config.json", "alphabet.json", "metrics.json"
#: what normal sessions are like, of an alphabet with ends; what a classifier tells apart
CALIBRATION, CLASSES = "calibration.json", "classes.json"
#: largest size of a JSON file, and bytes of a weight on disk
JSON_BYTES, WEIGHT_BYTES = 1 << 26, 4
#: numbers that a classifier says of validation sequences, at most, which a bundle keeps
MOST_NUMBERS = 1 << 20
#: trials whose networks are averaged, at most
MOST_AVERAGED = 10
#: limits of a temperature, and of a logit
TEMPERATURES, LARGEST_LOGIT = (0.01, 100), 1e6


@dataclass(frozen=True)
class Classes:
    """What a classifier tells apart, and what it says of validation sequences."""

    names: tuple[str, ...]
    #: logits are divided by it, so that probabilities are calibrated
    temperature: float
    #: `<float64>[sequences, classes]`, and the true class of each, `<int64>[sequences]`
    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    #: configs of the trials whose probabilities are averaged, by their IDs; none: there is one
    #: network
    averaged: Mapping[str, ClassConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count, sequences = len(self.names), len(self.labels)
        if count < 2 or len(set(self.names)) < count:
            raise InputError(f"names are {shown(list(self.names))}, expected 2 or more, each once")
        low, high = TEMPERATURES
        if not low <= self.temperature <= high:
            text = f"temperature is {shown(self.temperature)}, expected {low} to {high}"
            raise InputError(text)
        within = np.abs(self.logits) <= LARGEST_LOGIT
        if self.logits.shape != (sequences, count) or not within.all():
            raise InputError(
                f"logits are not {count} numbers up to {LARGEST_LOGIT:g} for each of {sequences:,}"
            )
        if not ((self.labels >= 0) & (self.labels < count)).all():
            raise InputError(f"labels are not all from 0 to {count - 1}, the numbers of the names")

    @property
    def count(self) -> int:
        return len(self.names)

    @property
    def probabilities(self) -> Floats:
        """Those of validation sequences, calibrated."""
        return self.calibrated(self.logits)

    def calibrated(self, logits: NDArray[np.floating]) -> Floats:
        return softmax(logits / self.temperature)

    @classmethod
    def of(cls, names: tuple[str, ...], temperature: float, logits: Any, labels: Any) -> Self:
        """From predictions of all validation sequences; of very many, of some that are drawn."""
        most = MOST_NUMBERS // len(names)
        if len(labels) > most:
            some = np.sort(np.random.default_rng(0).permutation(len(labels))[:most])
            logits, labels = logits[some], labels[some]
        return cls(names, temperature, np.asarray(logits, float), np.asarray(labels, np.int64))

    def to_dict(self) -> dict[str, Any]:
        logits = [[float(f"{logit:.6g}") for logit in row] for row in self.logits.tolist()]
        validation = {"labels": self.labels.tolist(), "logits": logits}
        averaged = {trial: config.to_dict() for trial, config in self.averaged.items()}
        return {
            "names": [*self.names], "temperature": self.temperature, "averaged": averaged,
            "validation": validation,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        names, validation = values.get("names"), values.get("validation")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"names are {shown(names)}, expected a list of texts")
        temperature: Any = values.get("temperature")
        if not is_number(temperature):
            raise InputError(f"temperature is {shown(temperature)}, expected a number")
        try:
            given: dict[str, Any] = dict(validation or {})
            labels = np.array(given["labels"], np.int64, ndmin=1)
            logits = np.array(given["logits"], np.float64).reshape(len(labels), -1)
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise InputError(f"validation: {cut(str(error))}, expected labels and logits") from None
        averaged = values.get("averaged", {})
        if not isinstance(averaged, dict) or len(averaged) > MOST_AVERAGED:
            raise InputError(
                f"averaged is {shown(averaged)}, expected configs of {MOST_AVERAGED} trials at most"
            )
        configs = {trial: ClassConfig.from_dict(config) for trial, config in averaged.items()}
        return cls(tuple(names), float(temperature), logits, labels, configs)


@dataclass(frozen=True)
class Bundle:
    """Content of a bundle except for the network."""

    trial: str
    config: TrialConfig
    alphabet: Alphabet
    metrics: dict[str, Any]
    #: sessions that `read_judging` reads
    calibration: Calibration | None = None
    #: of a classifier; None: it predicts symbols
    classes: Classes | None = None

    @property
    def network(self) -> tuple[Sequence[TrialConfig], int, int | None]:
        """Configs of what is averaged, or the one, and sizes of alphabet and classes, if any."""
        classes = self.classes
        configs = [*classes.averaged.values()] if classes else []
        return configs or [self.config], len(self.alphabet), classes.count if classes else None


@dataclass(frozen=True)
class TemplateBundle:
    """Content of the bundle of a template except for the network, which predicts no symbols."""

    trial: str
    #: the template's hyperparameters, by their labels
    config: dict[str, Any]
    metrics: dict[str, Any]


def write(model: Any, bundle: Bundle, folder: Path, format: str) -> None:
    """Write a network and all files of its bundle to `folder`; `format` as of `export`.

    `model` maps `<int32>[batch, sequence_length]` to logits `<float32>[batch, alphabet]`; that of a
    classifier symbols and their number in each row to logits `<float32>[batch, classes]`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / MODEL)
    if format == "savedmodel":
        model.export(folder / SAVED_MODEL, format="tf_saved_model", verbose=False)
    write_json(folder / ALPHABET, bundle.alphabet.to_dict())
    write_json(folder / CONFIG, bundle.config.to_dict())
    write_json(folder / METRICS, bundle.metrics)
    if bundle.calibration is not None:
        write_json(folder / CALIBRATION, bundle.calibration.to_dict())
    if bundle.classes is not None:
        (folder / CLASSES).write_text(json_text(bundle.classes.to_dict()) + "\n", encoding="utf-8")
    names = bundle.classes.names if bundle.classes else None
    text = readme.of_bundle(bundle.trial, bundle.config, bundle.alphabet, bundle.metrics, names)
    text += readme.SAVED if format == "savedmodel" else ""
    (folder / "README.md").write_text(text, encoding="utf-8")


def read(given: str) -> tuple[Path, Bundle]:
    """Read the bundle of a network that predicts symbols; return its folder, too."""
    folder, bundle = read_any(given)
    if isinstance(bundle, TemplateBundle):
        raise _of_template(given, "a network that predicts symbols")
    if bundle.classes is not None:
        raise InputError(
            f"bundle {shown(given)}: it is that of a classifier, which `classify` takes, expected "
            f"a network that predicts symbols"
        )
    return folder, bundle


def read_judging(given: str) -> tuple[Path, Bundle]:
    """As `read`, with the sessions of calibration, if there are some."""
    folder, bundle = read(given)
    if not bundle.alphabet.ends or not (folder / CALIBRATION).exists():
        return folder, bundle
    with _named(f"bundle {shown(given)}"):
        content = _read_json(folder / CALIBRATION)
        with _named(CALIBRATION):
            calibration = Calibration.from_dict(content, len(bundle.alphabet))
    return folder, replace(bundle, calibration=calibration)


def read_classifier(given: str) -> tuple[Path, Bundle, Classes]:
    folder, bundle = read_any(given)
    if isinstance(bundle, TemplateBundle):
        raise _of_template(given, "a classifier")
    if bundle.classes is None:
        raise InputError(
            f"bundle {shown(given)}: its network predicts symbols, which `generate`, `detect` and "
            f"`score` take, expected a classifier"
        )
    return folder, bundle, bundle.classes


def _of_template(given: str, expected: str) -> InputError:
    return InputError(
        f"bundle {shown(given)}: it has no {ALPHABET}, as that of a template, expected {expected}"
    )


def read_any(given: str) -> tuple[Path, Bundle | TemplateBundle]:
    """As `read`, also of the bundle of a template, which has a config but no alphabet."""
    folder = _folder(given)
    with _named(f"bundle {shown(given)}"):
        of_template = not (folder / ALPHABET).exists() and (folder / CONFIG).exists()
        fields = _read_json(folder / CONFIG)
        if of_template:
            metrics = _read_json(folder / METRICS)
            _stored_bytes(folder / MODEL)
            return folder, TemplateBundle(str(metrics.get("trial", "")), fields, metrics)
        kind = ClassConfig if "pooling" in fields else TrialConfig
        config = kind.from_dict(fields)
        alphabet = Alphabet.from_dict(_read_json(folder / ALPHABET))
        metrics = _read_json(folder / METRICS)
        classes = None
        if isinstance(config, ClassConfig):
            content = _read_json(folder / CLASSES)
            with _named(CLASSES):
                classes = Classes.from_dict(content)
                readings = {one.reading for one in (config, *classes.averaged.values())}
                if len(readings) > 1:
                    raise InputError(f"averaged reads {shown(sorted(readings))}, expected the same")
        trial = str(metrics.get("trial", ""))
        bundle = Bundle(trial, config, alphabet, metrics, classes=classes)
        check_size(folder / MODEL, *bundle.network)
    return folder, bundle


def _folder(given: str) -> Path:
    try:
        folder = resolved(given)
        found = "found " + ("a file" if given and folder.is_file() else "nothing")
        if given and folder.is_dir():
            return folder
    except (OSError, RuntimeError, ValueError) as error:
        found = why_not(error)
    raise InputError(f"bundle {shown(given)}: {cut(found)}, expected a folder written by `export`")


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except OSError as error:
        file = Path(error.filename or "").name
        raise InputError(f"{where}: {file}: {error.strerror}, expected a file to read") from None


def check_size(
    file: Path, configs: Sequence[TrialConfig], alphabet_size: int, classes: int | None = None
) -> None:
    """Refuse a file that is too small for the weights of the networks of configs."""
    needed = WEIGHT_BYTES * sum(parameters(one, alphabet_size, classes) for one in configs)
    size = _stored_bytes(file)
    if size < needed:
        raise InputError(
            f"{file.name} has {size:,} bytes, expected at least the {needed:,} of the network in "
            f"{CONFIG}"
        )


def _read_json(file: Path) -> dict[str, Any]:
    with _opened(file) as stream:
        content = stream.read(JSON_BYTES + 1)
    if len(content) > JSON_BYTES:
        raise InputError(f"{file.name} is over {JSON_BYTES:,} bytes, expected fewer")
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file.name}: {cut(str(error))}, expected JSON") from None
    if not isinstance(values, dict):
        raise InputError(f"{file.name} holds a {type(values).__name__}, expected an object")
    return values


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; pipes and devices are refused, since reading may wait for ever."""
    with open(
        file, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)
    ) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise InputError(f"{file.name} is a pipe or a device, expected a file")
        yield stream


def _stored_bytes(file: Path) -> int:
    """Bytes of a file without the holes of a sparse file."""
    at = total = 0
    with _opened(file) as stream, contextlib.suppress(OSError):  # a hole up to the end
        while True:
            at = os.lseek(stream.fileno(), at, os.SEEK_DATA)
            hole = os.lseek(stream.fileno(), at, os.SEEK_HOLE)
            total, at = total + hole - at, hole
    return total


def _check_weights(file: Path) -> None:
    """Refuse weights that lie in other files, or take more room in memory than in their file."""
    import h5py

    def check(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            elsewhere = item.external or item.is_virtual
            stored = item.nbytes <= item.id.get_storage_size()
        else:
            links = [item.get(one, getlink=True) for one in item]
            elsewhere, stored = not all(isinstance(one, h5py.HardLink) for one in links), True
        if elsewhere or not stored:
            why = "leads to other places" if elsewhere else "is not stored in full"
            raise ValueError(f"{name} of {WEIGHTS} {why}")

    with zipfile.ZipFile(file) as archive:
        if archive.getinfo(WEIGHTS).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{WEIGHTS} is compressed")
        with archive.open(WEIGHTS) as stream, h5py.File(stream, "r") as weights:
            check("/", weights)
            weights.visititems(check)


def predictor(folder: Path, bundle: Bundle) -> Program:
    """Load the network of a bundle; all calls with windows should have the same number of rows."""
    from lstm_sweep.models import backend
    from lstm_sweep.models.network.program import program_of

    backend.run_operations_alone()
    networks = networks_of(folder / MODEL, *bundle.network)
    return program_of(networks, bundle.config, seed=0)


def weights_of(folder: Path, bundle: Bundle) -> list[Float32s]:
    """The weights of the network of a bundle in Keras's order, without Keras."""
    import h5py

    file, config, alphabet = folder / MODEL, bundle.config, len(bundle.alphabet)
    units, both = config.layer_size, config.direction == "bi"
    wanted: list[tuple[str, tuple[int, ...]]] = []
    if features := config.embedding_size:
        wanted.append(("embedding/vars/0", (alphabet, features)))
    for number in range(config.layers):
        layer = f"{'bidirectional' if both else 'lstm'}{f'_{number}' if number else ''}"
        shapes = (features or alphabet, 4 * units), (units, 4 * units), (4 * units,)
        for part in ("/forward_layer", "/backward_layer") if both else ("",):
            wanted += [(f"{layer}{part}/cell/vars/{n}", shape) for n, shape in enumerate(shapes)]
        features = units * (1 + both)
    wanted += [("dense/vars/0", (features, alphabet)), ("dense/vars/1", (alphabet,))]
    try:
        _check_weights(file)
        with zipfile.ZipFile(file).open(WEIGHTS) as stream, h5py.File(stream, "r") as stored:
            found = [np.asarray(stored[f"layers/{name}"], np.float32) for name, _ in wanted]
    except Exception as error:
        raise _no_weights(file, error) from None
    for weight, (name, shape) in zip(found, wanted, strict=True):
        if weight.shape != shape:
            raise _no_weights(file, ValueError(f"{name} has the shape {weight.shape}"))
    _check_finite(file, found)
    return found


def _no_weights(file: Path, error: Exception) -> InputError:
    why = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{file}: {cut(why)}, expected the weights of the network in {CONFIG}")


def _check_finite(file: Path, weights: Sequence[NDArray[Any]]) -> None:
    if not all(np.isfinite(weight).all() for weight in weights):
        raise InputError(
            f"{file} has weights that are no finite numbers, expected those of a trained network"
        )


def networks_of(
    file: Path, configs: Sequence[TrialConfig], alphabet_size: int, classes: int | None = None
) -> Networks:
    """The networks of a config with the weights of a file; of several, of classes, their average.

    They are built from the config, and of the file only weights are read: nothing in it can name
    code.
    """
    from lstm_sweep.models.network import classifier, lstm

    # nothing is trained, so there are no averages beside the weights
    configs = [one.evolve(averaging="off") for one in configs]
    if classes is not None:
        members = [
            (classifier.build_classifier(one, alphabet_size, classes), one)
            for one in configs if isinstance(one, ClassConfig)
        ]  # fmt: skip
        networks = classifier.averaged(members)
    else:
        networks = lstm.build(configs[0], alphabet_size)
    try:
        _check_weights(file)
        networks.scored.load_weights(file)
    except Exception as error:
        raise _no_weights(file, error) from None
    _check_finite(file, networks.scored.get_weights())
    return networks


def write_json(file: Path, content: Any) -> None:
    file.write_text(json_text(content, indent=2) + "\n", encoding="utf-8")


def inputs_of(model: Any, file: Path) -> list[NDArray[Any]]:
    """Read training inputs that were kept in a file: an array for each input of the model."""
    with np.load(file, allow_pickle=False) as given:
        arrays = {name.removeprefix("in/"): rows for name, rows in given.items()}
    wanted = list(getattr(model, "inputs", None) or [])
    if len(wanted) != len(arrays):
        return list(arrays.values())
    in_order = all(name.isdecimal() for name in arrays)
    names = list(arrays) if in_order else [tensor.name for tensor in wanted]
    if not arrays.keys() >= set(names):  # the names of its layers are others
        return list(arrays.values())
    return [arrays[name].astype(tensor.dtype) for name, tensor in zip(names, wanted, strict=True)]


def write_template_bundle(
    model: Any | None,
    weights: Path,
    config: dict[str, Any],
    metrics: dict[str, Any],
    folder: Path,
    format: str,
) -> None:
    """Write the network of a template: its file, and with `savedmodel` a SavedModel, too."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, folder / MODEL)
    if format == "savedmodel" and model:
        model.export(folder / SAVED_MODEL, format="tf_saved_model", verbose=False)
    write_json(folder / CONFIG, config)
    write_json(folder / METRICS, metrics)
    text = readme.TEMPLATE.format(**metrics)
    (folder / "README.md").write_text(text, encoding="utf-8")
