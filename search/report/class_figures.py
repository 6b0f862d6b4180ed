"""What a report shows of how well classes are told: tables, sentences, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Iterator

from lstm_sweep.models.classes import OTHERS, Compared, Estimate
from lstm_sweep.search.report.charts import matrix
from lstm_sweep.search.report.figures import Figure, Findings, Table, by_name
from lstm_sweep.search.values.sweep import SIGNIFICANCE

#: measures of the best trial, in the order in which they are shown
MEASURES = {
    "log_loss": "log loss, nats",
    "accuracy": "accuracy",
    "majority_rate": "share of the most frequent class",
    "macro_f1": "macro F1",
    "auc": "AUC, mean over classes",
    "average_precision": "average precision, mean over classes",
    "calibration_error": "calibration error",
    "scaled_calibration_error": "calibration error after temperature scaling",
}
#: classes and pairs of classes in a table, at most
MOST_ROWS = 40


def class_sentences(found: Findings) -> Iterator[str]:
    told = found.classes
    if told is None:
        return
    right, majority = (told.scores.measures[name] for name in ("accuracy", "majority_rate"))
    yield (
        f"It is right about {_percent(right)} of {told.scores.sequences:,} validation sequences; "
        f"the most frequent class is {_percent(majority)} of them. It was chosen by them, so it "
        "may do worse on others: export says how it does on test data."
    )
    for name, compared in told.baselines.items():
        if text := _as_good(compared):
            yield f"{by_name(name)[:1].upper()}{by_name(name)[1:]} {text}."


def _as_good(compared: Compared) -> str:
    """What is said of a baseline that is not worse than the best trial; empty if it is."""
    above = f"{abs(compared.gain):.4f} nats {'above' if compared.gain > 0 else 'below'}"
    if compared.p_loss >= SIGNIFICANCE:
        return (
            f"is as good: its log loss is {above}, which may be chance (p = {compared.p_loss:.2g})"
        )
    if compared.gain < 0:
        return f"is better: its log loss is {above} (p = {compared.p_loss:.2g})"
    if compared.p_accuracy >= SIGNIFICANCE:
        return (
            f"is right as often ({_percent(compared.accuracy)}; p = {compared.p_accuracy:.2g}), "
            f"though its probabilities are worse: its log loss is {above}"
        )
    return ""


def _chance(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "below 0.0001"


def _percent(share: Estimate) -> str:
    return "" if share.value is None else f"{100 * share.value:.1f} %"


def class_tables(found: Findings) -> Iterator[tuple[str, Table]]:
    told = found.classes
    if told is None:
        return
    scores = told.scores
    rows = [[name, str(scores.measures[key])] for key, name in MEASURES.items()]
    rows += [
        [f"{MEASURES[key]}, decided for macro F1", str(one)] for key, one in told.decided.items()
    ]
    note = (
        f"In brackets: 95 % intervals. The temperature is {scores.temperature:.3g}, fitted to "
        "these sequences."
    )
    yield (
        f"Scores of {told.trial} on {scores.sequences:,} validation sequences",
        Table(["measure", "value"], rows, note),
    )
    names = ("log_loss", "accuracy", "macro_f1")
    rows = [[told.trial, *(str(scores.measures[name]) for name in names), "", ""]]
    for name, compared in told.baselines.items():
        chance = _chance(compared.p_loss), _chance(compared.p_accuracy)
        rows.append([by_name(name), *(str(getattr(compared, key)) for key in names), *chance])
    yield (
        "The same of the baselines",
        Table(
            ["model", "log loss, nats", "accuracy", "macro F1", "p of the loss", "p of accuracy"],
            rows,
            "p: how likely so great a difference from the best trial is by chance (paired t test "
            "of losses; McNemar's test of what only one of both has right).",
        ),
    )
    frequent = sorted(scores.classes, key=lambda one: -one.sequences)
    rows = [
        [
            one.name, f"{one.sequences:,}", str(one.precision), str(one.recall), str(one.f1),
            str(Estimate(one.auc)), str(Estimate(one.average_precision)),
        ]
        for one in frequent[:MOST_ROWS]
    ]  # fmt: skip
    cut = len(frequent) > MOST_ROWS
    headings = ["class", "sequences", "precision", "recall", "F1", "AUC", "average precision"]
    note = f"The {MOST_ROWS} most frequent of {len(frequent)}; all: evidence.json" * cut
    yield "Each class against the others", Table(headings, rows, note)
    rows = [[one.true, one.predicted, f"{one.probability:.3f}", one.text] for one in told.wrong]
    if rows:
        yield (
            "Wrong with most certainty",
            Table(
                ["class", "taken for", "probability", "sequence"], rows,
                "Look at them first: labels may be wrong, too.",
            ),
        )  # fmt: skip


def confusion(found: Findings) -> Iterator[Figure]:
    told = found.classes
    if told is None:
        return
    names, counts = told.scores.confusion.classes, told.scores.confusion.counts
    of_class = [*map(sum, counts)]
    pairs = [
        (counts[i][j], names[i], names[j], of_class[i])
        for i in range(len(names))
        for j in range(len(names))
        if i != j and counts[i][j]
    ]
    pairs.sort(key=lambda pair: -pair[0])
    cells = [[i, j, f"{n:,}", f"{n / whole:.1%}"] for n, i, j, whole in pairs[:MOST_ROWS]]
    caption = "A row is a true class, a column what its sequences were taken for; on the diagonal "
    caption += "they are right. The darker, the larger the share of the row."
    if OTHERS in names:
        caption += f" The rarest classes are together: {OTHERS}."
    if pairs:
        count, true, predicted, whole = pairs[0]
        caption += f" Most often {true} was taken for {predicted}: {count:,} of {whole:,}."
    headings = ["true class", "taken for", "sequences", "share of the class"]
    note = f"The first {MOST_ROWS} of {len(pairs)} pairs." if len(pairs) > MOST_ROWS else ""
    table = Table(headings, cells, note)
    yield Figure("Which classes are taken for which", matrix(names, counts), caption, table)
