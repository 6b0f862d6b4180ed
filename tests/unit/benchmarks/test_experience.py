"""What recordings teach a replay, and what ships of them."""

from __future__ import annotations

import json

from benchmarks import curves, experience
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.sweep.shipped_past import FILE


def recordings() -> dict[str, bool]:
    """Whether each recording is held out."""
    files = sorted(curves.FOLDER.glob("*.jsonl"))
    return {file.stem: bool(curves.read(file)[0].get("held_out")) for file in files}


def test_a_replay_learns_from_all_recordings_but_its_own_and_those_held_out() -> None:
    taught = {name for name, held_out in recordings().items() if not held_out}
    assert len(taught) == 4 and "large" not in taught
    for name in ("source", "large"):
        others = experience.of_others(curves.FOLDER / f"{name}.jsonl")
        expected = [
            experience.of_recording(curves.FOLDER / f"{other}.jsonl", refine=False)
            for other in sorted(taught - {name})
        ]
        assert others == expected and len(others) == 4 - (name in taught)


def test_what_ships_is_made_of_recordings_that_are_not_held_out() -> None:
    shipped = json.loads(FILE.read_text(encoding="utf-8"))
    assert [sweep["corpus"] for sweep in shipped] == [
        n for n, out in recordings().items() if not out
    ]
    [source] = [sweep for sweep in shipped if sweep["corpus"] == "source"]
    assert experience.written(curves.FOLDER / "source.jsonl") == source
    best = min(source["trials"])
    _, recorded = curves.read(curves.FOLDER / "source.jsonl")
    lowest = min((one for one in recorded if one.losses), key=lambda one: min(one.losses))
    assert best[0] == 0 and TrialConfig.from_dict({**curves.UNSAID, **best[2]}) == lowest.config
