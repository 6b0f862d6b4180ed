"""What `export` names as the commands that come next; only the standard library is imported."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

from lstm_sweep.search.texts.terminal import plain


def model_name(sweep: str) -> str:
    """The name of a sweep without its number, as that of a registered model."""
    return re.sub(r"-\d+$", "", sweep)


def program_here() -> str:
    """The program as one has to type it here."""
    if shutil.which("lstm-sweep"):
        return "lstm-sweep"
    path = Path(sys.argv[0]).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def next_lines(trial: str, bundle: str) -> list[str]:
    """The lines below those of an export that was not registered: the bundle in use, and served."""
    name, program = model_name(trial.partition("/")[0]), program_here()
    again = f"{trial} --to {name}-model --register {name}"
    return [
        "next:",
        f"  {program} generate {plain(shlex.quote(bundle))} --length 200",
        f"  {program} export {again}   # to be served over HTTP",
    ]
