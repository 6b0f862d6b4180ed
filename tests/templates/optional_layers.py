"""Layers that are there or not, and one of several in a place; failures are said to be some."""

import numpy as np
from hyperas.distributions import choice, uniform
from hyperopt import STATUS_FAIL, STATUS_OK
from keras.layers import Activation, Dense, Dropout, Input
from keras.models import Sequential


def data():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 6)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype("int32")
    return x[:300], y[:300], x[300:], y[300:]


def create_model(x, y, x_new, y_new):
    if {{choice([True, False])}} and {{choice(['small', 'large'])}} == 'large':
        return {'status': STATUS_FAIL}
    model = Sequential()
    model.add(Input((6,)))
    model.add(Dense({{choice([8, 16])}}, activation='relu'))
    if {{choice(['two', 'three'])}} == 'three':
        model.add(Dense({{choice([4, 8])}}, activation='relu'))
        model.add({{choice([Dropout(0.2), Activation('linear')])}})
    model.add(Dense(1, activation='sigmoid'))
    model.compile('adam', 'binary_crossentropy')
    fitted = model.fit(x, y, epochs=2, verbose=0, validation_data=(x_new, y_new))
    return {'loss': fitted.history['val_loss'][-1], 'status': STATUS_OK, 'model': model}
