from __future__ import annotations

import json

import pytest

from lstm_sweep.search.api.job_log import JobLog
from lstm_sweep.search.commands.cluster_job import JobOutput

BEGIN = "INFO -- Runtime env is setting up.\nRunning entrypoint for job j: exec x\nj begins\n"
RESULT = json.dumps({"sweep": "a", "run_id": "1", "state": "finished"})
Capture = pytest.CaptureFixture[str]


def shown(capsys: Capture, *logs: str, as_json: bool = False) -> list[tuple[str, str]]:
    """What is printed of a log that grows, step by step, and at its end."""
    log, output = JobLog("j", has_document=as_json), JobOutput(as_json=as_json)
    found = []
    for text in logs:
        for line in log.new_lines(text):
            output.printed(line)
        found.append(_read(capsys))
    for line in log.rest():
        output.printed(line)
    output.document(log.document)
    return [*found, _read(capsys)]


def _read(capsys: Capture) -> tuple[str, str]:
    out, err = capsys.readouterr()
    return out, err


def test_whole_lines_are_printed_as_they_come_and_the_rest_at_the_end(capsys: Capture) -> None:
    logs = (BEGIN[:20], BEGIN, f"{BEGIN}one\ntw", f"{BEGIN}one\ntwo\nthree")
    assert shown(capsys, *logs) == [
        ("", ""),
        ("", ""),
        ("one\n", ""),
        ("two\n", ""),
        ("three\n", ""),
    ]


def test_what_the_program_says_of_itself_goes_to_standard_error(capsys: Capture) -> None:
    assert shown(capsys, f"{BEGIN}lstm-sweep: no data\nmore\n")[0] == (
        "more\n", "lstm-sweep: no data\n"
    )  # fmt: skip


def test_a_document_is_all_that_standard_output_gets_if_one_is_asked_for(capsys: Capture) -> None:
    log = f"{BEGIN}one\n{RESULT}\nlstm-sweep: why\n"
    assert shown(capsys, log, as_json=True) == [
        ("", "one\nlstm-sweep: why\n"), (f"{RESULT}\n", "")
    ]  # fmt: skip


def test_the_last_document_counts_and_what_follows_it_in_its_line_does_not(
    capsys: Capture,
) -> None:
    other = RESULT.replace("finished", "stopped")
    log = f'{BEGIN}{other}\n{{"sweep": 1}}\n{RESULT} (pid=3) a line of Ray\n'
    assert shown(capsys, log, as_json=True) == [
        ("", f'{{"sweep": 1}}\n{other}\n'), (f"{RESULT}\n", "")
    ]  # fmt: skip


def test_without_a_document_nothing_is_printed_in_its_place(capsys: Capture) -> None:
    assert shown(capsys, f'{BEGIN}{{"sweep": \n', as_json=True)[-1] == ("", "")


def test_control_characters_are_escaped(capsys: Capture) -> None:
    assert shown(capsys, f"{BEGIN}a\x1b[2Jb\t│\n")[0] == ("a\\x1b[2Jb\t│\n", "")


def test_a_log_that_is_shorter_than_before_is_waited_for(capsys: Capture) -> None:
    logs = (f"{BEGIN}one\n", "", f"{BEGIN}one\ntwo\n")
    assert [out for out, _ in shown(capsys, *logs)] == ["one\n", "", "two\n", ""]


def test_what_ray_writes_itself_is_left_out_wherever_it_stands(capsys: Capture) -> None:
    log = "INFO -- setting up\nj begins\none\nRunning entrypoint for job j: exec x\ntwo\n"
    assert shown(capsys, log)[0] == ("one\ntwo\n", "")
