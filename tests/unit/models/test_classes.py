"""How well classes are told: scikit-learn's figures, simulated promises, known answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lstm_sweep.models import baselines, classes
from lstm_sweep.models.baselines import ClassNaiveBayes
from lstm_sweep.models.classes import (
    Compared,
    Evidence,
    Scores,
    temperature_of,
)
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.labelled import LabelledCorpus, LabelledSplit
from lstm_sweep.models.decisions import Decision, PredictionSets, Threshold
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.scoring import Floats, log_softmax


def drawn(sequences: int, count: int, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Logits that say the truth (their softmax are the classes' probabilities), and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0, size=(sequences, count)) - np.arange(count) / 3
    noise = rng.gumbel(size=logits.shape)
    return np.round(logits, 1), (logits + noise).argmax(axis=1)


@pytest.mark.parametrize(("sequences", "count"), [(400, 2), (300, 6), (60, 25)])
def test_scores_are_what_scikit_learn_says(
    sequences: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn import metrics

    monkeypatch.setattr(classes, "REPLICATES", 200)

    logits, labels = drawn(sequences, count, seed=count)
    names = [f"class {k}" for k in range(count)]
    found = Scores.of(logits, labels, names)
    p, predicted = np.exp(log_softmax(logits)), logits.argmax(axis=1)
    hot = labels[:, None] == np.arange(count)
    some = [k for k in range(count) if hot[:, k].any()]
    expected = {
        "log_loss": metrics.log_loss(labels, p, labels=range(count)),
        "accuracy": metrics.accuracy_score(labels, predicted),
        "macro_f1": metrics.f1_score(labels, predicted, average="macro"),
        "auc": np.mean([metrics.roc_auc_score(hot[:, k], p[:, k]) for k in some]),
        "average_precision": np.mean(
            [metrics.average_precision_score(hot[:, k], p[:, k]) for k in some]
        ),
        "majority_rate": np.bincount(labels).max() / sequences,
    }
    for name, value in expected.items():
        own = found.measures[name]
        assert own.value == pytest.approx(value), name
        assert own.low is not None and own.high is not None and own.low < value < own.high, name
    assert set(found.measures) == {*classes.MEASURES}
    again = classes.score(logits, labels)
    for name, own_name in (("loss", "log_loss"), ("accuracy",) * 2, ("macro_f1",) * 2):
        assert again[name] == pytest.approx(expected[own_name])
    by_class = metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(count), zero_division=0
    )
    for one, *their in zip(found.classes, *by_class, strict=True):
        values = [one.precision.value, one.recall.value, one.f1.value, one.sequences]
        assert [value or 0 for value in values] == pytest.approx(their)
    if count <= classes.MOST_CLASSES:
        matrix = metrics.confusion_matrix(labels, predicted, labels=range(count))
        assert found.confusion.counts == matrix.tolist()


def test_an_interval_holds_the_truth_about_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classes, "REPLICATES", 120)
    many, their_labels = drawn(20_000, 3, seed=1)
    truth = Scores.of(many, their_labels, "abc")
    inside = dict.fromkeys(("log_loss", "macro_f1", "auc", "average_precision"), 0)
    for seed in range(50):
        found = Scores.of(*drawn(200, 3, seed=100 + seed), "abc")
        for name in inside:
            _, low, high = found.measures[name]
            inside[name] += bool((low or 0) <= (truth.measures[name].value or 0) <= (high or 0))
    assert min(inside.values()) >= 42, inside  # 47 are expected


def test_a_temperature_mends_probabilities_that_are_too_sure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classes, "REPLICATES", 100)
    logits, labels = drawn(4_000, 4, seed=2)
    assert temperature_of(logits * 3, labels) == pytest.approx(3, rel=0.1)
    sure = Scores.of(logits * 3, labels, "abcd").measures
    plain, scaled = (sure[f"{name}calibration_error"].value or 0 for name in ("", "scaled_"))
    assert plain > 0.1 and scaled < 0.03
    few = temperature_of(10 * np.eye(2)[[0, 1] * 6], np.array([0, 1] * 6))
    assert 1 / (1 + np.exp(-10 / few)) == pytest.approx(12.5 / 13, abs=1e-3)  # all are right
    held = Scores.of(logits * 3, labels, "abcd", temperature=1.0).measures
    assert held["scaled_log_loss"] == held["log_loss"]


def test_networks_are_averaged_as_far_as_that_makes_them_better() -> None:
    labels, draw = np.arange(300) % 3, np.random.default_rng(0)
    noisy = [np.eye(3)[labels] + draw.normal(0, 1, (300, 3)) for _ in range(3)]
    wrong = 9 * np.eye(3)[(labels + 1) % 3]
    assert classes.chosen([noisy[0], wrong, *noisy[1:]], labels) == [0, 2, 3]
    assert classes.chosen([noisy[0], wrong], labels) == [0]
    mean = np.exp([log_softmax(one) for one in noisy]).mean(axis=0)
    assert np.exp(classes.averaged(noisy)) == pytest.approx(mean)


def test_many_classes_have_a_small_matrix_and_rankings_no_interval_that_takes_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classes, "MOST_RANKED", 1000)
    logits, labels = drawn(80, 50, seed=3)
    found = Scores.of(logits, labels, [f"c{k}" for k in range(50)])
    names, counts = found.confusion.classes, np.array(found.confusion.counts)
    assert len(names) == classes.MOST_CLASSES and names[-1] == classes.OTHERS
    assert counts.sum() == 80 and counts.shape == (len(names),) * 2
    assert found.measures["auc"].value and found.measures["auc"].low is None
    assert found.measures["macro_f1"].low is not None
    absent = next(one for one in found.classes if not one.sequences)
    assert absent.recall.value is None and absent.auc is None
    assert found.to_dict()["classes"][0]["name"] == "c0"


@pytest.mark.parametrize("sequences", [19, 400])
def test_prediction_sets_leave_out_the_true_class_as_seldom_as_promised(sequences: int) -> None:
    error, outside = 0.05, []
    for seed in range(300):
        logits, labels = drawn(sequences + 100, 5, seed)
        p = np.exp(log_softmax(logits / 2))  # of a network that is not sure enough
        sets = PredictionSets.of(p[:sequences], labels[:sequences], error)
        inside = sets.sets(p[sequences:], p[sequences:].argmax(axis=1))
        assert inside.any(axis=1).all()
        outside.append(1 - inside[np.arange(100), labels[sequences:]].mean())
    assert 0.02 < np.mean(outside) < error + 3 * np.std(outside) / np.sqrt(300)
    assert str(sets).startswith("the true class is not in the set: 5 % of sequences on average; at")
    with pytest.raises(InputError, match=r"--error is 0.05: that takes 19 sequences, found 18 of"):
        PredictionSets.of(p[:18], labels[:18], error)


def test_a_threshold_has_the_wanted_precision_or_recall() -> None:
    p = np.array([0.9, 0.8, 0.8, 0.6, 0.4, 0.3])
    positive = np.array([True, True, False, True, False, True])
    precise = Threshold.of(p, positive, precision=0.7)
    assert (precise.value, precise.precision, precise.recall) == (0.5, 0.75, 0.75)
    assert Threshold.of(p, positive, precision=1.0).value == pytest.approx(0.85)
    complete = Threshold.of(p, positive, recall=0.9)
    assert (complete.value, complete.recall) == (0.15, 1.0)
    assert complete.recall_interval[0] < 1.0 == complete.recall_interval[1]
    assert Threshold.of(p, positive, recall=0.2).precision == 1.0
    with pytest.raises(InputError, match=r"--precision is 1: the most .* 6 sequences is 0\.833"):
        Threshold.of(p, p < 0.9, precision=1.0)
    with pytest.raises(InputError, match="no sequence"):
        Threshold.of(p, p > 1, recall=0.5)


@pytest.mark.parametrize(("sequences", "count", "scale"), [(1, 2, 1), (30, 3, 9), (300, 20, 2)])
def test_no_decision_is_expected_to_be_worse_than_the_most_probable_class(
    sequences: int, count: int, scale: float
) -> None:
    logits = np.random.default_rng(count).normal(scale=scale, size=(sequences, count))
    p = np.exp(log_softmax(logits - 100 * (np.arange(count) == 1)))  # one is never expected
    labels = (p.cumsum(axis=1) > 0.5).argmax(axis=1)

    def expected(said: NDArray[np.integer]) -> float:
        hot = said[:, None] == np.arange(count)
        return float((2 * (p * hot).sum(0) / np.maximum(true + hot.sum(0), 1e-9)).sum())

    true = np.bincount(labels, minlength=count)
    decision = Decision.of(p, labels)
    assert expected(decision.classes(p)) >= expected(p.argmax(axis=1))
    assert Decision(np.ones(count), np.zeros(count)).classes(p).tolist() == [*p.argmax(axis=1)]


def test_macro_f1_of_unbalanced_classes_is_decided_for() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=1.5, size=(8000, 8)) - np.arange(8) / 1.5
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    decision = Decision.of(np.exp(log_softmax(logits[:4000])), labels[:4000])
    test, true = 3 * logits[4000:], labels[4000:]  # too sure of itself
    decided = classes.decided(decision, test, true, temperature=3.0)
    plain = classes.score(test, true)
    assert decided["macro_f1"].low > plain["macro_f1"] + 0.02  # type: ignore[operator]
    assert plain["accuracy"] - 0.1 < decided["accuracy"].value < plain["accuracy"]  # type: ignore[operator]
    said = decision.classes(np.exp(log_softmax(test / 3)))
    found = Scores.of(test, true, "abcdefgh", 3.0, said)
    assert found.measures["macro_f1"] == decided["macro_f1"]
    assert found.classes[7].recall.value > Scores.of(test, true, "abcdefgh").classes[7].recall.value  # type: ignore[operator]


def test_evidence_is_read_as_it_was_written() -> None:
    logits, labels = drawn(120, 3, seed=6)
    prior = np.tile(np.log(np.bincount(labels) / 120), (120, 1))
    found = Evidence.of(
        "s/1", logits, labels, "abc", {"majority": prior}, lambda ks: [f"text {k}" for k in ks]
    )
    again = Evidence.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict() and again.decided["macro_f1"].low is not None
    wrong = labels != logits.argmax(axis=1)
    sure = [one.probability for one in again.wrong]
    assert len(sure) == min(classes.MOST_WRONG, wrong.sum()) and sure == sorted(sure)[::-1]
    number = int(again.wrong[0].text.removeprefix("text "))
    assert wrong[number] and again.wrong[0].true == "abc"[labels[number]]
    compared = again.baselines["majority"]
    assert compared.accuracy.value == again.scores.measures["majority_rate"].value
    assert compared.gain > 0 and compared.p_loss < 0.01
    written, spoiled = found.to_dict(), list[dict[str, Any]]()
    spoiled += [{}, written | {"wrong": 1}, written | {"scores": {}}]
    spoiled.append(written | {"decided": {"accuracy": [float("inf"), None, None]}})
    parts: list[dict[str, Any]] = [
        {"measures": {}},
        {"confusion": {"classes": ["a"], "counts": [[1, 2]]}},
        {"confusion": {"classes": ["a"], "counts": [[-1]]}},
    ]
    for part in parts:
        spoiled.append(written | {"scores": written["scores"] | part})
    for one in spoiled:
        with pytest.raises(ValueError):
            Evidence.from_dict(one)


def test_predictions_of_the_same_sequences_are_compared() -> None:
    from scipy import stats

    logits, labels = drawn(300, 3, seed=5)
    noisy = logits + np.random.default_rng(0).normal(size=logits.shape)
    found = Compared.of(logits, noisy, labels, "abc")
    losses = [classes.log_losses(one, labels) for one in (noisy, logits)]
    assert found.gain == pytest.approx(losses[0].mean() - losses[1].mean())
    assert found.p_loss == pytest.approx(stats.ttest_rel(*losses).pvalue)
    right = [one.argmax(axis=1) == labels for one in (logits, noisy)]
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert found.p_accuracy == pytest.approx(stats.binomtest(min(only), sum(only)).pvalue)
    same = Compared.of(logits, logits, labels, "abc")
    assert (same.gain, same.p_loss, same.p_accuracy) == (0.0, 1.0, 1.0)


def labelled(texts: list[str], labels: list[int]) -> LabelledSplit:
    codes = ALPHABET.encode("".join(texts)).astype(np.uint8)
    starts = np.cumsum([0, *map(len, texts)])[:-1]
    return LabelledSplit(Split(codes, starts), np.array(labels, np.int32))


ALPHABET = Alphabet(tuple("abcd"))


def test_n_grams_are_counted_within_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.feature_extraction.text import CountVectorizer

    texts = ["abca", "d", "bcbcd", "aaaaaa", "abca"]
    split = labelled(texts, [0] * 5)
    for block in (1 << 18, 7):
        monkeypatch.setattr(baselines, "NGRAM_BLOCK", block)
        found = baselines._grams(split, 3)
        expected = CountVectorizer(analyzer="char", ngram_range=(1, 3)).fit_transform(texts)
        own = found[:, np.unique(found.indices)].toarray()
        assert sorted(own.T.tolist()) == sorted(expected.toarray().T.tolist())
    monkeypatch.setattr(baselines, "MOST_GRAMS", 3 * 5 * 2)  # two symbols of each
    short = baselines._grams(labelled([text[:2] for text in texts], [0] * 5), 3)
    assert (baselines._grams(split, 3) != short).nnz == 0


def test_baselines_of_classes_are_what_they_are_called() -> None:
    from sklearn.naive_bayes import MultinomialNB

    rng = np.random.default_rng(0)

    def split(sequences: int) -> LabelledSplit:
        """Class 0 has `ab` in it, class 1 `ba`, and class 2, the most frequent, neither."""
        labels = rng.choice(3, size=sequences, p=[0.2, 0.3, 0.5])
        texts = ["".join(rng.permutation(list("ccccdd"))) for _ in labels]
        parts = ("ab", "ba", "acb")
        return labelled([parts[k] + text for k, text in zip(labels, texts, strict=True)],
                        labels.tolist())  # fmt: skip

    train, validation = split(600), split(200)
    corpus = LabelledCorpus("x", ALPHABET, ("a", "b", "c"), train, validation, validation, "", "")
    majority, bayes, logistic = baselines.score_baselines(corpus)
    assert [one.name for one in (majority, bayes, logistic)] == [*classes.BASELINES]
    shares = (np.bincount(train.labels) + 1) / 603
    assert majority.metrics["loss"] == pytest.approx(-np.log(shares[validation.labels]).mean())
    assert majority.metrics["accuracy"] == (validation.labels == 2).mean()
    assert bayes.metrics["accuracy"] == logistic.metrics["accuracy"] == 1.0
    assert logistic.logits is not None and logistic.logits.shape == (200, 3)
    grams = baselines._grams(train, 2)[:, :4000]
    own = baselines._fitted(ClassNaiveBayes(2, 0.5, False), grams, train.labels, grams, 3)
    their = MultinomialNB(alpha=0.5).fit(grams, train.labels).predict_log_proba(grams)
    shares = np.log(np.bincount(train.labels) / 600) - np.log((np.bincount(train.labels) + 1) / 603)
    assert log_softmax(own + shares) == pytest.approx(their)


def test_a_class_that_few_sequences_have_keeps_a_share() -> None:
    train = labelled(["aaaa"] * 12 + ["bbbb"] * 12 + ["cccc"], [0] * 12 + [1] * 12 + [2])
    corpus = LabelledCorpus("x", ALPHABET, ("a", "b", "c"), train, train, train, "", "")
    for one in baselines.score_baselines(corpus):
        assert np.isfinite(one.metrics["loss"]) and one.logits is not None
        assert np.exp(one.logits).sum(axis=1) == pytest.approx(np.ones(25))
