"""Names of earlier versions of Keras that Keras 3 has no longer, and what to write instead.

They are found in a syntax tree, so that a file that needs an edit says so before it runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

OPTIMIZERS = ("SGD", "RMSprop", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "Nadam", "Ftrl")

#: what TensorFlow has still of which Keras has nothing
TF = "tensorflow.keras"

#: modules and what is in them, below `keras`; None: TensorFlow's `tensorflow.keras` has it still
NAMES: Mapping[str, str | None] = {
    "utils.np_utils": "keras.utils",
    "utils.generic_utils": "keras.utils",
    "utils.data_utils": "keras.utils",
    "utils.layer_utils": "keras.utils",
    "utils.io_utils": "keras.utils",
    "utils.training_utils": "keras.distribution",
    "utils.vis_utils": "keras.utils.plot_model",
    "utils.multi_gpu_model": "keras.distribution",
    "utils.print_summary": "summary() of the model",
    "utils.HDF5Matrix": "h5py.File",
    "layers.core": "keras.layers",
    "layers.recurrent": "keras.layers",
    "layers.convolutional": "keras.layers",
    "layers.convolutional_recurrent": "keras.layers",
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
    "layers.ThresholdedReLU": None,
    "layers.LocallyConnected1D": "keras.layers.Conv1D",
    "layers.LocallyConnected2D": "keras.layers.Conv2D",
    "layers.AtrousConvolution2D": "keras.layers.Conv2D(..., dilation_rate=...)",
    "layers.Deconvolution2D": "keras.layers.Conv2DTranspose",
    "layers.TimeDistributedDense": "keras.layers.TimeDistributed(Dense(...))",
    "layers.MaxoutDense": "keras.layers.Dense",
    "layers.Highway": "keras.layers.Dense",
    "models.model_from_yaml": "keras.models.model_from_json",
    "models.Graph": "keras.Model",
    "models.Input": "keras.Input",
    "engine": "keras",
    "objectives": "keras.losses",
    "initializations": "keras.initializers",
    "initializers.normal": "keras.initializers.RandomNormal",
    "initializers.uniform": "keras.initializers.RandomUniform",
    "initializers.zero": "keras.initializers.Zeros",
    "initializers.one": "keras.initializers.Ones",
    "regularizers.l1l2": "keras.regularizers.L1L2",
    "regularizers.activity_l2": "keras.regularizers.L2",
    "regularizers.WeightRegularizer": "keras.regularizers.L1L2",
    "constraints.maxnorm": "keras.constraints.MaxNorm",
    "constraints.unitnorm": "keras.constraints.UnitNorm",
    "constraints.nonneg": "keras.constraints.NonNeg",
    "losses.cosine_proximity": "keras.losses.cosine_similarity",
    "optimizers.legacy": "keras.optimizers",
    **{f"optimizers.{name.lower()}": f"keras.optimizers.{name}" for name in OPTIMIZERS},
    "backend.tensorflow_backend": f"{TF}.backend",
    "backend.set_image_dim_ordering": "keras.backend.set_image_data_format",
    "backend.image_dim_ordering": "keras.backend.image_data_format",
    **{
        f"backend.{name}": "nothing, TensorFlow 2 has no sessions"
        for name in ("get_session", "set_session", "learning_phase", "set_learning_phase")
    },
    "wrappers.scikit_learn": "keras.wrappers.SKLearnClassifier or SKLearnRegressor",
    "preprocessing.text": None,
    "preprocessing.image.ImageDataGenerator": None,
    "preprocessing.sequence.TimeseriesGenerator": None,
    "preprocessing.sequence.skipgrams": None,
    "preprocessing.sequence.make_sampling_table": None,
}
#: all that `keras.backend` has still; the rest of what it had is in `tensorflow.keras.backend`
BACKEND = (
    "backend", "clear_session", "epsilon", "floatx", "get_uid", "image_data_format",
    "is_float_dtype", "is_int_dtype", "is_keras_tensor", "result_type", "set_epsilon",
    "set_floatx", "set_image_data_format", "standardize_dtype",
)  # fmt: skip

METHODS: Mapping[str, str] = {
    "predict_classes": "predict(...).argmax(axis=-1)",
    "fit_generator": "fit",
    "evaluate_generator": "evaluate",
    "predict_generator": "predict",
}

#: metrics by the names that they had in what `fit` returns
METRICS: Mapping[str, str] = {"acc": "accuracy", "val_acc": "val_accuracy"}

LAYERS = (
    "Dense", "LSTM", "GRU", "SimpleRNN", "Embedding", "Dropout", "Activation", "Conv1D", "Conv2D",
    "Conv3D", "Convolution1D", "Convolution2D", "Convolution3D", "MaxPooling1D", "MaxPooling2D",
    "AveragePooling1D", "AveragePooling2D", "ZeroPadding2D", "UpSampling2D", "ConvLSTM2D",
    "SeparableConv2D", "BatchNormalization", "InputLayer",
)  # fmt: skip

#: arguments by the functions that take them
ARGUMENTS: Mapping[tuple[str, ...], Mapping[str, str]] = {
    OPTIMIZERS: {"lr": "learning_rate"},
    ("Dropout",): {"p": "rate"},
    ("fit", "evaluate", "predict", *METHODS): {
        "show_accuracy": "metrics=['accuracy'] in compile",
        "workers": "nothing, or workers= of a keras.utils.PyDataset",
        "use_multiprocessing": "nothing, or use_multiprocessing= of a keras.utils.PyDataset",
        "max_queue_size": "nothing, or max_queue_size= of a keras.utils.PyDataset",
    },
    ("fit", "fit_generator"): {
        "nb_epoch": "epochs",
        "samples_per_epoch": "steps_per_epoch",
        "nb_val_samples": "validation_steps",
    },
    ("compile",): {"class_mode": "nothing"},
    ("Model",): {"input": "inputs", "output": "outputs"},
    ("ModelCheckpoint",): {"period": "save_freq"},
    LAYERS: {
        "output_dim": "units",
        "nb_filter": "filters",
        "nb_row": "kernel_size",
        "nb_col": "kernel_size",
        "init": "kernel_initializer",
        "inner_init": "recurrent_initializer",
        "inner_activation": "recurrent_activation",
        "border_mode": "padding",
        "dim_ordering": "data_format",
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
#: arguments that are taken and do nothing
IGNORED: Mapping[tuple[str, ...], Mapping[str, str]] = {
    OPTIMIZERS: {"decay": "a schedule of keras.optimizers.schedules as learning_rate"},
}


def removed_names(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Line, name and what to write instead, for each name that Keras 3 has no longer.

    What stands in a `try` that catches something is left alone: it says itself what else to do.
    """
    guarded = _guarded(tree)
    paths, texts = _imported_paths(tree), _texts(tree)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    compiled, histories = _compiled(tree), _histories(tree)
    for node in ast.walk(tree):
        if node in guarded:
            continue
        if isinstance(node, ast.Import):
            found = [_removed(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [_removed(f"{node.module}.{alias.name}") for alias in node.names]
            whole = _removed(node.module or "")
            found = [whole] if whole else names
        elif isinstance(node, ast.Attribute):
            found = [_removed(_path(node, paths), whole=True)]
            if ast.unparse(node).endswith("optimizer.lr"):
                found.append(("lr of an optimizer", "learning_rate"))
        elif isinstance(node, ast.Subscript):
            found = [_removed_metric(node, histories, compiled)]
        elif isinstance(node, ast.Call):
            found = [*_removed_in_call(node, own), *_monitored(node, compiled)]
            found += _files(node, texts)
        else:
            continue
        yield from ((node.lineno, *pair) for pair in found if pair)


def ignored(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Line, name and what to write instead, of each argument that Keras 3 takes and ignores."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from ((node.lineno, *pair) for pair in _arguments(node, IGNORED))


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


def _texts(tree: ast.Module) -> dict[str, str]:
    """Texts that are assigned to a name."""
    return {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


# --- names ----------------------------------------------------------------------------------------


def _removed(path: str, *, whole: bool = False) -> tuple[str, str] | None:
    """The removed name at the head of a dotted path, or that is the `whole` path."""
    for root in ("tensorflow.keras.", "tf.keras.", "keras."):
        rest = path.removeprefix(root)
        if rest == path:
            continue
        for name, instead in NAMES.items():
            if rest == name or (not whole and rest.startswith(f"{name}.")):
                if instead is None and root != "keras.":
                    return None
                return f"{root}{name}", instead or f"{TF}.{name}"
        module, _, name = rest.partition(".")
        if root == "keras." and module == "backend" and name and name not in (*BACKEND, "*"):
            return f"{root}{rest}", f"{TF}.{rest}"
        return None
    return None


def _removed_in_call(call: ast.Call, own: set[str]) -> Iterator[tuple[str, str]]:
    function, name = call.func, _name(call)
    if name in own:
        return
    if isinstance(function, ast.Attribute) and name in METHODS:
        yield f"{name}()", METHODS[name]
    if name in ("Conv2D", "Convolution2D") and len(call.args) > 2:
        rows, columns = map(ast.unparse, call.args[1:3])
        if rows == columns or name == "Convolution2D":
            yield (
                f"{name}(..., {rows}, {columns})",
                f"kernel_size=({rows}, {columns}), or strides={columns} by name,",
            )
    yield from _arguments(call, ARGUMENTS)


def _name(call: ast.Call) -> str:
    """The last name of what is called."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _arguments(
    call: ast.Call, table: Mapping[tuple[str, ...], Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    name = _name(call)
    for functions, arguments in table.items():
        for word in call.keywords:
            old = word.arg or ""
            if name in functions and old in arguments and (name, old) not in HAS_STILL:
                yield f"{old}= of {name}", arguments[old]


# --- metrics --------------------------------------------------------------------------------------


def _compiled(tree: ast.Module) -> set[str]:
    """Names of metrics that a network is compiled with."""
    words = (one for one in ast.walk(tree) if isinstance(one, ast.keyword))
    parts = (part for word in words if word.arg == "metrics" for part in ast.walk(word.value))
    return {str(part.value) for part in parts if isinstance(part, ast.Constant)}


def _histories(tree: ast.Module) -> set[str]:
    """Names of what `fit` has returned the history of: `seen = model.fit(x, y).history`."""
    return {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.value, "attr", "") == "history"
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _removed_metric(
    node: ast.Subscript, histories: set[str], compiled: set[str]
) -> tuple[str, str] | None:
    """The old name of a metric, as in `fitted.history['val_acc']`, unless it was compiled so."""
    value = node.value
    history = getattr(value, "attr", "") == "history" or getattr(value, "id", "") in histories
    key = node.slice.value if isinstance(node.slice, ast.Constant) else None
    return _metric(key) if history and "acc" not in compiled else None


def _monitored(call: ast.Call, compiled: set[str]) -> Iterator[tuple[str, str]]:
    """The old name of a metric that a callback is to look at; Keras 3 would never see it."""
    for word in call.keywords:
        named = word.arg == "monitor" and isinstance(word.value, ast.Constant)
        found = _metric(getattr(word.value, "value", None)) if named else None
        if found and "acc" not in compiled:
            yield found


def _metric(key: object) -> tuple[str, str] | None:
    known = isinstance(key, str) and key in METRICS
    return (f"'{key}'", f"'{METRICS[str(key)]}'") if known else None


# --- files ----------------------------------------------------------------------------------------


def _files(call: ast.Call, texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names of files that Keras 3 does not write, or read weights from."""
    words = {word.arg: word.value for word in call.keywords}
    given = words.get("filepath", call.args[0] if call.args else None)
    path = texts.get(given.id) if isinstance(given, ast.Name) else getattr(given, "value", None)
    ends = _endings(_name(call), words.get("save_weights_only"))
    if ends and isinstance(path, str) and not path.endswith(ends):
        instead = "its name as saved" if len(ends) > 2 else f"a name that ends in {ends[0]}"
        yield f"{path!r} as a file for {_name(call)}", instead


def _endings(name: str, weights_only: ast.expr | None) -> tuple[str, ...]:
    """How names of files may end that a method or a callback is given; () for others."""
    if name == "load_weights":
        return (".weights.h5", ".keras", ".h5", ".hdf5", ".weights.json")
    if name == "save_weights" or getattr(weights_only, "value", False) is True:
        return (".weights.h5",)
    return (".keras", ".h5") if name == "ModelCheckpoint" else ()
