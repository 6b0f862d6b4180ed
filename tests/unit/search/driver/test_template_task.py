"""A search over a template: its spec, what decides, which file is run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver import own_templates
from lstm_sweep.search.driver.template_task import TemplateTask
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.spec import SweepSpec, read_spec
from lstm_sweep.search.values.trial import Ended, Outcome, Paused, RoundDone, Slot, Trial
from lstm_sweep.spaces.template.template import Template

TEXT = """
def data():
    return 1

def create_model(x):
    rate = {{choice([0.001, 0.01, 0.1, 1])}}
    return rate * {{uniform(0, 1)}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(TEXT, encoding="utf-8")
    return tmp_path / "mine.py"


@pytest.fixture
def spec(file: Path) -> SweepSpec:
    given = {"template": str(file), "learning_rate_field": "rate", "trials": 9}
    return read_spec(None, given, [])


def policy_of(spec: SweepSpec, **changes: Any) -> Policy:
    plan = dataclasses.replace(spec.plan(), confirm_configs=0, **changes)
    return Policy(plan, TemplateTask.open(spec).problem(spec, {}), sweep="s", slots=2)


def begun(policy: Policy) -> Trial:
    trial = policy.next()
    assert trial
    progress = trial.with_slot(Slot(0), 0.0)
    policy.begin(progress)
    return progress


def ended(policy: Policy, progress: Trial, loss: float | None) -> None:
    outcome = Outcome.COMPLETE if loss is not None else Outcome.ERROR
    policy.end(progress.with_end(Ended(outcome, loss=loss), 0.0))


def climbed(policy: Policy) -> None:
    """Climb the ladder, of which 0.1 is best."""
    for loss in (0.9, 0.2, 0.4):
        ended(policy, begun(policy), loss)


def test_a_spec_comes_back_from_its_own_words(spec: SweepSpec, file: Path) -> None:
    written = json.loads(json.dumps(spec.to_dict()))
    assert written["template_digest"] == Template.read(str(file)).digest
    assert "data" not in written and "size_rule" not in written
    again = yaml.safe_load(yaml.safe_dump(spec.file_content()))
    assert SweepSpec.from_mapping(again, "test") == spec


def test_epochs_are_compared_with_epochs_and_returned_losses_are_learned(spec: SweepSpec) -> None:
    policy = policy_of(spec)
    climbed(policy)
    verdicts = []
    for loss in (0.5, 0.4, 0.6, 0.7):
        progress = begun(policy).with_round(RoundDone(1, {"val_loss": loss}))
        verdict = policy.judge(progress)
        assert not isinstance(verdict, Paused)
        verdicts.append(verdict and verdict.outcome)
        policy.end(progress.with_end(verdict or Ended(Outcome.COMPLETE, loss=-loss), 0.0))
    assert verdicts == [None, None, Outcome.PRUNED, Outcome.PRUNED]
    assert policy.objective_values() == {0: 0.9, 1: 0.2, 2: 0.4, 3: -0.5, 4: -0.4}
    assert [one.ranked_loss for one in policy.trials][3:] == [-0.5, -0.4, None, None]


def tags_of(tags: dict[str, str]) -> Tags:
    return Tags(SimpleNamespace(info=SimpleNamespace(run_id="r"), data=SimpleNamespace(tags=tags)))


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user who has run nothing keeps which templates that were."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.mark.usefixtures("own_state")
def test_no_store_says_which_file_is_run(file: Path) -> None:
    template = Template.read(str(file))
    tags = tags_of(TemplateTask(template).tags())
    with pytest.raises(InputError, match="you have not run here: expected --template") as refused:
        own_templates.read(tags, None)
    assert "expected --template FILE.py, your own" in str(refused.value)
    assert own_templates.read(tags, str(file)) == template
    assert own_templates.read(tags, None) == template


def test_a_template_that_has_changed_where_it_was_is_not_run(file: Path, own_state: Path) -> None:
    template = Template.read(str(file))
    own_templates.remember(template)
    file.write_text(file.read_text(encoding="utf-8") + "# more\n", encoding="utf-8")
    with pytest.raises(InputError, match="has changed since: found digest"):
        own_templates.read(tags_of(TemplateTask(template).tags()), None)
    [note] = own_state.rglob(template.digest)
    assert note.read_text(encoding="utf-8") == str(file.resolve())
    assert (note.stat().st_mode | note.parent.stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize(
    "written",
    ["", "{", "[]", '"a"', "{}", '{"digest": 1}', '{"digest": "../../../etc/hosts"}',
     '{"digest": "0123456789ABCDEF"}', "[" * 99_999],
)  # fmt: skip
def test_a_digest_that_is_none_names_no_file(written: str, file: Path) -> None:
    with pytest.raises(BadRunError, match=r"^run r: tag sweep.template is "):
        own_templates.read(tags_of({"sweep.template": written}), None)


def test_a_note_in_a_folder_that_others_may_write_is_not_believed(
    file: Path, own_state: Path
) -> None:
    template = Template.read(str(file))
    own_templates.remember(template)
    assert own_templates.path_of(template.digest) == file.resolve()
    [folder] = own_state.rglob("templates")
    folder.chmod(0o777)
    assert own_templates.path_of(template.digest) is None


def test_a_sweep_without_a_template_takes_none(file: Path) -> None:
    assert own_templates.read(tags_of({}), None) is None
    with pytest.raises(InputError, match="the sweep has no template, expected none"):
        own_templates.read(tags_of({}), str(file))
