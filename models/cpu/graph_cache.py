"""Cache of traced TensorFlow graphs on disk, shared by the trials of a machine.

Tracing a training step takes a second or more, since Python creates several hundred operations one
by one; reading the graph from a file takes a few hundredths of a second. A graph that was called
stays in memory until its process ends, so this is meant for processes that train a few networks.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from lstm_sweep import models
from lstm_sweep.models.backend import keras

#: TensorFlow's executor that runs the operations of a function one after the other
ONE_THREAD = "SINGLE_THREADED_EXECUTOR"
#: a `ConcreteFunction` whose inputs are numbers or variable handles
Traced = Any
#: a `FunctionDefLibrary` protobuf: functions that call each other, the entry point last
Library = Any


def code_of(folder: Path) -> str:
    """Digest of all modules in a folder, recursively, and of TensorFlow's and Keras's versions.

    Where there is no source of them, each call returns another value: no graph is ever shared.
    """
    parts = [tf.__version__, keras.__version__]
    for file in sorted(folder.rglob("[!.]*.py")):
        parts += [
            file.relative_to(folder).as_posix(),
            hashlib.sha256(file.read_bytes()).hexdigest(),
        ]
    if len(parts) == 2:
        parts.append(secrets.token_hex())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


#: digest of the whole package `models`, since its constants are built into graphs
CODE = code_of(Path(models.__file__).parent)
#: bytes of the digest that a file has before the graph
DIGEST_SIZE = hashlib.sha256().digest_size


class GraphCache:
    """The graphs in a folder; without a folder, every graph is traced when it is first called."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def function(self, name: str, trace: Callable[[], Traced]) -> Callable[..., Sequence[Any]]:
        """Return a function that loads its graph at the first call, or traces it by `trace`.

        `name` must contain everything that the graph depends on, except for the source code of
        `models` and the versions of its libraries.
        """
        opened = functools.cache(lambda: _callable(self._find(name, trace)))
        return lambda *inputs: opened()(inputs)

    def _find(self, name: str, trace: Callable[[], Traced]) -> Library:
        if not self._folder:
            return _library_of(trace)
        key = hashlib.sha256(f"{CODE} {name}".encode()).hexdigest()
        file = self._folder / f"{key}.graph"
        library = _read(file)
        if library is None:
            library = _library_of(trace)
            _write(file, library)
        return library


def _callable(library: Library) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """The entry point of a library, which takes tensors."""
    # not public; the public functions that read a graph create each operation in Python again
    from tensorflow.python.eager import context

    for function in library.function:
        context.context().add_function_def(function)
    main = library.function[-1].signature
    types = [tf.as_dtype(output.type) for output in main.output_arg]
    config = tf.compat.v1.ConfigProto()
    # skips the graph optimizer, which takes 0.2 s and finds nothing to improve
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    serialized = config.SerializeToString()

    def call(inputs: Sequence[Any]) -> Sequence[Any]:
        outputs: Sequence[Any] = tf.raw_ops.StatefulPartitionedCall(
            args=[tf.convert_to_tensor(value) for value in inputs],
            Tout=types,
            f=main.name,
            config_proto=serialized,
            # a worker has one thread; the default executor's queue costs more than small operations
            executor_type=ONE_THREAD,
        )
        return outputs

    return call


def _library_of(trace: Callable[[], Traced]) -> Library:
    """Trace a function; return it and those that it calls, under names unique to this library.

    Raises:
        ValueError: the function captures tensors or variables besides its inputs.
    """
    with tf.experimental.function_executor_type(ONE_THREAD):  # loops are traced differently for it
        traced = trace()
    if traced.captured_inputs:
        raise ValueError(f"{traced.name} depends on more than its inputs")
    library = tf.compat.v1.GraphDef(library=traced.graph.as_graph_def().library).library
    library.function.append(traced.function_def)
    token = secrets.token_hex(8)
    names = {one.signature.name: f"{token}_{i}" for i, one in enumerate(library.function)}
    for function in library.function:
        function.signature.name = names[function.signature.name]
        function.ClearField("arg_attr")
        for node in function.node_def:
            node.ClearField("experimental_debug_info")
            for attribute in node.attr.values():
                called = [attribute.func] if attribute.HasField("func") else []
                for other in (*called, *attribute.list.func):
                    other.name = names[other.name]
    return library


def _read(file: Path) -> Library | None:
    """Read a library from a file; None if the file is missing or damaged."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest, content = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    if hashlib.sha256(content).digest() != digest:
        return None
    return tf.compat.v1.GraphDef.FromString(content).library


def _write(file: Path, library: Library) -> None:
    """Write a library atomically; errors such as a full disk are ignored."""
    content = tf.compat.v1.GraphDef(library=library).SerializeToString()
    partial = file.with_suffix(f".{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        try:
            partial.write_bytes(hashlib.sha256(content).digest() + content)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
