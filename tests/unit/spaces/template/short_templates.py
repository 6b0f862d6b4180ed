"""Templates of a few lines, and what their model function returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lstm_sweep.spaces.template.template import Template

REST = "\ndef data():\n    return 1, 2\n"


def read(tmp_path: Path, text: str) -> Template:
    file = tmp_path / "mine.py"
    file.write_text(text, encoding="utf-8")
    return Template.read(str(file))


def model(tmp_path: Path, body: str, above: str = "") -> Template:
    """A template whose `create_model(x, y)` has a body of lines from line 2 on."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return read(tmp_path, f"def create_model(x, y):\n{lines}{REST}{above}")


def returned(template: Template, *arguments: Any, **values: Any) -> Any:
    """What `create_model` returns in place of a trial."""
    config = template.space().middle().evolve(**values)
    namespace: dict[str, Any] = {}
    exec(template.code(config.to_dict()), namespace)
    return namespace["create_model"](*arguments or (1, 2))
