"""What comes with a round is measured in a real training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.rounds import PARTS

MEASURED = """
import json, sys
from lstm_sweep.models import backend
backend.environment(None)
backend.prepare(gpu=False, seed=0)
from benchmarks.rounds import _measured
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.network import training
from lstm_sweep.search.spec import SweepSpec
own = training.evaluate
config = TrialConfig(layers=1, layer_size=16, sequence_length=20, batch_size=16)
spec = SweepSpec(data=sys.argv[1], rounds_per_epoch=2, targets=100, adjacent_targets=1)
found = _measured(config, load(Source(data=sys.argv[1])), spec, 3)
print(json.dumps({**found, "restored": training.evaluate is own}))
"""


@pytest.mark.full
def test_the_parts_of_a_round_are_less_than_the_whole(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("the sun and the moon " * 500, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, str(file)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found.pop("restored") is True
    parts = sum(found.get(name, 0.0) for name in PARTS)
    assert found["scoring"] > 0 and 0 < parts < found["round"]
