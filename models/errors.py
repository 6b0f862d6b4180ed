"""The one error that users see as a line of text instead of a traceback."""

import re
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, what is expected, and where."""


def one_of(name: str, known: list[str]) -> str:
    """Name what is possible, with the nearest first: `did you mean 'layers'? possible: ...`."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}possible: {', '.join(known)}"


def _loader() -> Any:
    """A safe loader to which only true and false are truth values: `on` and `off` are words."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    truth = "tag:yaml.org,2002:bool"
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != truth]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(truth, re.compile(r"(?:true|false)\Z", re.IGNORECASE), [*"tTfF"])
    return Loader


def read_yaml(path: Path) -> object:
    """Read a YAML file without its Python tags.

    Raises:
        InputError: it cannot be read, or is no YAML; the message names the line.
    """
    import yaml

    try:
        return yaml.load(path.read_text(encoding="utf-8"), _loader())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}, expected a YAML file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: found bytes that are not UTF-8, expected a YAML file") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error) or "not YAML"
        raise InputError(f"{path}{line}: {problem}, expected a YAML file") from None
