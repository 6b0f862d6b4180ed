"""Writes the generated parts of docs/commands.md and docs/python.md.

They come from the table of commands, and from docstrings.

    python docs/generate.py            rewrites them
    python docs/generate.py --check    changes nothing; exit code 1 if a part is out of date

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`. The text around it is
written by hand.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import lstm_sweep
from lstm_sweep.search.cli.parsers import COMMANDS, DETACH, SEARCHING, Argument, Command

DOCS = Path(__file__).resolve().parent
PART = re.compile(r"(<!-- generated: (?P<name>.+?) -->\n)(?P<text>.*?)(<!-- end -->)", re.DOTALL)
#: options of many commands, which are described once
COMMON = ("--help-all", "--json")
#: meanings of arguments whose help is empty, by their form
MEANINGS = {
    "NAME": "a sweep",
    "--set FIELD=VALUE": "another value for a field of the config, which makes a variation",
    "--format keras|savedmodel|onnx": "`keras` (default), or a TensorFlow SavedModel, or ONNX "
    "files, beside it",
}


def command_parts() -> dict[str, str]:
    """The parts of commands.md, by their names: a list of all commands, and each of them.

    What a command takes just as `launch` does is described there.

    Raises:
        ValueError: an argument has neither help nor an entry in `MEANINGS`.
    """
    found = dict(commands(COMMANDS))
    rows = [(f"[`{name}`](#{name.replace(' ', '-')})", one.help) for name, one in found.items()]
    texts, launch = {"commands": _list(rows)}, list[tuple[str, str]]()
    for name, command in found.items():
        detached = (DETACH,) if name in SEARCHING else ()
        own = [a for a in (*command.arguments, *detached) if a.names[0] not in COMMON]
        rows = [(f"`{_form(a)}`", _meaning(name, a)) for a in own]
        same = [row for row in rows if row in launch]
        launch = launch or rows  # the first command
        if same:
            named = ", ".join(f"`{form.strip('`').split()[0]}`" for form, _ in same)
            rows = [row for row in rows if row not in same]
            rows.append((named, "as of [`launch`](#launch)"))
        texts[name] = f"Usage: `{_usage(name, own)}`\n" + (f"\n{_list(rows)}" if rows else "")
    return {name: f"\n{text}\n" for name, text in texts.items()}


def commands(table: Mapping[str, Command], prefix: str = "") -> Iterator[tuple[str, Command]]:
    """All commands by their names, those of commands such as `token add` too."""
    for name, one in table.items():
        if one.actions:
            yield from commands(one.actions, f"{prefix}{name} ")
        else:
            yield prefix + name, one


def _meaning(command: str, argument: Argument) -> str:
    form = _form(argument)
    if text := argument.how.get("help") or MEANINGS.get(form):
        return str(text)
    raise ValueError(f"{command}: {form} has no help, expected one")


def _form(argument: Argument) -> str:
    """An argument as it is typed, such as `--top N`."""
    typed, how = argument.names[-1], argument.how
    name = how.get("metavar") or "|".join(how.get("choices", ()))
    if not typed.startswith("-"):
        return name
    return typed if how.get("action", "append") != "append" else f"{typed} {name}"


def _usage(name: str, own: Sequence[Argument]) -> str:
    def is_option(one: Argument) -> bool:
        return one.names[0].startswith("-") and not one.how.get("required")

    given = [
        f"[{_form(one)}]" if one.how.get("nargs") == "?" else _form(one)
        for one in sorted(own, key=lambda one: one.how.get("nargs") == "?")
        if not is_option(one)
    ]
    options = ["[OPTION ...]"] if any(map(is_option, own)) else []
    return " ".join(["lstm-sweep", name, *given, *options])


def _list(rows: list[tuple[str, str]]) -> str:
    return "".join(f"- {first}: {second}\n" if second else f"- {first}\n" for first, second in rows)


def python_parts() -> dict[str, str]:
    """The part of python.md: all public names of the package.

    Raises:
        ValueError: one has no docstring.
    """
    public = {name: getattr(lstm_sweep, name) for name in lstm_sweep.__all__}
    functions_first = sorted(public, key=lambda name: isinstance(public[name], type))
    sections = [_public(name, public[name]) for name in functions_first]
    return {"python": "\n" + "\n".join(sections) + "\n"}


#: pages with generated parts, and what writes these
PAGES = {"commands.md": command_parts, "python.md": python_parts}


def generate(page: str, text: str) -> tuple[str, list[str]]:
    """A page with its parts as they should be, and the names of those that were not.

    Raises:
        ValueError: a part is missing, or is none that can be generated; or something has no help.
    """
    texts, seen, stale = PAGES[page](), set[str](), list[str]()

    def replaced(part: re.Match[str]) -> str:
        name = part["name"]
        if name not in texts:
            raise ValueError(f"{page}: '{name}' is no generated part: {', '.join(texts)}")
        seen.add(name)
        if part["text"] != texts[name]:
            stale.append(name)
        return part[1] + texts[name] + part[4]

    text = PART.sub(replaced, text)
    if missing := [name for name in texts if name not in seen]:
        raise ValueError(
            f"{page}: found no part for {', '.join(missing)}, expected a heading and "
            f"<!-- generated: {missing[0]} -->, <!-- end --> below it"
        )
    return text, stale


def main() -> int:
    """Rewrite the parts, or only compare; return the exit code."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--check", action="store_true", help="change nothing, only compare")
    check = arguments.parse_args().check
    code = 0
    for page in PAGES:
        file = DOCS / page
        try:
            text, stale = generate(page, file.read_text(encoding="utf-8"))
        except ValueError as error:
            print(error, file=sys.stderr)
            code = 1
            continue
        if not stale:
            continue
        if check:
            print(f"{page}: out of date: {', '.join(stale)}; run {Path(__file__).name}")
            code = 1
        else:
            file.write_text(text, encoding="utf-8")
            print(f"{page}: rewritten: {', '.join(stale)}")
    return code


# --- the package ----------------------------------------------------------------------------------

#: how types are written for readers
ALIASES = {
    "StoreLike": "str | os.PathLike[str] | None",
    "pd.DataFrame": "pandas.DataFrame",
}
#: sections of docstrings, and what a row of each is
SECTIONS = {"Args": "argument", "Fields": "field", "Raises": "raises"}
#: a comment on an attribute, and what it is of
ATTRIBUTE = re.compile(
    r"((?:^ +#: .*\n)*)^ +(?:self\.)?([a-z]\w*)(?:: (.+?))?(?: = .+)?$", re.MULTILINE
)


def _public(name: str, value: Any) -> str:
    """The section of a public name: of a class with its attributes and methods."""
    if not isinstance(value, type):
        arguments = _sections(name, value)[1].get("argument")
        table = f"\n{_list(arguments)}" if arguments else ""
        return f"### {name}\n\n`{_signature(name, value)}`\n\n{_sections(name, value)[0]}\n{table}"
    parts = [f"### {name}\n\n{_sections(name, value)[0]}\n"]
    if rows := [*_attributes(value), *_properties(value)]:
        parts.append(_list(rows))
    methods = [
        f"- `{_signature(f'{name}.{member}', method)}`: {_inline(f'{name}.{member}', method)}\n"
        for member, method in vars(value).items()
        if inspect.isfunction(method) and member[0] != "_" and member != "to_dict"
    ]
    return "\n".join([*parts, *(["".join(methods)] if methods else [])])


def _inline(name: str, method: object) -> str:
    """The text of a docstring without its sections, in one line."""
    return " ".join(_sections(name, method)[0].split())


def _signature(name: str, function: Callable[..., object]) -> str:
    """A call with the names of its arguments and their defaults, in one line."""
    arguments = list[str]()
    for argument in inspect.signature(function).parameters.values():
        if argument.name == "self":
            continue
        if argument.kind is argument.KEYWORD_ONLY and "*" not in arguments:
            arguments.append("*")
        prefix = "**" if argument.kind is argument.VAR_KEYWORD else ""
        default = "" if argument.default is argument.empty else f"={argument.default!r}"
        arguments.append(f"{prefix}{argument.name}{default}")
    return f"{name}({', '.join(arguments)})"


def _type(annotation: object) -> str:
    text = str(annotation)
    for alias, meaning in ALIASES.items():
        text = text.replace(alias, meaning)
    return text


def _sections(name: str, value: object) -> tuple[str, dict[str, list[tuple[str, str]]]]:
    """The text of a docstring, and the rows of its sections by their heads.

    Raises:
        ValueError: there is none.
    """
    lines = (inspect.getdoc(value) or "").splitlines()
    if not lines:
        raise ValueError(f"{name} has no docstring, expected one")
    text, sections, rows = [], dict[str, list[tuple[str, str]]](), None
    for line in lines:
        if (head := line.removesuffix(":")) in SECTIONS and line != head:
            rows = sections.setdefault(SECTIONS[head], [])
        elif rows is None:
            text.append(line)
        elif row := re.match(r" {4}(\w+): (.+)", line):
            rows.append((f"`{row[1]}`", row[2]))
        elif line.strip():
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} {line.strip()}")
    return "\n".join(text).strip(), sections


def _attributes(value: type) -> Iterator[tuple[str, str]]:
    """Attributes of a class with the comments above them, and fields of a dataclass without."""
    fields = {field.name for field in dataclasses.fields(value)} if is_dataclass(value) else set()
    for comment, name, kind in ATTRIBUTE.findall(inspect.getsource(value)):
        if comment or name in fields:
            meaning = " ".join(line.strip().removeprefix("#: ") for line in comment.splitlines())
            yield f"`{name}{kind and f': {_type(kind)}'}`", meaning


def _properties(value: type) -> Iterator[tuple[str, str]]:
    """Properties of a class with their docstrings in one line."""
    for name, member in vars(value).items():
        if isinstance(member, property) and member.fget and name[0] != "_":
            kind = _type(inspect.signature(member.fget).return_annotation)
            yield f"`{name}: {kind}`", _inline(name, member)


if __name__ == "__main__":
    sys.exit(main())
