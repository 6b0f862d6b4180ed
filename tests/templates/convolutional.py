"""Convolutions that find the direction of a bar in a small picture; the search follows at once."""

import numpy as np
from hyperas import optim
from hyperas.distributions import choice, uniform
from hyperopt import STATUS_OK, Trials, tpe
from keras import layers, models, optimizers


def data():
    rng = np.random.default_rng(1)
    x = rng.normal(0, 0.3, (400, 10, 10, 1)).astype("float32")
    y = rng.integers(0, 2, 400)
    for picture, upright, at in zip(x, y, rng.integers(0, 10, 400)):
        if upright:
            picture[:, at] += 1
        else:
            picture[at] += 1
    return x[:300], y[:300], x[300:], y[300:]


def create_model(pictures, classes, others, other_classes):
    model = models.Sequential()
    model.add(layers.Input((10, 10, 1)))
    model.add(layers.Conv2D({{choice([4, 8])}}, kernel_size={{choice([3, 5])}}, activation='relu'))
    model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dense({{quniform(8, 24, 8)}}, activation='relu'))
    model.add(layers.Dense(2, activation='softmax'))
    rate = 10 ** {{uniform(-3, -1.5)}}
    model.compile(optimizers.Adam(learning_rate=rate), 'sparse_categorical_crossentropy')
    history = model.fit(pictures, classes, batch_size=50, epochs=2, verbose=0,
                        validation_data=(others, other_classes))
    return {'loss': min(history.history['val_loss']), 'status': STATUS_OK, 'model': model}


best_run, best_model = optim.minimize(model=create_model, data=data, algo=tpe.suggest,
                                      max_evals=10, trials=Trials())
pictures, classes, others, other_classes = data()
print(best_model.evaluate(others, other_classes))
