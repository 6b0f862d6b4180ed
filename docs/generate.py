"""Writes the generated parts of docs/commands.md from the parser of the command line.

    python docs/generate.py            rewrites them
    python docs/generate.py --check    changes nothing; exit code 1 if a part is out of date

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`. The text around it is
written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from lstm_sweep.search.cli import build_parser

PAGE = Path(__file__).resolve().parent / "commands.md"
PART = re.compile(r"(<!-- generated: (?P<name>.+?) -->\n)(?P<text>.*?)(<!-- end -->)", re.DOTALL)
#: options of every command, which are described once
COMMON = ("--help", "--json")
#: meanings of arguments whose help is empty, by their form
MEANINGS = {
    "NAME": "a sweep; `sweeps` lists them",
    "--set FIELD=VALUE": "another value for a field of the config, which makes a variation",
    "--format keras|savedmodel": "`keras` (default), or a TensorFlow SavedModel beside it",
}


def commands(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and descriptions of all commands, those of sub-commands such as `token add` too."""
    for name, command in _subparsers(parser).items():
        inner = _subparsers(command)
        if inner:
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, _summary(parser, name)


def parts() -> dict[str, str]:
    """The text of each generated part, by its name.

    Raises:
        ValueError: an argument has neither help nor an entry in `MEANINGS`.
    """
    parser = build_parser()
    found = dict(commands(parser))
    rows = [(f"[`{name}`](#{name.replace(' ', '-')})", text) for name, text in found.items()]
    texts = {"commands": _table(("command", "what it does"), rows)}
    for name in found:
        command: argparse.ArgumentParser = parser
        for word in name.split():
            command = _subparsers(command)[word]
        rows = [(f"`{_form(a)}`", _meaning(command, a)) for a in _own(command)]
        table = _table(("argument", "meaning"), rows) if rows else ""
        texts[name] = f"Usage: `{_usage(name, command)}`\n" + (table and f"\n{table}")
    return {name: f"\n{text}\n" for name, text in texts.items()}


def generate(page: str) -> tuple[str, list[str]]:
    """The page with its parts as they should be, and the names of those that were not.

    Raises:
        ValueError: a part is missing, or is none that can be generated; or an argument has no help.
    """
    texts, seen, stale = parts(), set[str](), list[str]()

    def replaced(part: re.Match[str]) -> str:
        name = part["name"]
        if name not in texts:
            raise ValueError(f"{PAGE.name}: '{name}' is no generated part: {', '.join(texts)}")
        seen.add(name)
        if part["text"] != texts[name]:
            stale.append(name)
        return part[1] + texts[name] + part[4]

    page = PART.sub(replaced, page)
    if missing := [name for name in texts if name not in seen]:
        raise ValueError(
            f"{PAGE.name}: found no part for {', '.join(missing)}, expected a heading and "
            f"<!-- generated: {missing[0]} -->, <!-- end --> below it"
        )
    return page, stale


def main() -> int:
    """Rewrite the parts, or only compare; return the exit code."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--check", action="store_true", help="change nothing, only compare")
    check = arguments.parse_args().check
    try:
        page, stale = generate(PAGE.read_text(encoding="utf-8"))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if check and stale:
        print(f"{PAGE.name}: out of date: {', '.join(stale)}; run {Path(__file__).name}")
        return 1
    if stale:
        PAGE.write_text(page, encoding="utf-8")
        print(f"{PAGE.name}: rewritten: {', '.join(stale)}")
    return 0


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def _summary(parser: argparse.ArgumentParser, name: str) -> str:
    """What the list of commands in the help says of one."""
    [group] = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return next((a.help or "" for a in group._choices_actions if a.dest == name), "")


def _own(command: argparse.ArgumentParser) -> list[argparse.Action]:
    """Arguments of a command without those that every command has."""
    hidden = argparse.SUPPRESS
    return [
        a for a in command._actions if a.help != hidden and not set(a.option_strings) & set(COMMON)
    ]


def _meaning(command: argparse.ArgumentParser, action: argparse.Action) -> str:
    if action.help:
        return command._get_formatter()._expand_help(action)
    form = _form(action)
    if form not in MEANINGS:
        raise ValueError(f"{command.prog}: {form} has no help, expected one")
    return MEANINGS[form]


def _form(action: argparse.Action) -> str:
    """An argument as it is typed, such as `--top N`."""
    name = action.metavar
    if not isinstance(name, str):
        name = "|".join(map(str, action.choices)) if action.choices else action.dest.upper()
    if not action.option_strings:
        return name
    return action.option_strings[-1] + ("" if action.nargs == 0 else f" {name}")


def _usage(name: str, command: argparse.ArgumentParser) -> str:
    own = _own(command)
    needed = [_form(a) for a in own if a.required]
    optional = [f"[{_form(a)}]" for a in own if not a.required and not a.option_strings]
    options = ["[OPTION ...]"] if any(not a.required and a.option_strings for a in own) else []
    return " ".join(["lstm-sweep", name, *needed, *optional, *options])


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [head, ("---", "---"), *(tuple(c.replace("|", r"\|") for c in row) for row in rows)]
    return "".join(f"| {first} | {second} |\n" for first, second in lines)


if __name__ == "__main__":
    sys.exit(main())
