"""Conformal p-values, their promise, scores of sessions, and how good verdicts are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from lstm_sweep.models import normality
from lstm_sweep.models.conformal import (
    Combined,
    Floats,
    Promise,
    discoveries,
    p_values,
)
from lstm_sweep.models.data.alphabet import END, START, UNKNOWN, Alphabet
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.log_lines import short_name
from lstm_sweep.models.data.sessions import labels_of, read_sessions
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.normality import (
    LONGEST,
    SCORES,
    VERSION,
    Calibration,
    Normality,
    held_out,
    sessions_of,
)
from lstm_sweep.models.quality import RATES, VERDICT, OverRates, Quality, read_labels
from lstm_sweep.search.actions.detection import Alarms

#: scores of sessions: few different values, so that there are ties, and some that are far off
BAGS = st.tuples(st.integers(2, 40), st.integers(1, 4)).flatmap(
    lambda shape: arrays(float, shape, elements=st.sampled_from([0.0, 0.1, 0.5, 1.0, 7.0, 1e6]))
)


@given(BAGS)
def test_of_the_sessions_of_any_bag_no_larger_share_has_a_p_value_than_it_says(
    bag: Floats,
) -> None:
    together = [Combined(np.delete(bag, n, 0)).p_values(bag[n : n + 1])[0] for n in range(len(bag))]
    alone = [p_values(np.delete(bag[:, 0], n), bag[n : n + 1, 0]) for n in range(len(bag))]
    for p in (np.concatenate(together), np.concatenate(alone)):
        assert all((p <= value).mean() <= value + 1e-12 for value in p)


@given(BAGS)
def test_a_session_that_is_odder_by_one_score_or_by_each_has_no_larger_p_value(bag: Floats) -> None:
    known, one, more = bag[1:], bag[:1], np.zeros(bag.shape[1])
    for number in range(len(more)):
        more[number] = 0.25
        (p,), (higher,) = (Combined(known).p_values(scores)[0] for scores in (one, one + more))
        assert higher <= p


def test_one_score_that_is_far_off_is_enough_and_is_named() -> None:
    known = np.random.default_rng(0).exponential(size=(999, len(SCORES)))
    for number in range(len(SCORES)):
        new = np.full((1, len(SCORES)), 0.7)
        new[0, number] = 30
        p, oddest = Combined(known).p_values(new)
        assert oddest[0] == number and p[0] <= 0.002


def test_the_share_of_false_alarms_is_within_the_interval_that_is_stated() -> None:
    """In 19 of 20 repetitions with other sessions; on average it is the rate."""
    promise, rng, shares = Promise(0.01, 500), np.random.default_rng(1), []
    for _ in range(20):
        shared = rng.normal(size=(5_500, 1))  # scores of a session go together
        scores = rng.exponential(size=(5_500, 5)) + np.abs(shared)
        scores[:, 3] = np.floor(scores[:, 3])
        p, _ = Combined(scores[:500]).p_values(scores[500:])
        shares.append(Alarms(0.01).raised(p, 500, str).mean())
    assert sum(share <= promise.highest for share in shares) >= 19
    assert 0.006 < np.mean(shares) < 0.014


def test_a_promise_says_what_it_rests_on_and_is_refused_to_too_few() -> None:
    # 97.5 % of the beta distribution with 5.01 of the sessions
    assert Promise(0.01, 500).highest == pytest.approx(0.02038, rel=0.001)
    assert str(Promise(0.002, 499)) == (
        "0.2 % of normal sessions on average; at most 0.74 % with 95 %, from 499 sessions"
    )
    assert "from 9 sessions" in Alarms(None, 0.1).promise(9)
    for alarms, sessions, named in (
        (Alarms(0.002), 498, "takes 499 normal sessions, found 498"),
        (Alarms(None, 0.1), 8, "takes 9 normal sessions, found 8 of calibration"),
        (Alarms(), 0, "normal sessions, found 0 of calibration"),
        (Alarms(0.5), 0, "normal sessions, found 0 of calibration"),
    ):
        with pytest.raises(InputError, match=named):
            alarms.promise(sessions)


@pytest.mark.parametrize("sessions", [499, 1_400])
def test_names_draw_the_share_of_a_step_that_uses_the_rate_up(sessions: int) -> None:
    """On average over all ranks; what is drawn depends on the name alone."""
    alarms, ranks = Alarms(0.002), np.arange(1, sessions + 2) / (sessions + 1)
    many = np.tile(ranks[:5], 4_000)
    found = alarms.raised(many, sessions, lambda one: f"blk_{one // 5}")
    assert found.sum() / 4_000 == pytest.approx(0.002 * (sessions + 1), abs=0.03)
    again = alarms.raised(many[::-1], sessions, lambda one: f"blk_{(len(many) - 1 - one) // 5}")
    assert (again[::-1] == found).all()
    assert not alarms.raised(ranks[5:], sessions, str).any()


def test_verdicts_of_files_hang_on_their_names_and_of_one_file_on_numbers(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for name, times in (("many/a.txt", 2), ("many/b.txt", 2), ("one.txt", 3)):
        (tmp_path / name).write_text("1 2\n3 4\n" * times)
    names = list[list[str]]()
    for name in ("many", "one.txt"):
        found = read_sessions(str(tmp_path / name), Alphabet((1, 2, 3, 4), ends=True), ends=True)
        names.append([found.drawn_by(session) for session in range(len(found))])
    assert len({*names[0]}) == 8 and names[1] == [str(number) for number in range(1, 7)]


def test_discoveries_are_those_of_benjamini_and_hochberg() -> None:
    p = np.array([0.5, 0.001, 0.2, 0.04, 0.008, 0.9, 0.039, 0.041, 0.042, 0.06])
    assert discoveries(p, 0.05) == 0.008  # the figures of their paper's procedure, by hand
    assert discoveries(p, 0.0001) == 0
    assert discoveries(np.array([0.02, 0.02]), 0.02) == 0.02


def split(*sessions: list[int]) -> Split:
    lengths = [len(one) for one in sessions]
    return Split(np.concatenate(sessions).astype(np.uint8), np.cumsum([0, *lengths[:-1]]))


def test_scores_are_how_far_a_session_is_from_those_of_training() -> None:
    normal = Normality.of(sessions_of(split([3, 4, 5, END], [3, 5, END]), ends=True), 6)
    new = split([3, 4, 5, END], [3, 4, 4, 4, 5, END], [3, UNKNOWN, END], [END])
    nats = np.array([1.0, 2, 3, 0.5, 1, 2, 9, 2, 1, 0.1, 0.2, 0.3, 7, 4])
    scores = dict(zip(SCORES, normal.scores(new, nats, ends=True).T, strict=True))
    half = np.log(2)  # what is likelier than not surprises nobody
    assert scores["surprise"].tolist() == [3, 9, half, half]
    assert scores["end"].tolist() == [half, half, 7, 4]
    assert scores["mean"] == pytest.approx([6.5 / 4, 15.1 / 6, 2.5, 4])
    assert scores["unknown"].tolist() == [0, 0, 0.5, 0]
    assert scores["length"] == pytest.approx([0, np.log(6 / 4), 0, np.log(3)])
    varies = 1 / (half / 2 + 0.05) * 0.05  # what symbol 4 weighs, others being 1
    assert scores["counts"] == pytest.approx([0, varies / (4 + 3 * varies), 2 / 4, 1])
    assert scores["ngrams"] == pytest.approx([0, 3 + 2 / 6, 3 + 2 / 3, 4])
    assert normal.odd_count(((3, 1), (4, 3), (5, 1))) == (4, 3, 1)
    assert normal.odd_count(((3, 1), (4, 9), (5, 2))) == (5, 2, 1)
    without_ends = normal.scores(split([3, 4], [5]), np.array([1.0, 2, 3]), ends=False)
    assert without_ends[:, SCORES.index("surprise")].tolist() == [2, 3]


def test_a_calibration_is_read_as_it_was_written() -> None:
    normal = Normality.of(sessions_of(split([3, 4, 5, END], [3, 5, END]), ends=True), 6)
    scores = normal.scores(split([3, 4, END], [4, END]), np.arange(5.0), ends=True)
    calibration = Calibration(normal, scores)
    again = Calibration.from_dict(calibration.to_dict(), 6)
    assert again.to_dict() == calibration.to_dict()
    assert len(again.with_more(scores)) == 4
    known, rounded = (calibration.judge(one, whole=True)[0] for one in (scores, scores + 1e-6))
    assert rounded.tolist() == known.tolist(), "ties stay ties"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lengths": [10**30]}, "lengths: expected a list of whole numbers"),
        ({"lengths": [2, 1]}, "lengths: expected some whole numbers in rising order"),
        ({"ngrams": [[1], [], []]}, "ngrams: expected 4 lists"),
        ({"counts": [[2, -1]]}, "counts: expected pairs"),
        ({"counts": [[3, 1, 2, 1]]}, "counts: expected pairs"),
        ({"counts": [[2, 1]] * 5_001}, "counts: expected 1 to 5,000 lists"),
        ({"scores": {name: [1e308] for name in SCORES}}, "scores: expected equally many numbers"),
        ({"scores": {"new": [1], **{name: [1] for name in SCORES}}}, "scores: expected equally"),
        ({"version": 1}, "its scores have version 1, expected 2: `export` writes it anew"),
    ],
)
def test_a_calibration_of_a_stranger_is_refused_in_one_line(
    changes: dict[str, object], named: str
) -> None:
    good: dict[str, object] = {"lengths": [1], "counts": [[2, 1]], "ngrams": [[1]] * 4}
    good |= {"version": VERSION, "scores": {name: [0.5] for name in SCORES}}
    assert len(Calibration.from_dict(good, 6)) == 1
    with pytest.raises(InputError, match=named):
        Calibration.from_dict(good | changes, 6)


def test_what_is_kept_of_many_sessions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("MOST_COUNTED", "MOST_KEPT", "MOST_NGRAMS"):
        monkeypatch.setattr(normality, limit, 20)
    known = Normality.of(np.random.default_rng(0).integers(2, 90, size=(50, 10)).tolist(), 90)
    assert 1 <= sum(map(len, known.counts)) <= 20
    assert max(map(len, known.ngrams)) == 20


def test_the_shortest_new_ngram_of_a_session_and_its_share_are_one_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(normality, "TOGETHER", 40)
    rng = np.random.default_rng(2)
    train, new = ([rng.integers(3, 7, size=rng.integers(1, 9)) for _ in range(n)] for n in (16, 99))
    new.append(np.array([UNKNOWN]))

    def ngrams(codes: NDArray[np.int64], n: int) -> list[tuple[int, ...]]:
        closed = [START, *codes.tolist(), START]
        return [tuple(closed[begin : begin + n]) for begin in range(len(closed) - n + 1)]

    def score(codes: NDArray[np.int64]) -> float:
        for n in range(2, LONGEST + 1):
            known = {one for session in train for one in ngrams(session, n)}
            is_new = [one not in known for one in ngrams(codes, n)]
            if any(is_new):
                return LONGEST - n + sum(is_new) / len(is_new)
        return 0.0

    found = Normality.of(train, 7).scores(split(*map(list, new)), np.ones(9_999), ends=False)
    expected = [score(codes) for codes in new]
    assert found[:, SCORES.index("ngrams")] == pytest.approx(expected)
    assert {0, 1, 2, 3, 4} == {int(np.ceil(one)) for one in expected}


def test_sessions_of_calibration_are_whole_and_not_of_the_training_split() -> None:
    def kept(train: list[int], validation: Split, test: Split) -> list[list[int]] | None:
        alphabet = Alphabet((1, 2, 3, 4), ends=True)
        whole = held_out(Corpus("x", alphabet, split(train), validation, test, "", ""))
        if whole is None:
            return None
        return [one.tolist() for one in np.split(whole.codes, whole.starts[1:])]

    later = split([6, END], [4, END])
    cut = split([5, END], [3, 3, END], [3, 4])
    assert kept([3, END], split([5, END]), later) == [[5, END], [6, END], [4, END]]
    assert kept([3, 4], cut, later) == [[3, 3, END], [3, 4, 6, END], [4, END]]
    assert kept([3, 4], split([5, 5, 5]), later) == [[4, END]]
    assert kept([3, 4], split([5, 5, 5]), split([6, END])) is None


def test_quality_is_what_scikit_learn_says() -> None:
    from sklearn import metrics

    rng = np.random.default_rng(3)
    abnormal = rng.random(400) < 0.2
    drawn = np.where(abnormal, rng.random(400) ** 3, rng.random(400))
    p = np.round(drawn, 2).astype(np.float64)
    found = Quality.of(p, p <= 0.05, abnormal)
    assert found.auc == pytest.approx(metrics.roc_auc_score(abnormal, -p))
    assert found.recall == pytest.approx(metrics.recall_score(abnormal, p <= 0.05))
    assert found.precision == pytest.approx(metrics.precision_score(abnormal, p <= 0.05))
    assert found.f1 == pytest.approx(metrics.f1_score(abnormal, p <= 0.05))
    assert found.average_precision == pytest.approx(metrics.average_precision_score(abnormal, -p))
    assert found.recall_interval[0] < (found.recall or 0) < found.recall_interval[1]
    nothing = Quality.of(p[:0], p[:0] > 0, abnormal[:0])
    assert (nothing.recall, nothing.auc, nothing.recall_interval) == (None, None, [0.0, 1.0])


def test_later_sessions_are_judged_by_earlier_ones_and_what_is_kept_of_it_is_read_again() -> None:
    rng = np.random.default_rng(4)
    normal = Normality.of([np.array([3, 4])], 6)
    scores = rng.exponential(size=(2_000, len(SCORES)))
    assert OverRates.of_later(Calibration(normal, scores[:197])) is None
    found = OverRates.of_later(Calibration(normal, scores), "s/3")
    assert found and (found.calibrating, found.normal, found.abnormal) == (1_000, 1_000, 0)
    assert found.rates == [*RATES] and [*found.false_alarms] == [VERDICT, *normality.RULES]
    for rate, highest, *alarms in zip(
        found.rates, found.highest, *found.false_alarms.values(), strict=True
    ):
        assert max(alarms) / 1_000 < highest + 3 * np.sqrt(rate / 1_000)
        assert rate < 0.05 or min(alarms) > 500 * rate
    scores[1_500:] += 40  # sessions are others since
    later = OverRates.of_later(Calibration(normal, scores))
    assert later and later.false_alarms[VERDICT][0] >= 500
    text = found.to_text()
    assert OverRates.from_text(text) == found
    for bad in ("", "[]", "{}", "[" * 99_999, text.replace("1000", "-1"), text.replace("0.1]", "]"),
                text.replace("0.1]", "NaN]"), text.replace('"s/3"', "3"),
                text.replace('"network"', '"<b>"')):  # fmt: skip
        assert OverRates.from_text(bad) is None


def test_labels_are_read_as_people_write_them(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("BlockId,Label\nblk_1,Normal\nblk_2,Anomaly\n", encoding="utf-8")
    assert read_labels(str(file)) == {"blk_1": False, "blk_2": True}
    file.write_text("a.txt, session 1\t0\na.txt, session 2\t1\n", encoding="utf-8")
    assert read_labels(str(file)) == {"a.txt, session 1": False, "a.txt, session 2": True}
    long, shortened = "x" * 300, short_name("x" * 300)
    assert len(shortened) == 256 and short_name(shortened) == shortened
    for name in (long, shortened):
        assert labels_of("labels.csv", {long: True}, [name], numbered=False) == [True]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "has no labels, expected some"),
        ("a 0\nb perhaps\n", ":2: found 'b perhaps', expected the name of a session and normal"),
        ("a 0\na 1\n", ":2: session a has two labels"),
        ("\xff", "expected UTF-8"),
    ],
)
def test_labels_that_say_nothing_get_one_clear_line(text: str, named: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as refused:
        read_labels(str(file))
    assert str(file) in str(refused.value) and named in str(refused.value)
    with pytest.raises(InputError, match="is a folder"):
        read_labels(str(tmp_path))
    with pytest.raises(InputError, match="no such file, expected one of sessions and labels"):
        read_labels(str(tmp_path / "none"))
