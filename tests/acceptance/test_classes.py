"""The page on classes, as a user follows it: from a folder, and from a log, to a model in use."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from lstm_sweep.models.data.service_log import FAULTS, service_log
from tests.conftest import run_here

pytestmark = pytest.mark.full

PAGE = Path(__file__).parents[2] / "docs" / "classes.md"
#: in place of minutes
FEW = [
    *("--ladder", "off", "--size-rule", "off"),
    *("--set", "layer_size=16", "--set", "layers=1", "--set", "learning_rate=0.01"),
    *("--set", "sequence_length=60", "--set", "batch_size=16", "--epochs", "6"),
]
#: one trial; three, of which the best is confirmed
ONE = ("--trials", "1", "--confirm-configs", "0")
CONFIRMED = ("--trials", "4", "--confirm-configs", "1", "--confirm-seeds", "1", "--keep", "1")
WORDS = {
    "good": "fine lovely great charming clever",
    "bad": "dull awful poor tiresome silly",
}


def follow(block: int, folder: Path, trials: Sequence[str]) -> list[str]:
    """What the commands of a block of the page print; trials are few."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    printed = []
    for line in blocks[block].splitlines():
        _, *words = shlex.split(line)
        if words[0] == "launch":
            words = [*words[: words.index("--minutes")], *FEW, *trials]
        done = run_here(*words, cwd=folder)
        assert done.code == 0, (words, done.err)
        printed.append(done.out)
    return printed


def review(draw: Random, kind: str) -> str:
    words = [draw.choice(WORDS[kind].split()) for _ in range(4)]
    return f"A {words[0]} film, {words[1]} and {words[2]}; how {words[3]} it is."


@pytest.fixture(scope="module")
def folder(workplace: Callable[[str], Path]) -> Path:
    """Reviews, a folder for each kind, and a log with planted faults and their kinds."""
    place, draw = workplace("classes"), Random(1)
    for kind in WORDS:
        for number in range(60):
            file = place / "reviews" / kind / f"{number}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(review(draw, kind), encoding="utf-8")
    rows = [f"{review(draw, kind)}\t{kind}" for kind in WORDS for _ in range(20)]
    (place / "new.tsv").write_text("\n".join(["text\tkind", *rows]) + "\n", encoding="utf-8")
    faults = dict[str, str]()
    lines = service_log(400, seed=3, faulty=0.5, found=faults)
    (place / "shop.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
    kinds = [f"{name},{fault or 'none'}" for name, fault in faults.items()]
    (place / "faults.csv").write_text("\n".join(kinds) + "\n", encoding="utf-8")
    return place


def test_a_folder_for_each_class_becomes_a_model(folder: Path) -> None:
    _, exported, said = follow(0, folder, CONFIRMED)
    assert re.search(r"test: log loss [\d.]+ nats a sequence, accuracy [\d.]+ \(", exported)
    # weights of both runs of the best config are kept, whichever is better
    assert re.search(
        r"the mean of .* reviews-1/\d, reviews|alone, .* mean with reviews-1", exported
    )
    assert "40 labelled sequences: accuracy " in said
    assert "a clean process with plain Keras predicts the same on" in exported
    table = ("--data", "new.tsv", "--text", "text", "--label", "kind", "--json")
    found = run_here("classify", "reviews-model", *table, cwd=folder).json
    assert found["classes"] == ["bad", "good"]
    assert found["scores"]["measures"]["accuracy"][0] >= 0.9


def test_the_faults_of_a_log_are_classes(folder: Path) -> None:
    *_, said = follow(1, folder, ONE)
    assert "400 labelled sequences: accuracy " in said
    assert all(f"\n  {fault} " in said for fault in (*FAULTS, "none"))
