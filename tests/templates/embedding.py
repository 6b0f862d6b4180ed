"""Words through an embedding: whether a sequence names its first word again."""

import numpy as np
from hyperas.distributions import choice, uniform, pchoice
from hyperopt import STATUS_OK
from keras.layers import LSTM, Bidirectional, Dense, Embedding, GRU, Input, SpatialDropout1D
from keras.models import Sequential
from keras.utils import pad_sequences

WORDS = 20


def data():
    rng = np.random.default_rng(5)
    sequences = [rng.integers(1, WORDS, rng.integers(4, 10)) for _ in range(400)]
    again = np.array([one[0] in one[1:] for one in sequences], dtype="int32")
    padded = pad_sequences(sequences, maxlen=10, padding='post')
    return padded[:300], again[:300], padded[300:], again[300:]


def create_model(x_train, y_train, x_test, y_test):
    model = Sequential([Input((10,), dtype='int32')])
    model.add(Embedding(WORDS, output_dim={{choice([4, 8])}}))
    model.add(SpatialDropout1D({{uniform(0, 0.3)}}))
    layer = {{pchoice([(0.7, LSTM), (0.3, GRU)])}}
    if {{choice([True, False])}}:
        model.add(Bidirectional(layer(6)))
    else:
        model.add(layer(12))
    model.add(Dense(1, activation='sigmoid'))
    model.compile('adam', 'binary_crossentropy', metrics=['accuracy'])
    for _ in range(2):  # fit twice: epochs are counted through
        model.fit(x_train, y_train, epochs=1, verbose=0, validation_data=(x_test, y_test))
    return {'loss': model.evaluate(x_test, y_test, verbose=0)[0], 'status': STATUS_OK,
            'model': model}
