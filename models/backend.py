"""What must be set before the first operation of Keras's backend: device, threads, determinism.

It, `looped.py`, `graphs.py`, `stack.py`, `packed.py`, `fast_lstm.py` and `fast_optimizer.py` talk
to TensorFlow; all else is backend-neutral.
"""

from __future__ import annotations

import ctypes
import os
import sys

from models.lean import keras

#: parameters of `mallopt` in glibc: room asked of the system at once, and from what size on memory
#: is given back to it, at the end of the heap and for a block by itself
TOP_PAD, TRIM_THRESHOLD, MMAP_THRESHOLD = -2, -1, -3


def prepare(*, gpu: bool, seed: int) -> None:
    """Make this process repeatable: one thread on a CPU, memory growth on a GPU, seeds set.

    Call it once in a process, before anything is computed; JAX reads its settings from the
    environment (`environment`).
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
        _keep_memory()
        if tf.config.threading.get_intra_op_parallelism_threads() != 1:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()


def run_operations_alone() -> None:
    """On a CPU, run each of TensorFlow's operations outside of functions by itself.

    TensorFlow makes a function of each kind that it meets, with all that is done to improve
    functions, which takes a millisecond or two: half of the time that it takes to make a network.
    After this, devices and threads cannot be set any more. The switch is not part of TensorFlow's
    public interface; where it is missing all is as it was.
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
    """Let the C library keep memory that a step has freed for the next one.

    Otherwise it hands arrays of some sizes back to the system each time, and a tenth of a training
    step is spent on pages that come back empty.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for parameter, size in (
            (MMAP_THRESHOLD, 1 << 30),
            (TRIM_THRESHOLD, (1 << 31) - 1),
            (TOP_PAD, 1 << 26),
        ):
            libc.mallopt(parameter, size)


def is_tensorflow() -> bool:
    """Whether Keras computes by TensorFlow here."""
    return bool(keras.backend.backend() == "tensorflow")


def on_gpu() -> bool:
    """Whether TensorFlow computes on a GPU here."""
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))


def own_arithmetic() -> bool:
    """Whether LSTM layers are computed by `stack.py` here, and not by Keras."""
    return is_tensorflow() and not on_gpu()


def environment(gpu: str | None) -> None:
    """Choose the device by environment variables: a GPU's number or UUID, or none for the CPU."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1" if gpu is None else gpu
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if gpu is None:
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["XLA_FLAGS"] = (
            "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        )
