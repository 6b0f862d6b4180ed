"""Names of Keras 1 and 2 that Keras 3 does not have, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping

#: names of Keras 2's classes; the optimizers of our networks are in `models/config.py`
KERAS2_OPTIMIZERS = (
    "SGD", "RMSprop", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "Nadam", "Ftrl",
)  # fmt: skip

#: where TensorFlow still has what Keras 3 has removed without a successor
TF = "tensorflow.keras"

#: removed modules, classes and functions below `keras` -> what to write instead; None: the same
#: name below `tensorflow.keras`
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
    **{f"optimizers.{name.lower()}": f"keras.optimizers.{name}" for name in KERAS2_OPTIMIZERS},
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
#: all that Keras 3 has in `keras.backend`; everything else is in `tensorflow.keras.backend`
BACKEND = (
    "backend", "clear_session", "epsilon", "floatx", "get_uid", "image_data_format",
    "is_float_dtype", "is_int_dtype", "is_keras_tensor", "result_type", "set_epsilon",
    "set_floatx", "set_image_data_format", "standardize_dtype",
)  # fmt: skip

#: removed methods of models
METHODS: Mapping[str, str] = {
    "predict_classes": "predict(...).argmax(axis=-1)",
    "fit_generator": "fit",
    "evaluate_generator": "evaluate",
    "predict_generator": "predict",
}

#: names of metrics in the history that `fit` returns
METRICS: Mapping[str, str] = {"acc": "accuracy", "val_acc": "val_accuracy"}

#: layers that took the old arguments below
LAYERS = (
    "Dense", "LSTM", "GRU", "SimpleRNN", "Embedding", "Dropout", "Activation", "Conv1D", "Conv2D",
    "Conv3D", "Convolution1D", "Convolution2D", "Convolution3D", "MaxPooling1D", "MaxPooling2D",
    "AveragePooling1D", "AveragePooling2D", "ZeroPadding2D", "UpSampling2D", "ConvLSTM2D",
    "SeparableConv2D", "BatchNormalization", "InputLayer",
)  # fmt: skip

#: functions and classes -> their removed arguments
ARGUMENTS: Mapping[tuple[str, ...], Mapping[str, str]] = {
    KERAS2_OPTIMIZERS: {"lr": "learning_rate"},
    ("Dropout",): {"p": "rate"},
    ("fit", "evaluate", "predict", *METHODS): {
        "show_accuracy": "metrics=['accuracy'] in compile",
        "workers": "nothing, or workers= of a keras.utils.PyDataset",
        "use_multiprocessing": "nothing, or workers= of a keras.utils.PyDataset, which are threads",
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
#: exceptions: arguments that Keras 3 still has
HAS_STILL = {("Embedding", "output_dim"), ("Embedding", "input_length")}
#: arguments that Keras 3 accepts and ignores
IGNORED: Mapping[tuple[str, ...], Mapping[str, str]] = {
    KERAS2_OPTIMIZERS: {"decay": "a schedule of keras.optimizers.schedules as learning_rate"},
}
