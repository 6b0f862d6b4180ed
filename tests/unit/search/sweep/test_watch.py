"""Who watches over trials ends those that hang, and none whose reports it could not hear."""

from __future__ import annotations

from pathlib import Path

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.sweep.health import Watch
from lstm_sweep.search.trial import (
    Computing,
    Ended,
    Job,
    Outcome,
    Paused,
    Progressed,
    RoundDone,
    Slot,
    Trial,
)


def progress(began: float = 0.0, number: int = 0) -> TrialProgress:
    trial = Trial(sweep="s", number=number, config=TrialConfig(), seed=0)
    here = Path()
    job = Job(trial=trial, slot=Slot(0), training=CorpusTraining(here, Scoring(1, 0)), folder=here)
    return TrialProgress(trial, f"r{number}", Slot(0), job, began=began)


def reasons(watch: Watch, trial: TrialProgress, *times: float) -> list[str]:
    """Why a trial is hung, as far as it is, when it is looked at so often."""
    return [ended.reason for now in times for _, ended in watch.look([trial], now)]


def every(seconds: float, first: float, last: float) -> list[float]:
    """Times at which a driver looks that is not kept from it."""
    return [first + seconds * step for step in range(int((last - first) / seconds) + 1)]


def test_a_trial_that_never_says_anything_is_hung() -> None:
    watch = Watch(0.0)
    trial = progress()
    assert reasons(watch, trial, *every(1.0, 0.0, 900.0)) == []
    [(hung, ended)] = watch.look([trial], 901.0)
    assert (hung, ended.outcome) == (trial, Outcome.HUNG)
    assert ended.reason == "no report, and nothing computed for 901 s, expected less than 900 s"


def test_the_time_for_which_a_trial_has_waited_is_no_silence() -> None:
    watch, trial = Watch(0.0), progress()
    watch.receive(trial, Progressed(1, 0.5, 2.0), 5.0)
    assert reasons(watch, trial, *every(1.0, 0.0, 10.0)) == []
    waiting = trial.with_pause(Paused("waits"), 10.0)
    assert reasons(watch, progress(number=1), *every(1.0, 10.0, 800.0)) == []
    assert trial.job
    again = waiting.with_slot(Slot(0), trial.job, 2_000.0)
    assert reasons(watch, again, *every(1.0, 2_000.0, 2_900.0)) == []
    assert len(reasons(watch, again, 2_901.0)) == 1


def test_a_trial_that_goes_on_before_anybody_looks_has_as_long_to_begin_as_any() -> None:
    watch, trial = Watch(0.0), progress()
    watch.receive(trial, Progressed(1, 0.5, 2.0), 5.0)
    assert reasons(watch, trial, *every(1.0, 0.0, 10.0)) == []
    watch.receive(trial, Paused("waits"), 10.1)
    assert trial.job
    again = trial.with_pause(Paused("waits"), 10.1).with_slot(Slot(0), trial.job, 10.2)
    assert reasons(watch, again, *every(1.0, 11.0, 910.0)) == []
    assert len(reasons(watch, again, 911.0)) == 1


def test_one_that_computes_is_not_hung_before_its_first_report_or_after_one() -> None:
    for begun in (False, True):
        watch, trial = Watch(0.0), progress()
        if begun:
            watch.receive(trial, Progressed(1, 0.5, 2.0), 0.0)
        for now in every(1.0, 0.0, 3_600.0):
            if now % 15 == 0:
                watch.receive(trial, Computing(), now)
            assert watch.look([trial], now) == []
        assert reasons(watch, trial, 3_601.0) == [
            "no report for 3601 s, expected one within 3600 s"
        ], "such as one in an endless loop"


def test_a_slow_machine_is_known_by_its_starts() -> None:
    watch, first = Watch(0.0), progress()
    assert reasons(watch, first, *every(4.0, 0.0, 400.0)) == []
    watch.receive(first, Progressed(1, 0.1, 2.0), 400.0)
    second = progress(400.0, number=1)
    assert reasons(watch, second, *every(4.0, 400.0, 4_400.0)) == []
    assert len(reasons(watch, second, 4_401.0)) == 1


def test_a_trial_that_only_reports_at_its_end_tells_how_long_starts_are_but_no_failed_one() -> None:
    for outcome, patient in ((Outcome.ERROR, False), (Outcome.COMPLETE, True)):
        watch, first = Watch(0.0), progress()
        assert reasons(watch, first, *every(4.0, 0.0, 800.0)) == []
        watch.receive(first, Ended(outcome), 800.0)
        assert reasons(watch, progress(800.0, number=1), *every(4.0, 800.0, 1_700.0)) == []
        assert (reasons(watch, progress(800.0, number=1), 1_704.0) == []) is patient


def test_after_its_first_report_silence_is_measured_by_its_epochs() -> None:
    watch, trial = Watch(0.0, least_s=3.0), progress()
    done = RoundDone(1, {"val_loss": 1.0, "round_seconds": 1.0})
    watch.receive(trial, done, 2.0)
    trial = trial.with_round(done)
    assert reasons(watch, trial, 4.0, 7.0) == []
    assert reasons(watch, trial, 7.5) == [
        "no report, and nothing computed for 6 s, expected less than 5 s "
        "(5 of its rounds, 3 s at the least)"
    ]


def test_a_driver_that_could_not_look_blames_nobody() -> None:
    watch, silent, heard = Watch(0.0, least_s=3.0), progress(), progress(number=1)
    done = RoundDone(1, {"round_seconds": 0.1})
    watch.receive(heard, done, 1.0)
    heard = heard.with_round(done)
    assert watch.look([silent, heard], 2.0) == []
    assert watch.look([silent, heard], 5_000.0) == []  # such as one that waits for the store
    assert watch.look([silent, heard], 5_001.0) == []
    assert watch.look([silent], 5_004.0) == []
    [(hung, _)] = watch.look([silent, heard], 5_004.5)
    assert hung is heard
