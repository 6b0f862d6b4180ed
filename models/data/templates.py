"""Templates of log lines: mined by Drain, and matched ever after.

He, Zhu, Zheng, Lyu, "Drain: an online log parsing approach with fixed depth tree", ICWS 2017.
Settings have the names of the library `drain3`. What varies in every log is masked first, by one
regular expression that is made of all masks: the leftmost match wins, and of several at one place
the mask that stands first.
"""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data.source import is_confined, read_small, regex
from lstm_sweep.models.documents import MAX_BYTES, parse_yaml
from lstm_sweep.models.errors import InputError, check_kind, check_range, one_of, shown

#: what stands for any token of a template, or for any part of one
WILDCARD = "<*>"
#: tokens of a line that are looked at, and the one of a line without any
MOST_TOKENS, NOTHING = 128, "<empty>"
#: block IDs and UUIDs before addresses, these before hexadecimal numbers, and these before numbers
MASKS = (
    (r"\bblk_-?\d+", "BLK"),
    (r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b", "UUID"),
    (r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b", "IP"),
    (r"\b0x[0-9a-fA-F]+\b", "HEX"),
    (r"\b(?=\d*[a-fA-F])(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}\b", "HEX"),
    (r"\b\d+(?:\.\d+)?", "NUM"),
)
#: bytes of a file of templates, at most
MOST_BYTES = 1 << 22
#: fields of a mask in a file
PATTERN, NAME = "regex_pattern", "mask_with"


@dataclass(frozen=True, kw_only=True)
class TemplateSettings:
    """How lines become templates; checked when it is made."""

    #: share of its tokens that a line has in common with the template that it joins, at least
    sim_th: float = 0.4
    #: of the tree; its inner levels are by the number of tokens and the first `depth - 3` tokens
    depth: int = 4
    #: of a node of the tree, at most
    max_children: int = 100
    #: templates, at most; lines that would make more are `<unk>`
    max_clusters: int = 10_000
    #: regular expressions, and what stands in place of what they match, without `<` and `>`
    masking: tuple[tuple[str, str], ...] = MASKS
    #: texts that separate tokens, beside white space
    extra_delimiters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_range("sim_th", self.sim_th, 0, 1)
        check_range("depth", self.depth, 3, MOST_TOKENS, whole=True)
        check_range("max_children", self.max_children, 2, 100_000, whole=True)
        check_range("max_clusters", self.max_clusters, 2, 1_000_000, whole=True)
        for text in self.extra_delimiters:
            if not isinstance(text, str) or not text:
                raise InputError(f"extra_delimiters has {shown(text)}: expected texts")
        for pattern, name in self.masking:
            if not isinstance(name, str) or not name or name.split() != [name]:
                raise InputError(f"{NAME} is {shown(name)}: expected a word")
            regex(PATTERN, pattern)
        self._expression()

    def _expression(self) -> re.Pattern[str]:
        """All masks; it is refused if they name groups alike, or number them."""
        parts = (f"(?P<mask_{number}>{pattern})" for number, (pattern, _) in
                 enumerate(self.masking))  # fmt: skip
        return regex("masking", "|".join(parts))

    def mask(self) -> Callable[[str], str]:
        """A function that masks a line. Expressions are used, which may take long."""
        if not self.masking:
            return str
        for pattern, _ in self.masking:
            if regex(PATTERN, pattern).match(""):
                raise InputError(
                    f"{PATTERN} {shown(pattern)} matches an empty text, expected one that does not"
                )
        named = {f"mask_{number}": f"<{name}>" for number, (_, name) in enumerate(self.masking)}
        substitute = self._expression().sub

        def masked(match: re.Match[str]) -> str:
            return named[match.lastgroup]  # type: ignore[index] # the outermost closes last

        return lambda line: substitute(masked, line)

    def tokens(self, masked: str) -> list[str]:
        """The tokens of a line that is masked, or of a template."""
        for text in self.extra_delimiters:
            masked = masked.replace(text, " ")
        return masked.split(None, MOST_TOKENS)[:MOST_TOKENS] or [NOTHING]

    def to_dict(self) -> dict[str, Any]:
        """All that `from_dict` needs, as plain values."""
        masking = [{PATTERN: pattern, NAME: name} for pattern, name in self.masking]
        return vars(self) | {"masking": masking, "extra_delimiters": [*self.extra_delimiters]}

    @classmethod
    def from_dict(cls, given: object) -> Self:
        """Make settings of plain values; those that are missing have their defaults."""
        names = cls.__dataclass_fields__
        if not isinstance(given, dict):
            raise InputError(f"found {shown(given)}, expected fields such as `sim_th: 0.4`")
        for name in given:
            if name not in names:
                raise InputError(f"{shown(name)} is no field: {one_of(name, names)}")
        values = dict(given)
        for name in {"masking", "extra_delimiters"} & values.keys():
            if not isinstance(values[name], list):
                raise InputError(f"{name} is {shown(values[name])}: expected a list")
            values[name] = tuple(values[name])
        if "masking" in values:
            for mask in values["masking"]:
                if not isinstance(mask, dict) or mask.keys() != {PATTERN, NAME}:
                    text = f"masking has {shown(mask)}: expected {PATTERN} and {NAME}"
                    raise InputError(text)
            values["masking"] = tuple((mask[PATTERN], mask[NAME]) for mask in values["masking"])
        for name in values.keys() - {"masking", "extra_delimiters"}:
            check_kind(name, values[name], whole=name != "sim_th")
        return cls(**values)


def read_settings(path: str) -> TemplateSettings:
    text, names = read_small(Path(path), MAX_BYTES), TemplateSettings.__dataclass_fields__
    try:
        content = parse_yaml(text, path)
    except InputError:
        if not is_confined():
            raise
        content = text
    content = {} if content is None else content
    if is_confined() and not (isinstance(content, dict) and content.keys() <= names.keys()):
        raise InputError(f"{path}: expected YAML with fields of {', '.join(names)} alone")
    try:
        return TemplateSettings.from_dict(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_templates(path: str) -> list[str]:
    """The distinct templates in a file, one in a line, in which `<*>` stands for what varies."""
    lines = read_small(Path(path), MOST_BYTES).split("\n")
    found = dict.fromkeys(" ".join(line.split()[:MOST_TOKENS]) for line in lines)
    if not (templates := [text for text in found if text]):
        raise InputError(f"{path}: found no templates, expected one in a line, with {WILDCARD}")
    return templates


@dataclass
class _Node:
    """A node of a tree: children by their token, and at a leaf numbers of templates."""

    children: dict[str, _Node] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    #: hashes of the tokens of these, 0 for `<*>`: a row for each, and more
    hashes: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))
    #: children by patterns of tokens of which a part varies
    patterns: list[tuple[Callable[[str], bool], _Node]] = field(default_factory=list)

    def child(self, token: str) -> _Node:
        """The child of a token, which is made if there is none."""
        return self.children.setdefault(token, _Node())


class Miner:
    """The templates of lines that are added one by one."""

    def __init__(self, settings: TemplateSettings) -> None:
        self._settings = settings
        self._roots: dict[int, _Node] = {}
        self._found: list[list[str]] = []

    def templates(self) -> list[str]:
        """The templates so far, distinct, in the order of their first lines."""
        return list(dict.fromkeys(map(" ".join, self._found)))

    def add(self, tokens: list[str]) -> int | None:
        """The number of the template that a line joins or makes; None if there are too many."""
        leaf = self._leaf(tokens)
        place = self._nearest(leaf, tokens) if leaf else None
        if leaf and place is not None:
            template = self._found[number := leaf.numbers[place]]
            if template != tokens:
                self._found[number] = [
                    mine if mine == its else WILDCARD
                    for mine, its in zip(template, tokens, strict=True)
                ]
                leaf.hashes[place] = _hashes(self._found[number])
            return number
        if len(self._found) >= self._settings.max_clusters:
            return None
        leaf = self._grown(tokens)
        number, place = len(self._found), len(leaf.numbers)
        self._found.append(tokens)
        leaf.numbers.append(number)
        if place == len(leaf.hashes):
            leaf.hashes = np.resize(leaf.hashes, (2 * place + 1, len(tokens)))
        leaf.hashes[place] = _hashes(tokens)
        return number

    def _keys(self, tokens: list[str]) -> list[str]:
        """The first tokens, by which the tree branches."""
        return tokens[: min(self._settings.depth - 3, len(tokens) - 1)]

    def _leaf(self, tokens: list[str]) -> _Node | None:
        node = self._roots.get(len(tokens))
        for token in self._keys(tokens):
            if node is None:
                break
            node = node.children.get(token) or node.children.get(WILDCARD)
        return node

    def _grown(self, tokens: list[str]) -> _Node:
        """The leaf of a template, once there is one.

        Tokens with digits, and those for which a node has no room, are in the child `<*>`.
        """
        node = self._roots.setdefault(len(tokens), _Node())
        most = self._settings.max_children
        for token in self._keys(tokens):
            if token not in node.children:
                left = most - len(node.children) - (WILDCARD not in node.children)
                if left <= 0 or any(map(str.isdigit, token)):
                    token = WILDCARD
            node = node.child(token)
        return node

    def _nearest(self, leaf: _Node, tokens: list[str]) -> int | None:
        """Where the template is that has most of the tokens, if enough; of several the vaguest."""
        known = leaf.hashes[: len(leaf.numbers)]
        alike = (known == [one or 1 for one in _hashes(tokens)]).sum(axis=1)
        place = int((alike * (len(tokens) + 1) + (known == 0).sum(axis=1)).argmax())
        return place if alike[place] >= self._settings.sim_th * len(tokens) else None


def _hashes(tokens: list[str]) -> list[int]:
    return [0 if token == WILDCARD else hash(token) for token in tokens]


class Matcher:
    """Finds which of some templates a line has; of several the one that fixes earlier tokens.

    All templates are in one tree by all of their tokens, so that none is missed.
    """

    def __init__(self, templates: Iterable[str]) -> None:
        self._roots: dict[int, _Node] = {}
        for number, template in enumerate(templates):
            tokens = template.split()
            node = self._roots.setdefault(len(tokens), _Node())
            for token in tokens:
                if WILDCARD in token and token != WILDCARD and token not in node.children:
                    parts = map(glob.escape, token.split(WILDCARD))
                    fits = partial(fnmatch.fnmatchcase, pat="*".join(parts))
                    node.patterns.append((fits, node.child(token)))
                node = node.child(token)
            node.numbers.append(number)

    def number(self, tokens: Sequence[str]) -> int | None:
        """The number of the template of a line; None if it has none of them."""
        root = self._roots.get(len(tokens))
        stack = [(root, 0)] if root else []
        while stack:
            node, place = stack.pop()
            if place == len(tokens):
                return node.numbers[0]
            stack += [(child, place + 1) for child in _next(node, tokens[place])]
        return None


def _next(node: _Node, token: str) -> Iterator[_Node]:
    """The children that a token leads to, the most specific one last."""
    if vague := node.children.get(WILDCARD):
        yield vague
    for fits, child in reversed(node.patterns):
        if fits(token):
            yield child
    if (exact := node.children.get(token)) and token != WILDCARD:
        yield exact
