"""The functional API, and a tuned optimizer; the functions have names of their own."""

import keras
import numpy as np
from hyperas import optim
from hyperas.distributions import choice, lognormal
from hyperopt import STATUS_OK, Trials, tpe


def load():
    rng = np.random.default_rng(6)
    x = rng.uniform(-1, 1, (400, 3)).astype("float32")
    y = np.sin(3 * x[:, 0]) + x[:, 1] ** 2
    return (x[:300], y[:300]), (x[300:], y[300:])


def regression(train, test):
    inputs = keras.Input((3,))
    hidden = inputs
    for size in {{choice([(8,), (8, 8), (16,)])}}:
        new = keras.layers.Dense(size, activation='tanh')(hidden)
        hidden = keras.layers.Concatenate()([hidden, new])
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    optimizer = {{choice([keras.optimizers.Adam, keras.optimizers.RMSprop])}}
    model.compile(optimizer(learning_rate={{lognormal(-5, 1)}}), 'mse')
    history = model.fit(*train, None, 3, 0, validation_data=test)
    return {'loss': history.history['val_loss'][-1], 'status': STATUS_OK, 'model': model}


def main():
    return optim.minimize(regression, load, algo=tpe.suggest, max_evals=3, trials=Trials())


main()
