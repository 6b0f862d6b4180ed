"""The end of a session: learned, scored, generated and judged."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstm_sweep as ls
from lstm_sweep.models import baselines
from lstm_sweep.models.bundle import bundle
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus, load
from lstm_sweep.models.data.source import Source, Workflow
from lstm_sweep.models.network import evaluation
from lstm_sweep.models.network.program import program_of
from lstm_sweep.search.cli import main
from lstm_sweep.search.store import registry
from lstm_sweep.search.store.settings import load as load_settings
from tests.contract.arithmetic import best_loss

#: symbols that are drawn independently, and the probability that a session ends after one
SYMBOLS, ENDS = 7, 0.125
#: jobs that are learned in a moment
PROCESS = Workflow(kinds=3, rounds=1, action_probabilities=(0.6, 0.4), heartbeat=0.3, error=0.1)
CONFIG = TrialConfig(
    layers=1, layer_size=32, sequence_length=10, batch_size=16, learning_rate=0.01,
    optimizer="adam", epochs=4,
)  # fmt: skip
METRICS = {"trial": "s/3", "val_loss": 1.5, "test_loss": 1.75}


@pytest.fixture(scope="module")
def independent(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Sessions of independent symbols, of a random geometric length."""
    rng, folder = np.random.default_rng(5), tmp_path_factory.mktemp("independent")
    sessions = [rng.integers(0, SYMBOLS, rng.geometric(ENDS)) for _ in range(2_500)]
    lines = [" ".join(map(str, one)) for one in sessions]
    (folder / "log.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load(Source(data=str(folder / "log.txt")))


def least_loss(corpus: Corpus) -> float:
    """Mean surprise of the validation targets to who knows the process, nats."""
    split = corpus.validation
    ends, sessions = len(split.starts), len(split.starts)
    drawn = len(split) - ends
    # the first symbol of a session cannot be its end; after each symbol it ends or goes on
    goes_on = (drawn - sessions) * -math.log1p(-ENDS)
    return (drawn * math.log(SYMBOLS) + goes_on + ends * -math.log(ENDS)) / len(split)


@pytest.mark.parametrize("kind", [{}, {"direction": "bi"}, {"state": "carried"}], ids=str)
def test_no_network_scores_below_the_entropy_of_independent_symbols_that_end_anywhere(
    independent: Corpus, tmp_path: Path, kind: dict[str, str]
) -> None:
    config = CONFIG.evolve(stride=2, epochs=3, **kind)
    loss = best_loss(config, independent, tmp_path / "m.keras")
    # each session begins with a symbol, all other targets are one of 7 symbols or the end, alike
    share = len(independent.validation.starts) / len(independent.validation)
    expected = share * math.log(SYMBOLS) + (1 - share) * math.log(SYMBOLS + 1)
    least = least_loss(independent)
    assert least == pytest.approx(expected, abs=1e-9)
    assert least - 0.003 < loss < least + 0.06


def test_baselines_know_the_end_too(independent: Corpus) -> None:
    least, targets = least_loss(independent), np.arange(len(independent.validation))
    found = {one.name: one.metrics["loss"] for one in baselines.score_all(independent, targets)}
    # the unigram model expects an end also where a session begins
    assert least - 0.003 < found["markov"] < least + 0.01
    assert least - 0.003 < min(found["naive_bayes"], found["ngram"])
    assert least + 0.01 < found["unigram"] < least + 0.03


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle of a network that has learned `PROCESS`."""
    folder = tmp_path_factory.mktemp("trained")
    lines = [" ".join(map(str, one.tolist())) for one in PROCESS.sessions(15_000, seed=0)]
    (folder / "log.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    corpus = load(Source(data=str(folder / "log.txt")))
    config = CONFIG.evolve(state="carried")
    loss = best_loss(config, corpus, folder / "m.keras")
    assert PROCESS.entropy(ends=True) * 0.95 < loss < PROCESS.entropy(ends=True) * 1.05
    import keras

    network = keras.models.load_model(folder / "m.keras")
    networks = bundle.networks_of(folder / "m.keras", [config], len(corpus.alphabet))
    program = program_of(networks, config, seed=0)
    calibration = evaluation.calibrate(program, config, corpus)
    content = Bundle("s/3", config, corpus.alphabet, METRICS, calibration)
    bundle.write(network, content, folder / "best", "keras")
    return folder


@pytest.fixture
def place(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, in which the program runs."""
    monkeypatch.chdir(trained)
    return trained


def test_the_readme_of_a_bundle_says_where_the_end_comes(trained: Path) -> None:
    text = (trained / "best" / "README.md").read_text(encoding="utf-8")
    assert "code 2, `<end>`, comes after the last symbol of a session" in text


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def faulty(job: list[int], kind: str) -> list[int]:
    """A job with a fault that some rules cannot see."""
    if kind == "order":  # an acknowledgement stands before its action; nothing is counted otherwise
        place = next(n for n, event in enumerate(job) if 10 <= event < 30)
        rest = [event for event in job[place + 1 : -1] if event < 30 or event == 50]
        return [*job[:place], job[place] + 20, *rest, job[place], job[-1]]
    if kind == "end":  # closed as another kind of job
        return [*job[:-1], 90 + (job[0] + 1) % PROCESS.kinds]
    if kind == "broken":
        return job[:-1]
    return [*job[:1], *[50] * 40, *job[1:]] if kind == "count" else [*job[:1], 77, *job[1:]]


def test_abnormal_sessions_are_found_at_the_rate_of_false_alarms_that_is_promised(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [one.tolist() for one in PROCESS.sessions(6_000, seed=9)]
    kinds = ("order", "end", "broken", "count", "new")
    planted = {n: kinds[n // 20 % len(kinds)] for n in range(0, len(jobs), 20)}
    new = [faulty(job, planted[n]) if n in planted else job for n, job in enumerate(jobs)]
    Path("new.txt").write_text("\n".join(" ".join(map(str, job)) for job in new), encoding="utf-8")
    labels = "".join(f"{n + 1}\t{int(n in planted)}\n" for n in range(len(jobs)))
    Path("labels.tsv").write_text(f"session\tlabel\n{labels}", encoding="utf-8")
    asked = ("detect", "best", "--data", "new.txt", "--labels", "labels.tsv")
    told = printed(capsys, *asked, "--false-alarms", "0.01")["verdicts"]
    table = ls.load("best").verdicts("new.txt", false_alarms=0.01, labels="labels.tsv")
    assert table.to_dict("records") == told["abnormal"]
    assert table.attrs == {name: value for name, value in told.items() if name != "abnormal"}
    assert told["promise"].startswith("false alarms: 1 % of normal sessions on average; at most ")
    by_name = {one["session"]: one for one in told["abnormal"]}
    for number, kind in planted.items():
        verdict = by_name[f"new.txt, session {number + 1}"]
        assert verdict["p"] <= 0.01 and verdict["symbols"] == len(new[number])
        if kind == "broken":
            assert verdict["at"]["symbol"] == "<end>"
        if kind == "new" and verdict["by"] in ("surprise", "unknown"):
            assert (verdict["at"]["symbol"], verdict["at"]["known"]) == (77, False)
        assert verdict["at"]["expected"]
    quality = told["quality"]["verdict"]
    assert (quality["abnormal"], quality["found"]) == (len(planted), len(planted))
    assert quality["recall"] == 1 and quality["false_alarm_rate"] < 0.03
    # what no rule sees by itself
    assert all(told["quality"][rule]["recall"] < 0.9 for rule in ("length", "new symbol", "counts"))
    assert told["quality_of_distinct"]["verdict"]["normal"] < quality["normal"]
    assert main([*asked, "--false-discoveries", "0.1", "--top", "1"]) == 0
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert "abnormal; false alarms: 0.1 of all alarms on average, at most, from" in first
    assert second.startswith("p ") and any("verdict" in line for line in rest)


def test_each_session_has_the_loss_of_its_symbols(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = printed(capsys, "score", "best", "--data", "log.txt")
    whole = printed(capsys, "detect", "best", "--data", "log.txt")
    assert (len(rows), rows[0]["session"]) == (whole["sessions"], "log.txt, session 1")
    assert sum(one["symbols"] for one in rows) == whole["symbols"]
    with_ends = [one["symbols"] + 1 for one in rows]
    mean = np.average([one["loss"] for one in rows], weights=with_ends)
    assert mean == pytest.approx(whole["loss"])
    assert ls.load("best").score("log.txt").to_dict("records") == rows
    assert main(["score", "best", "--data", "log.txt", "--open"]) == 0
    head, first, *_ = capsys.readouterr().out.splitlines()
    assert head == "nats a symbol, symbols, session" and first.endswith("  log.txt, session 1")


def test_sessions_that_go_on_are_judged_by_what_they_have_so_far(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("open.txt").write_text("0 10\n0 10 50\n1 10 30\n2 11 30 90\n", encoding="utf-8")
    told = printed(capsys, "detect", "best", "--data", "open.txt", "--open")["verdicts"]
    assert [one["session"] for one in told["abnormal"]] == ["open.txt, session 4"]
    assert told["abnormal"][0]["by"] == "surprise" and told["rules"] == {}
    asked = ("detect", "best", "--data", "open.txt", "--below", "0.002")
    ended, goes_on = printed(capsys, *asked), printed(capsys, *asked, "--open")
    ends = [one["place"] for one in ended["findings"] if one["symbol"] == "<end>"]
    assert sorted(ends) == [3, 4, 4] and all(one["known"] for one in ended["findings"])
    assert (ended["ends"], ended["unexpected"]) == (True, 4)
    assert (goes_on["ends"], goes_on["unexpected"]) == (False, 1)


def test_event_ids_are_followed_with_the_verdicts_of_a_batch(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = [one.tolist() for one in PROCESS.sessions(2_000, seed=9)]
    jobs[::20] = [faulty(job, ("end", "broken", "new")[n % 3]) for n, job in enumerate(jobs[::20])]
    lines = [" ".join(map(str, job)) + "\n" for job in jobs]
    Path("log").write_text("".join(lines), encoding="utf-8")
    bundle_at, rate = str(place / "best"), ("--false-alarms", "0.01")
    batch = printed(capfd, "detect", bundle_at, "--data", "log", *rate)["verdicts"]["abnormal"]
    names = {one["session"] for one in batch}
    assert len(names) > 15

    def piped(text: str) -> tuple[list[dict[str, Any]], str]:
        Path("piped").write_text(text, encoding="utf-8")
        with Path("piped").open() as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", stream)
            assert main(["detect", bundle_at, "--follow", "-", *rate]) == 0
        out, err = capfd.readouterr()
        return [*map(json.loads, out.splitlines())], err

    odd = "no ids\n" + "7 " * 40_000 + "\n\n"
    found, said = piped("".join([*lines[:200], odd, *lines[200:]]))
    assert {one["session"].replace("stdin", "log") for one in found} == names
    assert "2 lines that are no event ids, or very long, are left out" in said
    # without several ids in a line all are one session
    [one] = piped("\n".join(map(str, faulty(jobs[1], "end"))))[0]
    assert (one["session"], one["symbols"]) == ("stdin", len(jobs[1]))


def test_too_few_normal_sessions_promise_nothing_and_more_can_be_given(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["detect", "best", "--data", "log.txt", "--false-alarms", "0.0005"]
    assert main(asked) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "--false-alarms is 0.0005: that takes 1,999 normal sessions, found " in line
    assert main([*asked, "--calibrate", "log.txt"]) == 0
    assert "0.05 % of normal sessions on average" in capsys.readouterr().out


def test_a_calibration_that_is_damaged_gets_one_clear_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "best", tmp_path / "best")
    written = json.loads((place / "best" / bundle.CALIBRATION).read_text(encoding="utf-8"))
    bundle.write_json(tmp_path / "best" / bundle.CALIBRATION, written | {"counts": [[999, 1]]})
    assert main(["detect", str(tmp_path / "best"), "--data", str(place / "log.txt")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "calibration.json: " in line and "counts: expected pairs of a code below" in line


def test_generated_sessions_end(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("generate", "best", "--count", "40", "--seed", "3")
    jobs = printed(capsys, *asked)["sequences"]
    assert len({len(job) for job in jobs}) > 3  # each ends for itself
    whole = [job for job in jobs if job[0] < 3 and job[-1] == 90 + job[0] and len(job) >= 4]
    assert len(whole) >= 38
    short = printed(capsys, *asked, "--length", "2")["sequences"]
    assert short == [job[:2] for job in jobs]
    assert main(["generate", "best", "--prompt", "2 10", "--temperature", "0"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.split() == ["2", "10", "30", "92"]


@pytest.mark.full
def test_a_model_that_mlflow_serves_says_that_it_judges_ends(trained: Path, tmp_path: Path) -> None:
    from mlflow.models import Model, get_model_info

    alphabet = bundle.read(str(trained / "best"))[1].alphabet
    settings = load_settings(tmp_path, {})
    registry.write_symbols_model(settings, trained / "best", tmp_path / "m", alphabet, Model())
    assert get_model_info(str(tmp_path / "m")).signature.outputs.input_names() == [
        "next", "surprise", "end_surprise", "continuation",
    ]  # fmt: skip
