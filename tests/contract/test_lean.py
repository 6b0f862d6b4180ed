"""What importing the networks' side brings into a process."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, sys
from lstm_sweep.models.network import training
before = [name for name in training.backend.UNUSED if name in sys.modules]
import matplotlib, pandas, sklearn
print(json.dumps({"before": before, "backend": training.backend.is_tensorflow()}))
"""


def test_training_brings_nothing_that_it_does_not_use_and_it_can_be_imported_later() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"before": [], "backend": True}
