from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from lstm_sweep.models.config import FIELDS
from lstm_sweep.search.store.experiment import (
    KEY,
    METRICS,
    PARAMS,
    description,
    page_of,
    view_tag,
)
from lstm_sweep.search.store.tags import Tag
from tests.sweeps import store_in

#: characters that MLflow keeps of a tag of an experiment
LONGEST_TAG = 5_000


def test_the_list_of_runs_of_a_new_store_opens_sorted_by_loss(
    workplace: Callable[[str], Path],
) -> None:
    store = store_in(workplace("run-list"))
    store.prepare()
    assert store.page().endswith(f"/runs?workflowType=machine_learning&viewStateShareKey={KEY}")
    assert store.page("0" * 32).endswith("?workflowType=machine_learning")
    view = json.loads(view_tag()[Tag.VIEW_STATE + KEY])
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`best_val_loss`", True)
    assert store.experiment.id
    assert store.page() == f"/{page_of(store.experiment.id)}"
    tags = store.client.get_experiment(store.experiment.id).tags
    assert tags.items() >= (view_tag() | {Tag.NOTE: description(store.experiment.id)}).items()
    assert tags[Tag.EXPERIMENT_KIND] == "custom_model_development"


def test_columns_are_what_runs_have() -> None:
    [text] = view_tag().values()
    assert len(text) < LONGEST_TAG
    columns = [re.fullmatch(r"(\w+)\.`(.+)`", one) for one in json.loads(text)["selectedColumns"]]
    found = [(one[1], one[2]) for one in columns if one]
    assert [name for kind, name in found if kind == "metrics"] == list(METRICS)
    assert {name for kind, name in found if kind == "params"} <= {"parameters", *FIELDS}
    assert [name for kind, name in found if kind == "tags"] == [Tag.PHASE, Tag.OUTCOME]
    assert len(found) == len(columns) and set(PARAMS) - {"parameters"} <= set(FIELDS)
