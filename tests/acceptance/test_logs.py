"""The page on logs, from a raw log to alarms: its commands, on a log that is generated."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.models.data.service_log import service_log
from tests.cases import Place
from tests.conftest import wait_until
from tests.unit.documents import DOCS, FENCE, text_of

#: requests to learn, so many that 0.2 % can be promised, and those to judge
REQUESTS, JUDGED = 2_600, 300
#: of a sweep that takes seconds
FAST = (
    *("--trials", "2", "--workers", "1", "--confirm-configs", "1", "--confirm-seeds", "1"),
    *("--size-rule", "off", "--set", "layer_size=32", "--set", "layers=1"),
    *("--set", "learning_rate=0.01", "--set", "embedding_size=0", "--epochs", "6"),
)


def commands() -> dict[str, list[str]]:
    """Arguments of the program in the page's first three parts, by what tells them apart."""
    calls = [
        shlex.split(line)[1:]
        for language, content in FENCE.findall(text_of(DOCS / "logs.md"))
        for line in content.splitlines()
        if language == "sh" and line.startswith("lstm-sweep ")
    ]
    names = "launch", "export", "detect", "promise", "follow"
    return dict(zip(names, calls, strict=True))


@pytest.mark.full
def test_a_raw_log_leads_to_alarms_by_the_commands_of_the_page(
    workplace: Callable[[str], Path],
) -> None:
    place, faults, call = Place(workplace("logs")), dict[str, str](), commands()
    for name, lines in (
        ("app.log", service_log(REQUESTS)),
        ("new.log", service_log(JUDGED, 7, 0.2, faults)),
    ):
        (place.folder / name).write_text("".join(f"{line}\n" for line in lines))
    rows = [
        f"{session.removeprefix('req-')},{int(fault != '')}" for session, fault in faults.items()
    ]
    (place.folder / "labels.csv").write_text("\n".join(rows))
    swept = place.run(*call["launch"], *FAST, "--json").json
    assert swept["state"] == "finished" and swept["best"]["val_loss"] < 0.6
    assert place.run(*call["export"]).code == 0
    assert f" of {JUDGED} sessions abnormal; false alarms: 1 % of" in place.run(*call["detect"]).out
    promised = place.run(*call["promise"], "--labels", "labels.csv", "--json").json["verdicts"]
    assert promised["promise"].startswith("false alarms: 0.2 % of normal sessions on average")
    quality = promised["quality"]
    assert quality["verdict"]["recall"] > 0.95 and quality["verdict"]["false_alarms"] <= 3
    assert quality["counts"]["recall"] < 0.9, "which sees no order"
    abnormal = {one["session"] for one in promised["abnormal"]}
    (place.folder / "app.log").write_bytes((place.folder / "new.log").read_bytes())
    assert call["follow"][-2:] == ["--metrics", "9100"]
    following = place.start(*call["follow"][:-2], "--idle", "1")
    state = place.folder / "app.state"
    wait_until(
        lambda: state.exists() and not json.loads(state.read_text())["sessions"]
        and json.loads(state.read_text())["position"]["offset"] > 0, following,
    )  # fmt: skip
    following.terminate()
    out, err = following.communicate(timeout=60)
    assert {json.loads(line)["session"] for line in out.splitlines()} == abnormal, err
