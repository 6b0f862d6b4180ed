"""What a sweep has found, in sentences."""

from __future__ import annotations

import math

from lstm_sweep.models.scoring import bits
from lstm_sweep.search.pages.findings import Confirmation, Findings, TrialFinding, by_name
from lstm_sweep.search.trial import Phase


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
    own = next((one for one in found.confirmed if one.is_best), None)
    said = _unconfirmed(found, best) if own is None else _of_best(own)
    return [*said, *(_told(one, own) for one in found.confirmed if one is not own)]


def _unconfirmed(found: Findings, best: TrialFinding) -> list[str]:
    text = f"of the config of the best trial, {best.id}, has ended"
    if not found.is_over:
        return [f"No further run {text} yet."]
    return [f"No further run {text}, so it is not known how much of its lead is chance."]


def _of_best(own: Confirmation) -> list[str]:
    seeds = len(own.losses)
    over = f"{seeds} further seed{'s' if seeds != 1 else ''}"
    said = [
        f"Its config, that of {own.trial}, trained again with other seeds, has {own.text} over "
        f"{over} (first run: {own.first:.4f})."
    ]
    return [*said, "One further seed shows no spread."] if seeds == 1 else said


def _told(other: Confirmation, own: Confirmation | None) -> str:
    """How a config does against that of the best trial."""
    if own is None:
        return f"{other.trial}, trained again, has {other.text} (first run: {other.first:.4f})."
    if other.p is None:
        return f"Whether {other.trial} ({other.text}) is as good cannot be told from so few seeds."
    return f"{other.trial} ({other.text}) is {other.verdict}: p = {other.p:.2g}."
