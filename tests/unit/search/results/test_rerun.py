from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.results.rerun import Rerun, Rounds, _check_proposed, compare
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.journal import spec_tags
from lstm_sweep.search.sweep.template_task import TemplateTask
from lstm_sweep.search.trial import Ended, Outcome, Trial
from lstm_sweep.spaces.template.template import Template

WAS: Rounds = [{"loss": 3.0, "val_loss": 2.0}, {"loss": 2.0, "val_loss": 1.0}]


@pytest.mark.parametrize(
    "now, first",
    [
        (
            [{"loss": math.nan, "val_loss": 2.0}, WAS[1]],
            {"epoch": 1, "metric": "loss", "was": 3.0, "is": "nan"},
        ),
        (
            [WAS[0], {"loss": -math.inf, "val_loss": 1.0}],
            {"epoch": 2, "metric": "loss", "was": 2.0, "is": "-inf"},
        ),
        ([{"loss": 3.0}], {"epoch": 1, "metric": "val_loss", "was": 2.0, "is": None}),
    ],
)
def test_an_infinite_difference_is_null_in_json_and_is_told(
    now: Rounds, first: dict[str, Any]
) -> None:
    trial = Trial(sweep="s", number=0, config=TrialConfig(), seed=0)
    record: Any = SimpleNamespace(trial=trial)
    again = Rerun(record, "run", Ended(Outcome.COMPLETE), compare(WAS, now), {}, {}, None)
    found = again.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["verdict"], found["max_difference"]) == ("different", None)
    assert found["first_difference"] == first


@pytest.mark.parametrize("more", [{}, {"sweep.phase": "rerun"}])
def test_no_value_beyond_its_space_gets_into_a_template(
    more: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def data():\n    return 1\ndef create_model(x):\n    return {{uniform(0, 1)}}\n"
    )
    template = Template.read(str(file))
    [label] = template.hyperparameters
    spec = SweepSpec(template=template, space=template.space(), name="s")

    def run_with(tags: dict[str, str]) -> Any:
        data = SimpleNamespace(tags={"sweep.name": "s"} | tags, params={}, metrics={})
        return SimpleNamespace(
            data=data, info=SimpleNamespace(run_id="r", status="FINISHED", end_time=None)
        )

    store: Any = SimpleNamespace(run=lambda run_id: run_with(spec_tags(spec, "s")))
    for value, fits in [(0.5, True), (1e9, False)]:
        own = {"sweep.trial": "0", "sweep.phase": "search", "sweep.seed": "1"}
        own |= {"sweep.config": json.dumps({label: value}), "mlflow.parentRunId": "p"}
        record = reader.read_trial(run_with(own | TemplateTask(template).tags() | more))
        if fits:
            _check_proposed(store, record, str(file))
            continue
        with pytest.raises(BadRunError, match="expected a value of the sweep's space"):
            _check_proposed(store, record, str(file))
