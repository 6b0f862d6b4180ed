"""What `launch --dry-run` prints."""

from __future__ import annotations

from collections.abc import Iterator

from lstm_sweep.models.config import values_text
from lstm_sweep.search.api.dry_run import DryRun
from lstm_sweep.search.texts.terminal import plain
from lstm_sweep.search.values.times import about, budget_text


def lines(result: DryRun) -> Iterator[str]:
    """What a sweep would do, in lines for people: what matters most first."""
    yield "dry run: nothing is trained, and nothing is created"
    yield f"takes: {_takes(result)}"
    if typical := result.typical:
        yield (
            f"a typical network: {plain(typical.config.headline())}, {typical.parameters:,} "
            f"parameters, {typical.memory_bytes / 1e6:,.0f} MB beside TensorFlow's own"
        )
        yield (
            f"its trial would take about {about(typical.seconds)} to its end; most are pruned "
            f"long before"
        )
    yield from map(plain, result.notes)
    yield from _space_lines(result)
    yield "--json has every option, as it is resolved"


def _takes(result: DryRun) -> str:
    """For how long, how many trials, and how many at once."""
    slots, spec = result.slots, result.spec
    at_once = "as many at once as the cluster has slots" if slots is None else f"{slots} at once"
    trials, seconds = result.budget.trials, result.budget.seconds
    wanted = budget_text(spec.get("trials"), spec.get("minutes"))
    if seconds is None or result.typical is None:
        return f"{wanted}, {at_once}; nobody knows yet how long a trial takes"
    return (
        f"{wanted} at most: about {budget_text(trials, None)} in about {about(seconds)}, {at_once}"
    )


def _space_lines(result: DryRun) -> Iterator[str]:
    """What varies, a field a line, and what does not, in one line."""
    configs = "infinitely many" if result.configs is None else f"{result.configs:,}"
    share = result.refused
    refused = "" if share is None else f"; the size rule refuses {share:.0%} of them"
    yield f"space: {configs} configs{refused}"
    fixed = list[str]()
    for name, described in result.spec["space"].items():
        text = plain(f"{name} {values_text(described)}")
        if isinstance(described, dict) or (isinstance(described, list) and len(described) > 1):
            yield f"  {text}"
        else:
            fixed.append(text)
    if fixed:
        yield f"  always: {', '.join(fixed)}"
