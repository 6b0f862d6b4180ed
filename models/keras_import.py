"""Imports Keras without optional packages that neither training nor scoring uses.

Keras and TensorFlow import some large packages if they are installed, for wrappers, plots and
conversions. Without them the import takes about 0.6 of the time, and workers need less memory. The
packages can still be imported later, but Keras's features that need them are missing. So templates,
which may use any feature, are run with a full import of Keras.
"""

from __future__ import annotations

import importlib
import sys

UNUSED = ("jax", "matplotlib", "pandas", "sklearn")

_hidden = [name for name in UNUSED if name not in sys.modules]
for _name in _hidden:
    sys.modules[_name] = None  # type: ignore[assignment]  # importing it now raises ImportError
try:
    importlib.import_module("keras")
except ImportError:  # one of them is the backend, such as jax: import again with all
    for _name in [name for name in sys.modules if name.partition(".")[0] == "keras"]:
        del sys.modules[_name]
finally:
    for _name in _hidden:
        del sys.modules[_name]

import keras  # noqa: E402

__all__ = ["keras"]
