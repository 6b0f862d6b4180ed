from __future__ import annotations

import ast

import pytest

from spaces.removed import removed_names


@pytest.mark.parametrize(
    ("text", "name", "instead"),
    [
        ("from keras.utils import np_utils", "keras.utils.np_utils", "keras.utils"),
        ("import keras.utils.np_utils", "keras.utils.np_utils", "keras.utils"),
        ("from keras.layers.core import Dense", "keras.layers.core", "keras.layers"),
        ("from keras.layers.recurrent import LSTM", "keras.layers.recurrent", "keras.layers"),
        ("from tensorflow.keras.layers.core import Dense", "tensorflow.keras.layers.core",
         "keras.layers"),
        ("import keras\nkeras.utils.np_utils.to_categorical(y)", "keras.utils.np_utils",
         "keras.utils"),
        ("from keras import layers as l\nl.Merge()", "keras.layers.Merge", "Concatenate"),
        ("from keras.layers import Dense, CuDNNLSTM", "keras.layers.CuDNNLSTM",
         "keras.layers.LSTM"),
        ("from keras.preprocessing.text import Tokenizer", "keras.preprocessing.text",
         "TextVectorization"),
        ("m.fit(x, nb_epoch=3)", "nb_epoch= of fit", "epochs"),
        ("Adam(lr=0.1)", "lr= of Adam", "learning_rate"),
        ("keras.optimizers.SGD(0.1, decay=1e-6)", "decay= of SGD", "schedule"),
        ("Dense(output_dim=3)", "output_dim= of Dense", "units"),
        ("Dropout(p=0.1)", "p= of Dropout", "rate"),
        ("m.predict_classes(x)", "predict_classes()", "argmax"),
        ("m.fit(x).history['val_acc']", "'val_acc'", "'val_accuracy'"),
        ("m.fit_generator(g)", "fit_generator()", "fit"),
    ],
)  # fmt: skip
def test_a_removed_name_is_found(text: str, name: str, instead: str) -> None:
    [(line, found, other)] = list(removed_names(ast.parse(text)))
    assert (line, found) == (len(text.splitlines()), name)
    assert instead in other


@pytest.mark.parametrize(
    "text",
    [
        "from keras.layers import Dense, LSTM",
        "from keras.preprocessing.sequence import pad_sequences",
        "from tensorflow.keras.preprocessing.text import Tokenizer",
        "import tensorflow as tf\ntf.keras.layers.Dense(3)",
        "Embedding(10, output_dim=4, input_length=3)",
        "Adam(learning_rate=0.1)",
        "def Adam(lr):\n    pass\nAdam(lr=0.1)",  # the user's own
        "schedule(lr=0.1)",
        "m.compile(metrics=['acc'])\nm.fit(x).history['val_acc']",
        "forest.predict_proba(x)",
        "try:\n    from keras.utils import np_utils\nexcept ImportError:\n    np_utils = None",
    ],
)
def test_other_names_are_left_alone(text: str) -> None:
    assert list(removed_names(ast.parse(text))) == []
