"""Cases that once went wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.store import settings
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Ended, Outcome, Slot, Trial
from tests.states import with_trials


def test_two_cuts_never_snap_to_the_same_session_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("ab" * 4925)
    (tmp_path / "b").write_text("ab" * 75)
    corpus = load(Source(data=str(tmp_path), split=(0.98, 0.01, 0.01)))
    assert [len(split) for split in corpus.splits().values()] == [9800, 100, 100]


def test_the_same_numbers_as_text_and_as_ids_have_two_digests(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("abcab" * 20)
    (tmp_path / "ids").write_text("\n".join(str(ord(symbol)) for symbol in "abcab" * 20))
    digests = {load(Source(data=str(tmp_path / name))).digest for name in ("text", "ids")}
    assert len(digests) == 2


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


def test_the_files_of_one_store_do_not_go_to_another(tmp_path: Path) -> None:
    (tmp_path / "mlflow.yaml").write_text("artifacts: mine")
    elsewhere = settings.load(tmp_path, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"})
    assert elsewhere.artifacts is None
