"""A network as MLflow serves it: a file that works alone, with NumPy, Keras and MLflow.

MLflow keeps a copy of this file with each model that is logged, and calls `_load_pyfunc` of it. So
it imports nothing of this program.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int32]
Logits = NDArray[np.float64]
States = list[NDArray[np.float32]]
#: gives the logits of each session's next symbol, `[sessions, alphabet]`, and is sent the codes
#: that were drawn
Turns = Generator[Logits, Codes, None]

#: reserved codes, which no prediction names: `<start>` pads, `<unk>` is any other symbol
START, UNKNOWN, KNOWN = 0, 1, 2
#: code and name of the end of a session, if the network has learned it
END, END_NAME = 2, "<end>"
#: rows in one call of a network at most, and numbers in its one-hot vectors; a call has one row or
#: as many as that allows, since each number of rows is traced anew
ROWS, NUMBERS = 128, 1 << 24
#: limits of the parameters of a request, lowest and highest
LIMITS = {
    "top": (1, 1_000_000),
    "length": (0, 100_000),
    "temperature": (0, 100),
    "seed": (0, 2**63),
}
#: symbols that a request reads, draws and names, at most each, and the environment variable of the
#: server that says otherwise
MOST_SYMBOLS, MOST_SYMBOLS_VARIABLE = 100_000, "LSTM_SWEEP_MOST_SYMBOLS"
#: name of the column of a request that has the sessions, by what symbols are
TEXT = "text"
COLUMNS = {"chars": TEXT, "words": TEXT, "ids": "ids", "lines": "templates"}
#: values of parameters that a request leaves out
DEFAULTS = {"top": 5, "surprise": True, "length": 0, "temperature": 1.0, "seed": 0}


def _load_pyfunc(folder: str) -> NextSymbolModel | ClassModel | KerasModel:
    """The model in a folder: one that tells classes apart or predicts symbols, or any of Keras."""
    has_symbols, has_classes = (
        (Path(folder) / f"{name}.json").exists() for name in ("alphabet", "classes")
    )
    kind = ClassModel if has_classes else NextSymbolModel if has_symbols else KerasModel
    return kind(Path(folder))


def _network(folder: Path) -> Any:
    import keras

    return keras.models.load_model(folder / "model.keras", safe_mode=True)


class _Encoder:
    """Reads the sessions of requests as codes."""

    def __init__(self, folder: Path) -> None:
        alphabet = _json(folder / "alphabet.json")
        self._words = alphabet.get("words")
        #: what stands between two symbols of a text
        self._between = " " if self._words else ""
        self._symbol: type = int if alphabet["kind"] == "ids" else str
        #: name of the column of a request that has the sessions
        self._column = COLUMNS[alphabet["kind"]]
        self._symbols = [*alphabet["reserved"], *alphabet["symbols"]]
        self._ends = END_NAME in alphabet["reserved"]
        self._codes = {symbol: code for code, symbol in enumerate(self._symbols) if code >= KNOWN}

    def _given(self, model_input: Any) -> list[Any]:
        if hasattr(model_input, "columns"):
            if self._column not in model_input.columns:
                names = ", ".join(map(str, model_input.columns))
                _refuse(f"found columns {names}, expected '{self._column}'")
            return list(model_input[self._column])
        return [model_input] if isinstance(model_input, str) else list(model_input)

    def _encoded(self, session: Any) -> Codes:
        is_text = self._column == TEXT
        if is_text != isinstance(session, str):
            expected = "expected a text or a list of event ids or templates"
            _refuse(f"found {str(session)[:50]!r}, {expected}")
        symbols = session if is_text else [self._symbol(one) for one in session]
        if self._words:
            text = session.lower() if self._words["lower_case"] else session
            symbols = re.findall(self._words["pattern"], text)
        return np.array([self._codes.get(one, UNKNOWN) for one in symbols], np.int32)


class NextSymbolModel(_Encoder):
    """Says of sessions which symbol comes next, and how unexpected each of their symbols is."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        network = _network(folder)
        self._reader = StreamReader(network) if _is_carried(folder) else WindowReader(network)

    def predict(
        self, model_input: Any, params: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Predictions for each session: a row of a data frame with the column of `COLUMNS`.

        Where the network has learned it, the end of a session may come next, `<end>`, and a
        continuation may be shorter.

        Params, all optional: `top`, how many symbols are named; `surprise`, whether each symbol of
        the session is judged, too; `length`, symbols by which the session is continued, drawn with
        `temperature` and `seed`.

        Returns:
            For each session `next`, the likeliest symbols with their probabilities; `surprise`, the
            negative log-probability in nats of each symbol given those before it, and
            `end_surprise`, that of `<end>` after the last; `continuation`.
        """
        wanted, given = _checked(params or {}), self._given(model_input)
        top = min(wanted["top"], len(self._symbols))
        _check_most("its sessions have", sum(map(_length_of, given)))
        _check_most("its sessions are to be continued by", len(given) * wanted["length"])
        _check_most("it wants the likeliest", len(given) * top)
        sessions = [self._encoded(session) for session in given]
        found = [self._judged(codes, wanted) for codes in sessions]
        if wanted["length"]:
            rows = self._reader.rows
            for begin in range(0, len(sessions), rows):
                self._continue(sessions[begin : begin + rows], found[begin : begin + rows], wanted)
        return found

    def _continue(
        self, sessions: list[Codes], found: list[dict[str, Any]], wanted: Mapping[str, Any]
    ) -> None:
        rows = self._continued(sessions, wanted)
        for one, drawn in zip(found, zip(*rows, strict=True), strict=True):
            until = drawn.index(END) if self._ends and END in drawn else len(drawn)
            symbols = [self._symbols[code] for code in drawn[:until]]
            is_text = self._column == TEXT
            one["continuation"] = self._between.join(symbols) if is_text else symbols

    def _judged(self, codes: Codes, wanted: Mapping[str, Any]) -> dict[str, Any]:
        surprise = list[float]()
        for logits in self._reader.logits(codes, last_only=not wanted["surprise"]):
            logs = _log_softmax(logits)
            here = codes[len(surprise) : len(surprise) + len(logs)]
            surprise += (-logs[np.arange(len(here)), here]).tolist()
        last = logs[-1]
        best = np.argsort(-last[KNOWN:], kind="stable")[: wanted["top"]] + KNOWN
        found: dict[str, Any] = {
            "next": [
                {"symbol": self._symbols[code], "probability": float(np.exp(last[code]))}
                for code in best
            ]
        }
        if wanted["surprise"]:
            found["surprise"] = surprise
            if self._ends:
                found["end_surprise"] = float(-last[END])
        return found

    def _continued(self, sessions: list[Codes], wanted: Mapping[str, Any]) -> Iterator[list[int]]:
        """The next code of each session, symbol by symbol.

        Codes are drawn from the softmax of the logits divided by the temperature, by adding Gumbel
        noise; at 0 the likeliest is taken. It stops when all sessions have ended.
        """
        ended = np.zeros(len(sessions), bool)
        draws = [np.random.default_rng([wanted["seed"], 0x5A]) for _ in sessions]
        turns = self._reader.turns(sessions)
        scores = next(turns)
        for left in reversed(range(wanted["length"])):
            scores[:, :KNOWN] = -np.inf
            if wanted["temperature"] > 0:
                scores -= scores.max(axis=1, keepdims=True)
                with np.errstate(over="ignore"):  # to -inf, for very unlikely symbols
                    scores /= wanted["temperature"]
                scores += [draw.gumbel(size=len(self._symbols)) for draw in draws]
            drawn = scores.argmax(axis=1).astype(np.int32)
            yield drawn.tolist()
            ended |= self._ends & (drawn == END)
            if ended.all() or not left:
                return
            scores = turns.send(drawn)


class ClassModel(_Encoder):
    """Says of sequences which class each is of."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        config, classes = _json(folder / "config.json"), _json(folder / "classes.json")
        self._length, self._keep = int(config["sequence_length"]), config["keep"]
        self._names, self._temperature = classes["names"], float(classes["temperature"])
        self._network, self._alone = _network(folder), threading.Lock()

    def predict(self, model_input: Any) -> list[dict[str, Any]]:
        """The class of each sequence: a row of a data frame with the column of `COLUMNS`.

        Returns:
            For each sequence the likeliest `class`, its `probability`, and the `probabilities` of
            all classes by their names.
        """
        given = self._given(model_input)
        _check_most("its sequences have", sum(map(_length_of, given)))
        sequences = [kept(self._encoded(one), self._length, self._keep) for one in given]
        if not all(map(len, sequences)):
            _refuse("found a sequence without symbols, expected some in each")
        return [self._said(chances) for chances in self._probabilities(sequences)]

    def _said(self, chances: Logits) -> dict[str, Any]:
        best = int(chances.argmax())
        return {
            "class": self._names[best],
            "probability": float(chances[best]),
            "probabilities": dict(zip(self._names, chances.tolist(), strict=True)),
        }

    def _probabilities(self, sequences: Sequence[Codes]) -> Iterator[Logits]:
        """Probabilities of the classes, `[classes]`, of each; calls have one row, or as many."""
        rows = 1 if len(sequences) == 1 else ROWS
        for begin in range(0, len(sequences), rows):
            part = sequences[begin : begin + rows]
            codes, lengths = np.zeros((rows, self._length), np.int32), np.ones(rows, np.int32)
            for row, sequence in enumerate(part):
                codes[row, : len(sequence)], lengths[row] = sequence, len(sequence)
            with self._alone:
                logits = self._network.predict_on_batch([codes, lengths])
            tempered = np.asarray(logits, np.float64)[: len(part)] / self._temperature
            yield from np.exp(_log_softmax(tempered))


def kept(codes: Codes, length: int, keep: str) -> Codes:
    """The part of a sequence that a classifier reads, `length` symbols at most."""
    if len(codes) <= length:
        return codes
    tail = {"head": 0, "tail": length, "both": length // 2}[keep]
    return np.concatenate([codes[: length - tail], codes[len(codes) - tail :]])


class _Reader:
    """Calls a network with as many rows as its memory allows; requests of other threads wait."""

    def __init__(self, network: Any) -> None:
        self._network, self._length = network, int(network.input_shape[1])
        #: windows in one call, and sessions that are continued side by side, at most
        numbers = self._length * network.output_shape[-1]
        self.rows = max(1, min(ROWS, NUMBERS // int(numbers)))
        self._alone = threading.Lock()

    def _predicted(self, *arrays: NDArray[Any]) -> Iterator[list[NDArray[Any]]]:
        """Outputs for the rows of arrays, call by call; calls are filled up with zeros."""
        count = len(arrays[0])
        most = 1 if count == 1 else self.rows
        for begin in range(0, count, most):
            rows = min(most, count - begin)
            fill = ((0, most - rows), (0, 0))
            parts = [np.pad(array[begin : begin + rows], fill) for array in arrays]
            with self._alone:
                made = self._network.predict_on_batch(parts if len(parts) > 1 else parts[0])
            outputs = made if isinstance(made, list) else [made]
            yield [np.asarray(one)[:rows] for one in outputs]


class WindowReader(_Reader):
    """Reads what is before a symbol as a window, which `<start>` fills up in front."""

    def logits(self, codes: Codes, *, last_only: bool) -> Iterator[Logits]:
        """Logits before each symbol of a session and after the last, `[symbols + 1, alphabet]`.

        They come in blocks of a few rows. With `last_only` those after the last alone.
        """
        padded = np.concatenate([np.full(self._length, START, np.int32), codes])
        windows = np.lib.stride_tricks.sliding_window_view(padded, self._length)
        return self._after(windows[-1:] if last_only else windows)

    def turns(self, sessions: Sequence[Codes]) -> Turns:
        """Continue sessions side by side."""
        seen = np.full((len(sessions), self._length), START, np.int32)
        for row, codes in zip(seen, sessions, strict=True):
            if known := min(self._length, len(codes)):
                row[-known:] = codes[-known:]
        while True:
            drawn = yield np.concatenate(list(self._after(seen)))
            seen = np.concatenate([seen[:, 1:], drawn[:, None]], axis=1)

    def _after(self, windows: Codes) -> Iterator[Logits]:
        return (logits.astype(np.float64) for [logits] in self._predicted(windows))


class StreamReader(_Reader):
    """Reads each session from its head on, symbol by symbol: of a network that carries its state.

    Such a network has learned what follows one `<start>`, not what follows many.
    """

    def __init__(self, network: Any) -> None:
        super().__init__(network)
        self._network = _streamed(network)

    def logits(self, codes: Codes, *, last_only: bool) -> Iterator[Logits]:
        """As `WindowReader.logits`."""
        parts = (logits[0, : left[0]] for logits, left, _ in self._read([codes]))
        if last_only:
            [last] = deque(parts, 1)
            yield last[-1:]
        else:
            yield from parts

    def turns(self, sessions: Sequence[Codes]) -> Turns:
        """As `WindowReader.turns`."""
        last = np.empty((len(sessions), self._network.outputs[0].shape[-1]))
        states: States = []
        for logits, left, after in self._read(sessions):
            [here], states = np.nonzero(left), after
            last[here] = logits[here, left[here] - 1]
        while True:
            drawn = yield last
            logits, states = self._after(drawn[:, None], np.ones((len(drawn), 1), bool), states)
            last = logits[:, 0]

    def _read(self, sessions: Sequence[Codes]) -> Iterator[tuple[Logits, Codes, States]]:
        """Read sessions side by side, `<start>` first, in parts as long as a window.

        Yields:
            Logits after each step, `[sessions, steps, alphabet]`; how many steps of the part are
            within each session, `<int32>[sessions]`; and the states after these.
        """
        lengths = np.array([1 + len(codes) for codes in sessions])
        width = -(-lengths.max() // self._length) * self._length
        read = np.full((len(sessions), width), START, np.int32)
        for row, codes in zip(read, sessions, strict=True):
            row[1 : 1 + len(codes)] = codes
        inputs = self._network.inputs[2:]
        states: States = [np.zeros((len(read), one.shape[-1]), np.float32) for one in inputs]
        steps = np.arange(self._length)
        for begin in range(0, width, self._length):
            left = np.clip(lengths - begin, 0, self._length).astype(np.int32)
            part = read[:, begin : begin + self._length]
            logits, states = self._after(part, steps < left[:, None], states)
            yield logits, left, states

    def _after(
        self, codes: Codes, inside: NDArray[np.bool_], states: States
    ) -> tuple[Logits, States]:
        """Logits `[rows, steps, alphabet]` after each step, and the states after those `inside`."""
        found = self._predicted(codes, inside, *states)
        logits, *after = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return logits.astype(np.float64), after


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _is_carried(folder: Path) -> bool:
    """Whether the network was trained with its state carried from window to window."""
    file = folder / "config.json"
    config = _json(file) if file.exists() else {}
    return (config.get("state"), config.get("direction")) == ("carried", "uni")


def _streamed(network: Any) -> Any:
    """The layers of a network as one that reads any number of symbols and goes on from states.

    Its second input says which steps change the states.
    """
    import keras

    kinds = keras.layers
    lstms = [layer for layer in network.layers if isinstance(layer, kinds.LSTM)]
    embeddings = [layer for layer in network.layers if isinstance(layer, kinds.Embedding)]
    symbols, inside = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="bool")
    alphabet = network.output_shape[-1]
    features = embeddings[0](symbols) if embeddings else keras.ops.one_hot(symbols, alphabet)
    before, after = [], []
    for lstm in lstms:
        states = [keras.Input((lstm.units,)) for _ in ("output", "cell")]
        lstm.use_cudnn = False  # it reads no row of which no step is inside
        features, *new = lstm(features, initial_state=states, mask=inside)
        before += states
        after += new
    logits = network.get_layer("logits")(features)
    return keras.Model([symbols, inside, *before], [logits, *after])


def _log_softmax(logits: Logits) -> Logits:
    """Natural logarithms of probabilities, `[any, alphabet]`."""
    logs = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(logs - np.log(np.exp(logs).sum(axis=1, keepdims=True)))


class KerasModel:
    """Any Keras model: arrays in, arrays out."""

    def __init__(self, folder: Path) -> None:
        self._network = _network(folder)
        self._alone = threading.Lock()

    def predict(self, model_input: Any) -> Any:
        """Outputs for a batch: an array, or arrays by the names of the inputs.

        Returns:
            An array, or with several outputs arrays by their names `output_0`, `output_1`, ...
        """
        import keras

        if isinstance(model_input, Mapping):
            names = [tensor.name for tensor in self._network.inputs]
            model_input = [model_input[name] for name in names]
        with self._alone:
            made = keras.tree.flatten(self._network.predict_on_batch(model_input))
        arrays = [np.asarray(part) for part in made]
        if len(arrays) == 1:
            return arrays[0]
        return {f"output_{number}": array for number, array in enumerate(arrays)}


def _checked(params: Mapping[str, Any]) -> dict[str, Any]:
    wanted = DEFAULTS | dict(params)
    for name, (low, high) in LIMITS.items():
        if not low <= wanted[name] <= high:
            _refuse(f"{name} is {wanted[name]}, expected {low} to {high}")
    return wanted


def _length_of(session: Any) -> int:
    """Symbols that are read of a session; one if it has none."""
    return max(1, len(session) if hasattr(session, "__len__") else 0)


def _check_most(what: str, symbols: int) -> None:
    """Refuse a request that takes too long, and too much memory."""
    given = os.environ.get(MOST_SYMBOLS_VARIABLE, "")
    most = int(given) if given.isdecimal() else MOST_SYMBOLS
    if symbols > most:
        _refuse(
            f"the request is too large: {what} {symbols:,} symbols, expected at most {most:,} (the "
            f"server's {MOST_SYMBOLS_VARIABLE})"
        )


def _refuse(why: str) -> NoReturn:
    """Refuse a request; a server answers with status 400."""
    from mlflow.exceptions import MlflowException

    raise MlflowException.invalid_parameter_value(why)
