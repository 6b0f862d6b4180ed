"""What a spec leaves open until its corpus is known."""

from __future__ import annotations

import dataclasses

from lstm_sweep.models import baselines
from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.policy.round_size import fewest_steps, fitting_round_size
from lstm_sweep.search.spec import SweepSpec


def settled_spec(spec: SweepSpec, corpus: Corpus) -> SweepSpec:
    """The spec with the space and grain that suit its corpus, and whether that has ends.

    Raises:
        InputError: an epoch is to have more rounds than steps.
    """
    if not isinstance(spec.ends, bool):
        spec = dataclasses.replace(spec, ends=corpus.alphabet.ends)
    symbols, alphabet = len(corpus.train), len(corpus.alphabet)
    space = spec.space.settled(symbols, lambda: baselines.best_order(corpus))
    if space is not spec.space:
        spec = dataclasses.replace(spec, space=space)
    rule, rounds, targets = spec.rule(), spec.rounds_per_epoch, spec.targets
    steps = fewest_steps(spec.space, symbols)
    if isinstance(rounds, int) and rounds > steps:
        raise InputError(
            f"rounds_per_epoch is {rounds}: expected at most {steps}, the fewest steps that an "
            f"epoch has in this space"
        )
    if isinstance(rounds, int) and isinstance(targets, int):
        return spec

    def admits(config: Config) -> bool:
        verdict = rule.judge(as_lstm_config(config), alphabet, symbols)
        return verdict.admitted or spec.size_rule != "reject"

    found = fitting_round_size(
        spec.space,
        symbols,
        alphabet,
        rounds_per_epoch=rounds if isinstance(rounds, int) else None,
        targets=targets if isinstance(targets, int) else None,
        adjacent=spec.adjacent_targets,
        validation_symbols=len(corpus.validation),
        admits=admits,
    )
    return dataclasses.replace(spec, targets=found.targets, rounds_per_epoch=found.rounds_per_epoch)
