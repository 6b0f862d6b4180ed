"""Two inputs and two targets, three splits, and a validation split that `fit` makes itself."""

import keras
import numpy as np
from keras import layers


def data():
    rng = np.random.default_rng(4)
    series = rng.normal(size=(360, 5, 2)).astype("float32")
    facts = rng.normal(size=(360, 3)).astype("float32")
    total = series.sum((1, 2)) + facts[:, 0]
    sign = (total > 0).astype("float32")
    train = {'series': series[:300], 'facts': facts[:300]}
    test = {'series': series[300:], 'facts': facts[300:]}
    return train, (total[:300], sign[:300]), test, (total[300:], sign[300:])


def create_model(train, train_targets, test, test_targets):
    series = keras.Input((5, 2), name='series')
    facts = keras.Input((3,), name='facts')
    read = layers.GRU({{choice([4, 8])}})(series)
    both = layers.Concatenate()([read, facts])
    both = layers.Dense({{uniformint(6, 12)}}, activation={{choice(['relu', 'elu'])}})(both)
    outputs = [layers.Dense(1, name='total')(both),
               layers.Dense(1, activation='sigmoid', name='sign')(both)]
    model = keras.Model([series, facts], outputs)
    model.compile('adam', ['mse', 'binary_crossentropy'],
                  loss_weights=[{{uniform(0.1, 1)}}, 1])
    stopping = keras.callbacks.EarlyStopping(patience=1)
    model.fit(train, list(train_targets), validation_split=0.2, epochs=3, callbacks=stopping,
              verbose=0)
    loss = model.evaluate(test, list(test_targets), verbose=0)[0]
    return {'loss': loss, 'status': 'ok', 'model': model}
