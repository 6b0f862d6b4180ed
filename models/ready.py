"""All that a worker needs to train a network of ours: imported once, before it is forked."""

from models import backend, training

# after those, since by itself it imports all of Keras
from models import foreign  # isort: skip

__all__ = ["foreign", "training"]

if backend.is_tensorflow():
    from models import looped

    __all__ += ["looped"]
