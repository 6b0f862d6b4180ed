"""All that a worker needs to train a network of ours: imported once, before it is forked."""

from models import backend, training

__all__ = ["training"]

if backend.is_tensorflow():
    from models import fast_optimizer, stack

    __all__ += ["fast_optimizer", "stack"]
