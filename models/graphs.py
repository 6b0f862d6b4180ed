"""Graphs of TensorFlow that networks of one form share: traced once, then read from a folder.

To trace a training step takes Python up to a second and more, since it makes several hundred
operations one by one; to read its graph takes hundredths. A graph that has been called stays in its
process, so this is for processes that train a network or two.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from models.lean import keras

#: TensorFlow's name for what runs the operations of a function one after the other
ONE_THREAD = "SINGLE_THREADED_EXECUTOR"
#: a function of tensors that are numbers or handles of variables, as TensorFlow traces it
Traced = Any
#: functions of TensorFlow that call each other; the last of them is the one that is called
Library = Any


def code_of(folder: Path) -> str:
    """Digest of the modules in a folder, and of versions; another each time if they are not there.

    Nobody should find graphs of other code.
    """
    digest = hashlib.sha256(f"{tf.__version__} {keras.__version__}".encode())
    try:
        modules = sorted(file for file in folder.iterdir() if _is_module(file))
        for file in modules:
            digest.update(file.read_bytes())
    except OSError:
        modules = []
    return digest.hexdigest() if modules else secrets.token_hex()


def _is_module(file: Path) -> bool:
    return file.suffix in (".py", ".pyc") and not file.name.startswith(".")


#: what graphs depend on besides their names: the code as it was when this process loaded it
CODE = code_of(Path(__file__).parent)
#: bytes before the graph in a file, which tell whether it is whole
DIGEST_SIZE = hashlib.sha256().digest_size


class Graphs:
    """The graphs in a folder; without a folder, each is traced where it is needed."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def function(self, name: str, trace: Callable[[], Traced]) -> Callable[..., Sequence[Any]]:
        """What `trace` traces, which is not done before the first call, and only if need be.

        `name` says all that its graph depends on besides the source code and its libraries.
        """
        graph: _Graph | None = None

        def call(*inputs: Any) -> Sequence[Any]:
            nonlocal graph
            graph = graph or _Graph(self._find(name, trace))
            return graph(*inputs)

        return call

    def _find(self, name: str, trace: Callable[[], Traced]) -> Library:
        if not self._folder:
            return _library_of(trace)
        key = hashlib.sha256(f"{CODE} {name}".encode()).hexdigest()
        file = self._folder / f"{key}.graph"
        found = _read(file)
        if found is None:
            found = _library_of(trace)
            _write(file, found)
        return found


class _Graph:
    """A library that can be called."""

    def __init__(self, library: Library) -> None:
        # not public; the public ways to read a graph make each of its operations in Python again
        from tensorflow.python.eager import context

        for function in library.function:
            context.context().add_function_def(function)
        main = library.function[-1].signature
        self._name = main.name
        self._types = [tf.as_dtype(output.type) for output in main.output_arg]
        config = tf.compat.v1.ConfigProto()
        # the graph leaves nothing to improve, and to look for it takes a fifth of a second
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        self._config = config.SerializeToString()

    def __call__(self, *inputs: Any) -> Sequence[Any]:
        outputs: Sequence[Any] = tf.raw_ops.StatefulPartitionedCall(
            args=[tf.convert_to_tensor(one) for one in inputs],
            Tout=self._types,
            f=self._name,
            config_proto=self._config,
            # a worker has one thread: operations need no queue, which costs more than small ones
            executor_type=ONE_THREAD,
        )
        return outputs


def _library_of(trace: Callable[[], Traced]) -> Library:
    """A traced function and those that it calls, under names that no other library has."""
    with tf.experimental.function_executor_type(ONE_THREAD):  # which takes other loops
        traced = trace()
    if traced.captured_inputs:
        raise ValueError(f"{traced.name} depends on more than its inputs")
    library = tf.compat.v1.GraphDef(library=traced.graph.as_graph_def().library).library
    library.function.append(traced.function_def)
    token = secrets.token_hex(8)
    names = {
        function.signature.name: f"{token}_{number}"
        for number, function in enumerate(library.function)
    }
    for function in library.function:
        function.signature.name = names[function.signature.name]
        function.ClearField("arg_attr")
        for node in function.node_def:
            node.ClearField("experimental_debug_info")
        for called in _calls(function):
            called.name = names[called.name]
    return library


def _calls(function: Any) -> Iterator[Any]:
    """Where a function names others."""
    for node in function.node_def:
        for attribute in node.attr.values():
            if attribute.HasField("func"):
                yield attribute.func
            yield from attribute.list.func


def _read(file: Path) -> Library | None:
    """The library of a file; None if there is none, or not all of it."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest, content = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    if hashlib.sha256(content).digest() != digest:
        return None
    return tf.compat.v1.GraphDef.FromString(content).library


def _write(file: Path, library: Library) -> None:
    """Keep a library if there is room; no reader ever sees half of it."""
    content = tf.compat.v1.GraphDef(library=library).SerializeToString()
    partial = file.with_suffix(f".{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        try:
            partial.write_bytes(hashlib.sha256(content).digest() + content)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
