"""Finds recurrent layers of a template that Keras cannot compute with cuDNN on a GPU.

Keras uses cuDNN's LSTM and GRU only for certain values of a layer's arguments. Otherwise it runs a
loop over time steps, which takes many times as long.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from lstm_sweep.spaces.template import placeholders

#: values of arguments that cuDNN supports; the first is Keras's default
NEEDED: Mapping[str, tuple[object, ...]] = {
    "activation": ("tanh",),
    "recurrent_activation": ("sigmoid",),
    "recurrent_dropout": (0, 0.0),
    "use_bias": (True,),
    "unroll": (False,),
    "use_cudnn": ("auto", True),
}
#: further arguments of a GRU
NEEDED_BY_GRU: Mapping[str, tuple[object, ...]] = {"reset_after": (True,)}
#: arguments that may be positional, in their order
POSITIONAL = ("units", "activation", "recurrent_activation", "use_bias")


def unsupported(parsed: ast.Module) -> Iterator[tuple[int, str, str, str]]:
    """Yield line, layer, argument as written, and supported argument, of each unsupported one."""
    for node in ast.walk(parsed):
        if not isinstance(node, ast.Call):
            continue
        layer = ast.unparse(node.func).rpartition(".")[2]
        if layer not in ("LSTM", "GRU"):
            continue
        needed = {**NEEDED, **(NEEDED_BY_GRU if layer == "GRU" else {})}
        for name, value in _given(node):
            if name in needed and not _is_supported(value, needed[name]):
                written = f"{name}={ast.unparse(value)}"
                yield node.lineno, layer, written, f"{name}={needed[name][0]!r}"


def _given(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    yield from zip(POSITIONAL, call.args, strict=False)
    yield from ((word.arg, word.value) for word in call.keywords if word.arg)


def _is_supported(value: ast.expr, needed: tuple[object, ...]) -> bool:
    """Whether a value is supported in every config; assumed for expressions but literals."""
    if isinstance(value, ast.Set) and placeholders.is_placeholder(value):
        inside = placeholders.content_of(value)
        options = inside.args[0] if isinstance(inside, ast.Call) and inside.args else None
        if not isinstance(options, ast.List | ast.Tuple):
            return needed[0] != 0  # a range of numbers contains others than 0
        weighted = isinstance(inside, ast.Call) and ast.unparse(inside.func).endswith("pchoice")
        chosen = [_second(one) if weighted else one for one in options.elts]
        return all(_is_supported(option, needed) for option in chosen)
    return not isinstance(value, ast.Constant) or value.value in needed


def _second(pair: ast.expr) -> ast.expr:
    """The option of a pair of probability and option: `16` in `(0.3, 16)`."""
    return pair.elts[1] if isinstance(pair, ast.Tuple | ast.List) and pair.elts[1:] else pair
