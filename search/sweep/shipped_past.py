"""Sweeps that ship with the program: recordings of a few corpora (benchmarks/experience.py)."""

from __future__ import annotations

import json
from pathlib import Path

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.experience import PastSweep, PastTrial

FILE = Path(__file__).with_name("shipped_past.json")


def shipped() -> tuple[PastSweep, ...]:
    """The sweeps that ship with the program, one for each corpus."""
    written = json.loads(FILE.read_text(encoding="utf-8"))
    return tuple(
        PastSweep(
            tuple(
                PastTrial(TrialConfig.from_dict(values), behind, multiple)
                for behind, multiple, values in sweep["trials"]
            )
        )
        for sweep in written
    )
