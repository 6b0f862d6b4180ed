"""Finds names in a syntax tree that Keras 3 does not have, before the file is run.

The names are those of `spaces/template/keras2_table.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from lstm_sweep.spaces.template.keras2_table import (
    ARGUMENTS,
    BACKEND,
    HAS_STILL,
    IGNORED,
    METHODS,
    METRICS,
    NAMES,
    TF,
)


def removed_names(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield line, name and replacement of each name that Keras 3 does not have.

    The body of a `try` with handlers is skipped, since the file has an alternative there.
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
            found += _file_names(node, texts)
        else:
            continue
        yield from ((node.lineno, *pair) for pair in found if pair)


def ignored(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield line, name and replacement of each argument that Keras 3 accepts and ignores."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from ((node.lineno, *pair) for pair in _arguments(node, IGNORED))


def _guarded(tree: ast.Module) -> set[ast.AST]:
    blocks = [node.body for node in ast.walk(tree) if isinstance(node, ast.Try) and node.handlers]
    return {inner for block in blocks for statement in block for inner in ast.walk(statement)}


def _imported_paths(tree: ast.Module) -> dict[str, str]:
    """Dotted path of each imported name: `kl` -> `keras.layers` for `import keras.layers as kl`."""
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
    """Dotted path of a name or an attribute; empty if it is not an imported one."""
    if isinstance(node, ast.Attribute):
        above = _path(node.value, paths)
        return above and f"{above}.{node.attr}"
    return paths.get(node.id, "") if isinstance(node, ast.Name) else ""


def _texts(tree: ast.Module) -> dict[str, str]:
    """String constants by the names that they are assigned to."""
    return {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


# --- names ----------------------------------------------------------------------------------------


def _removed(path: str, *, whole: bool = False) -> tuple[str, str] | None:
    """The removed name that a path begins with (equals, with `whole`), and its replacement."""
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
    """Removed methods and arguments in a call; functions in `own` are the file's own."""
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
    """The last part of the name of the called function."""
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
    """Names of metrics that models are compiled with."""
    words = (one for one in ast.walk(tree) if isinstance(one, ast.keyword))
    parts = (part for word in words if word.arg == "metrics" for part in ast.walk(word.value))
    return {str(part.value) for part in parts if isinstance(part, ast.Constant)}


def _histories(tree: ast.Module) -> set[str]:
    """Names that a history is assigned to, such as `h` in `h = model.fit(x, y).history`."""
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
    """The old name of a metric in `history['val_acc']`, unless the model has a metric `acc`."""
    value = node.value
    history = getattr(value, "attr", "") == "history" or getattr(value, "id", "") in histories
    key = node.slice.value if isinstance(node.slice, ast.Constant) else None
    return _metric(key) if history and "acc" not in compiled else None


def _monitored(call: ast.Call, compiled: set[str]) -> Iterator[tuple[str, str]]:
    """The old name of a metric that a callback monitors; Keras 3 never reports it."""
    for word in call.keywords:
        named = word.arg == "monitor" and isinstance(word.value, ast.Constant)
        found = _metric(getattr(word.value, "value", None)) if named else None
        if found and "acc" not in compiled:
            yield found


def _metric(key: object) -> tuple[str, str] | None:
    known = isinstance(key, str) and key in METRICS
    return (f"'{key}'", f"'{METRICS[str(key)]}'") if known else None


# --- files ----------------------------------------------------------------------------------------


def _file_names(call: ast.Call, texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """File names whose suffix Keras 3 does not accept."""
    words = {word.arg: word.value for word in call.keywords}
    given = words.get("filepath", call.args[0] if call.args else None)
    path = texts.get(given.id) if isinstance(given, ast.Name) else getattr(given, "value", None)
    ends = _suffixes(_name(call), words.get("save_weights_only"))
    if ends and isinstance(path, str) and not path.endswith(ends):
        instead = "its name as saved" if len(ends) > 2 else f"a name that ends in {ends[0]}"
        yield f"{path!r} as a file for {_name(call)}", instead


def _suffixes(name: str, weights_only: ast.expr | None) -> tuple[str, ...]:
    """Suffixes that Keras 3 accepts for the file of a method or callback; () if it takes none."""
    if name == "load_weights":
        return (".weights.h5", ".keras", ".h5", ".hdf5", ".weights.json")
    if name == "save_weights" or getattr(weights_only, "value", False) is True:
        return (".weights.h5",)
    return (".keras", ".h5") if name == "ModelCheckpoint" else ()
