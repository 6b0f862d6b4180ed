from __future__ import annotations

import os
from pathlib import Path

import pytest

from lstm_sweep.search.service.http_settings import Limits
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.reruns import Reruns, Wanted

WANTED = Wanted("s/1", "0" * 32, {})


@pytest.mark.parametrize("broken", ["", '{"trial": "s/'])
def test_a_submission_that_was_cut_off_stops_no_other_rerun(tmp_path: Path, broken: str) -> None:
    folder = tmp_path / "reruns"
    cut_off, whole = (Reruns(folder, tmp_path, Limits()).submit(WANTED).id for _ in "ab")
    (folder / cut_off / "asked.json").write_text(broken)
    reruns = Reruns(folder, tmp_path, Limits(waiting_reruns=2))
    assert reruns.get(whole).state == reruns.submit(WANTED).state == "queued"
    with pytest.raises(ProblemError, match="there is none"):
        reruns.get(cut_off)


def test_what_is_asked_for_is_on_the_disk_before_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[int]()
    monkeypatch.setattr(os, "fsync", synced.append)
    Reruns(tmp_path / "reruns", tmp_path, Limits()).submit(WANTED)
    assert len(synced) == 1
