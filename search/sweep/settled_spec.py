"""What a spec leaves open until its corpus is known."""

from __future__ import annotations

import dataclasses

from lstm_sweep.models import baselines
from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import usual_adjacent
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.policy import large_layers
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.problem import admits_all
from lstm_sweep.search.policy.round_size import (
    RoundSize,
    all_carried,
    fewest_steps,
    fitting_round_size,
)
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.spaces.by_corpus import CorpusFacts
from lstm_sweep.spaces.space import Space

#: symbols of a session of event ids in the mean, at least, where most windows lie within a session
LONG_SESSION = 100


def has_sharing_windows(corpus: Corpus) -> bool:
    """Whether scoring targets side by side have windows that may share them, in the main.

    In an event log of short sessions most windows show where their session begins, and do not
    (`windows.shared_windows`).
    """
    split = corpus.validation
    return corpus.alphabet.is_text or len(split) >= LONG_SESSION * len(split.starts)


def settled_spec(spec: SweepSpec, corpus: Corpus) -> SweepSpec:
    """The spec with the space and grain that suit its corpus, and whether that has ends.

    Raises:
        InputError: an epoch is to have more rounds than steps.
    """
    if not isinstance(spec.ends, bool):
        spec = dataclasses.replace(spec, ends=corpus.alphabet.ends)
    adjacent = spec.adjacent_targets
    if not isinstance(adjacent, int):
        adjacent = usual_adjacent(
            sharing=has_sharing_windows(corpus),
            carried=all_carried(spec.space),
            targets=spec.targets if isinstance(spec.targets, int) else None,
        )
        spec = dataclasses.replace(spec, adjacent_targets=adjacent)
    symbols, alphabet = len(corpus.train), len(corpus.alphabet)
    rule, rounds, targets = spec.rule(), spec.rounds_per_epoch, spec.targets

    def fits(config: Config) -> bool:
        return rule.judge(as_lstm_config(config), alphabet, symbols).admitted

    admits = fits if spec.size_rule == "reject" else admits_all

    def round_size(space: Space) -> RoundSize:
        return fitting_round_size(
            space,
            symbols,
            alphabet,
            rounds_per_epoch=rounds if isinstance(rounds, int) else None,
            targets=targets if isinstance(targets, int) else None,
            adjacent=adjacent,
            validation_symbols=len(corpus.validation),
            admits=admits,
        )

    def has_room(units: int) -> bool:
        found = round_size(spec.space)
        size = DataSize(
            symbols,
            alphabet,
            found.targets,
            found.rounds_per_epoch,
            validation=len(corpus.validation),
            adjacent=adjacent,
        )
        seconds = None if spec.minutes is None else 60 * spec.minutes
        suits = admits_all if spec.size_rule == "off" else fits
        return large_layers.has_room(units, spec.space, size, seconds, suits)

    facts = CorpusFacts(symbols, lambda: baselines.best_order(corpus), has_room)
    space = spec.space.settled(facts)
    if space is not spec.space:
        spec = dataclasses.replace(spec, space=space)
    steps = fewest_steps(spec.space, symbols)
    if isinstance(rounds, int) and rounds > steps:
        raise InputError(
            f"rounds_per_epoch is {rounds}: expected at most {steps}, the fewest steps that an "
            f"epoch has in this space"
        )
    if isinstance(rounds, int) and isinstance(targets, int):
        return spec
    found = round_size(spec.space)
    if not isinstance(targets, int):  # no more than can be drawn
        known = len(corpus.validation) - len(corpus.validation.unknown)
        found = dataclasses.replace(found, targets=min(found.targets, known))
    return dataclasses.replace(spec, targets=found.targets, rounds_per_epoch=found.rounds_per_epoch)
