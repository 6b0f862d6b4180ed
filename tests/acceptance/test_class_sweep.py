"""Sweeps over sequences with classes: killed, resumed, repeated, begun with what others know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.search.store import reader, registry
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tracking import MlflowStore
from tests.cases import Place, Swept
from tests.conftest import wait_until
from tests.servers import serving

LENGTHS, WORDS = (3, 12), {"fast": "abc", "slow": "bcd", "lost": "cde"}


def write_rows(file: Path, rows: int = 360) -> Path:
    """Texts whose letters say their class."""
    rng = np.random.default_rng(0)
    lines = ["class\ttext"]
    for number in range(rows):
        name = list(WORDS)[number % len(WORDS)]
        letters = rng.choice(list(WORDS[name]), rng.integers(*LENGTHS))
        lines.append(f"{name}\t{number % 10}{''.join(letters)}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


DATA = ("launch", "--data", "rows.tsv", "--label", "class")
SEARCH = (
    *("--workers", "2", "--trials", "3", "--size-rule", "off"),
    *("--confirm-configs", "1", "--confirm-seeds", "1"),
    *("--set", "layer_size=8", "--set", "embedding_size=4", "--set", "layers=1"),
    *("--set", "learning_rate=0.01,0.03", "--epochs", "3", "--json"),
)


@pytest.fixture(scope="module")
def place(workplace: Callable[[str], Path]) -> Place:
    """A folder with such sequences."""
    folder = workplace("classes")
    write_rows(folder / "rows.tsv")
    return Place(folder)


@pytest.fixture(scope="module")
def swept(place: Place) -> Swept:
    """Sweep `c`."""
    done = place.run(*DATA, "--name", "c", *SEARCH)
    assert done.code == 0, done.err
    return Swept(place, done)


def test_it_says_how_well_classes_are_told_and_repeats(place: Place, swept: Swept) -> None:
    result = swept.done.json
    assert (result["state"], len(place.trials("c"))) == ("finished", 3)
    assert set(result["baselines"]) == {"majority", "naive_bayes", "logistic_regression"}
    assert result["best"]["bits_per_symbol"] is None
    assert result["best"]["val_loss"] < result["baselines"]["majority"]
    assert "pooling" in result["best"]["config"] and "stride" not in result["best"]["config"]
    shown = place.read("show", result["best"]["trial"], "--json").json
    assert {"val_accuracy", "val_macro_f1"} <= shown["by_epoch"][-1].keys()
    assert place.read("status", "c", "--json").json["state"] == "finished"
    store = MlflowStore(load(place.folder, {}))
    assert registry.logged_model_of(store, result["best"]["run_id"])
    assert place.read("report", "c", "--to", "c.html").code == 0
    page = (place.folder / "c.html").read_text(encoding="utf-8")
    assert "log loss (nats per sequence)" in page and "bits per symbol" not in page
    assert "How well classes are told" in page and "Each class against the others" in page

    again = place.run("rerun", result["best"]["trial"], "--json").json
    assert (again["verdict"], again["max_difference"]) == ("identical", 0)
    refused = place.read("rerun", result["best"]["trial"], "--set", "stride=3").refusal
    assert "stride is no field" in refused.replace("'", "")


MORE = (*DATA, "--unlabelled", "more.txt", "--minutes", "60", "--name", "u", *SEARCH)


@pytest.mark.full
def test_what_unlabelled_sequences_teach_comes_first_and_outlives_a_kill(place: Place) -> None:
    rows = (place.folder / "rows.tsv").read_text(encoding="utf-8").splitlines()[1:]
    texts = [row.partition("\t")[2] for row in rows]
    (place.folder / "more.txt").write_text("\n".join(texts * 2) + "\n", encoding="utf-8")
    first = {row["trial"]: row["val_loss"] for row in broken_off(place, "u-unlabelled")}
    broken_off(place, "u")
    learnt = place.trials("u-unlabelled")
    assert len(learnt) == 3 and first.items() & {(one["trial"], one["val_loss"]) for one in learnt}
    result = place.run("resume", "u", "--json").json
    assert result["state"] == "finished" and place.read("status", "u-unlabelled").code == 0
    again = place.run("rerun", result["best"]["trial"], "--json").json
    assert (again["verdict"], again["max_difference"]) == ("identical", 0)
    symbols = refusal(place, "u-unlabelled", "--symbols", "words")
    assert "its symbols are chars, those of rows.tsv are words" in symbols
    letters = refusal(place, "u-unlabelled", "--lower-case", "on")
    assert "expected neither, or the same" in letters
    layers = refusal(place, "u-unlabelled", "--set", "layer_size=32")
    assert "has 8: expected the same" in layers


def broken_off(place: Place, sweep: str) -> list[dict[str, Any]]:
    """Trials of a sweep once one of them has ended and the program is killed."""
    begun = place.start(*MORE)
    wait_until(lambda: any(one["outcome"] for one in place.trials(sweep)), begun)
    begun.kill()
    begun.wait()
    return place.trials(sweep)


def refusal(place: Place, *pretrained: str) -> str:
    """Why trials cannot begin with this network, in one line."""
    return place.read(*DATA, "--minutes", "1", "--pretrained", *pretrained).refusal


@pytest.mark.full
def test_a_service_queues_what_comes_first_and_names_no_folder_of_its_own(place: Place) -> None:
    home = place.folder / "service"
    home.mkdir()
    with serving(home, "--no-mlflow") as (told, _):
        server = ("--server", told["url"])
        begun = (*DATA, "--minutes", "60", "--name", "v", *SEARCH[:-1], *server, "--detach")
        done = place.read(*begun)
        assert done.code == 0, done.err
        assert (
            "trials begin with what v-unlabelled learns" in place.read("status", "v", *server).out
        )
        done = place.read("status", "v", "--follow", *server)
        assert done.code == 0, done.err
        sweeps = place.read("sweeps", "--json", *server).json
        assert {one["sweep"]: one["state"] for one in sweeps} == {
            "v": "finished", "v-unlabelled": "finished"
        }  # fmt: skip
        assert str(home) not in done.out + done.err + place.read("show", "v/0", *server).out
        store = MlflowStore(load(home, {}))
        network = reader.read_spec(reader.existing_sweep(store, "v")).pretrained
        assert network and Path(network).is_relative_to(home) and "v-unlabelled" in network


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize(
    "given, told",
    [
        (("nobody",), "no such sweep in"),
        (("c",), "does not predict symbols, expected a trial of a sweep with --task symbols"),
        (("./gone",), "found nothing, expected a folder written by `export`"),
        (("u-unlabelled", "--unlabelled", "rows.tsv"), "expected one of them"),
    ],
)
def test_a_network_that_trials_cannot_begin_with_is_refused(
    place: Place, given: tuple[str, ...], told: str
) -> None:
    assert told in refusal(place, *given)


@pytest.mark.usefixtures("swept")
def test_another_sweep_begins_with_the_best_of_the_first(place: Place) -> None:
    told = place.read(*DATA, *SEARCH[:-1], "--dry-run")
    assert "prior: begins with the best config of an earlier sweep on these data (c/" in told.out
