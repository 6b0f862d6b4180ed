"""Dense layers that tell which of two circles a point lies in, in the form of hyperas's users."""

import numpy as np
from hyperas import optim
from hyperas.distributions import choice, uniform
from hyperopt import STATUS_OK, Trials, tpe
from keras.layers import Activation, Dense, Dropout, Input
from keras.models import Sequential


def data():
    """Points on two circles, some noise added."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 600)
    inner = rng.integers(0, 2, 600)
    radius = np.where(inner, 0.5, 1.0) + rng.normal(0, 0.08, 600)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype("float32")
    x_train, y_train, x_test, y_test = x[:450], inner[:450], x[450:], inner[450:]
    return x_train, y_train, x_test, y_test


def create_model(x_train, y_train, x_test, y_test):
    model = Sequential([Input((2,))])
    model.add(Dense({{choice([8, 16, 32])}}))
    model.add(Activation({{choice(['relu', 'tanh'])}}))
    model.add(Dropout({{uniform(0, 0.5)}}))
    model.add(Dense(1, activation='sigmoid'))
    model.compile(loss='binary_crossentropy', metrics=['accuracy'],
                  optimizer={{choice(['rmsprop', 'adam'])}})
    model.fit(x_train, y_train, batch_size={{choice([32, 64])}}, epochs=2, verbose=2,
              validation_data=(x_test, y_test))
    score, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print('accuracy', accuracy)
    return {'loss': -accuracy, 'status': STATUS_OK, 'model': model}


if __name__ == '__main__':
    best_run, best_model = optim.minimize(model=create_model, data=data, algo=tpe.suggest,
                                          max_evals=5, trials=Trials())
    print(best_run)
