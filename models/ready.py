"""All that a worker needs to train a network of ours: imported once, before it is forked."""

from models import backend, training

__all__ = ["training"]

if backend.is_tensorflow():
    from models import looped

    __all__ += ["looped"]
