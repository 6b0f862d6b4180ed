from __future__ import annotations

from typing import Any

from lstm_sweep.search.pages.charts import Axis
from lstm_sweep.search.pages.findings import Findings
from lstm_sweep.search.pages.report_page import advice
from lstm_sweep.search.store import reader
from tests.unit.search.pages.found import confirmation, findings, trial


def given(*trials: Any, **more: Any) -> Findings:
    """A sweep with so many trials of the past that a budget is no matter, and a sure leader."""
    first = 100 - 40
    others = [trial(first + n, 2.5 + n / 100) for n in range(40)]
    sure = (confirmation(0, 1.1, None), confirmation(1, 1.5, 0.001))
    return findings(*trials, *others, **({"confirmed": sure} | more))


def texts(found: Findings) -> str:
    return "\n".join(f"{one.text} | {one.command}" for one in advice(found))


def test_a_sweep_with_nothing_to_mend_gets_no_advice() -> None:
    assert advice(given(trial(0, 1.0), trial(1, 1.1), trial(2, 1.2))) == []


def test_a_bound_that_the_best_configs_touch_is_named_with_a_further_range() -> None:
    largest = [trial(n, 1.0 + n / 10, config={"layer_size": 128}) for n in range(3)]
    said = texts(given(*largest))
    assert "touch the upper bound of layer_size, 128" in said and "--set layer_size=32..256" in said
    deep = [trial(n, 1.0 + n / 10, config={"layers": 3}) for n in range(3)]
    assert "--set layers=1..4" in texts(given(*deep))


def test_one_config_at_a_bound_is_chance() -> None:
    trials = [trial(n, 1.0 + n / 10) for n in range(1, 5)]
    assert texts(given(trial(0, 0.9, config={"layer_size": 128}), *trials)) == ""


def test_seeds_of_one_config_count_once() -> None:
    config = {"layer_size": 128, "learning_rate": 0.02}
    same = [trial(n, 1.0 + n / 10, phase="confirm", config=config) for n in range(5)]
    assert texts(given(trial(9, 0.9, config=config), *same)) == ""


def test_beyond_what_a_field_allows_nothing_is_advised() -> None:
    axes = (Axis("dropout", 0, 0.5), Axis("layers", 1, 2, is_whole=True))
    low = [trial(n, 1.0 + n / 10, config={"dropout": 0.0, "layers": 1, "x": n}) for n in range(5)]
    assert texts(given(*low, axes=axes)) == ""


def test_in_a_template_a_bound_is_named_without_a_command() -> None:
    axes = (Axis("Dense (line 3)", 8, 32),)
    top = [trial(n, 1.0 + n / 10, config={"Dense (line 3)": 32, "x": n}) for n in range(5)]
    template = reader.TEMPLATE
    kind: Any = {"limits": template.limits, "space_place": template.space_place}
    [said] = advice(given(*top, axes=axes, **kind, baselines={}))
    assert "upper bound of Dense (line 3), 32" in said.text and said.command == ""
    assert said.text.endswith("Let it vary further in the template.")


def test_a_kind_of_task_that_takes_no_options_gets_none() -> None:
    axes, bare = (Axis("layers", 1, 16, is_whole=True),), {"limits": {}, "takes_epochs": False}
    top = [trial(n, 1.0 + n / 10, config={"layers": 16, "x": n}, best_epoch=3) for n in range(5)]
    [said] = advice(given(*top, axes=axes, baselines={}, **bare))
    assert said.text.endswith("Let it vary further in a new sweep.") and said.command == ""
    weak = given(trial(0, 5.0), baselines={"majority": 0.5}, **bare)
    assert "give the search more trials, or more data" in texts(weak)
    assert "epochs" not in texts(weak)


def test_a_loss_that_still_fell_wants_more_epochs() -> None:
    assert "--epochs 6" in texts(given(trial(0, 1.0, best_epoch=3)))
    assert texts(given(trial(0, 1.0, best_epoch=3, outcome="pruned"))) == ""


def test_a_budget_that_was_too_small_is_doubled() -> None:
    few = findings(*(trial(n, 1.0 + n / 100) for n in range(9)), minutes=5.0)
    assert "9 trials are few for 4 hyperparameters" in texts(few)
    assert "lstm-sweep resume s --trials 100 --minutes 10" in texts(few)
    late = given(trial(99_000, 1.0))
    late = findings(*late.attempts[1:], late.attempts[0])
    assert "came in the last fifth of the trials" in texts(late)


def test_a_result_of_unknown_certainty_wants_seeds() -> None:
    assert "--confirm-configs 3 --confirm-seeds 3" in texts(given(trial(0, 1.0), confirmed=()))
    tied = (confirmation(0, 1.1, None), confirmation(1, 1.12, 0.8))
    said = texts(given(trial(0, 1.0), trial(1, 1.1), confirmed=tied))
    assert "As good as the best trial's config: s/1." in said and "--confirm-seeds 6" in said


def test_failures_that_are_many_get_a_remedy() -> None:
    failed = [trial(n, None, outcome="out_of_memory") for n in range(10, 16)]
    assert "6 attempts ended as out of memory: smaller batches" in texts(
        given(trial(0, 1.0), *failed)
    )
    assert texts(given(trial(0, 1.0), *failed[:1])) == ""
    ladder = [trial(n, None, outcome="diverged", phase="ladder") for n in range(10, 16)]
    assert texts(given(trial(0, 1.0), *ladder)) == ""


def test_a_sweep_without_a_result_is_looked_into() -> None:
    said = texts(findings(*(trial(n, None, outcome="error") for n in range(3)), state="failed"))
    assert "lstm-sweep resume s" in said and "lstm-sweep show s/0" in said
    assert "a look at the log of one" in said
    assert "status s --follow" in texts(findings(state="running"))


def test_little_is_left_above_the_entropy_and_much_above_a_baseline() -> None:
    assert "little left to gain" in texts(given(trial(0, 1.0), entropy=0.99))
    assert texts(given(trial(0, 1.0), entropy=0.9)) == ""
    assert "A baseline is better" in texts(given(trial(0, 1.0), baselines={"markov": 0.9}))
