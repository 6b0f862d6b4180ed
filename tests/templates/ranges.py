"""Options that are ranges, comprehensions and names; data whose order is not that of the arguments."""

import numpy as np
from hyperas import optim
from hyperas.distributions import choice, quniform
from hyperopt import STATUS_OK, Trials, tpe
from keras import Sequential
from keras.layers import LSTM, Dense, Input

NEURONS = [8, 16]
OPTIMIZERS = {'adam': 1, 'rmsprop': 2}


def series(n_steps=6):
    t = np.linspace(0, 60, 500)
    wave = np.sin(t) + np.random.default_rng(9).normal(0, 0.05, t.shape)
    x = np.lib.stride_tricks.sliding_window_view(wave[:-1], n_steps)[..., None]
    return x, wave[n_steps:]


def load_data():
    x, y = series()
    X_train, X_val, X_test = np.split(x, [300, 400])
    y_train, y_val, y_test = np.split(y, [300, 400])
    return X_train, X_val, X_test, y_train, y_val, y_test


def create_model(X_train, y_train, X_val, y_val):
    batches = [2 ** i for i in range(4, 6)]
    model = Sequential()
    model.add(Input(X_train.shape[1:]))
    for _ in range({{choice(range(2))}}):
        model.add(LSTM({{choice(NEURONS)}}, return_sequences=True))
    model.add(LSTM({{choice(np.arange(4, 8))}}, dropout={{choice(np.linspace(0, 0.5, 3))}}))
    model.add(Dense(1))
    model.compile(loss='mse', optimizer={{choice(list(OPTIMIZERS.keys()))}})
    hist = model.fit(X_train, y_train, epochs=1, batch_size={{choice(batches + [64])}}, verbose=0,
                     validation_data=(X_val, y_val)).history
    print(model.evaluate(X_test, y_test, verbose=0))
    return {'loss': np.amin(hist['val_loss']), 'status': STATUS_OK, 'model': model}


class Search:
    def run(self, evaluations=10):
        return optim.minimize(create_model, load_data, algo=tpe.suggest,
                              max_evals=evaluations, trials=Trials())


try:
    best_run, best_model = Search().run()
except KeyboardInterrupt:
    pass
