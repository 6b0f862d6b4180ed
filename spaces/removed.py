"""Names of earlier versions of Keras that Keras 3 has no longer, and what to write instead.

They are found in a syntax tree, so that a file that needs an edit says so before it runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

#: modules and what is in them, below `keras`
NAMES: Mapping[str, str] = {
    "utils.np_utils": "keras.utils",
    "utils.generic_utils": "keras.utils",
    "utils.data_utils": "keras.utils",
    "utils.layer_utils": "keras.utils",
    "utils.io_utils": "keras.utils",
    "utils.vis_utils": "keras.utils.plot_model",
    "utils.multi_gpu_model": "keras.distribution",
    "layers.core": "keras.layers",
    "layers.recurrent": "keras.layers",
    "layers.convolutional": "keras.layers",
    "layers.pooling": "keras.layers",
    "layers.normalization": "keras.layers",
    "layers.embeddings": "keras.layers",
    "layers.noise": "keras.layers",
    "layers.wrappers": "keras.layers",
    "layers.advanced_activations": "keras.layers",
    "layers.local": "keras.layers.Conv1D or Conv2D",
    "layers.experimental": "keras.layers",
    "layers.merge": "keras.layers.Concatenate, Add or Multiply",
    "layers.Merge": "keras.layers.Concatenate, Add or Multiply",
    "layers.CuDNNLSTM": "keras.layers.LSTM",
    "layers.CuDNNGRU": "keras.layers.GRU",
    "layers.ThresholdedReLU": "keras.layers.ReLU(threshold=...)",
    "layers.LocallyConnected1D": "keras.layers.Conv1D",
    "layers.LocallyConnected2D": "keras.layers.Conv2D",
    "layers.TimeDistributedDense": "keras.layers.TimeDistributed(Dense(...))",
    "layers.MaxoutDense": "keras.layers.Dense",
    "layers.Highway": "keras.layers.Dense",
    "models.model_from_yaml": "keras.models.model_from_json",
    "models.Graph": "keras.Model",
    "engine": "keras",
    "objectives": "keras.losses",
    "backend.tensorflow_backend": "keras.ops",
    "wrappers.scikit_learn": "keras.wrappers.SKLearnClassifier or SKLearnRegressor",
    "preprocessing.text": "keras.layers.TextVectorization",
    "preprocessing.image.ImageDataGenerator": "keras.utils.image_dataset_from_directory",
}
#: of these, what TensorFlow's `tensorflow.keras` has still
KEPT = ("preprocessing.text", "preprocessing.image.ImageDataGenerator")

METHODS: Mapping[str, str] = {
    "predict_classes": "predict(...).argmax(axis=-1)",
    "fit_generator": "fit",
    "evaluate_generator": "evaluate",
    "predict_generator": "predict",
}

#: metrics by the names that they had in what `fit` returns
METRICS: Mapping[str, str] = {"acc": "accuracy", "val_acc": "val_accuracy"}

OPTIMIZERS = ("SGD", "RMSprop", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "Nadam", "Ftrl")
LAYERS = (
    "Dense", "LSTM", "GRU", "SimpleRNN", "Embedding", "Dropout", "Activation", "Conv1D", "Conv2D",
    "Conv3D", "Convolution1D", "Convolution2D", "MaxPooling1D", "MaxPooling2D", "InputLayer",
)  # fmt: skip

#: arguments by the functions that take them
ARGUMENTS: Mapping[tuple[str, ...], Mapping[str, str]] = {
    OPTIMIZERS: {"lr": "learning_rate", "decay": "a schedule of keras.optimizers.schedules"},
    ("Dropout",): {"p": "rate"},
    ("fit",): {"nb_epoch": "epochs", "show_accuracy": "metrics=['accuracy'] in compile"},
    LAYERS: {
        "output_dim": "units",
        "nb_filter": "filters",
        "init": "kernel_initializer",
        "inner_init": "recurrent_initializer",
        "inner_activation": "recurrent_activation",
        "border_mode": "padding",
        "subsample": "strides",
        "subsample_length": "strides",
        "filter_length": "kernel_size",
        "pool_length": "pool_size",
        "W_regularizer": "kernel_regularizer",
        "b_regularizer": "bias_regularizer",
        "U_regularizer": "recurrent_regularizer",
        "W_constraint": "kernel_constraint",
        "dropout_W": "dropout",
        "dropout_U": "recurrent_dropout",
        "consume_less": "nothing",
        "batch_input_shape": "keras.Input(batch_shape=...) before it",
        "input_length": "keras.Input(shape=...) before it",
    },
}
#: arguments that one of these functions has still
HAS_STILL = {("Embedding", "output_dim"), ("Embedding", "input_length")}


def removed_names(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Line, name and what to write instead, for each name that Keras 3 has no longer.

    What stands in a `try` that catches something is left alone: it says itself what else to do.
    """
    guarded = _guarded(tree)
    paths = _imported_paths(tree)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in ast.walk(tree):
        if node in guarded:
            continue
        if isinstance(node, ast.Import):
            found = [_removed(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [_removed(node.module or "") or next(filter(None, map(_removed, names)), None)]
        elif isinstance(node, ast.Attribute):
            found = [_removed(_path(node, paths), whole=True)]
        elif isinstance(node, ast.Subscript):
            found = [_removed_metric(node, tree)]
        elif isinstance(node, ast.Call):
            found = list(_removed_in_call(node, own))
        else:
            continue
        yield from ((node.lineno, *pair) for pair in found if pair)


def _guarded(tree: ast.Module) -> set[ast.AST]:
    blocks = [node.body for node in ast.walk(tree) if isinstance(node, ast.Try) and node.handlers]
    return {inner for block in blocks for statement in block for inner in ast.walk(statement)}


def _imported_paths(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for: `import keras.layers as kl` makes `kl` keras.layers."""
    paths: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                paths[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                paths[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return paths


def _path(node: ast.expr, paths: Mapping[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        above = _path(node.value, paths)
        return above and f"{above}.{node.attr}"
    return paths.get(node.id, "") if isinstance(node, ast.Name) else ""


def _removed(path: str, *, whole: bool = False) -> tuple[str, str] | None:
    """The removed name at the head of a dotted path, or that is the `whole` path."""
    for root in ("tensorflow.keras.", "tf.keras.", "keras."):
        rest = path.removeprefix(root)
        if rest == path:
            continue
        for name, instead in NAMES.items():
            if rest == name or (not whole and rest.startswith(f"{name}.")):
                kept = root != "keras." and name in KEPT
                return None if kept else (f"{root}{name}", instead)
        return None
    return None


def _removed_metric(node: ast.Subscript, tree: ast.Module) -> tuple[str, str] | None:
    """The old name of a metric in `fitted.history['val_acc']`, unless it was compiled so."""
    key = node.slice.value if isinstance(node.slice, ast.Constant) else None
    history = isinstance(node.value, ast.Attribute) and node.value.attr == "history"
    if not (history and isinstance(key, str) and key in METRICS):
        return None
    words = (one for one in ast.walk(tree) if isinstance(one, ast.keyword))
    metrics = (word.value for word in words if word.arg == "metrics")
    texts = (
        part for value in metrics for part in ast.walk(value) if isinstance(part, ast.Constant)
    )
    return None if any(text.value == "acc" for text in texts) else (f"'{key}'", f"'{METRICS[key]}'")


def _removed_in_call(call: ast.Call, own: set[str]) -> Iterator[tuple[str, str]]:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in own:
        return
    if isinstance(function, ast.Attribute) and name in METHODS:
        yield f"{name}()", METHODS[name]
    for functions, arguments in ARGUMENTS.items():
        for word in call.keywords:
            old = word.arg or ""
            if name in functions and old in arguments and (name, old) not in HAS_STILL:
                yield f"{old}= of {name}", arguments[old]
