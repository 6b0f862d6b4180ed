"""Which version is the champion, and names of models; `tests/contract` has a real store."""

from __future__ import annotations

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.registry import check_name, compare
from lstm_sweep.search.store.tags import Tag

OURS = {Tag.CORPUS_DIGEST: "d", Tag.SCORING: '{"targets": 9, "seed": 1}', Tag.MODEL_LOSS: "1.5"}


@pytest.mark.parametrize(("loss", "better"), [("1.6", True), ("1.5", False), ("1.4", False)])
def test_a_lower_loss_is_better(loss: str, better: bool) -> None:
    theirs = OURS | {Tag.MODEL_LOSS: loss}
    found, why = compare(2, theirs, OURS)
    assert found is better
    word = "is below" if better else "is not below"
    assert why == f"its loss 1.5000 {word} {float(loss):.4f} of version 2"


@pytest.mark.parametrize(
    ("theirs", "ours", "why"),
    [
        ({Tag.CORPUS_DIGEST: "e"}, {}, "that was scored on other data"),
        ({Tag.SCORING: "{}"}, {}, "that was scored on other validation targets"),
        ({Tag.CORPUS_DIGEST: None}, {}, "what that was scored on is not known"),
        ({}, {Tag.SCORING: None}, "what it was scored on is not known"),
    ],
)
def test_versions_of_other_targets_are_not_compared(
    theirs: dict[str, str | None], ours: dict[str, str | None], why: str
) -> None:
    both = [
        {tag: text for tag, text in (OURS | changed).items() if text is not None}
        for changed in ({Tag.MODEL_LOSS: "9"} | theirs, ours)
    ]
    assert compare(1, both[0], both[1]) == (False, f"not compared with version 1: {why}")


@pytest.mark.parametrize("loss", ["", "low", None])
def test_a_loss_that_is_none_is_named(loss: str | None) -> None:
    theirs = {
        tag: text for tag, text in (OURS | {Tag.MODEL_LOSS: loss}).items() if text is not None
    }
    with pytest.raises(BadRunError, match=r"version 7: tag sweep\.model_loss is .* a loss"):
        compare(7, theirs, OURS)


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", ".", "..", "a\n", "n" * 251, 3, None])
def test_other_names_are_refused(name: object) -> None:
    with pytest.raises(InputError, match=r"register is .*: expected the name of a model") as error:
        check_name(name)
    assert str(error.value).startswith("--register is ")
