"""The search for an LSTM on a corpus: what is known of such networks before one is trained."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from lstm_sweep.models.config import (
    NORMALIZING,
    OPTIMIZERS,
    Config,
    TrialConfig,
    as_lstm_config,
)
from lstm_sweep.models.size import parameters
from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.cost import (
    PRIOR_FIXED,
    SCORING_ROWS,
    CostModel,
    DataSize,
    prior_seconds,
    steps_per_round,
    windows_per_epoch,
)
from lstm_sweep.search.policy.ladder import ladder_length
from lstm_sweep.search.policy.problem import Admits, LargeNetwork, SearchProblem, admits_all
from lstm_sweep.search.values.trial import VALIDATION_LOSS, Objective
from lstm_sweep.spaces.dimension import SMALL_CORPUS, Dimension
from lstm_sweep.spaces.space import Space

#: steps of the optimizer before which losses say little about how a trial will end
FEWEST_STEPS = 50
#: fields of which a ladder takes the first value
FIRST = (
    "dropout", "batch_size", "offset", "state", "optimizer", "weight_decay", "averaging",
    "embedding_size",
)  # fmt: skip


def lstm_problem(
    space: Space,
    data_size: DataSize,
    *,
    untrained_loss: float,
    objective: Objective = VALIDATION_LOSS,
    admits: Admits = admits_all,
    prior: Sequence[Config] = (),
) -> SearchProblem:
    """The problem of a search of `space`; `untrained_loss`, nats, is of what learned nothing."""
    # whatever the size rule says: it is about networks that are searched
    small = smallest(space, data_size.alphabet, admits_all, data_size.classes)
    sizes = {name: space.largest(name) for name in ("layers", "layer_size")}
    largest = [
        small.evolve(**sizes, optimizer=optimizer)
        for optimizer in OPTIMIZERS
        if optimizer in space["optimizer"]
    ]
    middle = {name: space[name].value_at(0.5) for name in _WINDOWS}
    rounds = space.epochs * data_size.rounds_per_epoch
    steps = steps_per_round(small.evolve(**middle), data_size)
    first_rung = math.ceil(FEWEST_STEPS / steps)
    if data_size.lengths:  # a start is dear where few sequences are trained on in no time
        usual = usual_network(space, admits)
        first_rung = max(first_rung, math.ceil(PRIOR_FIXED / prior_seconds(usual, data_size)))
    first_rung = max(1, min(first_rung, rounds // halving.FACTOR))
    return SearchProblem(
        space=space,
        objective=objective,
        admits=admits,
        untrained_loss=untrained_loss,
        costs=lambda: CostModel(data_size, single_rounds=rounds == 1),
        smallest=small,
        pausable=True,
        rounds_per_epoch=data_size.rounds_per_epoch,
        first_rung=first_rung,
        ladder_length=lambda seconds, slots: ladder_length(
            small, data_size, rounds, seconds, slots
        ),
        rate_share=lambda config: rate_share(as_lstm_config(config), small),
        lowest_rate_share=min(rate_share(config, small) for config in largest),
        prior=tuple(prior),
        openings=lambda best, admits: openings(space, small, best, admits),
        large_openings=lambda best: large_openings(
            space, small, best, data_size, halving.rungs(rounds, first_rung)
        ),
    )


def rate_share(config: TrialConfig, small: TrialConfig) -> float:
    """Best learning rate of a config, as a share of that of the ladder's network.

    It falls as layers grow in size and in number; batches and windows have little influence.
    """
    if config.optimizer not in NORMALIZING:
        return 1.0
    return small.layer_size * small.layers / (config.layer_size * config.layers)


_WINDOWS = ("sequence_length", "batch_size")
#: symbols of the ladder's windows, or as near to that as a space has them
SHORT_WINDOW = 20


def nearest(dimension: Dimension, wanted: float) -> int:
    numbers = [int(number) for number in dimension.values() or []]
    return min(numbers, key=lambda number: abs(math.log(number / wanted)))


def smallest(
    space: Space, alphabet: int, admits: Admits, classes: int | None = None
) -> TrialConfig:
    """The smallest network of a space that is admitted, or its smallest if none is.

    It has no more dropout than it must, short windows and the smallest batches, so that a step of
    the optimizer costs little: to tell rates apart takes steps. Other fields have their middle
    values.
    """
    values = {name: dimension.value_at(0.5) for name, dimension in space.items()}
    for name in FIRST:
        if name in space:
            values[name] = space[name].value_at(0.0)
    values["sequence_length"] = nearest(space["sequence_length"], SHORT_WINDOW)
    values["direction"] = "uni" if "uni" in space["direction"] else "bi"
    values["epochs"] = space.largest("epochs")
    middle = as_lstm_config(space.config(values))
    networks = (
        middle.evolve(layers=layers, layer_size=size)
        for layers in space["layers"].values() or []
        for size in space["layer_size"].values() or []
    )
    by_layers = [list(group) for _, group in itertools.groupby(networks, lambda c: c.layers)]
    found = [next((c for c in group if admits(c)), None) for group in by_layers]
    admitted = [config for config in found if config] or [by_layers[0][0]]
    return min(admitted, key=lambda config: parameters(config, alphabet, classes))


def nearest_size(config: TrialConfig, space: Space, admits: Admits) -> TrialConfig | None:
    """A config with the layer size of a space that is nearest to its own, of those admitted."""
    sizes = [float(size) for size in space["layer_size"].values() or [config.layer_size]]
    sizes.sort(key=lambda size: abs(math.log(size / config.layer_size)))
    configs = (config.evolve(layer_size=int(size)) for size in sizes)
    return next((one for one in configs if admits(one)), None)


#: fields in which other openings differ from the first, one each, and where in the space
VARIED = {"layer_size": 0.75, "dropout": 0.25}
#: where those of classes lie: their networks soon know a few thousand sequences by heart
OF_CLASSES = {"dropout": 0.5, "embedding_size": 0.9, "batch_size": 0.5}


def openings(
    space: Space, small: TrialConfig, best: float, admits: Admits
) -> tuple[TrialConfig, ...]:
    """With what a search may begin: the ladder's network in a middling size with the best rate.

    And this with other values of a field or two each: they tell early whether the shortest windows,
    longer ones, larger layers or some dropout pay, which most spaces leave open. Of classes they
    tell whether larger layers, both directions, more of each sequence, or another pooling do. The
    middling size is the one nearest to the middle of the space that is admitted; without one there
    is none.
    """
    middle = int(space["layer_size"].value_at(0.5))
    small = small.evolve(learning_rate=best, layer_size=middle)
    if "pooling" in space:
        usual = {name: space[name].value_at(share) for name, share in OF_CLASSES.items()}
        first = small.evolve(**usual)
        of_each = [
            first.evolve(**{name: value})
            for name in ("direction", "pooling")
            for value in space[name].values() or []
        ]
        longest = first.evolve(sequence_length=space.largest("sequence_length"))
        size = space["layer_size"].value_at(VARIED["layer_size"])
        large = first.evolve(layer_size=size, direction=space["direction"].value_at(1.0))
        found = (nearest_size(one, space, admits) for one in (first, large, longest, *of_each))
        return tuple(dict.fromkeys(one for one in found if one))
    admitted = nearest_size(small, space, admits)
    if admitted is None:
        return ()
    first = admitted
    windows = space["sequence_length"]
    longer = windows.between(first.sequence_length, math.inf) or windows
    others = [_with_window(first, int(windows.value_at(0.0)), space)]
    others += [first.evolve(sequence_length=longer.value_at(0.5))]
    for name, share in VARIED.items():
        others += [first.evolve(**{name: space[name].value_at(share)})]
    return tuple(dict.fromkeys([first, *filter(admits, others)]))


#: parameters by training symbol of a network that is large for its corpus, and can still be trained
LARGE = (0.4, 2.0)
#: epochs of another trial before such a network is begun, and of its own before it is compared with
#: others, at the least: it is at the first rung from then on
BEGUN_AFTER, EPOCHS = 3, 8
#: training symbols from which on a smaller network is large, too, as none has time to read them
#: often: so many count as an epoch; and how many symbols it reads for each of its parameters until
#: it has shown what it is worth (Hoffmann et al., arXiv 2203.15556, have as many where size and
#: symbols use up a budget best)
LARGE_CORPUS, SYMBOLS_EACH = 1_000_000, 20
#: symbols of windows in which a large network ends better, and steps of the optimizer for which
#: there has to be time then: of a megabyte these are twelve epochs, in batches of 32
LONGER_WINDOW, STEPS_IN_LONGER = 50, 7_500


def large_openings(
    space: Space, small: TrialConfig, best: float, data_size: DataSize, rungs: Sequence[int]
) -> list[LargeNetwork]:
    """The ladder's network in large sizes, with the best rate, the most promising first.

    Dropout makes a network learn more slowly at first and end better (Zaremba et al., arXiv
    1409.2329), and larger networks pass smaller ones only after a while. At the first `rungs` such
    a network is behind, so a search that compares all of them there cuts it short.

    First come those of `LARGE` sizes, which have dropout, if the space has any; then those that are
    large for the time that there is to read a `LARGE_CORPUS`, without dropout, since they do not
    learn it by heart. Of each, those in longer windows come before all others, and the largest
    first. There are none for a small corpus, of which a network that large learns by heart what is
    chance, nor for labelled sequences, which say less than their symbols do.
    """
    symbols, a_round = data_size.symbols, data_size.symbols / data_size.rounds_per_epoch
    if symbols < SMALL_CORPUS or data_size.lengths:
        return []
    low, high = (share * symbols for share in LARGE)
    found = list[LargeNetwork]()
    small = small.evolve(learning_rate=best)
    least = EPOCHS * data_size.rounds_per_epoch
    judged_from = next((rung for rung in rungs if rung >= least), None)
    dropout = space["dropout"].value_at(VARIED["dropout"])
    if dropout and judged_from:
        begun_after = BEGUN_AFTER * data_size.rounds_per_epoch
        for config in _large(small.evolve(dropout=dropout), space, data_size, (low, high)):
            needs = _rounds_of_windows(config, small, data_size)
            found.append(LargeNetwork(config, needs, begun_after, judged_from))
    if symbols > LARGE_CORPUS and not small.dropout:
        begun_after = math.ceil(BEGUN_AFTER * LARGE_CORPUS / a_round)
        for config in _large(small, space, data_size, (LARGE[0] * LARGE_CORPUS, low)):
            needed = SYMBOLS_EACH * parameters(config, data_size.alphabet)
            if rung := _nearest_rung(rungs, math.ceil(needed / a_round)):
                needs = _rounds_of_windows(config, small, data_size)
                found.append(LargeNetwork(config, needs, begun_after, rung))
    most_rounds = space.epochs * data_size.rounds_per_epoch
    return [one for one in found if one.rounds <= most_rounds]


def _large(
    config: TrialConfig, space: Space, data_size: DataSize, between: tuple[float, float]
) -> list[TrialConfig]:
    """A network in all sizes with so many parameters, in longer windows and in its own.

    Longer windows have `LONGER_WINDOW` symbols, or as near to that as a space has them. There are
    none where the state is carried: windows do not say how far back such a network sees.
    """
    sizes = sorted(space["layer_size"].values() or [], reverse=True)
    every = (config.evolve(layer_size=size) for size in sizes)
    low, high = between
    networks = [one for one in every if low <= parameters(one, data_size.alphabet) <= high]
    length = nearest(space["sequence_length"], LONGER_WINDOW)
    if config.carried or length <= config.sequence_length:
        return networks
    return [*(one.evolve(sequence_length=length) for one in networks), *networks]


def _rounds_of_windows(config: TrialConfig, small: TrialConfig, data_size: DataSize) -> int:
    """Rounds for which a large network needs time, with fewer another one is better."""
    if config.sequence_length == small.sequence_length:
        return 1
    return math.ceil(STEPS_IN_LONGER / steps_per_round(config, data_size))


def _nearest_rung(rungs: Sequence[int], rounds: int) -> int | None:
    off = {rung: abs(math.log(rung / rounds)) for rung in rungs}
    nearest = min(off, key=lambda rung: off[rung], default=None)
    return nearest if nearest and off[nearest] <= math.log(halving.FACTOR) / 2 else None


def _with_window(config: TrialConfig, length: int, space: Space) -> TrialConfig:
    """A config with windows of another length.

    Batches stay halfway, by ratio, between as many windows and as many symbols: as many windows
    would make slow epochs of small steps, as many symbols too few steps of an epoch.
    """
    wanted = config.batch_size * math.sqrt(config.sequence_length / length)
    return config.evolve(sequence_length=length, batch_size=nearest(space["batch_size"], wanted))


#: seconds that a round of the usual network and of the cheapest one of a space should take
USUAL_S, CHEAPEST_S = 15.0, 2.0
#: seconds of a report and a checkpoint
REPORT_S = 0.1
#: share of a round of the usual network that scoring, report and checkpoint take at most, unless
#: an epoch is too short for that: with targets side by side, and each after a window of its own,
#: as those of event ids in short sessions
OVERHEAD, OVERHEAD_APART = 0.04, 0.1
#: share that scoring all symbols may take by the prior, in streams that lead through them anyway
OVERHEAD_OF_ALL = 0.06
#: validation targets of a sweep that asks for no number of its own: with fewer, which ones were
#: chosen would decide more between two configs than their seeds do; more would tell little more,
#: and are scored only where all networks carry their state, at three steps each or fewer
FEWEST_TARGETS, MOST_TARGETS = 4_000, 10_000
#: such targets, each after a window of its own, where an epoch has several rounds, at least: as
#: many as above would exceed `OVERHEAD_APART` or make rounds longer
FEWEST_APART = 2_000


def most_overhead(adjacent: int) -> float:
    """The share of a round that scoring may take with so many targets side by side."""
    return OVERHEAD if adjacent > 1 else OVERHEAD_APART


def fitting_grain(
    space: Space,
    size: DataSize,
    admits: Admits = admits_all,
    *,
    rounds: int | None = None,
    targets: int | None = None,
) -> tuple[int, int]:
    """The rounds of an epoch that suit a search of `space`, and the targets that score each.

    Both numbers follow from what networks of the space cost by `cost.PRIOR`, so they are the same
    on every machine, and known before anything is trained. Those that are given are taken. If all
    networks carry their state, all targets of the split are scored where that is affordable, and
    otherwise as many as take the share that is for scoring; there may be fewer in a small split.
    """
    usual = usual_network(space, admits)

    def score_s(scored: int) -> float:
        return prior_seconds(usual, replace(size, targets=scored)) - epoch_s

    epoch_s = prior_seconds(usual, replace(size, targets=0))
    fewest = FEWEST_TARGETS if size.adjacent > 1 else FEWEST_APART
    if rounds is None:
        scored = targets or fewest
        if size.validation is not None:
            scored = min(scored, size.validation)
        rounds = fitting_rounds(space, replace(size, targets=scored), admits)
    if targets is not None:
        return rounds, targets
    most = MOST_TARGETS
    if usual.carried and size.validation:  # no network is `reset`
        most = size.validation
        if score_s(most) / (epoch_s / rounds + score_s(most)) <= OVERHEAD_OF_ALL:
            return rounds, most
    blocks = range(SCORING_ROWS, most + SCORING_ROWS, SCORING_ROWS)
    share = most_overhead(size.adjacent)
    free_s = epoch_s / rounds * (share / (1 - share)) - REPORT_S
    affordable = bisect_right(blocks, free_s, key=score_s) * SCORING_ROWS
    return rounds, min(max(affordable, fewest if rounds > 1 else FEWEST_TARGETS), most)


def fitting_rounds(space: Space, size: DataSize, admits: Admits) -> int:
    """Into how many rounds an epoch is divided where `size.targets` are scored after each.

    A round of the usual network takes `USUAL_S` or as much longer as it needs so that scoring is no
    more than `most_overhead` of it, and so that the cheapest network takes `CHEAPEST_S`. It is an
    epoch at most, and has a step of the optimizer at least.
    """
    usual, untrained = usual_network(space, admits), replace(size, targets=0)
    epoch_s, overhead = prior_seconds(usual, untrained), most_overhead(size.adjacent)
    score_s = prior_seconds(usual, size) - epoch_s
    fitting = min(
        epoch_s / USUAL_S,
        prior_seconds(cheapest_network(space, size, admits), untrained) / CHEAPEST_S,
        epoch_s * overhead / (1 - overhead) / (score_s + REPORT_S),
        fewest_steps(space, size),
    )
    return max(1, int(fitting))


def all_carried(space: Space) -> bool:
    return "state" in space and not ("reset" in space["state"] or "bi" in space["direction"])


def usual_network(space: Space, admits: Admits) -> TrialConfig:
    """The middle of a space, unidirectional and not carried if it may be, in an admitted size."""
    usual = as_lstm_config(space.middle())
    if usual.carried and not all_carried(space):
        usual = usual.evolve(state="reset")
    if "uni" in space["direction"]:  # an epoch of bi takes longer
        usual = usual.evolve(direction="uni")
    return nearest_size(usual, space, admits) or usual


def cheapest_network(space: Space, size: DataSize, admits: Admits) -> TrialConfig:
    small = smallest(space, size.alphabet, admits, size.classes)
    largest = {name: space.largest(name) for name in ("batch_size", "stride") if name in space}
    return small.evolve(**largest)


def fewest_steps(space: Space, size: DataSize) -> int:
    if size.lengths:
        sequences = windows_per_epoch(as_lstm_config(space.middle()), size)
        return max(1, math.ceil(sequences / space.largest("batch_size")))
    middle = as_lstm_config(space.middle())
    strides = [space.largest("stride")] + [0] * (0 in space["stride"])
    directions, states = (space[name].values() or [] for name in ("direction", "state"))
    length = space.largest("sequence_length")
    widest = max(
        middle.evolve(
            sequence_length=length, direction=direction, stride=stride, state=state
        ).window_stride
        for direction, stride, state in itertools.product(directions, strides, states)
    )
    # a random offset may leave out a window
    return max(1, math.ceil(size.symbols // widest / space.largest("batch_size")))
