from __future__ import annotations

import ast

import pytest

from lstm_sweep.spaces.template.keras2_names import ignored, removed_names


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
         "tensorflow.keras.preprocessing.text"),
        ("from keras.preprocessing.image import ImageDataGenerator",
         "keras.preprocessing.image.ImageDataGenerator",
         "tensorflow.keras.preprocessing.image.ImageDataGenerator"),
        ("from keras import backend as K\nK.mean(x)", "keras.backend.mean",
         "tensorflow.keras.backend.mean"),
        ("import keras.backend as K\nK.set_session(s)", "keras.backend.set_session", "nothing"),
        ("from keras.constraints import maxnorm", "keras.constraints.maxnorm", "MaxNorm"),
        ("from keras.optimizers import adam", "keras.optimizers.adam", "keras.optimizers.Adam"),
        ("from keras.layers.convolutional_recurrent import ConvLSTM2D",
         "keras.layers.convolutional_recurrent", "keras.layers"),
        ("from keras.utils.training_utils import multi_gpu_model", "keras.utils.training_utils",
         "keras.distribution"),
        ("m.fit(x, nb_epoch=3)", "nb_epoch= of fit", "epochs"),
        ("Adam(lr=0.1)", "lr= of Adam", "learning_rate"),
        ("m.evaluate(x, y, show_accuracy=True)", "show_accuracy= of evaluate", "metrics="),
        ("m.compile('sgd', 'mse', class_mode='binary')", "class_mode= of compile", "nothing"),
        ("m.fit(g, workers=4)", "workers= of fit", "PyDataset"),
        ("m.fit(g, use_multiprocessing=True)", "use_multiprocessing= of fit", "which are threads"),
        ("Model(input=a, outputs=b)", "input= of Model", "inputs"),
        ("Convolution2D(32, 3, 5)", "Convolution2D(..., 3, 5)", "kernel_size=(3, 5)"),
        ("Conv2D(32, 3, 3)", "Conv2D(..., 3, 3)", "kernel_size=(3, 3)"),
        ("h = m.fit(x).history\nmax(h['val_acc'])", "'val_acc'", "'val_accuracy'"),
        ("EarlyStopping(monitor='val_acc')", "'val_acc'", "'val_accuracy'"),
        ("ModelCheckpoint('best.hdf5')", "'best.hdf5' as a file for ModelCheckpoint", ".keras"),
        ("path = 'w.hdf5'\nModelCheckpoint(filepath=path, save_weights_only=True)",
         "'w.hdf5' as a file for ModelCheckpoint", ".weights.h5"),
        ("m.save_weights('w.h5')", "'w.h5' as a file for save_weights", ".weights.h5"),
        ("m.optimizer.lr = 3", "lr of an optimizer", "learning_rate"),
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
        "from tensorflow.keras import backend as K\nK.mean(x)",
        "from keras import backend as K\nK.clear_session()",
        "from tensorflow.keras.preprocessing.image import ImageDataGenerator",
        "Conv2D(32, 3, 2)",
        "ModelCheckpoint('best.h5')\nm.load_weights('best.h5')\nm.save('m.h5')",
        "ModelCheckpoint('w.weights.h5', save_weights_only=True)",
        "ModelCheckpoint(path)",
        "scores = {}\nscores['acc']",
        "SGD(0.1, decay=1e-6)",
        "try:\n    from keras.utils import np_utils\nexcept ImportError:\n    np_utils = None",
    ],
)
def test_other_names_are_left_alone(text: str) -> None:
    assert list(removed_names(ast.parse(text))) == []


def test_what_keras_takes_and_ignores_is_no_error_but_named() -> None:
    [(line, name, instead)] = ignored(ast.parse("\nkeras.optimizers.SGD(0.1, decay=1e-6)"))
    assert (line, name) == (2, "decay= of SGD")
    assert "schedule" in instead
