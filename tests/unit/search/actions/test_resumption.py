from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.lifecycle import named_changes, resumed_spec
from lstm_sweep.search.actions.references import DifferentSearchError
from lstm_sweep.search.values.spec import SweepSpec

TEMPLATE = Path(__file__).parents[3] / "templates" / "dense.py"


def test_a_sweep_may_go_on_with_more_but_not_with_another_search(data: Path) -> None:
    was = SweepSpec(data=str(data), name="s", minutes=3, ends=False, targets=100)
    given = dataclasses.replace(was, trials=70, ends="auto", targets="auto")
    changes: dict[str, Any] = {"keep": 2, "minutes": None}
    assert resumed_spec(was, "s", changes, given) == dataclasses.replace(was, **changes)
    with pytest.raises(DifferentSearchError, match="seed was 0, is 4"):
        resumed_spec(was, "s", {}, dataclasses.replace(was, seed=4))
    with pytest.raises(InputError, match="'seed' may not change"):
        resumed_spec(was, "s", {"seed": 4}, None)


def test_what_a_file_does_not_say_stays_as_it_was(data: Path) -> None:
    own: dict[str, Any] = {
        "trials": 200,
        "minutes": 90,
        "workers": 4,
        "per_gpu": 2,
        "max_failures": 3,
        "keep": 20,
    }
    was = SweepSpec(data=str(data), name="s", on="inline", **own)
    fields = {"data": str(data), "trials": 50, "minutes": None}
    given = SweepSpec.from_mapping(fields, "test")
    assert named_changes(fields, given) == {"trials": 50, "minutes": None}
    assert resumed_spec(was, "s", {}, given) == was
    now = resumed_spec(was, "s", named_changes(fields, given), given)
    assert now == dataclasses.replace(was, trials=50, minutes=None)


@pytest.mark.parametrize("is_folder", [False, True])
def test_data_that_were_moved_are_the_same_if_their_content_is(
    data: Path, tmp_path: Path, is_folder: bool
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        shutil.copy(data, folder / "a.txt")
    old, new = (old, new) if is_folder else (old / "a.txt", new / "a.txt")
    was = SweepSpec(data=str(old), name="s")
    assert resumed_spec(was, "s", {}, SweepSpec(data=str(new), trials=9)).data == str(old)
    (tmp_path / "new" / "a.txt").write_text("other", encoding="utf-8")
    with pytest.raises(DifferentSearchError, match=f"data was {old}, is {new}"):
        resumed_spec(was, "s", {}, SweepSpec(data=str(new)))
    with pytest.raises(DifferentSearchError, match="is python-docs"):
        resumed_spec(was, "s", {}, SweepSpec())


def test_a_template_that_was_moved_is_the_same_if_its_text_is(tmp_path: Path) -> None:
    specs = []
    for name, more in (("a.py", ""), ("b.py", ""), ("c.py", "# another one\n")):
        path = tmp_path / name
        path.write_text(TEMPLATE.read_text(encoding="utf-8") + more, encoding="utf-8")
        specs.append(SweepSpec.from_mapping({"template": str(path)}, "test"))
    was, same, other = specs
    assert resumed_spec(was, "s", {"trials": 9}, same) == dataclasses.replace(was, trials=9)
    with pytest.raises(DifferentSearchError, match="template_digest was"):
        resumed_spec(was, "s", {}, other)
