"""How a bundle whose state is carried is used with plain Keras: one step a symbol."""

from __future__ import annotations

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


def readme() -> str:
    """Text of a bundle's README; its program goes on where that for windows ends."""
    return f"""
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
