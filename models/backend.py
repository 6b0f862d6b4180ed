"""Keras, and settings of its backend for a process: device, threads, memory, determinism.

Only this module and `models/cpu` use TensorFlow; all others are independent of the backend.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from typing import Any

#: packages that Keras and TensorFlow import if they are installed, for wrappers, plots and
#: conversions. Without them the import takes about 0.6 of the time, and workers need less memory;
#: they can still be imported later. Templates, which may use any feature, import Keras as a whole
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

import keras as keras  # noqa: E402

#: parameters of `mallopt` in glibc: bytes by which the heap grows at least; free bytes at its end
#: from which on they are returned to the system; size from which on a block is mapped by itself
TOP_PAD, TRIM_THRESHOLD, MMAP_THRESHOLD = -2, -1, -3


def prepare(*, gpu: bool, seed: int) -> None:
    """Make the results of this process reproducible.

    It sets the seeds, deterministic operations, one thread on a CPU, and memory growth on a GPU.
    Without `gpu` no GPU is used, also where there is one. Call it before the first operation. JAX
    reads its settings from the environment (see `environment`).

    Raises:
        RuntimeError: no GPU is to be used, and this process has begun to use one.
    """
    if is_tensorflow():
        _prepare_tensorflow(gpu)
    keras.utils.set_random_seed(seed)


def _prepare_tensorflow(gpu: bool) -> None:
    import tensorflow as tf

    if gpu:
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
    else:
        _hide_gpus(tf)
        _keep_memory()
        if tf.config.threading.get_intra_op_parallelism_threads() != 1:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()


def _hide_gpus(tf: Any) -> None:
    try:
        tf.config.set_visible_devices([], "GPU")
    except RuntimeError:  # its devices are initialized
        if on_gpu():
            raise RuntimeError(
                "this process uses a GPU already, expected one that has not begun to, or "
                "CUDA_VISIBLE_DEVICES=-1"
            ) from None


def run_operations_alone() -> None:
    """On a CPU, run TensorFlow's eager operations directly, without wrapping them in functions.

    By default TensorFlow wraps each kind of operation in an optimized function at its first use,
    which takes one or two milliseconds: half of the time that building a network takes.
    Afterwards, devices and threads cannot be changed. The switch is not public; where a version of
    TensorFlow lacks it, nothing is changed.
    """
    if not own_arithmetic():
        return
    try:
        from tensorflow.python import pywrap_tfe
        from tensorflow.python.eager import context

        now = context.context()
        now.ensure_initialized()
        pywrap_tfe.TFE_ContextSetRunEagerOpAsFunction(now._handle, False)
    except (ImportError, AttributeError):
        return


def _keep_memory() -> None:
    """Let the C library keep freed memory for the next training step.

    Otherwise it returns arrays of some sizes to the system each time, and a tenth of a training
    step is spent on page faults.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for parameter, size in (
            (MMAP_THRESHOLD, 1 << 30),
            (TRIM_THRESHOLD, (1 << 31) - 1),
            (TOP_PAD, 1 << 26),
        ):
            libc.mallopt(parameter, size)


def is_tensorflow() -> bool:
    """Whether TensorFlow is the backend of Keras."""
    return bool(keras.backend.backend() == "tensorflow")


def on_gpu() -> bool:
    """Whether TensorFlow sees a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))


def own_arithmetic() -> bool:
    """Whether LSTM layers are computed by `models/cpu/forward.py`, and not by Keras's layers."""
    return is_tensorflow() and not on_gpu()


def environment(gpu: str | None) -> None:
    """Choose the device by environment variables: the number or UUID of a GPU, or None for the CPU.

    Numbers are those of NVML and `nvidia-smi` unless the user has chosen another order. Call it
    before the backend initializes its devices.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1" if gpu is None else gpu
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if gpu is None:
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["XLA_FLAGS"] = (
            "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        )
