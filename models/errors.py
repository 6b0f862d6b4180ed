"""The one error that users see as a line of text instead of a traceback."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: characters of a value and of a message, at most: what was given may have megabytes
LONGEST_VALUE, LONGEST = 120, 1_000
#: bytes of a YAML file, and lists and mappings inside each other, at most
YAML_BYTES, YAML_DEPTH = 1 << 17, 20
#: what YAML may hold: no bytes, no sets, no merged mappings
YAML_TAGS = ("null", "bool", "int", "float", "timestamp", "str", "seq", "map")
#: truth values and whole numbers; what else old YAML takes for them, such as `on`, 010 for eight
#: and 1:30 for ninety, are words
YAML_WORDS = {
    "bool": (r"(?:true|false)\Z", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-f]+)\Z", "-+0123456789"),
}


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, what is expected, and where.

    Whatever it quotes, the message is one line that is not long.
    """

    def __init__(self, message: str) -> None:
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        super().__init__(text if len(text) <= LONGEST else f"{text[:700]} ... {text[-290:]}")


def cut(text: str, longest: int = LONGEST_VALUE) -> str:
    """A text as messages quote it: not long."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def shown(value: object) -> str:
    """A value as messages quote it: `repr`, but not long."""
    if isinstance(value, str):
        return repr(cut(value))
    try:
        return cut(repr(value))
    except (ValueError, RecursionError):  # a number of thousands of digits; lists without end
        return f"{type(value).__name__} too large to show"


def nearest(name: object, known: Iterable[str]) -> str:
    """`did you mean 'layers'?`, or nothing if no known name is near."""
    import difflib

    given = name[:LONGEST_VALUE] if isinstance(name, str) else ""
    near = difflib.get_close_matches(given, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else ""


def one_of(name: object, known: Iterable[str]) -> str:
    """Name what is possible, with the nearest first: `did you mean 'layers'? possible: ...`."""
    names = list(known)
    return f"{nearest(name, names)} possible: {', '.join(names)}".lstrip()


def _loader() -> Any:
    """A safe loader of plain values.

    Refused is what makes of a file something else than its reader sees, or of a short file
    something vast: keys that stand twice, aliases, deep nesting.
    """
    import yaml
    from yaml.constructor import ConstructorError

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.AliasEvent):
                self.refuse(event, f"found the alias '*{cut(str(event.anchor))}'", "its values")
            if self.depth >= YAML_DEPTH:
                problem = "found lists or mappings nested too deeply"
                self.refuse(event, problem, f"at most {YAML_DEPTH} levels")
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

    prefix = "tag:yaml.org,2002:"
    taken = {f"{prefix}{name}" for name in YAML_TAGS}
    own = {f"{prefix}{name}" for name in YAML_WORDS}
    Loader.yaml_constructors = {
        tag: make
        for tag, make in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag in taken
    }
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in taken - own]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for name, (pattern, first) in YAML_WORDS.items():
        form = re.compile(pattern, re.IGNORECASE)
        Loader.add_implicit_resolver(f"{prefix}{name}", form, [*first])
    return Loader


def read_yaml(path: Path) -> object:
    """Read a YAML file without its Python tags.

    Raises:
        InputError: it cannot be read, or is no YAML; the message names the line.
    """
    import yaml

    where = cut(str(path), 300)
    try:
        with path.open("rb") as file:
            content = file.read(YAML_BYTES + 1)
        if len(content) > YAML_BYTES:
            most = f"at most {YAML_BYTES:,} bytes"
            raise InputError(f"{where}: the file is too long, expected a YAML file of {most}")
        text = content.decode("utf-8")
        return yaml.load(text, _loader())
    except OSError as error:
        raise InputError(f"{where}: {error.strerror}, expected a YAML file") from None
    except UnicodeDecodeError:
        raise InputError(f"{where}: found bytes that are not UTF-8, expected a YAML file") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        problem = f"found the character U+{error.character:04X}"
        raise InputError(f"{where}:{line}: {problem}, expected a YAML file") from None
    except InputError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error) or "not YAML"
        expected = getattr(error, "note", None) or "a YAML file"
        raise InputError(f"{where}{place}: {cut(problem)}, expected {expected}") from None
