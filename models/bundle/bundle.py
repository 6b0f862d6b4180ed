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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import InputError, cut, resolved, shown, why_not
from lstm_sweep.models.network.checkpoint import WEIGHTS
from lstm_sweep.models.normality import Calibration
from lstm_sweep.models.size import parameters

if TYPE_CHECKING:
    from lstm_sweep.models.cpu.program_types import Float32s, Networks, Program


MODEL, SAVED_MODEL = "model.keras", "saved_model"
CONFIG, ALPHABET, METRICS = "config.json", "alphabet.json", "metrics.json"
#: what normal sessions are like, of an alphabet with ends
CALIBRATION = "calibration.json"
#: largest size of a JSON file, and bytes of a weight on disk
JSON_BYTES, WEIGHT_BYTES = 1 << 26, 4


@dataclass(frozen=True)
class Bundle:
    """Content of a bundle except for the network."""

    trial: str
    config: TrialConfig
    alphabet: Alphabet
    metrics: dict[str, Any]
    calibration: Calibration | None = None


@dataclass(frozen=True)
class TemplateBundle:
    """Content of the bundle of a template except for the network, which predicts no symbols."""

    trial: str
    #: the template's hyperparameters, by their labels
    config: dict[str, Any]
    metrics: dict[str, Any]


def write(model: Any, bundle: Bundle, folder: Path, format: str) -> None:
    """Write a network and all files of its bundle to `folder`; `format` as of `export`.

    `model` maps `<int32>[batch, sequence_length]` to logits `<float32>[batch, alphabet]`.
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
    (folder / "README.md").write_text(_readme(bundle, format), encoding="utf-8")


def read(given: str) -> tuple[Path, Bundle]:
    """Read a bundle without its network; return its folder, too.

    Raises:
        InputError: there is no bundle, it is damaged, or it is that of a template.
    """
    folder, bundle = read_any(given)
    if isinstance(bundle, TemplateBundle):
        raise InputError(
            f"bundle {shown(given)}: it has no {ALPHABET}, as that of a template, expected a "
            f"network that predicts symbols"
        )
    return folder, bundle


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
        config = TrialConfig.from_dict(fields)
        alphabet = Alphabet.from_dict(_read_json(folder / ALPHABET))
        metrics = _read_json(folder / METRICS)
        check_size(folder / MODEL, config, len(alphabet))
        calibration = _calibration(folder / CALIBRATION, alphabet)
    trial = str(metrics.get("trial", ""))
    return folder, Bundle(trial, config, alphabet, metrics, calibration)


def _calibration(file: Path, alphabet: Alphabet) -> Calibration | None:
    if not alphabet.ends or not file.exists():
        return None
    try:
        return Calibration.from_dict(_read_json(file), len(alphabet))
    except InputError as error:
        raise InputError(f"{file.name}: {error}") from None


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


def check_size(file: Path, config: TrialConfig, alphabet_size: int) -> None:
    """Refuse a file that is too small for the weights of the network that a config describes."""
    needed = WEIGHT_BYTES * parameters(config, alphabet_size)
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
        values = json.loads(content, object_pairs_hook=_named_once)
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
    """Refuse weights that take more room in memory than in their file."""
    import h5py

    def check(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.nbytes > item.id.get_storage_size():
            raise ValueError(f"{name} of {WEIGHTS} is not stored in full")

    with zipfile.ZipFile(file) as archive:
        if archive.getinfo(WEIGHTS).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{WEIGHTS} is compressed")
        with archive.open(WEIGHTS) as stream, h5py.File(stream, "r") as weights:
            weights.visititems(check)


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shown(twice)} occurs twice")
    return named


def predictor(folder: Path, bundle: Bundle) -> Program:
    """Load the network of a bundle; all calls with windows should have the same number of rows."""
    from lstm_sweep.models import backend
    from lstm_sweep.models.network.program import program_of

    backend.run_operations_alone()
    networks = networks_of(folder / MODEL, bundle.config, len(bundle.alphabet))
    return program_of(networks, bundle.config, seed=0)


def weights_of(folder: Path, bundle: Bundle) -> list[Float32s]:
    """The weights of the network of a bundle in Keras's order, without Keras.

    Raises:
        InputError: its file has no weights of such a network.
    """
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


def networks_of(file: Path, config: TrialConfig, alphabet_size: int) -> Networks:
    """Networks with the weights of a file.

    They are built from the config, and of the file only weights are read: nothing in it can name
    code.

    Raises:
        InputError: the file has no weights of such a network.
    """
    from lstm_sweep.models.network import lstm

    # nothing is trained, so there are no averages beside the weights
    networks = lstm.build(config.evolve(averaging="off"), alphabet_size)
    try:
        _check_weights(file)
        networks.scored.load_weights(file)
    except Exception as error:
        raise _no_weights(file, error) from None
    _check_finite(file, networks.scored.get_weights())
    return networks


def write_json(file: Path, content: Any) -> None:
    file.write_text(json_text(content, indent=2) + "\n", encoding="utf-8")


def example_past(alphabet: Alphabet) -> str:
    """A few symbols as an example of a past, as Python has them."""
    symbols = alphabet.symbols
    middle = symbols[len(symbols) // 3 : len(symbols) // 3 + 3]
    return repr("".join(map(str, middle))) if alphabet.is_text else str([*middle])


def _readme(bundle: Bundle, format: str) -> str:
    length, past = bundle.config.sequence_length, example_past(bundle.alphabet)
    end = "; code 2, `<end>`, comes after the last symbol of a session"
    end = end if bundle.alphabet.ends else ""
    extra = (
        "\n`saved_model/` is the same network as a TensorFlow SavedModel: "
        '`tf.saved_model.load("saved_model").serve(windows)`.\n'
    )
    extra = extra if format == "savedmodel" else ""
    return f"""# The model of trial {bundle.trial}

Predicts the next symbol from the {length} symbols before it.
Validation loss {bundle.metrics["val_loss"]:.4f}, test loss {bundle.metrics["test_loss"]:.4f} nats \
per symbol.

- `model.keras`: the network. Input: codes, `int32 [batch, {length}]`. Output: logits, \
`float32 [batch, {len(bundle.alphabet)}]`.
- `alphabet.json`: symbols in order of their codes, after the reserved ones. Code 0, `<start>`, \
fills a window whose past is shorter; code 1, `<unk>`, stands for symbols unknown in training{end}.
- `config.json`: how it was built and trained. `metrics.json`: how good it is.
{extra}
It needs Keras alone. Run this in this folder:

```python
import json, keras, numpy as np
model = keras.models.load_model("model.keras", safe_mode=True)
alphabet = json.load(open("alphabet.json", encoding="utf-8"))
symbols = alphabet["reserved"] + alphabet["symbols"]
past = {past}
window = [symbols.index(s) if s in symbols else 1 for s in past][-{length}:]
window = [0] * ({length} - len(window)) + window
logits = model.predict(np.array([window], "int32"), verbose=0)[0]
chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
for code in chances.argsort()[::-1][:5]: print(repr(symbols[code]), round(float(chances[code]), 4))
```
{CARRIED_README if bundle.config.carried else ""}"""


#: source of a function that takes the next symbol of each row, as a code, and the state of `model`
#: after the symbols before it, None at the head of a session
STEP = """\
cells = [layer.cell for layer in model.layers if isinstance(layer, keras.layers.LSTM)]
embedding = next((l for l in model.layers if isinstance(l, keras.layers.Embedding)), None)
def step(codes, states=None):
    states = states or [cell.get_initial_state(len(codes)) for cell in cells]
    codes = np.asarray(codes, "int32")
    x = embedding(codes) if embedding else keras.ops.one_hot(codes, model.output_shape[-1])
    after = []
    for cell, state in zip(cells, states):
        x, state = cell(x, state)
        after.append(state)
    return model.get_layer("logits")(x), after
"""


#: of a network whose state is carried; its program goes on where that for windows ends
CARRIED_README = f"""
That is what a window says: it is read from a state of zero, and what was before it is not known.
This network was trained and scored with its state carried from symbol to symbol, through a session
from its head. So go on with:

```python
{STEP}
logits, states = step([0])  # `<start>`: the head of a session
for symbol in past:
    logits, states = step([symbols.index(symbol) if symbol in symbols else 1], states)
chances = np.asarray(keras.ops.softmax(logits[0]))
for code in chances.argsort()[::-1][:5]: print(repr(symbols[code]), round(float(chances[code]), 4))
```
"""


TEMPLATE_README = """# The model of trial {trial}

The template returned it with loss {loss:.4f}.

- `model.keras`: the network.
- `config.json`: the template's hyperparameters, `argument:line`. `metrics.json`: how good it is.

It needs Keras alone, and your own layers if it has some. Run this in this folder:

```python
import keras
model = keras.models.load_model("model.keras", safe_mode=True)
model.summary()
```
"""


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
    text = TEMPLATE_README.format(**metrics)
    (folder / "README.md").write_text(text, encoding="utf-8")
