"""Functions of the file, one within another, and names of `data` that are used as they are."""

import functools

import numpy as np
from hyperas.distributions import choice, uniform
from keras import Input, Sequential
from keras.layers import Dense

FEATURES = 4


def noisy(rng, count):
    def line(x):
        return x @ np.arange(1.0, FEATURES + 1)

    x = rng.normal(size=(count, FEATURES))
    return x, line(x) + rng.normal(0, 0.1, count)


@functools.cache
def scale():
    return 2.0


def dense(units, *, activation='relu'):
    return Dense(int(units), activation=activation)


def data():
    rng = np.random.default_rng(3)
    X_train, Y_train = noisy(rng, 300)
    X_test, Y_test = noisy(rng, 100)
    return X_train, Y_train, X_test, Y_test


def create_model():
    model = Sequential([Input((FEATURES,)), dense({{quniform(4, 12, 4)}}), dense(1, activation=None)])
    model.compile(optimizer={{choice(['adam', 'rmsprop'])}}, loss='mse')
    model.fit(X_train, Y_train * scale(), epochs={{randint(1, 4)}}, verbose=0)
    return model.evaluate(X_test, Y_test * scale(), verbose=0)
