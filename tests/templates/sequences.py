"""An LSTM that goes on with a wave; its learning rate can be found by a ladder."""

import numpy as np
from keras.layers import LSTM, Dense, Dropout, Input
from keras.models import Sequential
from keras.optimizers import RMSprop

STEPS = 12
UNITS = [8, 16]


def data():
    time = np.arange(500) / 5
    wave = np.sin(time) + 0.5 * np.sin(2.3 * time)
    windows = np.lib.stride_tricks.sliding_window_view(wave, STEPS + 1).astype("float32")
    x, y = windows[:, :-1, None], windows[:, -1]
    x_train, y_train, x_val, y_val = x[:400], y[:400], x[400:], y[400:]
    return x_train, y_train, x_val, y_val


def create_model(x_train, y_train, x_val, y_val):
    model = Sequential([
        Input((STEPS, 1)),
        LSTM({{choice(UNITS)}}),
        Dropout({{uniform(0, 0.3)}}),
        Dense(1),
    ])
    rate = {{loguniform(np.log(1e-4), np.log(1))}}
    model.compile(RMSprop(learning_rate=rate), 'mse')
    model.fit(x_train, y_train, epochs=3, batch_size=40, validation_data=(x_val, y_val), verbose=0)
    return {'loss': model.evaluate(x_val, y_val, verbose=0), 'status': 'ok', 'model': model}
