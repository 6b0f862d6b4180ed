"""A recurrent network with a layer of one's own, and data that come by name."""

import keras
import numpy as np
from keras import layers, ops


@keras.saving.register_keras_serializable()
class Mean(layers.Layer):
    """Mean over time."""

    def call(self, inputs):
        return ops.mean(inputs, axis=1)


def data():
    x = np.random.default_rng(7).normal(size=(300, 6, 1)).astype("float32")
    return {'x': x, 'y': x[:, 0, 0]}


def create_model(x, y):
    model = keras.Sequential([
        keras.Input((6, 1)),
        layers.LSTM({{randint(4, 9)}}, return_sequences=True, dropout={{quniform(0, 0.4, 0.1)}}),
        {{choice([Mean(), layers.GlobalMaxPooling1D(), layers.Flatten()])}},
        layers.Dense(1),
    ])
    model.compile(keras.optimizers.Adam({{choice([1e-3, 1e-2, 1e-1])}}), 'mse')
    fitted = model.fit(x, y, epochs=2, verbose=0, validation_split=0.2)
    return {'loss': fitted.history['val_loss'][-1], 'model': model}
