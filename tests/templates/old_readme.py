"""The idioms of hyperas's first README: `conditional`, and names of `data` that it does not return."""

from __future__ import print_function

from hyperas import optim
from hyperas.distributions import choice, conditional, uniform
from hyperopt import STATUS_OK, Trials, tpe
from keras.layers import Activation, Dense, Dropout
from keras.models import Sequential


def data():
    '''
    Spots of three kinds.
    '''
    import numpy as np
    from keras.utils import to_categorical

    nb_classes = 3
    rng = np.random.default_rng(8)
    kind = rng.integers(0, nb_classes, 400)
    X = rng.normal(size=(400, 2)) + 2 * np.stack([kind == 1, kind == 2], axis=1)
    y = to_categorical(kind, nb_classes)
    X_train, X_test, Y_train, Y_test = X[:300], X[300:], y[:300], y[300:]
    return X_train, Y_train, X_test, Y_test


def model(X_train, Y_train, X_test, Y_test):
    model = Sequential()
    model.add(Dense(16, input_shape=(2,)))
    model.add(Activation({{choice(['relu', 'sigmoid', 'relu'])}}))
    model.add(Dropout({{uniform(0.5, 0)}}))
    if conditional({{choice(['three', 'four'])}}) == 'four':
        model.add(Dense(8))
        model.add({{choice([Dropout(0.5), Activation('linear')])}})
        model.add(Activation('relu'))
    model.add(Dense(nb_classes))
    model.add(Activation('softmax'))
    model.compile(loss='categorical_crossentropy', metrics=['accuracy'],
                  optimizer={{choice(['rmsprop', 'adam', 'sgd'])}})
    model.fit(X_train, Y_train, batch_size={{choice([32, 64])}}, epochs=2, verbose=2,
              validation_data=(X_test, Y_test))
    score, acc = model.evaluate(X_test, Y_test, verbose=0)
    print('Test accuracy:', np.round(acc, 3))
    return {'loss': -acc, 'status': STATUS_OK, 'model': model}


if __name__ == '__main__':
    best_run, best_model = optim.minimize(model=model,
                                          data=data,
                                          algo=tpe.suggest,
                                          max_evals=5,
                                          trials=Trials())
print(best_run)
