"""What an exported model continues."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.cpu.program_types import Program
from lstm_sweep.models.data.alphabet import END, UNKNOWN, Alphabet
from lstm_sweep.models.errors import InputError, check_range, check_text, cut, shown
from lstm_sweep.models.network.evaluation import continued, until_ended
from lstm_sweep.search.driver.task import prepare_backend
from lstm_sweep.search.process import forkserver

#: limits of what may be asked for
MOST_SYMBOLS, MOST_ROWS, MOST_TEMPERATURE, MOST_SEED = 1_000_000, 1_000, 100.0, 2**31 - 1

#: the next symbol of each sequence; None of one that has ended
Symbols = Sequence[str | int | None]


@dataclass(frozen=True)
class GenerationRequest:
    """What is to be generated; checked when it is made."""

    prompt: str
    #: symbols of each sequence after the prompt, at most: it may end before
    length: int
    temperature: float
    #: sequences
    count: int
    seed: int

    def __post_init__(self) -> None:
        check_text("--prompt", self.prompt)
        check_range("--length", self.length, 1, MOST_SYMBOLS, whole=True)
        check_range("--temperature", self.temperature, 0, MOST_TEMPERATURE)
        check_range("--count", self.count, 1, MOST_ROWS, whole=True)
        check_range("--seed", self.seed, 0, MOST_SEED, whole=True)


@dataclass(frozen=True)
class Generated:
    """Sequences that a model continues, symbol by symbol as they are drawn; it iterates once."""

    bundle: str
    #: trial whose model it is
    trial: str
    request: GenerationRequest
    #: what stands between two symbols in a text; nothing between characters
    between: str
    #: turn by turn the next symbol of each sequence; None of one that has ended
    turns: Iterator[Symbols]

    def __iter__(self) -> Iterator[Symbols]:
        return self.turns

    def sequences(self) -> list[str] | list[list[str | int]]:
        """All sequences, without the prompt: texts, or lists of event ids.

        One is shorter than was asked for if its session has ended.
        """
        turns = zip(*self.turns, strict=True)
        rows = [[symbol for symbol in row if symbol is not None] for row in turns]
        return ["".join(map(str, row)) for row in rows] if not self.between else rows

    def to_dict(self) -> dict[str, Any]:
        """All of it as `generate --json` prints it."""
        return {
            "bundle": self.bundle,
            "trial": self.trial,
            "prompt": self.request.prompt,
            "temperature": self.request.temperature,
            "seed": self.request.seed,
            "sequences": self.sequences(),
        }


def generate(bundle: str, request: GenerationRequest) -> Generated:
    """Sequences that the model of a bundle continues; one that has learned to end may end."""
    folder, opened = bundles.read(bundle)
    past = encode(opened.alphabet, request.prompt)
    if len(past) and (past == UNKNOWN).all():
        raise InputError(
            f"--prompt {shown(request.prompt)}: the bundle knows none of its symbols, expected "
            f"some of {_examples(opened.alphabet)}"
        )
    turns = forkserver.stream(_continued, folder, opened, past, request)
    next(turns)
    symbols = (_decoded(opened.alphabet, codes) for codes in turns if codes is not None)
    return Generated(bundle, opened.trial, request, opened.alphabet.between, symbols)


def _decoded(alphabet: Alphabet, codes: NDArray[np.int32]) -> Symbols:
    symbols = alphabet.decode(codes)
    if not alphabet.ends:
        return symbols
    return [None if code == END else symbol for code, symbol in zip(codes, symbols, strict=True)]


def _continued(
    folder: Path, bundle: Bundle, past: NDArray[np.int32], request: GenerationRequest
) -> Iterator[NDArray[np.int32] | None]:
    """Nothing once a bundle's network is loaded, then what comes next, in a process of its own."""
    predictor = predictor_of(folder, bundle, request.seed)
    yield None
    rows, temperature, seed = request.count, request.temperature, request.seed
    turns = continued(predictor, bundle.config, past, rows=rows, temperature=temperature, seed=seed)
    endless = not bundle.alphabet.ends
    yield from islice(turns if endless else until_ended(turns), request.length)


def predictor_of(folder: Path, bundle: Bundle, seed: int) -> Program:
    """The network of a bundle that was read, on the CPU, in a process that has none yet.

    It sets the device, the threads and the randomness of that process.
    """
    prepare(seed)
    return bundles.predictor(folder, bundle)


def prepare(seed: int) -> None:
    """Set the device, the threads and the randomness of a process that has no network yet."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # it has a word for each odd shape
    prepare_backend(seed)


def encode(alphabet: Alphabet, prompt: str, place: str = "--prompt") -> NDArray[np.int32]:
    """Codes of a prompt: its characters, words, event ids with spaces between them, or lines."""
    if alphabet.is_text:
        return alphabet.encode(prompt)
    if alphabet.words:
        return alphabet.encode(alphabet.words.split(prompt))
    if alphabet.lines:
        lines = [line for line in re.split("\r\n?|\n", prompt) if line.strip()]
        return alphabet.encode(alphabet.lines.symbols_in(lines, alphabet.symbols))
    words = prompt.split()
    for word in words:
        if not (word.isascii() and word.isdecimal()) or len(word) > 18:
            raise InputError(
                f"{place}: found {shown(word)}, expected event ids with spaces between them, "
                f"such as {_examples(alphabet)}"
            )
    return alphabet.encode(int(word) for word in words)


def _examples(alphabet: Alphabet) -> str:
    some = alphabet.symbols[:8]
    text = alphabet.between.join(map(str, some))
    return cut(text if alphabet.kind == "ids" else repr(text))
