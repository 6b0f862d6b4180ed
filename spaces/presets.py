"""The declared spaces, `default` and `quick`.

Ranges follow Greff et al. (arXiv 1503.04069), who find the learning rate to matter most, and
Karpathy's char-rnn (2 or 3 layers, dropout, sizes by the amount of data).
"""

from __future__ import annotations

from pathlib import Path

from lstm_sweep.models.config import CLASS_LIMITS, POOLINGS, check_field
from lstm_sweep.models.errors import InputError, nearest, shown
from lstm_sweep.spaces import PRESET_NAMES
from lstm_sweep.spaces.dimension import BY_CORPUS, CLASS_BY_CORPUS, ByCorpus, Listed, Range
from lstm_sweep.spaces.space import ClassSpace, Space, from_file

DEFAULT = Space(
    {
        "direction": Listed("direction", ("uni", "bi")),
        "learning_rate": Listed("learning_rate", (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)),
        "dropout": Range("dropout", 0.0, 0.8),
        "layers": Listed("layers", (2, 3)),
        "layer_size": BY_CORPUS["layer_size"],
        "sequence_length": BY_CORPUS["sequence_length"],
        "batch_size": Listed("batch_size", (32, 64, 128, 256)),
    }
)

#: for a sweep of five minutes: small networks, few epochs, fewer training windows
QUICK = Space(
    {
        "direction": Listed("direction", ("uni", "bi")),
        "learning_rate": Listed("learning_rate", (1e-3, 1e-2, 1e-1)),
        "dropout": Listed("dropout", (0.0, 0.1, 0.2)),
        "layers": Listed("layers", (2, 3)),
        "layer_size": Listed("layer_size", (48, 64, 96)),
        "sequence_length": Listed("sequence_length", (20, 30, 40)),
        "batch_size": Listed("batch_size", (64, 128)),
        "stride": Listed("stride", (20,)),
        "epochs": Listed("epochs", (3,)),
    }
)

SPACES = dict(zip(PRESET_NAMES, (DEFAULT, QUICK), strict=True))

#: the same for networks that predict the class of a sequence
CLASSES = ClassSpace(
    {
        "direction": Listed("direction", ("uni", "bi")),
        "learning_rate": Listed("learning_rate", (1e-4, 1e-3, 1e-2, 1e-1)),
        "dropout": Range("dropout", 0.0, 0.7),
        "layers": Listed("layers", (1, 2)),
        "layer_size": Range("layer_size", 16, 256, step=16, log=True),
        "embedding_size": Listed("embedding_size", (16, 32, 64, 128)),
        "sequence_length": CLASS_BY_CORPUS["sequence_length"],
        "keep": CLASS_BY_CORPUS["keep"],
        "pooling": Listed("pooling", POOLINGS),
        "class_weights": Listed("class_weights", ("none", "sqrt")),
        "batch_size": Listed("batch_size", (16, 32, 64)),
    }
)
QUICK_CLASSES = CLASSES.replace(
    learning_rate=Listed("learning_rate", (1e-3, 1e-2, 1e-1)),
    dropout=Listed("dropout", (0.0, 0.2, 0.4)),
    layers=Listed("layers", (1,)),
    layer_size=Listed("layer_size", (16, 32, 64)),
    embedding_size=Listed("embedding_size", (16, 32)),
    class_weights=Listed("class_weights", ("none",)),
    epochs=Listed("epochs", (8,)),
)
CLASS_SPACES = dict(zip(PRESET_NAMES, (CLASSES, QUICK_CLASSES), strict=True))


def for_words(space: Space) -> Space:
    """The space of networks that predict the next word: a declared one has embeddings, too."""
    if not any(space is declared for declared in SPACES.values()):
        return space
    sizes = (32, 64) if space is QUICK else (32, 64, 128, 256)
    return space.replace(embedding_size=Listed("embedding_size", sizes))


def for_classes(space: Space) -> Space:
    """The space of networks that predict classes which is meant by a space.

    Raises:
        InputError: it has a field, or a value, that such networks do not have.
    """
    if isinstance(space, ClassSpace):
        return space
    for name, declared in SPACES.items():
        if space is declared:
            return CLASS_SPACES[name]
    for name, dimension in space.given.items():
        check_field(name, CLASS_LIMITS)
        for value in dimension.values() or (getattr(dimension, "low", 0), space.largest(name)):
            CLASS_LIMITS[name].check(name, value)
    return ClassSpace(
        {
            name: CLASS_BY_CORPUS[name] if isinstance(dimension, ByCorpus) else dimension
            for name, dimension in space.given.items()
        }
    )


def named(name_or_file: str, place: str = "space") -> Space:
    if name_or_file in SPACES:
        return SPACES[name_or_file]
    try:
        file = Path(name_or_file).expanduser()
        found, folder = file.is_file(), file.is_dir()
    except (OSError, RuntimeError, ValueError):
        found, folder = False, False
    if not found:
        hint = nearest(name_or_file, SPACES)
        raise InputError(
            f"{place} {shown(name_or_file)}: {'a folder' if folder else 'no such file'}, expected "
            f"a YAML file or a declared space ({', '.join(SPACES)}){f'; {hint}' if hint else ''}"
        )
    return from_file(file)
