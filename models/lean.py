"""Keras as networks of ours need it: imported without what neither training nor scoring uses.

Keras and TensorFlow import some large packages as soon as they find them, for wrappers, plots and
conversions. Without those the import takes about 0.6 of the time, and workers are smaller. They can
be imported afterwards; but those parts of Keras that looked for them do without, so a template,
which may use anything, is run with all of Keras.
"""

from __future__ import annotations

import importlib
import sys

UNUSED = ("jax", "matplotlib", "pandas", "sklearn")

_hidden = [name for name in UNUSED if name not in sys.modules]
for _name in _hidden:
    sys.modules[_name] = None  # type: ignore[assignment]  # as if it were not installed
try:
    importlib.import_module("keras")
except ImportError:  # one of them is the backend: from the beginning, with all of them
    for _name in [name for name in sys.modules if name.partition(".")[0] == "keras"]:
        del sys.modules[_name]
finally:
    for _name in _hidden:
        del sys.modules[_name]

import keras  # noqa: E402

__all__ = ["keras"]
