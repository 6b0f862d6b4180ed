# coding: utf-8
"""A notebook, exported; the best weights are kept in a file and loaded again."""

# In[1]:

import numpy as np
from hyperas.distributions import choice, uniform
from hyperopt import STATUS_OK
from keras.callbacks import EarlyStopping, ModelCheckpoint
from keras.layers import Dense, Dropout, Input
from keras.models import Sequential, load_model
from keras.optimizers import SGD

get_ipython().run_line_magic('matplotlib', 'inline')

# In[2]:

def data():
    rng = np.random.default_rng(10)
    x = rng.normal(size=(400, 5))
    y = x @ np.arange(5.0) + rng.normal(0, 0.1, 400)
    x_train, x_test, y_train, y_test = x[:300], x[300:], y[:300], y[300:]
    return x_train, x_test, y_train, y_test

# In[3]:

def create_model(x_train, x_test, y_train, y_test):
    filepath = 'weights.best.keras'
    model = Sequential([Input((5,)), Dense({{choice([8, 16])}}, activation='relu')])
    model.add(Dropout({{uniform(0, 0.3)}}))
    model.add(Dense(1))
    model.compile(SGD(learning_rate={{choice([1e-3, 1e-2])}}, decay=1e-6), 'mse')
    checkpoint = ModelCheckpoint(filepath, monitor='val_loss', save_best_only=True)
    result = model.fit(x_train, y_train, epochs=3, verbose=0, validation_data=(x_test, y_test),
                       callbacks=[checkpoint, EarlyStopping(patience=5)])
    model.load_weights(filepath)
    loss = load_model(filepath).evaluate(x_test, y_test, verbose=0)
    assert np.isclose(loss, min(result.history['val_loss']), rtol=1e-3)
    return {'loss': loss, 'status': STATUS_OK, 'model': model}
