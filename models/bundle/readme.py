"""The README of a bundle: what goes in and out, with a program that runs as it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lstm_sweep.models.config import ClassConfig, TrialConfig
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.errors import cut


def example_past(alphabet: Alphabet) -> str:
    """A few symbols as an example of a past, as Python has them."""
    symbols = alphabet.symbols
    middle = symbols[len(symbols) // 3 : len(symbols) // 3 + 3]
    return repr("".join(map(str, middle))) if alphabet.is_text else str([*middle])


SAVED = """
`saved_model/` is the same network as a TensorFlow SavedModel, with the same inputs: \
`tf.saved_model.load("saved_model").serve(inputs)`.
"""


def of_bundle(
    trial: str,
    config: TrialConfig,
    alphabet: Alphabet,
    metrics: Mapping[str, Any],
    classes: Sequence[str] | None,
) -> str:
    """The README of a network that predicts symbols or, with their names, classes."""
    loss = "Validation loss {val_loss:.4f}, test loss {test_loss:.4f} nats".format(**metrics)
    begin = f"# The model of trial {trial}\n\n"
    if isinstance(config, ClassConfig) and classes:
        loss += " per sequence"
        if averaged := metrics.get("averaged"):
            loss += f", by the mean of the probabilities of the networks of {', '.join(averaged)}"
        return begin + _of_classes(config, alphabet, classes, loss)
    return begin + _of_symbols(config, alphabet, loss)


def _of_symbols(config: TrialConfig, alphabet: Alphabet, loss: str) -> str:
    length, more = config.sequence_length, CARRIED if config.carried else ""
    end = "; code 2, `<end>`, comes after the last symbol of a session"
    end = end if alphabet.ends else ""
    return f"""Predicts the next symbol from the {length} symbols before it.
{loss} per symbol.

- `model.keras`: the network. Input: codes, `int32 [batch, {length}]`. Output: logits, \
`float32 [batch, {len(alphabet)}]`.
- `alphabet.json`: symbols in order of their codes, after the reserved ones. Code 0, `<start>`, \
fills a window whose past is shorter; code 1, `<unk>`, stands for symbols unknown in training\
{end}.{_words(alphabet)}
- `config.json`: how it was built and trained. `metrics.json`: how good it is.

It needs Keras alone. Run this in this folder:
{program_of(config, alphabet, KERAS, "model.predict(inputs, verbose=0)")}{more}"""


#: how a program for a README loads the network with Keras, and reads a window
KERAS = (
    "import json, keras, numpy as np\n"
    'model = keras.models.load_model("model.keras", safe_mode=True)'
)


def program_of(config: TrialConfig, alphabet: Alphabet, load: str, predict: str) -> str:
    """A program for a README: it prints what a network says of an example.

    `load` makes the network, and `predict` gives the logits of its `inputs`: codes of windows, or
    for classes a list of the codes of sequences and their lengths.
    """
    if isinstance(config, ClassConfig):
        return _class_program(config, alphabet, load, predict)
    length = config.sequence_length
    return f"""
```python
{load}
alphabet = json.load(open("alphabet.json", encoding="utf-8"))
symbols = alphabet["reserved"] + alphabet["symbols"]
past = {example_past(alphabet)}
window = [symbols.index(s) if s in symbols else 1 for s in past][-{length}:]
inputs = np.array([[0] * ({length} - len(window)) + window], "int32")
logits = {predict}[0]
chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
for code in chances.argsort()[::-1][:5]: print(repr(symbols[code]), round(float(chances[code]), 4))
```
"""


#: how the README of a classifier reads a sequence, as Python, in the words of `config.keep`
KEPT = {
    "head": "codes[:{length}]",
    "tail": "codes[-{length}:]",
    "both": "codes if len(codes) <= {length} else codes[:{head}] + codes[len(codes) - {tail}:]",
}


def _class_program(config: ClassConfig, alphabet: Alphabet, load: str, predict: str) -> str:
    length = config.sequence_length
    part = KEPT[config.keep].format(length=length, head=length - length // 2, tail=length // 2)
    return f"""
```python
{load}
alphabet, classes = (
    json.load(open(f"{{name}}.json", encoding="utf-8")) for name in ("alphabet", "classes")
)
symbols = alphabet["reserved"] + alphabet["symbols"]
sequence = {example_past(alphabet)}
codes = [symbols.index(s) if s in symbols else 1 for s in sequence]
codes = {part}
inputs = [np.array([codes], "int32"), np.array([len(codes)], "int32")]
logits = {predict}[0] / classes["temperature"]
chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
for name, chance in zip(classes["names"], chances): print(name, round(float(chance), 4))
```
"""


def _words(alphabet: Alphabet) -> str:
    """How a text is divided into words."""
    if not alphabet.words:
        return ""
    text = "text.lower()" if alphabet.words.lower_case else "text"
    return f' `re.findall(alphabet["words"]["pattern"], {text})` are the words of a text.'


def _of_classes(config: ClassConfig, alphabet: Alphabet, classes: Sequence[str], loss: str) -> str:
    program = program_of(config, alphabet, KERAS, "model.predict(inputs, verbose=0)")
    names = cut(", ".join(classes), 600)
    return f"""Says which of {len(classes)} classes a sequence is of: {names}.
{loss}.

- `model.keras`: the network. Inputs: codes of the symbols, `int32 [batch, time]`, padded on the \
right, and how many there are, `int32 [batch]`. Output: logits, \
`float32 [batch, {len(classes)}]`.
- `alphabet.json`: symbols in order of their codes, after the reserved ones. Code 1, `<unk>`, \
stands for symbols unknown in training.{_words(alphabet)}
- `classes.json`: the classes in order of the logits; the temperature by which logits are divided, \
so that probabilities are calibrated; and what the network says of validation sequences, from \
which `lstm-sweep classify` chooses thresholds.
- `config.json`: how it was built and trained. `metrics.json`: how good it is. For \
the best macro F1, say the class with the largest `gain` * probability - `cost` in its \
`macro_f1_decision`.

It needs Keras alone. Run this in this folder:
{program}"""


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
CARRIED = f"""
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


TEMPLATE = """# The model of trial {trial}

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
