"""What must be set before the first operation of Keras's backend: device, threads, determinism.

The only place that talks to a backend directly; everything else is backend-neutral Keras.
"""

from __future__ import annotations

import os

import keras


def prepare(*, gpu: bool, seed: int) -> None:
    """Make this process repeatable: one thread on a CPU, memory growth on a GPU, seeds set.

    Call it once in a process, before anything is computed; JAX reads its settings from the
    environment (`environment`).
    """
    if keras.backend.backend() == "tensorflow":
        _prepare_tensorflow(gpu)
    keras.utils.set_random_seed(seed)


def _prepare_tensorflow(gpu: bool) -> None:
    import tensorflow as tf

    if gpu:
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
    elif tf.config.threading.get_intra_op_parallelism_threads() != 1:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()


def environment(gpu: str | None) -> None:
    """Choose the device by environment variables: a GPU's number or UUID, or none for the CPU."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1" if gpu is None else gpu
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if gpu is None:
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["XLA_FLAGS"] = (
            "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        )
