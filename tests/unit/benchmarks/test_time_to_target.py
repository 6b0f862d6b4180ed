"""Which results of the contest may stand beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.contest_records import OURS, Run, Setting
from benchmarks.contestants import _command
from benchmarks.time_to_target import _check_same
from lstm_sweep.models.errors import InputError

BEFORE = {"corpus": "d", "minutes": 5.0, "direction": "uni", "workers": 1}


@pytest.mark.parametrize(("prior", "given"), [(True, "on"), (False, "off")])
def test_whether_it_knows_of_other_texts_is_said_to_the_program(
    prior: bool, given: str, tmp_path: Path
) -> None:
    setting = Setting("d", 5.0, "uni", 1, prior=prior)
    command = _command(OURS, OURS, 0, setting, Path("text.txt"), tmp_path, 0.0)
    assert command[command.index("--prior") + 1] == given


def test_runs_of_earlier_versions_knew_of_them_and_do_not_stand_beside_others() -> None:
    counts = {"begun": 1, "ended": 1, "configs": 1, "epochs": 1, "best_config": {}}
    line = {"contestant": OURS, "seed": 0, "improvements": [[1.0, 2.0]], **counts}
    run = Run.from_dict({**line, "setting": BEFORE})
    _check_same(Path("runs.jsonl"), [run], Setting("d", 5.0, "uni", 1, prior=True))
    with pytest.raises(InputError, match="has runs with prior True, expected False"):
        _check_same(Path("runs.jsonl"), [run], Setting("d", 5.0, "uni", 1, prior=False))
