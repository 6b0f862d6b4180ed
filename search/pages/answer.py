"""What a sweep has found, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lstm_sweep.models.scoring import bits
from lstm_sweep.search.pages.findings import Confirmation, Findings, by_name
from lstm_sweep.search.pages.parallel import Value
from lstm_sweep.search.trial import Phase

#: differences that chance makes at least this often are called none
SIGNIFICANCE = 0.05


def loss_text(loss: float, found: Findings) -> str:
    """A loss with its units."""
    if not found.in_nats:
        return f"a {found.loss_name} of {loss:.4f}"
    return f"{loss:.4f} nats = {bits(loss):.4f} bits per symbol"


def headline(found: Findings) -> str:
    """The best trial and its loss, also one that has not ended."""
    best = found.leader
    if best is None or best.loss is None:
        return "No trial has a result." if found.is_over else "No trial has a result yet."
    who = best.id if best is found.best else f"{best.id}, which has not ended,"
    so_far = "" if found.is_over else " so far"
    return f"{who} is best{so_far}: {loss_text(best.loss, found)}"


def origin(found: Findings) -> str:
    """Which trial the best one repeats with another seed; empty if it repeats none."""
    best = found.leader
    if best is None or best.phase != Phase.CONFIRM:
        return ""
    same = (one for one in found.trials if one.phase != best.phase and one.config == best.config)
    first = next(same, None)
    return f"It trains the config of {first.id} again with another seed." if first else ""


def comparisons(found: Findings) -> list[str]:
    """How far the best trial is from the baselines, and from the entropy."""
    best = found.leader
    if best is None or best.loss is None:
        return []
    said = [text] if (text := origin(found)) else []
    if found.baselines:
        name, loss = min(found.baselines.items(), key=lambda item: item[1])
        gain = loss - best.loss
        word = "below" if gain > 0 else "above"
        said.append(
            f"That is {abs(gain):.4f} nats {word} {by_name(name)} ({loss:.4f}), the best of the "
            f"baselines, on the same {_targets(found)}."
        )
    if unknown := found.about.get("unknown symbols"):
        said.append(f"{unknown}.")
    if found.entropy is not None:
        above = best.loss - found.entropy
        where = "above it" if above >= 0 else "below it, by the chance of its targets"
        said.append(
            f"On average no model can be below the entropy of these data, {found.entropy:.4f} "
            f"nats; the best trial is {abs(above):.4f} nats {where}."
        )
    if found.in_nats and 0 <= best.loss < 50:
        perplexity = f"{math.exp(best.loss):.2f}"
        said.append(
            f"Its perplexity is {perplexity}: it is as unsure of the next symbol as if "
            f"{perplexity} symbols were equally likely."
        )
    return said


def _targets(found: Findings) -> str:
    targets = found.about.get("validation targets")
    return f"{targets} validation targets" if targets else "validation targets"


def certainty(found: Findings) -> list[str]:
    """How sure the result is: the spread over seeds, and whether the leader can be told apart."""
    best = found.leader
    if best is None:
        return []
    if not found.confirmed:
        return [
            "No config was trained again with other seeds, so it is not known how much of the "
            "difference between trials is chance.",
            *([f"{found.unconfirmed}."] if found.unconfirmed else []),
        ]
    first, *others = found.confirmed
    seeds = len(first.losses)
    said = [
        f"The config of {first.trial}, trained again with {seeds} further "
        f"seed{'s' if seeds > 1 else ''}, has {first.mean:.4f}"
        + (f" \u00b1 {first.spread:.4f}" if seeds > 1 else "")
        + (f" after {first.epoch:g} epochs" if first.epoch is not None else "")
        + f" (first run: {first.first:.4f})."
    ]
    if seeds < 2:
        said.append("One further seed shows no spread.")
    first_config, *other_configs = (_config_of(one.trial, found) for one in found.confirmed)
    if best.config in other_configs:
        said.append(
            "By the mean over further seeds this config is the best, not that of the best trial."
        )
    elif best.config != first_config:
        text = f"of the config of the best trial, {best.id}, has ended"
        said.append(
            f"No further run {text}, so it is not known how much of its lead is chance."
            if found.is_over
            else f"No further run {text} yet."
        )
    return [*said, *(_told(one, first) for one in others)]


def _config_of(trial: str, found: Findings) -> Mapping[str, Value]:
    return next((one.config for one in found.trials if one.id == trial), {})


def _told(other: Confirmation, first: Confirmation) -> str:
    """Whether a config can be told apart from the best."""
    mean = f"{other.mean:.4f} \u00b1 {other.spread:.4f}"
    if other.p is None:
        return f"Whether {other.trial} ({mean}) is worse cannot be told from so few seeds."
    if other.p < SIGNIFICANCE:
        return f"{other.trial} ({mean}) is worse (p = {other.p:.2g})."
    return f"{other.trial} ({mean}) cannot be told apart from {first.trial} (p = {other.p:.2g})."


def is_leader_sure(found: Findings) -> bool:
    """Whether the best of the confirmed configs is told apart from the next."""
    if len(found.confirmed) < 2:
        return False
    p = found.confirmed[1].p
    return p is not None and p < SIGNIFICANCE
