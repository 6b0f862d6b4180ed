"""`launch --dry-run`: what a sweep would do."""

from __future__ import annotations

import json

from lstm_sweep.search.api.dry_run import DryRun
from lstm_sweep.search.texts.tables import duration
from lstm_sweep.search.texts.terminal import plain, print_json


def print_dry_run(found: DryRun, *, as_json: bool) -> None:
    """Print what a sweep would do."""
    if as_json:
        print_json(found.to_dict())
        return
    print("dry run: nothing is trained, and nothing is created")
    for name, value in found.spec.items():
        if value is not None:
            print(f"  {name}: {plain(json.dumps(value, default=str))}")
    for note in found.notes:
        print(plain(note))
    configs = "no end of" if found.configs is None else f"{found.configs:,}"
    refused = "" if found.refused is None else f"; the size rule refuses {found.refused:.0%}"
    print(f"space: {configs} configs{refused}")
    slots = "as many trials at once as the cluster has slots"
    print(slots if found.slots is None else f"{found.slots} trials at once")
    if typical := found.typical:
        print(
            f"a typical trial ({typical.config.headline()}): {typical.parameters:,} parameters, "
            f"{duration(typical.seconds)} to its end, {typical.memory / 1e6:,.0f} MB beside "
            f"TensorFlow's own"
        )
    if found.seconds is None:
        print(f"budget: {found.trials} trials; nobody knows yet how long they take")
    else:
        print(f"budget: about {found.trials} trials in about {duration(found.seconds)}")
