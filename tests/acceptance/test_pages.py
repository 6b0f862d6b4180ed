"""Pages of the documents, as a user follows them: from folders and raw logs to models in use."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

import pytest

from lstm_sweep.models.data.service_log import FAULTS, service_log
from tests.cases import Place
from tests.conftest import wait_until
from tests.unit.documents import DOCS, FENCE, text_of

pytestmark = pytest.mark.full

#: in place of minutes, but for what a sweep has of its own
FEW = [
    *("--ladder", "off", "--size-rule", "off", "--workers", "1", "--epochs", "6"),
    *("--set", "layers=1", "--set", "learning_rate=0.01"),
]
CONFIRMED = [*FEW, "--confirm-configs", "1", "--confirm-seeds", "1"]
SHORT = ["--set", "layer_size=16", "--set", "sequence_length=60", "--set", "batch_size=16"]
WORDS = {
    "good": "fine lovely great charming clever",
    "bad": "dull awful poor tiresome silly",
}


def commands(page: str) -> list[list[str]]:
    """Arguments of the program on a page, in their order; a launch has no time."""
    lines = [
        line
        for language, content in FENCE.findall(text_of(DOCS / page))
        for line in content.splitlines()
        if language == "sh" and line.startswith("lstm-sweep ")
    ]
    return [shlex.split(line.removesuffix(" --minutes 10"))[1:] for line in lines]


@pytest.fixture
def place(workplace: Callable[[str], Path]) -> Place:
    return Place(workplace("pages"))


def said(place: Place, *words: str) -> str:
    """What a command prints."""
    done = place.read(*words)
    assert done.code == 0, (words, done.err)
    return done.out


def write(file: Path, lines: Iterable[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def review(draw: Random, kind: str) -> str:
    words = [draw.choice(WORDS[kind].split()) for _ in range(4)]
    return f"A {words[0]} film, {words[1]} and {words[2]}; how {words[3]} it is."


def test_a_folder_for_each_class_becomes_a_model(place: Place) -> None:
    draw = Random(1)
    for kind in WORDS:
        for number in range(60):
            write(place.folder / "reviews" / kind / f"{number}.txt", [review(draw, kind)])
    rows = [f"{review(draw, kind)}\t{kind}" for kind in WORDS for _ in range(20)]
    write(place.folder / "new.tsv", ["text\tkind", *rows])
    launch, export, classify, *_ = commands("classes.md")
    said(place, *launch, *CONFIRMED, *SHORT, "--trials", "4", "--keep", "1")
    exported = said(place, *export)
    assert re.search(r"test: log loss [\d.]+ nats a sequence, accuracy [\d.]+ \(", exported)
    # weights of both runs of the best config are kept, whichever is better
    assert re.search(
        r"the mean of .* reviews-1/\d, reviews|alone, .* mean with reviews-1", exported
    )
    assert "a clean process with plain Keras predicts the same on" in exported
    assert "40 labelled sequences: accuracy " in said(place, *classify)
    found = json.loads(said(place, *classify, "--json"))
    assert found["classes"] == ["bad", "good"]
    assert found["scores"]["measures"]["accuracy"][0] >= 0.9


def test_the_faults_of_a_log_are_classes(place: Place) -> None:
    faults = dict[str, str]()
    write(place.folder / "shop.log", service_log(400, seed=3, faulty=0.5, found=faults))
    kinds = [f"{name},{fault or 'none'}" for name, fault in faults.items()]
    write(place.folder / "faults.csv", kinds)
    *_, launch, export, classify = commands("classes.md")
    said(place, *launch, *FEW, *SHORT, "--trials", "1", "--confirm-configs", "0")
    said(place, *export)
    told = said(place, *classify)
    assert "400 labelled sequences: accuracy " in told
    assert all(f"\n  {fault} " in told for fault in (*FAULTS, "none"))


#: requests to learn, so many that 0.2 % can be promised, and those to judge
REQUESTS, JUDGED = 2_600, 300


def test_a_raw_log_leads_to_alarms(place: Place) -> None:
    faults = dict[str, str]()
    log, new, state = (place.folder / name for name in ("app.log", "new.log", "app.state"))
    write(log, service_log(REQUESTS))
    write(new, service_log(JUDGED, 7, 0.2, faults))
    rows = [f"{name.removeprefix('req-')},{int(fault != '')}" for name, fault in faults.items()]
    write(place.folder / "labels.csv", rows)
    launch, export, detect, promise, follow = commands("logs.md")
    network = ("--set", "layer_size=32", "--set", "embedding_size=0")
    swept = json.loads(said(place, *launch, *CONFIRMED, *network, "--trials", "2", "--json"))
    assert swept["state"] == "finished" and swept["best"]["val_loss"] < 0.6
    said(place, *export)
    assert f" of {JUDGED} sessions abnormal; false alarms: 1 % of" in place.read(*detect).out
    promised = place.read(*promise, "--labels", "labels.csv", "--json").json["verdicts"]
    assert promised["promise"].startswith("false alarms: 0.2 % of normal sessions on average")
    quality = promised["quality"]
    assert quality["verdict"]["recall"] > 0.95 and quality["verdict"]["false_alarms"] <= 3
    assert quality["counts"]["recall"] < 0.9, "which sees no order"
    abnormal = {one["session"] for one in promised["abnormal"]}
    log.write_bytes(new.read_bytes())
    assert follow[-2:] == ["--metrics", "9100"]
    following = place.start(*follow[:-2], "--idle", "1")

    def has_read_all() -> bool:
        if not state.exists():
            return False
        found = json.loads(state.read_text())
        return not found["sessions"] and bool(found["position"]["offset"])

    wait_until(has_read_all, following)
    following.terminate()
    out, err = following.communicate(timeout=60)
    assert {json.loads(line)["session"] for line in out.splitlines()} == abnormal, err
