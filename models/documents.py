"""Documents of plain values: YAML files, read strictly, and JSON that every reader takes.

Python tags, aliases, merge keys, repeated keys and deep nesting of YAML are refused, since with
them a file means something other than it seems to, or a short file becomes a huge value. Each error
names the file and, where known, the line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import InputError, cut, shown, why_not

MAX_BYTES = 1 << 16
#: levels of lists and mappings inside each other
MAX_DEPTH = 20
#: standard types that are read; binary data, sets, ordered maps and merge keys are not
TYPES = ("null", "bool", "int", "float", "timestamp", "str", "seq", "map")
#: pattern and possible first characters of unquoted truth values and integers, as in YAML 1.2;
#: YAML 1.1 would also read `on` as true, 010 as 8 and 1:30 as 90
PLAIN_SCALARS = {
    "bool": (r"(?:true|false)\Z", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-f]+)\Z", "-+0123456789"),
}
TAG_PREFIX = "tag:yaml.org,2002:"


def read_yaml(path: Path) -> object:
    """Return the content of a YAML file; None if it is empty."""
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, name: str) -> object:
    """Return the content of the text of a YAML file of this name; None if it is empty."""
    import yaml

    where = cut(name, 300)
    try:
        return yaml.load(text, _loader())
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        problem = f"found the character U+{error.character:04X}"
        raise InputError(f"{where}:{line}: {problem}, expected a YAML file") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error) or "not YAML"
        expected = getattr(error, "note", None) or "a YAML file"
        raise InputError(f"{where}{place}: {cut(problem)}, expected {expected}") from None


def read_text(path: Path) -> str:
    """Return the text of a YAML file."""
    where = cut(str(path), 300)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: {why_not(error)}, expected a YAML file") from None
    if len(content) > MAX_BYTES:
        most = f"at most {MAX_BYTES:,} bytes"
        raise InputError(f"{where}: the file is too long, expected a YAML file of {most}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{where}: found bytes that are not UTF-8, expected a YAML file") from None


def _loader() -> Any:
    """Return the loader class; made here, so that importing this module does not import PyYAML."""
    import yaml
    from yaml.constructor import ConstructorError

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.AliasEvent):
                self.refuse(event, f"found the alias '*{cut(str(event.anchor))}'", "its values")
            if self.depth >= MAX_DEPTH:
                problem = "found lists or mappings nested too deeply"
                self.refuse(event, problem, f"at most {MAX_DEPTH} levels")
            self.depth += 1
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            lines: dict[tuple[str, str], int] = {}
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                name = (key.tag, key.value)
                if name in lines:
                    problem = f"found {shown(key.value)} twice, first in line {lines[name]}"
                    self.refuse(key, problem, "each field once")
                lines[name] = key.start_mark.line + 1
            return node

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except (ValueError, LookupError, AttributeError, OverflowError):
                given = shown(node.value) if isinstance(node.value, str) else "a list or mapping"
                self.refuse(node, f"found {given}", f"a value of {cut(node.tag)}")

        def refuse(self, place: Any, problem: str, expected: str) -> None:
            raise ConstructorError(None, None, problem, place.start_mark, expected)

    _restrict_types(Loader)
    return Loader


def _restrict_types(loader: Any) -> None:
    """Leave a loader only the types of `TYPES`, with the patterns of `PLAIN_SCALARS`."""
    import yaml

    allowed = {f"{TAG_PREFIX}{name}" for name in TYPES}
    replaced = {f"{TAG_PREFIX}{name}" for name in PLAIN_SCALARS}
    loader.yaml_constructors = {
        tag: make
        for tag, make in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag in allowed
    }
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in allowed - replaced]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for name, (pattern, first) in PLAIN_SCALARS.items():
        form = re.compile(pattern, re.IGNORECASE)
        loader.add_implicit_resolver(f"{TAG_PREFIX}{name}", form, [*first])


def json_text(document: Any, indent: int | None = None) -> str:
    return json.dumps(plain(document), indent=indent, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """A copy of plain values in which None stands for NaN and for infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value
