"""Recurrent layers of a template that leave cuDNN on a GPU, and so take many times as long there.

cuDNN has one LSTM and one GRU: Keras uses it for layers with these values of their arguments, and
for all others a loop over time steps.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from spaces import tree

#: values of arguments with which a layer stays on cuDNN; the first is Keras's default
NEEDED: Mapping[str, tuple[object, ...]] = {
    "activation": ("tanh",),
    "recurrent_activation": ("sigmoid",),
    "recurrent_dropout": (0, 0.0),
    "use_bias": (True,),
    "unroll": (False,),
    "use_cudnn": ("auto", True),
}
#: of a GRU alone
NEEDED_BY_GRU: Mapping[str, tuple[object, ...]] = {"reset_after": (True,)}
#: arguments of a layer that may be given without their names, in their order
POSITIONAL = ("units", "activation", "recurrent_activation", "use_bias")


def leaving(parsed: ast.Module) -> Iterator[tuple[int, str, str, str]]:
    """Line, layer, argument as written, and what it should be, of each that leaves cuDNN."""
    for node in ast.walk(parsed):
        if not isinstance(node, ast.Call):
            continue
        layer = ast.unparse(node.func).rpartition(".")[2]
        if layer not in ("LSTM", "GRU"):
            continue
        needed = {**NEEDED, **(NEEDED_BY_GRU if layer == "GRU" else {})}
        for name, value in _given(node):
            if name in needed and not _stays(value, needed[name]):
                written = f"{name}={ast.unparse(value)}"
                yield node.lineno, layer, written, f"{name}={needed[name][0]!r}"


def _given(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    yield from zip(POSITIONAL, call.args, strict=False)
    yield from ((word.arg, word.value) for word in call.keywords if word.arg)


def _stays(value: ast.expr, needed: tuple[object, ...]) -> bool:
    """Whether a value is one of those needed in every config; what is not written out may be."""
    if isinstance(value, ast.Set) and tree.is_template(value):
        inside = tree.inner(value)
        options = inside.args[0] if isinstance(inside, ast.Call) and inside.args else None
        if not isinstance(options, ast.List | ast.Tuple):
            return needed[0] != 0  # a range of numbers, of which few are 0
        weighted = isinstance(inside, ast.Call) and ast.unparse(inside.func).endswith("pchoice")
        chosen = [_second(one) if weighted else one for one in options.elts]
        return all(_stays(option, needed) for option in chosen)
    return not isinstance(value, ast.Constant) or value.value in needed


def _second(pair: ast.expr) -> ast.expr:
    """What is chosen with a share: `16` of `(0.3, 16)`."""
    return pair.elts[1] if isinstance(pair, ast.Tuple | ast.List) and pair.elts[1:] else pair
