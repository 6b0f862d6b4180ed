"""What is settled and checked before a sweep begins: its spec, its space, its budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable

import numpy as np

from lstm_sweep.models import baselines
from lstm_sweep.models.config import NORMALIZING, Config, TrialConfig, as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import usual_adjacent
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.models.size import parameters
from lstm_sweep.search.policy import ladder, lstm_problem
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.lstm_problem import (
    RoundSize,
    all_carried,
    fewest_steps,
    fitting_round_size,
)
from lstm_sweep.search.policy.problem import admits_all
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Device
from lstm_sweep.spaces.dimension import CorpusFacts, Dimension
from lstm_sweep.spaces.space import Space

#: any of these means that a CPU has products of matrices in bfloat16
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
#: draws by which a space is measured against the size rule, and how many must pass
SIZE_DRAWS = 1_000
SIZE_SHARE = 1 / 50
#: bytes that training takes for each parameter, at least: itself, its gradient, two moments
PARAMETER_BYTES = 16
#: by how much a number may lie beyond the end of a range, for rounding
ROUNDING = 1e-6


def check_space(spec: SweepSpec, corpus: Corpus) -> float:
    """Share of drawn configs that the size rule admits."""
    if "carried" in spec.space["state"] and "uni" not in spec.space["direction"]:
        raise InputError(
            "state is carried and direction is bi, which reads each window from its end, too: "
            "expected state reset, or direction uni"
        )
    corpus.check_windows(int(spec.space.largest("sequence_length")))
    return check_sizes(spec, len(corpus.train), len(corpus.alphabet))


def check_sizes(spec: SweepSpec, symbols: int, alphabet: int, classes: int | None = None) -> float:
    """Share of drawn configs that the size rule admits."""
    rng, rule = np.random.default_rng(spec.seed), spec.rule()
    configs = [as_lstm_config(spec.space.sample(rng)) for _ in range(SIZE_DRAWS)]
    verdicts = [rule.judge(config, alphabet, symbols, classes) for config in configs]
    passed = sum(verdict.admitted for verdict in verdicts) / SIZE_DRAWS
    if spec.size_rule == "reject" and passed < SIZE_SHARE:
        counts = [verdict.parameters for verdict in verdicts]
        fewest, most = rule.bounds(symbols)
        raise InputError(
            f"size rule: {passed:.1%} of {SIZE_DRAWS:,} draws pass, expected at least "
            f"{SIZE_SHARE:.0%}; they have {min(counts):,} to {max(counts):,} parameters and "
            f"{symbols:,} training symbols admit {fewest:,.0f} to {most:,.0f}; change layer_size "
            "by --set, or --size-rule warn"
        )
    return passed


def check_instructions(wanted: Collection[object], devices: Iterable[Device]) -> None:
    if all(precision == "float32" for precision in wanted):
        return
    for device in devices:
        known, at = device.cpu_flags, f" on node {device.node}" if device.node else ""
        if device.gpu:
            continue
        if "float16" in wanted:
            raise InputError(
                f"precision float16 needs a GPU, and there is none{at}: expected float32"
            )
        if known and not known & BFLOAT16_FLAGS:
            cpu = f"the CPU{at}" if at else "this CPU"
            raise InputError(
                f"precision bfloat16: {cpu} has none of {', '.join(sorted(BFLOAT16_FLAGS))}, "
                f"expected float32"
            )


def ladder_notes(spec: SweepSpec) -> list[str]:
    """A line for people if the ladder is left out, since the sweep has few trials."""
    rates = ladder.rates_of(spec.space) if spec.ladder else ()
    if not rates or not ladder.is_left_out(rates, spec.plan().trials):
        return []
    few = f"{spec.trials} trials are" if spec.trials != 1 else "1 trial is"
    return [
        f"ladder: left out, since {few} too few to try {len(rates)} learning rates first; "
        f"rates about {ladder.usual_rate(rates):g} are searched"
    ]


def rate_notes(spec: SweepSpec) -> list[str]:
    """A line for people if the ladder finds rates that suit some optimizers of a space alone."""
    if not (spec.ladder and ladder.rates_of(spec.space)):
        return []
    dimension = spec.space["optimizer"]
    climbs = str(dimension.value_at(0.0))
    others = [
        str(name)
        for name in dimension.values() or []
        if (name in NORMALIZING) != (climbs in NORMALIZING)
    ]
    if not others:
        return []
    return [
        f"ladder: climbed with {climbs}, and its rates are far from those of {', '.join(others)}: "
        f"better a sweep of their own for these, or no ladder"
    ]


def check_stored(record: TrialRecord, space: Space) -> None:
    """Refuse a config of the store that a search of `space` cannot have proposed."""
    values = record.config.to_dict()
    if set(values) != set(space):
        raise record.tags.bad(Tag.CONFIG, f"values of {', '.join(space)}")
    for name, value in values.items():
        if name == space.rate and ladder.refinable(space):
            within = _between(value, *ladder.ends_of(space[name]))
        else:
            within = _within(value, space[name])
        if not within:
            raise BadRunError(
                f"run {record.run_id}: tag {Tag.CONFIG}: {name} is {shown(value)}, expected a "
                f"value of the sweep's space: {shown(space[name].describe())}"
            )


def _within(value: object, dimension: Dimension) -> bool:
    """Whether a value lies in a dimension, or so near to its ends that it was rounded."""
    low, high = (getattr(dimension, end, None) for end in ("low", "high"))
    if low is None or high is None or not isinstance(value, int | float):
        return value in dimension
    return _between(value, low, high)


def _between(value: object, low: float, high: float) -> bool:
    more = ROUNDING * max(abs(low), abs(high))
    return isinstance(value, int | float) and low - more <= value <= high + more


def check_room(
    config: TrialConfig, alphabet: int, device: Device, classes: int | None = None
) -> None:
    """Refuse a network whose weights a device's node cannot train, whatever else there is."""
    count = parameters(config, alphabet, classes)
    if device.memory is not None and count * PARAMETER_BYTES > device.memory:
        raise InputError(
            f"a network of {config.layers}x{config.layer_size} has {count:,} parameters: expected "
            f"at most the {device.memory // PARAMETER_BYTES:,} that fit into the memory of "
            f"{'this machine' if device.node is None else f'node {device.node}'}"
        )


#: symbols of a session of event ids in the mean, at least, where most windows lie within a session:
#: those that show where one begins share no targets (`windows.shared_windows`)
LONG_SESSION = 100


def settled_spec(spec: SweepSpec, corpus: Corpus) -> SweepSpec:
    """The spec with the space and grain that suit its corpus, and whether that has ends."""
    if not isinstance(spec.ends, bool):
        spec = dataclasses.replace(spec, ends=corpus.alphabet.ends)
    adjacent, split = spec.adjacent_targets, corpus.validation
    if not isinstance(adjacent, int):
        adjacent = usual_adjacent(
            sharing=corpus.alphabet.is_text or len(split) >= LONG_SESSION * len(split.starts),
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

    space = spec.space.settled(CorpusFacts(symbols, lambda: baselines.best_order(corpus)))
    if space is not spec.space:
        spec = dataclasses.replace(spec, space=space)
    _check_rounds(spec, DataSize(symbols, alphabet, 0))
    if isinstance(rounds, int) and isinstance(targets, int):
        return spec
    found = round_size(spec.space)
    if not isinstance(targets, int):  # no more than can be drawn
        known = len(corpus.validation) - len(corpus.validation.unknown)
        found = dataclasses.replace(found, targets=min(found.targets, known))
    return dataclasses.replace(spec, targets=found.targets, rounds_per_epoch=found.rounds_per_epoch)


def settled_classes(spec: SweepSpec, size: DataSize) -> SweepSpec:
    """The spec with the space and rounds that suit labelled sequences of this size."""
    space = spec.space.settled(CorpusFacts(size.symbols, lengths=size.lengths))
    if space is not spec.space:
        spec = dataclasses.replace(spec, space=space)
    _check_rounds(spec, size)
    if isinstance(spec.rounds_per_epoch, int):
        return spec
    rule = spec.rule()

    def fits(config: Config) -> bool:
        sizes = size.alphabet, size.symbols, size.classes
        return rule.judge(as_lstm_config(config), *sizes).admitted

    admits = fits if spec.size_rule == "reject" else admits_all
    rounds = lstm_problem.fitting_rounds(spec.space, size, admits)
    return dataclasses.replace(spec, rounds_per_epoch=rounds)


def _check_rounds(spec: SweepSpec, size: DataSize) -> None:
    rounds, steps = spec.rounds_per_epoch, fewest_steps(spec.space, size)
    if isinstance(rounds, int) and rounds > steps:
        raise InputError(
            f"rounds_per_epoch is {rounds}: expected at most {steps}, the fewest steps that an "
            f"epoch has in this space"
        )
