"""What `launch --dry-run` prints, whose JSON it is given.

Only the standard library is imported: the client of a service prints it too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lstm_sweep.models.config import FIELDS, TrialConfig
from lstm_sweep.search.texts.terminal import plain
from lstm_sweep.search.texts.times import duration


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """What a sweep would do, in lines for people."""
    yield "dry run: nothing is trained, and nothing is created"
    for name, value in result["spec"].items():
        if value is not None:
            yield f"  {name}: {plain(json.dumps(value, default=str))}"
    yield from map(plain, result["notes"])
    configs = "no end of" if result["configs"] is None else f"{result['configs']:,}"
    share = result["refused"]
    refused = "" if share is None else f"; the size rule refuses {share:.0%}"
    yield f"space: {configs} configs{refused}"
    slots = result["slots"]
    if slots is None:
        yield "as many trials at once as the cluster has slots"
    else:
        yield f"{slots} trials at once"
    if typical := result["typical"]:
        yield (
            f"a typical trial ({_headline(typical['config'])}): "
            f"{typical['parameters']:,} parameters, {duration(typical['seconds'])} to its end, "
            f"{typical['memory_bytes'] / 1e6:,.0f} MB beside TensorFlow's own"
        )
    trials, seconds = result["budget"]["trials"], result["budget"]["seconds"]
    if seconds is None:
        yield f"budget: {trials} trials; nobody knows yet how long they take"
    else:
        yield f"budget: about {trials} trials in about {duration(seconds)}"


def _headline(config: Mapping[str, Any]) -> str:
    """What matters most of a config; all of one that is not of our networks."""
    if config.keys() <= set(FIELDS):
        return TrialConfig.from_dict(config).headline()
    return plain(", ".join(f"{name} {value}" for name, value in config.items()))
