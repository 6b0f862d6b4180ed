"""Cases that once went wrong."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.rerun import compare
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.store import settings
from lstm_sweep.search.values.spec import SweepSpec, read_spec
from lstm_sweep.search.values.trial import Ended, Outcome, Slot, Trial
from lstm_sweep.spaces.space import parse_dimension
from tests.states import with_trials


def test_two_cuts_never_snap_to_the_same_session_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("ab" * 4925)
    (tmp_path / "b").write_text("ab" * 75)
    corpus = load(Source(data=str(tmp_path), split=(0.98, 0.01, 0.01)))
    assert [len(split) for split in corpus.splits().values()] == [9800, 100, 100]


@pytest.mark.parametrize("shares", [(math.nan, 0.5, 0.5), (0.5, 0.5, 0.0), (math.inf, 1, 1)])
def test_shares_that_are_no_shares_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="expected three shares"):
        Source(data="x", split=shares)


def test_the_same_numbers_as_text_and_as_ids_have_two_digests(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("abcab" * 20)
    (tmp_path / "ids").write_text("\n".join(str(ord(symbol)) for symbol in "abcab" * 20))
    digests = {load(Source(data=str(tmp_path / name))).digest for name in ("text", "ids")}
    assert len(digests) == 2


def test_tiny_steps_are_not_rounded_away() -> None:
    dimension = parse_dimension(
        "learning_rate", {"low": 1e-11, "high": 3e-11, "step": 1e-11}, "here"
    )
    assert dimension.values() == [1e-11, 2e-11, 3e-11]


def test_a_split_comes_back_from_its_file_bit_for_bit() -> None:
    spec = SweepSpec.from_mapping({"split": [7, 2, 1]}, "here")
    assert SweepSpec.from_mapping(spec.to_dict(), "there").split == spec.split


@pytest.mark.parametrize(
    "uri", ["postgres://u:secret@h/db", "postgresql://u:secret@[h/db", "sqlite://mlflow.db"]
)
def test_no_message_about_an_address_shows_its_password(uri: str, tmp_path: Path) -> None:
    try:
        text = str(settings.load(tmp_path, {"MLFLOW_TRACKING_URI": uri}))
    except InputError as error:
        text = str(error)
    assert "tracking_uri" in text or "MLFLOW_TRACKING_URI" in text
    assert "secret" not in text


def test_a_password_among_the_options_of_an_address_is_not_shown(tmp_path: Path) -> None:
    uri = "postgresql://h/db?password=secret"
    found = settings.load(tmp_path, {"MLFLOW_TRACKING_URI": uri})
    assert found.tracking_uri == uri
    assert "secret" not in str(found)


def test_a_lost_attempt_does_not_count_while_the_next_one_runs() -> None:
    slot = Slot(0, core=0)
    trial = Trial(sweep="s", number=0, config=TrialConfig(), seed=1)
    lost = _progress(trial, slot).with_end(Ended(Outcome.LOST, "killed"), 1.0)
    new = SweepState(name="s", spec=SweepSpec(trials=2), run_id="run", slots=(slot,))
    waiting = with_trials(new, [lost], waiting=[trial.next_attempt()])
    assert waiting.counts == {}
    assert with_trials(new, [lost], [_progress(trial.next_attempt(), slot)]).counts == {}
    assert with_trials(new, [lost]).counts == {"lost": 1}


def _progress(trial: Trial, slot: Slot) -> Trial:
    return replace(trial, run_id="run", slot=slot)


def test_a_metric_that_is_no_number_in_both_runs_is_the_same() -> None:
    epochs = [{"val_loss": math.nan}]
    assert compare(epochs, [{"val_loss": math.nan}]).verdict == "identical"


@pytest.mark.parametrize(("written", "field", "value"), [("on: inline", "on", "inline"),
                         ("size_rule: off", "size_rule", "off")])  # fmt: skip
def test_words_that_old_yaml_takes_for_truth_are_words(
    tmp_path: Path, written: str, field: str, value: str
) -> None:
    (tmp_path / "sweep.yaml").write_text(written)
    assert getattr(read_spec(tmp_path / "sweep.yaml", {}, []), field) == value


def test_the_files_of_one_store_do_not_go_to_another(tmp_path: Path) -> None:
    (tmp_path / "mlflow.yaml").write_text("artifacts: mine")
    elsewhere = settings.load(tmp_path, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"})
    assert elsewhere.artifacts is None
