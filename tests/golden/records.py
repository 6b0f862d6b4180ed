"""Records of what the program does, as texts that are compared line by line."""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
#: environment variable with which records are written, and not compared
WRITE = "LSTM_SWEEP_GOLDEN_WRITE"
#: what no two runs share, and what stands in its place
VARYING = {
    r"http://127\.0\.0\.1:\d+": "URL",
    r"\b[0-9a-f]{32}\b": "RUN",
    r"(?<!\.)\b[0-9a-f]{16}\b": "DIGEST",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?": "TIME",
    r'("\w*seconds\w*"|"best"|"beaten"|"idle"): [0-9.]+(e-\d+)?': r"\1: N",
    r"\b[0-9.]+(?= s\b)": "N",
    r"time on slots: .*": "time on slots: N %",
    r"\b\d+ %": "N %",
    r"\b[0-9.]+ kB": "N kB",
    r"(?<=\d\.\d{9})\d+": "",  # the last bits of a sum
    r"\b(keras|lstm-sweep|numpy|python|tensorflow)( =)? \d[\d.]*": r"\1\2 VERSION",
    r"mlflow\.user = .*": "mlflow.user = USER",
}


def compare(name: str, text: str) -> None:
    """Fail if a text differs from its record; or write it."""
    file = FOLDER / name
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    if WRITE in os.environ:
        file.write_text(text, encoding="utf-8")
    recorded = file.read_text(encoding="utf-8") if file.exists() else ""
    if text != recorded:
        differ = difflib.unified_diff(
            recorded.splitlines(), text.splitlines(), f"recorded {name}", "now", lineterm="", n=1
        )
        more = "if it is meant, write the records anew: python -m tests.golden --write"
        pytest.fail("\n".join([*differ, more]), pytrace=False)


def plain(text: str, folder: Path) -> str:
    """A text without what no two runs share."""
    text = text.replace(str(folder), "DIR")
    for pattern, word in VARYING.items():
        text = re.sub(pattern, word, text)
    return text


def in_lines(document: Any, *, is_top: bool = True) -> str:
    """A JSON document with a line for each value; what holds no other lists or mappings is one."""
    inner = list(document.values() if isinstance(document, dict) else document)
    if not is_top and not any(isinstance(value, dict | list) for value in inner):
        return json.dumps(document)
    lines = [
        in_lines(value, is_top=False) if isinstance(value, dict | list) else json.dumps(value)
        for value in inner
    ]
    begin, end = "[]"
    if isinstance(document, dict):
        begin, end = "{}"
        lines = [f"{json.dumps(key)}: {line}" for key, line in zip(document, lines, strict=True)]
    indented = ",\n".join(lines).replace("\n", "\n ")
    return f"{begin}\n {indented}\n{end}"
