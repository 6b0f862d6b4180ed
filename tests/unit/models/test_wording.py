from __future__ import annotations

import pickle

import pytest

from lstm_sweep.models.errors import LONGEST, InputError
from lstm_sweep.models.wording import Wording, for_command_line, option, worded
from lstm_sweep.search.process import isolated

REFUSED = InputError(option("size_low"), " is 0, with ", option("size_rule", "warn"))


def test_an_option_is_an_argument_in_python_and_has_dashes_on_the_command_line() -> None:
    assert str(REFUSED) == "size_low is 0, with size_rule='warn'"
    assert REFUSED.command_line == "--size-low is 0, with --size-rule warn"


def test_an_error_that_says_where_keeps_both_wordings() -> None:
    outer = InputError("sweep.yaml: ", REFUSED)
    assert str(outer) == f"sweep.yaml: {REFUSED}"
    assert outer.command_line == f"sweep.yaml: {REFUSED.command_line}"


def test_a_text_without_another_wording_is_the_same_for_both() -> None:
    assert (for_command_line("data"), for_command_line(worded("data", 3))) == ("data", "data3")
    assert InputError("data").command_line == str(InputError("data"))


def test_both_wordings_are_one_line_that_is_not_long() -> None:
    error = InputError(Wording("a\n" * LONGEST, "b\x1b" * LONGEST))
    for text in (str(error), error.command_line):
        assert text.isprintable() and len(text) <= LONGEST


@pytest.mark.parametrize("value", [REFUSED, option("top")])
def test_both_wordings_are_kept_between_processes(value: object) -> None:
    copy = pickle.loads(pickle.dumps(value))
    assert (str(copy), for_command_line(copy)) == (str(value), for_command_line(value))


def refuse() -> None:
    raise REFUSED


def test_an_error_of_another_process_keeps_both_wordings() -> None:
    with pytest.raises(InputError, match=r"^size_low is 0") as refused:
        isolated.call(refuse)
    assert refused.value.command_line == REFUSED.command_line
