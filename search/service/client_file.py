"""The client as one file: the modules that commands with `--server` import, as a zipapp."""

from __future__ import annotations

import ast
import functools
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

#: what the client starts with
START = "lstm_sweep.search.cli"
#: the program of the file
MAIN = """\
import os
import sys

from lstm_sweep.search.cli import main

given = [one for one in sys.argv[1:] if one in ("--server", "-h", "--help", "--version")]
if not given and not any(one.startswith("--server=") for one in sys.argv):
    if not os.environ.get("LSTM_SWEEP_SERVER"):
        print(
            "lstm-sweep: --server is missing: expected the address of a service, also in "
            "LSTM_SWEEP_SERVER, since this file is its client alone",
            file=sys.stderr,
        )
        sys.exit(2)
sys.exit(main())
"""
#: of all files in it, so that the same program gives the same bytes
DATE = (1980, 1, 1, 0, 0, 0)


def modules() -> dict[str, Path]:
    """The files of the modules that the client imports at its start, by their name."""
    found, waiting = dict[str, Path](), [START]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        spec = importlib.util.find_spec(name)
        assert spec and spec.origin, name
        found[name] = Path(spec.origin)
        waiting += [name.rpartition(".")[0]] if "." in name else []
        waiting += _imported(found[name])
    return found


def _imported(file: Path) -> Iterator[str]:
    """Our modules that a file imports at its top; not what only types or functions need."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lstm_sweep"):
            assert node.module
            yield node.module
            for alias in node.names:
                if _is_module(f"{node.module}.{alias.name}"):
                    yield f"{node.module}.{alias.name}"


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


@functools.cache
def client_file() -> bytes:
    """The client as a zipapp, for `python FILE`."""
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr(zipfile.ZipInfo("__main__.py", DATE), MAIN)
        for name, path in sorted(modules().items()):
            inside = name.replace(".", "/")
            inside += "/__init__.py" if path.name == "__init__.py" else ".py"
            zipped.writestr(zipfile.ZipInfo(inside, DATE), path.read_bytes())
    return b"#!/usr/bin/env python3\n" + output.getvalue()
